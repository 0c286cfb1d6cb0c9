"""Where older answers are: the files beside the journal into which rotations moved them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from feature_store.place import Place
from serving import chain, journal_store, recall
from serving.journal_store import BUSY_S, Connection, reading


class Archived(NamedTuple):
    """One archive. before_us: all in it is older than that (microseconds since 1970, UTC); records: of the chain;
    unchained: by table, its rows from before the chain; finished: whether its rotation came to an end."""

    file: str
    before_us: int
    answers: int
    outcomes: int
    records: int
    unchained: dict[str, int]
    finished: bool


def archives(place: Place) -> list[Archived]:
    """The archives of a journal, oldest first. Raises JournalFull when it can't be read."""
    if not journal_store.exists(place):
        return []
    recall.mend(place)
    with reading(place) as connection:
        return of(connection)


def of(connection: Connection) -> list[Archived]:
    """The same, of a journal that is open."""
    rounds: dict[str, list[dict[str, Any]]] = {}
    for _, note in chain.notes(connection, "rotation"):
        rounds.setdefault(note["file"], []).append(note)
    return [
        Archived(
            file,
            max(note["before_us"] for note in notes),
            sum(note["answers"] for note in notes),
            sum(note["outcomes"] for note in notes),
            sum(note["records"] for note in notes),
            _summed(note["unchained"] for note in notes),
            notes[-1]["last"],
        )
        for file, notes in rounds.items()
    ]


def unchained(connection: Connection, found: Iterable[Archived]) -> dict[str, int]:
    """By table, how many rows from before the chain the journal itself should still have."""
    starts = [note["before"] for _, note in chain.notes(connection, "start")]
    left = Counter(starts[0] if starts else {})
    left.subtract(_summed(one.unchained for one in found))
    return dict(left)


def settle(archive: Path) -> None:
    """Take back what a rotation that was killed had half written; who only reads the file may not.

    Raises sqlite3.Error when it can't be done.
    """
    if archive.with_name(f"{archive.name}-journal").is_file():
        with closing(sqlite3.connect(archive, timeout=BUSY_S)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def told(place: Place) -> str:
    """A sentence for who looks for an older answer; "" where none was moved."""
    return " ".join(f"Answers before {day(one.before_us)} are in {one.file}." for one in archives(place)[-3:])


def day(moment_us: int) -> str:
    """A moment as people write it, in UTC: 2024-03-01, with the time unless it is midnight."""
    return datetime.fromtimestamp(moment_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00")


def _summed(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    out: Counter[str] = Counter()
    for part in parts:
        out.update(part)
    return dict(out)
