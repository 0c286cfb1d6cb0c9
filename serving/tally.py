"""Tallies: sums of named numbers over rows, and the shares and means that they give, each with a 95 % band."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np

Z = 1.959964
"""Of a 95 % band."""

Estimate = dict[str, float | None]
"""`value`, `low`, `high`; the ends are None where there is a single row."""


def wilson(hits: float, n: int) -> tuple[float, float]:
    """The 95 % band of a share by Wilson's score interval. n: 1 or more.

    Coverage is a share near 1 of sometimes few rows. The usual p +- 1.96 sqrt(p (1 - p) / n) has no width when all of
    20 rows are covered, goes beyond 1, and holds the truth in far less than 95 % of cases there; Wilson's does none of
    it, in closed form, and is not as wide as the exact one of Clopper and Pearson.
    Source: Brown, Cai and DasGupta 2001, Statistical Science 16(2).
    """
    share, z2 = hits / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


@dataclass
class Tally:
    """Sums over rows of named numbers; n: all rows, counts: by name those that had it."""

    n: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)

    def add(self, facts: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
        """facts: by name one number or truth a row, NaN where a row has none; rows: the places that count."""
        self.n += len(rows)
        for name, values in facts.items():
            known = np.asarray(values[rows], dtype=float)
            known = known[~np.isnan(known)]
            self.counts[name] = self.counts.get(name, 0) + len(known)
            self.sums[name] = self.sums.get(name, 0.0) + float(known.sum())
            self.squares[name] = self.squares.get(name, 0.0) + float(np.square(known).sum())

    def merge(self, other: Tally) -> None:
        """Add the rows of another tally."""
        self.n += other.n
        pairs: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
            (self.counts, other.counts),
            (self.sums, other.sums),
            (self.squares, other.squares),
        )
        for own, more in pairs:
            for name, value in more.items():
                own[name] = own.get(name, 0) + value

    def mean(self, name: str) -> Estimate:
        """A mean with its band by the normal approximation."""
        n = self.counts[name]
        value = self.sums[name] / n
        if n < 2:
            return {"value": value, "low": None, "high": None}
        half = Z * sqrt(max(self.squares[name] - n * value * value, 0.0) / (n - 1) / n)
        return {"value": value, "low": value - half, "high": value + half}

    def root(self, name: str) -> Estimate:
        """The root of a mean of squares, and of its band."""
        return {key: None if one is None else sqrt(max(one, 0.0)) for key, one in self.mean(name).items()}

    def share(self, name: str) -> Estimate:
        """A share with its band; see `wilson`."""
        low, high = wilson(self.sums[name], self.counts[name])
        return {"value": self.sums[name] / self.counts[name], "low": low, "high": high}
