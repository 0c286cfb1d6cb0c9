"""A multilayer perceptron in fixed point: whole numbers in float64, so that one row, many and any CPU agree to the bit.

A matrix product sums in an order that depends on the number of rows, the threads and the instruction set, and floats
that are summed in another order round differently. Here nothing rounds: activations are whole multiples of 2^-14 of
at most 64 (21 bits with the end), weights and biases whole multiples of 2^-16 of at most 32 (22 bits), a layer has at
most 2047 inputs and a bias, so each product and each partial sum, in whatever order and with or without fused
multiply-add, is a whole number of at most 2^20 * 2^21 * 2^11 = 2^52, which a float64 holds exactly. The rest is done
number by number with + - * / sqrt and rounding to the nearest whole number, each of which IEEE 754 defines to the bit.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from feature_store.errors import BundleRefused

ACTIVATION = 2.0**14
"""Steps in an activation of 1."""

WEIGHT = 2.0**16
"""Steps in a weight of 1."""

CEILING = 64.0
"""No activation is above it."""

LARGEST = 32.0
"""No weight is above it, nor below minus it."""

STEEPEST = 1e6
"""No number is above it before its smooth clip, nor below minus it: its square does not overflow."""

INPUTS = 2047
"""The most inputs of a layer."""

ROWS = 4096
"""Rows that are worked on at a time: it bounds memory."""


@dataclass(frozen=True)
class Number:
    """One input made of a number column: (x kept within low and high - centre) * factor, 0 where x is NaN."""

    column: int
    low: float
    high: float
    centre: float
    factor: float


@dataclass(frozen=True)
class Category:
    """Indicators of a category column. places: for each code its indicator; codes beyond the table count as 0."""

    column: int
    places: list[int]


@dataclass(frozen=True)
class Inputs:
    """How a row becomes the first layer's inputs: smooth numbers, plain ones, missing flags, indicators, in that order.

    smooth: numbers t that enter as t / sqrt(1 + (t / 3)^2), which lies within -3 and 3 (RealMLP's smooth clip,
        Holzmueller et al. 2024, arXiv 2407.04491); plain: numbers that enter as they are, pieces of a piecewise linear
        encoding (Gorishniy et al. 2022, arXiv 2203.05556); missing: columns with a flag for NaN.
    """

    smooth: list[Number]
    plain: list[Number]
    missing: list[int]
    categories: list[Category]

    def __post_init__(self) -> None:
        for numbers, bound in ((self.smooth, STEEPEST), (self.plain, CEILING)):
            for one in numbers:
                ends = [(end - one.centre) * one.factor for end in (one.low, one.high)]
                if not (one.low <= one.high and all(abs(end) <= bound for end in ends)):  # True for NaN too
                    raise BundleRefused(
                        f"An input of column {one.column} reaches {ends}, beyond {bound:g}. Train the version again."
                    )
        if min([0, *(min(c.places) for c in self.categories)]) < 0:
            raise BundleRefused("A category's indicator has a negative place. Train the version again.")

    @cached_property
    def indicators(self) -> int:
        """The place of the first category's first indicator."""
        return len(self.smooth) + len(self.plain) + len(self.missing)

    @cached_property
    def width(self) -> int:
        """Number of inputs."""
        return self.indicators + 1 + max([-1, *(max(c.places) for c in self.categories)])

    def apply(self, matrix: np.ndarray) -> np.ndarray:
        """(n, width) whole numbers, 2^14 for 1, of a (n, fields) float64 matrix."""
        out = np.zeros((len(matrix), self.width))
        known = self.indicators - len(self.missing)
        if known:
            columns, low, high, centre, factor, scale = self._numbers
            t = matrix.take(columns, axis=1)
            np.maximum(t, low, out=t)
            np.minimum(t, high, out=t)
            t -= centre
            t *= factor
            bent = t[:, : len(self.smooth)]
            square = bent * bent
            square += 1.0
            bent /= np.sqrt(square, out=square)
            t *= scale
            np.rint(t, out=out[:, :known], where=t == t)
        if self.missing:
            out[:, known : self.indicators] = np.isnan(matrix.take(self.missing, axis=1))
            out[:, known : self.indicators] *= ACTIVATION
        if self.categories:
            self._indicate(matrix, out)
        return out

    def _indicate(self, matrix: np.ndarray, out: np.ndarray) -> None:
        """Set each category's indicator. One row of few categories in plain Python: numpy's calls would cost more."""
        if len(matrix) == 1 and len(self.categories) <= 16:
            for column, places in self._lists:
                code = matrix.item(0, column)
                out[0, places[int(code) if 0 <= code < len(places) else 0]] = ACTIVATION
            return
        rows = np.arange(len(matrix))
        for column, places in self._lists:
            codes = matrix[:, column]
            known = np.where((codes >= 0.0) & (codes < len(places)), codes, 0.0).astype(np.int64)
            out[rows, np.array(places).take(known)] = ACTIVATION

    @cached_property
    def _numbers(self) -> tuple[np.ndarray, ...]:
        """Columns, ends, centres, factors (a third of them where smooth: t / 3 is what is bent) and the last scale."""
        numbers = (*self.smooth, *self.plain)
        columns = np.array([number.column for number in numbers], dtype=np.int64)
        third = np.where(np.arange(len(numbers)) < len(self.smooth), 3.0, 1.0)
        low, high, centre, factor = np.array([[n.low, n.high, n.centre, n.factor] for n in numbers], dtype=float).T
        return (columns, *(part.copy() for part in (low, high, centre, factor / third, third * ACTIVATION)))

    @cached_property
    def _lists(self) -> list[tuple[int, list[int]]]:
        return [(c.column, [place + self.indicators for place in c.places]) for c in self.categories]


