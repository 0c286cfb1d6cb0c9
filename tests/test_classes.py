"""The predictive distribution of classes: chances, label and set agree, and survive the trip through a bundle."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.errors import BundleRefused
from serving import bundle, predictor
from serving.classes import Classes, threshold
from serving.distribution import ALL, Cell, GroupNames
from serving.predictor import Predictor
from serving.pyfunc import columns, flatten
from serving.scaling import Isotonic, Scaling, Softmax
from tests.made import DESTINATION, PLACES, READMITTED, version
from tests.test_bundle import sign
from training import calibrate, conformal
from training.losses import auc, loss

KINDS = pytest.mark.parametrize("kind", ["binary", "multiclass"])
EVERY = pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
ROW = np.array([50.0, 3.0, 1.0, 0.0])

HONEST, STEPS = Softmax("identity", (1.0, 1.0), (0.0, 0.0)), Isotonic((0.2, 0.4, 0.7), (0.1, 0.6, 0.6))

chances = st.lists(st.floats(0.001, 1.0), min_size=5, max_size=5).map(lambda parts: [p / sum(parts) for p in parts])
scores = st.lists(st.floats(0, 1), min_size=1, max_size=80)


def many(values: list[float], scaling: Scaling, level: float = 0.9) -> Classes:
    chooser = GroupNames(version("multiclass").bundle.encoder)
    return Classes(tuple(PLACES), level, scaling, {ALL: Cell(ALL, np.sort(values))}, chooser)


@settings(max_examples=200, deadline=None)
@given(chances, scores, st.floats(0.2, 4), st.sampled_from(["identity", "temperature_bias"]), st.floats(0.5, 0.99))
def test_an_answer_does_not_contradict_itself(predicted, values, slope, method, level):
    answer = many(values, Softmax(method, (slope,) * 5, (0.1, -0.2, 0.0, 0.3, 0.0)), level).answer(ROW, [predicted])
    by_word = dict(zip(PLACES, answer.chances, strict=True))
    assert sum(answer.chances) == pytest.approx(1.0)
    assert by_word[answer.label] == max(answer.chances)
    assert answer.set[0] == answer.label
    assert [by_word[word] for word in answer.set] == sorted((by_word[word] for word in answer.set), reverse=True)
    outside = [p for word, p in by_word.items() if word not in answer.set]
    assert max(outside, default=0.0) <= by_word[answer.set[-1]]


@settings(deadline=None)
@given(chances, chances, st.integers(0, 4), st.floats(0.2, 4))
def test_a_bag_is_corrected_model_by_model_and_loses_no_more_than_they_do(one, other, true, slope):
    classes = many([0.5], Softmax("temperature_bias", (slope,) * 5, (0.1, -0.2, 0.0, 0.3, 0.0)), 0.9)
    together, *alone = (classes.answer(ROW, parts).chances for parts in ([one, other], [one], [other]))
    assert together == pytest.approx(np.mean(alone, axis=0).tolist())
    losses = [-np.log(max(answer[true], 1e-300)) for answer in (together, *alone)]
    assert losses[0] <= np.mean(losses[1:]) + 1e-9


@settings(deadline=None)
@given(scores, st.floats(0.5, 0.99))
def test_a_threshold_is_a_count(values, level):
    """An oracle: as many of n + 1 places as the level asks lie at or below it; where there are too few, all classes."""
    found = threshold(np.sort(values), level)
    enough = [value for value in sorted(values) if sum(v <= value for v in values) >= (len(values) + 1) * level - 1e-9]
    assert found == (enough[0] if enough else 1.0)


@settings(deadline=None)
@given(st.floats(0, 1), st.sampled_from([HONEST, Softmax("platt", (1.7, 1.7), (0.0, -0.4)), STEPS]))
def test_the_label_is_positive_from_one_half_on(p, scaling):
    chooser = GroupNames(version("binary").bundle.encoder)
    answer = Classes(("no", "yes"), 0.9, scaling, {ALL: Cell(ALL, np.array([0.2]))}, chooser).answer(ROW, [[p]])
    assert (answer.label == "yes") == (answer.chances[1] >= 0.5)
    assert 0.0 <= answer.chances[1] <= 1.0


def test_too_few_scores_rule_no_class_out():
    answer = many([0.1] * 8, Softmax("identity", (1.0,) * 5, (0.0,) * 5)).answer(ROW, [[0.9, 0.1, 0.0, 0.0, 0.0]])
    assert len(answer.set) == 5
    assert many([0.1] * 9, Softmax("identity", (1.0,) * 5, (0.0,) * 5)).answer(ROW, [[0.9, 0.1, 0, 0, 0]]).set == [
        "home"
    ]


@EVERY
def test_a_version_of_every_kind_survives_the_trip_through_a_bundle(kind, tmp_path):
    made = version(kind)
    bundle.write(made.bundle, tmp_path / "bundle")
    again = predictor.load(tmp_path / "bundle", "1")
    assert len(again.bundle.golden["rows"]) >= 20
    assert again.answer(made.rows[:50]) == Predictor(made.bundle).answer(made.rows[:50])


@EVERY
def test_a_row_and_a_batch_give_the_same_bits(kind):
    answering, rows = Predictor(version(kind).bundle), version(kind).rows[:300]
    assert [answering.answer([row])[0] for row in rows] == answering.answer(rows)


@KINDS
@pytest.mark.parametrize(
    "change", [{"slopes": [1.3]}, {"method": "magic"}, {"bias": [0.0]}, {"bias": [0.0] * 9}, {"slopes": [0.5] * 5}]
)
def test_an_altered_correction_with_fitting_digests_is_refused(kind, change, tmp_path):
    folder = tmp_path / "bundle"
    bundle.write(version(kind).bundle, folder)
    layout = json.loads((folder / "distribution.json").read_text())
    layout["scaling"] |= {"method": "temperature"} | change
    (folder / "distribution.json").write_text(json.dumps(layout))
    sign(folder)
    with pytest.raises(BundleRefused, match=r"golden rows|not a bundle"):
        predictor.load(folder)


def test_a_binary_answer_has_the_keys_of_the_exchange():
    (answer,) = Predictor(version("binary").bundle).answer([{"age": 90, "days": 20, "ward": "medical", "alone": True}])
    assert list(answer) == ["value", "label", "set", "group", "decision", "warnings"]
    assert answer["value"] > 0.85  # of such rows 0.97 come true, but there are few to learn from
    assert (answer["label"], answer["set"], answer["group"]) == ("yes", ["yes"], "alone=yes")


def test_a_multiclass_answer_has_the_keys_of_the_exchange():
    (answer,) = Predictor(version("multiclass").bundle).answer([{"age": 30}])
    assert list(answer) == ["probabilities", "label", "set", "group", "decision", "warnings"]
    assert list(answer["probabilities"]) == list(PLACES)
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert [warning["code"] for warning in answer["warnings"]] == ["missing_field"] * 3


@EVERY
def test_a_version_names_the_columns_that_it_gives(kind):
    made = version(kind)
    flat = flatten(Predictor(made.bundle).answer(made.rows[:1])[0])
    assert columns(made.bundle.task, made.bundle.encoder.classes) == [
        (name, type(value)) for name, value in flat.items()
    ]


def test_columns_of_classes_are_those_of_the_docs():
    binary, many_ = (
        flatten(Predictor(version(k).bundle).answer(version(k).rows[:1])[0]) for k in ("binary", "multiclass")
    )
    assert list(binary) == ["value", "label", "group", "warnings"]
    assert list(many_) == [*(f"p_{word}" for word in PLACES), "label", "set", "group", "warnings"]
    assert many_["set"].split(",")[0] == many_["label"]


def test_a_row_costs_a_few_microseconds():
    made = version("binary").bundle.distribution
    assert isinstance(made, Classes)
    start = time.perf_counter()
    for _ in range(2000):
        made.answer(ROW, [[0.3]])
    assert (time.perf_counter() - start) / 2000 < 200e-6, "some 5 us on a quiet machine"


# --- calibration


@KINDS
def test_coverage_of_sets_holds_on_unseen_rows_in_every_group(kind):
    made = version(kind)
    answers = Predictor(made.bundle).answer(made.rows)
    words = made.bundle.encoder.classes
    inside = np.array([words[int(true)] in answer["set"] for true, answer in zip(made.target, answers, strict=True)])
    groups = np.array([answer["group"] for answer in answers])
    assert set(groups) == {"alone=no", "alone=yes"}
    for group in set(groups):
        count = (groups == group).sum()
        assert inside[groups == group].mean() > 0.9 - 4 * np.sqrt(0.09 / count) - 4 * np.sqrt(
            0.09 / made.facts["cells"][group]
        )
    assert min(len(answer["set"]) for answer in answers) >= 1


def case(kind: str, n: int, spoil: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encoded rows, places, and chances whose true logarithms were multiplied by `spoil`."""
    random = np.random.default_rng(seed)
    count = 2 if kind == "binary" else 5
    raw = random.normal(size=(n, count)) * 1.5
    p = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    target = (random.random(n)[:, None] > np.cumsum(p, axis=1)).sum(axis=1).clip(0, count - 1).astype(float)
    spoilt = np.exp(spoil * np.log(p))
    spoilt /= spoilt.sum(axis=1, keepdims=True)
    matrix = np.column_stack([np.full(n, 50.0), np.full(n, 3.0), np.ones(n), random.random(n) < 0.02])
    return matrix, target, spoilt[:, 1:] if kind == "binary" else spoilt


