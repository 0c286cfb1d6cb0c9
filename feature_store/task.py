"""The Task: what to predict, from what, and how the answer is judged. All else is derived from it."""

from __future__ import annotations

import json
import re
from datetime import date
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from feature_store.coherence import contradictions
from feature_store.decision import Decision
from feature_store.field import AnyField, Choice, Frozen, Name, Number, Text

Kind = Literal["regression", "binary", "multiclass"]
Metric = Literal["rmse", "mae", "log_loss", "auc"]
METRICS: dict[Kind, tuple[Metric, ...]] = {
    "regression": ("rmse", "mae"),
    "binary": ("log_loss", "auc"),
    "multiclass": ("log_loss",),
}
"""What a search of each kind may minimise (of `auc`, 1 - AUC); the first is the default."""


class Target(Frozen):
    """What is predicted.

    regression: a number with its `unit` and `limits`, which are inclusive; answers are clipped to them.
    binary, multiclass: a class, in a column of words, true/false or whole numbers, whose text counts (`yes`, `true`,
    `1`). A binary target names its `positive` class: the answer is that class's probability, so its limits are 0 and
    1. Without `classes` they are learnt from the table.
    """

    name: Name
    label: Text
    unit: str = ""
    limits: tuple[Number, Number] = Field(default=(0.0, 1.0), strict=False)
    digits: int = Field(default=0, ge=0, le=9, description="Decimals that people are shown.")
    positive: str | None = Field(default=None, min_length=1, description="Of a binary target: the class that is asked.")
    classes: tuple[Choice, ...] | None = Field(default=None, strict=False)


class Data(Frozen):
    """Where the rows come from: named files under GANCAO_DATA, and one DuckDB SELECT over them."""

    sources: dict[Name, str] = Field(min_length=1, description="View name -> .parquet, .csv or .jsonl file.")
    sql: str = Field(min_length=1)
    citation: str | None = None
    weight: Name | None = Field(default=None, description="A column of the SELECT: how much each row counts, above 0.")


class Event(Frozen):
    """Something that can come true of the target: below, at least, or between two values."""

    name: Name
    label: Text
    below: Number | None = None
    at_least: Number | None = None
    between: tuple[Number, Number] | None = Field(default=None, strict=False)
    source: Text | None = None


class Adaptive(Frozen):
    """Outcomes move the level at which intervals and sets are made, so that they keep to the one that is promised.

    rate: of each step (see `serving/levels.py`). 0.005 makes most of a shift good within 1 / rate = 200 outcomes, and
    leaves a level of 0.9 a standard deviation of sqrt(rate * 0.9 * 0.1 / 2) = 1.5 points; the rate of Gibbs and
    Candes 2021.
    """

    rate: Number = Field(default=0.005, gt=0, le=0.05)
    lowest: Number | None = Field(default=None, gt=0, lt=1, description="1.5 times the misses promised if left open.")
    highest: Number | None = Field(default=None, gt=0, lt=1, description="A fifth of those misses if left open.")

    def bounds(self, promised: float) -> tuple[float, float]:
        """The lowest and highest level, the promised one between them.

        A fifth of the misses: 0.98 for 0.9, which a shift by one standard deviation of the residuals takes back to
        0.9, and of which the tails of the smallest cell (200 rows) still have scores. What is worse wants a new
        version. 1.5 times: a run of luck, as when easy cases come back first, is not paid back with narrow answers.
        """
        misses = 1.0 - promised
        lowest = 1.0 - 1.5 * misses if self.lowest is None else self.lowest
        highest = 1.0 - misses / 5.0 if self.highest is None else self.highest
        return min(lowest, promised), max(highest, promised)


class Answers(Frozen):
    """What every answer holds besides its value."""

    interval: Number = Field(default=0.9, ge=0.5, le=0.99)
    events: tuple[Event, ...] = Field(default=(), strict=False)
    decision: Decision | None = None
    adaptive: Adaptive | None = Field(default=None, description="Outcomes move the level; {} takes the defaults.")


