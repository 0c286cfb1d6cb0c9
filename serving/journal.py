"""The journal: an answer is on disk before it leaves.

SQLite in WAL mode with synchronous=FULL; one writer thread a worker commits whatever has gathered (group commit),
so that many requests share one fsync. Rows hold what was asked: the file is readable by its owner only.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from feature_store.errors import JournalFull

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
"""
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


_Waiting = tuple[list[Entry], asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Journal:
    """The journal of one worker; several workers share the file."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises JournalFull when it can't be written."""
        self._path = path
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_forever, name="journal", daemon=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600, exist_ok=True)
            with _connect(path) as connection:
                connection.executescript(_SCHEMA)
            connection.close()
        except (OSError, sqlite3.Error) as error:
            raise JournalFull(f"The journal {path} can't be written ({error}). Mend the folder or its disk.") from None
        self._thread.start()

    async def keep(self, entries: list[Entry]) -> None:
        """Returns when the entries are durable. Raises JournalFull when they can't be."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._queue.put((entries, loop, future))
        await future

    def close(self) -> None:
        """Write what is waiting and stop."""
        self._queue.put(None)
        self._thread.join()

    def _write_forever(self) -> None:
        connection: sqlite3.Connection | None = None
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < MOST_AT_ONCE and not self._queue.empty():
                if (more := self._queue.get()) is None:
                    self._queue.put(None)
                    break
                batch.append(more)
            error = None
            try:
                connection = connection or _connect(self._path)
                _commit(connection, [entry for entries, _, _ in batch for entry in entries])
            except (sqlite3.Error, OSError) as reason:
                error, connection = str(reason), None  # opened anew for the next batch
            for _, loop, future in batch:
                loop.call_soon_threadsafe(_settle, future, error)
        if connection is not None:
            connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _commit(connection: sqlite3.Connection, entries: list[Entry]) -> None:
    now = time.time_ns() // 1000
    with connection:  # rolls back when it fails
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)",
            [(e.prediction_id, now, e.task, e.version, e.row, e.answer) for e in entries],
        )


def _settle(future: asyncio.Future[None], error: str | None) -> None:
    if future.done():  # the client went away
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(
            JournalFull(f"The answer could not be kept ({error}), so it is not sent. Try again later.")
        )
