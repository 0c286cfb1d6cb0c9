"""The log: one JSON object a line on standard error. Callers give facts about the service, never a field's value."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime

_encode = json.JSONEncoder(ensure_ascii=False).encode


def log(event: str, **facts: str | int | float | bool | None) -> None:
    """Write one line: the time in UTC, the event's name and its facts. On a full disk nothing is written or raised."""
    with suppress(OSError):
        sys.stderr.write(line(event, **facts))
        sys.stderr.flush()


def line(event: str, **facts: str | int | float | bool | None) -> str:
    """The line itself, with its end."""
    told = {"at_utc": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
    return _encode(told) + "\n"
