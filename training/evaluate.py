"""What a version is worth: measures on the holdout, read off the very answers that the server would send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from feature_store.task import Event, Task
from serving.distribution import GroupNames
from serving.encode import Encoder


@dataclass(frozen=True)
class Holdout:
    """The holdout rows as requests, their true values (n,), their answers, and their groups' names."""

    rows: list[dict[str, Any]]
    target: np.ndarray
    answers: list[dict[str, Any]]
    groups: list[tuple[str, ...]]

    @property
    def value(self) -> np.ndarray:
        """(n,) answered values."""
        return np.array([answer["value"] for answer in self.answers])

    @property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends, (n,) each."""
        ends = [(answer["interval"]["low"], answer["interval"]["high"]) for answer in self.answers]
        low, high = np.array(ends).reshape(-1, 2).T
        return low, high

    def chance(self, event: str) -> np.ndarray:
        """(n,) answered probabilities of an event."""
        return np.array([answer["events"][event] for answer in self.answers])


def group_names(encoder: Encoder, matrix: np.ndarray) -> list[tuple[str, ...]]:
    """For each encoded row, its name in every declared group."""
    names = GroupNames(encoder)
    return [names.of(row) for row in matrix]


def metrics(task: Task, holdout: Holdout) -> dict[str, float]:
    """Point error, interval quality and event quality, each in one number."""
    low, high = holdout.interval
    out = point_metrics(holdout.target, holdout.value) | _interval_metrics(
        holdout.target, low, high, task.answers.interval
    )
    for event in task.answers.events:
        came_true, chance = happened(event, holdout.target), holdout.chance(event.name)
        out[f"{event.name}_rate"] = float(np.mean(came_true))
        out[f"{event.name}_mean_chance"] = float(np.mean(chance))
        out[f"{event.name}_brier"] = float(np.mean((chance - came_true) ** 2))
        if came_true.any() and not came_true.all():
            out[f"{event.name}_auc"] = float(roc_auc_score(came_true, chance))
    return out


def point_metrics(target: np.ndarray, value: np.ndarray) -> dict[str, float]:
    """RMSE, MAE and bias in the target's unit, and R2."""
    error = target - value
    spread = float(np.sum((target - target.mean()) ** 2))
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "r2": 1.0 - float(np.sum(error**2)) / spread if spread else 0.0,
        "bias": float(-error.mean()),
    }


def _interval_metrics(target: np.ndarray, low: np.ndarray, high: np.ndarray, level: float) -> dict[str, float]:
    miss = np.maximum(low - target, 0) + np.maximum(target - high, 0)
    return {
        "coverage": float(np.mean((low <= target) & (target <= high))),
        "mean_width": float(np.mean(high - low)),
        "winkler": float(np.mean(high - low + 2 / (1 - level) * miss)),
    }


def by_group(task: Task, holdout: Holdout) -> dict[str, dict[str, float]]:
    """The same for each declared group, by its name: n, rmse, mae, bias, coverage, mean_width."""
    out: dict[str, dict[str, float]] = {}
    low, high = holdout.interval
    for name in sorted({name for names in holdout.groups for name in names}):
        inside = np.array([name in names for names in holdout.groups])
        point = point_metrics(holdout.target[inside], holdout.value[inside])
        interval = _interval_metrics(holdout.target[inside], low[inside], high[inside], task.answers.interval)
        kept = {key: point[key] for key in ("rmse", "mae", "bias")}
        out[name] = {"n": int(inside.sum()), **kept, "coverage": interval["coverage"],
                     "mean_width": interval["mean_width"]}  # fmt: skip
    return out


def happened(event: Event, target: np.ndarray) -> np.ndarray:
    """(n,) whether the event came true."""
    if event.below is not None:
        return np.asarray(target < event.below)
    if event.at_least is not None:
        return np.asarray(target >= event.at_least)
    assert event.between is not None
    return np.asarray((target >= event.between[0]) & (target < event.between[1]))
