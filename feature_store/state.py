"""The state of entities in one view: the events that still count, packed; new ones let in; a row of features made.

An entity's state is two texts of bytes, of which a read needs the first:

    row   since, until, cells of the features and attributes, texts
    tail  horizon, number of events, bytes of texts of attributes; attributes; an event each: event, known, cells;
          texts of attributes; texts of events

All numbers are little-endian 8 bytes but for the two counts of 4. The row holds for instants in [since, until). The
tail holds every event after the horizon, so an instant is worked out from it unless its windows reach behind that.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from feature_store import aggregate, cells
from feature_store.aggregate import Events
from feature_store.cells import Cells
from feature_store.layout import ALWAYS, Layout

_HEAD = struct.Struct("<qII")

Verdict = Literal["stored", "unchanged", "duplicate", "old"]
VERDICTS: tuple[Verdict, ...] = ("stored", "unchanged", "duplicate", "old")
"""What became of an event: let in; there already, the same; its id known first otherwise; too old for any window."""
_STORED, _UNCHANGED, _DUPLICATE, _OLD = range(4)


@dataclass(frozen=True)
class State:
    """m entities. horizon: (m,) microseconds; attributes: (m, a)."""

    events: Events
    horizon: np.ndarray
    attributes: Cells


def read(layout: Layout, tails: Sequence[bytes | None]) -> State:
    """The states of entities from their tails; None is an entity of which nothing is known."""
    heads = [_HEAD.unpack_from(tail) if tail else (ALWAYS, 0, 0) for tail in tails]
    counts = np.array([head[1] for head in heads], np.int64)
    width = 2 + cells.words(len(layout.columns)) + len(layout.columns)
    about = _HEAD.size + 8 * (cells.words(len(layout.attributes)) + len(layout.attributes))
    records, heaps, attributes, texts = [], [], [], []
    for tail, (_, count, size) in zip(tails, heads, strict=True):
        found, end = tail or b"", about + 8 * width * count
        attributes.append(found[_HEAD.size : about])
        records.append(found[about:end])
        texts.append(found[end : end + size])
        heaps.append(found[end + size :])
    table = np.frombuffer(b"".join(records), "<i8").reshape(-1, width)
    starts = np.concatenate([[0], np.cumsum(counts)])
    own = cells.unpacked(table, 2, len(layout.columns), _heap(heaps), layout.texts)
    events = Events(starts, table[:, 0], table[:, 1], _moved(own, np.repeat(_begins(heaps), counts)))
    return State(events, np.array([head[0] for head in heads], np.int64), _attributes(layout, attributes, texts))


def some(state: State, which: np.ndarray) -> State:
    """The states of some of the entities, by number, ascending."""
    if len(which) == len(state.horizon):
        return state
    counts = np.diff(state.events.starts)
    inside = np.zeros(len(counts), bool)
    inside[which] = True
    rows = np.repeat(inside, counts)
    starts = np.concatenate([[0], np.cumsum(counts[which])])
    found = Events(starts, state.events.event[rows], state.events.known[rows], state.events.cells.take(rows))
    return State(found, state.horizon[which], state.attributes.take(which))


def merged(layout: Layout, state: State, fresh: Events, instant: int) -> tuple[State, np.ndarray, np.ndarray]:
    """The states with fresh events let in, as of an instant; fresh: of the same entities, in any order within one.

    Of events with one id the one that was known first counts, of these the one that happened first, then the one with
    the smaller values. Gives also what became of each fresh event (n,), a place in VERDICTS, and which entities
    changed (m,).
    """
    old = fresh.event <= np.maximum(state.horizon, layout.horizon(instant))[fresh.who]
    both = cells.stack([state.events.cells, fresh.cells])
    who = np.concatenate([state.events.who, fresh.who])
    event, known = (
        np.concatenate([getattr(part, name) for part in (state.events, fresh)]) for name in ("event", "known")
    )
    is_fresh = np.arange(len(who)) >= len(state.events.event)
    ids = [key for place in range(len(layout.ids)) for key in _keys(layout, both, place)]
    values = [key for place in range(len(layout.ids), len(layout.columns)) for key in _keys(layout, both, place)]
    order = np.lexsort((is_fresh, *reversed([who, *ids, known, event, *values])))
    first, same = _runs([who, *ids], order), _runs([who, *ids, known, event, *values], order)
    leader = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    alike = np.maximum.accumulate(np.where(same, np.arange(len(order)), 0)) == leader
    verdict = np.empty(len(order), np.int8)
    verdict[order] = np.where(first, _STORED, np.where(alike, _UNCHANGED, _DUPLICATE))
    verdict[is_fresh] = np.where(old, _OLD, verdict[is_fresh])
    stays = verdict == _STORED
    changed = np.zeros(len(state.horizon), bool)
    changed[who[is_fresh == stays]] = True  # let in, or put out by one that was known before it
    order = np.lexsort(tuple(reversed([who, event, known, *ids])))
    order = order[stays[order]]
    starts = np.concatenate([[0], np.cumsum(np.bincount(who[order], minlength=len(state.horizon)))])
    events = Events(starts, event[order], known[order], both.take(order))
    return replace(state, events=events), verdict[is_fresh], changed


def written(layout: Layout, state: State, instant: int) -> list[tuple[bytes, bytes]]:
    """The row and the tail of each entity as of an instant, without the events that are too old for any window.

    Raises SumTooLarge.
    """
    horizon = np.maximum(state.horizon, layout.horizon(instant))
    events = _after(state.events, horizon)
    rows = row(layout, replace(state, events=events, horizon=horizon), instant)
    records, heaps = cells.packed(events.cells, events.starts, np.stack([events.event, events.known], axis=1))
    about, texts = cells.packed(state.attributes, np.arange(len(horizon) + 1))
    sizes = np.array([len(text) for text in texts], np.int64)
    head = np.stack([horizon, np.diff(events.starts) | sizes << 32], axis=1)
    blob, ends = _interleaved(np.concatenate([head, about], axis=1), records, events.starts)
    tails = [blob[start:end] for start, end in pairwise(ends)]
    if layout.texts or layout.attribute_texts:
        tails = [b"".join(parts) for parts in zip(tails, texts, heaps, strict=True)]
    return list(zip(rows, tails, strict=True))


def _interleaved(fronts: np.ndarray, records: np.ndarray, starts: np.ndarray) -> tuple[bytes, list[int]]:
    """Of each entity its front and then its records, one entity after the other; where each begins, and the end.

    fronts: (m, f) int64; records: (n, w) int64; starts: (m + 1,) where each entity's records begin.
    """
    front, width = fronts.shape[1], records.shape[1]
    begins = np.arange(len(starts)) * front + starts * width
    out = np.empty(begins[-1], np.int64)
    out[begins[:-1, None] + np.arange(front)] = fronts
    first = np.repeat(begins[:-1] + front - starts[:-1] * width, np.diff(starts)) + np.arange(len(records)) * width
    out[first[:, None] + np.arange(width)] = records
    return out.tobytes(), (begins * 8).tolist()


def row(layout: Layout, state: State, instant: int) -> list[bytes]:
    """The row of each entity as of an instant, which is floored to the view's grid. Raises SumTooLarge."""
    at = layout.view.floor(instant)
    found = cells.beside(aggregate.features(layout, state.events, at), state.attributes)
    since, until = aggregate.validity(layout, state.events, at, state.horizon)
    records, heaps = cells.packed(found, np.arange(len(found) + 1), np.stack([since, until], axis=1))
    blob, size = records.tobytes(), 8 * records.shape[1]
    rows = [blob[start : start + size] for start in range(0, len(blob), size)]
    return [one + heap for one, heap in zip(rows, heaps, strict=True)] if layout.row_texts else rows


