"""A column of numbers as an amount with limits, a flag, a category of codes, or as identifiers to leave out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from experiments.drafting import names
from experiments.drafting.guess import Guess, empty, yes_of
from experiments.drafting.limits import limits, short, slips
from experiments.drafting.raw import LeftOut, Raw, floats
from experiments.drafting.vocabulary import MANY_WORDS, category, too_rare
from experiments.drafting.write import literals, number, pair, scalar
from feature_store.codes import missing_codes


def look(raw: Raw, name: str) -> Guess | LeftOut:
    """What a column of numbers is."""
    values = floats(raw.array)
    known, sql, done = values[np.isfinite(values)], raw.sql, []
    if np.isinf(values).any():
        sql = f"CASE WHEN isfinite({sql}) THEN {sql} END"
        done.append("infinite: unknown")
    if reason := empty(raw, known.size):
        return reason
    if left := _not_an_amount(raw, known):
        return left
    if codes := missing_codes(known)[0]:
        sql, known = _without_numbers(sql, codes), known[~np.isin(known, codes)]
        done.append(f"{', '.join(map(number, codes))}: a code for unknown?")
    if bounds := slips(known):
        low, high = bounds
        cut = known[(known < low) | (known > high)]
        sql = f"CASE WHEN {sql} BETWEEN {number(low)} AND {number(high)} THEN {sql} END"
        known = known[(known >= low) & (known <= high)]
        done.append(f"{_some(cut)} beyond: slips? unknown")
    if reason := empty(raw, known.size):
        return replace(reason, reason=f"{reason.reason} ({'; '.join(done)})" if done else reason.reason)
    distinct, whole = np.unique(known), bool(np.all(known == np.floor(known)))
    if len(distinct) == 1:
        return LeftOut(raw.column, f"always {number(distinct[0])} where known")
    if list(distinct) == [0, 1]:
        share = float(known.mean())
        notes = (yes_of(int(known.sum()), known.size),)
        return Guess(raw.column, name, "flag", sql, (), notes, tuple(done), min(share, 1 - share))
    if whole and names.is_coded(raw.column) and names.unit(raw.column) is None:
        return _coded(raw, name, sql, known, tuple(done))
    return _amount(raw.column, name, sql, known, tuple(done))


def _not_an_amount(raw: Raw, known: np.ndarray) -> LeftOut | None:
    """Row numbers, and whole numbers called an id that hardly come back."""
    n, distinct = known.size, len(np.unique(known))
    if n < 20 or not np.all(known == np.floor(known)):
        return None
    if n == distinct == known.max() - known.min() + 1 and np.all(np.abs(np.diff(known)) == 1):
        return LeftOut(raw.column, "the number of the row")
    if np.abs(known).max() >= 2**53:
        return LeftOut(raw.column, "an identifier: whole numbers too long to count with")
    if names.is_key(raw.column) and (distinct > MANY_WORDS or distinct >= 0.9 * n):
        return LeftOut(raw.column, f"an identifier: {distinct:,} different numbers in {n:,} rows")
    return None


def _coded(raw: Raw, name: str, sql: str, known: np.ndarray, done: tuple[str, ...]) -> Guess | LeftOut:
    """Whole numbers that are names of things: words."""
    values, rows = np.unique(known, return_counts=True)
    words = Counter({str(int(value)): int(n) for value, n in zip(values, rows, strict=True)})
    text = f"CAST(CAST({sql} AS BIGINT) AS VARCHAR)"
    if reason := too_rare(raw.column, words):
        return reason
    found = category(raw.column, name, text, words, done)
    return replace(found, notes=("numbers that are names, to judge by the column's name", *found.notes))


def _amount(column: str, name: str, sql: str, known: np.ndarray, done: tuple[str, ...]) -> Guess:
    whole, unit = bool(np.all(known == np.floor(known))), names.unit(column)
    keys = [("unit", scalar(unit))] if unit else []
    keys.append(("limits", pair(*limits(known, unit))))
    keys += [("integer", "true")] if whole else []
    low, high = np.quantile(known, [0.01, 0.99], method="nearest")
    seen = f"seen {short(known.min())} to {short(known.max())}"
    middle = f", 98 % of rows {short(low)} to {short(high)}" if known.size >= 200 else ""
    notes = ["unit guessed from the name"] if unit else []
    return Guess(column, name, "number", sql, tuple(keys), (*notes, seen + middle), done)


def _without_numbers(sql: str, codes: list[float]) -> str:
    if len(codes) == 1:
        return f"nullif({sql}, {number(codes[0])})"
    return f"CASE WHEN {sql} NOT IN ({literals(codes)}) THEN {sql} END"


def _some(values: np.ndarray) -> str:
    distinct = np.unique(values)
    return ", ".join(short(value) for value in distinct[:3]) + (", ..." if len(distinct) > 3 else "")
