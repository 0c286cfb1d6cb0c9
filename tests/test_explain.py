"""Why an answer is what it is: contributions that sum, and that agree with slow second versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.errors import NotExplained
from serving import bundle as bundles
from serving import encode, exact
from serving.bundle import Bundle, Reference
from serving.distribution import Distribution
from serving.ensemble import Member, combine
from serving.explain import Explainer
from serving.predictor import Predictor
from serving.shapley import orders, shapley
from tests.made import STAYED, Made, table, version
from tests.oracles import shapley_by_subsets
from tests.test_familiar import TASK as PEOPLE
from tests.test_familiar import people
from tests.test_models import CONFIGS, job
from tests.test_models import made as made_table
from training import background, conformal, familiar, golden, learners
from training.job import Columns, Fit

Function = Callable[[np.ndarray], np.ndarray]


def entangled(matrix: np.ndarray) -> np.ndarray:
    """Two outputs in which fields act together; the last field is looked at by none, and unknown counts as 2."""
    a, b, c, d = np.nan_to_num(matrix[:, :4], nan=2.0).T
    return np.column_stack([a * b + np.exp(c / 4) * d, np.maximum(a, c) - b * c * d])


VALUES = st.lists(st.one_of(st.integers(-3, 3).map(float), st.just(np.nan)), min_size=5, max_size=5).map(np.array)


@settings(max_examples=60, deadline=None)
@given(VALUES, VALUES)
def test_over_all_orders_the_walks_give_the_shapley_values_of_the_definition(row, other):
    every = np.array(list(permutations(range(5))))
    found = shapley(entangled, row, np.tile(other, (len(every), 1)), every)
    assert found == pytest.approx(shapley_by_subsets(entangled, row, other), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(VALUES, st.lists(VALUES, min_size=1, max_size=8).map(np.array))
def test_sampled_values_sum_and_a_field_that_is_not_looked_at_adds_nothing(row, others):
    found = shapley(entangled, row, others, orders(*others.shape))
    whole = entangled(row[None])[0] - entangled(others).mean(axis=0)
    assert found.sum(axis=0) == pytest.approx(whole, abs=1e-9)
    assert found[4].tolist() == [0.0, 0.0]


def test_one_order_a_background_row_is_near_the_definition():
    random = np.random.default_rng(0)
    others, rows = random.normal(size=(16, 5)), random.normal(size=(20, 5))
    found = np.array([shapley(entangled, row, others, orders(16, 5)) for row in rows])
    exactly = np.array([np.mean([shapley_by_subsets(entangled, row, o) for o in others], axis=0) for row in rows])
    error = np.sqrt(np.mean((found - exactly) ** 2))
    assert error < 0.2 * np.sqrt(np.mean(exactly**2))


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("name", CONFIGS)
def test_raw_scores_of_every_learner_are_taken_apart_and_sum(kind, name):
    """Exactly where that is possible, whatever the text came from, else by walks."""
    learner, config = CONFIGS[name]
    fitted = learners.fit(learner, config, job(kind))
    member = Member(learner, 1.0, (fitted.model(max(len(fitted.curve), 1)),) * 2, "identity")
    matrix = made_table(kind)[0][1500:1520]
    rows, others = matrix[:4], matrix[4:]
    way = exact.method(member, others[:1])
    assert way == ("additive" if learner == "linear" else way)
    if way == "sampled":
        found = np.array([shapley(member.predict, row, others, orders(*others.shape)) for row in rows])
        base = member.predict(others).mean(axis=0)
    else:
        found, base = exact.contributions(member, rows, exact.means([member], others))
    assert found.sum(axis=1) + base == pytest.approx(member.predict(rows), rel=1e-9, abs=1e-9)


def test_trees_with_counts_are_exact_and_without_them_sampled():
    ways = {}
    for name in ("lightgbm", "a forest", "lightgbm on statistics", "xgboost", "catboost", "perceptron", "splines"):
        learner, config = CONFIGS[name]
        fitted = learners.fit(learner, config, job("regression"))
        member = Member(learner, 1.0, (fitted.model(max(len(fitted.curve), 1)),), "identity")
        ways[name] = exact.method(member, made_table("regression")[0][:1])
    assert ways["lightgbm"] == ways["a forest"] == "treeshap"
    assert ways["perceptron"] == "sampled"
    assert ways["splines"] == "additive"


# --- answers of whole versions


@cache
def mixed(shift: float = 0.0, weights: tuple[float, ...] = (0.4, 0.2, 0.1, 0.2, 0.1)) -> Bundle:
    """A version of trees, an additive model, one of logarithms, a perceptron and translated trees, with a scale."""
    rows = table("regression", 1500, 0)
    encoder = encode.fit(STAYED, rows.columns)
    matrix = encoder.columns(rows.columns)
    columns = Columns((2,), (3,), (0,) * 4)

    def fitted(learner: str, config: dict[str, Any], target: np.ndarray, weight: float) -> Member:
        found = learners.fit(learner, config, Fit(columns, "regression", 1, "rmse", 0, matrix, target))
        return Member(learner, weight, (found.model(config.get("n_estimators", config.get("epochs", 0))),), found.link)

    trees = {"n_estimators": 30, "num_leaves": 8, "learning_rate": 0.1}
    splines = {"numbers": "splines", "knots": 4, "alpha": 1.0}
    members = [
        fitted("lightgbm", trees, rows.target + shift, weights[0]),
        fitted("linear", splines, rows.target + shift, weights[1]),
        fitted("linear", splines | {"target": "log"}, rows.target + 1, weights[2]),
        fitted("mlp", {"width": 16, "epochs": 4}, rows.target + shift, weights[3]),
        fitted("xgboost", {"n_estimators": 20, "max_leaves": 8, "learning_rate": 0.1}, rows.target + shift, weights[4]),
    ]
    members = [member for member in members if member.weight]
    residual = rows.target + shift - combine(members, matrix)[:, 0]
    scale = fitted("lightgbm", trees, np.abs(residual) + 0.02 * matrix[:, 0], 1.0).models[0]
    size = scale.predict(matrix)[:, 0]
    found = conformal.calibrate(STAYED, encoder, matrix, rows.target + shift, combine(members, matrix)[:, 0], size)
    known = familiar.fit(encoder, matrix, 0)
    beside = background.make(encoder, known, matrix, partial(combine, members), 0)
    floor = float(np.quantile(size, 0.3))
    empty: dict[str, Any] = {"rows": [], "answers": []}
    reference = Reference(known, background=beside)
    made = Bundle(STAYED, encoder, members, scale, floor, found.distribution, {}, empty, reference)
    return replace(made, golden=golden.answered(Predictor(made), golden.make(encoder, rows, 0)))


def sums(one: dict[str, Any]) -> float:
    return float(sum(item["contribution"] for item in one["contributions"]))


VERSIONS: dict[str, Callable[[], Bundle]] = {
    "regression": lambda: version("regression").bundle,
    "binary": lambda: version("binary").bundle,
    "multiclass": lambda: version("multiclass").bundle,
    "mixed": mixed,
}


@pytest.mark.parametrize("name", VERSIONS)
def test_contributions_sum_to_the_served_value_less_one_base(name):
    made, rows = VERSIONS[name](), version("regression").rows[:60]
    explainer, predictor = Explainer(Predictor(made)), Predictor(made)
    found = [explainer.explain(row) for row in rows]
    for one, answer in zip(found, predictor.answer(rows), strict=True):
        served = answer["value"] if "value" in answer else answer["probabilities"][answer["label"]]
        assert one["value"] == served
        assert sums(one) == pytest.approx(one["value"] - one["base"], abs=1e-9)
        assert [item["field"] for item in one["contributions"][:4]] == ["age", "days", "ward", "alone"]
        assert sum(one["method"].values()) == pytest.approx(1.0)
        assert one.get("class") == ("yes" if name == "binary" else answer.get("label"))
    assert len({(one["base"], one.get("class")) for one in found}) == len({one.get("class") for one in found})


@pytest.mark.parametrize("name", VERSIONS)
def test_the_base_is_the_mean_answer(name):
    made, rows = VERSIONS[name](), version("regression").rows
    answers = Predictor(made).answer(rows)
    one = Explainer(Predictor(made)).explain(rows[0])
    values = np.array([a["value"] if "value" in a else a["probabilities"][one["class"]] for a in answers])
    assert abs(one["base"] - values.mean()) < 0.15 * values.std()


def test_the_same_row_is_explained_in_the_same_bits():
    first, second = Explainer(Predictor(mixed())), Explainer(Predictor(mixed()))
    rows = version("regression").rows[:5]
    assert [first.explain(row) for row in rows] == [second.explain(row) for row in rows[::-1]][::-1]


def test_the_share_of_each_method_is_told():
    method = Explainer(Predictor(mixed())).explain({"age": 70})["method"]
    assert method["treeshap"] >= 0.4
    assert method["additive"] == pytest.approx(0.2)
    assert method["sampled"] >= 0.3


def test_an_ensemble_is_explained_by_the_weighted_sum_of_its_members():
    made = version("regression").bundle
    flat = replace(made, distribution=_centred(made.distribution))
    whole = Explainer(Predictor(flat)).explain({"age": 80, "alone": True})
    parts = [
        Explainer(Predictor(replace(flat, members=[replace(member, weight=1.0)]))).explain({"age": 80, "alone": True})
        for member in flat.members
    ]
    for place, item in enumerate(whole["contributions"]):
        each = [part["contributions"][place]["contribution"] for part in parts]
        assert item["contribution"] == pytest.approx(0.75 * each[0] + 0.25 * each[1], abs=1e-9)


def _centred(known: object) -> Distribution:
    """Without a middle: the value is the centre."""
    assert isinstance(known, Distribution)
    cells = {name: replace(cell, scores=cell.scores - cell.scores.mean()) for name, cell in known.cells.items()}
    return replace(known, cells=cells)


def test_a_constant_added_to_the_target_moves_the_base_and_nothing_else():
    one, other = (Explainer(Predictor(mixed(s, (0.6, 0.4, 0.0, 0.0, 0.0)))).explain({"age": 71}) for s in (0.0, 7.0))
    assert other["base"] - one["base"] == pytest.approx(7.0, abs=1e-3)
    for before, after in zip(one["contributions"], other["contributions"], strict=True):
        assert before["contribution"] == pytest.approx(after["contribution"], abs=1e-3)


def test_a_field_that_no_model_uses_adds_nothing():
    made = mixed()
    blind = [replace(member, models=tuple(_Blind(model) for model in member.models)) for member in made.members]
    known = replace(made, members=[replace(m, link="identity") for m in blind], scale=None)
    one = Explainer(Predictor(known)).explain({"age": 71, "days": 3, "ward": "surgical"})
    assert one["contributions"][1] == {"field": "days", "contribution": 0.0}
    assert one["method"]["sampled"] == pytest.approx(1.0)


class _Blind:
    """A model that never sees the days in hospital."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        hidden = matrix.copy()
        hidden[:, 1] = 5.0
        return np.asarray(self._model.predict(hidden))


