"""The features of many entities at one instant, from their events: what `asof.as_of` gives, to the bit.

Numpy alone, for a worker reads it: `history` works out many instants at once and needs pyarrow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_store import value
from feature_store.cells import Cells
from feature_store.errors import SumTooLarge
from feature_store.layout import NEVER, Layout
from feature_store.view import MONDAY_US, Feature, microseconds

_SAFE = 2.0**62
"""A sum of magnitudes, worked out in float64, below which int64 surely holds it."""
_LEAST, _MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@dataclass(frozen=True)
class Events:
    """Events of m entities: one entity after the other, each in the order of (event, known, id).

    starts: (m + 1,) where each entity begins; event, known: (n,) int64 microseconds; cells: (n, c), see `Layout`.
    """

    starts: np.ndarray
    event: np.ndarray
    known: np.ndarray
    cells: Cells

    @property
    def who(self) -> np.ndarray:
        """(n,) which entity each event is of."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def features(layout: Layout, events: Events, instant: int) -> Cells:
    """(m, f) the features of every entity as of an instant, which is on the view's grid.

    Raises SumTooLarge.
    """
    inside = [(enter <= instant) & (instant < leave) for enter, leave in spans(layout, events)]
    made: dict[str, _Column] = {}
    for name, feature in layout.view.features.items():
        if feature.pair is None:
            made[name] = _AGGREGATES[feature.aggregate](layout, feature, events, inside[layout.window(feature)])
        else:
            first, second = feature.pair
            made[name] = _combined(layout, feature, name, (first, made[first]), (second, made[second]))
    numbers = [np.where(one.present, one.numbers, 0) for one in made.values()]
    places = tuple(place for place in layout.row_texts if place < len(numbers))
    present = np.stack([one.present for one in made.values()], axis=1)
    return Cells(np.stack(numbers, axis=1), present, events.cells.heap, places)


def spans(layout: Layout, events: Events) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each window the instants [enter, leave) at which an event counts, each (n,)."""
    found = []
    for back, ahead in layout.windows:
        if ahead is not None:
            found.append((np.maximum(events.event - ahead, events.known), events.event))
        else:
            leave = np.full(len(events.event), NEVER) if back is None else events.event + back
            found.append((np.maximum(events.event, events.known), leave))
    return found


def validity(layout: Layout, events: Events, instant: int, horizon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From when until when the features as of an instant stay what they are: (m,) each, [from, until), microseconds.

    horizon: (m,) events up to there are not kept, so nothing is said of instants whose windows reach behind it.
    """
    since = horizon.copy() if layout.back_us is None else horizon + layout.back_us
    until = np.full(len(horizon), NEVER)
    who = events.who
    for enter, leave in spans(layout, events):
        counts = enter < leave
        for moments in (enter[counts], leave[counts]):
            later = moments > instant
            np.minimum.at(until, who[counts][later], moments[later])
            np.maximum.at(since, who[counts][~later], moments[~later])
    return _on_grid(layout, since), _on_grid(layout, until)


def _on_grid(layout: Layout, moments: np.ndarray) -> np.ndarray:
    """The first instants of the view's grid that are not before these."""
    if layout.view.every is None:
        return moments
    step = microseconds(layout.view.every)
    return np.where(np.abs(moments) >= NEVER, moments, moments + (MONDAY_US - moments) % step)


@dataclass(frozen=True)
class _Column:
    """One feature of m entities. numbers: (m,) int64 as cells hold them; present: (m,) bool."""

    numbers: np.ndarray
    present: np.ndarray


