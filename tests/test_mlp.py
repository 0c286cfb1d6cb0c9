"""The perceptron: exact to the bit in any order of summing, and learnt well enough to be worth a member."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_friedman1
from threadpoolctl import threadpool_limits

from feature_store.errors import BundleRefused, NothingLearnt
from serving.ensemble import LINKS
from serving.mlp import Category, Inputs, Layer, Mlp, Number, layer
from tests.conftest import ROOT
from training.inputs import learn_inputs
from training.job import Fit
from training.losses import loss
from training.mlp import fit


@dataclass(frozen=True)
class Columns:
    categories: tuple[int, ...] = ()


@dataclass(frozen=True)
class Job:
    matrix: np.ndarray
    target: np.ndarray
    kind: str = "regression"
    outputs: int = 1
    metric: str = "rmse"
    seed: int = 0
    columns: Columns = Columns()
    weight: np.ndarray | None = None
    valid: tuple[np.ndarray, np.ndarray] | None = None
    deadline: float | None = None
    link = Fit.link


def random_model(seed: int, *, bias: float = 1.0, spread: float = 0.3, width: int = 40) -> Mlp:
    """Five numbers (one with pieces), two of them sometimes missing, and a category of six words."""
    random = np.random.default_rng(seed)
    smooth = [Number(c, -50.0, 70.0, random.normal(), abs(random.normal()) + 0.1) for c in range(5)]
    plain = [Number(0, low, low + 0.7, low, 1 / 0.7) for low in (-1.4, -0.7, 0.0, 0.7)]
    inputs = Inputs(smooth, plain, [1, 3], [Category(5, [0, 1, 2, 0, 3, 4])])
    widths = [inputs.width, width, width, 3]
    layers = [layer(random.normal(0, spread, (a, b)), random.normal(0, bias, b)) for a, b in pairwise(widths)]
    return Mlp(inputs, tuple(layers), (2.5, 1.0, 1e-3), (3000.0, 0.0, -7.0))


def random_rows(n: int, seed: int = 0) -> np.ndarray:
    """Rows with missing values, huge ones, tiny ones, infinities and codes that no word has."""
    random = np.random.default_rng(seed)
    matrix = np.column_stack([random.normal(0, 3, (n, 5)), random.integers(-1, 9, n)])
    odd = np.array([np.nan, 1e300, -1e300, np.inf, -np.inf, 5e-324, -0.0, 1.7e308])
    spots = random.random((n, 5)) < 0.15
    matrix[:, :5][spots] = random.choice(odd, int(spots.sum()))
    matrix[random.random(n) < 0.1, 5] = random.choice([np.nan, np.inf, 0.5, 1e300])
    return matrix


def by_whole_numbers(model: Mlp, row: list[float]) -> list[float]:
    """The oracle: one row in Python's whole numbers of any length; floats only where IEEE 754 rounds each step."""
    inputs = model.inputs
    start: list[int] = []
    for position, number in enumerate((*inputs.smooth, *inputs.plain)):
        x = row[number.column]
        if math.isnan(x):
            start.append(0)
            continue
        bend = position < len(inputs.smooth)
        t = min(max(x, number.low), number.high) - number.centre
        t = t * (number.factor / 3.0) if bend else t * number.factor
        t = t / math.sqrt(t * t + 1.0) * (3.0 * 2**14) if bend else t * 2.0**14
        start.append(round(t))
    start += [2**14 if math.isnan(row[column]) else 0 for column in inputs.missing]
    indicators = [0] * (inputs.width - inputs.indicators)
    for category in inputs.categories:
        code = row[category.column]
        indicators[category.places[int(code) if 0 <= code < len(category.places) else 0]] = 2**14
    values = start + indicators
    for position, one in enumerate(model.layers):
        weights = [[int(w) for w in line] for line in one.weight.tolist()]
        sums = [
            sum(v * line[unit] for v, line in zip(values, weights, strict=True)) + int(one.bias[unit]) * 2**14
            for unit in range(len(one.bias))
        ]
        values = (
            sums if position == len(model.layers) - 1 else [min(round(Fraction(max(s, 0), 2**16)), 2**20) for s in sums]
        )
    return [
        float(Fraction(total, 2**30)) * factor + offset
        for total, factor, offset in zip(values, model.factor, model.offset, strict=True)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_whole_numbers_of_any_length_bit_for_bit(seed):
    model, rows = random_model(seed), random_rows(60, seed)
    assert model.predict(rows).tolist() == [by_whole_numbers(model, row) for row in rows.tolist()]


def test_it_is_exact_at_the_very_bounds_of_its_weights_activations_and_width():
    random = np.random.default_rng(1)
    signs = np.where(random.random((2047, 3)) < 0.5, -32.0, 32.0)
    signs[:, 0] = 32.0
    first = layer(np.full((1, 2047), 32.0) - random.random((1, 2047)), np.full(2047, 32.0))
    last = layer(signs - random.random(signs.shape) * np.sign(signs), np.full(3, -32.0))
    model = Mlp(Inputs([Number(0, -9.0, 9.0, 0.0, 1e5)], [], [], []), (first, last), (1.0,) * 3, (0.0,) * 3)
    rows = np.array([[9.0], [0.3], [1e-5], [-1.0], [1.0], [0.01]])
    assert model.predict(rows).tolist() == [by_whole_numbers(model, row) for row in rows.tolist()]


def test_one_row_a_batch_another_order_and_another_layout_give_the_same_bits():
    model, rows = random_model(7), random_rows(5000)
    batch = model.predict(rows)
    assert np.all(np.isfinite(batch))
    assert np.array_equal(batch[:500], np.concatenate([model.predict(row[None]) for row in rows[:500]]))
    assert np.array_equal(batch, model.predict(rows[::-1])[::-1])
    assert np.array_equal(batch, model.predict(np.asfortranarray(rows)))
    assert np.array_equal(batch[::7], model.predict(rows[::7]))
    for size in (2, 3, 17, 64):
        assert np.array_equal(batch[:size], model.predict(rows[:size]))
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            assert np.array_equal(batch, model.predict(rows))


def test_no_rows_give_no_answers():
    assert random_model(0).predict(np.empty((0, 6))).shape == (0, 3)


def test_the_products_made_for_other_cpus_give_the_same_bits(tmp_path):
    """OpenBLAS is told to take the code of other CPUs: other vectors, other orders, with and without fused steps."""
    model, rows = random_model(7), random_rows(500)
    (tmp_path / "model.json").write_text(json.dumps(model.to_json()), encoding="utf-8")
    np.save(tmp_path / "rows.npy", rows)
    script = (
        "import json, sys, numpy as np\nfrom serving.mlp import Mlp\n"
        "model = Mlp.from_json(json.load(open(sys.argv[1] + '/model.json')))\n"
        "np.save(sys.argv[1] + '/answers.npy', model.predict(np.load(sys.argv[1] + '/rows.npy')))"
    )
    for kernel in ("Prescott", "Sandybridge", "Haswell"):
        command = [sys.executable, "-c", script, str(tmp_path)]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "OPENBLAS_CORETYPE": kernel}, check=True)
        assert np.array_equal(np.load(tmp_path / "answers.npy"), model.predict(rows)), kernel