@dataclass(frozen=True, eq=False)
class Layer:
    """weight: (inputs, units), bias: (units,) whole numbers, 2^16 for 1, of at most 32 * 2^16 either way."""

    weight: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:] or len(self.weight) > INPUTS:
            raise BundleRefused(
                f"A layer has weights {self.weight.shape} and biases {self.bias.shape}; at most {INPUTS} inputs and "
                "one bias a unit are exact. Train the version again."
            )
        for part in (self.weight, self.bias):
            if not (part.dtype == np.float64 and np.all(np.abs(part) <= LARGEST * WEIGHT)):  # False for NaN too
                raise BundleRefused(f"A layer has a weight beyond {LARGEST:g}. Train the version again.")
            if np.any(part != np.rint(part)):
                raise BundleRefused(f"A layer has a weight that is no multiple of 1/{WEIGHT:g}. Train it again.")

    def apply(self, activation: np.ndarray) -> np.ndarray:
        """(n, units) exact sums, 2^30 for 1, of (n, inputs) whole activations, 2^14 for 1."""
        total = activation @ self.weight
        total += self._bias
        return np.asarray(total)

    @cached_property
    def _bias(self) -> np.ndarray:
        return np.asarray(self.bias * ACTIVATION)


def layer(weight: np.ndarray, bias: np.ndarray) -> Layer:
    """The nearest layer in fixed point to these (inputs, units) and (units,) floats; those beyond 32 are cut to it."""
    parts = [np.rint(np.clip(part.astype(np.float64), -LARGEST, LARGEST) * WEIGHT) for part in (weight, bias)]
    return Layer(np.ascontiguousarray(parts[0]), parts[1])


@dataclass(frozen=True, eq=False)
class Mlp:
    """Inputs, hidden layers of rectified units, a linear last layer, then factor * score + offset an output.

    Raises BundleRefused where layers don't fit each other or a bound that exactness needs does not hold.
    """

    inputs: Inputs
    layers: tuple[Layer, ...]
    factor: tuple[float, ...]
    offset: tuple[float, ...]

    def __post_init__(self) -> None:
        widths = [self.inputs.width, *(len(one.bias) for one in self.layers)]
        if not self.layers or widths[:-1] != [len(one.weight) for one in self.layers]:
            raise BundleRefused(f"The layers of a perceptron don't fit each other: {widths}. Train the version again.")
        scale = (self.factor, self.offset)
        if any(len(part) != widths[-1] or not np.all(np.isfinite(part)) for part in scale):
            raise BundleRefused(f"A perceptron of {widths[-1]} outputs is scaled by {scale}. Train the version again.")

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """(n, outputs) raw scores of a (n, fields) float64 matrix. One row and many give the same bits."""
        if len(matrix) <= ROWS:
            return self.scores(self.inputs.apply(matrix))
        starts = range(0, len(matrix), ROWS)
        return np.concatenate([self.scores(self.inputs.apply(matrix[s : s + ROWS])) for s in starts])

    def scores(self, activation: np.ndarray) -> np.ndarray:
        """(n, outputs) raw scores of (n, width) inputs as `Inputs.apply` gives them."""
        for hidden in self.layers[:-1]:
            activation = hidden.apply(activation)
            np.maximum(activation, 0.0, out=activation)
            activation *= 1.0 / WEIGHT
            np.rint(activation, out=activation)
            np.minimum(activation, CEILING * ACTIVATION, out=activation)
        out = self.layers[-1].apply(activation)
        out *= self._scale[0]
        out += self._scale[1]
        return out

    @cached_property
    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.factor) / (ACTIVATION * WEIGHT), np.array(self.offset)

    @property
    def cost(self) -> int:
        """Multiply-adds of a row."""
        return sum(one.weight.size for one in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the bundle; weights are base64 of little-endian 32-bit whole numbers, row by row."""
        numbers = [
            [[n.column, n.low, n.high, n.centre, n.factor] for n in part]
            for part in (self.inputs.smooth, self.inputs.plain)
        ]
        return {
            "smooth": numbers[0],
            "plain": numbers[1],
            "missing": self.inputs.missing,
            "categories": [[category.column, category.places] for category in self.inputs.categories],
            "layers": [[list(one.weight.shape), _text(one.weight), _text(one.bias)] for one in self.layers],
            "factor": list(self.factor),
            "offset": list(self.offset),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Mlp:
        """The model of a bundle. Raises BundleRefused, or ValueError and its like on nonsense."""
        smooth, plain = (
            [Number(int(column), *map(float, parts)) for column, *parts in data[name]] for name in ("smooth", "plain")
        )
        categories = [Category(int(column), [int(place) for place in places]) for column, places in data["categories"]]
        layers = tuple(Layer(_array(w).reshape(shape), _array(b)) for shape, w, b in data["layers"])
        inputs = Inputs(smooth, plain, [int(column) for column in data["missing"]], categories)
        return Mlp(inputs, layers, tuple(map(float, data["factor"])), tuple(map(float, data["offset"])))


def _text(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.astype("<i4").tobytes()).decode("ascii")


def _array(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<i4").astype(np.float64)
