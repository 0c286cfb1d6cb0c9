"""How familiar a row is, and what a missing field costs."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log

import numpy as np
import pytest

from feature_store.task import Task
from serving import bundle as bundles
from serving import encode
from serving.bundle import Reference
from serving.familiar import Bins, Familiarity
from serving.predictor import Predictor
from tests.made import table, version
from training import familiar, missing

TASK = Task.model_validate(
    {
        "task": "t", "title": "T", "intended_use": "A test.",
        "target": {"name": "y", "label": "Y", "unit": "g", "limits": [0, 1]},
        "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
        "fields": [
            {"name": "height", "type": "number", "limits": [0, 300]},
            {"name": "weight", "type": "number", "limits": [0, 300]},
            {"name": "age", "type": "number", "limits": [0, 120], "integer": True},
            {"name": "town", "type": "category"},
        ],
    }
)  # fmt: skip


def people(n: int, seed: int = 0) -> np.ndarray:
    """Encoded rows: height and weight go together, a word that is rare, some values unknown."""
    random = np.random.default_rng(seed)
    height = random.normal(165, 8, n)
    weight = 62 + 0.9 * (height - 165) + random.normal(0, 3, n)
    town = random.choice([1.0, 2.0, 3.0], n, p=[0.6, 0.39, 0.01])
    matrix = np.column_stack([height, weight, random.integers(18, 46, n), town])
    matrix[random.random(n) < 0.05, 1] = np.nan
    matrix[random.random(n) < 0.05, 3] = encode.UNKNOWN
    return matrix


@pytest.fixture(scope="module")
def learnt() -> Familiarity:
    encoder = encode.Encoder(TASK, {"town": ["a", "b", "c"]}, {}, {})
    return familiar.fit(encoder, people(20_000), seed=0)


def test_rows_like_the_training_rows_are_marked_about_as_seldom_as_is_said(learnt):
    rows = people(20_000, seed=1)
    share = np.mean([learnt.judge(row) is not None for row in rows.tolist()])
    assert learnt.level == pytest.approx(0.001, rel=0.1)
    # the threshold itself is a quantile of 10,000 rows: its share has a standard error of sqrt(0.001 / 10,000) too
    assert share < 0.001 + 4 * np.sqrt(0.001 / 20_000 + 0.001 / 10_000)


def test_a_pair_that_never_goes_together_is_marked_though_each_value_is_common(learnt):
    tall_and_light, common = [183.0, 47.0, 30.0, 1.0], [165.0, 62.0, 30.0, 1.0]
    assert learnt.judge(common) is None
    assert learnt.judge([183.0, 79.0, 30.0, 1.0]) is None
    hit = learnt.judge(tall_and_light)
    assert hit is not None
    assert {hit.field, hit.beside} == {0, 1}


def test_what_is_not_known_marks_no_row(learnt):
    unknown = [float("nan"), float("nan"), float("nan"), encode.UNKNOWN]
    assert learnt.surprises(unknown) == [0.0] * 4
    assert learnt.judge([183.0, float("nan"), float("nan"), encode.UNKNOWN]) is None


def test_few_rows_set_the_threshold_at_their_most_surprising_one():
    encoder = encode.Encoder(TASK, {"town": ["a", "b", "c"]}, {}, {})
    few = familiar.fit(encoder, people(100), seed=0)
    assert few.level == pytest.approx(1 / 51)
    assert np.isfinite(few.threshold)


def test_the_surprise_is_minus_the_logarithm_of_the_share_of_a_bin():
    bins = Bins(edges=(1.0, 2.0))
    assert [bins.of(value) for value in (0.0, 1.0, 1.5, 2.0, 9.0)] == [0, 0, 1, 1, 2]
    assert bins.codes(np.array([0.0, 1.0, 1.5, 2.0, 9.0, np.nan])).tolist() == [0, 0, 1, 1, 2, -1]
    tree = Familiarity((bins,), (-1,), (((-log(0.5), -log(0.25), -log(0.25)),),), 1.0, 0.1)
    assert tree.surprises([1.5]) == [-log(0.25)]
    assert tree.judge([0.0]) is None
    assert tree.judge([1.5]) is not None


def test_it_travels_as_numbers_and_nonsense_is_refused(learnt):
    text = json.dumps(learnt.to_json(), allow_nan=False)
    assert Familiarity.from_json(json.loads(text), 4) == learnt
    with pytest.raises(ValueError, match="the Task has 5"):
        Familiarity.from_json(json.loads(text), 5)


def test_thousands_of_fields_are_looked_at_one_by_one():
    fields = [{"name": f"x{n}", "type": "number", "limits": [-9, 9]} for n in range(300)]
    task = Task.model_validate({**TASK.model_dump(mode="json"), "fields": fields})
    wide = familiar.fit(encode.Encoder(task, {}, {}, {}), np.random.default_rng(0).normal(size=(400, 300)), seed=0)
    assert set(wide.parents) == {-1}
    assert wide.judge([8.0] * 300) is not None


def test_a_missing_field_that_matters_costs_width_and_one_that_does_not_costs_none():
    made = version("regression")
    matrix = made.bundle.encoder.columns(table("regression", 3000, 0).columns)
    found = missing.costs(Predictor(made.bundle), matrix, seed=0)
    assert set(found) == {field.name for field in made.bundle.task.fields if not field.required}
    told = Predictor(replace(made.bundle, reference=Reference(costs={"days": 3.2, "alone": 0.001})))
    warnings = {w["field"]: w for w in told.answer([{"age": 70, "ward": "surgery"}])[0]["warnings"]}
    assert "narrower by 3" in warnings["days"]["message"]
    assert warnings["days"]["cost"] == 3.2
    assert "hardly changes" in warnings["alone"]["message"]


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_a_version_carries_its_reference_and_marks_what_is_unlike_its_rows(kind, tmp_path):
    made = version(kind)
    rows = table(kind, 3000, 0)
    encoder = made.bundle.encoder
    known = familiar.fit(encoder, encoder.columns(rows.columns), seed=0)
    strict = Reference(
        replace(known, threshold=0.0), missing.costs(Predictor(made.bundle), encoder.columns(rows.columns), 0)
    )
    bundles.write(replace(made.bundle, reference=strict), tmp_path / "bundle")
    again = bundles.read(tmp_path / "bundle")
    assert again.reference == strict
    answer = Predictor(again).answer(made.rows[:1])[0]
    assert [w["field"] for w in answer["warnings"] if w["code"] == "unfamiliar"] != []
