"""Corrections of chances: they mend what is wrong, leave alone what is right, and keep the order of cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import bundle, predictor
from serving import scaling as scaling_numbers
from serving.predictor import Predictor
from serving.scaling import SLIVER, Isotonic, Method, Softmax, VennAbers
from tests.made import version
from tests.oracles import venn_abers_by_two_fits
from training import calibrate, golden, scalings
from training.losses import auc, row_losses

BINARY = pytest.mark.parametrize("method", [m for m in get_args(Method) if m != "temperature_bias"])
STEPS = pytest.mark.parametrize("method", ["isotonic", "venn_abers"])
KINDS = pytest.mark.parametrize("kind", ["binary", "multiclass"])

Bend = Callable[[np.ndarray], np.ndarray]


def odds(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


def chance(raw: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-raw))


def two(p: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - p, p])


def case(n: int, seed: int, told: Bend = lambda p: p) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) chances as they are told of the true ones, and what came true."""
    random = np.random.default_rng(seed)
    true = chance(1.5 * random.normal(size=n) - 0.5)
    return two(told(true)), (random.random(n) < true).astype(float)


@cache
def fitted(method: Method, n: int = 2000, seed: int = 0) -> scaling_numbers.Scaling:
    chances, target = case(n, seed, lambda p: chance(2 * odds(p) + 0.7))
    return scalings.fit(method, chances, target, np.ones(n))


# --- what is applied


@BINARY
@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_of_two_cases_the_likelier_stays_the_likelier_and_nothing_but_the_models_says_0_or_1(method, one, other):
    low, high = sorted((one, other))
    less, more = (fitted(method).of([1 - p, p])[1] for p in (low, high))
    assert less <= more + 1e-15
    if method in ("isotonic", "venn_abers"):
        assert 0 < less <= more < 1
        assert less < more or high - low < 1e-11


@BINARY
def test_the_auc_is_as_before_to_the_pair(method):
    chances, target = case(3000, 7)
    seen = scalings.corrected(fitted(method), chances)
    assert auc(target, seen[:, 1]) == pytest.approx(auc(target, chances[:, 1]), abs=1e-12)
    assert seen.sum(axis=1) == pytest.approx(1)


@BINARY
def test_a_version_with_any_correction_answers_alike_row_by_row_and_after_the_trip_through_a_bundle(method, tmp_path):
    made = version("binary")
    distribution = replace(made.bundle.distribution, scaling=fitted(method))
    changed = replace(made.bundle, distribution=distribution)
    changed = replace(changed, golden=golden.answered(Predictor(changed), changed.golden["rows"]))
    answers = Predictor(changed).answer(made.rows[:200])
    assert [Predictor(changed).answer([row])[0] for row in made.rows[:200]] == answers
    bundle.write(changed, tmp_path / "bundle")
    assert predictor.load(tmp_path / "bundle", "1").answer(made.rows[:200]) == answers
    numbers = json.loads(json.dumps(fitted(method).numbers()))
    assert scaling_numbers.from_numbers(numbers, 2) == fitted(method)


@pytest.mark.parametrize(
    "numbers",
    [
        {"method": "magic"},
        {"method": "platt", "slopes": [1.0, 1.0], "bias": [0.0, float("nan")]},
        {"method": "platt", "slopes": [1.0, 1.0], "bias": [0.0]},
        {"method": "beta", "slopes": [-1.0, 1.0], "bias": [0.0, 0.0]},
        {"method": "isotonic", "at": [], "values": []},
        {"method": "isotonic", "at": [0.2, 0.1], "values": [0.3, 0.4]},
        {"method": "isotonic", "at": [0.1, 0.2], "values": [0.4, 0.3]},
        {"method": "isotonic", "at": [0.1, 0.2], "values": [0.0, 0.3]},
        {"method": "isotonic", "at": [0.1, 0.2], "values": [0.3, 1.0]},
        {"method": "isotonic", "at": [0.1], "values": ["none"]},
        {"method": "venn_abers", "lower_at": [0.5], "lower": [0.0, 1.0], "upper_at": [], "upper": [0.5]},
        {"method": "venn_abers", "lower_at": [0.5], "lower": [0.1], "upper_at": [], "upper": [0.5]},
        {"method": "venn_abers", "lower_at": [], "lower": [0.1], "upper_at": [], "upper": [0.0]},
    ],
)
def test_numbers_that_are_no_correction_are_refused(numbers):
    with pytest.raises(ValueError, match=r"correction|float"):
        scaling_numbers.from_numbers(numbers, 2)


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic", "venn_abers"])
def test_a_correction_of_two_classes_is_refused_for_three(method):
    numbers = fitted(method).numbers()
    numbers |= {name: [1.0, 1.0, 1.0] for name in ("slopes", "bias") if name in numbers}
    with pytest.raises(ValueError, match="3 classes"):
        scaling_numbers.from_numbers(numbers, 3)


