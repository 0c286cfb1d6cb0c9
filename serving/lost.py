"""What a Task's answers that don't wait for the journal may cost: how many wait, and how many were lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping

from serving.log import log

MOST_WAITING = 20_000
"""Answers that wait in memory at most; of 2 kB each they take 40 MB."""

EVERY_S = 10
"""Between two lines of the log while answers are being lost."""


class Lost:
    """Answers that left before they were written. One a worker; asked from its event loop and its writer thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._unwritten: Counter[str] = Counter()
        self._told = -float(EVERY_S)

    def admit(self, task: str, n: int) -> bool:
        """Whether n more may wait; if not they are lost."""
        with self._lock:
            if self._waiting + n <= MOST_WAITING:
                self._waiting += n
                return True
            self._lose(task, n, f"{MOST_WAITING} are waiting")
            return False

    def settle(self, task: str, n: int, error: str) -> None:
        """n that waited are written, or lost for that reason."""
        with self._lock:
            self._waiting -= n
            if error:
                self._lose(task, n, error)

    def unwritten(self) -> dict[str, int]:
        """By task how many were lost and stand in no journal yet."""
        with self._lock:
            return dict(self._unwritten)

    def written(self, noted: Mapping[str, int]) -> None:
        """The journal says now that so many were lost."""
        with self._lock:
            self._unwritten = +(self._unwritten - Counter(noted))
        for task, n in noted.items():
            log("answers_lost_noted", task=task, answers=n)

    def _lose(self, task: str, n: int, reason: str) -> None:
        self._unwritten[task] += n
        if time.monotonic() - self._told >= EVERY_S:
            self._told = time.monotonic()
            log("answers_lost", task=task, answers=self._unwritten[task], reason=reason)
