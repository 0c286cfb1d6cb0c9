"""The past into the online store: a view's sources, streamed in the order of entities, into rows and tails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from feature_store import cells, state, stream
from feature_store import layout as layouts
from feature_store.layout import ALWAYS, Layout
from feature_store.online import Kept, Online
from feature_store.row import Rows
from feature_store.stream import Chunk
from feature_store.view import View

AT_ONCE = 65_536
"""Events of one transaction, and those that the last of its entities has beyond."""


@dataclass
class Materialized:
    """What was done. entities: in the sources; written: those of them that had changed or whose row had run out;
    skipped: those that a run before, which was killed, had done; refused: events by reason."""

    view: str
    as_of: int
    entities: int = 0
    written: int = 0
    skipped: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def __str__(self) -> str:
        refused = "".join(f"; {count} events refused: {reason}" for reason, count in self.refused.items())
        before = f", {self.skipped} done before" if self.skipped else ""
        return f"{self.view}: {self.entities} entities, {self.written} written{before}{refused}."


def materialize(
    view: View, store: Online, data_dir: Path, as_of: int, told: Callable[[int, int | None], None]
) -> Materialized:
    """Bring what is kept of a view's entities up to its sources, as of an instant (microseconds since 1970).

    Events that were pushed stay, and an entity of which nothing is new keeps its bytes. Each transaction notes how far
    it came: after a kill the same call goes on there, if the sources are the same. told: entities done, and in all.
    Raises TableMissing, TableUnreadable, SumTooLarge, OnlineUnreachable.
    """
    layout = layouts.of(view)
    with stream.opened(layout, data_dir, as_of) as source:
        known = stream.fingerprint(view, data_dir)
        done = Materialized(view.view, as_of, source.entities, refused=source.refused)
        after, done.skipped = _before(store, view, known)
        come = done.skipped
        for chunk in source.chunks(after, AT_ONCE):
            come += len(chunk.keys)
            progress = json.dumps({"source": known, "after": chunk.keys[-1], "entities": come})
            done.written += _write(layout, store, chunk, as_of, {"materializing": progress})
            told(come, source.entities)
        store.update(view.digest, [], lambda kept: (), {"materializing": "", "materialized": str(as_of)})
    return done


def _before(store: Online, view: View, known: str) -> tuple[str | None, int]:
    """Behind which key a killed run over the same sources goes on, and how many entities it had done."""
    found = json.loads(store.note(view.digest, "materializing") or "{}")
    if found.get("source") != known:
        return None, 0
    return found["after"], found["entities"]


def _write(layout: Layout, store: Online, chunk: Chunk, as_of: int, notes: dict[str, str]) -> int:
    """Let a chunk in; how many of its entities were written."""
    written, rows = 0, Rows(layout)

    def change(kept: Sequence[Kept | None]) -> Iterator[tuple[str, bytes, bytes]]:
        nonlocal written
        after, which = _changed(layout, chunk, kept, as_of, rows)
        written = len(which)
        made = state.written(layout, state.some(after, which), as_of)
        return ((chunk.keys[place], *one) for place, one in zip(which.tolist(), made, strict=True))

    store.update(layout.view.digest, chunk.keys, change, notes)
    return written


def _changed(
    layout: Layout, chunk: Chunk, kept: Sequence[Kept | None], as_of: int, rows: Rows
) -> tuple[state.State, np.ndarray]:
    """The states with the chunk let in, and which of them are to be written."""
    many = len(chunk.keys)
    if not any(kept):
        fresh = state.State(chunk.events, np.full(many, ALWAYS), chunk.attributes)
        return fresh, np.arange(many)
    before = state.read(layout, [one and one.tail for one in kept])
    after, _, changed = state.merged(layout, before, chunk.events, as_of)
    out = [one is None or not rows.holds(one.row, as_of) for one in kept]
    new = changed | np.array(out) | ~_alike(before.attributes, chunk.attributes)
    return replace(after, attributes=chunk.attributes), np.flatnonzero(new)


def _alike(one: cells.Cells, other: cells.Cells) -> np.ndarray:
    """(m,) whether rows say the same."""
    starts = np.arange(len(one) + 1)
    (left, texts), (right, others) = cells.packed(one, starts), cells.packed(other, starts)
    same: np.ndarray = (left == right).all(axis=1)
    same &= np.array([a == b for a, b in zip(texts, others, strict=True)], bool)
    return same
