"""A field as it is guessed, and what is said of columns that are nearly empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from experiments.drafting.raw import LeftOut, Raw
from feature_store.check import HIGH_MISSING


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


def empty(raw: Raw, known: int) -> LeftOut | None:
    """Why a column of so many known values is left out, if they are too few."""
    share = 1 - known / len(raw.array)
    if known and share < HIGH_MISSING:
        return None
    hint = f"; whether it is known may tell: {raw.sql} IS NOT NULL" if known >= 50 and not raw.note else ""
    return LeftOut(raw.column, f"unknown in {min(share, 0.999 if known else 1):.1%} of rows{hint}")


def yes_of(yes: int, rows: int) -> str:
    """Of a flag, in a comment."""
    return f"yes in {yes:,} of {rows:,}"
