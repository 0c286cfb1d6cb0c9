"""The journal's writer: one thread a worker commits whatever has gathered, so that many requests share one fsync.

What fails is told to who waits, and the next batch is tried on a new connection: with space on the disk, or once the
server is there again, all goes on by itself.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from feature_store.errors import JournalAway
from feature_store.place import Place
from serving import journal_file, journal_store
from serving.chain import Chain
from serving.journal_store import FAILURES, Connection
from serving.log import log
from serving.lost import Lost
from serving.meter import COMMITS, RECORDS, UNNOTED, Meter
from serving.meter import FAILURES as REFUSED
from serving.postgres import Away, Failed

MOST_AT_ONCE = 2000


@dataclass(frozen=True)
class Writing:
    """The transaction that is open. now: microseconds since 1970."""

    connection: Connection
    now: int
    chain: Chain


Job = Callable[[Writing], Any]


@dataclass(frozen=True)
class Waiting:
    """A job, and what is called in the writer's thread with what it gave, or with why it could not be kept."""

    job: Job
    done: Callable[[Any, Exception | None], None]


class Writer:
    """The thread, and what waits for it."""

    def __init__(self, place: Place, lost: Lost, meter: Meter) -> None:
        """lost: is noted in the chain as soon as that can be written; meter: what it counts in.

        Raises JournalFull when nothing can be written; a server that is away is waited for.
        """
        self._place, self._lost, self._meter = place, lost, meter
        self._prepared = self._failing = False
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_forever, name="journal", daemon=True)
        with suppress(JournalAway):
            journal_file.prepare(place)
            self._prepared = True
        self._thread.start()

    def put(self, job: Job, done: Callable[[Any, Exception | None], None]) -> None:
        """Have a job done within one of the next transactions. done: as `Waiting` has it."""
        self._queue.put(Waiting(job, done))

    def close(self) -> None:
        """Write what is waiting and stop."""
        self._queue.put(None)
        self._thread.join()

    def _write_forever(self) -> None:
        connection: Connection | None = None
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < MOST_AT_ONCE and not self._queue.empty():
                if (more := self._queue.get()) is None:
                    self._queue.put(None)
                    break
                batch.append(more)
            error, results, began = None, [None] * len(batch), time.monotonic()
            try:
                connection = self._begun(connection)
                results = self._commit(connection, batch)
                self._meter.observe(COMMITS, time.monotonic() - began)
            except FAILURES as reason:
                error = reason
                self._meter.add(REFUSED)
                _closed(connection)
                connection = None  # opened anew for the next batch
            self._tell(error)
            for waiting, result in zip(batch, results, strict=True):
                waiting.done(result, error)
            self._meter.put(UNNOTED, sum(self._lost.unwritten().values()))
        with suppress(*FAILURES):
            if self._lost.unwritten():
                connection = self._begun(connection)
                self._commit(connection, [])
        _closed(connection)

    def _begun(self, connection: Connection | None) -> Connection:
        """A connection with a transaction that is open: the one that there is, or a new one where that was lost."""
        if connection is not None:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return connection
            except Away as error:  # nothing was written yet: a server that was restarted costs nobody an answer
                if not error.lost:
                    raise
                _closed(connection)
        if not self._prepared:
            journal_file.begin(self._place)
            self._prepared = True
        connection = journal_store.connect(self._place)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except FAILURES:
            _closed(connection)
            raise
        return connection

    def _tell(self, error: Exception | None) -> None:
        """Log when the journal begins to fail, and when it takes answers again."""
        if (error is not None) != self._failing:
            self._failing = error is not None
            if error is not None:
                log("journal_failed", reason=error.detail if isinstance(error, Failed) else why(error))
            else:
                log("journal_back")

    def _commit(self, connection: Connection, batch: list[Waiting]) -> list[Any]:
        """What each job gave, once all is on disk; with them a note of answers that could not be written earlier.

        connection: its transaction has begun.
        """
        lost = self._lost.unwritten()
        with connection, journal_store.piped(connection):  # rolls back when it fails
            now = time.time_ns() // 1000  # once the file is ours: what is written later is not earlier
            writing = Writing(connection, now, Chain(connection))
            before = writing.chain.number
            for task, n in lost.items():
                writing.chain.note("lost", {"at_us": now, "task": task, "answers": n})
            results = [waiting.job(writing) for waiting in batch]
        self._meter.add(RECORDS, n=writing.chain.number - before)
        self._lost.written(lost)
        return results


def _closed(connection: Connection | None) -> None:
    """Close it at once: on a full disk a batch after the other fails, and each connection holds three files."""
    with suppress(*FAILURES):
        if connection is not None:
            connection.close()


def why(error: Exception) -> str:
    """A failure in words."""
    return str(error) or type(error).__name__
