"""The models that a server reads: exact, the same for one row and for many, and without their learners."""

from __future__ import annotations

import json
from typing import Any

import catboost
import lightgbm
import numpy as np
import pytest
import xgboost

from feature_store.errors import BundleRefused
from serving.additive import Additive
from serving.ensemble import LINKS, Member, combine
from serving.trees import Trees
from tests.oracles import catboost_by_hand, xgboost_by_hand
from training import cost, learners, statistics, translate, treetext, trial
from training.job import Columns, Fit
from training.losses import loss

KINDS = ["q", "q", "q", "c", "q", "c"]
COLUMNS = Columns((3, 5), (41, 4), (0,) * 6)
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "lightgbm": ("lightgbm", {"n_estimators": 30, "num_leaves": 15, "learning_rate": 0.1}),
    "lightgbm on statistics": (
        "lightgbm",
        {"n_estimators": 30, "num_leaves": 15, "learning_rate": 0.1, "categories": "statistics"},
    ),
    "a forest": (
        "lightgbm",
        {"n_estimators": 20, "num_leaves": 31, "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7,
         "extra_trees": True},
    ),
    "xgboost": ("xgboost", {"n_estimators": 30, "max_leaves": 15, "learning_rate": 0.1}),
    "catboost": ("catboost", {"n_estimators": 30, "depth": 4, "learning_rate": 0.1}),
    "splines": ("linear", {"numbers": "splines", "knots": 4, "alpha": 1.0}),
    "quantiles": ("linear", {"numbers": "quantiles", "alpha": 1.0}),
    "perceptron": ("mlp", {"width": 32, "epochs": 5}),
}  # fmt: skip


