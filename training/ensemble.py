"""The ensemble: greedy selection with replacement on out-of-fold predictions (Caruana et al. 2004, ICML), bagged.

Guarded against overfitting: the weights are the mean of BAGS selections, each on rows drawn with replacement (Caruana
et al. 2006, ICDM), so that a trial which is best by luck gets little; where the trials agree the best one stays alone.
Neither the best trial nor one selection was better on unseen rows at any size (docs/benchmarks/selection.md). What
the whole way of choosing is worth is told by `honest_loss`: chosen on one half of the rows, judged on the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.losses import LEAST, of_the_true_class

STEPS = 40
MIN_GAIN = 1e-4
"""A step that lowers the loss by a smaller share than this is noise: it is not taken."""

BAGS = 16
SHORTLIST = 30
"""Trials that are considered: the best ones and the best of each learner."""

MOST_ROWS = 12_000
"""Rows on which is chosen: more make a step slower and no wiser."""

LEAST_WEIGHT = 0.02
"""A smaller share in the mean of bagged selections is dropped: it costs a row's time and moves no answer."""


@dataclass(frozen=True)
class Candidates:
    """What is chosen from, on some rows.

    numbers: (trials, n) what of a prediction its loss depends on, and a mean of predictions has the mean of: the error
    (rmse, mae), the true class's probability (log_loss) or the positive one's (auc). target: (n,); weight: (n,) or
    None; row_us: microseconds a row of each trial.
    """

    metric: str
    target: np.ndarray
    weight: np.ndarray | None
    numbers: np.ndarray
    row_us: np.ndarray

    def take(self, rows: np.ndarray) -> Candidates:
        """The candidates on some rows."""
        weight = None if self.weight is None else self.weight[rows]
        return Candidates(self.metric, self.target[rows], weight, self.numbers[:, rows], self.row_us)

    def losses(self, numbers: np.ndarray) -> np.ndarray:
        """(m,) the metric of m predictions of the rows, given by their numbers (m, n)."""
        if self.metric == "auc":
            return self._one_minus_auc(numbers)
        if self.metric == "rmse":
            return np.asarray(np.sqrt(np.average(numbers**2, axis=1, weights=self.weight)))
        if self.metric == "mae":
            return np.asarray(np.average(np.abs(numbers), axis=1, weights=self.weight))
        return np.asarray(np.average(-np.log(np.clip(numbers, LEAST, 1.0)), axis=1, weights=self.weight))

    def _one_minus_auc(self, numbers: np.ndarray) -> np.ndarray:
        """By ranks, ties as they come (the rows are in no order): `losses.auc` is exact and takes ten times as long."""
        order = np.argsort(numbers.astype(np.float32), axis=1)
        weight = np.ones(len(self.target)) if self.weight is None else self.weight
        positive = (self.target == 1)[order]
        own = weight[order]
        below = np.cumsum(np.where(positive, 0.0, own), axis=1)
        pairs = float(weight[self.target == 1].sum() * weight[self.target != 1].sum())
        return 1.0 - np.asarray(np.where(positive, own * below, 0.0).sum(axis=1) / pairs if pairs else 0.5)

    def of_mean(self, weights: dict[int, float]) -> float:
        """The metric of a weighted mean of trials."""
        mean = sum(weight * self.numbers[index] for index, weight in weights.items())
        return float(self.losses(np.asarray(mean)[None])[0])


def candidates(
    metric: str, target: np.ndarray, weight: np.ndarray | None, oofs: Sequence[np.ndarray], row_us: Sequence[float]
) -> Candidates:
    """The candidates of trials' out-of-fold predictions, (n, outputs) each, without NaN."""

    def number(oof: np.ndarray) -> np.ndarray:
        if metric in ("rmse", "mae"):
            return np.asarray(oof[:, 0] - target)
        return oof[:, 0] if metric == "auc" else of_the_true_class(target, oof)

    return Candidates(metric, target, weight, np.array([number(oof) for oof in oofs]), np.array(row_us))


