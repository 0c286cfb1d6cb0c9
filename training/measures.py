"""Measures of predictions beside the truth, for each kind of target; each in one number, weighted where rows are."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score

from feature_store.task import Kind
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

SHARES = frozenset({"accuracy", "balanced_accuracy", "coverage", "set_coverage", "base_rate", "mean_chance", "ece"})
"""What is read as per cent."""

BINS = 10
"""Bins of equal weight that calibration is read in."""


def point_metrics(
    kind: Kind, target: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, float]:
    """The measures of a kind, main ones first.

    target: (n,) values or places of classes; predicted: (n, outputs); weight: (n,) or None for all alike.
    regression: rmse, mae, r2, bias. binary: auc, log_loss, brier, accuracy, f1, average_precision (these two of the
    positive class), calibration_slope, calibration_intercept, ece, base_rate. multiclass: log_loss, accuracy,
    balanced_accuracy, macro_f1, brier, ece.
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
    intercept, slope = calibration_line(target, chance, weight)
    return {
        "auc": auc(target, chance, weight),
        "log_loss": loss("log_loss", target, predicted, weight),
        "brier": mean((chance - target) ** 2, weight),
        "accuracy": mean(called == positive, weight),
        "f1": _f1(positive, called, weight),
        "average_precision": float(average_precision_score(positive, chance, sample_weight=weight))
        if positive.any()
        else 0.0,
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "ece": calibration_error(target == 1, chance, weight),
        "base_rate": mean(positive, weight),
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
        "ece": calibration_error(right, sure, weight),
    }


_KINDS = {"regression": _regression, "binary": _binary, "multiclass": _multiclass}


def mean(values: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The (weighted) mean of (n,) numbers or truths."""
    return float(np.average(np.asarray(values, dtype=float), weights=weight))


def _part(weight: np.ndarray | None, inside: np.ndarray) -> np.ndarray | None:
    return None if weight is None else weight[inside]


def _f1(true: np.ndarray, called: np.ndarray, weight: np.ndarray | None) -> float:
    both, either = mean(true & called, weight), mean(true, weight) + mean(called, weight)
    return 2 * both / either if either else 0.0


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


def calibration_error(true: np.ndarray, chance: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Expected calibration error: mean gap between chance and truth over bins of equal weight.

    true: (n,) whether it came true; chance: (n,). Source: Naeini et al. 2015, AAAI, with bins of equal mass.
    """
    total = float(len(true)) if weight is None else float(weight.sum())
    error = 0.0
    for part in bins(chance, weight):
        share = _part(weight, part)
        mass = float(len(part)) if share is None else float(share.sum())
        error += mass / total * abs(mean(true[part], share) - mean(chance[part], share))
    return error


def calibration_line(target: np.ndarray, chance: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    """Intercept at a slope of 1, and slope, of the logistic regression of the truth on the chance's log-odds.

    Honest chances have 0 and 1; a slope below 1 says that they are too extreme. (0, 1) where only one class is there.
    Source: Van Calster et al. 2019, BMC Medicine 17:230.
    """
    if (target == 1).all() or not (target == 1).any():
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


def band(
    metric: str, target: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None
) -> tuple[float, float]:
    """The 95 % interval of a search's metric on these rows, by the normal approximation; of `auc` that of AUC.

    Source for AUC: Hanley and McNeil 1982, Radiology 143(1); n is Kish's effective size where rows are weighted.
    """
    n = _effective(target, weight)
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
    n1, n0 = (_effective(target[side], _part(weight, side)) for side in (positive, ~positive))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n1 - 1) * (q1 - area**2) + (n0 - 1) * (q2 - area**2)
    error = 1.96 * float(np.sqrt(max(spread, 0.0) / (n1 * n0)))
    return max(area - error, 0.0), min(area + error, 1.0)


def _effective(rows: np.ndarray, weight: np.ndarray | None) -> float:
    return float(len(rows)) if weight is None else float(weight.sum() ** 2 / (weight**2).sum())


def mean_band(values: np.ndarray, weight: np.ndarray | None = None) -> tuple[float, float]:
    """The 95 % interval of a mean of (n,) numbers or truths, by the normal approximation."""
    numbers = np.asarray(values, dtype=float)
    centre = mean(numbers, weight)
    error = 1.96 * float(np.sqrt(mean((numbers - centre) ** 2, weight) / _effective(numbers, weight)))
    return centre - error, centre + error
