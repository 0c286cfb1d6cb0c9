"""A finding: one problem of a table, with its column, rows, values and remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


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


def several(count: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def place(rows: tuple[int, ...], count: int) -> str:
    """`row 3`, `rows 0, 1, 2, 3, 4, ...`."""
    more = ", ..." if count > len(rows) else ""
    return f"row{'' if count == 1 else 's'} {', '.join(map(str, rows))}{more}"
