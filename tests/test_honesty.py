"""Honest chances: calibration error, line and Brier score say what they should, also of few or weighted rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.distribution import happened
from tests import holdouts
from training import evaluate, honesty

cases = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20).map(lambda place: place / 20), st.floats(0.2, 3)),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(cases)
def test_the_parts_of_the_brier_score_add_up_to_it(rows):
    true, chance, weight = (np.array(column) for column in zip(*rows, strict=True))
    parts = honesty.brier_parts(true, chance, weight)
    score = np.average((chance - true) ** 2, weights=weight)
    assert parts["reliability"] - parts["resolution"] + parts["uncertainty"] == pytest.approx(score, abs=1e-12)
    assert parts["reliability"] >= 0
    rate = np.average(true, weights=weight)
    assert parts["uncertainty"] == pytest.approx(np.average((rate - true) ** 2, weights=weight), abs=1e-12)


def test_where_a_bin_holds_one_chance_the_parts_are_murphy_s():
    random = np.random.default_rng(0)
    chance = random.choice([0.1, 0.35, 0.8], 3000, p=[0.3, 0.3, 0.4])
    true = random.random(3000) < chance**1.5
    parts, rate = honesty.brier_parts(true, chance), true.mean()
    groups = [(np.mean(chance == value), true[chance == value].mean(), value) for value in (0.1, 0.35, 0.8)]
    assert parts["reliability"] == pytest.approx(sum(n * (came - value) ** 2 for n, came, value in groups))
    assert parts["resolution"] == pytest.approx(sum(n * (came - rate) ** 2 for n, came, _ in groups))


def test_the_base_rate_given_to_all_is_honest_and_tells_nothing():
    true = np.arange(200) % 4 == 0
    parts = honesty.brier_parts(true, np.full(200, 0.25))
    assert parts == pytest.approx({"reliability": 0, "resolution": 0, "uncertainty": 0.1875}, abs=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [60, 400])
def test_honest_chances_have_the_error_that_chance_alone_explains(n, weighted):
    """Mean of 300 tables: within 4 standard errors, and a tenth for the normal approximation of small bins."""
    random, errors, expected = np.random.default_rng(1), [], []
    for _ in range(300):
        chance = random.beta(1.5, 3, n)
        true, weight = random.random(n) < chance, random.uniform(0.5, 2, n) if weighted else None
        errors.append(honesty.calibration_error(true, chance, weight))
        expected.append(honesty.error_by_chance(true, chance, weight))
    reach = 4 * np.std(errors) / np.sqrt(300) + 0.1 * np.mean(expected)
    assert np.mean(errors) == pytest.approx(np.mean(expected), abs=reach)


def test_the_bins_of_a_plot_hold_all_cases_and_have_a_band_also_where_nothing_came_true():
    chance = np.linspace(0.001, 0.2, 100)
    true = chance > 0.19
    parts = honesty.reliability(true, chance)
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert [part.given for part in parts] == sorted(part.given for part in parts)
    assert parts[0].came == parts[0].low == 0
    assert parts[0].high == pytest.approx(0.278, abs=0.001), "Wilson's interval of 0 of 10"
    assert all(part.low <= part.came <= part.high for part in parts)


def test_chances_that_are_too_extreme_have_a_slope_below_one():
    random = np.random.default_rng(0)
    odds = random.normal(size=40_000)
    came = (random.random(40_000) < 1 / (1 + np.exp(-odds))).astype(float)
    honest, extreme = (1 / (1 + np.exp(-odds * factor)) for factor in (1, 2))
    assert honesty.calibration_line(came, honest) == pytest.approx((0, 1), abs=0.05)  # 4 standard errors
    _, slope = honesty.calibration_line(came, extreme)
    assert slope == pytest.approx(0.5, abs=0.025)
    assert honesty.calibration_error(came == 1, honest) < 0.015 < honesty.calibration_error(came == 1, extreme)
    lifted = 1 / (1 + np.exp(-(odds + 1)))
    assert honesty.calibration_line(came, lifted)[0] == pytest.approx(-1, abs=0.05)
    assert honesty.calibration_line(np.ones(5), np.full(5, 0.9)) == (0.0, 1.0)


def test_equal_answers_stay_in_one_part():
    answers = np.array([0.2] * 60 + [0.9] * 40)
    parts = honesty.bins(answers)
    assert [set(answers[part]) for part in parts] == [{0.2}, {0.9}]
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_the_parts_add_up_to_the_brier_score_of_the_card_and_of_every_group(kind):
    seen = holdouts.seen(kind, weighted=True)
    for row in (seen.card["metrics"], *seen.card["groups"].values()):
        parts = row["brier_reliability"] - row["brier_resolution"] + row["brier_uncertainty"]
        assert parts == pytest.approx(row["brier"], abs=1e-12)


def test_an_event_is_judged_like_a_binary_target():
    seen = holdouts.seen("regression", weighted=True)
    measured, holdout = seen.card["metrics"], seen.holdout
    for event in seen.task.answers.events:
        own = {key.removeprefix(f"{event.name}_"): value for key, value in measured.items() if event.name in key}
        assert own["reliability"] - own["resolution"] + own["uncertainty"] == pytest.approx(own["brier"])
        assert own["uncertainty"] == pytest.approx(own["rate"] * (1 - own["rate"])), "Brier score of the base rate"
        true, chance = happened(event, holdout.target), holdout.chance(event.name)
        found = honesty.calibration_line(true, chance, holdout.weight)
        assert (own["intercept"], own["slope"]) == pytest.approx(found)
        assert own["ece"] == pytest.approx(honesty.calibration_error(true, chance, holdout.weight))


def test_a_group_in_which_hardly_anything_came_true_has_no_slope():
    seen = holdouts.seen("binary")
    few = np.concatenate([np.flatnonzero(seen.holdout.target == 0)[:300], np.flatnonzero(seen.holdout.target == 1)[:9]])
    for row in evaluate.by_group(seen.task, seen.holdout.take(few)).values():
        assert "calibration_slope" not in row
        assert row["ece_by_chance"] > 0
