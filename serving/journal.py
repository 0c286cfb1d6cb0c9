"""The journal: an answer is on disk before it leaves, and so is an outcome before it is confirmed.

SQLite in WAL mode with synchronous=FULL; one writer thread a worker commits whatever has gathered (group commit),
so that many requests share one fsync. Rows hold what was asked: the file is readable by its owner only.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feature_store.errors import JournalFull
from feature_store.task import Adaptive
from serving import levels

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    prediction_id TEXT PRIMARY KEY,
    at_us INTEGER NOT NULL,      -- microseconds since 1970, UTC
    task TEXT NOT NULL,
    version TEXT NOT NULL,
    row TEXT NOT NULL,           -- the row as it was asked, JSON
    answer TEXT NOT NULL         -- the answer as it was sent, JSON
);
CREATE INDEX IF NOT EXISTS answers_by_task ON answers (task, at_us);
CREATE TABLE IF NOT EXISTS outcomes (
    prediction_id TEXT PRIMARY KEY,
    at_us INTEGER NOT NULL,      -- when it came true
    kept_us INTEGER NOT NULL,    -- when it was written here
    task TEXT NOT NULL,
    value TEXT NOT NULL          -- what came true, JSON: a number, or the class's word
);
CREATE INDEX IF NOT EXISTS outcomes_by_task ON outcomes (task, at_us);
CREATE TABLE IF NOT EXISTS corrected_outcomes (  -- what stood in `outcomes` before a correction
    prediction_id TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    kept_us INTEGER NOT NULL,
    value TEXT NOT NULL,
    until_us INTEGER NOT NULL    -- when it was corrected
);
CREATE INDEX IF NOT EXISTS corrected_by_id ON corrected_outcomes (prediction_id);
CREATE TABLE IF NOT EXISTS levels (  -- the working levels, each in force until the next of its task and version
    task TEXT NOT NULL,
    version TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    level REAL NOT NULL,
    prediction_id TEXT           -- whose outcome moved it; NULL where a person set it back
);
CREATE INDEX IF NOT EXISTS levels_by_version ON levels (task, version);
CREATE TRIGGER IF NOT EXISTS levels_stay BEFORE UPDATE ON levels BEGIN SELECT RAISE(ABORT, 'only added to'); END;
CREATE TRIGGER IF NOT EXISTS levels_last BEFORE DELETE ON levels BEGIN SELECT RAISE(ABORT, 'only added to'); END;
"""
TABLES = frozenset({"answers", "outcomes", "corrected_outcomes", "levels"})
BUSY_S = 10.0
MOST_AT_ONCE = 2000


@dataclass(frozen=True)
class Entry:
    """One answer. row, answer: JSON text."""

    prediction_id: str
    task: str
    version: str
    row: str
    answer: str


@dataclass(frozen=True)
class Outcome:
    """What came true of one answer. value: JSON text; at_us: when, None where it was not said."""

    prediction_id: str
    value: str
    at_us: int | None = None


Kept = Literal["stored", "unchanged", "corrected"]

_Job = Callable[[sqlite3.Connection, int], Any]
"""Writes inside the transaction that is open; its second argument is now, in microseconds."""


@dataclass(frozen=True)
class _Waiting:
    """A job, who waits for what it gives, and what they are told when it can't be kept."""

    job: _Job
    refusal: str
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Journal:
    """The journal of one worker; several workers share the file."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises JournalFull when it can't be written."""
        self.path = path
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_forever, name="journal", daemon=True)
        prepare(path)
        self._thread.start()

    async def keep(self, entries: list[Entry]) -> None:
        """Returns when the answers are durable. Raises JournalFull when they can't be."""
        await self._written(
            lambda connection, now: _insert(connection, now, entries),
            "The answer could not be kept ({}), so it is not sent. Try again later.",
        )

    async def keep_outcomes(
        self, task: str, outcomes: list[Outcome], adaptive: Adaptive | None = None
    ) -> list[Kept | None]:
        """What became of each outcome, once all are durable; None where no answer of the task has that id.

        The same value again changes nothing. Another value, or another time where one is said, takes its place and
        the old one goes into `corrected_outcomes`. adaptive: the Task's own; with it the first outcome of an answer
        that was made at a working level moves that level. Raises JournalFull when they can't be kept.
        """
        found: list[Kept | None] = await self._written(
            lambda connection, now: [_outcome(connection, now, task, outcome, adaptive) for outcome in outcomes],
            "The outcomes could not be kept ({}). Send them again later: sent twice they are stored once.",
        )
        return found

    async def reset_levels(self, task: str, promised: Mapping[str, float]) -> None:
        """Append the promised level again, by version. Raises JournalFull when it can't be kept."""
        await self._written(
            lambda connection, now: connection.executemany(
                _LEVEL, [(task, version, now, level, None) for version, level in promised.items()]
            ),
            "The level could not be kept ({}). Set it back again later.",
        )

    def close(self) -> None:
        """Write what is waiting and stop."""
        self._queue.put(None)
        self._thread.join()

    async def _written(self, job: _Job, refusal: str) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Waiting(job, refusal, loop, future))
        return await future

    def _write_forever(self) -> None:
        connection: sqlite3.Connection | None = None
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < MOST_AT_ONCE and not self._queue.empty():
                if (more := self._queue.get()) is None:
                    self._queue.put(None)
                    break
                batch.append(more)
            error, results = "", [None] * len(batch)
            try:
                connection = connection or _connect(self.path)
                results = _commit(connection, [waiting.job for waiting in batch])
            except (sqlite3.Error, OSError) as reason:
                error, connection = str(reason) or type(reason).__name__, None  # opened anew for the next batch
            for waiting, result in zip(batch, results, strict=True):
                waiting.loop.call_soon_threadsafe(_settle, waiting, result, error)
        if connection is not None:
            connection.close()


