"""Measures of predictions beside the truth, for each kind of target; each in one number, weighted where rows are."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score

from feature_store.task import Kind
from training.honesty import bins as bins
from training.honesty import brier_parts, calibration_error, calibration_line, effective, error_by_chance
from training.honesty import mean as mean
from training.losses import auc, loss, of_the_true_class, row_losses

HIGHER_IS_BETTER = frozenset({"auc", "r2", "accuracy", "balanced_accuracy", "f1", "macro_f1", "average_precision"})
"""Of the point metrics; of the others a lower one is better."""

COLUMNS: dict[Kind, tuple[str, ...]] = {
    "regression": ("rmse", "mae", "r2", "bias"),
    "binary": ("auc", "log_loss", "brier", "accuracy", "average_precision", "ece"),
    "multiclass": ("log_loss", "accuracy", "balanced_accuracy", "macro_f1", "brier", "ece"),
}
"""What a leaderboard shows of each kind."""

IN_UNIT = frozenset({"rmse", "mae", "bias", "mean_width", "winkler"})
"""What is measured in the target's unit."""

SHARES = frozenset(
    {
        "accuracy",
        "balanced_accuracy",
        "coverage",
        "set_coverage",
        "base_rate",
        "mean_chance",
        "ece",
        "ece_by_chance",
        "promise_kept",
    }
)
"""What is read as per cent."""


def point_metrics(
    kind: Kind, target: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, float]:
    """The measures of a kind, main ones first.

    target: (n,) values or places of classes; predicted: (n, outputs); weight: (n,) or None for all alike.
    regression: rmse, mae, r2, bias. binary: auc, log_loss, brier, accuracy, f1, average_precision (these two of the
    positive class), base_rate. multiclass: log_loss, accuracy, balanced_accuracy, macro_f1, brier. Both: what `honesty`
    gives, for several classes of the predicted one's chance; and the parts of the Brier score, for several classes
    summed over them, as the score is: brier = brier_reliability - brier_resolution + brier_uncertainty.
    """
    return _KINDS[kind](target, predicted, weight)


def _regression(target: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None) -> dict[str, float]:
    error = target - predicted[:, 0]
    spread = mean((target - mean(target, weight)) ** 2, weight)
    return {
        "rmse": loss("rmse", target, predicted, weight),
        "mae": loss("mae", target, predicted, weight),
        "r2": 1.0 - mean(error**2, weight) / spread if spread else 0.0,
        "bias": -mean(error, weight),
    }


def _binary(target: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None) -> dict[str, float]:
    chance, positive = predicted[:, 0], target == 1
    called = chance >= 0.5
    return {
        "auc": auc(target, chance, weight),
        "log_loss": loss("log_loss", target, predicted, weight),
        "brier": mean((chance - target) ** 2, weight),
        "accuracy": mean(called == positive, weight),
        "f1": _f1(positive, called, weight),
        "average_precision": float(average_precision_score(positive, chance, sample_weight=weight))
        if positive.any()
        else 0.0,
        "base_rate": mean(positive, weight),
        **honesty(positive, chance, weight),
        **_brier(predicted, positive[:, None], weight),
    }


def _multiclass(target: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None) -> dict[str, float]:
    called, sure = predicted.argmax(axis=1), predicted.max(axis=1)
    true = target.astype(np.int64)
    right = called == true
    there = sorted(set(true.tolist()))
    off = np.sum(predicted**2, axis=1) - 2 * of_the_true_class(target, predicted) + 1.0
    return {
        "log_loss": loss("log_loss", target, predicted, weight),
        "accuracy": mean(right, weight),
        "balanced_accuracy": float(np.mean([mean(right[true == k], _part(weight, true == k)) for k in there])),
        "macro_f1": float(np.mean([_f1(true == k, called == k, weight) for k in there])),
        "brier": mean(off, weight),
        **honesty(right, sure, weight),
        **_brier(predicted, np.eye(predicted.shape[1], dtype=bool)[true], weight),
    }


def honesty(true: np.ndarray, chance: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    """calibration_slope, calibration_intercept, ece, and ece_by_chance: the ece of honest chances on as many rows.

    true: (n,) whether it came true; chance: (n,). See `training/honesty.py`.
    """
    intercept, slope = calibration_line(true, chance, weight)
    return {
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "ece": calibration_error(true, chance, weight),
        "ece_by_chance": error_by_chance(true, chance, weight),
    }


def _brier(chances: np.ndarray, true: np.ndarray, weight: np.ndarray | None) -> dict[str, float]:
    """The parts of the Brier score, summed over the columns of (n, outputs)."""
    parts = [brier_parts(true[:, k], chances[:, k], weight) for k in range(chances.shape[1])]
    return {f"brier_{name}": sum(part[name] for part in parts) for name in parts[0]}


_KINDS = {"regression": _regression, "binary": _binary, "multiclass": _multiclass}


def _part(weight: np.ndarray | None, inside: np.ndarray) -> np.ndarray | None:
    return None if weight is None else weight[inside]


def _f1(true: np.ndarray, called: np.ndarray, weight: np.ndarray | None) -> float:
    both, either = mean(true & called, weight), mean(true, weight) + mean(called, weight)
    return 2 * both / either if either else 0.0


def band(
    metric: str, target: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None
) -> tuple[float, float]:
    """The 95 % interval of a search's metric on these rows, by the normal approximation; of `auc` that of AUC.

    Source for AUC: Hanley and McNeil 1982, Radiology 143(1); n is Kish's effective size where rows are weighted.
    """
    n = effective(target, weight)
    if metric == "auc":
        return _auc_band(target, predicted, weight)
    losses = row_losses(metric, target, predicted)
    centre = mean(losses, weight)
    error = 1.96 * float(np.sqrt(mean((losses - centre) ** 2, weight) / n))
    low, high = max(centre - error, 0.0), centre + error
    return (float(np.sqrt(low)), float(np.sqrt(high))) if metric == "rmse" else (low, high)


def _auc_band(target: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None) -> tuple[float, float]:
    positive = target == 1
    area = auc(target, predicted[:, 0], weight)
    if positive.all() or not positive.any():
        return 0.0, 1.0
    n1, n0 = (effective(target[side], _part(weight, side)) for side in (positive, ~positive))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n1 - 1) * (q1 - area**2) + (n0 - 1) * (q2 - area**2)
    error = 1.96 * float(np.sqrt(max(spread, 0.0) / (n1 * n0)))
    return max(area - error, 0.0), min(area + error, 1.0)


def mean_band(values: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    """The 95 % interval of a mean of (n,) numbers or truths, by the normal approximation."""
    numbers = np.asarray(values, dtype=float)
    centre = mean(numbers, weight)
    error = 1.96 * float(np.sqrt(mean((numbers - centre) ** 2, weight) / effective(numbers, weight)))
    return centre - error, centre + error
