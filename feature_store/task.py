"""The Task: what to predict, from what, and how the answer is judged. All else is derived from it."""

from __future__ import annotations

import json
import re
from datetime import date
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from feature_store.coherence import contradictions
from feature_store.field import AnyField, Frozen, Name, Number, Text


class Target(Frozen):
    """What is predicted. `limits` are inclusive; answers are clipped to them."""

    name: Name
    unit: str
    limits: tuple[Number, Number] = Field(strict=False)
    label: Text
    digits: int = Field(default=0, ge=0, le=9, description="Decimals that people are shown.")


class Data(Frozen):
    """Where the rows come from: named files under GANCAO_DATA, and one DuckDB SELECT over them."""

    sources: dict[Name, str] = Field(min_length=1, description="View name -> .parquet, .csv or .jsonl file.")
    sql: str = Field(min_length=1)
    citation: str | None = None


class Event(Frozen):
    """Something that can come true of the target: below, at least, or between two values."""

    name: Name
    label: Text
    below: Number | None = None
    at_least: Number | None = None
    between: tuple[Number, Number] | None = Field(default=None, strict=False)
    source: Text | None = None


class Answers(Frozen):
    """What every answer holds besides its value."""

    interval: Number = Field(default=0.9, ge=0.5, le=0.99)
    events: tuple[Event, ...] = Field(default=(), strict=False)


class Group(Frozen):
    """Cases for which error and coverage are reported and coverage is guaranteed.

    A category or flag groups by its value; a number needs `cuts`: (37,) gives `<37` and `>=37`.
    """

    field: Name
    cuts: tuple[Number, ...] = Field(default=(), strict=False)


class Split(Frozen):
    """How rows are held out and folded."""

    kind: Literal["random"] = "random"
    holdout: Number = Field(default=0.2, ge=0.05, le=0.5)
    folds: int = Field(default=5, ge=2, le=20)


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


Learner = Literal["lightgbm", "xgboost", "linear"]
LEARNERS: tuple[Learner, ...] = ("lightgbm", "xgboost", "linear")
DEFAULT_BUDGET = Budget(seconds=60)


class Search(Frozen):
    """What may be tried, and for how long."""

    metric: Literal["rmse", "mae"] = "rmse"
    budget: Budget = DEFAULT_BUDGET
    learners: tuple[Learner, ...] = Field(default=LEARNERS, strict=False)
    max_members: int = Field(default=4, ge=1, le=20, description="Models in the ensemble: the bound on a row's time.")


class Baseline(Frozen):
    """A rule of the field to beat: the median of the target among training rows with the same field value."""

    name: Name
    median_by: Name


class Gate(Frozen):
    """What a version must not lose to, on the holdout, to be promoted."""

    baselines: tuple[str, ...] = Field(default=("mean", "linear", "lightgbm_defaults"), strict=False)
    confidence: Number = Field(default=0.95, gt=0.5, lt=1)


class Section(Frozen):
    """A group of fields on the form."""

    title: Text
    fields: tuple[Name, ...] = Field(strict=False)


class Form(Frozen):
    """The order of the form. Fields that no section names come last."""

    sections: tuple[Section, ...] = Field(default=(), strict=False)


class Task(Frozen):
    """One prediction task, whole. Read it with `taskfile.read` (YAML) or `Task.model_validate` (plain data)."""

    task: Name
    title: Text
    intended_use: Text
    kind: Literal["regression"] = "regression"
    target: Target
    data: Data
    fields: tuple[AnyField, ...] = Field(strict=False)
    answers: Answers = Answers()
    groups: tuple[Group, ...] = Field(default=(), strict=False)
    split: Split = Split()
    search: Search = Search()
    baselines: tuple[Baseline, ...] = Field(default=(), strict=False)
    gate: Gate = Gate()
    form: Form = Form()

    @model_validator(mode="after")
    def _holds_together(self) -> Task:
        if problems := list(contradictions(self.model_dump(mode="json"))):
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
