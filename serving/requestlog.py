"""A line of the log for every request: who asked what, which version answered, how it ended and how long it took.

Addresses are told as their pattern (`/v1/{task}/predict`), for whatever stands in one may be anybody's value. Lines
are gathered and written together: a write to a pipe costs as much as a small answer.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic

from serving import log

GATHER_S = 0.1

_start, _count = os.urandom(8).hex(), itertools.count()
_GIVEN = re.compile(rb"[0-9a-fA-F-]{16,64}")
"""A caller's own id is taken over if it is hexadecimal: no name and no sentence fits in."""


@dataclass(slots=True)
class Note:
    """What is known of the request that is being answered; those who learn more write it here."""

    request_id: str
    method: str = ""
    route: str | None = None
    task: str | None = None
    version: str | None = None
    key: str | None = None
    status: int = 0
    began: float = field(default_factory=monotonic)


_now: ContextVar[Note | None] = ContextVar("note", default=None)


def begin(method: str, given: bytes | None) -> Note:
    """The note of a new request, from now on the current one. given: the caller's X-Request-ID."""
    taken = given is not None and _GIVEN.fullmatch(given)
    note = Note(given.decode() if given and taken else f"{_start}{next(_count):08x}", method)
    _now.set(note)
    return note


def answered_by(task: str, version: str) -> None:
    """Write down what answers the current request; outside of one, nothing."""
    if (note := _now.get()) is not None:
        note.task, note.version = task, version


def asked_with(key: str | None) -> None:
    """Write down the id of the key (never the key) that the current request came with, None without one."""
    if (note := _now.get()) is not None:
        note.key = key


class RequestLog:
    """The lines of one worker."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._lines: list[str] = []
        self._refused: Counter[int] = Counter()

    def ended(self, note: Note) -> None:
        """One line. note: with its status."""
        if not self._wanted:
            return
        self._add(
            log.line(
                "request",
                request_id=note.request_id,
                method=note.method,
                route=note.route,
                task=note.task,
                version=note.version,
                key=note.key,
                status=note.status,
                duration_ms=round((monotonic() - note.began) * 1000, 2),
                worker=os.getpid(),
            )
        )

    def refused(self, status: int) -> None:
        """Count a request that was turned away unheard: a flood of them makes one line each time lines are written."""
        if not self._refused:
            self._later()
        self._refused[status] += 1

    def write(self) -> None:
        """Write what has gathered."""
        lines, self._lines = self._lines, []
        counted, self._refused = self._refused, Counter()
        for status, requests in sorted(counted.items()):
            lines.append(log.line("requests_refused", status=status, requests=requests, worker=os.getpid()))
        if lines:
            sys.stderr.write("".join(lines))
            sys.stderr.flush()

    def _add(self, line: str) -> None:
        if not self._lines:
            self._later()
        self._lines.append(line)

    def _later(self) -> None:
        asyncio.get_running_loop().call_later(GATHER_S, self.write)
