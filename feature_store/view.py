"""The View: what is known about an entity at an instant, declared once and worked out offline and online alike."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from feature_store.field import Frozen, Name, Text
from feature_store.view_coherence import contradictions

UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
MONDAY_US = 4 * UNITS_US["d"]
"""1970-01-05, a Monday: grids are counted from here, so `1w` begins on Mondays and `1d` at midnight."""

DURATION = r"^[1-9][0-9]{0,4}[smhdw]$"
Duration = Annotated[str, Field(pattern=DURATION)]
"""A whole number of seconds, minutes, hours, days or weeks, such as `7d`."""

KIND = r"^(int|text|flag|float32|float64|decimal\([0-9]\))$"
Kind = Annotated[str, Field(pattern=KIND)]
"""What a column holds: see `feature_store/value.py`."""

Aggregate = Literal["sum", "count", "mean", "min", "max", "last", "distinct", "ratio", "difference"]


def microseconds(duration: str) -> int:
    """`7d` as microseconds."""
    return int(duration[:-1]) * UNITS_US[duration[-1]]


class Rows(Frozen):
    """Where events come from: named files under GANCAO_DATA, and one DuckDB SELECT over them, a row an event."""

    sources: dict[Name, str] = Field(min_length=1, description="View name -> .parquet, .csv or .jsonl file.")
    sql: str = Field(min_length=1)
    citation: str | None = None


class Attributes(Frozen):
    """What does not change about an entity: one row each, with the entity's columns and these."""

    data: Rows
    columns: dict[Name, Kind] = Field(min_length=1)


Pair = Annotated[tuple[Name, Name], Field(strict=False)]


class Feature(Frozen):
    """One number about an entity: an aggregate of a column over a window, or two features combined.

    window: events in (T - w, T]; ahead: events in (T, T + w]; neither: all up to T. Always only what is known at T.
    ratio: NULL where either is NULL or the divisor is 0. difference: the first less the second.
    """

    sum: Name | None = None
    count: Literal[True] | Name | None = Field(default=None, description="true: events; a column: its values.")
    mean: Name | None = None
    min: Name | None = None
    max: Name | None = None
    last: Name | None = Field(default=None, description="The value of the latest event that has one.")
    distinct: Name | None = None
    ratio: Pair | None = None
    difference: Pair | None = None
    window: Duration | None = None
    ahead: Duration | None = None

    @cached_property
    def aggregate(self) -> Aggregate:
        """The one key that is given."""
        return next(key for key in get_args(Aggregate) if getattr(self, key) is not None)

    @property
    def column(self) -> str | None:
        """The column that is aggregated; None for a count of events, and for a ratio or difference."""
        value = getattr(self, self.aggregate)
        return value if isinstance(value, str) else None

    @property
    def pair(self) -> tuple[str, str] | None:
        """The two features of a ratio or difference."""
        return self.ratio or self.difference

    @cached_property
    def window_us(self) -> int | None:
        """The window in microseconds; None without one."""
        return microseconds(self.window) if self.window else None

    @cached_property
    def ahead_us(self) -> int | None:
        """The window ahead in microseconds; None without one."""
        return microseconds(self.ahead) if self.ahead else None

    def reaches(self, since: int, event: int) -> bool:
        """Whether an event at this time lies in the window as of `since`, both in microseconds."""
        if self.ahead_us is not None:
            return since < event <= since + self.ahead_us
        return event <= since and (self.window_us is None or event > since - self.window_us)


class View(Frozen):
    """A feature view, whole. Read it with `viewfile.read` (YAML) or `View.model_validate` (plain data).

    An event is one row, told from the other events of its entity by `id`. Entity and id columns are text, or `int`
    where `columns` says so. It counts as of T where `event_time` lies in a feature's window and `known_time` <= T.
    """

    view: Name
    title: Text
    entity: tuple[Name, ...] = Field(strict=False, description="A column, or several: what is described.")
    data: Rows
    id: tuple[Name, ...] = Field(strict=False, description="Columns that tell the events of one entity apart.")
    event_time: Name
    known_time: Name | None = Field(default=None, description="When the event is known; left open: when it happens.")
    every: Duration | None = Field(default=None, description="Instants are floored to this grid before all else.")
    latest: Duration = Field(default="366d", description="An event later than this after it is known is refused.")
    columns: dict[Name, Kind]
    features: dict[Name, Feature]
    attributes: Attributes | None = None

    @field_validator("entity", "id", mode="before")
    @classmethod
    def _one(cls, data: Any) -> Any:
        return (data,) if isinstance(data, str) else data

    @model_validator(mode="after")
    def _holds_together(self) -> View:
        if problems := list(contradictions(self.model_dump(mode="json", exclude_unset=True))):
            raise ValueError("; ".join(str(problem) for problem in problems))
        return self

    @property
    def known(self) -> str:
        """The column that says when an event is known."""
        return self.known_time or self.event_time

    @cached_property
    def latest_us(self) -> int:
        """`latest` in microseconds."""
        return microseconds(self.latest)

    def kind(self, column: str) -> str:
        """What a column of an event holds: as declared, else text (entity and id)."""
        return self.columns.get(column, "text")

    def floor(self, instant: int) -> int:
        """The instant on the view's grid, in microseconds: not after `instant`."""
        if self.every is None:
            return instant
        return instant - (instant - MONDAY_US) % microseconds(self.every)

    @cached_property
    def values(self) -> tuple[str, ...]:
        """The columns that features use, in the order of `columns`: the part of an event that is kept."""
        used = {feature.column for feature in self.features.values()}
        return tuple(name for name in self.columns if name in used)

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Name -> kind of everything that is known about an entity: features in their order, then attributes."""
        found: dict[str, str] = {}
        for name, feature in self.features.items():
            found[name] = _output(feature, self.columns, found)
        return found | dict(self.attributes.columns if self.attributes else {})

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hex, of all that changes a number: not of titles and citations, and `1w` is `7d`."""
        lengths = {"every": self.every, "latest": self.latest}
        features = [
            [name, feature.aggregate, getattr(feature, feature.aggregate), feature.window_us, feature.ahead_us]
            for name, feature in self.features.items()
        ]
        parts: dict[str, Any] = {
            **{key: getattr(self, key) for key in ("view", "entity", "id", "event_time", "known_time")},
            **{key: value and microseconds(value) for key, value in lengths.items()},
            "data": _source(self.data),
            "columns": list(self.columns.items()),
            "features": features,
            "attributes": self.attributes and [_source(self.attributes.data), list(self.attributes.columns.items())],
        }
        text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _source(rows: Rows) -> list[Any]:
    return [rows.sources, rows.sql]


def _output(feature: Feature, columns: dict[str, str], before: dict[str, str]) -> str:
    """What a feature holds. Sums of flags count those that are set; a difference of like exact numbers is exact."""
    if feature.pair is not None:
        first, second = (before[name] for name in feature.pair)
        exact = first == second and first.startswith(("int", "decimal"))
        return first if exact and feature.difference else "float64"
    if feature.aggregate in ("count", "distinct"):
        return "int"
    if feature.aggregate == "mean":
        return "float64"
    kind = columns[feature.column or ""]
    return "int" if feature.aggregate == "sum" and kind == "flag" else kind


def dumps(view: View) -> str:
    """The View as JSON text: what travels inside a model version."""
    return json.dumps(view.model_dump(mode="json", exclude_none=True), ensure_ascii=False, indent=1)
