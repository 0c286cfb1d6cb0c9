"""The shadow: a thread of the worker in which challengers answer what was asked, for later comparison, seen by nobody.

An answer that was sent is offered here with its rows; that costs the request a look-up. The thread has predictors of
its own and takes at most `SHARE` of a processor: after each request it rests nine times as long as it took. What it
can't keep up with is dropped and counted.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from serving import cache, predictor, shadows
from serving.cache import Published
from serving.log import log
from serving.predictor import Predictor
from serving.request import check
from serving.shadows import Count, Shadowed

SHARE = 0.1
"""Of a processor. The thread shares Python's lock with those who answer; without a bound it would halve their pace."""

MOST_ROWS = 2000
"""Rows that wait; requests beyond are dropped."""

LOOK_S, WRITE_S, AGAIN_S = 0.5, 1.0, 60.0
"""Between looks at the cache, between writes, and until a challenger that did not load is tried again."""


@dataclass(frozen=True)
class _Offered:
    """One request as it was answered. rows: validated; served: the version that answered."""

    task: str
    served: str
    prediction_ids: list[str]
    rows: Sequence[Mapping[str, Any]]


class Shadow:
    """The thread, its challengers, and what waits for them. One a worker."""

    def __init__(self, root: Path, file: Path, share: float) -> None:
        """root: the cache; file: the shadows'; share: of the requests that challengers answer, 0 to 1."""
        self._root, self._file, self._share = root, file, share
        self._versions: dict[str, str] = {}
        self._loaded: dict[str, tuple[Published, Predictor]] = {}
        self._failed: dict[str, tuple[Published, float]] = {}
        self._queue: queue.SimpleQueue[_Offered | None] = queue.SimpleQueue()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._waiting = 0
        self._counts: Counter[Count] = Counter()
        self._answers: list[Shadowed] = []
        self._looked = self._written = float("-inf")
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        if share > 0:
            self._thread.start()

    def offer(self, served: Predictor, rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> None:
        """Have the task's challenger answer these rows too, some time later, if there is one and it has room.

        rows: validated; answers: those that were sent, with their `prediction_id`s.
        """
        task = served.task.task
        version = self._versions.get(task)
        if version is None or version == served.version or not sampled(answers[0]["prediction_id"], self._share):
            return
        with self._lock:
            if self._waiting + len(rows) > MOST_ROWS and self._waiting:
                self._counts[task, version, "dropped"] += len(rows)
                return
            self._waiting += len(rows)
        self._queue.put(_Offered(task, served.version, [answer["prediction_id"] for answer in answers], rows))

    def close(self) -> None:
        """Write what was answered, and stop; what waits is dropped."""
        if self._thread.is_alive():
            self._stop.set()
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                offered = self._queue.get(timeout=LOOK_S)
            except queue.Empty:
                offered = None
            began = time.thread_time()
            try:
                if time.monotonic() >= self._looked + LOOK_S:
                    self._follow()
                if offered is not None:
                    self._answer(offered)
                if time.monotonic() >= self._written + WRITE_S:
                    self._write()
            except Exception as error:  # a fault here must not end the shadow, and touches no answer
                log("shadow_failed", error=type(error).__name__)
            self._stop.wait((time.thread_time() - began) * (1 / SHARE - 1))
        self._write()

    def _follow(self) -> None:
        """Load what the cache names as challengers."""
        self._looked = time.monotonic()
        found = cache.published(self._root, cache.CHALLENGER)
        for task in set(self._loaded) - set(found):
            self._versions.pop(task, None)
            del self._loaded[task]
        for task, published in found.items():
            if task in self._loaded and self._loaded[task][0] == published:
                continue
            failed = self._failed.get(task)
            if failed is not None and failed[0] == published and time.monotonic() < failed[1]:
                continue
            self._versions.pop(task, None)
            try:
                self._loaded[task] = published, predictor.load(published.folder, published.version)
            except Exception as error:
                self._failed[task] = published, time.monotonic() + AGAIN_S
                self._loaded.pop(task, None)
                log("challenger_not_loaded", task=task, version=published.version, error=type(error).__name__)
                continue
            self._versions[task] = published.version
            log("challenger_answering", task=task, version=published.version)

    def _answer(self, offered: _Offered) -> None:
        with self._lock:
            self._waiting -= len(offered.rows)
        if offered.task not in self._loaded:
            return None
        _, challenger = self._loaded[offered.task]
        known, key = challenger.task.by_name, (offered.task, challenger.version)
        rows = [{name: value for name, value in row.items() if name in known} for row in offered.rows]
        if check(challenger.task, rows):  # its Task asks for what the champion's does not
            return self._count((*key, "unfit"), len(rows))
        try:
            answers = challenger.answer(rows)
        except Exception as error:
            log("shadow_failed", task=offered.task, version=challenger.version, error=type(error).__name__)
            return self._count((*key, "failed"), len(rows))
        now = time.time_ns() // 1000
        self._answers += [
            Shadowed(one, now, *key, offered.served, msgspec.json.encode(answer).decode())
            for one, answer in zip(offered.prediction_ids, answers, strict=True)
        ]
        return self._count((*key, "answered"), len(rows))

    def _count(self, key: Count, n: int) -> None:
        with self._lock:
            self._counts[key] += n

    def _write(self) -> None:
        self._written = time.monotonic()
        with self._lock:
            counts, self._counts = self._counts, Counter()
        answers, self._answers = self._answers, []
        if not (answers or counts):
            return
        try:
            shadows.write(self._file, answers, counts)
        except (sqlite3.Error, OSError) as error:  # a full disk: these are lost, and that is all
            log("shadows_not_written", answers=len(answers), error=type(error).__name__)


def sampled(prediction_id: str, share: float) -> bool:
    """Whether a request is among the share that challengers answer: by its first answer's number, which is random."""
    return int(prediction_id[:8], 16) < share * 2**32
