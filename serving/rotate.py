"""Rotation: older answers with all that is known of them move to an archive, a file beside that then stays as it is.

It goes in rounds, so that workers wait for none of them long. A round copies into the archive, which is on disk before
the journal lets go of anything, and then deletes and notes what it moved in one transaction: what stands in the
journal counts, and a copy of it in the archive is of a round that was cut off and goes with the next rotation.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from feature_store.errors import JournalBusy, JournalFull
from serving import archives, counts, journal_file
from serving.chain import ELSEWHERE, Chain
from serving.durable import sync_folder
from serving.journal_file import NUMBERED

ROUND = 1000
"""Answers that a round moves at most."""

PAUSE_S = 0.15
"""Between two rounds: SQLite's waiting workers look every 0.1 s whether it is their turn."""

MOVED = tuple(table for table in NUMBERED if table != "levels")
"""Tables that move. The working levels stay: the newest are in force."""

INCREMENTAL, PAGES = 2, 2000
"""SQLite's number for auto_vacuum = INCREMENTAL, and how many pages are given back at once."""

Progress = Callable[[int], None]


@dataclass
class Rotated:
    """What was moved. file: "" where there was nothing."""

    file: str = ""
    answers: int = 0
    outcomes: int = 0


@dataclass
class _Round:
    """What one round moves: rows by table as they stand there, and the places of their records in the chain."""

    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)

    def unchained(self) -> dict[str, int]:
        return {table: n for table, rows in self.rows.items() if (n := sum(row[-1] is None for row in rows))}


def rotate(path: Path, before_us: int, progress: Progress = lambda moved: None) -> Rotated:
    """Move answers that were given before then to an archive, with their outcomes.

    An answer of which an outcome was kept or corrected since then stays, with its outcomes. before_us: microseconds
    since 1970. progress: called with the answers that were moved so far. Killed at any moment it loses and doubles
    nothing, and the next rotation goes on. Raises JournalFull when a file can't be written, and
    JournalBusy when another rotation runs.
    """
    journal_file.prepare(path)
    done = Rotated()
    try:
        with _alone(path), closing(journal_file.connect(path)) as main:
            file = _file(main, path, before_us)
            if file is None:
                return done
            done.file, target = file, path.parent / file
            target.touch(mode=0o600, exist_ok=True)
            with closing(journal_file.connect(target, "DELETE")) as archive:
                _ready(archive, path)
                sync_folder(path.parent)
                for task in _tasks(main):
                    while moved := _one_round(main, archive, file, task, before_us):
                        done.answers, done.outcomes = done.answers + moved[0], done.outcomes + moved[1]
                        progress(done.answers)
                        time.sleep(PAUSE_S)
            with main:
                main.execute("BEGIN IMMEDIATE")
                _note(Chain(main), file, before_us, last=True)
            _give_back(main)
    except (OSError, sqlite3.Error) as error:
        raise JournalFull(
            f"The rotation of {path} stopped ({error}); nothing is lost. Mend the folder or its disk and rotate again."
        ) from None
    return done


def _tasks(main: sqlite3.Connection) -> list[str]:
    return [task for (task,) in main.execute("SELECT DISTINCT task FROM answers").fetchall()]


_MAY_GO = (
    "FROM answers AS a WHERE task = ? AND at_us < ? AND NOT EXISTS "
    "(SELECT 1 FROM outcomes AS o WHERE o.prediction_id = a.prediction_id AND o.kept_us >= ?) ORDER BY at_us LIMIT ?"
)


def _file(main: sqlite3.Connection, path: Path, before_us: int) -> str | None:
    """The archive to write: that of a rotation that was cut off, else a new one; None where there is nothing to move.

    It is noted before it is made, so that a file that the journal knows nothing of is never written to.
    """
    known = archives.of(main)
    if known and not known[-1].finished:
        return known[-1].file
    query = f"SELECT 1 {_MAY_GO}"
    if not any(main.execute(query, (task, before_us, before_us, 1)).fetchone() for task in _tasks(main)):
        return None
    names = (f"{path.stem}-{number:04d}{path.suffix}" for number in count(len(known) + 1))
    file = next(name for name in names if not (path.parent / name).exists() and name not in {one.file for one in known})
    with main:
        main.execute("BEGIN IMMEDIATE")
        _note(Chain(main), file, before_us)
    return file


def _note(end: Chain, file: str, before_us: int, moving: _Round | None = None, counted: Any = None,
          last: bool = False) -> None:  # fmt: skip
    rows = moving.rows if moving else {}
    facts = {
        "file": file,
        "before_us": before_us,
        "at_us": time.time_ns() // 1000,
        "answers": len(rows.get("answers", ())),
        "outcomes": len(rows.get("outcomes", ())),
        "records": len(moving.numbers) if moving else 0,
        "unchained": moving.unchained() if moving else {},
        "counts": counted or {},
        "last": last,
    }
    end.note("rotation", facts)