@STEPS
def test_a_correction_of_a_large_table_is_a_few_thousand_numbers(method):
    assert len(json.dumps(fitted(method, 50_000).numbers())) < 100_000


# --- what is learnt

scores = st.lists(
    st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from([1.0, 2.0, 0.4])), min_size=1, max_size=25
)


@settings(max_examples=150, deadline=None)
@given(scores, st.floats(-0.1, 1.1).map(lambda x: round(x, 9)) | st.integers(0, 9).map(lambda place: place / 9))
def test_venn_abers_is_two_isotonic_fits_a_case(rows, score):
    """Scores are rounded, since scikit-learn takes those that differ by less than 1e-15 for the same."""
    place, positive, counts = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    made = scalings.fit("venn_abers", two(place / 9), positive, counts)
    assert isinstance(made, VennAbers)
    p0, p1 = venn_abers_by_two_fits(place / 9, positive, counts, score)
    assert made.pair(score) == pytest.approx((p0, p1), abs=1e-9)
    if 0 <= score <= 1:
        assert made.of([1 - score, score])[1] == pytest.approx(p1 / (1 - p0 + p1), abs=SLIVER)


@STEPS
def test_a_row_of_weight_two_counts_as_two_rows(method):
    chances, target = case(300, 3)
    times = np.random.default_rng(0).integers(1, 4, 300)
    weighted = scalings.fit(method, chances, target, times.astype(float))
    repeated = scalings.fit(method, chances.repeat(times, axis=0), target.repeat(times), np.ones(times.sum()))
    new = case(200, 4)[0]
    assert scalings.corrected(weighted, new) == pytest.approx(scalings.corrected(repeated, new), abs=1e-12)


@BINARY
def test_even_of_rows_without_an_error_no_chance_becomes_certain(method):
    n = 50
    target = np.repeat([0.0, 1.0], n)
    told = np.concatenate([np.linspace(0.01, 0.3, n), np.linspace(0.7, 0.99, n)])
    made = scalings.fit(method, two(told), target, np.ones(2 * n))
    low, high = made.of([0.99, 0.01])[1], made.of([0.01, 0.99])[1]
    assert 0 < low < high < 1
    if method == "isotonic":
        assert low == pytest.approx(1 / (n + 1), abs=SLIVER), "one positive case was put below n negative ones"