def test_what_the_limits_cut_off_is_an_item_of_its_own():
    made = mixed()
    task = made.task.model_copy(update={"target": made.task.target.model_copy(update={"limits": (0.0, 12.0)})})
    strict = replace(made, task=task, distribution=replace(made.distribution, task=task))  # type: ignore[type-var]
    one = Explainer(Predictor(strict)).explain({"age": 95, "days": 20, "alone": True})
    assert one["value"] == 12.0
    last = one["contributions"][-1]
    assert (last["field"], last["code"]) == (None, "limits")
    assert last["contribution"] < 0
    assert sums(one) == pytest.approx(one["value"] - one["base"])


def test_a_version_without_background_rows_says_so():
    bare = replace(version("regression").bundle, reference=Reference())
    with pytest.raises(NotExplained, match="Train it again"):
        Explainer(Predictor(bare))


# --- the background


def test_background_rows_survive_the_trip_through_a_bundle(tmp_path):
    made = mixed()
    assert made.reference.background is not None
    assert np.isnan(made.reference.background).any()
    text = made.reference.to_json()
    again = Reference.from_json(text, 4)
    assert np.array_equal(again.background, made.reference.background, equal_nan=True)
    whole: Made = version("regression")
    bundles.write(whole.bundle, tmp_path / "bundle")
    assert np.array_equal(
        bundles.read(tmp_path / "bundle").reference.background, whole.bundle.reference.background, equal_nan=True
    )
    with pytest.raises(ValueError, match="the Task has 5 fields"):
        Reference.from_json(text, 5)


