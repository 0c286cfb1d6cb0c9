"""From a table to learnable rows: columns, target, weight, and what they are split by."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from feature_store import offline
from feature_store.errors import TooFewRows
from feature_store.task import Task

MIN_ROWS = 50
"""Fewer labelled rows can't carry a holdout, folds and an interval."""


@dataclass(frozen=True)
class Rows:
    """Labelled rows. columns: as `offline.columns`; target: (n,) in the target's unit, or places of `classes`.

    weight: (n,) how much each row counts, or None for all alike; classes: as `offline.classes`.
    by: (n,) the group or time that the Task splits by, as `offline.split_by`, or None.
    number: (n,) each row's place in the source table, or None where rows were made without one.
    """

    columns: dict[str, np.ndarray]
    target: np.ndarray
    weight: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    by: np.ndarray | None = None
    number: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.target)

    def take(self, index: np.ndarray) -> Rows:
        """The rows at these places, in that order."""
        columns = {name: column[index] for name, column in self.columns.items()}
        weight, by, number = (None if array is None else array[index] for array in (self.weight, self.by, self.number))
        return replace(self, columns=columns, target=self.target[index], weight=weight, by=by, number=number)


UNKNOWN_SHARE = 0.05
"""Of training rows in which an optional field that is never missing is made unknown."""


def with_unknowns(task: Task, rows: Rows, seed: int) -> Rows:
    """The rows, with some values of optional fields made unknown where the table knows them all; `rows` if none.

    A request may leave such a field out (the sex of a fetus, say). A model that never saw it missing would have to
    assume a value; this one learns what is to be expected without it, and its residuals say how much wider the
    interval is then.
    """
    random = np.random.default_rng([seed, 1])
    columns, some = dict(rows.columns), False
    for field in task.fields:
        hidden = random.random(len(rows)) < UNKNOWN_SHARE
        column = columns[field.name]
        if field.required or any_unknown(column):
            continue
        columns[field.name] = column.copy()
        columns[field.name][hidden] = None if field.type == "category" else np.nan
        some = True
    return replace(rows, columns=columns) if some else rows


def any_unknown(column: np.ndarray) -> bool:
    """Whether a column, as `offline.columns` gives it, lacks a value somewhere."""
    return any(word is None for word in column) if column.dtype == object else bool(np.isnan(column).any())


def labelled(task: Task, source: offline.Source) -> Rows:
    """The rows whose target is known. Raises TooFewRows."""
    return with_columns(labels(task, source), task, source)


def labels(task: Task, source: offline.Source) -> Rows:
    """The same without their columns: enough to split them. Raises TooFewRows."""
    target = offline.target(task, source.table)
    known = np.flatnonzero(np.isfinite(target))
    if len(known) < MIN_ROWS:
        raise TooFewRows(
            f"{task.task} has {len(known)} rows with a {task.target.name}; at least {MIN_ROWS} are needed.\n"
            "Add rows, or check the WHERE of data.sql."
        )
    weight, classes = offline.weight(task, source.table), tuple(offline.classes(task, source.table))
    by, number = offline.split_by(task, source.table), np.arange(source.table.num_rows)
    return Rows({}, target, weight, classes, by, number).take(known)


def with_columns(rows: Rows, task: Task, source: offline.Source) -> Rows:
    """Rows that know their places in the source (`number`), with their columns."""
    return replace(rows, columns={f.name: offline.values(f, source.table)[rows.number] for f in task.fields})