def test_extreme_rows_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        many, one = random_model(3).predict(random_rows(300)), random_model(3).predict(random_rows(300)[:1])
    assert np.isfinite(many).all()
    assert np.isfinite(one).all()


def test_a_model_comes_back_from_its_text_with_the_same_bits():
    model, rows = random_model(2), random_rows(200)
    text = json.dumps(model.to_json(), allow_nan=False)
    again = Mlp.from_json(json.loads(text))
    assert np.array_equal(model.predict(rows), again.predict(rows))
    assert again.to_json() == model.to_json()
    assert model.cost == sum(one.weight.size for one in model.layers)


def test_what_could_be_inexact_is_refused():
    good = random_model(0).to_json()
    with pytest.raises(BundleRefused, match="beyond 32"):
        Layer(np.full((2, 1), 2.0**21 + 1), np.zeros(1))
    with pytest.raises(BundleRefused, match="beyond 32"):
        Layer(np.full((2, 1), np.nan), np.zeros(1))
    with pytest.raises(BundleRefused, match="no multiple"):
        Layer(np.full((2, 1), 0.5), np.zeros(1))
    with pytest.raises(BundleRefused, match="2047"):
        Layer(np.zeros((2048, 1)), np.zeros(1))
    for wrong in (
        {"smooth": [[0, -1.0, 1.0, 0.0, 1e300], *good["smooth"][1:]]},
        {"plain": [[0, -1.0, 1.0, 0.0, math.nan], *good["plain"][1:]]},
        {"smooth": good["smooth"][1:]},
        {"layers": good["layers"][1:]},
        {"layers": []},
        {"categories": [[5, [0, 1, 2, 0, 3, -1]]]},
        {"factor": [1.0]},
        {"offset": [math.inf, 0.0, 0.0]},
    ):
        with pytest.raises(BundleRefused):
            Mlp.from_json({**good, **wrong})


