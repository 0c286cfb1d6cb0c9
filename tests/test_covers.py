"""Counts of training rows in trees that came without: the very ones that LightGBM would have written."""

from __future__ import annotations

import re

import lightgbm
import numpy as np
import pytest

from serving.ensemble import Member
from serving.trees import Trees
from training import covers, learners
from training.job import Columns, Fit

N = 400
CONFIGS = {
    "xgboost": {"n_estimators": 15, "learning_rate": 0.2, "max_leaves": 8},
    "catboost": {"n_estimators": 15, "learning_rate": 0.2, "depth": 3},
    "lightgbm": {"n_estimators": 15, "learning_rate": 0.2, "num_leaves": 8},
}


def table(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    matrix = np.column_stack([random.normal(size=(N, 2)), random.integers(0, 6, N)]).astype(float)
    matrix[random.random(N) < 0.1, 0] = np.nan
    return matrix, np.nan_to_num(matrix[:, 0]) + 0.3 * matrix[:, 2] + 0.1 * random.normal(size=N)


def without_counts(text: str) -> str:
    def blank(line: re.Match[str]) -> str:
        return f"{line[1]}={' '.join('0' for _ in line[2].split())}"

    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)  # they would not fit
    return re.sub(r"^(leaf_count|internal_count)=(.*)$", blank, text, flags=re.MULTILINE)


@pytest.mark.parametrize("categories", [[], [2]])
def test_counts_are_those_that_lightgbm_writes_itself(categories):
    matrix, target = table()
    own = lightgbm.LGBMRegressor(n_estimators=20, num_leaves=8, n_jobs=1, verbose=-1)
    text = own.fit(matrix, target, categorical_feature=categories).booster_.model_to_string()
    bare = Trees(without_counts(text), 3)
    assert not np.isfinite(bare.contributions(matrix[:1])[0]).all()
    told = covers.count(bare, matrix)
    assert isinstance(told, Trees)
    for name in ("leaf_count", "internal_count"):
        assert re.findall(rf"^{name}=.*$", told.text, re.MULTILINE) == re.findall(rf"^{name}=.*$", text, re.MULTILINE)
    for one, other in zip(told.contributions(matrix), Trees(text, 3).contributions(matrix), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("learner", sorted(CONFIGS))
@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_translated_trees_get_counts_that_change_no_prediction_and_contributions_that_sum(learner, kind):
    matrix, target = table()
    outputs = 1 if kind == "regression" else 3
    target = target if kind == "regression" else np.digitize(target, np.quantile(target, [0.3, 0.7])).astype(float)
    columns, metric = Columns((2,), (6,), (0, 0, 0)), "rmse" if kind == "regression" else "log_loss"
    job = Fit(columns, kind, outputs, metric, 0, matrix, target, None, None)
    fitted = learners.fit(learner, CONFIGS[learner], job)
    bare = fitted.model(15)
    (member,) = covers.counted([Member(learner, 1.0, (bare,), fitted.link)], matrix)
    told = member.models[0]
    assert isinstance(told, Trees)
    assert np.array_equal(told.predict(matrix), bare.predict(matrix))
    added, base = told.contributions(matrix)
    assert np.allclose(added.sum(axis=1) + base, told.predict(matrix))


def test_what_is_no_tree_or_has_counts_stays_as_it_is():
    matrix, target = table()
    own = lightgbm.LGBMRegressor(n_estimators=3, n_jobs=1, verbose=-1).fit(matrix, target)
    known = Trees(own.booster_.model_to_string(), 3)
    assert covers.count(known, matrix) is known
