"""Rotation: older answers with all that is known of them move to an archive, a file beside that then stays as it is.

The archive is a file of SQLite, also of a journal in PostgreSQL: then it lies in the home from which it was rotated.

It goes in rounds, so that workers wait for none of them long. A round copies into the archive, which is on disk before
the journal lets go of anything, and then deletes and notes what it moved in one transaction: what stands in the
journal counts, and a copy of it in the archive is of a round that was cut off and goes with the next rotation.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from feature_store.errors import JournalBusy, JournalFull
from feature_store.place import Place
from serving import archives, counts, journal_file, journal_store
from serving.chain import ELSEWHERE, Chain
from serving.durable import sync_folder
from serving.journal_file import COLUMNS, NUMBERED
from serving.journal_store import FAILURES, Connection
from serving.postgres import Postgres

ROUND = 1000
"""Answers that a round moves at most."""

PAUSE_S = 0.15
"""Between two rounds: SQLite's waiting workers look every 0.1 s whether it is their turn."""

MOVED = tuple(table for table in NUMBERED if table != "levels")
"""Tables that move. The working levels stay: the newest are in force."""

INCREMENTAL, PAGES = 2, 2000
"""SQLite's number for auto_vacuum = INCREMENTAL, and how many pages are given back at once."""

AT_ONCE = 500
"""Values that one query asks after."""

_BUSY = "Another rotation of {} is running. Wait for it."

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


def rotate(place: Place, before_us: int, progress: Progress = lambda moved: None) -> Rotated:
    """Move answers that were given before then to an archive, with their outcomes.

    An answer of which an outcome was kept or corrected since then stays, with its outcomes. before_us: microseconds
    since 1970. progress: called with the answers that were moved so far. Killed at any moment it loses and doubles
    nothing, and the next rotation goes on. Raises JournalFull when a file can't be written, and
    JournalBusy when another rotation runs.
    """
    journal_file.prepare(place)
    done, path = Rotated(), journal_store.file(place)
    try:
        with _alone(path), closing(journal_store.connect(place)) as main:
            if isinstance(main, Postgres) and not main.alone():  # another machine's
                raise JournalBusy(_BUSY.format(place))
            file = _file(main, path, before_us)
            if file is None:
                return done
            done.file, target = file, path.parent / file
            target.touch(mode=0o600, exist_ok=True)
            with closing(journal_store.connect(target, "DELETE")) as archive:
                _ready(archive, main)
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
    except FAILURES as error:
        remedy = "Mend the folder or its disk" if isinstance(place, Path) else "Mend the server or this folder's disk"
        raise journal_store.refusal(error)(
            f"The rotation of {place} stopped ({error}); nothing is lost. {remedy} and rotate again."
        ) from None
    return done


def _tasks(main: Connection) -> list[str]:
    return [task for (task,) in main.execute("SELECT DISTINCT task FROM answers").fetchall()]


_MAY_GO = (
    "FROM answers AS a WHERE task = ? AND at_us < ? AND NOT EXISTS "
    "(SELECT 1 FROM outcomes AS o WHERE o.prediction_id = a.prediction_id AND o.kept_us >= ?) ORDER BY at_us LIMIT ?"
)


def _file(main: Connection, path: Path, before_us: int) -> str | None:
    """The archive to write: that of a rotation that was cut off, else a new one; None where there is nothing to move.

    It is noted before it is made, so that a file that the journal knows nothing of is never written to.
    """
    known = archives.of(main)
    if known and not known[-1].finished:
        if known[-1].answers and not (path.parent / known[-1].file).is_file():
            raise JournalFull(
                f"A rotation into {known[-1].file} was cut off, and that file is not in {path.parent}. Rotate where "
                "it is, or put it there."
            )
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


