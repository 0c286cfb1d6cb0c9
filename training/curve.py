"""The learning curve: whether more rows would help, from one cheap learner fitted on parts of the training rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.ensemble import LINKS
from training import learners
from training.engine import Engine
from training.trial import Shared, shared_loss

SHARES = (0.125, 0.25, 0.5, 1.0)
MOST_ROWS = 20_000
MOST_FOLDS = 3
EXPONENTS = (0.25, 0.5, 0.75, 1.0)
"""Of the power law: how fast the loss falls with the rows, from hard to easy."""

ROUNDS = 150
CHEAP = ("lightgbm", {"num_leaves": 15, "learning_rate": 0.08, "min_child_samples": 10,
                      "colsample_bytree": 0.8})  # fmt: skip
"""What is fitted on each part: moderate, and the same for all."""


@dataclass(frozen=True)
class Point:
    """rows: learnt from, a mean over the folds; loss: the metric on the folds' own rows; spread: its standard error."""

    rows: int
    loss: float
    spread: float


@dataclass(frozen=True)
class LearningCurve:
    """points: fewest rows first. rows: all that the version learns from, of which the points may have seen a sample.

    gain: share by which twice as many would lower the loss, by the fitted power law.
    clear: whether the last doubling lowered the loss by more than twice its standard error.
    fitted: a, b, c of loss = a + b * rows ** -c.
    """

    metric: str
    points: list[Point]
    rows: int
    gain: float
    clear: bool
    fitted: tuple[float, float, float]

    def at(self, rows: float) -> float:
        """The fitted loss at so many rows."""
        a, b, c = self.fitted
        return float(a + b * rows**-c)


def learning_curve(engine: Engine, shared: Shared) -> LearningCurve:
    """The curve at SHARES of up to MOST_ROWS rows and MOST_FOLDS folds, one task of the engine each."""
    tickets = [engine.submit(curve_point, shared, share) for share in SHARES]
    return summary(shared.metric, [engine.result(ticket) for ticket in tickets], len(shared.arrays()["target"]))


def curve_point(shared: Shared, share: float) -> tuple[int, list[float]]:
    """Mean rows learnt from and the loss on each fold; a smaller share's rows are among a larger one's."""
    arrays, random = shared.arrays(), np.random.default_rng([shared.seed, 4])
    counts, losses = [], []
    for fit, valid in shared.folds()[-MOST_FOLDS:]:
        rows = np.sort(random.permutation(fit)[:MOST_ROWS][: max(int(min(len(fit), MOST_ROWS) * share), 1)])
        judged = np.sort(random.permutation(valid)[:MOST_ROWS])
        learner, config = CHEAP
        rounds = max(ROUNDS // shared.outputs, 15)  # a round of many classes is a tree for each
        fitted = learners.fit(learner, {**config, "n_estimators": rounds}, shared.job(rows, None))
        predicted = np.full((len(arrays["target"]), shared.outputs), np.nan)
        predicted[judged] = LINKS[fitted.link](fitted.model(0).predict(arrays["matrix"][judged]))
        losses.append(shared_loss(shared, predicted, judged))
        counts.append(len(rows))
    return int(np.mean(counts)), losses


def summary(metric: str, measured: list[tuple[int, list[float]]], total: int) -> LearningCurve:
    """The curve of what `curve_point` gave for each share, and what twice the `total` rows promise."""
    by_fold = np.array([losses for _, losses in measured])
    folds = by_fold.shape[1]
    spread = by_fold.std(axis=1, ddof=1) / np.sqrt(folds) if folds > 1 else np.zeros(len(by_fold))
    points = [
        Point(rows, float(losses.mean()), float(error))
        for (rows, _), losses, error in zip(measured, by_fold, spread, strict=True)
    ]
    a, b, c = _power_law(np.array([point.rows for point in points], dtype=float), by_fold.mean(axis=1))
    now, twice = (a + b * count**-c for count in (float(total), 2.0 * total))
    gain = float(max(1 - twice / now, 0.0)) if now else 0.0
    falls = by_fold[-2] - by_fold[-1]  # paired: the folds' own difficulty cancels
    error = float(falls.std(ddof=1) / np.sqrt(folds)) if folds > 1 else float("inf")
    return LearningCurve(metric, points, total, gain, bool(falls.mean() > 2 * error), (a, b, c))


def _power_law(rows: np.ndarray, means: np.ndarray) -> tuple[float, float, float]:
    """a, b >= 0 and c of EXPONENTS that fit best, the larger shares counting more; flat where nothing falls."""
    best, found = np.inf, (float(means[-1]), 0.0, EXPONENTS[0])
    share = np.sqrt(rows / rows[-1])
    for c in EXPONENTS:
        x = rows**-c
        middle = np.average(x, weights=share), np.average(means, weights=share)
        b = float(np.sum(share * (x - middle[0]) * (means - middle[1])) / np.sum(share * (x - middle[0]) ** 2))
        a = float(middle[1] - b * middle[0])
        if b < 0:
            continue
        if a < 0:
            a, b = 0.0, float(np.sum(share * x * means) / np.sum(share * x**2))
        off = float(np.sum(share * (a + b * x - means) ** 2))
        if off < best:
            best, found = off, (a, b, c)
    return found
