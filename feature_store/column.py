"""A column of a table as numbers, or the finding that its type is a wrong one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from feature_store.field import AnyField
from feature_store.finding import Finding, Severity, place, several
from feature_store.labels import texts
from feature_store.task import Target

Kind = Literal["number", "category", "flag", "date", "class"]
"""A field's type; a target is a number, or the class of a row."""


@dataclass(frozen=True)
class Column:
    """A column as numbers. values: (n,) float64, NaN unknown.

    A flag is 0 or 1, a date its days since 1970-01-01, a category or class the position of its word in `words`.
    stored: the type that it has in the table.
    """

    spec: AnyField | Target
    kind: Kind
    values: np.ndarray
    stored: pa.DataType
    words: pa.Array | None = None

    @property
    def known(self) -> np.ndarray:
        """The finite values, in order."""
        finite: np.ndarray = self.values[np.isfinite(self.values)]
        return finite

    def show(self, value: float) -> str:
        """A value as a message shows it."""
        if self.words is not None:
            return repr(self.word(int(value))[:40])
        if self.kind == "date":
            return str(np.datetime64(int(value), "D"))
        return f"{value:.15g}"

    def word(self, position: int) -> str:
        """The word at a position; through bytes, for Arrow text need not be valid UTF-8."""
        assert self.words is not None
        text: bytes = self.words[position].as_buffer().to_pybytes()
        return text.decode(errors="replace")

    def find(self, code: str, severity: Severity, where: np.ndarray, what: str, remedy: str) -> Iterator[Finding]:
        """A finding for the rows where the mask is true, with up to three of their values; none for no row."""
        places = np.flatnonzero(where)
        if places.size:
            values = dict.fromkeys(self.show(value) for value in self.values[places[:1000]] if not math.isnan(value))
            shown = f": {', '.join(list(values)[:3])}" if values else ""
            rows = tuple(places[:5].tolist())
            message = f"{several(places.size, 'value')} {what}{shown} ({place(rows, places.size)})."
            yield Finding(self.spec.name, code, severity, places.size, rows, message, remedy)


def read(spec: AnyField | Target, kind: Kind, column: pa.ChunkedArray) -> Column | Finding:
    """The column, or the finding that its type does not fit its kind."""
    if pa.types.is_dictionary(column.type):  # DuckDB's ENUM
        column = column.cast(column.type.value_type)
    accepts, _, _ = _ACCEPTS[kind]
    if not accepts(column.type) and not pa.types.is_null(column.type):
        return _refuse_type(spec, kind, column)
    try:
        words, numbers = None, column
        if kind in ("category", "class"):
            text = texts(column) if kind == "class" else column.cast(pa.large_string()).combine_chunks()
            encoded = text.dictionary_encode()
            words, numbers = encoded.dictionary, encoded.indices
        elif kind == "date":
            numbers = column.cast(pa.date32()).cast(pa.int32())
        elif pa.types.is_decimal(column.type):  # through text: a decimal 198.1 must become the float 198.1
            numbers = column.cast(pa.string())
        values = numbers.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) + 0.0  # a copy; -0 becomes 0
    except pa.ArrowException:
        return _refuse_type(spec, kind, column)
    values[np.isnan(values)] = np.nan  # one bit pattern for all
    return Column(spec, kind, values, column.type, words)


def is_number(kind: pa.DataType) -> bool:
    """Integers, floats and decimals; true and false are none."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_flag(kind: pa.DataType) -> bool:
    return pa.types.is_boolean(kind) or is_number(kind)  # 0 and 1 are fine; other numbers are found by value


def _is_class(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_flag(kind)  # numbers that are not whole are found by value


def _is_day(kind: pa.DataType) -> bool:
    """A time with a zone is none: its day depends on the zone, which the SQL must choose."""
    return bool(pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None))


_ACCEPTS: dict[Kind, tuple[Callable[[pa.DataType], bool], str, str]] = {
    "number": (
        is_number,
        "numbers",
        "Write `CAST({name} AS DOUBLE) AS {name}` in data.sql, or mend the field's type.",
    ),
    "category": (_is_text, "words", "Write `CAST({name} AS VARCHAR) AS {name}` in data.sql, or mend the field's type."),
    "flag": (_is_flag, "yes or no", "Write `{name} = 'yes' AS {name}`, say, in data.sql, or mend the field's type."),
    "date": (_is_day, "dates", "Write `CAST({name} AS DATE) AS {name}` in data.sql, or mend the field's type."),
    "class": (
        _is_class,
        "words, true and false, or whole numbers",
        "Write `CAST({name} AS VARCHAR) AS {name}` in data.sql, or `kind: regression` in the Task.",
    ),
}
"""Kind of column -> the Arrow types it may have, what they are called, what to do about others."""


def _refuse_type(spec: AnyField | Target, kind: Kind, column: pa.ChunkedArray) -> Finding:
    _, expected, remedy = _ACCEPTS[kind]
    there = np.flatnonzero(column.is_valid().to_numpy())
    rows = tuple(there[:5].tolist())
    try:
        shown_values = dict.fromkeys(column.take(there[:100]).cast(pa.string()).to_pylist())
        shown = ", ".join(repr(text[:40]) for text in list(shown_values)[:3])
    except (pa.ArrowException, UnicodeDecodeError):  # nested and binary values have no text
        shown = ""
    found = f"{str(column.type)[:60]}{f', such as {shown}' if shown else ''}"
    message = f"holds {found}, where {expected} are expected."
    return Finding(spec.name, "wrong_type", "error", len(there), rows, message, remedy.format(name=spec.name))
