"""A view's sources as a stream of whole entities, through DuckDB: events of one after those of the other, as cells."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from feature_store import cells
from feature_store.aggregate import Events
from feature_store.cells import Cells
from feature_store.events import Events as JudgedEvents
from feature_store.events import attributes, loaded
from feature_store.layout import Layout
from feature_store.view import View

MEMORY_MB = 1000
"""That DuckDB may take; what is more lies on disk."""


@contextmanager
def opened(layout: Layout, data_dir: Path, as_of: int) -> Iterator[Stream]:
    """The stream of a view as of an instant: events that no window looks at from then on are left out.

    Raises TableMissing, TableUnreadable.
    """
    view = layout.view
    about, refused = attributes(view, data_dir) if view.attributes else (None, {})
    with loaded(view, data_dir, MEMORY_MB, as_of) as events:
        stream = Stream(layout, events, about, layout.horizon(as_of))
        for reason, count in refused.items():
            stream.refused[reason] = stream.refused.get(reason, 0) + count
        yield stream


def fingerprint(view: View, data_dir: Path) -> str:
    """The same as long as neither the view nor one of its files has changed; its files must be there."""
    sources = [*view.data.sources.values(), *(view.attributes.data.sources.values() if view.attributes else ())]
    found = [(source, (data_dir / source).stat()) for source in sources]
    stamps = [(source, stat.st_size, stat.st_mtime_ns) for source, stat in found]
    return hashlib.sha256(repr((view.digest, stamps)).encode()).hexdigest()


@dataclass(frozen=True)
class Chunk:
    """m entities by their keys, ascending. events: sorted, each id once; attributes: (m, a)."""

    keys: list[str]
    events: Events
    attributes: Cells


class Stream:
    """The judged events of a view and its attributes, with DuckDB open over them.

    entities: how many there are; refused: rows of events and of attributes by reason.
    """

    def __init__(self, layout: Layout, events: JudgedEvents, attributes: pa.Table | None, horizon: int) -> None:
        """horizon: events up to there are left out, though not their entities."""
        self._layout, self._horizon, self._connection = layout, horizon, events.connection
        self.refused = events.refused
        if attributes is not None:
            self._connection.register("_described", attributes)
        self._connection.execute(_heads(layout))
        self.entities: int = self._connection.execute("SELECT count(*) FROM _heads").fetchall()[0][0]

    def chunks(self, after: str | None, at_once: int) -> Iterator[Chunk]:
        """Entities in the order of their keys, those behind `after`; about so many events at once."""
        asked = _stream(self._layout, after is not None)
        given = [self._horizon] if after is None else [after, self._horizon, after]
        found: Any = self._connection.sql(asked, params=given)
        rest: pa.Table | None = None
        for batch in found.to_arrow_reader(at_once):
            table = pa.Table.from_batches([batch])
            table = table if rest is None else pa.concat_tables([rest, table])
            heads = np.flatnonzero(table.column("head").to_numpy())
            if len(heads) > 1:  # the last entity may go on in the next batch
                yield self._chunk(table.slice(0, int(heads[-1])))
                table = table.slice(int(heads[-1]))
            rest = table
        if rest is not None and len(rest):
            yield self._chunk(rest)

    def _chunk(self, table: pa.Table) -> Chunk:
        """Of whole entities: the first row of each is its head, with its attributes; its events follow."""
        layout, table = self._layout, table.combine_chunks()
        is_head = table.column("head").to_numpy()
        heads = np.flatnonzero(is_head)
        keys = table.column("key").take(pa.array(heads)).to_pylist()
        starts = np.append(heads, len(table)) - np.arange(len(heads) + 1)
        names = [f"c{place}" for place in range(len(layout.columns))]
        about = [f"a{place}" for place in range(len(layout.attributes))]
        event, known = (_numbers(table.column(name))[0][~is_head] for name in ("event", "known"))
        found = columns(table, names, layout.texts).take(~is_head)
        return Chunk(
            keys, Events(starts, event, known, found), columns(table, about, layout.attribute_texts).take(heads)
        )


def columns(table: pa.Table, names: list[str], texts: tuple[int, ...]) -> Cells:
    """Columns of a table as cells; those in the places of texts are text, others numbers, decimals or flags."""
    out = cells.none(len(names), len(table), texts)
    heaps, size = [], 0
    for place, name in enumerate(names):
        values, present = _texts(table.column(name)) if place in texts else _numbers(table.column(name))
        if place in texts:
            values, heap = values
            out.values[:, place] = np.where(present, values + size, 0)
            heaps.append(heap)
            size += len(heap)
        else:
            out.values[:, place] = values
        out.present[:, place] = present
    return Cells(out.values, out.present, np.concatenate([*heaps, np.zeros(0, np.uint8)]), texts)


def _numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    array = _whole(column)
    present = array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_decimal(array.type):
        low = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)[array.offset : array.offset + len(array), 0]
        return np.where(present, low, 0), present
    if not pa.types.is_integer(array.type):
        array = array.cast(pa.float64() if pa.types.is_floating(array.type) else pa.int8())
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    return (values.view(np.int64) if values.dtype == np.float64 else values.astype(np.int64)), present


def _texts(column: pa.ChunkedArray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Where each text lies and how long it is, as cells say it; the bytes; and which are there."""
    array = _whole(column).cast(pa.large_string())
    present = array.is_valid().to_numpy(zero_copy_only=False)
    _, ends, heap = array.buffers()
    offsets = np.frombuffer(ends, np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(heap, np.uint8)[: offsets[-1]] if heap is not None else np.zeros(0, np.uint8)
    return (offsets[:-1] | np.diff(offsets) << 32, data), present


def _whole(column: pa.ChunkedArray) -> Any:
    found = column.combine_chunks()
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) else found


