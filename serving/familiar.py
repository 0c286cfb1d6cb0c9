"""How familiar a row is: the surprise of its values, each given one other, as training rows taught it.

A Chow-Liu tree (Chow and Liu 1968, IEEE Trans. Information Theory 14(3)) over binned fields: each field has at most one
parent, and the surprise of a row, in nats, is the sum of -log p(bin | parent's bin). A value that is not known adds
nothing. A row is unfamiliar above a threshold that about `level` of new rows like the training rows exceed: inductive
conformal anomaly detection (Laxhammar and Falkman 2015, Annals of Mathematics and Artificial Intelligence 74).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, isnan
from typing import Any

import numpy as np

UNKNOWN = -1
"""The bin of a value that is not known."""


@dataclass(frozen=True)
class Bins:
    """The bins of one field of the encoded row.

    edges: of a number, increasing; bin k holds values above edge k - 1 and up to edge k. words: of a category, the bin
    of each code (0, unknown, included), else None.
    """

    edges: tuple[float, ...] = ()
    words: tuple[int, ...] | None = None

    def of(self, value: float) -> int:
        """The bin of an encoded value, or UNKNOWN."""
        if self.words is not None:
            return self.words[int(value)]
        return UNKNOWN if isnan(value) else bisect_left(self.edges, value)

    def codes(self, column: np.ndarray) -> np.ndarray:
        """(n,) the bin of each encoded value of a column, as `of` gives it."""
        if self.words is not None:
            return np.asarray(self.words, dtype=np.int64)[column.astype(np.int64)]
        return np.where(np.isnan(column), UNKNOWN, np.searchsorted(self.edges, column, side="left"))


@dataclass(frozen=True)
class Unfamiliar:
    """A row above the threshold. field, beside: places of the field that surprises most and of its parent, if any."""

    field: int
    beside: int | None


@dataclass(frozen=True)
class Familiarity:
    """The tree. tables: per field the surprise of each of its bins, one row a bin of the parent, the last row for an
    unknown parent or none; order of fields as in the Task."""

    bins: tuple[Bins, ...]
    parents: tuple[int, ...]
    tables: tuple[tuple[tuple[float, ...], ...], ...]
    threshold: float
    level: float

    def surprises(self, row: Sequence[float]) -> list[float]:
        """One a field, in nats; row: encoded."""
        codes = [  # as `Bins.of` gives them, without a call a field
            bins.words[int(value)] if bins.words is not None
            else UNKNOWN if value != value else bisect_left(bins.edges, value)
            for bins, value in zip(self.bins, row, strict=True)
        ]  # fmt: skip
        parents = [*codes, UNKNOWN]  # the last, -1, is for a field without a parent
        return [
            0.0 if code == UNKNOWN else table[parents[parent]][code]  # UNKNOWN is -1: the last row
            for code, parent, table in zip(codes, self.parents, self.tables, strict=True)
        ]

    def judge(self, row: Sequence[float]) -> Unfamiliar | None:
        """What is unfamiliar about an encoded row, or None."""
        surprises = self.surprises(row)
        if fsum(surprises) <= self.threshold:
            return None
        most = max(range(len(surprises)), key=surprises.__getitem__)
        return Unfamiliar(most, self.parents[most] if self.parents[most] >= 0 else None)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the bundle."""
        bins = [{"edges": list(b.edges), "words": None if b.words is None else list(b.words)} for b in self.bins]
        return {
            "bins": bins,
            "parents": list(self.parents),
            "tables": [[list(row) for row in table] for table in self.tables],
            "threshold": self.threshold,
            "level": self.level,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], fields: int) -> Familiarity:
        """The tree of a bundle. fields: of the Task. Raises ValueError when it does not fit them."""
        bins = tuple(
            Bins(tuple(map(float, b["edges"])), None if b["words"] is None else tuple(map(int, b["words"])))
            for b in data["bins"]
        )
        tables = tuple(tuple(tuple(map(float, row)) for row in table) for table in data["tables"])
        found = Familiarity(
            bins, tuple(map(int, data["parents"])), tables, float(data["threshold"]), float(data["level"])
        )
        if not len(bins) == len(found.parents) == len(tables) == fields or not isfinite(found.threshold):
            raise ValueError(f"{len(bins)} fields of familiarity, the Task has {fields}")
        return found
