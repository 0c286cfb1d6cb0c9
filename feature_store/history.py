"""All features of the events of some entities, at all instants that are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.cover import Asked, Cover, count, cover, distinct, greatest, newest, total
from feature_store.errors import SumTooLarge
from feature_store.value import scale
from feature_store.view import Feature, View


@dataclass(frozen=True)
class Column:
    """Kept values, (n,) int64 or float64, or an array of text; valid: (n,) which are not NULL."""

    kind: str
    values: np.ndarray | pa.Array
    valid: np.ndarray

    def floats(self) -> np.ndarray:
        """(n,) as `value.as_float` has them."""
        digits = scale(self.kind)
        numbers = np.asarray(self.values).astype(np.float64)
        return numbers / 10.0**digits if self.kind.startswith("decimal") else numbers

    def take(self, rows: np.ndarray) -> Column:
        """Those of some rows; -1 gives NULL."""
        there = rows >= 0
        if isinstance(self.values, pa.Array):
            return Column(self.kind, self.values.take(pa.array(rows, mask=~there)), there)
        if not len(self.values):
            return Column(self.kind, np.zeros(len(rows), self.values.dtype), there)
        return Column(self.kind, self.values[rows], there & self.valid[rows])

    def arrow(self) -> pa.Array:
        """int64, decimal128(19, s), float, double, bool or string."""
        if isinstance(self.values, pa.Array):
            return self.values
        if self.kind.startswith("decimal"):
            halves = np.empty((len(self.values), 2), dtype=np.int64)
            halves[:, 0], halves[:, 1] = self.values, self.values >> 63
            buffers = [pa.array(self.valid).buffers()[1], pa.py_buffer(halves)]
            return pa.Array.from_buffers(pa.decimal128(19, scale(self.kind)), len(halves), buffers)
        dtype = {"flag": np.bool_, "float32": np.float32}.get(self.kind, self.values.dtype)
        return pa.array(self.values.astype(dtype), mask=~self.valid)


def column(kind: str, values: pa.ChunkedArray) -> Column:
    """A column as `events.loaded` and `events.attributes` keep it."""
    array = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
    if kind == "text":
        return Column(kind, array, valid)
    dtype = np.float64 if kind.startswith("float") else np.int64
    return Column(kind, array.fill_null(0).to_numpy(zero_copy_only=False).astype(dtype), valid)


@dataclass(frozen=True)
class History:
    """entity: (n,) which of the asked ones; event, known: (n,) microseconds; table: i0 … and v0 … of each event."""

    view: View
    asked: Asked
    entity: np.ndarray
    event: np.ndarray
    known: np.ndarray
    table: pa.Table
    covers: dict[tuple[object, ...], Cover] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)

    def features(self) -> dict[str, Column]:
        """Each feature at each asked row. Raises SumTooLarge."""
        found: dict[str, Column] = {}
        for name, feature in self.view.features.items():
            try:
                if feature.pair is not None:
                    first, second = (found[other] for other in feature.pair)
                    found[name] = _combined(self.view.outputs[name], feature, first, second)
                else:
                    found[name] = self._aggregate(self.view.outputs[name], feature)
            except OverflowError:
                remedy = "Give it a shorter window, or its column fewer digits."
                raise SumTooLarge(f"{self.view.view}: {name} is beyond 64 bits. {remedy}") from None
        return found

    def _aggregate(self, kind: str, feature: Feature) -> Column:
        runs = self._runs(feature)
        if feature.aggregate == "count":
            return _whole(count(runs))
        column = self._column(feature.column or "")
        if feature.aggregate == "distinct":
            return _whole(distinct(runs, _codes(column)[runs.index]))
        if feature.aggregate == "last":
            return column.take(self._last(runs))
        number = count(runs)
        valid = number > 0
        values = np.asarray(column.values)[runs.index]
        if feature.aggregate in ("sum", "mean"):
            added = Column("int" if column.kind == "flag" else column.kind, total(runs, values), valid)
            if feature.aggregate == "sum":
                return added
            return Column(kind, np.divide(added.floats(), number, out=np.zeros(len(number)), where=valid), valid)
        lowest = np.iinfo(np.int64).min if values.dtype == np.int64 else -np.inf
        if feature.aggregate == "max":
            return Column(kind, np.where(valid, greatest(runs, values, lowest), 0), valid)
        turn = np.invert if values.dtype == np.int64 else np.negative  # the order turned, without overflow
        return Column(kind, np.where(valid, turn(greatest(runs, turn(values), lowest)), 0) + 0, valid)

    def _runs(self, feature: Feature) -> Cover:
        """Of the events whose column is not NULL."""
        window = (feature.window_us, feature.ahead_us)
        if window not in self.covers:
            until = None
            if feature.ahead_us is not None:
                until, a = (
                    self.event,
                    self.asked.row(self.entity, np.maximum(self.event - feature.ahead_us, self.known)),
                )
            else:
                until, a = None if feature.window_us is None else self.event + feature.window_us, self._begin
            self.covers[window] = cover(self.asked, self.entity, a, until)
        if feature.column is None:
            return self.covers[window]
        if (*window, feature.column) not in self.covers:
            valid = self._column(feature.column).valid
            self.covers[*window, feature.column] = self.covers[window].only(valid)
        return self.covers[*window, feature.column]

    @cached_property
    def _begin(self) -> np.ndarray:
        """(n,) the first row for which an event has happened and is known."""
        late = self.event if self.known is self.event else np.maximum(self.event, self.known)
        return self.asked.row(self.entity, late)

    def _column(self, name: str) -> Column:
        if name not in self.columns:
            number = self.view.values.index(name)
            self.columns[name] = column(self.view.columns[name], self.table.column(f"v{number}"))
        return self.columns[name]

    def _last(self, runs: Cover) -> np.ndarray:
        """(rows,) the event of the greatest event time, known time and id; -1 where none counts."""
        runs = newest(runs, self.event[runs.index])
        keys = [key[runs.index] for key in (self.known, self.event, self.entity)]
        order = np.lexsort(keys)
        same = np.ones(max(len(order) - 1, 0), dtype=bool)
        for key in keys:
            same &= key[order[1:]] == key[order[:-1]]
        tied = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
        if len(tied):
            these = order[tied]
            ids = [_order(self.table.column(f"i{n}"), runs.index[these]) for n in range(len(self.view.id))]
            order[tied] = these[np.lexsort([*reversed(ids), *(key[these] for key in keys)])]
        ordered = Cover(runs.index[order], runs.a[order], runs.b[order], runs.rows)
        place = greatest(ordered, np.arange(len(order)), -1)
        return np.asarray(np.append(ordered.index, -1)[place])


def _whole(values: np.ndarray) -> Column:
    return Column("int", values, np.ones(len(values), dtype=bool))


def _codes(column: Column) -> np.ndarray:
    """(n,) a number from 0 on for each different value."""
    values = column.values if isinstance(column.values, pa.Array) else pa.array(column.values)
    return np.asarray(values.dictionary_encode().indices.fill_null(0).to_numpy(zero_copy_only=False))


def _order(column: pa.ChunkedArray, rows: np.ndarray) -> np.ndarray:
    """(rows,) numbers in the order of an id's values: int64, or text by code points."""
    part = column.take(pa.array(rows)).combine_chunks()
    if not pa.types.is_string(part.type):
        return np.asarray(part.to_numpy(zero_copy_only=False))
    encoded = part.dictionary_encode()
    place = np.empty(len(encoded.dictionary), dtype=np.int64)
    place[pc.array_sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(place))
    return np.asarray(place[encoded.indices.to_numpy()])


def _combined(kind: str, feature: Feature, first: Column, second: Column) -> Column:
    """A ratio or a difference."""
    valid = first.valid & second.valid
    if feature.ratio is not None:
        divisor = second.floats()
        valid &= divisor != 0.0
        return Column(kind, np.divide(first.floats(), divisor, out=np.zeros(len(valid)), where=valid), valid)
    if kind == "float64":
        return Column(kind, np.where(valid, first.floats() - second.floats(), 0.0), valid)
    one, other = np.asarray(first.values), np.asarray(second.values)
    less = one - other
    if (valid & (((one ^ other) & (one ^ less)) < 0)).any():
        raise OverflowError
    return Column(kind, np.where(valid, less, 0), valid)
