"""One column as a field: its type, SQL, limits or choices, and what was guessed; or why it is left out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa

from experiments.drafting import names
from experiments.drafting.raw import LeftOut, Raw, counts, is_unknown
from experiments.drafting.write import literal, literals, number, pair, scalar, shown
from feature_store.check import HIGH_MISSING
from feature_store.codes import missing_codes

MOST_CHOICES, MOST_LETTERS = 12, 60
"""Words up to so many, of so many letters, are listed as choices; more are learnt from the table."""

MANY_WORDS, ROWS_A_WORD, MOST_WORDS = 50, 10, 1000
"""Beyond MANY_WORDS a category needs ROWS_A_WORD rows a word in the mean: rarer ones are names, not kinds."""

YES = {"yes", "y", "true", "t", "1", "是", "有"}
NO = {"no", "n", "false", "f", "0", "否", "无"}


@dataclass(frozen=True)
class Guess:
    """A field. keys: further YAML of it, already written; notes: for its line; done: for its line of SQL.

    smallest: of a flag or few choices, the share of the rarest; label: in English, where the column's name says less.
    words: its choices.
    """

    column: str
    name: str
    type: Literal["number", "category", "flag", "date"]
    sql: str
    keys: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    smallest: float = 0.0
    label: str = ""
    words: tuple[str, ...] = ()


def look(raw: Raw, name: str) -> Guess | LeftOut:
    """What a column is. name: of the field. Its rows are those with a known target."""
    rows, kind = len(raw.array), raw.array.type
    if raw.array.null_count == rows:
        return LeftOut(raw.column, "unknown in every row")
    if pa.types.is_boolean(kind):
        found: Guess | LeftOut = _flag(raw, name)
    elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        found = _date(raw, name)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        found = _words(raw, name)
    else:
        found = _number(raw, name)
    if isinstance(found, Guess) and raw.note:
        return replace(found, done=(raw.note, *found.done))
    return found


def floats(array: pa.ChunkedArray) -> np.ndarray:
    """(n,) float64, NaN unknown."""
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.string())
    return np.array(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def _empty(raw: Raw, known: int) -> LeftOut | None:
    share = 1 - known / len(raw.array)
    if known and share < HIGH_MISSING:
        return None
    hint = f"; whether it is known may tell: {raw.sql} IS NOT NULL" if known >= 50 and not raw.note else ""
    return LeftOut(raw.column, f"unknown in {min(share, 0.999 if known else 1):.1%} of rows{hint}")


def _flag(raw: Raw, name: str) -> Guess | LeftOut:
    known = raw.array.drop_null()
    true = int(known.cast(pa.int8()).to_numpy().sum())
    if true in (0, len(known)):
        return LeftOut(raw.column, f"always {'yes' if true else 'no'} where known")
    share = true / len(known)
    return _empty(raw, len(known)) or Guess(
        raw.column, name, "flag", raw.sql, notes=(_share(true, len(known)),), smallest=min(share, 1 - share)
    )


def _share(yes: int, rows: int) -> str:
    return f"yes in {yes:,} of {rows:,}"


FIRST, LAST = "1850-01-01", "2199-12-31"


def _date(raw: Raw, name: str) -> Guess | LeftOut:
    days = raw.array.drop_null().cast(pa.date32(), safe=False).cast(pa.int32()).to_numpy()
    bounds = [np.datetime64(day, "D").astype(int) for day in (FIRST, LAST)]
    inside = (days >= bounds[0]) & (days <= bounds[1])
    beyond, sql = int((~inside).sum()), raw.sql
    done: tuple[str, ...] = ()
    if beyond:
        sql = f"CASE WHEN {sql} BETWEEN DATE '{FIRST}' AND DATE '{LAST}' THEN {sql} END"
        done = (f"{beyond:,} beyond these years unknown",)
    if len(np.unique(days[inside])) < 2:
        return _empty(raw, int(inside.sum())) or LeftOut(raw.column, "always the same day where known")
    return _empty(raw, int(inside.sum())) or Guess(raw.column, name, "date", f"CAST({sql} AS DATE)", (), (), done)


# --- words ------------------------------------------------------------------------------------------------------


def _words(raw: Raw, name: str) -> Guess | LeftOut:
    found = counts(raw.array)
    unknown = [word for word in found if is_unknown(word)]
    known = Counter({word: n for word, n in found.items() if word not in set(unknown)})
    if reason := _empty(raw, known.total()):
        return reason
    done = (f"{_listed(unknown)}: unknown",) if unknown else ()
    if flag := _yes_or_no(known):
        yes = [word for word in known if word.strip(" ").casefold() in YES]
        told = without(raw.sql, unknown) if unknown else raw.sql
        sql = f"{told} = {literal(yes[0])}" if len(yes) == 1 else f"{told} IN ({literals(yes)})"
        return Guess(
            raw.column, name, "flag", sql, (), (_share(sum(known[word] for word in yes), known.total()),), done, flag
        )
    sql, merged, spelled = one_spelling(raw.sql, known)
    if len(merged) == 1:
        return LeftOut(raw.column, f"always {shown(repr(next(iter(merged))))} where known")
    if reason := _names(raw.column, merged):
        return reason
    if spelled:
        done = (spelled, *done)
    if unknown:
        sql = without(sql, [_folded(word, sql) for word in unknown])
    return _category(raw.column, name, sql, merged, done)


def _category(column: str, name: str, sql: str, words: Counter[str], done: tuple[str, ...]) -> Guess:
    smallest = min(words.values()) / words.total()
    if len(words) > MOST_CHOICES or max(map(len, words)) > MOST_LETTERS:
        return Guess(column, name, "category", sql, (), (f"its {len(words):,} words are learnt from the table",), done)
    rare = [word for word, n in words.items() if n < max(3, min(6, 0.002 * words.total())) and words.total() >= 100]
    notes = (f"rare, a slip? {', '.join(f'{shown(repr(word), 20)} {words[word]}x' for word in rare[:3])}",) * bool(rare)
    choices = f"[{', '.join(scalar(word) for word in sorted(words))}]"
    return Guess(column, name, "category", sql, (("choices", choices),), notes, done, smallest, "", tuple(words))


def _listed(words: list[str]) -> str:
    return ", ".join(shown(repr(word), 20) for word in words[:3]) + (", ..." if len(words) > 3 else "")


def _yes_or_no(known: Counter[str]) -> float:
    """The smaller share of a yes and no, whatever their case; 0 where they are something else."""
    folded: Counter[str] = Counter()
    for word, n in known.items():
        folded[word.strip(" ").casefold()] += n
    if len(folded) != 2 or len(folded.keys() & YES) != 1 or len(folded.keys() & NO) != 1:
        return 0.0
    return min(folded.values()) / folded.total()


def _folded(word: str, sql: str) -> str:
    """A word as an expression of `one_spelling` gives it."""
    word = word.strip(" ") if "trim(" in sql else word
    return word.lower() if sql.startswith("lower(") else word.upper() if sql.startswith("upper(") else word


def one_spelling(sql: str, known: Counter[str]) -> tuple[str, Counter[str], str]:
    """Blanks at the ends and the case of letters, where words differ in no more; ASCII alone is folded."""
    out, before = sql, len(known)
    trims = any(word != word.strip(" ") for word in known)
    if trims:
        out = f"trim({sql})"
    if all(word.isascii() for word in known) and len({_folded(word, out).lower() for word in known}) < len(
        {_folded(word, out) for word in known}
    ):
        out = f"{'upper' if _is_code(next(iter(known)).strip()) else 'lower'}({out})"
    merged: Counter[str] = Counter()
    for word, n in known.items():
        merged[_folded(word, out)] += n
    note = f"{before} spellings made {len(merged)}" if len(merged) < before else ""
    return out, Counter(dict(merged.most_common())), note


def _is_code(word: str) -> bool:
    """`PT`, `B(+ve)`: written in capitals rather than small."""
    return word.isupper() or (word[:1].isupper() and not word.isalpha() and len(word) <= 8)


def without(sql: str, unknown: list[str]) -> str:
    once = list(dict.fromkeys(unknown))
    if len(once) == 1:
        return f"nullif({sql}, {literal(once[0])})"
    return f"CASE WHEN {sql} NOT IN ({literals(once)}) THEN {sql} END"


def _names(column: str, words: Counter[str]) -> LeftOut | None:
    """Words that hardly come back are identifiers or free text."""
    rows, distinct = words.total(), len(words)
    if (distinct >= 0.9 * rows and rows >= 20) or (names.is_key(column) and distinct > MANY_WORDS):
        return LeftOut(column, f"an identifier or free text: {distinct:,} different words in {rows:,} rows")
    too_many = distinct > MOST_WORDS or (distinct > MANY_WORDS and rows < ROWS_A_WORD * distinct)
    if too_many or (distinct > rows / 2 and rows >= 20):
        each = rows / distinct
        reason = f"{distinct:,} different words of {each:.1f} rows each, too rare to learn from: group them in data.sql"
        return LeftOut(column, reason)
    return None


# --- numbers ----------------------------------------------------------------------------------------------------


def _number(raw: Raw, name: str) -> Guess | LeftOut:
    values = floats(raw.array)
    known, sql, done = values[np.isfinite(values)], raw.sql, []
    if np.isinf(values).any():
        sql = f"CASE WHEN isfinite({sql}) THEN {sql} END"
        done.append("infinite: unknown")
    if reason := _empty(raw, known.size):
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
    if reason := _empty(raw, known.size):
        return replace(reason, reason=f"{reason.reason} ({'; '.join(done)})" if done else reason.reason)
    distinct, whole = np.unique(known), bool(np.all(known == np.floor(known)))
    if len(distinct) == 1:
        return LeftOut(raw.column, f"always {number(distinct[0])} where known")
    if list(distinct) == [0, 1]:
        share = float(known.mean())
        notes = (_share(int(known.sum()), known.size),)
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
    if reason := _names(raw.column, words):
        return reason
    found = _category(raw.column, name, text, words, done)
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


def short(value: float) -> str:
    """A number for a comment."""
    return number(float(f"{value:.5g}")) if math.isfinite(value) else str(value)


SLIP_WIDTHS, SLIP_SHARE = 3.0, 0.005


def slips(known: np.ndarray) -> tuple[float, float] | None:
    """The range without a few values that no measurement reaches (a height of 10 among 120 to 180); None without any.

    They lie SLIP_WIDTHS times the width of the middle 98 % of rows beyond it, also on a logarithmic scale, so that a
    long tail (incomes, cigarettes a day) is none; and they are SLIP_SHARE of the rows or fewer.
    """
    if known.size < 50:
        return None
    away = np.ones(known.size, dtype=bool)
    usual = np.median(np.abs(known[known != 0])) if np.any(known) else 0.0
    if not 0 < usual < 1e100:
        return None
    for values in (known, np.sign(known) * np.log1p(np.abs(known) / usual)):
        low, high = np.quantile(values, [0.01, 0.99], method="inverted_cdf")
        away &= (values < low - SLIP_WIDTHS * (high - low)) | (values > high + SLIP_WIDTHS * (high - low))
        if high <= low:
            return None
    if not away.any() or away.sum() > max(2, SLIP_SHARE * known.size):
        return None
    kept = known[~away]
    return float(kept.min()), float(kept.max())


def limits(known: np.ndarray, unit: str | None = None) -> tuple[float, float]:
    """Readable limits around all values, a quarter of the middle 98 % or a twentieth of the range wider on either side.

    0 is not passed by what is never negative, nor 1 by shares, nor 100 by per cent.
    """
    low, high = float(known.min()), float(known.max())
    first, last = (float(q) for q in np.quantile(known, [0.01, 0.99], method="inverted_cdf"))
    width = (last - first) or (high - low) or 1.0
    wide = min(low - (high - low) / 20, first - width / 4), max(high + (high - low) / 20, last + width / 4)
    if not math.isfinite(wide[1] - wide[0]) or wide[1] - wide[0] > 1e300:
        return low, high
    step = _readable((wide[1] - wide[0]) / 10)
    if np.all(known == np.floor(known)):
        step = max(1.0, step)
    a, b = _down(wide[0], step), -_down(-wide[1], step)
    if low >= 0:
        a = max(a, 0.0)
    if high <= 0:
        b = min(b, 0.0)
    for top in (1.0,) if unit is None else (100.0,) if unit == "%" else ():
        b = top if top / 2 < high <= top < b and low >= 0 else b
    return min(a, low), max(b, high)


def _down(value: float, step: float) -> float:
    """The multiple of a step at or below a value, without the noise of floats."""
    return float(f"{math.floor(value / step + 1e-9) * step:.12g}")


def _readable(value: float) -> float:
    """1, 2 or 5 times a power of ten, at or below a positive value."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(f"{next(m for m in (5, 2, 1) if m * power <= value * (1 + 1e-9)) * power:.12g}")
