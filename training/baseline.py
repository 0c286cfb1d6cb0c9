"""Baselines that the field would use; they stand in every leaderboard, on the same rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from feature_store.task import Task
from serving.ensemble import Member
from training import rules, trial
from training.engine import Engine
from training.job import Config
from training.splits import Split
from training.trial import Shared

LIGHTGBM: Config = {
    "n_estimators": 100, "num_leaves": 31, "learning_rate": 0.1, "min_child_samples": 20, "min_data_per_group": 100
}  # fmt: skip
"""LightGBM 4 as it comes."""


def learnt(kind: str) -> dict[str, tuple[str, Config]]:
    """The learners among the baselines, as their users have them without tuning.

    linear: ridge with next to no penalty, for classes logistic regression with scikit-learn's default penalty, on
    one-hot, median imputation and missing flags.
    """
    alpha = 1e-6 if kind == "regression" else 1.0
    return {
        "linear": ("linear", {"numbers": "plain", "alpha": alpha}),
        "lightgbm_defaults": ("lightgbm", LIGHTGBM),
    }


def predict(
    task: Task, split: Split, table: pa.Table, matrix: np.ndarray, shared: Shared, engine: Engine
) -> dict[str, np.ndarray]:
    """Predictions (n, outputs) for the holdout by each baseline's name.

    table: the source table; matrix: the encoded holdout. Raises as `rules.predict`.
    """
    tickets = {
        name: engine.submit(trial.refit, shared, learner, config, int(config.get("n_estimators", 0)))
        for name, (learner, config) in learnt(task.kind).items()
    }
    out = rules.predict(task, split, table)
    for name, ticket in tickets.items():
        models, link = trial.unpack(engine.result(ticket), matrix.shape[1])
        out[name] = Member(name, 1.0, tuple(models), link).predict(matrix)
    return out