def reaches(layout: Layout, tail: bytes, instant: int) -> bool:
    """Whether the tail holds every event that counts at an instant."""
    horizon = _HEAD.unpack_from(tail)[0]
    return layout.back_us is None or horizon == ALWAYS or layout.view.floor(instant) - layout.back_us >= horizon


def _after(events: Events, horizon: np.ndarray) -> Events:
    """The events that are later than their entity's horizon."""
    stays = events.event > horizon[events.who]
    if stays.all():
        return events
    starts = np.concatenate([[0], np.cumsum(stays)])[events.starts]
    return Events(starts, events.event[stays], events.known[stays], events.cells.take(stays))


def _keys(layout: Layout, both: Cells, place: int) -> list[np.ndarray]:
    """Arrays that sort a column's values as Python sorts them, missing ones last."""
    kind = layout.view.kind(layout.columns[place])
    missing = ~both.present[:, place]
    numbers = both.codes(place) if kind == "text" else aggregate.ordered(both.values[:, place], kind)
    return [missing, np.where(missing, 0, numbers)]


def _runs(keys: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    """(n,) in this order, where one of the keys differs from the row before."""
    new = np.zeros(len(order), bool)
    new[:1] = True
    for key in keys:
        new[1:] |= key[order][1:] != key[order][:-1]
    return new


def _attributes(layout: Layout, records: Sequence[bytes], heaps: Sequence[bytes]) -> Cells:
    many = len(layout.attributes)
    width = cells.words(many) + many
    empty = bytes(8 * width)
    table = np.frombuffer(b"".join(record or empty for record in records), "<i8").reshape(len(records), width)
    return _moved(cells.unpacked(table, 0, many, _heap(heaps), layout.attribute_texts), _begins(heaps))


def _heap(heaps: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(heaps), np.uint8)


def _begins(heaps: Sequence[bytes]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(heap) for heap in heaps])])[:-1].astype(np.int64)


def _moved(found: Cells, begins: np.ndarray) -> Cells:
    """The same, with texts that point into one heap of all entities; begins: (n,) where each row's own began."""
    if not found.texts:
        return found
    values, columns = found.values.copy(), list(found.texts)
    values[:, columns] += begins[:, None] * found.present[:, columns]
    return replace(found, values=values)
