"""Baselines that the field would use; they stand in every leaderboard, on the same rows."""

from __future__ import annotations

import numpy as np

from feature_store.task import Baseline, Task
from training import trial
from training.dataset import Split
from training.engine import Engine
from training.learners import Config
from training.trial import Shared

LEARNT: dict[str, tuple[str, Config]] = {
    "linear": ("linear", {"knots": 0, "alpha": 1e-6}),
    "lightgbm_defaults": (
        "lightgbm",
        {"n_estimators": 100, "num_leaves": 31, "learning_rate": 0.1, "min_child_samples": 20},
    ),
}
"""Ridge with next to no penalty on one-hot, median imputation and missing flags; LightGBM 4 as it comes."""


def predict(task: Task, split: Split, matrix: np.ndarray, shared: Shared, engine: Engine) -> dict[str, np.ndarray]:
    """Predictions (n,) for the holdout by each baseline's name. matrix: the encoded holdout."""
    tickets = {
        name: engine.submit(trial.refit, shared, learner, config, int(config.get("n_estimators", 0)))
        for name, (learner, config) in LEARNT.items()
    }
    out = {"mean": np.full(len(split.holdout), split.train.target.mean())}
    for baseline in task.baselines:
        out[baseline.name] = _median_by(baseline, split)
    for name, ticket in tickets.items():
        out[name] = trial.from_text(engine.result(ticket), matrix.shape[1]).predict(matrix)
    return out


def _median_by(baseline: Baseline, split: Split) -> np.ndarray:
    """The median target of training rows with the same value; of all of them where there is none."""
    keys = split.train.columns[baseline.median_by]
    medians: dict[object, float] = {}
    for value in {key for key in keys.tolist() if key is not None and key == key}:
        medians[value] = float(np.median(split.train.target[keys == value]))
    overall = float(np.median(split.train.target))
    return np.array([medians.get(key, overall) for key in split.holdout.columns[baseline.median_by].tolist()])
