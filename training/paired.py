"""Two predictions of the same rows: how much one loses to the other, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from feature_store.task import Task
from training.dataset import Rows
from training.losses import loss, row_losses

DRAWS = 1000
"""Resamples of a bootstrap."""

LEAST_ROWS = 30
"""Groups with fewer rows, or for `auc` with fewer than 5 of a class, are not compared."""

LEAST_BLOCKS = 20
"""Fewer blocks of time than this say too little to be drawn from."""


@dataclass(frozen=True)
class Ground:
    """The rows that all are compared on, in order: their true values or classes (n,), and how much each counts.

    groups: the names of the declared groups that each row belongs to. units: (n,) whole numbers; rows of the same
    unit depend on each other and are drawn together (see `units`). None: all alike, no groups, each by itself.
    """

    target: np.ndarray
    weight: np.ndarray | None = None
    groups: Sequence[tuple[str, ...]] | None = None
    units: np.ndarray | None = None

    def take(self, inside: np.ndarray) -> Ground:
        """The rows of a mask (n,), without groups."""
        weight = None if self.weight is None else self.weight[inside]
        return Ground(self.target[inside], weight, None, None if self.units is None else self.units[inside])


@dataclass(frozen=True)
class Difference:
    """By how much the loss of the first exceeds that of the other; below 0 the first is better.

    mean, low, high: difference of `losses.loss` in its unit (`auc`: of 1 - AUC) and the ends of its interval;
    other: the other's loss. n: rows.
    """

    n: int
    mean: float
    low: float
    high: float
    other: float

    @property
    def word(self) -> str:
        """What the interval allows to say of the first."""
        if self.low > 0:
            return "worse than"
        return "better than" if self.high < 0 else "not told apart from"

    def within(self, margin: float) -> bool:
        """Whether the first can be worse by so large a share of the other's loss at most."""
        return self.high <= margin * self.other

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        numbers = {"mean": self.mean, "low": self.low, "high": self.high, "other": self.other}
        return {"n": self.n, **numbers, "word": self.word}


def units(task: Task, rows: Rows) -> np.ndarray | None:
    """(n,) what of these rows is drawn together in a bootstrap, as the Task splits; None for each row by itself.

    grouped: a group. time: a block as long as the gap, within which targets overlap; or the same time, where there is
    no gap or the blocks are few. Rows that depend on each other, drawn one by one, would make an interval too narrow:
    Field and Welsh 2007, J. R. Stat. Soc. B 69(3).
    """
    if rows.by is None or task.split.kind == "random":
        return None
    keys = rows.by
    if task.split.kind == "time":
        start = float(keys.astype(np.float64).min()) if len(keys) else 0.0
        blocks = np.floor((keys - start) / (task.split.gap or 1.0))
        if task.split.gap and len(np.unique(blocks)) >= LEAST_BLOCKS:
            keys = blocks
    return np.asarray(np.unique(keys.astype(str) if keys.dtype == object else keys, return_inverse=True)[1])


def compare(
    task: Task, ground: Ground, one: np.ndarray, other: np.ndarray, seed: int, confidence: float | None = None
) -> Difference:
    """The difference in the Task's metric with its interval; both predictions (n, outputs).

    Paired bootstrap of units, percentile interval; for `auc` the test of DeLong. confidence: the gate's own if None.
    """
    tail = (1 - (confidence or task.gate.confidence)) / 2
    metric = task.search.metric
    losses = [loss(metric, ground.target, predicted, ground.weight) for predicted in (one, other)]
    mean = losses[0] - losses[1]
    if metric == "auc":
        reach = NormalDist().inv_cdf(1 - tail) * auc_error(ground, one[:, 0], other[:, 0])
        return Difference(len(ground.target), mean, mean - reach, mean + reach, losses[1])
    drawn = _bootstrap(metric, ground, one, other, seed)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Difference(len(ground.target), mean, float(low), float(high), losses[1])


def compare_groups(
    task: Task, ground: Ground, one: np.ndarray, other: np.ndarray, seed: int, shared: bool = False
) -> dict[str, Difference]:
    """The same for each declared group with LEAST_ROWS or more.

    shared: the chance of a false alarm is that of all groups together (Bonferroni: each has its share).
    """
    inside = {
        name: mask
        for name in sorted({name for names in ground.groups or () for name in names})
        if _enough(task, ground.target, mask := np.array([name in names for names in ground.groups or ()]))
    }
    confidence = 1 - (1 - task.gate.confidence) / (len(inside) if shared and inside else 1)
    return {
        name: compare(task, ground.take(mask), one[mask], other[mask], seed, confidence)
        for name, mask in inside.items()
    }


def _enough(task: Task, target: np.ndarray, mask: np.ndarray) -> bool:
    if task.search.metric == "auc" and min(np.sum(target[mask] == 1), np.sum(target[mask] != 1)) < 5:
        return False
    return int(mask.sum()) >= LEAST_ROWS


def _bootstrap(metric: str, ground: Ground, one: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """(DRAWS,) differences of the loss over units drawn with replacement, the same for both."""
    n = len(ground.target)
    weight = np.ones(n) if ground.weight is None else ground.weight
    sums = np.column_stack([*(weight * row_losses(metric, ground.target, p) for p in (one, other)), weight])
    if ground.units is not None:
        sums = np.column_stack([np.bincount(ground.units, column) for column in sums.T])
        sums = sums[np.bincount(ground.units) > 0]
    random, count = np.random.default_rng(seed), len(sums)
    at_once = max(1, min(DRAWS, 500_000 // count))
    drawn = []
    for start in range(0, DRAWS, at_once):  # several draws in one count: faster than one by one
        size = min(at_once, DRAWS - start)
        picked = random.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        drawn.append(np.bincount(picked.ravel(), minlength=size * count).reshape(size, count) @ sums)
    total = np.concatenate(drawn)
    means = total[:, :2] / total[:, 2:]
    means = np.sqrt(means) if metric == "rmse" else means
    return np.asarray(means[:, 0] - means[:, 1])


def auc_error(ground: Ground, one: np.ndarray, other: np.ndarray) -> float:
    """Standard error of the difference of two AUCs on the same rows; one, other: (n,) chances of the positive class.

    From each row's placement among the rows of the other class, summed over units. Sources: DeLong, DeLong and
    Clarke-Pearson 1988, Biometrics 44(3); for units Obuchowski 1997, Biometrics 53(2).
    """
    weight = np.ones(len(one)) if ground.weight is None else ground.weight
    positive = ground.target == 1
    if positive.all() or not positive.any():
        return 0.0
    difference = _placements(positive, one, weight) - _placements(positive, other, weight)
    square = 0.0
    share = np.zeros(len(one))
    for side in (positive, ~positive):
        part, total = weight[side], weight[side].sum()
        share[side] = part * (difference[side] - np.average(difference[side], weights=part)) / total
        if ground.units is None:
            square += float(np.sum(share[side] ** 2)) * side.sum() / max(side.sum() - 1, 1)
    if ground.units is not None:
        count = len(np.unique(ground.units))
        square = float(np.sum(np.bincount(ground.units, share) ** 2)) * count / max(count - 1, 1)
    return float(np.sqrt(square))


def _placements(positive: np.ndarray, chance: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n,) of a positive row the share of negative ones below it, of a negative row of positive ones above."""
    _, places = np.unique(chance, return_inverse=True)
    out = np.empty(len(chance))
    for side in (positive, ~positive):
        across = np.bincount(places, weights=weight * ~side)
        below = (np.cumsum(across) - across / 2) / across.sum()
        out[side] = below[places[side]]
    out[~positive] = 1 - out[~positive]
    return out
