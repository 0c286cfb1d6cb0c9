"""What a file of rows is, whatever its format: its columns, and its rows in chunks, read and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from feature_store.field import AnyField
from feature_store.task import Task

CHUNK = 2000
"""Rows that are read, answered and kept at once."""

MOST_RECORD_BYTES = 1_000_000
"""Of one row of a text file, so that a file without line ends is not read into memory."""


@dataclass(frozen=True)
class Column:
    """One column that is appended. kind: float, str or bool; any value may be None."""

    name: str
    kind: type


@dataclass(frozen=True)
class Chunk:
    """Some rows in their order. rows: column -> value as the file has it, text in a CSV; batch: Arrow's, of Parquet."""

    rows: Sequence[Mapping[str, Any]]
    batch: Any = None


class Source(Protocol):
    """A file that was looked through once: it can be read to its end. names: its columns in order; total: its rows."""

    names: list[str]
    total: int

    def chunks(self, start: int, names: Sequence[str] | None = None) -> Iterator[Chunk]:
        """The rows from `start` on, up to CHUNK at once; names: the columns that are needed, all if None.

        Raises TableUnreadable.
        """

    def plain(self, field: AnyField, value: Any) -> Any:
        """A value of a field as JSON would hold it, unknown as None; what is none of its kind comes back as it is."""


class Sink(Protocol):
    """A file that is being written."""

    def write(self, chunk: Chunk, answers: Sequence[Sequence[Any]]) -> None:
        """Append rows, each with its answer: one value a column that was announced."""

    def close(self) -> None:
        """All is on disk when this returns."""


def named(names: Sequence[str], columns: Sequence[Column]) -> list[Column]:
    """The columns to append, `_answer` added to a name that the file has already."""
    taken, out = set(names), []
    for column in columns:
        name = column.name
        while name in taken:
            name += "_answer"
        taken.add(name)
        out.append(Column(name, column.kind))
    return out


def plain(field: AnyField, value: Any) -> Any:
    """A value with a type as JSON would hold it: a flag may be 0 or 1, a category's word a whole number."""
    if value is None or value != value:
        return None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if field.type == "flag" and not isinstance(value, bool) and value in (0, 1):
        return bool(value)
    if field.type == "category" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def values(task: Task, source: Source, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a file as another format may hold it: fields by their types, other columns as they are."""
    fields = task.by_name
    return {name: source.plain(fields[name], value) if name in fields else value for name, value in row.items()}
