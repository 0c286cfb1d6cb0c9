"""The learners: each fits one configuration and gives back a model that the server reads, never a pickle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from training import mlp
from training.boosters import fit_catboost, fit_lightgbm, fit_xgboost
from training.job import Config, Fit, Fitted
from training.linear import fit_linear

_LEARNERS: dict[str, Callable[[Config, Fit], Fitted]] = {
    "lightgbm": fit_lightgbm,
    "xgboost": fit_xgboost,
    "catboost": fit_catboost,
    "mlp": mlp.fit,
    "linear": fit_linear,
}


def fit(learner: str, config: Config, job: Fit) -> Fitted:
    """Fit `config` of the named learner.

    `target: log` in a configuration learns the logarithm of a target that is positive throughout.
    """
    config = dict(config)
    if config.pop("target", "as_is") == "log":
        valid = None if job.valid is None else (job.valid[0], np.log(job.valid[1]), job.valid[2])
        fitted = _LEARNERS[learner](config, replace(job, target=np.log(job.target), valid=valid))
        return replace(fitted, link="exp")
    return _LEARNERS[learner](config, job)
