"""What was served, worked out again offline: every vector, feature by feature, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from feature_store import cells, entity, stream, value
from feature_store import layout as layouts
from feature_store.asof import as_of
from feature_store.layout import Layout
from feature_store.online import Online, Served
from feature_store.row import Rows
from feature_store.view import View

AT_ONCE = 200_000
TOLD = 1000
"""Differences are listed up to here, and counted beyond."""


@dataclass
class Replayed:
    """differences: features that differ; listed: of each its entity, instant, name and both values."""

    view: str
    vectors: int = 0
    differences: int = 0
    listed: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"view": self.view, "vectors": self.vectors, "differences": self.differences, "listed": self.listed}

    def __str__(self) -> str:
        lines = [f"{self.view}: {self.vectors} vectors were served, {self.differences} features differ offline."]
        lines += [
            f"{one['entity']} as of {one['as_of']}: {one['feature']} was served as {one['served']!r}, "
            f"offline it is {one['offline']!r}"
            for one in self.listed[:20]
        ]
        return "\n".join(lines)


def replay(view: View, store: Online, data_dir: Path, now: int, told: Callable[[int, int | None], None]) -> Replayed:
    """Work out offline every vector that was served with a record of it, and tell each feature that differs.

    now: as in `asof.as_of`; told: vectors done. Raises what `as_of` raises, and OnlineUnreachable.
    """
    done, served, layout = Replayed(view.view), store.served(view.digest), layouts.of(view)
    while part := list(islice(served, AT_ONCE)):
        for one, offline in zip(part, _offline(layout, data_dir, part, now), strict=True):
            if one.row != offline:
                _tell(done, layout, one, offline)
        done.vectors += len(part)
        told(done.vectors, None)
    return done


def _offline(layout: Layout, data_dir: Path, served: list[Served], now: int) -> Iterator[bytes]:
    """The rows, without their spans, that the sources give."""
    view = layout.view
    whos = [entity.read(view, one.key) for one in served]
    origins = pa.table({
        **{name: pa.array([who[place] for who in whos]) for place, name in enumerate(view.entity)},
        "as_of": pa.array([one.as_of for one in served], pa.timestamp("us")),
    })  # fmt: skip
    found = stream.columns(as_of(view, data_dir, origins, now=now), list(view.outputs), layout.row_texts)
    records, heaps = cells.packed(found, np.arange(len(found) + 1))
    for record, heap in zip(records, heaps, strict=True):
        yield record.tobytes() + heap


def _tell(done: Replayed, layout: Layout, one: Served, offline: bytes) -> None:
    rows = Rows(layout)
    pairs = zip(rows.names, rows.values(bytes(16) + one.row), rows.values(bytes(16) + offline), strict=True)
    for name, was, found in pairs:
        if repr(was) != repr(found):  # of floats the shortest text that tells them apart
            done.differences += 1
            if len(done.listed) < TOLD:
                told = {"entity": one.key, "as_of": value.in_words(one.as_of), "feature": name}
                done.listed.append({**told, "served": was, "offline": found})