def friedman(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    matrix, target = make_friedman1(n, 8, noise=1.0, random_state=seed)
    matrix[np.random.default_rng(seed).random(matrix.shape) < 0.02] = np.nan
    return matrix, target


def learn(config: dict[str, Any] | None = None, **more: Any) -> tuple[Any, Job]:
    (matrix, target), valid = friedman(800), friedman(400, seed=1)
    job = Job(matrix, target, valid=valid, **more)
    return fit({"epochs": 20, **(config or {})}, job), job


def test_the_curve_is_the_loss_of_the_very_models_that_are_served():
    fitted, job = learn()
    assert job.valid is not None
    assert len(fitted.curve) == 20
    for rounds in (1, 7, 20):
        assert fitted.curve[rounds - 1] == loss("rmse", job.valid[1], fitted.model(rounds).predict(job.valid[0]))
    assert np.array_equal(fitted.model(20).predict(job.valid[0]), fitted.model(99).predict(job.valid[0]))
    assert min(fitted.curve) < 0.6 * np.std(job.valid[1])


def test_fixed_point_costs_next_to_nothing_of_the_loss():
    fitted, job = learn()
    model = fitted.model(20)
    matrix = job.matrix[:300]
    values = model.inputs.apply(matrix) / 2**14
    for position, one in enumerate(model.layers):
        values = values @ (one.weight / 2**16) + one.bias / 2**16
        values = values if position == len(model.layers) - 1 else np.maximum(values, 0)
    assert np.max(np.abs(values * model.factor + model.offset - model.predict(matrix))) < 1e-3 * np.std(job.target)


def test_the_same_seed_gives_the_same_model_and_another_one_does_not():
    text = [json.dumps(learn({"epochs": 2}, seed=seed)[0].model(2).to_json()) for seed in (1, 1, 2)]
    assert text[0] == text[1] != text[2]


def test_classes_become_probabilities_near_the_truth():
    matrix, places = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(matrix))
    train, valid = order[:1200], order[1200:]
    job = Job(
        matrix[train], places[train].astype(float), "multiclass", 10, "log_loss", valid=(matrix[valid], places[valid])
    )
    fitted = fit({"epochs": 15}, job)
    best = int(np.argmin(fitted.curve)) + 1
    chance = LINKS["softmax"](fitted.model(best).predict(matrix[valid]))
    assert loss("log_loss", places[valid], chance) == fitted.curve[best - 1] < 0.2
    positive = (places == 3).astype(float)
    binary = replace(job, target=positive[train], kind="binary", outputs=1, valid=(matrix[valid], positive[valid]))
    assert min(fit({"epochs": 10}, binary).curve) < 0.1


