"""Losses: what a search minimises, over all rows and row by row.

Predictions are always of shape (n, outputs): the value, or the positive class's probability (outputs = 1), or one
probability a class (outputs = number of classes). The target is (n,): values, or classes by their place.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

LEAST = 1e-15
"""Probabilities are kept this far from 0 and 1 before a logarithm."""


def loss(metric: str, target: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> float:
    """`rmse` and `mae` in the target's unit, `log_loss` in nats, or for `auc` 1 - AUC: lower is better.

    weight: (n,) how much each row counts, or None for all alike.
    """
    if metric == "auc":
        return 1.0 - auc(target, predicted[:, 0], weight)
    mean = float(np.average(row_losses(metric, target, predicted), weights=weight))
    return float(np.sqrt(mean)) if metric == "rmse" else mean


def row_losses(metric: str, target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(n,) squared error for `rmse`, absolute error for `mae`, and for classes minus the log of the true one's chance.

    `auc` has no loss of a single row and takes that of `log_loss`.
    """
    if metric == "rmse":
        return np.asarray((target - predicted[:, 0]) ** 2)
    if metric == "mae":
        return np.asarray(np.abs(target - predicted[:, 0]))
    return np.asarray(-np.log(np.clip(of_the_true_class(target, predicted), LEAST, 1.0)))


def of_the_true_class(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(n,) the probability that was given to the class that came true."""
    if predicted.shape[1] == 1:
        return np.where(target == 1, predicted[:, 0], 1.0 - predicted[:, 0])
    return np.asarray(predicted[np.arange(len(target)), target.astype(np.int64)])


def auc(target: np.ndarray, chance: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Area under the ROC curve: P(a positive row's chance is above a negative one's), ties counting half.

    0.5 where only one class is there. Source: Hanley and McNeil 1982, Radiology 143(1).
    """
    positive = target == 1
    if positive.all() or not positive.any():
        return 0.5
    if weight is None:
        ranks, count = rankdata(chance), int(positive.sum())
        return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(target) - count)))
    _, places = np.unique(chance, return_inverse=True)
    for_, against = (np.bincount(places, weights=weight * side) for side in (positive, ~positive))
    below = np.cumsum(against) - against / 2
    return float(np.sum(for_ * below) / (for_.sum() * against.sum()))
