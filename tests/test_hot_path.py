"""What was made fast gives the bits of the plain way: the encoder, familiarity, one row of trees."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.task import days
from serving.distribution import Cell
from serving.encode import Encoder
from serving.ensemble import combine
from serving.familiar import UNKNOWN
from serving.predictor import Predictor
from tests import made
from tests.test_reader import EVERY_KIND

ENCODER = Encoder(
    EVERY_KIND,
    {"word": ["a", "é"], "choice": ["yes", "no", "是"]},
    {"number": 1.25, "choice": 2.0},
    {},
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.floats(-2.5, 7.25) | st.integers(-2, 7),
    "whole": st.integers(-3, 10**30) | st.integers(-3, 10**6).map(float),
    "between": st.floats(0.25, 0.75),
    "word": st.sampled_from(["a", "é", "never seen"]),
    "choice": st.sampled_from(["yes", "no", "是"]),
    "flag": st.booleans(),
    "day": st.dates().map(str),
    "any_day": st.dates().map(str),
}
ROWS = st.lists(st.fixed_dictionaries({}, optional={k: v | st.none() for k, v in VALUES.items()}), max_size=4)


def plainly(name: str, value: Any) -> float:
    """The number of one value, as docs say it."""
    kind = EVERY_KIND.by_name[name].type
    if value is None:
        return ENCODER.fill.get(name, 0.0 if kind == "category" else float("nan"))
    if kind == "category":
        words = ENCODER.categories[name]
        return words.index(value) + 1.0 if value in words else ENCODER.fill.get(name, 0.0)
    return days(value) if kind == "date" else float(value)


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_rows_are_encoded_value_by_value(rows):
    plain = [[plainly(field.name, row.get(field.name)) for field in EVERY_KIND.fields] for row in rows]
    expected = b"".join(struct.pack("<d", value) for row in plain for value in row)
    assert ENCODER.rows(rows).tobytes() == expected


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_surprises_are_those_of_each_bin_and_its_parents(kind):
    bundle = made.referred(kind)
    known = bundle.reference.familiarity
    assert known is not None
    for row in bundle.encoder.rows([*made.version(kind).rows[:200], {}]).tolist():
        bins = [known.bins[place].of(value) for place, value in enumerate(row)]
        plain = []
        for place, table in enumerate(known.tables):
            parent = known.parents[place]
            above = bins[parent] if parent >= 0 else UNKNOWN
            plain.append(0.0 if bins[place] == UNKNOWN else table[above][bins[place]])
        assert known.surprises(row) == plain


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_one_row_and_a_batch_and_a_row_after_it_give_the_same_bits(kind):
    bundle, rows = made.referred(kind), made.version(kind).rows[:60]
    matrix = bundle.encoder.rows(rows)
    singles = [combine(bundle.members, matrix[place : place + 1]) for place in range(len(rows))]
    assert np.concatenate(singles).tobytes() == combine(bundle.members, matrix).tobytes()
    predictor = Predictor(bundle)
    assert [predictor.answer([row])[0] for row in rows] == predictor.answer(rows)


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30), st.floats(-10, 10))
def test_the_share_below_counts_the_scores_below(scores, score):
    cell = Cell("all", np.sort(np.array(scores)))
    assert cell.below(score) == (sum(one < score for one in scores) + 0.5) / (len(scores) + 1)
