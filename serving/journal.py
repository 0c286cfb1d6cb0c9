"""The journal: an answer is on disk before it leaves, and so is an outcome before it is confirmed.

SQLite in WAL mode with synchronous=FULL, or PostgreSQL (`serving/journal_store.py`); one thread a worker writes
(`serving/writer.py`). Every record is a link of one chain
(`serving/chain.py`). A Task may choose that its answers do not wait. Rows hold what was asked: the file is readable by
its owner only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from feature_store.errors import JournalFull
from feature_store.place import Place
from feature_store.task import Adaptive
from serving import chain, journal_file, journal_store, levels
from serving.log import log
from serving.lost import Lost
from serving.meter import Meter
from serving.writer import Job, Writer, Writing, why


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


class Journal:
    """The journal of one worker; several workers share the file, or the database."""

    def __init__(self, place: Place, meter: Meter | None = None) -> None:
        """Opens or makes it. meter: what it counts in, None for one of its own.

        Raises JournalFull when it can't be written; a server that is away is waited for.
        """
        self.place = place
        self._lost = Lost()
        self._writer = Writer(place, self._lost, meter or Meter())

    async def keep(self, entries: list[Entry]) -> None:
        """Returns when the answers are durable. Raises JournalFull when they can't be."""
        await self._written(
            lambda writing: _insert(writing, entries),
            "The answer could not be kept ({}), so it is not sent. Try again later.",
        )

    def keep_later(self, task: str, entries: list[Entry]) -> None:
        """Returns at once; the answers are written soon, and at the latest by `close`.

        What can't be written, or would wait behind too many, is lost: logged, counted, and noted in the chain as soon
        as the journal can be written again.
        """
        if self._lost.admit(task, len(entries)):
            self._writer.put(
                lambda writing: _insert(writing, entries),
                lambda _, error: self._lost.settle(task, len(entries), "" if error is None else why(error)),
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
            lambda writing: [_outcome(writing, task, outcome, adaptive) for outcome in outcomes],
            "The outcomes could not be kept ({}). Send them again later: sent twice they are stored once.",
        )
        return found

    async def reset_levels(self, task: str, promised: Mapping[str, float]) -> None:
        """Append the promised level again, by version. Raises JournalFull when it can't be kept."""
        await self._written(
            lambda writing: _reset(writing, task, promised),
            "The level could not be kept ({}). Set it back again later.",
        )

    def lost(self) -> dict[str, int]:
        """By task, answers that were lost and that the journal does not tell of yet."""
        return self._lost.unwritten()

    def close(self) -> None:
        """Write what is waiting and stop."""
        self._writer.close()

    def log_head(self) -> None:
        """Log where the chain ends: what is kept of the log elsewhere shows later that nothing was cut off."""
        with suppress(JournalFull), journal_store.reading(self.place) as connection:
            number, digest = chain.head(connection)
            log("journal_head", head=f"{number}:{digest.hex()}")

    async def _written(self, job: Job, refusal: str) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def done(result: Any, error: Exception | None) -> None:
            loop.call_soon_threadsafe(_settle, future, result, error, refusal)

        self._writer.put(job, done)
        return await future


def _insert(writing: Writing, entries: list[Entry]) -> None:
    rows = [(e.prediction_id, writing.now, e.task, e.version, e.row, e.answer) for e in entries]
    numbers = writing.chain.add("answer", rows)
    writing.connection.executemany(
        "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(*row, number) for row, number in zip(rows, numbers, strict=True)],
    )


def _outcome(writing: Writing, task: str, outcome: Outcome, adaptive: Adaptive | None) -> Kept | None:
    connection, now, key = writing.connection, writing.now, (outcome.prediction_id,)
    if connection.execute("SELECT task FROM answers WHERE prediction_id = ?", key).fetchone() != (task,):
        return None
    before = connection.execute(
        "SELECT at_us, kept_us, value, number FROM outcomes WHERE prediction_id = ?", key
    ).fetchone()
    if before is None:
        at = now if outcome.at_us is None else outcome.at_us
        content = (*key, at, now, task, outcome.value)
        (number,) = writing.chain.add("outcome", [content])
        connection.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", (*content, number))
        if adaptive is not None:
            _move_level(writing, outcome, adaptive)
        return "stored"
    at = before[0] if outcome.at_us is None else outcome.at_us  # a mended value came true when the first one did
    if (before[0], before[2]) == (at, outcome.value):
        return "unchanged"
    corrected = (*before[:3], now, before[3])
    (number,) = writing.chain.add("correction", [(*key, at, now, task, outcome.value, *corrected)])
    connection.execute("INSERT INTO corrected_outcomes VALUES (?, ?, ?, ?, ?, ?)", (*key, *corrected))
    connection.execute(
        "UPDATE outcomes SET at_us = ?, kept_us = ?, value = ?, number = ? WHERE prediction_id = ?",
        (at, now, outcome.value, number, *key),
    )
    return "corrected"


def _move_level(writing: Writing, outcome: Outcome, adaptive: Adaptive) -> None:
    """One step of the level that the answer was made at; none for an answer that was made at a fixed one."""
    task, version, text = writing.connection.execute(
        "SELECT task, version, answer FROM answers WHERE prediction_id = ?", (outcome.prediction_id,)
    ).fetchone()
    answer = json.loads(text)
    if (made := levels.of(answer)) is None:
        return
    promised, made_at = made
    (level,) = writing.connection.execute(journal_file.NEWEST_LEVEL, (task, version)).fetchone() or (promised,)
    moved = levels.step(adaptive, promised, level, made_at, levels.missed(answer, json.loads(outcome.value)))
    _level(writing, task, version, moved, outcome.prediction_id)


def _reset(writing: Writing, task: str, promised: Mapping[str, float]) -> None:
    for version, level in promised.items():
        _level(writing, task, version, level, None)


def _level(writing: Writing, task: str, version: str, level: float, prediction_id: str | None) -> None:
    content = (task, version, writing.now, level)
    (number,) = writing.chain.add("level", [(prediction_id or "", *content)])
    writing.connection.execute("INSERT INTO levels VALUES (?, ?, ?, ?, ?, ?)", (*content, prediction_id, number))


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None, refusal: str) -> None:
    if future.done():  # the client went away
        return
    if error is not None:
        future.set_exception(journal_store.refusal(error)(refusal.format(why(error))))
    else:
        future.set_result(result)