def test_a_row_of_weight_two_counts_as_two_rows():
    """Two answers to the same question: the weighted mean is learnt."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(600, 2))
    target = np.where(np.arange(600) % 2 == 0, 1.0, 4.0)
    weight = np.where(np.arange(600) % 2 == 0, 2.0, 1.0)
    model = fit({"epochs": 10, "width": 8}, Job(matrix, target, weight=weight)).model(10)
    assert abs(float(np.mean(model.predict(matrix))) - 2.0) < 0.15


def test_absolute_error_is_learnt_where_it_is_judged():
    random = np.random.default_rng(0)
    matrix, target = random.normal(size=(900, 2)), random.exponential(1.0, 900)
    job = Job(matrix, target, metric="mae")
    middle = [
        float(np.mean(fit({"epochs": 15}, replace(job, metric=m)).model(15).predict(matrix))) for m in ("mae", "rmse")
    ]
    assert middle[0] < 0.9 < middle[1]  # the median is 0.69, the mean 1


def test_words_never_seen_and_rare_ones_are_answered_like_the_mean_word():
    random = np.random.default_rng(0)
    codes = random.integers(1, 6, 1000).astype(float)
    target = codes * 10 + random.normal(size=1000)
    codes[:3] = 7  # rare
    job = Job(np.column_stack([codes, random.normal(size=1000)]), target, columns=Columns((0,)))
    model = fit({"epochs": 15}, job).model(15)
    rows = np.array([[float(code), 0.0] for code in (1, 2, 3, 4, 5, 7, 0, 99)])
    answers = model.predict(rows)[:, 0]
    assert np.allclose(answers[:5], [10, 20, 30, 40, 50], atol=2.0)
    assert answers[5] == answers[6] == answers[7]
    unseen = replace(job, matrix=job.matrix[3:], target=job.target[3:])
    assert 20 < fit({"epochs": 15}, unseen).model(15).predict(rows)[7, 0] < 40


def test_odd_columns_are_taken_as_they_come():
    random = np.random.default_rng(0)
    n = 300
    columns = [
        np.full(n, np.nan),
        np.full(n, 5.0),
        np.where(random.random(n) < 0.99, 0.0, 1e300),
        (random.random(n) < 0.3).astype(float),
        np.where(random.random(n) < 0.5, np.nan, 1.0),
        random.normal(size=n) * 1e-290,
    ]
    matrix = np.column_stack(columns)
    target = matrix[:, 3] + np.isnan(matrix[:, 4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit({"epochs": 40, "bins": 4, "batch": 16}, Job(matrix, target)).model(40)
        assert loss("rmse", target, model.predict(matrix)) < 0.2


def test_too_many_inputs_have_fewer_pieces_or_are_refused():
    random = np.random.default_rng(0)
    assert learn_inputs(random.normal(size=(50, 200)), (), 32).width <= 2047
    with pytest.raises(NothingLearnt, match="2047"):
        learn_inputs(random.normal(size=(50, 2048)), (), 0)
    with pytest.raises(NothingLearnt):
        learn_inputs(np.ones((50, 3)), (), 0)


def test_a_deadline_ends_it_with_what_it_has():
    fitted, _ = learn({"epochs": 500, "patience": 500}, deadline=time.monotonic() + 0.2)
    assert 1 <= len(fitted.curve) < 500
    assert fitted.model(500).predict(np.zeros((1, 8))).shape == (1, 1)


def test_patience_ends_it_early_and_without_rows_to_watch_it_runs_through():
    random = np.random.default_rng(0)
    noise = Job(random.normal(size=(300, 5)), random.normal(size=300))
    watched = replace(noise, valid=(random.normal(size=(200, 5)), random.normal(size=200)))
    assert len(fit({"epochs": 60, "patience": 5}, watched).curve) < 60
    assert fit({"epochs": 3}, noise).curve == []


def test_a_setting_that_does_not_exist_is_named():
    with pytest.raises(KeyError, match="depth"):
        learn({"depth": 3})


@pytest.mark.parametrize("config", [{}, {"layers": 3}, {"bins": 8}], ids=str)
def test_each_configuration_of_the_portfolio_learns(config):
    fitted, job = learn(config)
    assert job.valid is not None
    assert min(fitted.curve) < 0.6 * np.std(job.valid[1])
