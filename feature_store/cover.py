"""Which instants an event counts for: a run of rows, and what sums, extremes and counts of such runs are.

An event counts from one instant until another. Rows are asked instants, sorted by entity and time, so the ones that an
event counts for stand together: rows a to b - 1, b left out. All windows, looking back or ahead, of events that are
known at once or late, come to this, and what is asked of them takes time in proportion to events and rows, not to
their pairs, of which a range join makes one for each event in each window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CHUNK = 1 << 16
"""Events looked up at a time, so that what is gathered stays in the cache of the core."""


@dataclass(frozen=True)
class Asked:
    """times: (rows,) microseconds, ascending within each entity; first: (entities + 1,) where each one's rows begin."""

    times: np.ndarray
    first: np.ndarray

    def row(self, entity: np.ndarray, instant: np.ndarray) -> np.ndarray:
        """(n,) of each entity the first row whose time is not before the instant, or the end of its rows."""
        found = np.empty(len(entity), dtype=np.int64)
        for start in range(0, len(entity), CHUNK):
            part = slice(start, start + CHUNK)
            low, end = self.first[entity[part]], self.first[entity[part] + 1]
            found[part] = _bisect(self.times, low, end, instant[part])
        return found


def _bisect(times: np.ndarray, low: np.ndarray, end: np.ndarray, instant: np.ndarray) -> np.ndarray:
    """Steps of falling powers of two: a step is taken where the row before its end is still before the instant."""
    place = low.copy()
    step = 1 << int((end - low).max(initial=0)).bit_length()
    while step := step >> 1:
        far = place + step
        before = times[np.minimum(far, end) - 1] < instant
        place += step * (before & (far <= end))
    return place


@dataclass(frozen=True)
class Cover:
    """index: (m,) events that count for any row; a, b: (m,) the rows that they count for."""

    index: np.ndarray
    a: np.ndarray
    b: np.ndarray
    rows: int

    def only(self, chosen: np.ndarray) -> Cover:
        """Those of the events for which `chosen` (one for every event) is true."""
        kept = chosen[self.index]
        return self if kept.all() else Cover(self.index[kept], self.a[kept], self.b[kept], self.rows)


def cover(asked: Asked, entity: np.ndarray, a: np.ndarray, until: np.ndarray | None) -> Cover:
    """The rows that each event counts for: from row `a` on, before the instant `until` (None: to the entity's end)."""
    end = asked.first[entity + 1]
    index = np.flatnonzero(a < end)
    a, b = a[index], end[index]
    if until is not None:
        b = asked.row(entity[index], until[index])
        kept = a < b
        index, a, b = index[kept], a[kept], b[kept]
    return Cover(index, a, b, len(asked.times))


def count(runs: Cover) -> np.ndarray:
    """(rows,) int64: how many events count."""
    change = np.bincount(runs.a, minlength=runs.rows + 1) - np.bincount(runs.b, minlength=runs.rows + 1)
    return np.cumsum(change[:-1], dtype=np.int64)


def total(runs: Cover, terms: np.ndarray) -> np.ndarray:
    """(rows,) int64 sums. terms: (m,) int64, one a run. Raises OverflowError where a sum needs more than 64 bits."""
    if np.abs(terms.astype(np.float64)).sum() < 2.0**62:
        return _running(runs, terms)
    low, high = _running(runs, terms & 0xFFFFFFFF), _running(runs, terms >> 32)
    high += low >> 32
    if ((high < -(2**31)) | (high >= 2**31)).any():
        raise OverflowError
    return (high << 32) + (low & 0xFFFFFFFF)


def _running(runs: Cover, terms: np.ndarray) -> np.ndarray:
    change = np.zeros(runs.rows + 1, dtype=np.int64)
    np.add.at(change, runs.a, terms)
    np.subtract.at(change, runs.b, terms)
    return np.cumsum(change[:-1])


def greatest(runs: Cover, terms: np.ndarray, nothing: float) -> np.ndarray:
    """(rows,) the largest of the terms that count, `nothing` (below all) where none does. terms: (m,) one a run.

    Each run is two runs of a power of two. Runs of one length lie in one table by their first row, and a table is
    handed down to the next shorter length as two halves, so that it takes log2(rows) steps for all runs at once.
    """
    level = np.frexp((runs.b - runs.a).astype(np.float64))[1] - 1
    table = np.full(runs.rows, nothing, dtype=terms.dtype)
    for power in range(int(level.max(initial=0)), -1, -1):
        length = 1 << power
        below = table.copy()  # the length above's, as its first halves
        np.maximum(below[length:], table[:-length], out=below[length:])  # and its second ones
        table = below
        here = level == power
        np.maximum.at(table, runs.a[here], terms[here])
        np.maximum.at(table, runs.b[here] - length, terms[here])
    return table


def newest(runs: Cover, event: np.ndarray) -> Cover:
    """Without those that are never the latest. event: (m,) one a run.

    Of two that count from one row on, the later event counts as long as the other or longer, whatever the window.
    """
    latest = np.full(runs.rows, np.iinfo(np.int64).min)
    np.maximum.at(latest, runs.a, event)
    kept = latest[runs.a] == event
    return Cover(runs.index[kept], runs.a[kept], runs.b[kept], runs.rows)


def distinct(runs: Cover, codes: np.ndarray) -> np.ndarray:
    """(rows,) int64: how many different codes count. codes: (m,) one a run, from 0 on.

    Runs of one code that overlap are cut, so that each row is in one of them at most.
    """
    code = codes.astype(np.int64)
    order = np.argsort(code * (runs.rows + 1) + runs.a, kind="stable")
    code, a, b = code[order], runs.a[order], runs.b[order]
    furthest = np.maximum.accumulate(code * (runs.rows + 1) + b)
    before = np.concatenate([[-1], furthest[:-1]]) - code * (runs.rows + 1)  # below 0 where it is another code's
    a = np.maximum(a, before)
    kept = a < b
    return count(Cover(runs.index[order][kept], a[kept], b[kept], runs.rows))
