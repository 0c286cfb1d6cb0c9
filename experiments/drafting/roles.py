"""What columns are to each other: the time that orders rows, whose rows they are, the groups to report by."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from experiments.drafting import names
from experiments.drafting.column import FIRST, LAST
from experiments.drafting.guess import Guess
from experiments.drafting.limits import limits, short
from experiments.drafting.raw import LeftOut, Raw, floats
from experiments.drafting.target import Aim
from experiments.drafting.write import literal, pair, shown

LEAST_TIMES, LEAST_ENTITIES = 20, 30
ENTITY_ROWS = (1.5, 20.0)
"""Rows each in the mean. With more it is a store or a machine, a factor that will be met again; with less, an id."""

SMALLEST_GROUP = 0.05


@dataclass(frozen=True)
class Parting:
    """How rows are split. sql: of the column `by`; note: why; condition: of rows whose `by` is known."""

    kind: str = "random"
    by: str = ""
    column: str = ""
    sql: str = ""
    gap: float = 0.0
    note: str = "every row a case of its own; if rows come in order or several from one person, by time or grouped"
    condition: str = ""


def part(raws: list[Raw], by_name: dict[str, str], aim: Aim) -> Parting:
    """By time where rows have one, else by the entity that they repeat, else at random."""
    return _by_time(raws, by_name, aim) or _by_entity(raws, by_name) or Parting()


# --- time -------------------------------------------------------------------------------------------------------


def _by_time(raws: list[Raw], by_name: dict[str, str], aim: Aim) -> Parting | None:
    found = {raw.column: days for raw in raws if (days := _days(raw)) is not None}
    if not found:
        return _by_number(raws, by_name)
    first = np.minimum.reduce(list(found.values()))
    column = max(found, key=lambda name: float(np.mean(found[name] <= first)))  # the earliest; of several, the first
    raw, step = next(raw for raw in raws if raw.column == column), float(np.median(np.diff(np.unique(found[column]))))
    gap, why = max(1.0, round(step)), "a day or one step of it"
    if aim.unit == "d" and aim.values is not None:
        gap, why = (
            math.ceil(np.quantile(aim.values[np.isfinite(aim.values)], 0.95)),
            "in which 95 % of targets are known",
        )
    condition = f"{raw.sql} IS NOT NULL" if raw.array.null_count else ""
    note = f"the latest rows judge; gap in days: {why}; set it to the time until the target is known"
    return Parting("time", by_name[column], column, raw.sql, float(gap), note, condition)


def _days(raw: Raw) -> np.ndarray | None:
    """(n,) days since 1970-01-01 of a column that may order the rows, infinite where unknown."""
    kind = raw.array.type
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)) or names.is_birth(raw.column):
        return None
    if raw.array.null_count > 0.01 * len(raw.array):
        return None
    micros = raw.array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    days = np.array(micros.to_numpy(zero_copy_only=False), dtype=np.float64) / 86_400e6
    known = days[np.isfinite(days)]
    low, high = (np.datetime64(day, "D").astype(int) for day in (FIRST, LAST))
    if len(np.unique(known)) < LEAST_TIMES or known.min() < low or known.max() > high:
        return None
    return np.where(np.isfinite(days), days, np.inf)


def _by_number(raws: list[Raw], by_name: dict[str, str]) -> Parting | None:
    """A running week, or a year: whole numbers that are called so and go beyond one round of the calendar."""
    for raw in raws:
        words = set(names.words(raw.column))
        if raw.array.null_count or not (words & {"week", "year", "period"}) or not pa.types.is_integer(raw.array.type):
            continue
        values = np.unique(floats(raw.array))
        year = "year" in words and values[0] >= 1900 and values[-1] <= 2100
        if len(values) >= (6 if year else LEAST_TIMES) and (year or values[-1] > 60):
            note = "the latest rows judge; gap in its own unit: set it to the time until the target is known"
            return Parting("time", by_name[raw.column], raw.column, raw.sql, float(values[1] - values[0]), note)
    return None


def calendar(parting: Parting, raws: list[Raw], taken: set[str]) -> list[Guess]:
    """Month, weekday and hour of the time by which rows are split, where they differ: what may be learnt of it."""
    raw = next((raw for raw in raws if raw.column == parting.column), None)
    if raw is None or not (pa.types.is_date(raw.array.type) or pa.types.is_timestamp(raw.array.type)):
        return []
    micros = np.array(raw.array.drop_null().cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_numpy())
    days, out = micros // 86_400_000_000, []
    spans = {
        "month": ("month", (1, 12), np.ptp(days) >= 300),
        "weekday": ("isodow", (1, 7), len(np.unique(days % 7)) > 1 and len(np.unique(days)) >= 14),
        "hour": ("hour", (0, 23), len(np.unique(micros // 3_600_000_000 % 24)) > 1),
    }
    minutes = len(np.unique(micros // 60_000_000 % 60)) > 1
    for word, (part_of, (low, high), differs) in spans.items():
        name = f"{parting.by[: names.LONGEST - 8]}_{word}"
        if differs and name not in taken:
            keys: tuple[tuple[str, str], ...] = (("limits", pair(low, high)), ("integer", "true"))
            sql = f"{part_of}({raw.sql})"
            if word == "hour" and minutes:
                keys, sql = (("limits", pair(0, 24)),), f"{sql} + minute({raw.sql}) / 60.0"
            label = f"{names.labels(raw.column)[0]}: {word}"
            out.append(Guess(raw.column, name, "number", sql, keys, label=label))
    return out


def since(parting: Parting, raws: list[Raw], guess: Guess) -> Guess | LeftOut:
    """Another date as days after the time of its row: the day itself will lie beyond all that was learnt from."""
    raw = next(raw for raw in raws if raw.column == guess.column)
    time = next(raw for raw in raws if raw.column == parting.column)
    if not (pa.types.is_date(time.array.type) or pa.types.is_timestamp(time.array.type)):
        return guess
    day = [floats(one.array.cast(pa.date32(), safe=False).cast(pa.int32())) for one in (raw, time)]
    low, high = (np.datetime64(bound, "D").astype(int) for bound in (FIRST, LAST))
    known = (day[0] - day[1])[(day[0] >= low) & (day[0] <= high) & np.isfinite(day[1])]
    if len(np.unique(known)) < 2:
        return LeftOut(guess.column, f"always the same number of days after {shown(parting.column)}")
    sql = f"date_diff('day', CAST({time.sql} AS DATE), {guess.sql})"
    keys = (("unit", "d"), ("limits", pair(*limits(known))), ("integer", "true"))
    name, label = f"{guess.name[: names.LONGEST - 5]}_days", f"{names.labels(guess.column)[0]}: days"
    notes = (f"days after {shown(parting.column, 30)}, seen {short(known.min())} to {short(known.max())}",)
    return replace(guess, name=name, type="number", sql=sql, keys=keys, notes=notes, label=label)


# --- entities and groups ----------------------------------------------------------------------------------------


def _by_entity(raws: list[Raw], by_name: dict[str, str]) -> Parting | None:
    """The patient, customer or batch that rows repeat; of several the one of the widest name."""
    found: list[tuple[int, float, Raw, float]] = []
    for raw in raws:
        kind = raw.array.type
        word, words = names.entity(raw.column), pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (words or pa.types.is_integer(kind)) or (word is None and not names.is_key(raw.column)):
            continue
        distinct, known = len(raw.array.drop_null().unique()), len(raw.array) - raw.array.null_count
        each = known / max(1, distinct)
        if distinct >= LEAST_ENTITIES and ENTITY_ROWS[0] <= each <= ENTITY_ROWS[1] and known >= 0.5 * len(raw.array):
            found.append((99 if word is None else word, -each, raw, each))
    if not found:
        return None
    _, _, raw, each = min(found, key=lambda one: one[:2])
    return grouped(raw, by_name[raw.column], each)


def grouped(raw: Raw, by: str, each: float) -> Parting:
    """Rows of one entity on one side; a row without one is its own."""
    sql = raw.sql
    if raw.array.null_count:
        sql = f"coalesce(CAST({raw.sql} AS VARCHAR), {literal('row ')} || row_number() OVER ())"
    note = f"{shown(raw.column)} repeats ({each:.1f} rows each): all rows of one on one side"
    return Parting("grouped", by, raw.column, sql, 0.0, note)


def groups(fields: list[Guess], rows: int) -> str:
    """The field by which results are reported, "" without an obvious one: a sex, a region, few values, none rare."""
    places = {
        guess.name: place
        for guess in fields
        if guess.type in ("flag", "category")
        and guess.smallest >= max(SMALLEST_GROUP, 50 / max(rows, 1))
        and guess.smallest <= 0.5
        and sum(key == "choices" for key, _ in guess.keys) + (guess.type == "flag")
        and (place := names.group(guess.column)) is not None
    }
    return min(places, key=lambda name: places[name]) if places else ""