class Group(Frozen):
    """Cases for which error and coverage are reported and coverage is guaranteed.

    A category or flag groups by its value; a number needs `cuts`: (37,) gives `<37` and `>=37`.
    """

    field: Name
    cuts: tuple[Number, ...] = Field(default=(), strict=False)


MOST_HELD = 50_000


class Split(Frozen):
    """How rows are held out and folded.

    random: every row is a case of its own. grouped: rows with the same value of `by` stay on one side. time: the
    latest rows by `by` are held out, and a fold is validated by models of what came before it.
    """

    kind: Literal["random", "grouped", "time"] = "random"
    by: Name | None = Field(default=None, description="A column of data.sql, a field or not: the group, or the time.")
    gap: Number = Field(default=0.0, ge=0, description="Of time: left out before what judges; days, or by's own unit.")
    holdout: Number = Field(default=0.2, ge=0.05, le=0.5)
    folds: int | None = Field(default=None, ge=2, le=20, description="8 below 3,000 rows and else 5 if left open.")

    def held_of(self, rows: int) -> float:
        """The share of so many labelled rows that is held out: `holdout`, but no more than MOST_HELD rows.

        The RMSE of 50,000 rows has a relative standard error of 1 / sqrt(2 * 50,000) = 0.3 %: more rows are better
        learnt from.
        """
        return min(float(self.holdout), MOST_HELD / rows) if rows else float(self.holdout)

    def folds_of(self, rows: int) -> int:
        """How many folds so many labelled rows have.

        Left open: 8 where rows are few, since with k folds a model is judged that saw (k - 1) / k of them, and below
        3,000 the missing fifth still costs; 5 from there on, where time is dearer.
        """
        return self.folds or (8 if rows < 3000 else 5)


class Budget(Frozen):
    """When the search stops: after so many seconds (best effort) or trials (reproducible)."""

    seconds: Number | None = Field(default=None, gt=0)
    trials: int | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _words(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|trials?)\s*", data)
        if match is None:
            raise ValueError("a budget reads like 120s, 5m, 1h or 40trials")
        amount, unit = float(match[1]), match[2]
        if unit.startswith("trial"):
            return {"trials": int(amount)}
        return {"seconds": amount * {"s": 1, "m": 60, "h": 3600}[unit]}

    def __str__(self) -> str:
        return f"{self.trials}trials" if self.trials else f"{self.seconds:g}s"


Learner = Literal["lightgbm", "xgboost", "catboost", "mlp", "linear"]
LEARNERS: tuple[Learner, ...] = ("lightgbm", "xgboost", "catboost", "mlp", "linear")
DEFAULT_BUDGET = Budget(seconds=60)
ROW_US, ROW_OF_CLASSES_US = 500.0, 1000.0


class Search(Frozen):
    """What may be tried, and for how long."""

    metric: Metric = "rmse"
    budget: Budget = DEFAULT_BUDGET
    learners: tuple[Learner, ...] = Field(default=LEARNERS, strict=False)
    max_members: int = Field(default=12, ge=1, le=40, description="Configurations in the ensemble at most.")
    max_row_us: Number | None = Field(
        default=None,
        gt=0,
        description="Microseconds that the models may take for one row; left open 500, of three classes or more 1000.",
    )

    def row_us_of(self, outputs: int) -> float:
        """`max_row_us`; left open, more for several classes: boosting grows a tree for each. outputs: 1 or classes."""
        return self.max_row_us or (ROW_US if outputs == 1 else ROW_OF_CLASSES_US)


class Baseline(Frozen):
    """A rule of the field to beat; it gives one of these.

    median_by: the median of the target among training rows with the same value of a field.
    rate_by: for classes, their shares among training rows with the same value of a field.
    formula: the value, or the positive class's probability, from the fields: see `feature_store.formula`.
    sql: a DuckDB SELECT over the views `train` and `holdout` giving `row_id` and `value` (or a column a class).
    """

    name: Name
    median_by: Name | None = None
    rate_by: Name | None = None
    formula: str | None = Field(default=None, min_length=1, max_length=4000)
    sql: str | None = Field(default=None, min_length=1)
    source: Text | None = Field(default=None, description="Where the rule is from, such as a publication.")