@STEPS
@pytest.mark.parametrize("target", [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
def test_rows_of_one_class_or_of_one_chance_can_be_fitted(method, target):
    for told in ([0.2, 0.5, 0.9], [0.4, 0.4, 0.4], [0.0, 1.0, 1.0]):
        made = scalings.fit(method, two(np.array(told)), np.array(target), np.ones(3))
        assert scaling_numbers.from_numbers(made.numbers(), 2) == made
        assert all(0 < made.of([1 - p, p])[1] < 1 for p in (0.0, 0.3, 1.0))


def parameters(made: Softmax) -> np.ndarray:
    return np.array([made.slopes[1], made.slopes[0], made.bias[1] - made.bias[0]])


@pytest.mark.parametrize(
    ("method", "told", "a", "b", "c"),
    [
        ("temperature", lambda p: chance(2.5 * odds(p)), 0.4, 0.4, 0.0),
        ("platt", lambda p: chance(2 * odds(p) - 1), 0.5, 0.5, 0.5),
        ("beta", None, 0.5, 1.5, 0.4),
    ],
)
def test_a_known_distortion_is_undone_within_four_standard_errors(method, told, a, b, c):
    """logit of the truth = a log q - b log(1 - q) + c, of a told chance q; errors from Fisher's information."""
    n = 20_000
    if told is None:  # of a beta curve the inverse has no formula: the told chances come first
        random = np.random.default_rng(1)
        q = random.uniform(0.02, 0.98, n)
        target = (random.random(n) < chance(a * np.log(q) - b * np.log(1 - q) + c)).astype(float)
    else:
        chances, target = case(n, 1, told)
        q = chances[:, 1]
    found = scalings.fit(method, two(q), target, np.ones(n))
    assert isinstance(found, Softmax)
    p = chance(a * np.log(q) - b * np.log(1 - q) + c)
    columns = {
        "temperature": [odds(q)],
        "platt": [odds(q), np.ones(n)],
        "beta": [np.log(q), -np.log(1 - q), np.ones(n)],
    }[method]
    design = np.column_stack(columns)
    errors = np.sqrt(np.diag(np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)))
    slope, shift = errors[0], errors[-1] if method != "temperature" else 0.0
    reach = 4 * np.array([slope, errors[1] if method == "beta" else slope, shift]) + 1e-4
    assert (np.abs(parameters(found) - [a, b, c]) < reach).all(), (parameters(found), reach)


@STEPS
@pytest.mark.parametrize(
    "told",
    [lambda p: p**3, lambda p: np.where(p < 0.4, p / 4, 0.4 + p / 4), lambda p: chance(3 * odds(p) + 2)],
    ids=["cube", "gap", "line"],
)
def test_any_rising_distortion_is_undone_as_fast_as_isotonic_regression_can(method, told):
    """Root mean square error of order (variance * rise / n)^(1/3): Zhang 2002, Annals of Statistics 30(2)."""
    n = 4000
    chances, target = case(n, 2, told)
    made = scalings.fit(method, chances, target, np.ones(n))
    random = np.random.default_rng(2)
    truth = chance(1.5 * random.normal(size=n) - 0.5)  # the same cases: `case` draws them first
    seen = scalings.corrected(made, chances)[:, 1]
    assert np.sqrt(np.mean((seen - truth) ** 2)) < 2 * (0.25 / n) ** (1 / 3)


# --- what is chosen


def drawn(kind: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Honest chances and what came true."""
    if kind == "binary":
        return case(n, seed)
    random = np.random.default_rng(seed)
    raw = np.exp(1.5 * random.normal(size=(n, 5)))
    p = raw / raw.sum(axis=1, keepdims=True)
    return p, (random.random(n)[:, None] > np.cumsum(p, axis=1)).sum(axis=1).clip(0, 4).astype(float)


def choice(kind: str, chances: np.ndarray, target: np.ndarray) -> Method:
    ones = np.ones(len(target))
    return calibrate.choose(calibrate.crossed_by(calibrate.METHODS[kind], chances, target, ones, 0), target, ones)


@KINDS
def test_honest_chances_are_left_alone_in_at_least_90_of_100_tables(kind):
    left = sum(choice(kind, *drawn(kind, 400, seed)) == "identity" for seed in range(100))
    assert left >= 90, "it was 100 and 100"


@pytest.mark.parametrize(
    "told",
    [
        lambda p: p,
        lambda p: chance(2.5 * odds(p)),
        lambda p: chance(0.5 * odds(p)),
        lambda p: chance(odds(p) + 0.4),
        lambda p: p**2,
        lambda p: np.round(p, 1).clip(0.05, 0.95),
    ],
    ids=["honest", "too sure", "not sure enough", "too high", "square", "rounded"],
)
def test_on_unseen_rows_the_log_loss_is_never_clearly_worse_than_without(told):
    for seed in range(10):
        chances, target = case(600, seed, told)
        made = scalings.fit(choice("binary", chances, target), chances, target, np.ones(600))
        new, came = case(4000, 1000 + seed, told)
        rise = row_losses("log_loss", came, scalings.corrected(made, new)) - row_losses("log_loss", came, new)
        assert rise.mean() < 2 * rise.std() / np.sqrt(4000) + 0.001


def test_a_shape_that_no_curve_has_is_mended_by_steps():
    made = choice("binary", *case(6000, 0, lambda p: np.where(p < 0.5, 0.2 * p, 0.3 + 0.2 * p)))
    assert made in ("isotonic", "venn_abers")


def test_a_large_table_is_thinned_class_by_class_before_the_fit():
    target, oof = drawn("multiclass", 250_000, 0)[::-1]
    told = oof**2 / (oof**2).sum(axis=1, keepdims=True)
    rare, told = np.concatenate([target, [4.0] * 6]), np.concatenate([told, told[:6]])
    assert told.size > scalings.MOST_CHANCES
    found = scalings.fit("temperature_bias", told, rare, np.ones(len(rare)))
    assert isinstance(found, Softmax)
    assert found.slopes[0] == pytest.approx(0.5, abs=0.02)
    assert np.abs(found.bias).max() < 0.1


def test_isotonic_is_a_line_between_its_knots_and_level_beyond_them():
    made = Isotonic((0.2, 0.4), (0.1, 0.5))
    assert [made.of([1 - p, p])[1] for p in (0.0, 0.2, 0.3, 0.4, 1.0)] == pytest.approx(
        [0.1, 0.1, 0.3, 0.5, 0.5], abs=SLIVER
    )