@dataclass(frozen=True)
class Bounds:
    """members: different configurations at most; row_us: what they may take for one row together."""

    members: int
    row_us: float


@dataclass(frozen=True)
class Ensemble:
    """weights: share of each chosen trial by its position, summing to 1.

    loss: of their weighted mean; honest_loss: of the same way of choosing, judged on rows that did not choose.
    """

    weights: dict[int, float]
    loss: float
    honest_loss: float


def select(found: Candidates, names: Sequence[str], bounds: Bounds, seed: int) -> Ensemble:
    """Choose members and weights. names: each trial's learner."""
    random = np.random.default_rng(seed)
    rows = random.permutation(len(found.target))[: MOST_ROWS // 3 if found.metric == "auc" else MOST_ROWS]
    halves = [found.take(half) for half in np.array_split(rows, 2)]
    judged = [other.of_mean(_choose(one, names, bounds, seed)) for one, other in (halves, halves[::-1])]
    weights = _choose(found.take(rows), names, bounds, seed)
    return Ensemble(weights, found.of_mean(weights), float(np.mean(judged)))


def _choose(found: Candidates, names: Sequence[str], bounds: Bounds, seed: int) -> dict[int, float]:
    """Choose among the short list of these rows."""
    short = _shortlist(found.losses(found.numbers), names)
    few = Candidates(found.metric, found.target, found.weight, found.numbers[short], found.row_us[short])
    return {short[index]: weight for index, weight in _bagged(few, bounds, seed).items()}


def _shortlist(losses: np.ndarray, names: Sequence[str]) -> list[int]:
    order = np.argsort(losses, kind="stable").tolist()
    first: dict[str, int] = {}
    for index in order:
        first.setdefault(names[index], index)
    return sorted({*order[:SHORTLIST], *first.values()})


def _best(found: Candidates, bounds: Bounds) -> int:
    """The best trial alone; the cheapest one when none keeps the bound."""
    losses = np.where(found.row_us <= bounds.row_us, found.losses(found.numbers), np.inf)
    return int(np.argmin(losses if np.isfinite(losses).any() else found.row_us))


def greedy(found: Candidates, bounds: Bounds) -> dict[int, float]:
    """Start from the best trial and add, with replacement, whichever lowers the loss most."""
    chosen = [_best(found, bounds)]
    total = found.numbers[chosen[0]].copy()
    best = float(found.losses(total[None])[0])
    for _ in range(STEPS - 1):
        inside = np.isin(np.arange(len(found.row_us)), chosen)
        spent = float(found.row_us[inside].sum())
        room = inside.sum() < bounds.members
        allowed = np.flatnonzero(inside | (room & (spent + found.row_us <= bounds.row_us)))
        losses = found.losses((total + found.numbers[allowed]) / (len(chosen) + 1))
        place = int(np.argmin(losses))
        if losses[place] > best * (1 - MIN_GAIN):
            break
        chosen.append(int(allowed[place]))
        total += found.numbers[chosen[-1]]
        best = float(losses[place])
    return {index: count / len(chosen) for index, count in sorted(Counter(chosen).items())}


def _bagged(found: Candidates, bounds: Bounds, seed: int) -> dict[int, float]:
    """The mean of greedy selections on rows drawn with replacement, within the bounds."""
    random, total = np.random.default_rng(seed), Counter[int]()
    n = len(found.target)
    for _ in range(BAGS):
        total.update(greedy(found.take(random.integers(0, n, n)), bounds))
    kept, spent = dict[int, float](), 0.0
    for index, weight in sorted(total.items(), key=lambda pair: (-pair[1], pair[0])):
        fits = len(kept) < bounds.members and spent + found.row_us[index] <= bounds.row_us
        if not kept or (fits and weight / BAGS >= LEAST_WEIGHT):
            kept[index] = weight
            spent += float(found.row_us[index])
    return {index: weight / sum(kept.values()) for index, weight in sorted(kept.items())}
