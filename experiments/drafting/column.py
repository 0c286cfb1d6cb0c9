"""One column as a field: its type, SQL, limits or choices, and what was guessed; or why it is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from experiments.drafting import amounts, vocabulary
from experiments.drafting.guess import Guess, empty, yes_of
from experiments.drafting.raw import LeftOut, Raw

FIRST, LAST = "1850-01-01", "2199-12-31"
"""Days beyond these are codes for unknown (9999-12-31) or slips."""


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
        found = vocabulary.look(raw, name)
    else:
        found = amounts.look(raw, name)
    if isinstance(found, Guess) and raw.note:
        return replace(found, done=(raw.note, *found.done))
    return found


def _flag(raw: Raw, name: str) -> Guess | LeftOut:
    known = raw.array.drop_null()
    true = int(known.cast(pa.int8()).to_numpy().sum())
    if true in (0, len(known)):
        return LeftOut(raw.column, f"always {'yes' if true else 'no'} where known")
    share = true / len(known)
    return empty(raw, len(known)) or Guess(
        raw.column, name, "flag", raw.sql, notes=(yes_of(true, len(known)),), smallest=min(share, 1 - share)
    )


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
        return empty(raw, int(inside.sum())) or LeftOut(raw.column, "always the same day where known")
    return empty(raw, int(inside.sum())) or Guess(raw.column, name, "date", f"CAST({sql} AS DATE)", (), (), done)
