"""The learners that grow trees: LightGBM (boosted, extremely random, forest), XGBoost and CatBoost."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import xgboost

from serving.ensemble import Link
from serving.trees import Trees
from training import statistics, translate, treetext
from training.job import PATIENCE, Config, Fit, Fitted


def fit_lightgbm(config: Config, job: Fit) -> Fitted:
    """LightGBM. Besides FLAML's names: `objective`, LightGBM's own (`extra_trees`, `boosting: rf`), and `categories`:
    `native`, or `statistics` for their mean targets."""
    config = dict(config)
    rounds = int(config.pop("n_estimators"))
    width, sources = job.matrix.shape[1], None
    if config.pop("categories", "native") == "statistics" and job.columns.categories:
        job, sources = statistics.expand(job)
    objective = config.pop("objective", None) or _LIGHTGBM_OBJECTIVE[job.kind]
    params = {
        "objective": objective,
        "metric": _metric(job, "rmse", "l1", "binary_logloss", "multi_logloss"),
        "num_leaves": int(config.pop("num_leaves")),
        "feature_fraction": config.pop("colsample_bytree", 1.0),
        "lambda_l1": config.pop("reg_alpha", 0.0),
        "lambda_l2": config.pop("reg_lambda", 0.0),
        "min_data_in_leaf": int(config.pop("min_child_samples", 20)),
        "max_bin": 2 ** int(config.pop("log_max_bin", 8)) - 1,
        "min_data_per_group": min(100, max(5, len(job.target) // 100)),
        "monotone_constraints": list(job.columns.monotone) if any(job.columns.monotone) else None,
        "seed": job.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
        **({"num_class": job.outputs} if job.kind == "multiclass" else {}),
        **config,
    }
    data = _lightgbm_data(job, params)
    curve: dict[str, dict[str, list[float]]] = {}
    watch: dict[str, Any] = {"callbacks": [_lightgbm_deadline(job)]}
    if job.valid is not None:
        matrix, target, weight = job.valid
        valid = lightgbm.Dataset(matrix, target, weight=weight, reference=data)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        watch["valid_sets"] = [valid]
        watch["callbacks"] += [lightgbm.record_evaluation(curve), stop]
    # Kept whole: else it is cut at its own best round, and a fold could not give a model of the rounds common to all.
    booster = lightgbm.train(params, data, rounds, keep_training_booster=True, **watch)
    losses = next(iter(next(iter(curve.values())).values())) if curve else []
    link: Link = "exp" if objective in ("poisson", "gamma", "tweedie") else job.link
    outputs = job.outputs  # `cut` must not hold the job, whose matrices are large

    def cut(rounds: int) -> Trees:
        text = booster.model_to_string(num_iteration=rounds)
        if params.get("boosting") == "rf":
            text = treetext.averaged(text, rounds or booster.current_iteration())
        if sources is not None:
            text = treetext.write(treetext.on_sources(treetext.read(text), sources), width, outputs)
        return Trees(text, width)

    return Fitted(losses, cut, link)


_LIGHTGBM_OBJECTIVE = {"regression": "regression", "binary": "binary", "multiclass": "multiclass"}


def _metric(job: Fit, rmse: str, mae: str, binary: str, multiclass: str) -> str:
    """What is watched while boosting, in a library's words; for `auc` the log loss, which moves with every round."""
    if job.kind == "regression":
        return mae if job.metric == "mae" else rmse
    return binary if job.kind == "binary" else multiclass


def _lightgbm_data(job: Fit, params: dict[str, Any]) -> lightgbm.Dataset:
    known = ("max_bin", "min_data_in_leaf", "min_data_per_group", "verbosity", "num_threads")
    return lightgbm.Dataset(
        job.matrix,
        job.target,
        weight=job.weight,
        categorical_feature=list(job.columns.categories),
        params={key: params[key] for key in known},
    )


def _lightgbm_deadline(job: Fit) -> Any:
    def stop(environment: Any) -> None:
        if job.late:
            raise lightgbm.callback.EarlyStopException(environment.iteration, environment.evaluation_result_list or [])

    stop.order = 40  # type: ignore[attr-defined]  # after the evaluation is recorded, before early stopping
    return stop


