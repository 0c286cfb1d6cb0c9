"""A linear model over simple terms: hinges of numbers, categories as indicators, missing flags.

Terms are summed one after the other, never by a matrix product: BLAS sums in another order for one row than
for many, and then one row and a batch would differ in the last bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class Term:
    """One regressor of column `column`.

    hinge: max(x - at, 0) after filling and clipping to the column's range (at = range's start: x itself).
    missing: 1 where x is NaN. equals: 1 where the category code is `at`.
    """

    column: int
    kind: Literal["hinge", "missing", "equals"]
    at: float = 0.0


@dataclass(frozen=True)
class Column:
    """How a number column is made finite: `fill` for NaN, then clipped to [low, high]."""

    fill: float
    low: float
    high: float


@dataclass(frozen=True)
class Linear:
    """intercept + sum of weight x term; plain numbers."""

    columns: dict[int, Column]
    terms: list[Term]
    weights: list[float]
    intercept: float

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """(n,) of a (n, fields) float64 matrix. One row and many give the same bits."""
        if len(matrix) == 1:
            return np.array([self._one(matrix[0].tolist())])
        total = np.full(len(matrix), self.intercept)
        for weight, regressor in zip(self.weights, regressors(self.columns, self.terms, matrix), strict=True):
            total += weight * regressor
        return total

    @cached_property
    def _plan(self) -> list[tuple[str, int, float, float]]:
        return [(t.kind, t.column, t.at, weight) for t, weight in zip(self.terms, self.weights, strict=True)]

    @cached_property
    def _fills(self) -> list[tuple[int, float, float, float]]:
        return [(index, column.fill, column.low, column.high) for index, column in self.columns.items()]

    def _one(self, row: list[float]) -> float:
        """One row in plain Python: a numpy call a term would cost far more than its sum."""
        filled = row.copy()
        for index, fill, low, high in self._fills:
            value = row[index]
            filled[index] = fill if value != value else low if value < low else high if value > high else value
        total = self.intercept
        for kind, index, at, weight in self._plan:
            if kind == "hinge":
                value = filled[index] - at
                if value > 0.0:
                    total += weight * value
            elif kind == "missing":
                if row[index] != row[index]:
                    total += weight
            elif row[index] == at:
                total += weight
        return total

    def to_json(self) -> dict[str, Any]:
        """Plain data for the bundle."""
        return {
            "columns": {str(index): [c.fill, c.low, c.high] for index, c in self.columns.items()},
            "terms": [[term.column, term.kind, term.at] for term in self.terms],
            "weights": self.weights,
            "intercept": self.intercept,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Linear:
        """The model of a bundle."""
        columns = {int(index): Column(*numbers) for index, numbers in data["columns"].items()}
        terms = [Term(int(column), kind, float(at)) for column, kind, at in data["terms"]]
        return Linear(columns, terms, [float(w) for w in data["weights"]], float(data["intercept"]))


def regressors(columns: dict[int, Column], terms: list[Term], matrix: np.ndarray) -> list[np.ndarray]:
    """Each term's values, (n,) a term; training fits its weights on the very same."""
    filled = {
        index: np.clip(np.where(np.isnan(matrix[:, index]), column.fill, matrix[:, index]), column.low, column.high)
        for index, column in columns.items()
    }
    return [_values(term, matrix, filled) for term in terms]


def _values(term: Term, matrix: np.ndarray, filled: dict[int, np.ndarray]) -> np.ndarray:
    if term.kind == "hinge":
        return np.maximum(filled[term.column] - term.at, 0.0)
    if term.kind == "missing":
        return np.asarray(np.isnan(matrix[:, term.column]), dtype=float)
    return np.asarray(matrix[:, term.column] == term.at, dtype=float)
