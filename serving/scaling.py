"""How chances are corrected: a few numbers that were learnt, and the plain code that applies them to a row.

Every correction keeps the order of the chances of a binary target, and gives the same bits for one row as for many:
there is no matrix in it. What the numbers are learnt from: `training/scalings.py`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, fsum, isfinite, log
from typing import Any, ClassVar, Literal, get_args

Parametric = Literal["identity", "temperature", "temperature_bias", "platt", "beta"]
Method = Literal[Parametric, "isotonic", "venn_abers"]

LEAST = 1e-15
"""A chance of 0 counts as this much before its logarithm is taken."""

SLIVER = 1e-4
"""The share of the uncorrected chance in a corrected one that is made of steps: cases on one step keep their order,
so a ranking and its AUC are as before, and no chance moves by more than this."""


@dataclass(frozen=True)
class Softmax:
    """p becomes softmax(slopes * log p + bias); `identity` leaves chances as they are.

    slopes, bias: one number a class. `temperature` has one slope for all and no bias, `temperature_bias` has both
    (Guo et al. 2017, ICML). Of two classes, `platt` is the logistic curve slope * logit p + bias[1] - bias[0] (Platt
    1999), and `beta` has slopes of their own for log p and log(1 - p) (Kull, Silva Filho and Flach 2017, AISTATS).
    """

    method: Parametric
    slopes: tuple[float, ...]
    bias: tuple[float, ...]

    def of(self, chances: Sequence[float]) -> list[float]:
        """The corrected chances, in the same order."""
        if self.method == "identity":
            return list(chances)
        raw = [
            slope * log(max(p, LEAST)) + shift for p, slope, shift in zip(chances, self.slopes, self.bias, strict=True)
        ]
        top = max(raw)
        parts = [exp(one - top) for one in raw]
        total = fsum(parts)
        return [part / total for part in parts]

    def numbers(self) -> dict[str, Any]:
        """Plain data for the bundle."""
        return {"method": self.method, "slopes": list(self.slopes), "bias": list(self.bias)}


@dataclass(frozen=True)
class Isotonic:
    """A rising line through knots, for the positive class of two; level beyond the first and the last.

    at: ascending chances; values: what they become, never falling, none of them 0 or 1.
    """

    method: ClassVar[Method] = "isotonic"
    at: tuple[float, ...]
    values: tuple[float, ...]

    def of(self, chances: Sequence[float]) -> list[float]:
        """The corrected chances of the two classes."""
        p, at, values = chances[1], self.at, self.values
        right = bisect_left(at, p)
        if 0 < right < len(at):
            low, high = values[right - 1], values[right]
            along = (p - at[right - 1]) / (at[right] - at[right - 1])
            value = min(low + along * (high - low), high)
        else:
            value = values[min(right, len(at) - 1)]
        return _two(p, value)

    def numbers(self) -> dict[str, Any]:
        """Plain data for the bundle."""
        return {"method": self.method, "at": list(self.at), "values": list(self.values)}


@dataclass(frozen=True)
class VennAbers:
    """The inductive Venn-Abers predictor for the positive class of two, its two chances merged into one.

    lower, upper: p0 and p1, what isotonic regression says of a case that is added as a negative or as a positive one:
    steps over chances. lower_at, upper_at: where they rise, ascending; each has one fewer than steps. p0 has its new
    value from such a chance on, p1 only above it.
    Source: Vovk, Petej and Fedorova 2015, NeurIPS; merged by their section 4 for log loss.
    """

    method: ClassVar[Method] = "venn_abers"
    lower_at: tuple[float, ...]
    lower: tuple[float, ...]
    upper_at: tuple[float, ...]
    upper: tuple[float, ...]

    def pair(self, p: float) -> tuple[float, float]:
        """p0 < 1 and p1 > 0 of a case whose uncorrected chance is `p`; p0 <= p1."""
        return self.lower[bisect_right(self.lower_at, p)], self.upper[bisect_left(self.upper_at, p)]

    def of(self, chances: Sequence[float]) -> list[float]:
        """The corrected chances of the two classes: p1 / (1 - p0 + p1), written so that rounding can't turn it."""
        p = chances[1]
        p0, p1 = self.pair(p)
        return _two(p, 1.0 / (1.0 + (1.0 - p0) / p1))

    def numbers(self) -> dict[str, Any]:
        """Plain data for the bundle."""
        steps = {name: list(getattr(self, name)) for name in ("lower_at", "lower", "upper_at", "upper")}
        return {"method": self.method, **steps}


Scaling = Softmax | Isotonic | VennAbers


def _two(p: float, step: float) -> list[float]:
    value = (1.0 - SLIVER) * step + SLIVER * p
    return [1.0 - value, value]


def from_numbers(document: Mapping[str, Any], classes: int) -> Scaling:
    """The correction again. document: as `numbers` gives it. Raises ValueError when it does not fit the classes."""
    method = document["method"]
    lists = {name: tuple(map(float, values)) for name, values in document.items() if name != "method"}
    if not all(isfinite(number) for values in lists.values() for number in values):
        raise ValueError(f"the correction {method} holds a number that is not finite")
    if method in get_args(Parametric):
        fits = len(lists["slopes"]) == len(lists["bias"]) == classes and min(lists["slopes"]) > 0
        made: Scaling = Softmax(method, lists["slopes"], lists["bias"])
    elif method == "isotonic":
        made = Isotonic(lists["at"], lists["values"])
        fits = len(made.at) == len(made.values) > 0 and _rising(made.at, made.values)
        fits = fits and made.values[0] > 0 and made.values[-1] < 1
    elif method == "venn_abers":
        made = VennAbers(lists["lower_at"], lists["lower"], lists["upper_at"], lists["upper"])
        fits = all(
            len(values) == len(at) + 1 and _rising(at, values)
            for at, values in ((made.lower_at, made.lower), (made.upper_at, made.upper))
        )
        fits = fits and made.lower[0] >= 0 and made.lower[-1] < 1 and made.upper[0] > 0 and made.upper[-1] <= 1
    else:
        raise ValueError(f"the correction {method!r} is not known")
    if not fits or (classes != 2 and method in ("platt", "beta", "isotonic", "venn_abers")):
        raise ValueError(f"the correction {method} does not fit {classes} classes")
    return made


def _rising(at: Sequence[float], values: Sequence[float]) -> bool:
    return all(one < other for one, other in pairwise(at)) and all(one <= other for one, other in pairwise(values))
