"""Every problem of a table against its Task, all at once: column, rows, values and remedy."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.codes import CODES, missing_codes
from feature_store.field import AnyField, NumberField
from feature_store.task import Target, Task, days

Severity = Literal["error", "warning"]

HIGH_MISSING = 0.95
"""From this share of unknown values on, a field is called nearly empty."""


@dataclass(frozen=True)
class Finding:
    """One problem. An error stops training, a warning does not.

    column: "" for the whole table; count: rows concerned; rows: the first five of them, 0-based, none when
    every row is concerned. The message shows values: it is for the data scientist, not for a log.
    """

    column: str
    code: str
    severity: Severity
    count: int
    rows: tuple[int, ...]
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity} {self.code}: {self.column or 'the table'}: {self.message}\n  {self.remedy}"


def check(task: Task, table: pa.Table) -> list[Finding]:
    """The problems of `table`, the result of the Task's SQL: errors first, then in the Task's order.

    Never raises for what a table holds. A column of a wrong type gets that one finding and is judged no further.
    """
    findings, columns = list(_check_names(task, table)), []
    for spec in (task.target, *task.fields):
        if table.column_names.count(spec.name) == 1:
            column = _read(spec, table.column(spec.name))
            if isinstance(column, Finding):
                findings.append(column)
            else:
                columns.append(column)
                findings += [finding for judge in _COLUMN_CHECKS for finding in judge(column)]
    findings += _check_size(task, table, columns)
    findings += _find_twins(task, columns)
    if table.num_rows and len(columns) == 1 + len(task.fields):
        findings += _find_repeated_rows(columns)
    return sorted(findings, key=lambda finding: finding.severity)


@dataclass(frozen=True)
class _Column:
    """A column as numbers. values: (n,) float64, NaN unknown.

    A flag is 0 or 1, a date its days since 1970-01-01, a category the position of its word in `words`.
    """

    spec: AnyField | Target
    values: np.ndarray
    words: pa.Array | None

    @property
    def kind(self) -> str:
        return _kind(self.spec)

    @property
    def known(self) -> np.ndarray:
        """The finite values, in order."""
        finite: np.ndarray = self.values[np.isfinite(self.values)]
        return finite

    def show(self, value: float) -> str:
        if self.words is not None:  # through bytes: Arrow text need not be valid UTF-8
            return repr(self.words[int(value)].as_buffer().to_pybytes()[:40].decode(errors="replace"))
        if self.kind == "date":
            return str(np.datetime64(int(value), "D"))
        return f"{value:.15g}"

    def find(self, code: str, severity: Severity, where: np.ndarray, what: str, remedy: str) -> Iterator[Finding]:
        """A finding for the rows where the mask is true, with up to three of their values; none for no row."""
        places = np.flatnonzero(where)
        if places.size:
            values = dict.fromkeys(self.show(value) for value in self.values[places[:1000]] if not math.isnan(value))
            shown = f": {', '.join(list(values)[:3])}" if values else ""
            rows = tuple(places[:5].tolist())
            message = f"{_several(places.size, 'value')} {what}{shown} ({_place(rows, places.size)})."
            yield Finding(self.spec.name, code, severity, places.size, rows, message, remedy)


def _kind(spec: AnyField | Target) -> str:
    return "number" if isinstance(spec, Target) else spec.type


def _several(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _place(rows: tuple[int, ...], count: int) -> str:
    more = ", ..." if count > len(rows) else ""
    return f"row{'' if count == 1 else 's'} {', '.join(map(str, rows))}{more}"


# --- names ------------------------------------------------------------------------------------------------------


def _check_names(task: Task, table: pa.Table) -> Iterator[Finding]:
    declared, there, n = [task.target.name, *task.by_name], table.column_names, table.num_rows
    for name in declared:
        if name not in there:
            close = difflib.get_close_matches(name, [column for column in there if column not in declared], n=1)
            hint = f" It does select {close[0]!r}: write `{close[0]} AS {name}`." if close else ""
            message = "declared in the Task, but data.sql does not select it."
            yield Finding(name, "missing_column", "error", n, (), message, f"Select it, or remove the field.{hint}")
    for name in dict.fromkeys(there):
        if there.count(name) > 1:
            message = f"data.sql selects {there.count(name)} columns of this name."
            yield Finding(name, "ambiguous_column", "error", n, (), message, "Keep one, or rename with AS.")
        if name not in declared:
            message = "selected by data.sql, but no field: it is not learnt from."
            yield Finding(name, "extra_column", "warning", n, (), message, "Declare a field, or do not select it.")


# --- types ------------------------------------------------------------------------------------------------------


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_flag(kind: pa.DataType) -> bool:
    return pa.types.is_boolean(kind) or _is_number(kind)  # 0 and 1 are fine; other numbers are found by value


def _is_day(kind: pa.DataType) -> bool:
    """A time with a zone is none: its day depends on the zone, which the SQL must choose."""
    return bool(pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None))


_ACCEPTS: dict[str, tuple[Callable[[pa.DataType], bool], str, str]] = {
    "number": (
        _is_number,
        "numbers",
        "Write `CAST({name} AS DOUBLE) AS {name}` in data.sql, or mend the field's type.",
    ),
    "category": (_is_text, "words", "Write `CAST({name} AS VARCHAR) AS {name}` in data.sql, or mend the field's type."),
    "flag": (_is_flag, "yes or no", "Write `{name} = 'yes' AS {name}`, say, in data.sql, or mend the field's type."),
    "date": (_is_day, "dates", "Write `CAST({name} AS DATE) AS {name}` in data.sql, or mend the field's type."),
}
"""Kind of field -> the Arrow types it may have, what they are called, what to do about others."""


def _read(spec: AnyField | Target, column: pa.ChunkedArray) -> _Column | Finding:
    if pa.types.is_dictionary(column.type):  # DuckDB's ENUM
        column = column.cast(column.type.value_type)
    accepts, _, _ = _ACCEPTS[_kind(spec)]
    if not accepts(column.type) and not pa.types.is_null(column.type):
        return _refuse_type(spec, column)
    try:
        words, numbers = None, column
        if _kind(spec) == "category":
            encoded = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
            words, numbers = encoded.dictionary, encoded.indices
        elif _kind(spec) == "date":
            numbers = column.cast(pa.date32()).cast(pa.int32())
        elif pa.types.is_decimal(column.type):  # through text: a decimal 198.1 must become the float 198.1
            numbers = column.cast(pa.string())
        values = numbers.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) + 0.0  # a copy; -0 becomes 0
    except pa.ArrowException:
        return _refuse_type(spec, column)
    values[np.isnan(values)] = np.nan  # one bit pattern for all
    return _Column(spec, values, words)


def _refuse_type(spec: AnyField | Target, column: pa.ChunkedArray) -> Finding:
    _, expected, remedy = _ACCEPTS[_kind(spec)]
    there = np.flatnonzero(column.is_valid().to_numpy())
    rows = tuple(there[:5].tolist())
    try:
        texts = dict.fromkeys(column.take(there[:100]).cast(pa.string()).to_pylist())
        shown = ", ".join(repr(text[:40]) for text in list(texts)[:3])
    except (pa.ArrowException, UnicodeDecodeError):  # nested and binary values have no text
        shown = ""
    found = f"{str(column.type)[:60]}{f', such as {shown}' if shown else ''}"
    message = f"holds {found}, where {expected} are expected."
    return Finding(spec.name, "wrong_type", "error", len(there), rows, message, remedy.format(name=spec.name))


# --- values -----------------------------------------------------------------------------------------------------


def _find_unknown(column: _Column) -> Iterator[Finding]:
    unknown, name, n = np.isnan(column.values), column.spec.name, len(column.values)
    count = int(unknown.sum())
    if isinstance(column.spec, Target):
        severity: Severity = "error" if count == n else "warning"
        remedy = f"They are left out; say so in data.sql: WHERE {name} IS NOT NULL."
        yield from column.find("missing_target", severity, unknown, "of the target unknown", remedy)
    elif n and count == n:
        severity = "error" if column.spec.required else "warning"
        message = f"unknown in {_several(n, 'row')}: in all of them."
        yield Finding(name, "all_missing", severity, n, (), message, "Mend its line in data.sql, or remove the field.")
    elif n and count >= HIGH_MISSING * n:
        remedy = "Mend its line in data.sql, or remove the field if so little is worth no question."
        yield from column.find("high_missing", "warning", unknown, f"of {n:,} unknown", remedy)


def _find_constant(column: _Column) -> Iterator[Finding]:
    known, name = column.known, column.spec.name
    if known.size > 1 and known.min() == known.max():
        target = isinstance(column.spec, Target)
        message = f"always {column.show(known[0])} where known ({_several(known.size, 'row')})."
        remedy = "There is nothing to learn: mend data.sql." if target else "Remove the field, or mend data.sql."
        yield Finding(name, "constant", "error" if target else "warning", known.size, (), message, remedy)


def _find_infinite(column: _Column) -> Iterator[Finding]:
    name = column.spec.name
    remedy = f"Make them unknown in data.sql: CASE WHEN isfinite({name}) THEN {name} END; look for a division by 0."
    yield from column.find("not_finite", "error", np.isinf(column.values), "not finite", remedy)


def _find_broken(column: _Column) -> Iterator[Finding]:
    """Numbers that are no whole number, or neither yes nor no."""
    values, name = column.values, column.spec.name
    if isinstance(column.spec, NumberField) and column.spec.integer:
        broken = np.isfinite(values) & (values != np.floor(values))
        remedy = f"Round them in data.sql: round({name}), or drop `integer: true`."
        yield from column.find("wrong_type", "error", broken, "not whole", remedy)
    if column.kind == "flag":
        broken = np.isfinite(values) & (values != 0) & (values != 1)
        remedy = f"Say in data.sql which value means yes: {name} = 1 AS {name}."
        yield from column.find("wrong_type", "error", broken, "neither 0 nor 1", remedy)


def _find_beyond(column: _Column) -> Iterator[Finding]:
    limits = getattr(column.spec, "limits", None)
    if limits is None:
        return
    low, high = (days(limit) if isinstance(limit, str) else limit for limit in limits)
    beyond = np.isfinite(column.values) & ((column.values < low) | (column.values > high))
    name, quote = column.spec.name, "'" if column.kind == "date" else ""
    between = f"{name} BETWEEN {quote}{column.show(low)}{quote} AND {quote}{column.show(high)}{quote}"
    unit = getattr(column.spec, "unit", None) or ""
    leave = f"WHERE {between} leaves the rows out" if isinstance(column.spec, Target) else ""
    mend = leave or f"CASE WHEN {between} THEN {name} END makes them unknown"
    remedy = f"Mend them in data.sql ({mend}), or widen the limits."
    what = f"beyond {column.show(low)} to {column.show(high)} {unit}".rstrip()
    yield from column.find("beyond_limits", "error", beyond, what, remedy)


def _find_unlisted(column: _Column) -> Iterator[Finding]:
    choices = getattr(column.spec, "choices", None)
    if choices is None or column.words is None:
        return
    listed = [choice.value for choice in choices]
    allowed = pc.is_in(column.words, value_set=pa.array(listed, pa.large_string())).to_numpy(zero_copy_only=False)
    unlisted = ~np.isnan(column.values)
    unlisted[unlisted] = ~allowed[column.values[unlisted].astype(np.int64)]
    remedy = f"Spell them in data.sql as one of {', '.join(listed)}; or add them to the choices."
    yield from column.find("not_a_choice", "error", unlisted, "not among the choices", remedy)


# --- codes for "unknown" ----------------------------------------------------------------------------------------


def _find_codes(column: _Column) -> Iterator[Finding]:
    """Codes for unknown that look like numbers; see `feature_store.codes`."""
    known = column.known
    if column.kind != "number" or not known.size or not np.isin([known.min(), known.max()], CODES).any():
        return
    suspects, low, high = missing_codes(known)
    listed, name = ", ".join(column.show(code) for code in suspects), column.spec.name
    what = f"of {listed}, far from the others ({column.show(low)} to {column.show(high)})"
    remedy = f"If this is a code for unknown, write nullif({name}, {listed.split(', ')[0]}) in data.sql."
    yield from column.find("missing_code", "warning", np.isin(column.values, suspects), what, remedy)


_COLUMN_CHECKS: tuple[Callable[[_Column], Iterator[Finding]], ...] = (
    _find_unknown,
    _find_constant,
    _find_infinite,
    _find_broken,
    _find_beyond,
    _find_unlisted,
    _find_codes,
)


# --- the table --------------------------------------------------------------------------------------------------


def _check_size(task: Task, table: pa.Table, columns: list[_Column]) -> Iterator[Finding]:
    """Outside the holdout there must be two rows a fold, and c / (1 - c) rows for a conformal interval of level c.

    The latter is where the ceil((n + 1) c)-th of n residuals exists: Lei et al. 2018, JASA 113(523), section 2.2.
    """
    level, folds, holdout = task.answers.interval, task.split.folds, task.split.holdout
    needed = math.ceil(max(2 * folds, level / (1 - level)) / (1 - holdout) - 1e-9)
    target = [column for column in columns if isinstance(column.spec, Target)]
    rows = target[0].known.size if target else table.num_rows
    if rows < needed:
        message = (
            f"{_several(rows, 'row')} with a known target; {needed} are the least for {folds} folds, "
            f"a holdout of {holdout:g} and intervals of {level:g}."
        )
        yield Finding("", "too_few_rows", "error", rows, (), message, "Bring more rows, or ask for fewer folds.")


def _find_twins(task: Task, columns: list[_Column]) -> Iterator[Finding]:
    """Columns that tell the same in every row; a one-to-one respelling of a category does too."""
    seen: dict[bytes, str] = {}
    for column in columns:
        if not column.known.size or column.known.min() == column.known.max():
            continue
        name, digest = column.spec.name, hashlib.blake2b(column.values.tobytes()).digest()
        first = seen.setdefault(digest, name)
        if first == task.target.name != name:
            message = f"has the values of the target {first} in all {_several(len(column.values), 'row')}."
            remedy = "It would predict itself: remove the field."
            yield Finding(name, "duplicate_columns", "error", len(column.values), (), message, remedy)
        elif first != name:
            message = f"tells the same as {first} in all {_several(len(column.values), 'row')}."
            remedy = "Keep one of the two fields, or mend data.sql."
            yield Finding(name, "duplicate_columns", "warning", len(column.values), (), message, remedy)


def _find_repeated_rows(columns: list[_Column]) -> Iterator[Finding]:
    """Rows equal to an earlier one, by a 64-bit hash: one table in 37 million of 1 M rows has a false one."""
    mixed = np.zeros(len(columns[0].values), np.uint64)
    for column in columns:
        mixed = (mixed ^ column.values.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    repeated = np.ones(len(mixed), bool)
    repeated[np.unique(mixed, return_index=True)[1]] = False
    places = np.flatnonzero(repeated)
    if places.size:
        rows = tuple(places[:5].tolist())
        same = f"{_several(places.size, 'row')} equal to an earlier one in every column ({_place(rows, places.size)})."
        remedy = "If they are copies, write SELECT DISTINCT in data.sql: a copy in the holdout flatters the model."
        yield Finding("", "duplicate_rows", "warning", places.size, rows, same, remedy)
