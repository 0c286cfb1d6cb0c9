"""What is noted of the request that is being answered, by those who learn it, for the log, the meter and the trace."""

from __future__ import annotations

import itertools
import os
import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic

from serving import log as lines

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
    problem: str | None = None
    trace_id: str | None = None
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


def refused_for(problem: str) -> None:
    """Write down the kind of problem that the current request ends with."""
    if (note := _now.get()) is not None:
        note.problem = problem


def log(event: str, **facts: str | int | float | bool | None) -> None:
    """A line of the log about the current request, with its number."""
    note = _now.get()
    lines.log(event, **facts, request_id=None if note is None else note.request_id)
