"""The leakage gate: columns, rows and dates that would tell the answer in training and be absent when it is asked.

Six checks before the search. A leak stops the run, names the column, its figure and the two ways on: remove the field,
or write a waiver with a reason into the Task, from where it goes into the model card. Strength is judged on training
rows alone. How well the checks tell leaks from honest fields is measured in docs/benchmarks/leakage.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from feature_store.errors import LeakageFound
from feature_store.task import Task, Waiver
from training import contamination, lexicon, strength, telltale
from training.dataset import Rows
from training.leak import LABELS, Leak, leak

MAX_COPIES = 0.02
"""Share of holdout rows that are copies beyond chance. Chance itself is subtracted with an error below 0.01 on our
tables; 2 % of perfect answers improve an RMSE by 1 %."""

MIN_AGREEMENT = 0.5
"""Twins that are copies always agree. Where fields are few or coarse, twins are natural, and their targets agree as far
as the fields tell them: 0.27 in bank marketing, 0.25 in calls by minute and day."""

ENTITY_ROWS = (1.5, 20.0)
LEAST_ENTITIES = 50
MAX_SHARED, MAX_CLUSTERED = 0.3, 0.5
"""An entity (a patient, a customer) has few rows; a store or a department with hundreds is a factor that will be met
again. It leaks if the holdout shares it and most of the target's variance lies between entities."""

MAX_AHEAD = 0.001
"""Share of dates after their row's time: 1 in 1,000 is a typing error."""


FIRST_DAY = 3653.0
"""1980-01-01 in days since 1970-01-01: numbers below it are taken for no days."""


@dataclass(frozen=True)
class Sides:
    """What is known of each row besides its fields, (n,) of training and (m,) of the holdout; None: nothing.

    keys: entities (the column that `split.by` groups by); times: days since 1970-01-01 at which a row is answered.
    """

    train_keys: np.ndarray | None = None
    holdout_keys: np.ndarray | None = None
    train_times: np.ndarray | None = None
    holdout_times: np.ndarray | None = None


def sides(task: Task, train: Rows, holdout: Rows) -> Sides:
    """The keys of a grouped split, or the times of one by time: a number of weeks or of rows is no day."""
    if task.split.kind == "grouped":
        return Sides(train_keys=train.by, holdout_keys=holdout.by)
    if task.split.kind == "time" and train.by is not None and len(train) and float(np.min(train.by)) >= FIRST_DAY:
        return Sides(train_times=train.by, holdout_times=holdout.by)
    return Sides()


def gate(
    task: Task, train: Rows, holdout: Rows, sides: Sides | None = None, seed: int = 0, today: date | None = None
) -> list[Leak]:
    """The waived leaks, for `card`. Raises LeakageFound with every other one. Arguments as `find`."""
    leaks = find(task, train, holdout, sides, seed, today)
    if standing := [leak for leak in leaks if leak.waived is None]:
        raise LeakageFound(task.task, [str(leak) for leak in standing])
    return leaks


def card(leaks: list[Leak]) -> list[dict[str, Any]]:
    """The waived leaks as plain data for the model card: what was found, its figure, and why it may stand."""
    return [
        {
            "field": leak.field,
            "check": leak.check,
            "label": LABELS[leak.check].model_dump(),
            "figure": round(leak.figure, 4),
            "threshold": leak.threshold,
            "message": leak.message,
            "reason": leak.waived,
        }
        for leak in leaks
        if leak.waived is not None
    ]


def idle(task: Task, leaks: list[Leak]) -> list[Waiver]:
    """The Task's waivers that no leak needs (any more): to be removed from it."""
    used = {(leak.field, leak.check) for leak in leaks}
    return [waiver for waiver in task.leakage.waivers if (waiver.field or "", waiver.check) not in used]


