"""Calibration: out-of-fold residuals become the scores of the predictive distribution.

The residuals come from models that did not see their rows, as in CV+ (Barber et al. 2021, Annals of Statistics
49(1)); the models that answer are fitted on all rows, so coverage is checked, not proved, on the holdout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_store.task import Task
from serving.distribution import ALL, Cell, Distribution, GroupNames
from serving.encode import Encoder

MIN_CELL = 200
"""Rows below which a group's own tail quantiles are too rough: 90 % from 200 rows has a standard error of 2 points."""

MIN_SCALE_GAIN = 0.005
"""A model of the residual's size must shorten the interval score by this share, else one size serves all rows."""


@dataclass(frozen=True)
class Calibration:
    """The distribution, the least scale, whether the scale's model is used, and rows by group and cell."""

    distribution: Distribution
    floor: float
    uses_scale: bool
    group_rows: dict[str, int]


def calibrate(
    task: Task, encoder: Encoder, matrix: np.ndarray, target: np.ndarray, oof: np.ndarray, oof_size: np.ndarray
) -> Calibration:
    """Scores of all training rows, by the Task's groups.

    matrix: (n, fields) encoded; target, oof: (n,) true and out-of-fold values in the target's unit;
    oof_size: (n,) out-of-fold prediction of |target - oof|.
    """
    residual = target - oof
    typical = float(np.mean(np.abs(residual))) or 1.0
    floor = max(float(np.quantile(oof_size, 0.01)), 0.1 * typical)
    sized = np.maximum(oof_size, floor)
    level = task.answers.interval
    plain_score = _interval_score(residual, np.full(len(residual), typical), level)
    uses_scale = _interval_score(residual, sized, level) < plain_score * (1 - MIN_SCALE_GAIN)
    scores = residual / (sized if uses_scale else typical)
    chooser = GroupNames(encoder)
    cells, rows = cells_of(chooser, matrix, scores)
    return Calibration(Distribution(task, cells, chooser), floor if uses_scale else typical, uses_scale, rows)


def cells_of(chooser: GroupNames, matrix: np.ndarray, scores: np.ndarray) -> tuple[dict[str, Cell], dict[str, int]]:
    """One cell for all rows, one for each combination of groups with MIN_CELL rows, and the rows of every combination.

    matrix: (n, fields) encoded; scores: (n,) in any order.
    """
    members: dict[str, list[int]] = {ALL: list(range(len(scores)))}
    for position, row in enumerate(matrix):
        names = chooser.of(row)
        for count in range(1, len(names) + 1):
            members.setdefault(",".join(names[:count]), []).append(position)
    cells = {
        name: Cell(name, np.sort(scores[index]))
        for name, index in sorted(members.items())
        if name == ALL or len(index) >= MIN_CELL
    }
    return cells, {name: len(index) for name, index in sorted(members.items())}


def _interval_score(residual: np.ndarray, scale: np.ndarray, level: float) -> float:
    """Mean Winkler score of central intervals: width plus 2/alpha times the miss (Gneiting and Raftery 2007)."""
    alpha = 1.0 - level
    low, high = np.quantile(residual / scale, [alpha / 2, 1 - alpha / 2])
    below, above = low * scale - residual, residual - high * scale
    width = (high - low) * scale
    return float(np.mean(width + 2 / alpha * (np.maximum(below, 0) + np.maximum(above, 0))))
