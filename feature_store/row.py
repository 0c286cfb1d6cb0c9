"""A row of features as it is served: bytes to Python values in one call, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from feature_store import cells, value
from feature_store.layout import Layout

_SPAN = struct.Struct("<qq")


class Rows:
    """Reads the rows of one view."""

    def __init__(self, layout: Layout) -> None:
        self.names = tuple(layout.view.outputs)
        many, words = len(layout.kinds), cells.words(len(layout.kinds))
        codes = "".join("d" if kind.startswith("float") else "q" for kind in layout.kinds)
        self._unpack = struct.Struct(f"<{words}Q{codes}").unpack_from
        self._words, self._many = words, many
        self._whole = tuple((1 << min(64, many - 64 * word)) - 1 for word in range(words))
        self._heap = 16 + 8 * (words + many)
        self._turned = [(place, _turn(kind)) for place, kind in enumerate(layout.kinds) if _turn(kind)]
        self._texts = layout.row_texts

    def span(self, row: bytes) -> tuple[int, int]:
        """From when until when the row holds, in microseconds."""
        since, until = _SPAN.unpack_from(row)
        return since, until

    def values(self, row: bytes) -> list[Any]:
        """Features and then attributes, in the view's order: int, float (decimals too), bool, str or None."""
        words = self._words
        found: list[Any] = list(self._unpack(row, 16))
        bits, found = found[:words], found[words:]
        for place, turn in self._turned:
            found[place] = turn(found[place])
        for place in self._texts:
            start, size = found[place] & 0xFFFFFFFF, found[place] >> 32
            found[place] = row[self._heap + start : self._heap + start + size].decode()
        if tuple(bits) != self._whole:
            for place in range(self._many):
                if not bits[place >> 6] >> (place & 63) & 1:
                    found[place] = None
        return found

    def body(self, row: bytes) -> bytes:
        """What the row says, without for how long."""
        return row[16:]


def _turn(kind: str) -> Callable[[Any], Any] | None:
    """What makes a served value of a cell; None where the cell is it."""
    if kind == "flag":
        return bool
    if kind.startswith("decimal"):
        power = 10.0 ** value.scale(kind)
        return lambda cell: cell / power  # the int becomes a float first: the two roundings of `value.as_float`
    return None