def fit_xgboost(config: Config, job: Fit) -> Fitted:
    """XGBoost with histograms and native categories."""
    config = dict(config)
    rounds = int(config.pop("n_estimators"))
    objective = config.pop("objective", None) or _XGBOOST_OBJECTIVE[job.kind]
    metric = _metric(job, "rmse", "mae", "logloss", "mlogloss")
    params = {
        "objective": objective,
        "eval_metric": metric,
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "max_leaves": int(config.pop("max_leaves")),
        "max_cat_to_onehot": 8,
        "base_score": _xgboost_base(job),
        "seed": job.seed,
        "nthread": 1,
        "verbosity": 0,
        **({"num_class": job.outputs} if job.kind == "multiclass" else {}),
        **config,
    }
    if any(job.columns.monotone):
        params["monotone_constraints"] = f"({','.join(map(str, job.columns.monotone))})"
    watch: dict[str, Any] = {"callbacks": [_XgboostDeadline(job)]}
    curve: dict[str, dict[str, list[float]]] = {}
    if job.valid is not None:
        valid = _xgboost_data(job, *job.valid)
        watch |= {"evals": [(valid, "valid")], "early_stopping_rounds": PATIENCE, "evals_result": curve}
    data = _xgboost_data(job, job.matrix, job.target, job.weight)
    booster = xgboost.train(params, data, rounds, verbose_eval=False, **watch)
    width = job.matrix.shape[1]

    def cut(rounds: int) -> Trees:
        trees, outputs = translate.from_xgboost(bytes(booster[:rounds].save_raw("json")))
        return Trees(treetext.write(trees, width, outputs), width)

    return Fitted(curve["valid"][metric] if curve else [], cut, job.link)


_XGBOOST_OBJECTIVE = {"regression": "reg:squarederror", "binary": "binary:logistic", "multiclass": "multi:softprob"}


def _xgboost_base(job: Fit) -> float:
    if job.kind == "multiclass":
        return 0.5
    mean = float(np.average(job.target, weights=job.weight))
    return min(max(mean, 1e-6), 1 - 1e-6) if job.kind == "binary" else mean


def _xgboost_data(job: Fit, matrix: np.ndarray, target: np.ndarray, weight: np.ndarray | None) -> xgboost.DMatrix:
    types = ["c" if index in job.columns.categories else "q" for index in range(matrix.shape[1])]
    return xgboost.DMatrix(matrix, target, weight=weight, feature_types=types, enable_categorical=True, nthread=1)


class _XgboostDeadline(xgboost.callback.TrainingCallback):  # type: ignore[misc]
    def __init__(self, job: Fit) -> None:
        super().__init__()
        self._job = job

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        return self._job.late


def fit_catboost(config: Config, job: Fit) -> Fitted:
    """CatBoost on numbers and statistics of categories; its oblivious trees are translated."""
    config = dict(config)
    rounds = int(config.pop("n_estimators"))
    width = job.matrix.shape[1]
    job, sources = statistics.expand(job)
    metric = _metric(job, "RMSE", "MAE", "Logloss", "MultiClass")
    params = {
        "loss_function": _catboost_objective(job),
        "eval_metric": metric,
        "iterations": rounds,
        "random_seed": job.seed,
        "thread_count": 1,
        "verbose": False,
        "allow_writing_files": False,
        "boosting_type": "Plain",
        "bootstrap_type": "Bernoulli" if "subsample" in config else "Bayesian",
        **config,
    }
    if any(job.columns.monotone):
        params["monotone_constraints"] = list(job.columns.monotone)
    model = catboost.CatBoost(params)
    data = catboost.Pool(job.matrix, job.target, weight=job.weight)
    watch: dict[str, Any] = {"callbacks": [_CatboostDeadline(job)]}
    if job.valid is not None:
        matrix, target, weight = job.valid
        watch |= {"eval_set": catboost.Pool(matrix, target, weight=weight), "early_stopping_rounds": PATIENCE,
                  "use_best_model": False}  # fmt: skip
    model.fit(data, **watch)
    curve = list(model.evals_result_["validation"][metric]) if job.valid is not None else []

    def cut(rounds: int) -> Trees:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            kept = model.copy()
            kept.shrink(ntree_end=min(rounds, kept.tree_count_)) if rounds else None
            kept.save_model(str(path), format="json")
            trees, outputs = translate.from_catboost(path.read_bytes())
        return Trees(treetext.write(treetext.on_sources(trees, sources), width, outputs), width)

    return Fitted(curve, cut, job.link)


def _catboost_objective(job: Fit) -> str:
    if job.kind == "regression":
        return "MAE" if job.metric == "mae" else "RMSE"
    return "Logloss" if job.kind == "binary" else "MultiClass"


class _CatboostDeadline:
    def __init__(self, job: Fit) -> None:
        self._job = job

    def after_iteration(self, _: Any) -> bool:
        return not self._job.late
