"""Are chances honest: what came true beside the chance that was given, read in bins of equal weight.

Everywhere `true` is (n,), whether it came true, `chance` (n,), and `weight` (n,) or None for all alike. Chances and
their error in a figure, a table and a metric come from the same BINS bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BINS = 10
"""Bins of equal weight that calibration is read in."""

LEAST_SIDE = 10
"""Cases that came true, and that did not, from which a calibration line is drawn: with fewer it says nothing.

Peduzzi et al. 1996, J. Clin. Epidemiol. 49(12), for each coefficient of a logistic regression."""


@dataclass(frozen=True)
class Bin:
    """Cases of like chance. share: of all weight; given: mean chance; came: share that came true; low, high: 95 % band.

    The band is Wilson's (1927, JASA 22), so it has a width where nothing or everything came true; of weighted rows n is
    Kish's effective size.
    """

    share: float
    given: float
    came: float
    low: float
    high: float


def mean(values: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The (weighted) mean of (n,) numbers or truths."""
    return float(np.average(np.asarray(values, dtype=float), weights=weight))


def effective(rows: np.ndarray, weight: np.ndarray | None) -> float:
    """Rows that count as much as these do with their weights (Kish 1965)."""
    return float(len(rows)) if weight is None else float(weight.sum() ** 2 / (weight**2).sum())


def bins(order_by: np.ndarray, weight: np.ndarray | None = None, count: int = BINS) -> list[np.ndarray]:
    """Places of the rows in up to `count` bins of equal weight, by ascending `order_by` (n,); equal values together."""
    places = np.argsort(order_by, kind="stable")
    share = np.ones(len(places)) if weight is None else weight[places]
    middle = np.cumsum(share) - share / 2
    wanted = np.minimum((middle / share.sum() * count).astype(np.int64), count - 1)
    values = order_by[places]
    first_of_value = np.searchsorted(values, values, side="left")
    wanted = wanted[first_of_value]
    return [places[wanted == number] for number in range(count) if np.any(wanted == number)]


def _binned(
    true: np.ndarray, chance: np.ndarray, weight: np.ndarray | None, count: int, each: Callable[..., float]
) -> float:
    """Mean over bins, by their weight, of `each(true, chance, weight)` of the bin."""
    parts = bins(chance, weight, count)
    masses = [float(len(part)) if weight is None else float(weight[part].sum()) for part in parts]
    found = [each(true[part], chance[part], None if weight is None else weight[part]) for part in parts]
    return float(np.average(found, weights=masses))


def reliability(true: np.ndarray, chance: np.ndarray, weight: np.ndarray | None = None, count: int = BINS) -> list[Bin]:
    """The bins of a reliability plot, by rising chance."""
    total = float(len(true)) if weight is None else float(weight.sum())
    out = []
    for part in bins(chance, weight, count):
        share = None if weight is None else weight[part]
        came = mean(true[part], share)
        low, high = share_band(came, effective(part, share))
        mass = float(len(part)) if share is None else float(share.sum())
        out.append(Bin(mass / total, mean(chance[part], share), came, low, high))
    return out


def share_band(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of n cases."""
    z = 1.959964
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return min(max(float(centre - reach), 0.0), share), max(min(float(centre + reach), 1.0), share)


def calibration_error(true: np.ndarray, chance: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Expected calibration error: mean gap between chance and truth over the bins.

    Above 0 also for honest chances, the more so the fewer the rows: see `error_by_chance`.
    Source: Naeini et al. 2015, AAAI, with bins of equal mass.
    """
    return _binned(true, chance, weight, BINS, lambda t, p, w: abs(mean(t, w) - mean(p, w)))


def error_by_chance(true: np.ndarray, chance: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The `calibration_error` that these chances would have on as many rows if they were honest, in the mean.

    The gap of a bin is then nearly normal with the variance of its outcomes, and its size sqrt(2 / pi) of the spread.
    Source: Bröcker and Smith 2007, Weather and Forecasting 22(3), for the idea of the gap that consistency allows.
    """

    def each(_: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> float:
        return float(np.sqrt(2 / np.pi * mean(p * (1 - p), None if w is None else w**2) / effective(p, w)))

    return _binned(true, chance, weight, BINS, each)


def brier_parts(true: np.ndarray, chance: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    """`reliability` - `resolution` + `uncertainty`, which add up to the Brier score.

    reliability: mean squared gap between chance and truth of a bin, 0 at best. uncertainty: the Brier score of the base
    rate of these rows, given to all. resolution: what telling cases apart takes off it; Murphy's (1973, J. Appl.
    Meteorol. 12) between bins, and what is left of the score within them, which his parts leave out.
    Source: Stephenson, Coelho and Jolliffe 2008, Weather and Forecasting 23(4), the generalised resolution.
    """
    rate = mean(true, weight)
    gap = _binned(true, chance, weight, BINS, lambda t, p, w: (mean(t, w) - mean(p, w)) ** 2)
    uncertainty = rate * (1 - rate)
    score = mean((chance - true) ** 2, weight)
    return {"reliability": gap, "resolution": gap + uncertainty - score, "uncertainty": uncertainty}


def calibration_line(true: np.ndarray, chance: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    """Intercept at a slope of 1, and slope, of the logistic regression of the truth on the chance's log-odds.

    Honest chances have 0 and 1; a slope below 1 says that they are too extreme. (0, 1) where only one class is there.
    Sources: Cox 1958, Biometrika 45(3/4); Van Calster et al. 2019, BMC Medicine 17:230.
    """
    target = (np.asarray(true) == 1).astype(float)
    if target.all() or not target.any():
        return 0.0, 1.0
    kept = np.clip(chance, 1e-6, 1 - 1e-6)
    odds = np.log(kept / (1 - kept))
    share = np.ones(len(odds)) if weight is None else weight
    intercept = _logistic(np.ones((len(odds), 1)), target, odds, share)[0]
    if np.ptp(odds) == 0:
        return float(intercept), 1.0
    slope = _logistic(np.column_stack([np.ones(len(odds)), odds]), target, np.zeros(len(odds)), share)[1]
    return float(intercept), float(slope)


def _logistic(design: np.ndarray, target: np.ndarray, offset: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Coefficients by Newton's method; separable data stop at 25 steps of at most 4 each."""
    at = np.zeros(design.shape[1])
    for _ in range(25):
        chance = 1 / (1 + np.exp(-np.clip(design @ at + offset, -30, 30)))
        slope = design.T @ (share * (target - chance))
        curve = (design * (share * chance * (1 - chance))[:, None]).T @ design + 1e-9 * np.eye(len(at))
        step = np.clip(np.linalg.solve(curve, slope), -4, 4)
        at = at + step
        if np.abs(step).max() < 1e-8:
            break
    return at


def has_line(true: np.ndarray) -> bool:
    """Whether LEAST_SIDE cases came true and as many did not."""
    count = int(np.sum(np.asarray(true) == 1))
    return min(count, len(true) - count) >= LEAST_SIDE