def made_of(kind: str, *arrays: np.ndarray, weight: np.ndarray | None = None):
    task, encoder = (READMITTED if kind == "binary" else DESTINATION), version(kind).bundle.encoder
    return calibrate.calibrate(task, encoder, *arrays, weight=weight)


@KINDS
def test_honest_chances_are_left_as_they_are(kind):
    for seed in range(3):
        _, facts = made_of(kind, *case(kind, 2000, 1.0, seed))
        assert facts["method"] == "identity"
        assert facts["log_loss_after"] == facts["log_loss_before"]


@KINDS
@pytest.mark.parametrize("spoil", [0.4, 2.5])
def test_chances_that_are_too_sure_or_not_sure_enough_are_mended(kind, spoil):
    matrix, target, oof = case(kind, 4000, spoil)
    classes, facts = made_of(kind, matrix, target, oof)
    assert facts["method"] == "temperature"
    assert classes.scaling.slopes == pytest.approx((1 / spoil,) * len(classes.words), rel=0.15)
    assert facts["log_loss_after"] < facts["log_loss_before"]
    new_matrix, new_target, new = case(kind, 4000, spoil, seed=5)
    answered = np.array([classes.answer(row, [p]).chances for row, p in zip(new_matrix, new.tolist(), strict=True)])
    answered = answered[:, 1:] if kind == "binary" else answered
    assert loss("log_loss", new_target, answered) < loss("log_loss", new_target, new)
    if kind == "binary":
        assert auc(new_target, answered[:, 0]) == pytest.approx(auc(new_target, new[:, 0]), abs=1e-12), "order is kept"