def _of(layout: Layout, feature: Feature, events: Events, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """The column of a feature (n,), where it counts (n,), and its kind."""
    place = layout.place(feature.column or "")
    return (
        events.cells.values[:, place],
        inside & events.cells.present[:, place],
        layout.view.kind(feature.column or ""),
    )


def _totals(events: Events, numbers: np.ndarray) -> np.ndarray:
    """(m,) sums of (n,) int64; wrong where they do not fit."""
    sums = np.concatenate([[0], np.cumsum(numbers)])
    found: np.ndarray = sums[events.starts[1:]] - sums[events.starts[:-1]]
    return found


def _count(layout: Layout, feature: Feature, events: Events, inside: np.ndarray) -> _Column:
    counted = inside if feature.column is None else _of(layout, feature, events, inside)[1]
    return _Column(_totals(events, counted.astype(np.int64)), np.ones(len(events.starts) - 1, bool))


def _sum(layout: Layout, feature: Feature, events: Events, inside: np.ndarray) -> _Column:
    numbers, counted, _ = _of(layout, feature, events, inside)
    taken = np.where(counted, numbers, 0)
    sizes = np.concatenate([[0.0], np.cumsum(np.abs(taken.astype(np.float64)))])
    if sizes[-1] >= _SAFE:
        _refuse_overflow(events, taken, feature.column or "")
    return _Column(_totals(events, taken), _totals(events, counted.astype(np.int64)) > 0)


def _refuse_overflow(events: Events, numbers: np.ndarray, column: str) -> None:
    """Raises SumTooLarge where one of the sums, worked out exactly, does not fit."""
    for start, end in zip(events.starts[:-1].tolist(), events.starts[1:].tolist(), strict=True):
        if not _LEAST <= sum(numbers[start:end].tolist()) <= _MOST:
            raise SumTooLarge(
                f"A sum of {column} is beyond 64 bits. Declare fewer digits, or scale it down in the view's SQL."
            )


def _mean(layout: Layout, feature: Feature, events: Events, inside: np.ndarray) -> _Column:
    total = _sum(layout, feature, events, inside)
    count = _totals(events, _of(layout, feature, events, inside)[1].astype(np.int64))
    kind = layout.view.kind(feature.column or "")
    means = _floats(total, kind) / np.where(total.present, count, 1).astype(np.float64)
    return _Column(means.view(np.int64), total.present)


def _extreme(layout: Layout, feature: Feature, events: Events, inside: np.ndarray) -> _Column:
    numbers, counted, kind = _of(layout, feature, events, inside)
    least = feature.aggregate == "min"
    best, identity = (np.minimum, _MOST) if least else (np.maximum, _LEAST)
    bits = np.where(counted, ordered(numbers, kind), identity)
    out = np.full(len(events.starts) - 1, identity)
    best.at(out, events.who, bits)
    return _Column(ordered(out, kind), _totals(events, counted.astype(np.int64)) > 0)


def ordered(numbers: np.ndarray, kind: str) -> np.ndarray:
    """Bits of floats as int64 that compare as the floats do, and back again; other numbers as they are."""
    if not kind.startswith("float"):
        return numbers
    return np.where(numbers < 0, numbers ^ np.int64(_MOST), numbers)


def _last(layout: Layout, feature: Feature, events: Events, inside: np.ndarray) -> _Column:
    numbers, counted, _ = _of(layout, feature, events, inside)
    newest = np.full(len(events.starts) - 1, -1)
    places = np.flatnonzero(counted)
    newest[events.who[places]] = places  # of several that are put into one place the last stays
    there = newest >= 0
    return _Column(numbers[newest] if len(numbers) else np.zeros(len(there), np.int64), there)


def _distinct(layout: Layout, feature: Feature, events: Events, inside: np.ndarray) -> _Column:
    numbers, counted, kind = _of(layout, feature, events, inside)
    if kind == "text":
        numbers = events.cells.codes(layout.place(feature.column or ""))
    who, numbers = events.who[counted], numbers[counted]
    order = np.lexsort((numbers, who))
    who, numbers = who[order], numbers[order]
    new = np.ones(len(who), bool)
    new[1:] = (who[1:] != who[:-1]) | (numbers[1:] != numbers[:-1])
    many = len(events.starts) - 1
    return _Column(np.bincount(who[new], minlength=many).astype(np.int64), np.ones(many, bool))


def _combined(
    layout: Layout, feature: Feature, name: str, first: tuple[str, _Column], second: tuple[str, _Column]
) -> _Column:
    """A ratio or difference of two features, each with its name."""
    kinds, (a, b) = layout.view.outputs, (first[1], second[1])
    there = a.present & b.present
    if feature.difference and kinds[name] != "float64":
        out = a.numbers - b.numbers
        if ((out < a.numbers) != (b.numbers > 0))[there].any():
            raise SumTooLarge(f"The difference {name} is beyond 64 bits. Scale its terms down in the view's SQL.")
        return _Column(out, there)
    left, right = _floats(a, kinds[first[0]]), _floats(b, kinds[second[0]])
    if feature.difference:
        return _Column((left - right).view(np.int64), there)
    there &= right != 0.0
    return _Column((left / np.where(there, right, 1.0)).view(np.int64), there)


def _floats(column: _Column, kind: str) -> np.ndarray:
    """(m,) float64, as `value.as_float` gives them; 0 where there is none."""
    numbers = np.where(column.present, column.numbers, 0)
    if kind.startswith("float"):
        return numbers.view(np.float64)
    return numbers.astype(np.float64) / 10.0 ** value.scale(kind)


_AGGREGATES = {
    "count": _count,
    "sum": _sum,
    "mean": _mean,
    "min": _extreme,
    "max": _extreme,
    "last": _last,
    "distinct": _distinct,
}
