"""Calibration of classes: out-of-fold chances become a correction of chances and the scores of conformal sets.

A correction is fitted and judged on different rows, and taken only where it is clearly better than a plainer one: an
ensemble that was chosen by its log loss often needs none, and one that was chosen by AUC often does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from feature_store.task import Kind, Task
from serving.classes import Classes
from serving.distribution import GroupNames
from serving.encode import Encoder
from serving.scaling import Method
from training import scalings
from training.conformal import cells_of
from training.losses import row_losses

METHODS: dict[Kind, tuple[Method, ...]] = {
    "binary": ("identity", "temperature", "platt", "beta", "isotonic", "venn_abers"),
    "multiclass": ("identity", "temperature", "temperature_bias"),
}
"""From the plainest on: a later one must be clearly better than the best of those before it."""

FOLDS = 5
MIN_GAIN = 0.001
"""A correction must lower the log loss by this share and by two standard errors, else it is noise.

Two also for several candidates: of honest chances any correction makes the log loss worse in the mean, so that one
was taken in 1 of 600 simulated tables (docs/benchmarks/calibrators.md), and more errors would only miss some that help.
"""


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
    Facts: `method`; `log_loss_before` and `log_loss_after` (nats; on rows that the correction did not see), the same of
    every candidate in `log_losses`; and `cells`: rows of every combination of groups.
    """
    chances = np.column_stack([1.0 - oof[:, 0], oof[:, 0]]) if oof.shape[1] == 1 else oof
    counts = np.ones(len(target)) if weight is None else weight / weight.mean()
    crossed = crossed_by(METHODS[task.kind], chances, target, counts, seed)
    best = choose(crossed, target, counts)
    scores = 1.0 - crossed[best][np.arange(len(target)), target.astype(np.int64)]
    chooser = GroupNames(encoder)
    cells, rows = cells_of(chooser, matrix, scores)
    losses = {
        method: float(np.average(row_losses("log_loss", target, seen), weights=counts))
        for method, seen in crossed.items()
    }
    facts = {
        "method": best,
        "log_loss_before": losses["identity"],
        "log_loss_after": losses[best],
        "log_losses": losses,
        "cells": rows,
    }
    scaling = scalings.fit(best, chances, target, counts)
    return Classes(encoder.classes, task.answers.interval, scaling, cells, chooser), facts


def crossed_by(
    methods: tuple[Method, ...], chances: np.ndarray, target: np.ndarray, counts: np.ndarray, seed: int
) -> dict[Method, np.ndarray]:
    """By method, (n, classes) chances, each corrected by what was fitted on the other folds.

    chances: (n, classes); target: (n,) places; counts: (n,) how much each row counts, about 1 each.
    """
    folds = _folds(target, seed)
    out: dict[Method, np.ndarray] = {"identity": chances}
    for method in methods:
        if method != "identity":
            out[method] = np.empty_like(chances)
            for fold in range(FOLDS):
                rest = folds != fold
                scaling = scalings.fit(method, chances[rest], target[rest], counts[rest])
                out[method][~rest] = scalings.corrected(scaling, chances[~rest])
    return out


def choose(crossed: dict[Method, np.ndarray], target: np.ndarray, counts: np.ndarray) -> Method:
    """The method with clearly the least log loss. crossed: chances by method, from the plainest on."""
    best, *others = crossed
    losses = row_losses("log_loss", target, crossed[best])
    for method in others:
        after = row_losses("log_loss", target, crossed[method])
        if _clearly_better(losses, after, counts):
            best, losses = method, after
    return best


def _folds(target: np.ndarray, seed: int) -> np.ndarray:
    """(n,) the fold of each row, every class spread over all of them."""
    random = np.random.default_rng([seed, 2])
    order = random.permutation(len(target))
    folds = np.empty(len(target), dtype=np.int64)
    folds[order[np.argsort(target[order], kind="stable")]] = np.arange(len(target)) % FOLDS
    return folds


def _clearly_better(before: np.ndarray, after: np.ndarray, counts: np.ndarray) -> bool:
    gains = before - after
    gain = float(np.average(gains, weights=counts))
    error = float(np.sqrt(np.sum((counts * (gains - gain)) ** 2)) / counts.sum())
    return gain > 2 * error and gain > MIN_GAIN * float(np.average(before, weights=counts))
