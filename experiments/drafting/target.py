"""The target of a draft: a number, one of two classes or one of several, and the rows in which it is known."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from experiments.drafting import names
from experiments.drafting.limits import limits, short
from experiments.drafting.raw import Raw, counts, floats, is_unknown
from experiments.drafting.vocabulary import one_spelling, without
from experiments.drafting.write import literal, literals, number, pair, scalar, shown
from feature_store.check_target import LEAST_ROWS, MOST_CLASSES
from feature_store.codes import missing_codes
from feature_store.errors import NotDrafted
from feature_store.labels import texts
from feature_store.task import Kind

FEW_NUMBERS = 5
"""Whole numbers of so many values or fewer are held to be classes."""


@dataclass(frozen=True)
class Aim:
    """The target. keys: further YAML, already written, with comments; where: conditions of the rows.

    known: (n,) bool, those rows. values: (n,) float64 of a number; unit: of a number.
    places: (n,) 1.0 where a row is of the class `word`.
    """

    column: str
    name: str
    kind: Kind
    sql: str
    keys: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    done: tuple[str, ...]
    where: tuple[str, ...]
    known: np.ndarray
    values: np.ndarray | None = None
    unit: str | None = None
    places: np.ndarray | None = None
    word: str = ""


def find(asked: str, columns: Sequence[str]) -> str:
    """The column that is meant: exactly, else but for case and blanks. Raises NotDrafted with the nearest names."""
    if asked in columns:
        return asked
    folded = [column for column in columns if column.strip().casefold() == asked.strip().casefold()]
    if len(folded) == 1:
        return folded[0]
    close = difflib.get_close_matches(asked, columns, n=3, cutoff=0.5)
    close = close or [column for column in columns if asked.casefold() in column.casefold()][:3]
    some = ", ".join(shown(repr(column)) for column in columns[:20]) + (", ..." if len(columns) > 20 else "")
    hint = f"Did you mean {' or '.join(shown(repr(column)) for column in close)}?" if close else f"There are {some}."
    raise NotDrafted(f"The table has no column {shown(repr(asked))} to predict.\n{hint}")


def look(raw: Raw, name: str, positive: str | None) -> Aim:
    """What the target is. Raises NotDrafted where nothing can be predicted of it."""
    kind = raw.array.type
    done: tuple[str, ...] = (raw.note,) if raw.note else ()
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        raise NotDrafted(
            f"{shown(raw.column)} is a time, which is no target.\n"
            "Make a number of it first: the days from a time that is known when it is asked, say."
        )
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _of_words(raw, name, positive, done)
    if pa.types.is_boolean(kind):
        return _classes(raw, name, raw.sql, texts(raw.array), positive, done)
    return _of_numbers(raw, name, positive, done)


def _of_words(raw: Raw, name: str, positive: str | None, done: tuple[str, ...]) -> Aim:
    found = counts(raw.array)
    unknown = [word for word in found if is_unknown(word)]
    known = Counter({word: n for word, n in found.items() if not is_unknown(word)})
    sql, _, spelled = one_spelling(raw.sql, known)
    column = pc.if_else(pc.is_in(raw.array, pa.array(unknown, raw.array.type)), None, raw.array)
    if sql != raw.sql:
        trimmed = pc.utf8_trim(column, " ") if "trim(" in sql else column
        cased = {"lo": pc.utf8_lower, "up": pc.utf8_upper}.get(sql[:2])
        column = cased(trimmed) if cased else trimmed
    if unknown:
        sql = f"CASE WHEN {raw.sql} NOT IN ({literals(unknown)}) THEN {sql} END" if spelled else without(sql, unknown)
        done = (*done, f"{', '.join(shown(repr(word), 20) for word in unknown[:3])}: unknown")
    return _classes(raw, name, sql, texts(column), positive, (*done, spelled) if spelled else done)


def _of_numbers(raw: Raw, name: str, positive: str | None, done: tuple[str, ...]) -> Aim:
    values, sql = floats(raw.array), raw.sql
    known = np.isfinite(values)
    distinct = np.unique(values[known])
    if codes := missing_codes(values[known])[0] if known.any() else []:
        known &= ~np.isin(values, codes)
        distinct = np.unique(values[known])
        sql = f"CASE WHEN {sql} NOT IN ({literals(codes)}) THEN {sql} END"
        done = (*done, f"{', '.join(map(number, codes))}: a code for unknown")
    whole = bool(np.all(distinct == np.floor(distinct))) and bool(np.all(np.abs(distinct) < 2**53))
    few = len(distinct) <= FEW_NUMBERS or (len(distinct) <= MOST_CLASSES and names.is_class(raw.column))
    if whole and few and len(distinct) >= 2 and names.unit(raw.column) is None:
        labels = texts(pa.chunked_array([pa.array(np.where(known, values, np.nan))]))
        return _classes(raw, name, sql, labels, positive, done)
    if len(distinct) < 2:
        raise _constant(raw, [number(value) for value in distinct])
    if positive is not None:
        raise NotDrafted(
            f"{shown(raw.column)} holds {len(distinct):,} different numbers, so that it has no positive class.\n"
            "Leave --positive out, or make two classes of them in the table."
        )
    amounts, unit = values[known], names.unit(raw.column)
    spread = float(amounts.std()) or 1.0
    digits = int(np.clip(1 - math.floor(math.log10(spread)), 0, 9)) if math.isfinite(spread) else 0
    digits = 0 if bool(np.all(amounts == np.floor(amounts))) else digits
    said = f"{scalar(unit)}  # guessed from the name" if unit else '"1"  # none that the name tells'
    low, high = np.quantile(amounts, [0.01, 0.99], method="nearest")
    seen = f"seen {short(amounts.min())} to {short(amounts.max())}, 98 % of rows {short(low)} to {short(high)}"
    keys = (
        ("unit", said),
        ("limits", f"{pair(*limits(amounts, unit))}  # answers are clipped to them; {seen}"),
        ("digits", f"{digits}  # decimals that people are shown"),
    )
    finite = known.all() or not np.isinf(values).any()
    where = () if known.all() else ((f"{sql} IS NOT NULL",) if finite else (f"isfinite({sql})",))
    return Aim(raw.column, name, "regression", sql, keys, (), done, where, known, values, unit)


def _constant(raw: Raw, values: list[str]) -> NotDrafted:
    what = f"always {shown(repr(values[0]))} where known" if values else "unknown in every row"
    return NotDrafted(f"{shown(raw.column)} is {what}, so that there is nothing to predict.\nName another --target.")


def _classes(raw: Raw, name: str, sql: str, labels: pa.Array, positive: str | None, done: tuple[str, ...]) -> Aim:
    """Two classes or more. Those of a single row are left out: they can't be learnt and judged."""
    rows = counts(pa.chunked_array([labels]))
    if len(rows) < 2:
        raise _constant(raw, list(rows))
    if len(rows) > MOST_CLASSES:
        raise NotDrafted(
            f"{shown(raw.column)} has {len(rows):,} different words, such as {shown(repr(next(iter(rows))))}; at most "
            f"{MOST_CLASSES} classes are told apart.\nGroup them in the table, or name another --target."
        )
    rare = [word for word, n in rows.items() if n < LEAST_ROWS]
    kept = [word for word in rows if word not in rare]
    where = [f"{sql} IS NOT NULL"] if labels.null_count else []
    if rare and len(kept) >= 2:
        numbers = not (pa.types.is_string(raw.array.type) or pa.types.is_large_string(raw.array.type))
        listed = ", ".join(rare) if numbers else literals(rare)
        where.append(f"{sql} NOT IN ({listed})")
        done = (*done, f"left out, being of one row: {', '.join(shown(repr(word), 20) for word in rare[:3])}")
        rows = Counter({word: rows[word] for word in kept})
    chosen = pa.array(list(rows), pa.large_string())
    known = pc.is_in(labels.cast(pa.large_string()), value_set=chosen).to_numpy(zero_copy_only=False)
    seen = ", ".join(f"{shown(word, 20)} {n:,}" for word, n in rows.most_common(8))
    asked = min(rows, key=lambda word: rows[word]) if len(rows) == 2 else next(iter(rows))
    one = np.array([word == asked for word in labels.to_pylist()], dtype=np.float64)
    found = Aim(
        raw.column, name, "multiclass", sql, (), (f"rows: {seen}",), done, tuple(where), known, None, None, one, asked
    )
    if len(rows) > 2:
        if positive is not None:
            raise NotDrafted(
                f"{shown(raw.column)} has {len(rows)} classes ({seen}), so that "
                f"none is the positive one.\nLeave --positive out."
            )
        amounts = (
            "; if they are amounts, write kind: regression with unit and limits" if raw.array.type in _INTS else ""
        )
        return replace(found, notes=(f"rows: {seen}{amounts}",))
    asked = _positive(raw, rows, positive)
    return replace(
        found,
        kind="binary",
        keys=(("positive", scalar(asked)),),
        notes=(f"rows: {seen}" + ("" if positive else "; positive: the rarer class, a guess"),),
    )


_INTS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float64())


def _positive(raw: Raw, rows: Counter[str], asked: str | None) -> str:
    if asked is None:
        return min(rows, key=lambda word: (rows[word], [-ord(letter) for letter in word]))
    if asked in rows:
        return asked
    folded = [word for word in rows if word.casefold() == asked.casefold()]
    if len(folded) == 1:
        return folded[0]
    listed = " and ".join(shown(literal(word)) for word in rows)
    raise NotDrafted(f"No row of {shown(raw.column)} is {shown(repr(asked))}.\nIts classes are {listed}.")
