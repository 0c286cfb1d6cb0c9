"""The shadows: what challengers would have answered, in a file of their own beside the journal.

    shadows   an answer of a challenger, by the `prediction_id` of the answer that was sent
    counted   by task and challenger, rows that were answered, dropped, unfit for it, or failed; only grows

It is not the journal: nobody was sent these answers, a lost one harms nobody, and the journal's writer is on the way of
those that are sent. So it waits for no disk (WAL, synchronous=NORMAL), and holds `MOST` answers at most.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from feature_store.errors import JournalFull

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shadows (
    prediction_id TEXT NOT NULL,  -- of the answer that was sent
    at_us INTEGER NOT NULL,       -- microseconds since 1970, UTC
    task TEXT NOT NULL,
    version TEXT NOT NULL,        -- the challenger's
    served TEXT NOT NULL,         -- the version whose answer was sent
    answer TEXT NOT NULL          -- the challenger's, JSON
);
CREATE INDEX IF NOT EXISTS shadows_by_versions ON shadows (task, version, served, at_us);
CREATE TABLE IF NOT EXISTS counted (
    task TEXT NOT NULL, version TEXT NOT NULL, what TEXT NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (task, version, what)
);
"""
MOST = 1_000_000
"""Answers that are kept; the oldest go first."""

BUSY_S = 10.0

Count = tuple[str, str, str]
"""Task, challenger, and what became of its rows: `answered`, `dropped`, `unfit` or `failed`."""


class Shadowed(NamedTuple):
    """One answer of a challenger. answer: JSON text."""

    prediction_id: str
    at_us: int
    task: str
    version: str
    served: str
    answer: str


class Pair(NamedTuple):
    """How often a challenger answered beside a version, and when first and last (microseconds since 1970, UTC)."""

    version: str
    served: str
    n: int
    first_us: int
    last_us: int


def write(path: Path, answers: Sequence[Shadowed], counts: Mapping[Count, int], most: int = MOST) -> None:
    """Add answers and counts, and let the oldest answers go. Raises sqlite3.Error or OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO shadows VALUES (?, ?, ?, ?, ?, ?)", answers)
            connection.executemany(
                "INSERT INTO counted VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
                [(*key, n) for key, n in counts.items()],
            )
            connection.execute("DELETE FROM shadows WHERE rowid <= (SELECT max(rowid) FROM shadows) - ?", (most,))


def pairs(path: Path, task: str) -> list[Pair]:
    """Challengers of a task with the versions that they answered beside, the newest first. Raises JournalFull."""
    query = (
        "SELECT version, served, count(*), min(at_us), max(at_us) FROM shadows WHERE task = ? "
        "GROUP BY version, served ORDER BY max(at_us) DESC"
    )
    with _reading(path) as connection:
        return [Pair(*row) for row in (connection.execute(query, (task,)) if connection else ())]


def answers(path: Path, task: str, version: str, served: str) -> dict[str, dict[str, Any]]:
    """What a challenger answered beside a version, by `prediction_id`. Raises JournalFull."""
    query = "SELECT prediction_id, answer FROM shadows WHERE task = ? AND version = ? AND served = ?"
    with _reading(path) as connection:
        found = connection.execute(query, (task, version, served)) if connection else ()
        return {prediction_id: json.loads(answer) for prediction_id, answer in found}


def counts(path: Path) -> dict[Count, int]:
    """How many rows challengers answered, or did not and why. Raises JournalFull."""
    with _reading(path) as connection:
        found = connection.execute("SELECT task, version, what, n FROM counted ORDER BY 1, 2, 3") if connection else ()
        return {(task, version, what): n for task, version, what, n in found}


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """The file, to be read only; None where no challenger has ever answered."""
    if not path.is_file() or path.stat().st_size == 0:
        yield None
        return
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as connection:
            begun = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'counted'").fetchone()
            yield connection if begun else None
    except sqlite3.Error as error:
        raise JournalFull(f"{path} can't be read ({error}). Mend the file, or delete it: shadows begin anew.") from None
