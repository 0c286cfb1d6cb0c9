"""The portfolio: configurations to try first, so ordered that each next one helps most on average.

Found by `benchmarks/portfolio.py` on generated tables and tables that ship with a package; none of them is among those
on which results are reported. What each adds stands in docs/benchmarks/portfolio.md.
"""

from __future__ import annotations

from training.job import Config

PORTFOLIO: tuple[tuple[str, Config], ...] = (
    ("catboost", {"n_estimators": 1000, "depth": 3, "learning_rate": 0.095, "l2_leaf_reg": 1.0}),
    ("mlp", {"width": 256, "layers": 1, "bins": 0, "batch": 64, "learning_rate": 0.002, "dropout": 0.1,
             "weight_decay": 0.5}),
    ("lightgbm", {"n_estimators": 1000, "num_leaves": 128, "learning_rate": 0.1, "min_child_samples": 10,
                  "colsample_bytree": 0.9, "reg_lambda": 0.1, "bagging_freq": 1, "bagging_fraction": 0.7}),
    ("mlp", {"width": 256, "layers": 2, "bins": 8, "batch": 64, "learning_rate": 0.008, "dropout": 0.1,
             "weight_decay": 1.0}),
    ("linear", {"numbers": "splines", "knots": 8, "alpha": 0.01}),
    ("lightgbm", {"n_estimators": 1000, "num_leaves": 31, "learning_rate": 0.03, "min_child_samples": 10,
                  "colsample_bytree": 1.0, "reg_lambda": 0.0, "extra_trees": True}),
    ("xgboost", {"n_estimators": 1000, "max_leaves": 12, "learning_rate": 0.094, "min_child_weight": 3.0,
                 "subsample": 1.0, "colsample_bytree": 1.0, "reg_lambda": 0.5}),
    ("catboost", {"n_estimators": 1000, "depth": 4, "learning_rate": 0.11, "l2_leaf_reg": 1.0, "rsm": 0.7}),
    ("lightgbm", {"n_estimators": 1000, "num_leaves": 4, "learning_rate": 0.11, "min_child_samples": 2,
                  "colsample_bytree": 0.7, "reg_lambda": 5.0, "extra_trees": True}),
    ("xgboost", {"n_estimators": 1000, "max_leaves": 12, "learning_rate": 0.07, "min_child_weight": 0.5,
                 "subsample": 1.0, "colsample_bytree": 0.4, "reg_lambda": 1.0}),
    ("catboost", {"n_estimators": 1000, "depth": 4, "learning_rate": 0.065, "l2_leaf_reg": 10.0,
                  "subsample": 0.8}),
    ("linear", {"numbers": "quantiles", "alpha": 0.1}),
    ("lightgbm", {"n_estimators": 1000, "num_leaves": 128, "learning_rate": 0.086, "min_child_samples": 2,
                  "colsample_bytree": 1.0, "reg_lambda": 1.0, "extra_trees": True}),
    ("mlp", {"width": 64, "layers": 1, "bins": 8, "batch": 32, "learning_rate": 0.002, "dropout": 0.0,
             "weight_decay": 0.02}),
    ("linear", {"numbers": "plain", "alpha": 10.0}),
    ("lightgbm", {"n_estimators": 200, "num_leaves": 64, "learning_rate": 0.1, "min_child_samples": 2,
                  "colsample_bytree": 0.6, "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6,
                  "extra_trees": False}),
    ("lightgbm", {"n_estimators": 1000, "num_leaves": 96, "learning_rate": 0.034, "min_child_samples": 20,
                  "colsample_bytree": 0.5, "reg_lambda": 0.0}),
    ("xgboost", {"n_estimators": 1000, "max_leaves": 48, "learning_rate": 0.12, "min_child_weight": 0.5,
                 "subsample": 0.6, "colsample_bytree": 1.0, "reg_lambda": 5.0}),
    ("xgboost", {"n_estimators": 1000, "max_leaves": 24, "learning_rate": 0.063, "min_child_weight": 10.0,
                 "subsample": 1.0, "colsample_bytree": 1.0, "reg_lambda": 1.0}),
    ("lightgbm", {"n_estimators": 1000, "num_leaves": 96, "learning_rate": 0.12, "min_child_samples": 10,
                  "colsample_bytree": 0.5, "reg_lambda": 0.1, "extra_trees": True}),
    ("lightgbm", {"n_estimators": 1000, "num_leaves": 48, "learning_rate": 0.13, "min_child_samples": 20,
                  "colsample_bytree": 0.5, "reg_lambda": 20.0, "extra_trees": True}),
    ("catboost", {"n_estimators": 1000, "depth": 3, "learning_rate": 0.068, "l2_leaf_reg": 10.0, "rsm": 0.7}),
    ("xgboost", {"n_estimators": 1000, "max_leaves": 48, "learning_rate": 0.038, "min_child_weight": 3.0,
                 "subsample": 1.0, "colsample_bytree": 0.6, "reg_lambda": 5.0}),
    ("linear", {"numbers": "splines", "knots": 8, "alpha": 0.1}),
)  # fmt: skip