def _ready(archive: Connection, main: Connection) -> None:
    """Its tables, without the copies that a round left when it was cut off."""
    with archive:
        archive.execute("BEGIN IMMEDIATE")
        journal_file.make(archive)
        here = [one for (one,) in archive.execute("SELECT prediction_id FROM answers").fetchall()]
        still = [(one,) for (one,) in _among(main, "SELECT prediction_id FROM answers WHERE prediction_id", here)]
        for table in MOVED:
            archive.executemany(f"DELETE FROM {table} WHERE prediction_id = ?", still)  # noqa: S608
        own = f"SELECT number FROM chain WHERE kind != '{ELSEWHERE}'"  # noqa: S608
        numbers = [number for (number,) in archive.execute(own).fetchall()]
        still = [(number,) for (number,) in _among(main, f"{own} AND number", numbers)]
        archive.executemany(f"UPDATE chain SET kind = '{ELSEWHERE}', record = '' WHERE number = ?", still)  # noqa: S608
        archive.execute(f"DELETE FROM chain WHERE {_UNNEEDED.format('')}")  # noqa: S608


def _among(connection: Connection, query: str, wanted: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """What a query that ends in a column's name finds of those values."""
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        yield from connection.execute(f"{query} IN ({', '.join('?' * len(some))})", some).fetchall()


_UNNEEDED = (
    "kind = 'elsewhere' AND NOT EXISTS (SELECT 1 FROM {0}chain AS next "
    "WHERE next.number = {0}chain.number + 1 AND next.kind != 'elsewhere')"
)
"""Of a hash that is kept for the record after it, which is not in this file."""


def _one_round(main: Connection, archive: Connection, file: str, task: str, before_us: int) -> tuple[int, int] | None:
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


def _chosen(main: Connection) -> _Round:
    out = _Round()
    for table in MOVED:
        out.rows[table] = main.execute(
            f"SELECT {COLUMNS[table]} FROM {table} "  # noqa: S608
            "WHERE prediction_id IN (SELECT prediction_id FROM leaving) ORDER BY rowid"
        ).fetchall()
        out.numbers += [row[-1] for row in out.rows[table] if row[-1] is not None]
    return out


def _copy(main: Connection, archive: Connection, moving: _Round) -> None:
    for table, rows in moving.rows.items():
        if rows:
            archive.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)  # noqa: S608
    inside = set(moving.numbers)
    edges = [number - 1 for number in inside if number - 1 not in inside and number > 1]
    before = _among(main, "SELECT number, hash FROM chain WHERE number", edges)
    archive.executemany(
        f"INSERT OR IGNORE INTO chain VALUES (?, '{ELSEWHERE}', '', ?)",  # noqa: S608
        list(before),
    )
    links = _among(main, f"SELECT {COLUMNS['chain']} FROM chain WHERE number", moving.numbers)  # noqa: S608
    archive.executemany("INSERT OR REPLACE INTO chain VALUES (?, ?, ?, ?)", list(links))


def _let_go(main: Connection, moving: _Round, file: str) -> None:
    for table in MOVED:
        main.execute(f"DELETE FROM {table} WHERE prediction_id IN (SELECT prediction_id FROM leaving)")  # noqa: S608
    places = [(number,) for number in moving.numbers]
    with journal_store.piped(main):
        main.executemany(f"UPDATE chain SET kind = '{ELSEWHERE}', record = '{file}' WHERE number = ?", places)  # noqa: S608
        main.executemany(
            f"DELETE FROM chain WHERE number = ? AND {_UNNEEDED.format('')}",  # noqa: S608
            [*places, *((number - 1,) for number in moving.numbers)],
        )


def _give_back(main: Connection) -> None:
    """Let the file shrink, a few pages at a time; one that was made by an older version keeps them for what comes, and
    PostgreSQL does of itself."""
    if isinstance(main, Postgres) or main.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:
        return
    while main.execute("PRAGMA freelist_count").fetchone()[0]:
        main.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
        time.sleep(PAUSE_S)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One rotation at a time. The lock goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + "-rotating").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalBusy(_BUSY.format(path)) from None
        yield
