"""Corrections of chances, learnt: for each method of `serving/scaling.py` the numbers with the least log loss.

Each is held back by as much as one row weighs, so none ends in a chance of 0 or 1: slopes and shifts are held to the
identity, isotonic regression sees one positive case below all others and one negative case above them (each of
weight 1), and Venn-Abers adds the case that is asked about to its own rows.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from serving.scaling import LEAST, Isotonic, Method, Parametric, Scaling, Softmax, VennAbers

MOST_CHANCES = 1_000_000
"""Chances that a correction is fitted on; of larger tables every k-th row, class by class."""

_SLOPES, _SHIFTS = (0.05, 20.0), (-10.0, 10.0)


def fit(method: Method, chances: np.ndarray, target: np.ndarray, counts: np.ndarray) -> Scaling:
    """The correction with the least log loss.

    chances: (n, classes); target: (n,) places; counts: (n,) how much each row counts, about 1 each.
    """
    if chances.size > MOST_CHANCES:
        kept = np.argsort(target, kind="stable")[:: math.ceil(chances.size / MOST_CHANCES)]
        chances, target, counts = chances[kept], target[kept], counts[kept]
    if method == "isotonic":
        return _isotonic(chances[:, 1], target, counts)
    if method == "venn_abers":
        return _venn_abers(chances[:, 1], target, counts)
    return _softmax(method, chances, target, counts)


def corrected(scaling: Scaling, chances: np.ndarray) -> np.ndarray:
    """(n, classes) chances as the server corrects them, row by row."""
    return np.array([scaling.of(row) for row in chances.tolist()]).reshape(chances.shape)


def _softmax(method: Parametric, chances: np.ndarray, target: np.ndarray, counts: np.ndarray) -> Softmax:
    """Of `platt` and `beta` the first class has no shift of its own: only the difference of the two counts."""
    outputs = chances.shape[1]
    if method == "identity":
        return Softmax("identity", (1.0,) * outputs, (0.0,) * outputs)
    slopes = outputs if method == "beta" else 1
    free = {"temperature": np.arange(0), "temperature_bias": np.arange(outputs)}.get(method, np.arange(1, outputs))
    logs, true = np.log(np.maximum(chances, LEAST)), np.eye(outputs)[target.astype(np.int64)]
    start = np.concatenate([np.ones(slopes), np.zeros(len(free))])

    def spread(shifts: np.ndarray) -> np.ndarray:
        bias = np.zeros(outputs)
        bias[free] = shifts
        return bias

    def loss_and_slopes(at: np.ndarray) -> tuple[float, np.ndarray]:
        raw = at[:slopes] * logs + spread(at[slopes:])
        down = raw - raw.max(axis=1, keepdims=True)
        log_seen = down - np.log(np.exp(down).sum(axis=1, keepdims=True))
        error = (np.exp(log_seen) - true) * counts[:, None]
        by_class = np.sum(error * logs, axis=0)
        steep = np.concatenate([by_class if slopes > 1 else [by_class.sum()], error.sum(axis=0)[free]])
        apart = at - start
        loss = -np.sum(counts[:, None] * true * log_seen) + 0.5 * np.sum(apart**2)
        return float(loss) / len(logs), (steep + apart) / len(logs)

    bounds = [_SLOPES] * slopes + [_SHIFTS] * len(free)
    found = minimize(loss_and_slopes, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    steps = np.broadcast_to(found[:slopes], outputs)
    return Softmax(method, tuple(steps.tolist()), tuple(spread(found[slopes:]).tolist()))


def _isotonic(chance: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> Isotonic:
    """chance: (n,) of the positive class; positive: (n,) 1 where it came true."""
    at = np.concatenate([[chance.min()], chance, [chance.max()]])
    true, weight = np.concatenate([[1.0], positive, [0.0]]), np.concatenate([[1.0], counts, [1.0]])
    found = IsotonicRegression().fit(at, true, sample_weight=weight)
    return Isotonic(tuple(found.X_thresholds_.tolist()), tuple(found.y_thresholds_.tolist()))


def _venn_abers(chance: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> VennAbers:
    """p0 is what p1 would be with scores and outcomes turned round, from 1."""
    at, place = np.unique(chance, return_inverse=True)
    weight, true = np.bincount(place, counts), np.bincount(place, counts * positive)
    upper = np.maximum.accumulate(_steps(weight, true))
    lower = np.maximum.accumulate(1.0 - _steps(weight[::-1], (weight - true)[::-1])[::-1])
    rises = [np.flatnonzero(values[1:] > values[:-1]) for values in (lower, upper)]
    found = []
    for values, rise in zip((lower, upper), rises, strict=True):
        found += [tuple(at[rise].tolist()), (float(values[0]), *values[rise + 1].tolist())]
    return VennAbers(*found)


def _steps(weight: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(groups + 1,) p1 of a case that comes before each group of equal scores, and after the last.

    weight, true: (groups,) how much the rows of each group count, and the positive ones among them, by rising score.
    The case is a step of 1 up and 1 along in the diagram of cumulative sums; it is moved past one group after the
    other, and its p1 is the slope of the greatest convex minorant there. All groups in one pass.
    Source: Vovk, Petej and Fedorova 2015, NeurIPS, algorithms 1 and 2.
    """
    x = [-1.0, 0.0, *np.cumsum(weight).tolist()]
    y = [-1.0, 0.0, *np.cumsum(true).tolist()]
    corners: list[tuple[float, float]] = []  # of the minorant, the leftmost last
    for point in zip(reversed(x), reversed(y), strict=True):
        _push(corners, point)
    out = []
    for place in range(1, len(x) - 1):
        (x0, y0), (x1, y1) = corners[-1], corners[-2]
        out.append((y1 - y0) / (x1 - x0))
        x[place] = x[place - 1] + x[place + 1] - x[place]
        y[place] = y[place - 1] + y[place + 1] - y[place]
        if (y[place] - y0) * (x1 - x0) < (y1 - y0) * (x[place] - x0):
            corners.pop()
            _push(corners, (x[place], y[place]))
    return np.array([*out, 1.0])


def _push(corners: list[tuple[float, float]], point: tuple[float, float]) -> None:
    """Put a point to the left of all corners, and take out those that it leaves above the minorant."""
    while len(corners) > 1:
        (x1, y1), (x2, y2) = corners[-1], corners[-2]
        if (y1 - point[1]) * (x2 - x1) < (y2 - y1) * (x1 - point[0]):
            break
        corners.pop()
    corners.append(point)