def _key(view: View) -> str:
    """`entity.key` in SQL."""
    parts = [f"CAST(e{place} AS VARCHAR)" for place in range(len(view.entity))]
    return " || ',' || ".join(
        part if view.kind(name) == "int" else f"url_encode({part})"
        for part, name in zip(parts, view.entity, strict=True)
    )


def _heads(layout: Layout) -> str:
    """What makes `_heads`: a row of every entity with its attributes."""
    known = f"SELECT DISTINCT {_key(layout.view)} AS key FROM _events WHERE reason IS NULL"  # noqa: S608
    if not layout.attributes:
        return f"CREATE TEMP TABLE _heads AS {known}"
    about = ", ".join(f"v{place} AS a{place}" for place in range(len(layout.attributes)))
    described = f"SELECT {_key(layout.view)} AS key, {about} FROM _described"  # noqa: S608
    return f"CREATE TEMP TABLE _heads AS SELECT * FROM ({known}) FULL JOIN ({described}) USING (key)"  # noqa: S608


def _stream(layout: Layout, goes_on: bool) -> str:
    """Heads and events, entity by entity."""
    view = layout.view
    ids = [f"i{view.id.index(name)}" for name in layout.ids]
    own = ids + [f"v{place}" for place in range(len(view.values))]
    named = [f"{column} AS c{place}" for place, column in enumerate(own)]
    known = "event AS known" if view.known == view.event_time else "known"
    behind = " AND key > ?" if goes_on else ""
    events = f"SELECT false AS head, {', '.join([f'{_key(view)} AS key', 'event', known, *named])} FROM _events"  # noqa: S608
    order = ", ".join(["key", "head DESC", "event", "known", *(f"c{place}" for place in range(len(ids)))])
    return (
        f"SELECT true AS head, * FROM _heads WHERE true{behind} UNION ALL BY NAME "  # noqa: S608
        f"(SELECT * FROM ({events} WHERE reason IS NULL AND event > ?) WHERE true{behind}) ORDER BY {order}"
    )
