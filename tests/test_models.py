"""The models that a server reads: exact, the same for one row and for many, and without their learners."""

from __future__ import annotations

import json

import lightgbm
import numpy as np
import pytest
import xgboost

from feature_store.errors import BundleRefused
from serving.linear import Linear
from serving.trees import Trees
from tests.oracles import xgboost_by_hand
from training import learners
from training.learners import Columns, Fit
from training.translate import to_lightgbm

KINDS = ["q", "q", "q", "c", "q", "c"]


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    n = 3000
    matrix = random.normal(size=(n, 6))
    matrix[:, 3], matrix[:, 5] = random.integers(0, 40, n), random.integers(0, 3, n)
    matrix[:, 4] = np.round(matrix[:, 4], 1)
    matrix[random.random(n) < 0.1, 0] = np.nan
    target = (
        np.nan_to_num(matrix[:, 0]) * 2 + matrix[:, 3] % 3 + matrix[:, 1] ** 2 + matrix[:, 4] + random.normal(size=n)
    )
    return matrix, target


@pytest.fixture(scope="module")
def translated(table):
    matrix, target = table
    data = xgboost.DMatrix(matrix, target, feature_types=KINDS, enable_categorical=True)
    params = {"max_leaves": 31, "grow_policy": "lossguide", "max_depth": 0, "eta": 0.2, "max_cat_to_onehot": 4,
              "base_score": 1.5, "nthread": 1}  # fmt: skip
    booster = xgboost.train(params, data, 60)
    raw = bytes(booster.save_raw("json"))
    return booster, raw, Trees(to_lightgbm(raw), 6)


def test_a_translated_xgboost_model_equals_the_walk_by_hand_bit_for_bit(table, translated):
    _, raw, trees = translated
    rows = table[0][:60]
    assert trees.predict(rows).tolist() == [xgboost_by_hand(raw, row) for row in rows]


def test_a_translated_model_splits_exactly_at_float32_thresholds(translated):

    _, raw, trees = translated
    row = np.array([0.1, 0.2, 0.3, 5.0, 0.5, 1.0])
    edges = []
    for tree in json.loads(raw)["learner"]["gradient_booster"]["model"]["trees"]:
        for node, left in enumerate(tree["left_children"]):
            if left != -1 and node not in tree["categories_nodes"]:
                at = np.float32(tree["split_conditions"][node])
                before = np.nextafter(at, np.float32(-np.inf))
                for value in (float(at), float(before), (float(at) + float(before)) / 2):
                    edge = row.copy()
                    edge[tree["split_indices"][node]] = value
                    edges.append(edge)
    edges = edges[:600]
    assert trees.predict(np.array(edges)).tolist() == [xgboost_by_hand(raw, edge) for edge in edges]


def test_a_translated_model_agrees_with_xgboost_to_its_float32_sums(table, translated):
    booster, _, trees = translated
    theirs = booster.predict(xgboost.DMatrix(table[0], feature_types=KINDS, enable_categorical=True))
    assert np.allclose(trees.predict(table[0]), theirs, rtol=1e-5, atol=1e-5)


def test_a_lightgbm_text_answers_as_its_booster_does(table):
    matrix, target = table
    data = lightgbm.Dataset(matrix, target, categorical_feature=[3, 5])
    booster = lightgbm.train({"num_leaves": 31, "verbosity": -1, "num_threads": 1}, data, 40)
    trees = Trees(booster.model_to_string(), 6)
    assert trees.predict(matrix).tolist() == booster.predict(matrix, raw_score=True).tolist()


@pytest.mark.parametrize("learner", ["lightgbm", "xgboost", "linear"])
def test_one_row_and_many_give_the_same_bits(table, learner):
    matrix, target = table
    config = {
        "lightgbm": {"n_estimators": 30, "num_leaves": 15, "learning_rate": 0.1},
        "xgboost": {"n_estimators": 30, "max_leaves": 15, "learning_rate": 0.1},
        "linear": {"knots": 4, "alpha": 1.0},
    }[learner]
    job = Fit(Columns((3, 5), (0,) * 6), "rmse", 0, matrix, target)
    model = learners.fit(learner, config, job).model(30)
    strange = np.vstack([matrix[:200], np.full((1, 6), np.nan), np.full((1, 6), 1e9), np.full((1, 6), -0.0)])
    strange[200, [3, 5]] = 0.0
    batch = model.predict(strange)
    assert np.isfinite(batch).all()
    assert [float(model.predict(row[None])[0]) for row in strange] == batch.tolist()
    assert model.predict(strange[::-1].copy())[::-1].tolist() == batch.tolist()


@pytest.mark.parametrize("learner", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_monotone_direction_is_kept(table, learner, direction):
    matrix, target = table
    config = {"n_estimators": 40, "learning_rate": 0.2, "num_leaves" if learner == "lightgbm" else "max_leaves": 15}
    job = Fit(Columns((3, 5), (0, direction, 0, 0, 0, 0)), "rmse", 0, matrix, target)
    model = learners.fit(learner, config, job).model(40)
    rows = np.repeat(matrix[5][None], 50, axis=0)
    rows[:, 1] = np.linspace(-3, 3, 50)
    assert (np.diff(model.predict(rows)) * direction >= 0).all()


def test_a_linear_model_survives_the_trip_through_a_bundle(table):
    matrix, target = table
    job = Fit(Columns((3, 5), (0,) * 6), "rmse", 0, matrix, target)
    model = learners.fit("linear", {"knots": 4, "alpha": 1.0}, job).model(0)
    assert isinstance(model, Linear)
    assert Linear.from_json(model.to_json()).predict(matrix).tolist() == model.predict(matrix).tolist()


def test_a_model_of_another_width_is_refused(translated):
    with pytest.raises(BundleRefused, match="takes 6 columns, the Task gives 7"):
        Trees(translated[2].text, 7)
