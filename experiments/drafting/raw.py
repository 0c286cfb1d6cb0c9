"""Columns as the draft's SQL gives them: words that are numbers or dates cast, what holds no values left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from experiments.drafting import names
from experiments.drafting.write import identifier, shown
from feature_store import offline

UNKNOWN = frozenset((
    "", "na", "n/a", "n.a.", "#n/a", "nan", "null", "nil", "unknown", "unk", "not known", "not available", "missing",
    "undefined", "not stated", "?", "-", "--", ".", "未知", "不详", "缺失", "未填", "未填写", "无数据", "不明",
))  # fmt: skip
"""Words, small and trimmed, that stand for unknown. `none` is not here: it may mean that there is none."""

MOSTLY = 0.95
"""Share of known words that must be numbers, or dates, for a column to be one of these with slips."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+(,\d+)?", re.ASCII)
_CODE = re.compile(r"0\d+", re.ASCII)
_DATE = re.compile(r"(\d{4})([-/])\d{1,2}[-/]\d{1,2}(?P<time>[ T]\d.*)?", re.ASCII)


@dataclass(frozen=True)
class LeftOut:
    """A column that is no field, and why."""

    column: str
    reason: str


@dataclass(frozen=True)
class Raw:
    """A column. sql: the expression that gives it; array: its values; note: what was done to it."""

    column: str
    sql: str
    array: pa.ChunkedArray
    note: str = ""


def read(table: pa.Table) -> tuple[list[Raw], list[LeftOut]]:
    """The columns in their order, cast where that makes more of them; and those that hold no single values."""
    raws, left = [], []
    for place, column in enumerate(table.column_names):
        array = table.column(place)
        if pa.types.is_dictionary(array.type):  # DuckDB's ENUM
            array = array.cast(array.type.value_type)
        if not column or not column.isprintable():
            left.append(LeftOut(column, "its name is empty or holds a line break: rename it"))
        elif reason := _no_value(array.type):
            left.append(LeftOut(column, reason))
        else:
            sql, note = _cast(column, array)
            raws.append(Raw(column, sql, array, note))
    return _as_cast(table, raws), left


def _no_value(kind: pa.DataType) -> str | None:
    if pa.types.is_nested(kind):
        return "holds lists or objects: select what is in them in data.sql"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "holds bytes"
    if pa.types.is_duration(kind) or str(kind).startswith("month"):
        return "holds time spans: make a number of them in data.sql (epoch(it) gives seconds)"
    return None


def _as_cast(table: pa.Table, raws: list[Raw]) -> list[Raw]:
    """The same with the values that DuckDB makes of each cast, all in one query."""
    cast = [place for place, raw in enumerate(raws) if raw.sql != identifier(raw.column)]
    if not cast:
        return raws
    listed = ", ".join(f"{raws[place].sql} AS c{place}" for place in cast)
    made = offline.query(f"SELECT {listed} FROM records", {"records": table}, "the draft")  # noqa: S608
    out = list(raws)
    for place in cast:
        out[place] = replace(raws[place], array=made.column(f"c{place}"))
    return out


def _cast(column: str, array: pa.ChunkedArray) -> tuple[str, str]:
    """The expression of a column, and what it does, or ""."""
    own, kind = identifier(column), array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _of_words(column, counts(array))
    if pa.types.is_time(kind):
        return f"date_part('hour', {own}) + date_part('minute', {own}) / 60.0", "hours of the day"
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return f"make_timestamp(epoch_us({own}))", "in UTC"
    if pa.types.is_integer(kind) and "date" in names.words(column) and _is_yyyymmdd(array):
        return f"CAST(strptime(CAST({own} AS VARCHAR), '%Y%m%d') AS DATE)", "a day written as a number"
    return own, ""


def floats(array: pa.ChunkedArray) -> np.ndarray:
    """(n,) float64, NaN unknown."""
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.string())
    return np.array(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def counts(array: pa.ChunkedArray) -> Counter[str]:
    """Word -> rows, commonest first."""
    found = array.drop_null().value_counts()
    pairs = zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)
    return Counter(dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))))


def is_unknown(word: str) -> bool:
    """Whether a word stands for unknown."""
    return word.strip(" ").casefold() in UNKNOWN


def _of_words(column: str, words: Counter[str]) -> tuple[str, str]:
    known = Counter({word: n for word, n in words.items() if not is_unknown(word)})
    own, text = identifier(column), f"trim({identifier(column)})"
    dates = [found for word in list(known)[:1000] if (found := _DATE.fullmatch(word.strip(" ")))]
    if _most(known, lambda word: _DATE.fullmatch(word) is not None):
        kind = "TIMESTAMP" if any(found["time"] for found in dates) else "DATE"
        value = f"replace({text}, '/', '-')" if any(found[2] == "/" for found in dates) else text
        return f"TRY_CAST({value} AS {kind})", _lost(words, _DATE, "a date")
    if names.is_coded(column) or any(_CODE.fullmatch(word.strip(" ")) for word in known):
        return own, ""
    if _most(known, lambda word: _NUMBER.fullmatch(word) is not None):
        return f"TRY_CAST({text} AS DOUBLE)", _lost(words, _NUMBER, "a number")
    fractions = [word.partition(",")[2] for word in known]
    if _most(known, lambda word: _COMMA.fullmatch(word) is not None) and any(len(f) not in (0, 3) for f in fractions):
        return f"TRY_CAST(replace({text}, ',', '.') AS DOUBLE)", "decimal commas"
    return own, ""


def _most(known: Counter[str], fits: Callable[[str], bool]) -> bool:
    """Whether words fit in MOSTLY of the rows; a first look spares the rest."""
    some = list(known)[:50]
    if not some or sum(fits(word.strip(" ")) for word in some) < 0.5 * len(some):
        return False
    return sum(n for word, n in known.items() if fits(word.strip(" "))) >= MOSTLY * known.total()


def _lost(words: Counter[str], pattern: re.Pattern[str], what: str) -> str:
    lost = [(word, n) for word, n in words.items() if not pattern.fullmatch(word.strip(" "))]
    if not lost:
        return ""
    listed = ", ".join(f"{shown(repr(word), 20)}" for word, _ in lost[:3])
    return f"not {what}, so unknown: {listed}{', ...' if len(lost) > 3 else ''} ({sum(n for _, n in lost):,} rows)"


def _is_yyyymmdd(array: pa.ChunkedArray) -> bool:
    known = np.unique(array.drop_null().to_numpy().astype(np.float64))
    if len(known) < 2 or known[0] < 18500101 or known[-1] > 21991231:
        return False
    days = [f"{int(day) // 10000:04d}-{int(day) // 100 % 100:02d}-{int(day) % 100:02d}" for day in known]
    try:
        np.array(days, dtype="datetime64[D]")
    except ValueError:
        return False
    return True
