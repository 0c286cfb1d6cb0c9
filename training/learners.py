"""The learners: each fits one configuration and gives back a model that the server reads, never a pickle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import xgboost
from sklearn.linear_model import Ridge

from serving.bundle import Model
from serving.linear import Column, Linear, Term, regressors
from serving.trees import Trees
from training.translate import to_lightgbm

PATIENCE = 40
"""Boosting stops after so many rounds without a better validation loss."""

Config = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """What a learner must know of the matrix: which columns are categories, and monotone directions (-1, 0, 1)."""

    categories: tuple[int, ...]
    monotone: tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """What one learner needs to fit one configuration. valid: rows to watch while boosting, or None."""

    columns: Columns
    metric: str
    seed: int
    matrix: np.ndarray
    target: np.ndarray
    valid: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Fitted:
    """A fitted configuration. curve: validation loss after each round, empty without rounds.

    model: gives the model cut after that many rounds (ignored by models without rounds).
    """

    curve: list[float]
    model: Callable[[int], Model]


def fit(learner: str, config: Config, job: Fit) -> Fitted:
    """Fit `config` of the named learner (`lightgbm`, `xgboost`, `linear`)."""
    return _LEARNERS[learner](config, job)


def _fit_lightgbm(config: Config, job: Fit) -> Fitted:
    config = dict(config)
    rounds = int(config.pop("n_estimators"))
    params = {
        "objective": config.pop("objective", "regression"),
        "metric": {"rmse": "rmse", "mae": "l1"}[job.metric],
        "num_leaves": int(config.pop("num_leaves")),
        "feature_fraction": config.pop("colsample_bytree", 1.0),
        "lambda_l1": config.pop("reg_alpha", 0.0),
        "lambda_l2": config.pop("reg_lambda", 0.0),
        "min_data_in_leaf": int(config.pop("min_child_samples", 20)),
        "max_bin": 2 ** int(config.pop("log_max_bin", 8)) - 1,
        "monotone_constraints": list(job.columns.monotone) if any(job.columns.monotone) else None,
        "seed": job.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
        **config,
    }
    data = _lightgbm_data(job, params)
    curve: dict[str, dict[str, list[float]]] = {}
    watch: dict[str, Any] = {}
    if job.valid is not None:
        valid = lightgbm.Dataset(job.valid[0], job.valid[1], reference=data, free_raw_data=False)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        watch = {"valid_sets": [valid], "callbacks": [stop, lightgbm.record_evaluation(curve)]}
    booster = lightgbm.train(params, data, rounds, **watch)
    width = job.matrix.shape[1]
    losses = next(iter(next(iter(curve.values())).values())) if curve else []
    return Fitted(losses, lambda cut: Trees(booster.model_to_string(num_iteration=cut), width))


def _lightgbm_data(job: Fit, params: dict[str, Any]) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        job.matrix,
        job.target,
        categorical_feature=list(job.columns.categories),
        params={key: params[key] for key in ("max_bin", "min_data_in_leaf", "verbosity", "num_threads")},
        free_raw_data=False,
    )


def _fit_xgboost(config: Config, job: Fit) -> Fitted:
    config = dict(config)
    rounds = int(config.pop("n_estimators"))
    params = {
        "objective": "reg:squarederror",
        "eval_metric": job.metric,
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "max_leaves": int(config.pop("max_leaves")),
        "max_cat_to_onehot": 8,
        "base_score": float(np.mean(job.target)),
        "seed": job.seed,
        "nthread": 1,
        "verbosity": 0,
        **config,
    }
    if any(job.columns.monotone):
        params["monotone_constraints"] = f"({','.join(map(str, job.columns.monotone))})"
    watch: dict[str, Any] = {}
    curve: dict[str, dict[str, list[float]]] = {}
    if job.valid is not None:
        valid = _xgboost_data(job, *job.valid)
        watch = {"evals": [(valid, "valid")], "early_stopping_rounds": PATIENCE, "evals_result": curve}
    booster = xgboost.train(params, _xgboost_data(job, job.matrix, job.target), rounds, verbose_eval=False, **watch)
    width = job.matrix.shape[1]
    losses = curve["valid"][job.metric] if curve else []
    return Fitted(losses, lambda cut: Trees(to_lightgbm(bytes(booster[:cut].save_raw("json"))), width))


def _xgboost_data(job: Fit, matrix: np.ndarray, target: np.ndarray) -> xgboost.DMatrix:
    types = ["c" if index in job.columns.categories else "q" for index in range(matrix.shape[1])]
    return xgboost.DMatrix(matrix, target, feature_types=types, enable_categorical=True, nthread=1)


def _fit_linear(config: Config, job: Fit) -> Fitted:
    columns, terms = _terms(int(config["knots"]), job)
    design = np.column_stack(regressors(columns, terms, job.matrix))
    size = design.std(axis=0)
    size[size == 0] = 1.0
    ridge = Ridge(alpha=float(config["alpha"]) * len(design) / 1000.0, solver="cholesky").fit(design / size, job.target)
    weights = (ridge.coef_ / size).tolist()
    model = Linear(columns, terms, weights, float(ridge.intercept_))
    return Fitted([], lambda _: model)


def _terms(knots: int, job: Fit) -> tuple[dict[int, Column], list[Term]]:
    """Hinges at quantiles of each number, an indicator of each category code, a flag where values are missing."""
    columns: dict[int, Column] = {}
    terms: list[Term] = []
    for index in range(job.matrix.shape[1]):
        values = job.matrix[:, index]
        if index in job.columns.categories:
            terms += [Term(index, "equals", float(code)) for code in np.unique(values)]
            continue
        known = values[~np.isnan(values)]
        if not known.size or known.min() == known.max():
            continue
        columns[index] = Column(float(np.median(known)), float(known.min()), float(known.max()))
        inside = np.quantile(known, np.linspace(0, 1, knots + 2)[1:-1], method="nearest") if knots else []
        places = sorted({float(known.min()), *map(float, inside)} - {float(known.max())})
        terms += [Term(index, "hinge", place) for place in places]
        if known.size < values.size:
            terms.append(Term(index, "missing"))
    return columns, terms


_LEARNERS: dict[str, Callable[[Config, Fit], Fitted]] = {
    "lightgbm": _fit_lightgbm,
    "xgboost": _fit_xgboost,
    "linear": _fit_linear,
}
