"""Measures of the holdout for every kind of target, what drives a version, and whether more data would help."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from serving.additive import Additive, Curve, Table
from serving.ensemble import Member, combine
from serving.trees import Trees
from tests import holdouts
from tests.holdouts import KINDS
from training import curve, evaluate, measures
from training.evaluate import Holdout
from training.explain import Judged, importance, shap
from training.local_engine import LocalEngine


def repeated(holdout: Holdout, times: np.ndarray) -> Holdout:
    """Each row as often as `times` says, without weights."""
    places = np.repeat(np.arange(len(times)), times)
    plain = Holdout(holdout.rows, holdout.target, holdout.answers, holdout.groups, None, holdout.classes)
    return plain.take(places)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_weight_two_counts_as_two_rows(kind):
    holdout, task = holdouts.seen(kind).holdout, holdouts.task(kind)
    times = np.random.default_rng(0).integers(1, 4, len(holdout.target))
    weighted = Holdout(
        holdout.rows, holdout.target, holdout.answers, holdout.groups, times.astype(float), holdout.classes
    )
    one, other = evaluate.metrics(task, weighted), evaluate.metrics(task, repeated(holdout, times))
    assert one.keys() == other.keys()
    for name in one:
        if name.endswith("ece_by_chance"):  # a row of weight 2 is one case, two rows are two
            assert other[name] < one[name]
        elif name.endswith(("ece", "reliability", "resolution")):  # a row between two bins counts in one of them
            assert one[name] == pytest.approx(other[name], abs=0.01), name
        else:
            assert one[name] == pytest.approx(other[name], rel=1e-6), name


def test_measures_of_classes_agree_with_scikit_learn():
    seen = holdouts.seen("multiclass", weighted=True)
    holdout, found = seen.holdout, seen.card["metrics"]
    called, weight = holdout.predicted.argmax(axis=1), holdout.weight
    assert found["log_loss"] == pytest.approx(sk.log_loss(holdout.target, holdout.predicted, sample_weight=weight))
    assert found["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(holdout.target, called, sample_weight=weight)
    )
    assert found["macro_f1"] == pytest.approx(
        sk.f1_score(holdout.target, called, average="macro", sample_weight=weight, zero_division=0)
    )
    binary = holdouts.seen("binary", weighted=True)
    truth, chance, weight = binary.holdout.target, binary.holdout.value, binary.holdout.weight
    measured = binary.card["metrics"]
    assert measured["auc"] == pytest.approx(sk.roc_auc_score(truth, chance, sample_weight=weight))
    assert measured["brier"] == pytest.approx(sk.brier_score_loss(truth, chance, sample_weight=weight))
    assert measured["f1"] == pytest.approx(sk.f1_score(truth, chance >= 0.5, sample_weight=weight))


def test_predictions_come_out_of_answers_in_the_order_of_the_classes():
    answers = [{"probabilities": {"b": 0.7, "a": 0.1, "c": 0.2}, "label": "b", "set": ["b"]}]
    assert evaluate.predictions(("a", "b", "c"), answers).tolist() == [[0.1, 0.7, 0.2]]
    assert evaluate.predictions(("no", "yes"), [{"value": 0.3, "label": "no", "set": ["no"]}]).tolist() == [[0.3]]
    assert evaluate.predictions((), [{"value": 41.0}, {"value": 2.0}]).tolist() == [[41.0], [2.0]]


@pytest.mark.parametrize("metric", ["rmse", "mae"])
def test_the_band_of_an_error_holds_the_true_error_as_often_as_it_says(metric):
    random, inside = np.random.default_rng(1), 0
    true = 1.0 if metric == "rmse" else float(np.sqrt(2 / np.pi))
    for _ in range(400):
        error = random.normal(size=(200, 1))
        low, high = measures.band(metric, np.zeros(200), error)
        inside += low <= true <= high
    assert inside / 400 > 0.95 - 0.033 - 0.02  # 3 standard errors of 400 draws, and the normal approximation


@pytest.mark.parametrize("kind", KINDS)
def test_each_group_has_its_size_its_measures_and_a_band_around_the_metric(kind):
    seen = holdouts.seen(kind)
    groups, metric = seen.card["groups"], seen.task.search.metric
    assert set(groups) == {
        "arrival=walked",
        "arrival=ambulance",
        "arrival=helicopter",
        "age<18",
        "age=18-65",
        "age>=65",
    }
    assert sum(row["n"] for name, row in groups.items() if name.startswith("age")) == len(seen.holdout.target)
    for row in groups.values():
        assert row["low"] <= row[metric] <= row["high"]
        assert set(evaluate.GROUP_METRICS[kind]) <= set(row)
        assert kind == "regression" or set(evaluate.GROUP_HONESTY) <= set(row)


def test_a_group_of_one_class_has_no_auc_and_no_band_of_it():
    holdout, task = holdouts.seen("binary").holdout, holdouts.task("binary", "auc")
    only = holdout.take(holdout.target == 1)
    assert all("auc" not in row and "low" not in row for row in evaluate.by_group(task, only).values())
    assert evaluate.metrics(task, only)["auc"] == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_deciles_hold_every_row_once_in_the_order_of_the_answer(kind):
    seen = holdouts.seen(kind)
    deciles = seen.card["deciles"]
    assert sum(row["n"] for row in deciles) == len(seen.holdout.target)
    assert [row["predicted"] for row in deciles] == sorted(row["predicted"] for row in deciles)
    for row in deciles:
        assert row["low"] <= row["observed"] - row["predicted"] <= row["high"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_matters_is_important_and_a_coin_is_not(kind):
    found = {one.field: one for one in holdouts.seen(kind).insight.importance}
    metric_size = holdouts.seen(kind).card["metrics"][holdouts.task(kind).search.metric]
    assert found["arrival"].rise > 0.04 * metric_size
    assert abs(found["noise"].rise) < 0.02 * metric_size


def test_importance_keeps_to_its_time_and_is_the_same_for_the_same_seed():
    matrix = np.random.default_rng(0).normal(size=(500, 3))
    calls = []

    def predict(rows: np.ndarray) -> np.ndarray:
        calls.append(len(rows))
        return rows[:, :1]

    names, judged = ["a", "b", "c"], Judged("rmse", matrix, matrix[:, 0])
    one, other = (importance(predict, names, judged, seed=4) for _ in range(2))
    assert one == other
    assert one[0].field == "a"
    assert one[-1].rise == 0.0
    calls.clear()
    importance(predict, names, judged, budget_s=0.0)
    assert calls == [500, 100, 100, 100, 100]  # one timed call, then the least rows, one shuffle a field


@pytest.mark.parametrize("kind", KINDS)
def test_shap_values_of_trees_sum_to_the_score_less_one_constant_a_class(kind):
    seen = holdouts.seen(kind)
    columns, target = holdouts.rows(kind, 600, 3)
    described = seen.task
    matrix = holdouts.encode.fit(described, columns, holdouts.CLASSES.get(kind, ())).columns(columns)
    member = holdouts.fit_trees(matrix, target, None, 0, kind)
    found = shap([member], matrix)
    assert found is not None
    assert found.share == 1.0
    raw = member.models[0].predict(found.matrix)
    gap = raw - found.values.sum(axis=1)
    assert np.ptp(gap, axis=0) == pytest.approx(0, abs=1e-9)


def test_shap_values_of_an_additive_model_are_its_functions_less_their_mean():
    model = Additive([5.0], [Curve(0, [0.0, 1.0], [[0.0]], [[2.0]], [0.7])], [Table(1, [[0.0], [3.0]])])
    matrix = np.array([[0.5, 0.0], [1.0, 1.0], [np.nan, 1.0]])
    assert model.parts(matrix).sum(axis=1) + 5.0 == pytest.approx(model.predict(matrix))
    found = shap([Member("linear", 1.0, (model,), "identity")], matrix)
    assert found is not None
    assert found.values.mean(axis=0) == pytest.approx(0)


class Unknown:
    """A model that allows no exact SHAP values."""

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        return matrix[:, :1]


def test_members_without_exact_values_are_left_out_and_the_share_explained_is_told():
    matrix = np.random.default_rng(0).normal(size=(40, 8))
    trees = holdouts.fit_trees(np.abs(matrix), matrix[:, 0], None, 0, "regression")
    members = [Member("lightgbm", 0.7, trees.models, "identity"), Member("mlp", 0.3, (Unknown(),), "identity")]
    found = shap(members, matrix)
    assert found is not None
    assert found.share == 0.7
    assert found.values == pytest.approx(shap([trees], matrix).values)
    assert shap(members[1:], matrix) is None


def test_of_two_scales_the_one_with_more_weight_is_explained():
    matrix = np.abs(np.random.default_rng(0).normal(size=(40, 8)))
    trees = holdouts.fit_trees(matrix, matrix[:, 0], None, 0, "regression")
    found = shap([Member("a", 0.4, trees.models, "identity"), Member("b", 0.6, trees.models, "exp")], matrix)
    assert (found.link, found.share) == ("exp", 0.6)


def test_shap_values_stop_when_their_time_is_over():
    matrix = np.abs(np.random.default_rng(0).normal(size=(60, 8)))
    trees = holdouts.fit_trees(matrix, matrix[:, 0], None, 0, "regression")
    assert len(shap([trees], matrix, budget_s=0.0).matrix) == 1
    assert len(shap([trees], matrix).matrix) == 60


def test_a_bag_of_models_is_explained_by_its_mean():
    matrix = np.abs(np.random.default_rng(0).normal(size=(60, 8)))
    one, other = (holdouts.fit_trees(matrix, matrix[:, k], None, 0, "regression").models[0] for k in (0, 1))
    assert isinstance(one, Trees)
    bag = Member("lightgbm", 1.0, (one, other), "identity")
    found = shap([bag], matrix)
    gap = combine([bag], found.matrix)[:, 0] - found.values.sum(axis=(1, 2))
    assert np.ptp(gap) == pytest.approx(0, abs=1e-9)


def test_a_curve_that_still_falls_promises_a_gain_and_a_flat_one_does_not():
    rows = [1000, 2000, 4000, 8000]
    falling = [(n, [2 + 30 * n**-0.5 + shift for shift in (0, 0.01, -0.01)]) for n in rows]
    found = curve.summary("rmse", falling, 8000)
    truth = 1 - (2 + 30 * 16000**-0.5) / (2 + 30 * 8000**-0.5)
    assert found.gain == pytest.approx(truth, rel=0.02)
    assert found.clear
    assert found.points[0].spread == pytest.approx(0.01 / np.sqrt(3))
    flat = curve.summary("rmse", [(n, [2 + 0.01 * shift for shift in (0, 1, -1)]) for n in rows], 8000)
    assert flat.gain == 0
    assert not flat.clear
    assert curve.summary("rmse", falling, 80_000).gain < found.gain


def test_the_learning_curve_runs_in_the_engine(tmp_path):
    rows, target = holdouts.rows("regression", 900, 0)
    described = holdouts.task("regression")
    encoder = holdouts.encode.fit(described, rows)
    engine = LocalEngine(1)
    try:
        put = engine.put(holdouts.problem(encoder.columns(rows), target), tmp_path / "shared")
        found = curve.learning_curve(engine, holdouts.shared(described, encoder, put))
    finally:
        engine.close()
    assert [point.rows for point in found.points] == [75, 150, 300, 600]
    assert found.rows == 900
    assert found.points[-1].loss < found.points[0].loss
