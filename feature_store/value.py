"""A value of an event as it is kept: exact where it is added up, and the same whether from a table or from JSON.

| kind | is kept as | comes from |
|---|---|---|
| int | int64 | whole numbers |
| decimal(s) | int64, the value times 10**s, at most 2**53 | numbers, rounded half to even to s digits |
| float32, float64 | itself, -0.0 as 0.0 | finite numbers |
| flag | 0 or 1 | true, false, 0, 1 |
| text | itself | text, whole numbers, days |

Numbers may be written as text. NULL and NaN are NULL.
"""

from __future__ import annotations

import math
import re
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

Value = int | float | str
"""A kept value that is there."""

INT64 = (-(2**63), 2**63 - 1)
MOST_EXACT = 2**53
WHOLE = r"[+-]?[0-9]{1,19}"
NUMBER = r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
MOMENT = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
    r"(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?)?"
)
"""A time as text: a day, or a day and a time, with a zone or in UTC."""
FLAGS = {"true": 1, "1": 1, "false": 0, "0": 0}
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999 in microseconds since 1970."""

_EPOCH, _TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def scale(kind: str) -> int:
    """Digits after the point that a kind keeps."""
    return int(kind[8:-1]) if kind.startswith("decimal") else 0


def fit(kind: str, value: object) -> Value | None:
    """A value as it is kept, None for NULL. Raises ValueError where it is not of the kind."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if kind == "text":
        return _text(value)
    if kind == "flag":
        return _flag(value)
    if kind == "int":
        return _whole(value)
    number = _number(value)
    if math.isnan(number):
        return None
    if kind == "float32":
        return _single(number)
    return number + 0.0 if kind == "float64" else _scaled(number, scale(kind))


def _flag(value: object) -> int:
    if isinstance(value, float) and value in (0.0, 1.0):
        value = int(value)
    word = str(value).lower() if isinstance(value, bool | int | str) else ""
    if word not in FLAGS:
        raise ValueError
    return FLAGS[word]


def _single(number: float) -> float:
    """The nearest float32, as a float."""
    try:
        (single,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        raise ValueError from None
    return float(single) + 0.0


def _text(value: object) -> str:
    if isinstance(value, str):
        value.encode()  # half a pair of surrogates, which JSON may hold, is no text: UnicodeEncodeError
        return value
    if isinstance(value, bool | datetime) or not isinstance(value, int | date):
        raise ValueError
    return str(value)


def _whole(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(WHOLE, value):
        return _whole(int(value))
    if isinstance(value, float | Decimal):
        if not -MOST_EXACT <= value <= MOST_EXACT or value != int(value):
            raise ValueError
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    if not INT64[0] <= value <= INT64[1]:
        raise ValueError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ValueError
    if isinstance(value, str) and not re.fullmatch(NUMBER, value):
        raise ValueError
    try:
        number = float(value)
    except OverflowError:
        raise ValueError from None
    if math.isinf(number):
        raise ValueError
    return number


def _scaled(number: float, digits: int) -> int:
    scaled = number * 10.0**digits
    if abs(scaled) > MOST_EXACT:
        raise ValueError
    return round(scaled)


def instant(value: object) -> int:
    """A timestamp, day or text of one as microseconds since 1970 in UTC; without a zone it is UTC.

    Raises ValueError where it is none of the years 1 to 9999.
    """
    if isinstance(value, str) and re.fullmatch(MOMENT, value):
        value = datetime.fromisoformat(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise ValueError
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    found = (aware - _EPOCH) // _TICK
    if not FIRST_US <= found <= LAST_US:
        raise ValueError
    return found


def in_words(instant: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC."""
    return (_EPOCH + timedelta(microseconds=instant)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def as_float(kind: str, value: Value) -> float:
    """A kept number as float64: an integer rounded to the nearest one, and of a decimal then divided by 10**s."""
    number = float(value)
    return number / 10.0 ** scale(kind) if kind.startswith("decimal") else number


def ratio(first: float | None, second: float | None) -> float | None:
    """One float64 division; NULL where either is NULL or the divisor is 0."""
    return None if first is None or second is None or second == 0.0 else first / second