def find(
    task: Task, train: Rows, holdout: Rows, sides: Sides | None = None, seed: int = 0, today: date | None = None
) -> list[Leak]:
    """Every leak of the Task's rows, in the Task's order, waived or not.

    train: before `dataset.with_unknowns`. sides: keys and times, where the split has them. seed: draws the rows that
    strength is measured on (at most `strength.ROWS`). today: the day of the clock for dates without a time of their
    row; by default this day. Never raises for what the rows hold.
    """
    sides, random = sides or Sides(), np.random.default_rng([seed, 2])
    some = train.take(np.sort(random.permutation(len(train))[: strength.ROWS]))
    measured = telltale.measure(task, some, random)
    found = [
        *telltale.strong(task, measured),
        *telltale.deciding(task, measured),
        *telltale.named(task, measured),
        *telltale.derived(task, measured, random),
        *telltale.own_means(task, train, sides.train_keys),
        *_copies(train, holdout),
        *_entities(task, train, holdout, sides),
        *_ahead(task, train, holdout, sides, today or datetime.now(UTC).date()),
    ]
    reasons = {(waiver.field or "", waiver.check): waiver.reason for waiver in task.leakage.waivers}
    places = {name: place for place, name in enumerate(task.by_name)}
    once = {(leak.field, leak.check): leak for leak in reversed(found)}
    waived = [replace(leak, waived=reasons.get(key)) for key, leak in once.items()]
    return sorted(waived, key=lambda leak: (places.get(leak.field, len(places)), leak.check))


# --- the two sides of the split ---------------------------------------------------------------------------------


def _copies(train: Rows, holdout: Rows) -> Iterator[Leak]:
    found = contamination.copies(train, holdout)
    if found.copied > MAX_COPIES and found.agreement > MIN_AGREEMENT:
        message = (
            f"{found.same:.1%} of holdout rows equal a training row in all fields and the target; {found.copied:.1%} "
            f"are more than chance explains (at most {MAX_COPIES:.0%})."
        )
        way = "Select each case once in data.sql (SELECT DISTINCT)"
        yield leak("", "duplicates_across_split", found.copied, MAX_COPIES, message, way)


def _entities(task: Task, train: Rows, holdout: Rows, sides: Sides) -> Iterator[Leak]:
    """A group on both sides of a grouped split; or, of a random one, an entity that nearly tells the target."""
    kind, by = str(task.split.kind), str(getattr(task.split, "by", None) or "split.by")
    keys = {f.name: (train.columns[f.name], holdout.columns[f.name]) for f in task.fields if lexicon.is_key(f)}
    if sides.train_keys is not None and sides.holdout_keys is not None:
        keys[by] = (sides.train_keys, sides.holdout_keys)
    for name, (left, right) in keys.items() if kind != "time" else ():
        grouped = kind == "grouped" and name == by
        found = contamination.entities(left, right, train.target, len(train.classes))
        if grouped and found.shared > 0:
            message = f"{found.shared:.1%} of holdout rows have a {name} that training has too (at most 0 %)."
            yield leak(name, "entity_overlap", found.shared, 0.0, message, f"Group the split by {name} anew")
        few = ENTITY_ROWS[0] <= found.rows <= ENTITY_ROWS[1] and found.entities >= LEAST_ENTITIES
        if few and not grouped and found.shared >= MAX_SHARED and found.clustered >= MAX_CLUSTERED:
            message = (
                f"{found.shared:.0%} of holdout rows have a {name} that training has too, of {found.rows:.1f} rows "
                f"each, and it holds {found.clustered:.2f} of the target's variance (at most {MAX_CLUSTERED:g})."
            )
            way = f"Write `split: {{kind: grouped, by: {name}}}`"
            yield leak(name, "entity_overlap", found.clustered, MAX_CLUSTERED, message, way)


def _ahead(task: Task, train: Rows, holdout: Rows, sides: Sides, today: date) -> Iterator[Leak]:
    """Dates after the time of their row or, where rows have none, after today. A plan's date may lie ahead."""
    now = float((today - date(1970, 1, 1)).days)
    own = sides.train_times is not None and sides.holdout_times is not None
    times = np.concatenate([sides.train_times, sides.holdout_times]) if own else now
    for field in (f for f in task.fields if f.type == "date" and not lexicon.is_plan(f)):
        column = np.concatenate([train.columns[field.name], holdout.columns[field.name]])
        share = contamination.ahead(column, times)
        if share > MAX_AHEAD:
            what = "the time of their row" if own else f"{today}"
            message = f"{share:.1%} of its dates lie after {what} (at most {MAX_AHEAD:.1%})."
            yield leak(field.name, "future_timestamps", share, MAX_AHEAD, message)
