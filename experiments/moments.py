"""Times as they are typed: a number of days back, or a date."""

from __future__ import annotations

import re
import time
from datetime import datetime

from feature_store.errors import Usage
from serving import recall


def moment(words: str, option: str) -> int:
    """`30d` ago or a date, in microseconds since 1970 (UTC). option: the one that is named when it is neither.

    Raises Usage.
    """
    if days := re.fullmatch(r"(\d{1,5})d", words):
        return time.time_ns() // 1000 - int(days[1]) * 86_400_000_000
    try:
        return recall.microseconds(datetime.fromisoformat(words))
    except ValueError:
        raise Usage(
            f"{option} {words!r} is no time. Write a number of days such as 30d, or a date: 2024-03-01."
        ) from None
