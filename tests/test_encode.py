"""One encoder: a row as an application sends it and the same row of a table give the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from feature_store import offline, taskfile
from serving import encode
from serving.request import check
from tests.conftest import ROOT

TASK = taskfile.parse("""
task: mixed
title: Mixed
intended_use: To be tested
target: {name: y, unit: g, limits: [0, 10], label: Y}
data: {sources: {t: t.parquet}, sql: SELECT * FROM t}
fields:
  - {name: n, type: number, limits: [-5, 5]}
  - {name: full, type: number, limits: [0, 9]}
  - {name: c, type: category}
  - {name: sure, type: category, choices: [a, b, c]}
  - {name: f, type: flag}
  - {name: d, type: date}
""")

COLUMNS = {
    "n": np.array([1.5, np.nan, -2.0]),
    "full": np.array([1.0, 5.0, 9.0]),
    "c": np.array(["x", None, "中文"], dtype=object),
    "sure": np.array(["b", "b", "c"], dtype=object),
    "f": np.array([1.0, 0.0, np.nan]),
    "d": np.array([0.0, 19000.0, np.nan]),
}


def test_rows_and_columns_give_the_same_bits():
    encoder = encode.fit(TASK, COLUMNS)
    rows = encode.as_rows(TASK, COLUMNS)
    assert not check(TASK, rows)
    assert encoder.rows(rows).tobytes() == encoder.columns(COLUMNS).tobytes()


@pytest.mark.parametrize("name", ["birth_weight", "birth_weight_hospital"])
def test_rows_and_columns_of_real_tables_give_the_same_bits(name, shared_data):
    task = taskfile.read(ROOT / f"experiments/tasks/{name}.yaml")
    columns = offline.columns(task, offline.fetch(task, shared_data).table)
    encoder = encode.fit(task, columns)
    assert encoder.rows(encode.as_rows(task, columns)).tobytes() == encoder.columns(columns).tobytes()


def test_a_category_that_was_never_seen_counts_as_unknown():
    encoder = encode.fit(TASK, COLUMNS)
    unseen, unknown = encoder.rows([{"c": "never"}, {"c": None}])
    assert unseen.tobytes() == unknown.tobytes()


def test_what_was_never_missing_in_training_is_filled_and_said():
    encoder = encode.fit(TASK, COLUMNS)
    row = encoder.rows([{}])[0]
    assert row[1] == 5.0, "the median"
    assert row[3] == encoder.codes["sure"]["b"], "the commonest"
    assert np.isnan(row[0]), "unknown stays unknown where training knew unknowns"


def test_dates_are_days():
    encoder = encode.fit(TASK, COLUMNS)
    assert encoder.rows([{"d": "1970-01-01"}, {"d": "2022-01-08"}])[:, 5].tolist() == [0.0, 19000.0]


def test_an_encoder_survives_the_trip_through_a_bundle():
    encoder = encode.fit(TASK, COLUMNS)
    again = encode.Encoder.from_json(TASK, encoder.to_json())
    assert again.columns(COLUMNS).tobytes() == encoder.columns(COLUMNS).tobytes()
