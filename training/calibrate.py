"""Calibration of classes: out-of-fold chances become a correction of chances and the scores of conformal sets.

A correction is fitted and judged on different rows, and taken only where it is clearly better than none: an ensemble
that was chosen by its log loss often needs none, and one that was chosen by AUC often does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize

from feature_store.task import Kind, Task
from serving.classes import LEAST, Classes, Method, Scaling
from serving.distribution import GroupNames
from serving.encode import Encoder
from training.conformal import cells_of
from training.losses import row_losses

METHODS: dict[Kind, tuple[Method, ...]] = {
    "binary": ("identity", "platt"),
    "multiclass": ("identity", "temperature", "temperature_bias"),
}
"""From the plainest on: a later one must be clearly better than the one before it."""

FOLDS = 5
MIN_GAIN = 0.001
"""A correction must lower the log loss by this share and by two standard errors, else it is noise."""

MOST_CHANCES = 1_000_000
"""Chances that a correction is fitted on; of larger tables every k-th row, class by class."""

_SLOPES, _SHIFTS = (0.05, 20.0), (-10.0, 10.0)


def calibrate(
    task: Task,
    encoder: Encoder,
    matrix: np.ndarray,
    target: np.ndarray,
    oof: np.ndarray,
    weight: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[Classes, dict[str, Any]]:
    """The predictive distribution of a class target, and what was found on the way.

    matrix: (n, fields) encoded; target: (n,) places of `encoder.classes`; oof: (n, outputs) out-of-fold chances;
    weight: (n,) how much each row counts in fitting and judging a correction. Coverage of sets counts rows alike.
    Facts: `method`, `slope`, `bias`, `log_loss_before` and `log_loss_after` (nats; on rows that the correction did
    not see), and `cells`: rows of every combination of groups.
    """
    chances = np.column_stack([1.0 - oof[:, 0], oof[:, 0]]) if oof.shape[1] == 1 else oof
    counts = np.ones(len(target)) if weight is None else weight / weight.mean()
    folds = _folds(target, seed)
    best, losses = METHODS[task.kind][0], row_losses("log_loss", target, chances)
    before, crossed = float(np.average(losses, weights=counts)), chances
    for method in METHODS[task.kind][1:]:
        seen = _cross_fitted(method, chances, target, counts, folds)
        after = row_losses("log_loss", target, seen)
        if _clearly_better(losses, after, counts):
            best, losses, crossed = method, after, seen
    scaling = fit(best, chances, target, counts)
    scores = 1.0 - crossed[np.arange(len(target)), target.astype(np.int64)]
    chooser = GroupNames(encoder)
    cells, rows = cells_of(chooser, matrix, scores)
    facts = {
        "method": best,
        "slope": scaling.slope,
        "bias": list(scaling.bias),
        "log_loss_before": before,
        "log_loss_after": float(np.average(losses, weights=counts)),
        "cells": rows,
    }
    return Classes(encoder.classes, task.answers.interval, scaling, cells, chooser), facts


def fit(method: Method, chances: np.ndarray, target: np.ndarray, counts: np.ndarray) -> Scaling:
    """The correction with the least log loss, held to the identity by as much as one row weighs.

    chances: (n, classes); target: (n,) places; counts: (n,) how much each row counts, about 1 each.
    Of `platt` the first class has no shift of its own: only the difference of the two counts.
    """
    outputs = chances.shape[1]
    if method == "identity":
        return Scaling("identity", 1.0, (0.0,) * outputs)
    if chances.size > MOST_CHANCES:
        kept = np.argsort(target, kind="stable")[:: math.ceil(chances.size / MOST_CHANCES)]
        chances, target, counts = chances[kept], target[kept], counts[kept]
    free = {"platt": np.arange(1, outputs), "temperature_bias": np.arange(outputs)}.get(method, np.arange(0))
    logs, true = np.log(np.maximum(chances, LEAST)), np.eye(outputs)[target.astype(np.int64)]
    start = np.concatenate([[1.0], np.zeros(len(free))])

    def loss_and_slopes(at: np.ndarray) -> tuple[float, np.ndarray]:
        seen, log_seen = _softmax(at[0] * logs + _spread(at[1:], free, outputs))
        error = (seen - true) * counts[:, None]
        slopes = np.concatenate([[np.sum(error * logs)], error.sum(axis=0)[free]])
        apart = at - start
        loss = -np.sum(counts[:, None] * true * log_seen) + 0.5 * np.sum(apart**2)
        return float(loss) / len(logs), (slopes + apart) / len(logs)

    bounds = [_SLOPES, *[_SHIFTS] * len(free)]
    found = minimize(loss_and_slopes, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Scaling(method, float(found[0]), tuple(_spread(found[1:], free, outputs).tolist()))


def corrected(scaling: Scaling, chances: np.ndarray) -> np.ndarray:
    """(n, classes) chances as `Scaling.of` gives them row by row, but for the last bits."""
    if scaling.method == "identity":
        return chances
    return _softmax(scaling.slope * np.log(np.maximum(chances, LEAST)) + np.array(scaling.bias))[0]


def _softmax(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and their logarithms."""
    down = raw - raw.max(axis=1, keepdims=True)
    logs = down - np.log(np.exp(down).sum(axis=1, keepdims=True))
    return np.exp(logs), logs


def _spread(shifts: np.ndarray, free: np.ndarray, outputs: int) -> np.ndarray:
    bias = np.zeros(outputs)
    bias[free] = shifts
    return bias


def _folds(target: np.ndarray, seed: int) -> np.ndarray:
    """(n,) the fold of each row, every class spread over all of them."""
    random = np.random.default_rng([seed, 2])
    order = random.permutation(len(target))
    folds = np.empty(len(target), dtype=np.int64)
    folds[order[np.argsort(target[order], kind="stable")]] = np.arange(len(target)) % FOLDS
    return folds


def _cross_fitted(
    method: Method, chances: np.ndarray, target: np.ndarray, counts: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """(n, classes) chances, each corrected by what was fitted on the other folds."""
    out = np.empty_like(chances)
    for fold in range(FOLDS):
        rest = folds != fold
        out[~rest] = corrected(fit(method, chances[rest], target[rest], counts[rest]), chances[~rest])
    return out


def _clearly_better(before: np.ndarray, after: np.ndarray, counts: np.ndarray) -> bool:
    gains = before - after
    gain = float(np.average(gains, weights=counts))
    error = float(np.sqrt(np.sum((counts * (gains - gain)) ** 2)) / counts.sum())
    return gain > 2 * error and gain > MIN_GAIN * float(np.average(before, weights=counts))
