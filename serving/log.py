"""The log: one JSON object a line on standard error. Callers give facts about the service, never a field's value."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime


def log(event: str, **facts: str | int | float | bool | None) -> None:
    """Write one line: the time in UTC, the event's name and its facts. On a full disk nothing is written or raised."""
    line = {"at_utc": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
    with suppress(OSError):
        sys.stderr.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stderr.flush()
