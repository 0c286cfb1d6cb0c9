"""An event: one row of a view's source or of a stream, read and judged; what is wrong with it has a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from feature_store.errors import EventRefused
from feature_store.value import Value, fit, instant
from feature_store.view import View

REASONS = {
    "null_key": "the entity or id is NULL",
    "null_time": "a time is NULL",
    "unreadable_time": "a time is no timestamp, day or ISO 8601 text of the years 1 to 9999",
    "far_future": "it happens later than `latest` after it is known, or after now",
    "wrong_type": "a value is not of its declared kind",
    "duplicate": "its id is there already, known no later",
}
"""Why an event is refused. Columns are judged in turn, and the first fault counts: entity, id, times, values."""


class Event(NamedTuple):
    """times in microseconds since 1970, UTC; id as the view's `id`; values as the view's `values`."""

    event: int
    known: int
    id: tuple[Value, ...]
    values: tuple[Value | None, ...]

    @property
    def precedence(self) -> tuple[object, ...]:
        """Of events with one id the smallest counts: known first, then happened first, then the smaller values."""
        return (self.known, self.event, *((value is None, 0 if value is None else value) for value in self.values))


def read(view: View, row: Mapping[str, object], now: int) -> tuple[tuple[Value, ...], Event]:
    """The entity and the event of a row; what is absent is NULL, what the view does not name is left out.

    now: microseconds since 1970. Raises EventRefused, whose `reason` is a key of REASONS but for `duplicate`.
    """
    entity, ids = (tuple(_key(view, row, name) for name in names) for names in (view.entity, view.id))
    event, known = _time(row, view.event_time), _time(row, view.known)
    if event > min(known, now) + view.latest_us:
        raise EventRefused("far_future", view.event_time)
    return entity, Event(event, known, ids, tuple(_value(view, row, name) for name in view.values))


def _key(view: View, row: Mapping[str, object], name: str) -> Value:
    if (found := _value(view, row, name)) is None:
        raise EventRefused("null_key", name)
    return found


def _time(row: Mapping[str, object], name: str) -> int:
    value = row.get(name)
    if value is None:
        raise EventRefused("null_time", name)
    try:
        return instant(value)
    except (ValueError, OverflowError):
        raise EventRefused("unreadable_time", name) from None


def _value(view: View, row: Mapping[str, object], name: str) -> Value | None:
    try:
        return fit(view.kind(name), row.get(name))
    except ValueError:
        raise EventRefused("wrong_type", name) from None
