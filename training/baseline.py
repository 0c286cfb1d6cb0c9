"""The learners among the baselines (`rules.py` has the others); they stand in every leaderboard, on the same rows."""

from __future__ import annotations

import numpy as np

from serving.ensemble import Member
from training import trial
from training.engine import Engine
from training.job import Config
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


def predict(kind: str, matrix: np.ndarray, shared: Shared, engine: Engine) -> dict[str, np.ndarray]:
    """Predictions (n, outputs) of each learner for the encoded holdout, (n, fields).

    kind: of the Task; shared: the training rows as the table has them, with no value made unknown.
    """
    tickets = {
        name: engine.submit(trial.refit, shared, learner, config, int(config.get("n_estimators", 0)))
        for name, (learner, config) in learnt(kind).items()
    }
    out = {}
    for name, ticket in tickets.items():
        models, link = trial.unpack(engine.result(ticket), matrix.shape[1])
        out[name] = Member(name, 1.0, tuple(models), link).predict(matrix)
    return out
