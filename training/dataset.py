"""From a table to learnable rows: columns, target, holdout and folds, all by one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_store import offline
from feature_store.errors import TooFewRows
from feature_store.task import Task

MIN_ROWS = 50
"""Fewer labelled rows can't carry a holdout, folds and an interval."""


@dataclass(frozen=True)
class Rows:
    """Labelled rows. columns: as `offline.columns`; target: (n,) in the target's unit."""

    columns: dict[str, np.ndarray]
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    def take(self, index: np.ndarray) -> Rows:
        """The rows at these places, in that order."""
        return Rows({name: column[index] for name, column in self.columns.items()}, self.target[index])


@dataclass(frozen=True)
class Split:
    """Rows to learn from, rows to report on (touched once), and the fold (0..K-1) of each row to learn from."""

    train: Rows
    holdout: Rows
    folds: np.ndarray


UNKNOWN_SHARE = 0.05
"""Of training rows in which an optional field that is never missing is made unknown."""


def with_unknowns(task: Task, rows: Rows, seed: int) -> Rows:
    """The rows, with some values of optional fields made unknown where the table knows them all.

    A request may leave such a field out (the sex of a fetus, say). A model that never saw it missing would have to
    assume a value; this one learns what is to be expected without it, and its residuals say how much wider the
    interval is then.
    """
    random = np.random.default_rng([seed, 1])
    columns = dict(rows.columns)
    for field in task.fields:
        hidden = random.random(len(rows)) < UNKNOWN_SHARE
        column = columns[field.name]
        if field.required or any(value is None or value != value for value in column.tolist()):
            continue
        columns[field.name] = column.copy()
        columns[field.name][hidden] = None if field.type == "category" else np.nan
    return Rows(columns, rows.target)


def labelled(task: Task, source: offline.Source) -> Rows:
    """The rows whose target is known. Raises TooFewRows."""
    target = offline.target(task, source.table)
    known = np.flatnonzero(np.isfinite(target))
    if len(known) < MIN_ROWS:
        raise TooFewRows(
            f"{task.task} has {len(known)} rows with a {task.target.name}; at least {MIN_ROWS} are needed.\n"
            "Add rows, or check the WHERE of data.sql."
        )
    return Rows(offline.columns(task, source.table), target).take(known)


def split(task: Task, rows: Rows, seed: int) -> Split:
    """Hold out and fold at random, stratified by tenths of the target so that each part has the same spread."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(rows))
    ranked = order[np.argsort(rows.target[order], kind="stable")]  # ties in random order
    block = round(1.0 / task.split.holdout)
    held = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(ranked), block * 10):
        part = ranked[start : start + block * 10]
        held[random.permutation(part)[: round(len(part) * task.split.holdout)]] = True
    train = np.flatnonzero(~held)
    ranked_train = ranked[~held[ranked]]
    fold_of = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(ranked_train), task.split.folds):
        part = ranked_train[start : start + task.split.folds]
        fold_of[part] = random.permutation(task.split.folds)[: len(part)]
    return Split(rows.take(train), rows.take(np.flatnonzero(held)), fold_of[train])
