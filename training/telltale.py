"""Fields that tell the answer: alone, by their name, by a value that decides, or because they are made from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from feature_store.task import Task
from training import lexicon, strength
from training.dataset import Rows
from training.leak import Leak, leak

MAX_SINGLE = {"R2": 0.95, "AUC": 0.99}
"""One field alone so good is no forecast. Honest fields of our tables reach R2 0.89 (the time of day, of calls in five
minutes) and AUC 0.985 (the thickness of a steel plate, of its stains). A Task may set its own."""

MAX_TOLD = 0.8
"""A field that the *target* tells so well is made from it. Honest fields reach 0.41; LNH (the class of the birth
weight) has 0.95, the day of the review of an order (of its days to arrive) 0.94."""

MAX_OWN_MEAN = 0.5
"""`strength.own_mean`: 0.0 to 0.2 for a mean over these very rows, 1 or more for one of other rows."""

LEAST_FIELDS = 4
"""With fewer, that one tells more than the others together says nothing."""

HEAD = 5_000
"""Rows of the first groups in which a column must be constant to be compared with the groups' means of the target."""


@dataclass(frozen=True)
class Measured:
    """The rows that strength is measured on. codes, alone: per field its bins and what it tells alone."""

    rows: Rows
    asked: strength.Asked
    codes: dict[str, np.ndarray]
    alone: dict[str, float]

    def without(self, name: str) -> float:
        """What all fields but this one tell together."""
        return strength.together([code for other, code in self.codes.items() if other != name], self.asked)


def measure(task: Task, rows: Rows, random: np.random.Generator) -> Measured:
    """Bin the fields of some training rows and judge each alone. random: halves the rows. Weights do not count."""
    asked = strength.ask(rows.target, rows.classes, random)
    codes = {name: strength.codes(rows.columns[name]) for name in task.by_name}
    return Measured(rows, asked, codes, {name: strength.alone(code, asked) for name, code in codes.items()})


def strong(task: Task, measured: Measured) -> Iterator[Leak]:
    """Fields that alone tell the target nearly perfectly."""
    scale = measured.asked.measure
    limit = task.leakage.max_single or MAX_SINGLE[scale]
    for name, alone in measured.alone.items():
        if alone >= limit:
            message = f"alone it tells {task.target.name} with {scale} {alone:.3f} (the limit is {limit:g})."
            yield leak(name, "single_field", alone, limit, message)


def named(task: Task, measured: Measured) -> Iterator[Leak]:
    """Fields whose name, label or code speaks of a later time."""
    for field in task.fields:
        if hit := lexicon.after(field):
            word, meaning = hit
            alone = measured.alone[field.name]
            message = (
                f"its name or label says {word!r}: {meaning}, known only afterwards. Alone it tells "
                f"{task.target.name} with {measured.asked.measure} {alone:.3f}."
            )
            yield leak(field.name, "after_the_event", alone, 0.0, message)


def deciding(task: Task, measured: Measured) -> Iterator[Leak]:
    """Of a binary target: fields with a value at which a class never occurs, and that tell more than all the others.

    The mark of the `duration` of a sales call: a call of a minute sells nothing, and no knowledge of the customer
    tells as much. Either alone is found in honest fields: the week of gestation tells more of the birth weight than
    the rest, and plates of some thickness never have a certain fault. Of several classes the two go together in honest
    fields (that thickness again), so there they are not judged.
    """
    rows, scale = measured.rows, measured.asked.measure
    for name in task.by_name if len(rows.classes) == 2 and len(task.fields) >= LEAST_FIELDS else ():
        hit = strength.excludes(rows.columns[name], measured.asked)
        if hit is None or (alone := measured.alone[name]) < (rest := measured.without(name)):
            continue
        message = (
            f"where it is {strength.span(rows.columns[name], hit)}, {rows.classes[hit.class_]!r} is {hit.seen} "
            f"of {hit.rows:,} rows ({hit.expected:.0f} due), and alone it tells more ({scale} {alone:.3f}) than all "
            f"other fields together ({rest:.3f}): it comes about with the event."
        )
        yield leak(name, "after_the_event", alone, rest, message)


def derived(task: Task, measured: Measured, random: np.random.Generator) -> Iterator[Leak]:
    """Fields that the target tells: its rounding, its class, its transform, its other classes."""
    rows, target = measured.rows, task.target.name
    if len(rows.classes) == 2:
        for name in (others := strength.siblings(rows.columns, rows.target == 1)):
            message = f"of {target} and {', '.join(others)} exactly one is 1 in every row (share 1): its other classes."
            yield leak(name, "target_derived", 1.0, 1.0, message)
        return
    for name in task.by_name:
        told = strength.told(rows.columns[name], rows.target, rows.classes, random)
        if told >= MAX_TOLD:
            message = f"{target} tells it with {told:.3f} of 1 (the limit is {MAX_TOLD:g}): it is made from or with it."
            yield leak(name, "target_derived", told, MAX_TOLD, message)


def own_means(task: Task, train: Rows, keys: np.ndarray | None) -> Iterator[Leak]:
    """Number fields that are the mean of the target in a group, these very rows included."""
    groups = {
        f.name: train.columns[f.name] for f in task.fields if f.type == "category" or (f.type == "number" and f.integer)
    }
    if keys is not None:
        groups["split.by"] = keys
    numbers = [field.name for field in task.fields if field.type == "number"]
    classes = range(len(train.classes)) if len(train.classes) > 2 else [1] if train.classes else [None]
    for by, column in groups.items():
        code = np.asarray(pd.factorize(column, use_na_sentinel=False)[0])
        for name in _constant(code, {n: train.columns[n] for n in numbers if n != by}):
            for place in classes:
                target = train.target if place is None else (train.target == place).astype(float)
                figure = strength.own_mean(code, train.columns[name], target)
                if figure <= MAX_OWN_MEAN:
                    message = (
                        f"it is the mean of {task.target.name} by {by}, this row's own included: its distance is "
                        f"{figure:.3f} of a sampling error squared (a mean of other rows has 1 or more)."
                    )
                    way = f"Compute {name} from earlier rows only"
                    yield leak(name, "target_derived", figure, MAX_OWN_MEAN, message, way)


def _constant(code: np.ndarray, columns: dict[str, np.ndarray]) -> list[str]:
    """The columns that may be constant within groups, judged by the first groups: a quick no for most."""
    order = np.flatnonzero(code < np.searchsorted(np.cumsum(np.bincount(code)), HEAD) + 2)[: 10 * HEAD]
    order = order[np.argsort(code[order], kind="stable")]
    again = np.diff(code[order]) == 0
    if int(code.max(initial=0)) + 1 < strength.LEAST_GROUPS or not again.any():
        return []
    moves = {
        name: np.abs(np.diff(column[order])) > 1e-9 * np.abs(column[order][1:]) for name, column in columns.items()
    }
    return [name for name, moved in moves.items() if not np.any(again & moved)]