CLASS_BASELINES = ("prior", "linear", "lightgbm_defaults")


class Gate(Frozen):
    """What a version must not lose to, on the holdout, to be promoted."""

    baselines: tuple[str, ...] = Field(default=("mean", "linear", "lightgbm_defaults"), strict=False)
    confidence: Number = Field(default=0.95, gt=0.5, lt=1)
    margin: Number = Field(
        default=0.01,
        ge=0,
        le=0.5,
        description="Share of the champion's loss that a version may surely not exceed it by.",
    )


Check = Literal[
    "single_field",
    "after_the_event",
    "target_derived",
    "duplicates_across_split",
    "entity_overlap",
    "future_timestamps",
]
"""The checks of the leakage gate (`training/leakage.py`)."""


class Waiver(Frozen):
    """Why one leak may stand: of one check, and of one field or of the whole table. It is printed in the card."""

    field: Name | None = None
    check: Check
    reason: str = Field(description="Why the value is known in time; at least 10 characters.")


class Leakage(Frozen):
    """What the leakage gate lets pass."""

    waivers: tuple[Waiver, ...] = Field(default=(), strict=False)
    max_single: Number | None = Field(default=None, gt=0.5, le=1, description="R2 or AUC of one field alone at most.")


class Section(Frozen):
    """A group of fields on the form."""

    title: Text
    fields: tuple[Name, ...] = Field(strict=False)


class Form(Frozen):
    """The order of the form. Fields that no section names come last.

    notice: what stands under every answer; left open, that it is an estimate and a person decides.
    """

    sections: tuple[Section, ...] = Field(default=(), strict=False)
    notice: Text | None = Field(default=None, description="What stands under every answer on the form.")


class Task(Frozen):
    """One prediction task, whole. Read it with `taskfile.read` (YAML) or `Task.model_validate` (plain data)."""

    task: Name
    title: Text
    intended_use: Text
    kind: Kind = "regression"
    target: Target
    data: Data
    fields: tuple[AnyField, ...] = Field(strict=False)
    answers: Answers = Answers()
    groups: tuple[Group, ...] = Field(default=(), strict=False)
    split: Split = Split()
    search: Search = Search()
    baselines: tuple[Baseline, ...] = Field(default=(), strict=False)
    gate: Gate = Gate()
    leakage: Leakage = Leakage()
    journal: Literal["durable", "async"] = Field(
        default="durable", description="Whether an answer waits until it is on disk; async: it leaves before."
    )
    form: Form = Form()

    @model_validator(mode="before")
    @classmethod
    def _defaults_by_kind(cls, data: Any) -> Any:
        """The metric and the gate's baselines of class kinds, where the Task leaves them open."""
        if not isinstance(data, dict) or data.get("kind") not in ("binary", "multiclass"):
            return data
        defaults: dict[str, dict[str, Any]] = {
            "search": {"metric": METRICS[data["kind"]][0]},
            "gate": {"baselines": CLASS_BASELINES},
        }
        given = {key: data.get(key, {}) for key in defaults}
        return data | {key: {**defaults[key], **given[key]} for key in defaults if isinstance(given[key], dict)}

    @model_validator(mode="after")
    def _holds_together(self) -> Task:
        if problems := list(contradictions(self.model_dump(mode="json", exclude_unset=True))):
            raise ValueError("; ".join(str(problem) for problem in problems))
        return self

    @cached_property
    def by_name(self) -> dict[str, AnyField]:
        """The fields by their names, in their order."""
        return {field.name: field for field in self.fields}


def dumps(task: Task) -> str:
    """The Task as JSON text: what travels inside a model version."""
    return json.dumps(task.model_dump(mode="json"), ensure_ascii=False, indent=1)


def days(day: str) -> float:
    """Days since 1970-01-01 of an ISO date."""
    return float((date.fromisoformat(day) - date(1970, 1, 1)).days)