def made(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A table with numbers, unknown numbers and categories, and a target of the kind."""
    random = np.random.default_rng(0)
    n = 2000
    matrix = random.normal(size=(n, 6))
    matrix[:, 3], matrix[:, 5] = random.integers(0, 40, n), random.integers(0, 3, n)
    matrix[:, 4] = np.round(matrix[:, 4], 1)
    matrix[random.random(n) < 0.1, 0] = np.nan
    signal = np.nan_to_num(matrix[:, 0]) * 2 + matrix[:, 3] % 3 + matrix[:, 1] ** 2 + matrix[:, 4]
    noisy = signal + random.normal(size=n)
    if kind == "regression":
        return matrix, noisy
    return matrix, (noisy > 2).astype(float) if kind == "binary" else np.digitize(noisy, [1, 2.5, 4]).astype(float)


def job(kind: str, **more: Any) -> Fit:
    matrix, target = made(kind)
    outputs = 4 if kind == "multiclass" else 1
    valid = (matrix[1500:], target[1500:], None)
    metric = "rmse" if kind == "regression" else "log_loss"
    return Fit(COLUMNS, kind, outputs, metric, 0, matrix[:1500], target[:1500], None, valid, **more)


@pytest.fixture(scope="module")
def translated():
    matrix, target = made("regression")
    data = xgboost.DMatrix(matrix, target, feature_types=KINDS, enable_categorical=True)
    params = {"max_leaves": 31, "grow_policy": "lossguide", "max_depth": 0, "eta": 0.2, "max_cat_to_onehot": 4,
              "base_score": 1.5, "nthread": 1}  # fmt: skip
    booster = xgboost.train(params, data, 60)
    raw = bytes(booster.save_raw("json"))
    trees, outputs = translate.from_xgboost(raw)
    return booster, raw, Trees(treetext.write(trees, 6, outputs), 6)


def test_a_translated_xgboost_model_equals_the_walk_by_hand_bit_for_bit(translated):
    _, raw, trees = translated
    rows = made("regression")[0][:60]
    assert trees.predict(rows)[:, 0].tolist() == [xgboost_by_hand(raw, row) for row in rows]


def test_a_translated_model_splits_exactly_at_float32_thresholds(translated):
    _, raw, trees = translated
    row = np.array([0.1, 0.2, 0.3, 5.0, 0.5, 1.0])
    edges = []
    for tree in json.loads(raw)["learner"]["gradient_booster"]["model"]["trees"]:
        for node, left in enumerate(tree["left_children"]):
            if left != -1 and node not in tree["categories_nodes"]:
                for value in _around(tree["split_conditions"][node]):
                    edge = row.copy()
                    edge[tree["split_indices"][node]] = value
                    edges.append(edge)
    edges = edges[:300]
    assert trees.predict(np.array(edges))[:, 0].tolist() == [xgboost_by_hand(raw, edge) for edge in edges]


def _around(threshold: float) -> list[float]:
    """The threshold, the float32 before it, and their middle; LightGBM takes numbers nearer to 0 than 1e-35 for 0."""
    at = np.float32(threshold)
    before = np.nextafter(at, np.float32(-np.inf))
    return [x for x in (float(at), float(before), (float(at) + float(before)) / 2) if x == 0 or abs(x) > 1e-35]


def test_a_translated_model_agrees_with_xgboost_to_its_float32_sums(translated):
    booster, _, trees = translated
    matrix = made("regression")[0]
    theirs = booster.predict(xgboost.DMatrix(matrix, feature_types=KINDS, enable_categorical=True))
    assert np.allclose(trees.predict(matrix)[:, 0], theirs, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module", params=["RMSE", "MultiClass"])
def oblivious(request, tmp_path_factory):
    """A CatBoost model on numbers with unknowns, its JSON, and the same translated."""
    matrix, target = made("regression" if request.param == "RMSE" else "multiclass")
    model = catboost.CatBoost(
        {"loss_function": request.param, "iterations": 40, "depth": 4, "thread_count": 1, "allow_writing_files": False,
         "verbose": False}
    )  # fmt: skip
    model.fit(matrix, target)
    path = tmp_path_factory.mktemp("catboost") / "model.json"
    model.save_model(str(path), format="json")
    trees, outputs = translate.from_catboost(path.read_bytes())
    return model, path.read_bytes(), Trees(treetext.write(trees, 6, outputs), 6)


def test_a_translated_catboost_model_equals_the_walk_by_hand_bit_for_bit(oblivious):
    _, raw, trees = oblivious
    rows = made("regression")[0][:60]
    assert trees.predict(rows).tolist() == [catboost_by_hand(raw, row) for row in rows]


def test_a_translated_catboost_model_agrees_with_catboost_and_at_its_borders(oblivious):
    model, raw, trees = oblivious
    matrix = made("regression")[0]
    theirs = model.predict(matrix, prediction_type="RawFormulaVal").reshape(len(matrix), -1)
    assert np.allclose(trees.predict(matrix), theirs, rtol=1e-12, atol=1e-12)
    edges = []
    for tree in json.loads(raw)["oblivious_trees"]:
        for split in tree["splits"]:
            after = float(np.nextafter(np.float32(split["border"]), np.float32(np.inf)))
            for value in (*_around(split["border"]), after, (split["border"] + after) / 2):
                edge = matrix[7].copy()
                edge[split["float_feature_index"]] = value
                edges.append(edge)
    edges = edges[:500]
    assert trees.predict(np.array(edges)).tolist() == [catboost_by_hand(raw, edge) for edge in edges]


def test_a_split_on_a_statistic_is_one_on_its_categories():
    """The tree that saw the numbers and the tree that sees the codes give the same leaf for every row."""
    work = job("regression")
    expanded, sources = statistics.expand(work)
    data = lightgbm.Dataset(expanded.matrix, expanded.target)
    booster = lightgbm.train({"num_leaves": 31, "verbosity": -1, "num_threads": 1}, data, 30)
    codes = Trees(treetext.write(treetext.on_sources(treetext.read(booster.model_to_string()), sources), 6), 6)
    fresh = made("regression")[0][1500:]
    numbers = [fresh[:, s] if isinstance(s, int) else s[1][fresh[:, s[0]].astype(int)] for s in sources]
    assert codes.predict(fresh)[:, 0].tolist() == booster.predict(np.column_stack(numbers), raw_score=True).tolist()


def test_a_rows_statistic_does_not_know_its_own_target():
    codes = np.repeat(np.arange(200), 2).astype(float)
    target = np.random.default_rng(0).normal(size=400)
    rows, of_code = statistics.encode(codes, 200, target, None, 0)
    assert abs(np.corrcoef(rows, target)[0, 1]) < 0.2, "told by other rows only: 4 standard errors of n = 400 are 0.2"
    assert np.corrcoef(of_code[codes.astype(int)], target)[0, 1] > 0.6, "which its own would not be"


def test_a_lightgbm_text_answers_as_its_booster_does():
    matrix, target = made("regression")
    data = lightgbm.Dataset(matrix, target, categorical_feature=[3, 5])
    booster = lightgbm.train({"num_leaves": 31, "verbosity": -1, "num_threads": 1}, data, 40)
    trees = Trees(booster.model_to_string(), 6)
    assert trees.predict(matrix)[:, 0].tolist() == booster.predict(matrix, raw_score=True).tolist()


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("name", CONFIGS)
def test_one_row_and_many_give_the_same_bits(kind, name):
    learner, config = CONFIGS[name]
    fitted = learners.fit(learner, config, job(kind))
    model = fitted.model(max(len(fitted.curve), 1))
    strange = np.vstack([made(kind)[0][:200], np.full((1, 6), np.nan), np.full((1, 6), 1e9), np.full((1, 6), -0.0)])
    strange[200, [3, 5]] = 0.0
    member = Member(learner, 1.0, (model, model), fitted.link)
    batch = combine([member], strange)
    assert batch.shape == (203, 4 if kind == "multiclass" else 1)
    assert np.isfinite(batch).all()
    assert [combine([member], row[None])[0].tolist() for row in strange] == batch.tolist()
    assert combine([member], strange[::-1].copy())[::-1].tolist() == batch.tolist()


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_model_that_is_kept_has_the_loss_that_its_curve_says(kind, name):
    """Translated, cut and packed as it is: else the search would judge another model than the one that answers."""
    learner, config = CONFIGS[name]
    work = job(kind)
    fitted = learners.fit(learner, config, work)
    matrix, target, _ = work.valid
    for rounds in (1, len(fitted.curve) // 2, len(fitted.curve)) if fitted.curve else ():
        [model], link = trial.unpack(trial.pack([fitted.model(max(rounds, 1))], fitted.link), 6)
        told = loss(work.metric, target, LINKS[link](model.predict(matrix)))
        assert told == pytest.approx(fitted.curve[max(rounds, 1) - 1], rel=1e-4)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_learner_learns(kind, name):
    learner, config = CONFIGS[name]
    work = job(kind)
    fitted = learners.fit(learner, config, work)
    model = fitted.model(int(np.argmin(fitted.curve)) + 1 if fitted.curve else 0)
    matrix, target, _ = work.valid
    constant = np.tile(work.target.mean() if kind != "multiclass" else np.bincount(work.target.astype(int)) / 1500,
                       (500, 1))  # fmt: skip
    told = loss(work.metric, target, LINKS[fitted.link](model.predict(matrix)))
    assert told < 0.9 * loss(work.metric, target, constant)
    assert cost.row_us(model) > 0


@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_that_counts_nothing_teaches_nothing(name):
    """Half of the rows are nonsense with a weight next to 0: the model is nearly as good as without them."""
    learner, config = CONFIGS[name]
    work = job("binary")
    wrong = np.where(np.arange(1500) % 2, 1 - work.target, work.target)
    weight = np.where(np.arange(1500) % 2, 1e-6, 1.0)
    matrix, target, _ = work.valid
    told = []
    for trained in (Fit(COLUMNS, "binary", 1, "log_loss", 0, work.matrix, wrong, weight, work.valid),
                    Fit(COLUMNS, "binary", 1, "log_loss", 0, work.matrix, wrong, None, work.valid)):  # fmt: skip
        fitted = learners.fit(learner, config, trained)
        told.append(loss("auc", target, fitted.model(len(fitted.curve)).predict(matrix)))
    assert told[0] < 0.2 < told[1] - 0.1


@pytest.mark.parametrize("learner", ["lightgbm", "xgboost", "catboost"])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_monotone_direction_is_kept(learner, direction):
    matrix, target = made("regression")
    size = {"lightgbm": "num_leaves", "xgboost": "max_leaves", "catboost": "depth"}[learner]
    config = {"n_estimators": 40, "learning_rate": 0.2, size: 5 if learner == "catboost" else 15}
    columns = Columns((3, 5), (41, 4), (0, direction, 0, 0, 0, 0))
    model = learners.fit(learner, config, Fit(columns, "regression", 1, "rmse", 0, matrix, target)).model(40)
    rows = np.repeat(matrix[5][None], 50, axis=0)
    rows[:, 1] = np.linspace(-3, 3, 50)
    assert (np.diff(model.predict(rows)[:, 0]) * direction >= 0).all()


def test_the_logarithm_of_a_skewed_target_is_learnt_and_undone():
    matrix, target = made("regression")
    skewed = np.exp(target)
    work = Fit(COLUMNS, "regression", 1, "rmse", 0, matrix[:1500], skewed[:1500])
    fitted = learners.fit("linear", {"numbers": "splines", "knots": 4, "alpha": 1.0, "target": "log"}, work)
    assert fitted.link == "exp"
    predicted = LINKS[fitted.link](fitted.model(0).predict(matrix[1500:]))[:, 0]
    assert np.corrcoef(np.log(predicted), target[1500:])[0, 1] > 0.8
    assert (predicted > 0).all()


@pytest.mark.parametrize("name", ["splines", "quantiles"])
def test_an_additive_model_survives_the_trip_through_a_bundle(name):
    learner, config = CONFIGS[name]
    model = learners.fit(learner, config, job("multiclass")).model(0)
    assert isinstance(model, Additive)
    matrix = made("multiclass")[0]
    assert Additive.from_json(model.to_json()).predict(matrix).tolist() == model.predict(matrix).tolist()


def test_a_model_of_another_width_is_refused(translated):
    with pytest.raises(BundleRefused, match="takes 6 columns, the Task gives 7"):
        Trees(translated[2].text, 7)
