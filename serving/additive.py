"""An additive model: one function a column, piecewise linear of a number, a table of a category.

It is what a ridge or logistic regression on hinges, indicators and missing flags comes to once fitted. A column costs
one search and one multiplication however many hinges it has. Columns are summed one after the other, never by a
matrix product: BLAS sums in another order for one row than for many, and the last bits would differ.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Curve:
    """A piecewise linear function of one number column, constant beyond its ends.

    knots: k ascending places; base, slope: (k - 1) lists of one number an output: base + slope * x from one knot
    to the next; missing: its values where x is NaN.
    """

    column: int
    knots: list[float]
    base: list[list[float]]
    slope: list[list[float]]
    missing: list[float]


@dataclass(frozen=True)
class Table:
    """A value for each code of one category column, one number an output; codes beyond the table count as 0."""

    column: int
    values: list[list[float]]


@dataclass(frozen=True)
class Additive:
    """intercept + the columns' functions; plain numbers. intercept: one number an output."""

    intercept: list[float]
    curves: list[Curve]
    tables: list[Table]

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """(n, outputs) of a (n, fields) float64 matrix. One row and many give the same bits."""
        if len(matrix) == 1:
            return np.array([self._one(matrix[0].tolist())])
        total = np.tile(np.array(self.intercept), (len(matrix), 1))
        for curve, (knots, base, slope, missing) in zip(self.curves, self._arrays, strict=True):
            x = matrix[:, curve.column]
            kept = np.clip(x, knots[0], knots[-1])
            piece = np.clip(np.searchsorted(knots, kept, side="right") - 1, 0, len(base) - 1)
            total += np.where(np.isnan(x)[:, None], missing, base[piece] + slope[piece] * kept[:, None])
        for table, values in zip(self.tables, self._values, strict=True):
            codes = matrix[:, table.column]
            total += values[np.where((codes >= 0) & (codes < len(values)), codes, 0).astype(np.int64)]
        return total

    def parts(self, matrix: np.ndarray) -> np.ndarray:
        """(n, fields, outputs) what each column adds for each row: with the intercept their sum is the prediction."""
        out = np.zeros((*matrix.shape, len(self.intercept)))
        none = [0.0] * len(self.intercept)
        for curve in self.curves:
            out[:, curve.column] += Additive(none, [curve], []).predict(matrix)
        for table in self.tables:
            out[:, table.column] += Additive(none, [], [table]).predict(matrix)
        return out

    @cached_property
    def _arrays(self) -> list[tuple[np.ndarray, ...]]:
        return [tuple(np.array(part) for part in (c.knots, c.base, c.slope, c.missing)) for c in self.curves]

    @cached_property
    def _values(self) -> list[np.ndarray]:
        return [np.array(table.values) for table in self.tables]

    def _one(self, row: list[float]) -> list[float]:
        """One row in plain Python: a numpy call a column would cost far more than its sum."""
        outputs = range(len(self.intercept))
        total = list(self.intercept)
        for curve in self.curves:
            x = row[curve.column]
            if x != x:
                for output in outputs:
                    total[output] += curve.missing[output]
                continue
            knots = curve.knots
            x = knots[0] if x < knots[0] else knots[-1] if x > knots[-1] else x
            piece = min(bisect_right(knots, x) - 1, len(curve.base) - 1)
            base, slope = curve.base[piece], curve.slope[piece]
            for output in outputs:
                total[output] += base[output] + slope[output] * x
        for table in self.tables:
            code = row[table.column]
            values = table.values[int(code) if 0 <= code < len(table.values) else 0]
            for output in outputs:
                total[output] += values[output]
        return total

    @property
    def cost(self) -> int:
        """Columns that a row looks at."""
        return len(self.curves) + len(self.tables)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the bundle."""
        return {
            "intercept": self.intercept,
            "curves": [[c.column, c.knots, c.base, c.slope, c.missing] for c in self.curves],
            "tables": [[table.column, table.values] for table in self.tables],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Additive:
        """The model of a bundle."""
        curves = [Curve(int(column), *parts) for column, *parts in data["curves"]]
        tables = [Table(int(column), values) for column, values in data["tables"]]
        return Additive([float(number) for number in data["intercept"]], curves, tables)
