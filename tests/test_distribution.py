"""The predictive distribution: value, interval and chances agree, because they are read off one object."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import taskfile
from serving import encode
from serving.distribution import ALL, Cell, Distribution, GroupNames
from tests.oracles import below_by_counting
from training import conformal

TASK = taskfile.parse("""
task: made
title: Made
intended_use: To be tested
target: {name: y, unit: g, limits: [-1000, 1000], label: Y}
data: {sources: {t: t.parquet}, sql: SELECT * FROM t}
fields:
  - {name: x, type: number, limits: [-9, 9]}
  - {name: kind, type: category, choices: [calm, wild, rare]}
  - {name: sick, type: flag}
answers:
  interval: 0.9
  events:
    - {name: low, below: -1, label: Low}
    - {name: not_low, at_least: -1, label: Not low}
    - {name: middle, between: [-1, 1], label: Middle}
groups: [{field: kind}, {field: sick}, {field: x, cuts: [-1, 1]}]
""")

COLUMNS = {
    "x": np.array([0.0, 1.0, -2.0, np.nan]),
    "kind": np.array(["calm", "wild", "rare", None], dtype=object),
    "sick": np.array([1.0, 0.0, np.nan, 1.0]),
}
ENCODER = encode.fit(TASK, COLUMNS)

scores = st.lists(st.floats(-50, 50), min_size=1, max_size=60)


@given(scores, st.floats(-60, 60))
def test_a_probability_is_a_count(values, at):
    assert Cell(ALL, np.sort(values)).below(at) == below_by_counting(values, at)


@given(scores, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_quantiles_increase_with_level(values, one, other):
    cell = Cell(ALL, np.sort(values))
    low, high = sorted((one, other))
    assert cell.quantile(low) <= cell.quantile(high)


@settings(max_examples=60)
@given(scores, st.floats(-20, 20), st.floats(0.1, 5))
def test_an_answer_does_not_contradict_itself(values, centre, scale):
    cells = {ALL: Cell(ALL, np.sort(values))}
    answer = Distribution(TASK, cells, GroupNames(ENCODER)).answer(ENCODER.rows([{}])[0], centre, scale)
    assert answer.low <= answer.high
    chances = answer.events
    assert chances["low"] + chances["not_low"] == pytest.approx(1.0)
    assert chances["low"] + chances["middle"] <= 1.0 + 1e-12
    if answer.low > -1:
        assert chances["low"] <= 0.05 + 1 / (len(values) + 1)
    if answer.high < -1:
        assert chances["not_low"] <= 0.05 + 1 / (len(values) + 1)


def test_a_constant_added_to_the_target_moves_the_whole_answer_by_it():
    distribution = Distribution(
        TASK, {ALL: Cell(ALL, np.sort(np.random.default_rng(0).normal(size=99)))}, GroupNames(ENCODER)
    )
    row = ENCODER.rows([{}])[0]
    here, there = distribution.answer(row, 0.0, 2.0), distribution.answer(row, 7.0, 2.0)
    assert (there.value - here.value, there.low - here.low, there.high - here.high) == pytest.approx((7.0, 7.0, 7.0))


def test_an_answer_stays_within_the_targets_limits():
    distribution = Distribution(TASK, {ALL: Cell(ALL, np.array([-1.0, 0.0, 1.0]))}, GroupNames(ENCODER))
    answer = distribution.answer(ENCODER.rows([{}])[0], 5000.0, 10.0)
    assert (answer.low, answer.value, answer.high) == (1000.0, 1000.0, 1000.0)


def test_groups_are_named_in_words():
    names = GroupNames(ENCODER)
    assert names.of(ENCODER.rows([{"x": 0, "kind": "wild", "sick": True}])[0]) == ("kind=wild", "sick=yes", "x=-1-1")
    assert names.of(ENCODER.rows([{"x": -3, "sick": False}])[0]) == ("kind=unknown", "sick=no", "x<-1")
    assert names.of(ENCODER.rows([{"x": 1}])[0]) == ("kind=unknown", "sick=unknown", "x>=1")


def test_coverage_holds_in_every_group_with_rows_enough():
    random = np.random.default_rng(1)
    n = 30_000
    kind = random.choice([1.0, 2.0, 3.0], n, p=[0.6, 0.395, 0.005])
    matrix = np.column_stack([random.normal(size=n), kind, np.zeros(n)])
    spread = np.where(kind == 2.0, 5.0, 1.0)
    target = matrix[:, 0] + spread * random.normal(size=n)
    half = n // 2
    centre, size = matrix[:, 0], np.ones(n)
    made = conformal.calibrate(TASK, ENCODER, matrix[:half], target[:half], centre[:half], size[:half])
    answers = [
        made.distribution.answer(row, c, made.floor) for row, c in zip(matrix[half:], centre[half:], strict=True)
    ]
    inside = np.array([a.low <= y <= a.high for a, y in zip(answers, target[half:], strict=True)])
    for code in (1.0, 2.0):
        share, count = inside[kind[half:] == code].mean(), (kind[half:] == code).sum()
        assert abs(share - 0.9) < 4 * np.sqrt(0.09 / count) + 4 * np.sqrt(0.09 / (half * 0.05))
    assert "kind=rare" not in made.distribution.cells, "75 rows are too few: they use the cell of all rows"
    assert made.group_rows["kind=rare"] < conformal.MIN_CELL
    rare = [a.group for a, k in zip(answers, kind[half:], strict=True) if k == 3.0]
    assert set(rare) == {ALL}


def test_the_numbers_of_a_distribution_survive_the_trip_through_a_bundle():
    cells = {
        name: Cell(name, np.sort(np.random.default_rng(i).normal(size=9 + i)))
        for i, name in enumerate((ALL, "kind=wild"))
    }
    layout, numbers = Distribution(TASK, cells, GroupNames(ENCODER)).numbers()
    again = Distribution.from_numbers(ENCODER, layout, numbers)
    assert {n: c.scores.tolist() for n, c in again.cells.items()} == {n: c.scores.tolist() for n, c in cells.items()}
