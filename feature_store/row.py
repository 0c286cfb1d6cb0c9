"""A row of features as it is served: bytes to Python values in one call, and nothing else."""

from __future__ import annotations

import struct
from typing import Any

from feature_store import cells, value
from feature_store.layout import Layout

_SPAN = struct.Struct("<qq")


class Rows:
    """Reads the rows of one view."""

    def __init__(self, layout: Layout) -> None:
        self.names = tuple(layout.view.outputs)
        many = len(layout.kinds)
        codes = "".join("d" if kind.startswith("float") else "q" for kind in layout.kinds)
        self._unpack = struct.Struct(f"<{codes}").unpack_from
        self._many, self._cells = many, 16 + 8 * cells.words(many)
        self._heap = self._cells + 8 * many
        self._whole = ((1 << many) - 1).to_bytes(self._cells - 16, "little")
        self._decimals = [(place, 10.0 ** value.scale(kind)) for place, kind in _of(layout, "decimal")]
        self._flags = [place for place, _ in _of(layout, "flag")]
        self._texts = layout.row_texts

    def span(self, row: bytes) -> tuple[int, int]:
        """From when until when the row holds, in microseconds."""
        since, until = _SPAN.unpack_from(row)
        return since, until

    def holds(self, row: bytes, as_of: int) -> bool:
        """Whether the row is what it says at an instant."""
        since, until = self.span(row)
        return since <= as_of < until

    def values(self, row: bytes) -> list[Any]:
        """Features and then attributes, in the view's order: int, float (decimals too), bool, str or None."""
        found: list[Any] = list(self._unpack(row, self._cells))
        for place, power in self._decimals:
            found[place] /= power  # the int becomes a float first: the two roundings of `value.as_float`
        for place in self._flags:
            found[place] = found[place] == 1
        for place in self._texts:
            start = self._heap + (found[place] & 0xFFFFFFFF)
            found[place] = row[start : start + (found[place] >> 32)].decode()
        bits = row[16 : self._cells]
        if bits != self._whole:
            present = int.from_bytes(bits, "little")
            for place in range(self._many):
                if not present >> place & 1:
                    found[place] = None
        return found

    def body(self, row: bytes) -> bytes:
        """What the row says, without for how long."""
        return row[16:]


def _of(layout: Layout, kind: str) -> list[tuple[int, str]]:
    return [(place, each) for place, each in enumerate(layout.kinds) if each.startswith(kind)]
