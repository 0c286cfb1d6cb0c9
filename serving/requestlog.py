"""A line of the log for every request, and its count: who asked what, which version answered, how it ended.

Addresses are told as their pattern (`/v1/{task}/predict`), for whatever stands in one may be anybody's value. Lines
are gathered and written together: a write to a pipe costs as much as a small answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from time import monotonic

from serving import log
from serving.meter import Meter
from serving.noted import Note

GATHER_S = 0.1


class RequestLog:
    """The lines of one worker, and its meter."""

    def __init__(self, wanted: bool, meter: Meter) -> None:
        """wanted: whether requests have lines; they are counted in any case."""
        self._wanted, self.meter = wanted, meter
        self._lines: list[str] = []
        self._refused: Counter[int] = Counter()

    def ended(self, note: Note, quiet: bool = False) -> None:
        """Count it, and write a line unless it is quiet. note: with its status."""
        seconds = monotonic() - note.began
        self.meter.answered(note.method, note.route, note.status, note.problem, seconds)
        if quiet or not self._wanted:
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
                problem=note.problem,
                status=note.status,
                duration_ms=round(seconds * 1000, 2),
                worker=os.getpid(),
                **({} if note.trace_id is None else {"trace_id": note.trace_id}),
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