def test_background_rows_are_like_the_training_rows_and_none_of_them():
    matrix = people(20_000)
    encoder = encode.Encoder(PEOPLE, {"town": ["a", "b", "c"]}, {}, {})
    known = familiar.fit(encoder, matrix, 0)
    drawn = background.draw(encoder, known, matrix, 20_000, np.random.default_rng(0))
    assert np.nanmean(drawn, axis=0) == pytest.approx(np.nanmean(matrix, axis=0), rel=0.01)
    assert np.isnan(drawn).mean(axis=0) == pytest.approx(np.isnan(matrix).mean(axis=0), abs=0.01)
    whole = ~np.isnan(drawn[:, :2]).any(axis=1)
    assert np.corrcoef(drawn[whole, 0], drawn[whole, 1])[0, 1] > 0.7, "what goes together is drawn together"
    assert np.array_equal(drawn[:, 2], np.rint(drawn[:, 2])), "a column of whole numbers has no others"
    assert (np.nanmin(drawn, axis=0) >= np.nanmin(matrix, axis=0)).all()
    assert (np.nanmax(drawn, axis=0) <= np.nanmax(matrix, axis=0)).all()
    assert not {row.tobytes() for row in drawn} & {row.tobytes() for row in matrix}


def test_the_set_that_is_kept_answers_as_the_training_rows_do():
    rows = table("regression", 1500, 0)
    made = mixed()
    matrix = made.encoder.columns(rows.columns)
    predict = partial(combine, made.members)
    assert made.reference.background is not None
    kept, whole = predict(made.reference.background), predict(matrix)
    assert abs(kept.mean() - whole.mean()) < 0.05 * whole.std()
