"""Cells: a table of 8-byte values and missing ones, packed to bytes the same way for an event and for a row.

A whole number is its int64, a decimal its scaled int64, a float the bits of its float64, a flag 0 or 1, and a text the
place of its UTF-8 in a heap of bytes (offset + length * 2^32). So what is summed or compared is never parsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_LOW = np.int64(0xFFFFFFFF)
_SHIFT = np.int64(32)


@dataclass(frozen=True)
class Cells:
    """n rows of c cells.

    values: (n, c) int64; present: (n, c) bool; where it is False the value is 0. heap: (b,) uint8. texts: the columns
    that point into the heap.
    """

    values: np.ndarray
    present: np.ndarray
    heap: np.ndarray
    texts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def take(self, which: np.ndarray) -> Cells:
        """Some of the rows, by number or by mask; the heap stays whole."""
        return Cells(self.values[which], self.present[which], self.heap, self.texts)

    def codes(self, column: int) -> np.ndarray:
        """(n,) int64 that compare as the column's texts do, by code point; of missing ones that of the empty text."""
        texts = np.empty(len(self), dtype=object)
        texts[:] = self.strings(column)
        return np.unique(texts, return_inverse=True)[1].astype(np.int64)

    def strings(self, column: int) -> list[str]:
        """The texts of a column; a missing one is ""."""
        return [text(int(cell), self.heap) for cell in self.values[:, column]]


def none(columns: int, rows: int = 0, texts: tuple[int, ...] = ()) -> Cells:
    """So many rows in which all is missing."""
    shape = (rows, columns)
    return Cells(np.zeros(shape, np.int64), np.zeros(shape, bool), np.zeros(0, np.uint8), texts)


def text(cell: int, heap: np.ndarray) -> str:
    """What one cell of a text says."""
    start, size = cell & 0xFFFFFFFF, cell >> 32
    return bytes(heap[start : start + size]).decode()


def stack(parts: Sequence[Cells]) -> Cells:
    """The rows of one after those of the other; all have the same columns."""
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([part.values for part in parts])
    start, shift = len(parts[0]), len(parts[0].heap)
    for part in parts[1:]:
        for column in part.texts:
            values[start : start + len(part), column] += np.int64(shift) * part.present[:, column]
        start, shift = start + len(part), shift + len(part.heap)
    present = np.concatenate([part.present for part in parts])
    return Cells(values, present, np.concatenate([part.heap for part in parts]), parts[0].texts)


def beside(left: Cells, right: Cells) -> Cells:
    """The columns of one after those of the other; both have the same rows."""
    moved = right.values
    if right.texts:
        moved = moved.copy()
        for column in right.texts:
            moved[:, column] += np.int64(len(left.heap)) * right.present[:, column]
    width = left.values.shape[1]
    return Cells(
        np.concatenate([left.values, moved], axis=1),
        np.concatenate([left.present, right.present], axis=1),
        np.concatenate([left.heap, right.heap]),
        left.texts + tuple(width + column for column in right.texts),
    )


def from_columns(columns: Sequence[Sequence[Any]], texts: tuple[int, ...], rows: int) -> Cells:
    """Cells of Python values, column by column: int, or str in a column of texts; None is missing."""
    out, heap, size = none(len(columns), rows, texts), [], 0
    for place, column in enumerate(columns):
        for row, value in enumerate(column):
            if value is None:
                continue
            out.present[row, place] = True
            if place in texts:
                said = value.encode()
                heap.append(said)
                out.values[row, place] = size | len(said) << 32
                size += len(said)
            else:
                out.values[row, place] = value
    return Cells(out.values, out.present, np.frombuffer(b"".join(heap), np.uint8), texts)


def words(columns: int) -> int:
    """How many int64 the bits of missing cells take."""
    return (columns + 63) // 64


def packed(cells: Cells, starts: np.ndarray, before: np.ndarray | None = None) -> tuple[np.ndarray, list[bytes]]:
    """Records ready to be written, and the texts of each group of rows.

    starts: (m + 1,) where each group begins; before: (n, k) int64 columns that go in front. Gives (n, k + words + c)
    int64, the bits of present cells and then the cells; and m heaps, in which texts stand in the order of their cells.
    The same cells give the same bytes, wherever they came from.
    """
    n, c = cells.values.shape
    bits = np.zeros((n, 8 * words(c)), np.uint8)
    bits[:, : (c + 7) // 8] = np.packbits(cells.present, axis=1, bitorder="little")
    values = cells.values
    heaps = [b""] * (len(starts) - 1)
    if cells.texts:
        values, heap, ends = _gathered(cells, starts)
        heaps = [heap[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    front = [] if before is None else [before]
    return np.ascontiguousarray(np.concatenate([*front, bits.view(np.int64), values], axis=1)), heaps


def _gathered(cells: Cells, starts: np.ndarray) -> tuple[np.ndarray, bytes, np.ndarray]:
    """Values whose texts point into their group's own heap; all heaps as one, and where each ends (m + 1,)."""
    columns = list(cells.texts)
    pointers = cells.values[:, columns]
    lengths = (pointers >> _SHIFT).ravel()
    ends = np.concatenate([[0], np.cumsum(lengths)])
    source = np.repeat((pointers & _LOW).ravel() - ends[:-1], lengths) + np.arange(ends[-1])
    group_ends = ends[np.asarray(starts) * len(columns)]
    own = np.repeat(group_ends[:-1], np.diff(starts))[:, None]
    offsets = ends[:-1].reshape(pointers.shape) - own
    values = cells.values.copy()
    values[:, columns] = np.where(cells.present[:, columns], offsets | pointers >> _SHIFT << _SHIFT, 0)
    return values, cells.heap[source].tobytes(), group_ends


def unpacked(records: np.ndarray, front: int, columns: int, heap: np.ndarray, texts: tuple[int, ...]) -> Cells:
    """The cells of records that `packed` made, behind their `front` columns; of one group, whose heap this is."""
    many = words(columns)
    bits = np.ascontiguousarray(records[:, front : front + many]).view(np.uint8)
    present = np.unpackbits(bits, axis=1, bitorder="little", count=columns).astype(bool)
    return Cells(records[:, front + many :], present, heap, texts)