def _ready(archive: sqlite3.Connection, path: Path) -> None:
    """Its tables, without the copies that a round left when it was cut off."""
    with archive:
        archive.execute("BEGIN IMMEDIATE")
        journal_file.make(archive)
    archive.execute("ATTACH ? AS journal", (str(path),))
    with archive:
        archive.execute("BEGIN")  # not IMMEDIATE, which would lock the journal as well
        for table in MOVED:
            archive.execute(
                f"DELETE FROM main.{table} WHERE prediction_id IN (SELECT prediction_id FROM journal.answers)"  # noqa: S608
            )
        archive.execute(
            "UPDATE main.chain SET kind = 'elsewhere', record = '' WHERE kind != 'elsewhere' AND EXISTS (SELECT 1 "
            "FROM journal.chain AS there WHERE there.number = main.chain.number AND there.kind != 'elsewhere')"
        )
        archive.execute(f"DELETE FROM main.chain WHERE {_UNNEEDED.format('main.')}")  # noqa: S608
    archive.execute("DETACH journal")


_UNNEEDED = (
    "kind = 'elsewhere' AND NOT EXISTS (SELECT 1 FROM {0}chain AS next "
    "WHERE next.number = {0}chain.number + 1 AND next.kind != 'elsewhere')"
)
"""Of a hash that is kept for the record after it, which is not in this file."""


def _one_round(
    main: sqlite3.Connection, archive: sqlite3.Connection, file: str, task: str, before_us: int
) -> tuple[int, int] | None:
    """Answers and outcomes that were moved; None when the task has none left that may go."""
    with main:
        main.execute("BEGIN IMMEDIATE")  # no outcome comes in between
        end = Chain(main)
        main.execute("CREATE TEMP TABLE IF NOT EXISTS leaving (prediction_id TEXT PRIMARY KEY)")
        main.execute("DELETE FROM leaving")
        main.execute(f"INSERT INTO leaving SELECT prediction_id {_MAY_GO}", (task, before_us, before_us, ROUND))
        moving = _chosen(main)
        if not moving.rows["answers"]:
            return None
        with archive:
            archive.execute("BEGIN IMMEDIATE")
            _copy(main, archive, moving)
        # From here on it is in the archive, on disk; and in the journal until that is committed too.
        _note(end, file, before_us, moving, counts.of_moved(main))
        _let_go(main, moving, file)
    return len(moving.rows["answers"]), len(moving.rows["outcomes"])


def _chosen(main: sqlite3.Connection) -> _Round:
    out = _Round()
    for table in MOVED:
        out.rows[table] = main.execute(
            f"SELECT * FROM {table} WHERE prediction_id IN (SELECT prediction_id FROM leaving) ORDER BY rowid"  # noqa: S608
        ).fetchall()
        out.numbers += [row[-1] for row in out.rows[table] if row[-1] is not None]
    return out


def _copy(main: sqlite3.Connection, archive: sqlite3.Connection, moving: _Round) -> None:
    for table, rows in moving.rows.items():
        if rows:
            archive.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)  # noqa: S608
    inside = set(moving.numbers)
    edges = [(number - 1,) for number in inside if number - 1 not in inside and number > 1]
    for (edge,) in edges:
        (digest,) = main.execute("SELECT hash FROM chain WHERE number = ?", (edge,)).fetchone()
        archive.execute("INSERT OR IGNORE INTO chain VALUES (?, ?, '', ?)", (edge, ELSEWHERE, digest))
    for number in moving.numbers:
        link = main.execute("SELECT * FROM chain WHERE number = ?", (number,)).fetchone()
        archive.execute("INSERT OR REPLACE INTO chain VALUES (?, ?, ?, ?)", link)


def _let_go(main: sqlite3.Connection, moving: _Round, file: str) -> None:
    for table in MOVED:
        main.execute(f"DELETE FROM {table} WHERE prediction_id IN (SELECT prediction_id FROM leaving)")  # noqa: S608
    places = [(number,) for number in moving.numbers]
    main.executemany(f"UPDATE chain SET kind = '{ELSEWHERE}', record = '{file}' WHERE number = ?", places)  # noqa: S608
    main.executemany(
        f"DELETE FROM chain WHERE number = ? AND {_UNNEEDED.format('')}",  # noqa: S608
        [*places, *((number - 1,) for number in moving.numbers)],
    )


def _give_back(main: sqlite3.Connection) -> None:
    """Let the file shrink, a few pages at a time; one that was made by an older version keeps them for what comes."""
    if main.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:
        return
    while main.execute("PRAGMA freelist_count").fetchone()[0]:
        main.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
        time.sleep(PAUSE_S)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One rotation at a time. The lock goes with the process that holds it."""
    with path.with_name(path.name + "-rotating").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalBusy(f"Another rotation of {path} is running. Wait for it.") from None
        yield