def prepare(path: Path) -> None:
    """Make the file, or what an older one lacks of tables. Raises JournalFull when it can't be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        with _connect(path) as connection:
            connection.executescript(_SCHEMA)
        connection.close()
    except (OSError, sqlite3.Error) as error:
        raise JournalFull(f"The journal {path} can't be written ({error}). Mend the folder or its disk.") from None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _commit(connection: sqlite3.Connection, jobs: list[_Job]) -> list[Any]:
    with connection:  # rolls back when it fails
        connection.execute("BEGIN IMMEDIATE")
        now = time.time_ns() // 1000  # once the file is ours: what is written later is not earlier
        return [job(connection, now) for job in jobs]


def _insert(connection: sqlite3.Connection, now: int, entries: list[Entry]) -> None:
    connection.executemany(
        "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)",
        [(e.prediction_id, now, e.task, e.version, e.row, e.answer) for e in entries],
    )


def _outcome(
    connection: sqlite3.Connection, now: int, task: str, outcome: Outcome, adaptive: Adaptive | None
) -> Kept | None:
    key = (outcome.prediction_id,)
    if connection.execute("SELECT task FROM answers WHERE prediction_id = ?", key).fetchone() != (task,):
        return None
    before = connection.execute("SELECT at_us, kept_us, value FROM outcomes WHERE prediction_id = ?", key).fetchone()
    if before is None:
        at = now if outcome.at_us is None else outcome.at_us
        connection.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?)", (*key, at, now, task, outcome.value))
        if adaptive is not None:
            _move_level(connection, now, outcome, adaptive)
        return "stored"
    at = before[0] if outcome.at_us is None else outcome.at_us  # a mended value came true when the first one did
    if (before[0], before[2]) == (at, outcome.value):
        return "unchanged"
    connection.execute("INSERT INTO corrected_outcomes VALUES (?, ?, ?, ?, ?)", (*key, *before, now))
    connection.execute(
        "UPDATE outcomes SET at_us = ?, kept_us = ?, value = ? WHERE prediction_id = ?", (at, now, outcome.value, *key)
    )
    return "corrected"


_LEVEL = "INSERT INTO levels VALUES (?, ?, ?, ?, ?)"
NEWEST_LEVEL = "SELECT level FROM levels WHERE task = ? AND version = ? ORDER BY rowid DESC LIMIT 1"


def _move_level(connection: sqlite3.Connection, now: int, outcome: Outcome, adaptive: Adaptive) -> None:
    """One step of the level that the answer was made at; none for an answer that was made at a fixed one."""
    task, version, text = connection.execute(
        "SELECT task, version, answer FROM answers WHERE prediction_id = ?", (outcome.prediction_id,)
    ).fetchone()
    answer = json.loads(text)
    if (made := levels.of(answer)) is None:
        return
    promised, made_at = made
    (level,) = connection.execute(NEWEST_LEVEL, (task, version)).fetchone() or (promised,)
    moved = levels.step(adaptive, promised, level, made_at, levels.missed(answer, json.loads(outcome.value)))
    connection.execute(_LEVEL, (task, version, now, moved, outcome.prediction_id))


def _settle(waiting: _Waiting, result: Any, error: str) -> None:
    if waiting.future.done():  # the client went away
        return
    if error:
        waiting.future.set_exception(JournalFull(waiting.refusal.format(error)))
    else:
        waiting.future.set_result(result)