def test_a_class_that_is_given_too_small_a_chance_throughout_is_mended_by_a_shift():
    matrix, target, oof = case("multiclass", 4000, 1.0)
    shrunk = oof * np.array([1, 1, 0.2, 1, 1])
    classes, facts = made_of("multiclass", matrix, target, shrunk / shrunk.sum(axis=1, keepdims=True))
    assert facts["method"] == "temperature_bias"
    bias = classes.scaling.bias
    others = [shift for place, shift in enumerate(bias) if place != 2]
    assert bias[2] - np.mean(others) == pytest.approx(np.log(5), abs=0.3)


def test_weights_count_in_the_correction():
    matrix, target, oof = case("binary", 4000, 1.0)
    odd = np.arange(4000) % 2 == 1
    flipped = np.where(odd, 1 - target, target)
    _, facts = made_of("binary", matrix, flipped, oof, weight=np.where(odd, 1e-6, 1.0))
    assert facts["method"] == "identity"
    _, facts = made_of("binary", matrix, flipped, oof)
    assert facts["method"] != "identity"
    twice, _ = made_of("binary", matrix, target, case("binary", 4000, 3.0)[2], weight=np.full(4000, 7.0))
    once, _ = made_of("binary", matrix, target, case("binary", 4000, 3.0)[2])
    assert twice.scaling.slopes == pytest.approx(once.scaling.slopes, rel=1e-6), "only ratios of weights count"


@KINDS
def test_certain_chances_and_perfect_order_do_not_break_it(kind):
    matrix, target, _ = case(kind, 1000, 1.0)
    perfect = (target == 1).astype(float)[:, None] if kind == "binary" else np.eye(5)[target.astype(int)]
    classes, facts = made_of(kind, matrix, target, perfect)
    assert np.isfinite(list(facts["log_losses"].values())).all()
    assert np.isfinite(classes.answer(matrix[0], [perfect[0].tolist()]).chances).all()


@KINDS
def test_a_small_group_uses_the_cell_of_all_rows_and_its_rows_are_told(kind):
    matrix, target, oof = case(kind, 4000, 1.0)
    classes, facts = made_of(kind, matrix, target, oof)
    assert "alone=yes" not in classes.cells
    assert 0 < facts["cells"]["alone=yes"] < conformal.MIN_CELL
    assert facts["cells"][ALL] == 4000
    alone = matrix[matrix[:, 3] == 1][0]
    assert classes.answer(alone, [oof[0].tolist()]).group == ALL


def test_the_same_rows_and_seed_give_the_same_numbers():
    arrays = case("multiclass", 1500, 2.0)
    (one, facts), (other, again) = made_of("multiclass", *arrays), made_of("multiclass", *arrays)
    assert facts == again
    assert one.numbers()[0] == other.numbers()[0]
    assert (one.numbers()[1] == other.numbers()[1]).all()
