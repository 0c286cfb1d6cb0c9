"""What `check` asks of a class target and of a column of weights, and how any class column is read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from feature_store import offline
from feature_store.check import check
from feature_store.task import Task
from tests.test_check import brief, tables

N = 60
random = np.random.default_rng(3)
ANSWERS = random.choice(["yes", "no"], N, p=[0.3, 0.7])
TYPES = random.choice(["A", "B", "C"], N)
X = {"name": "x", "type": "number", "limits": [-9, 9]}


def make(kind: str, *fields: dict[str, Any], weight: str | None = None, **target: Any) -> Task:
    return Task.model_validate(
        {
            "task": "made",
            "title": "Made",
            "intended_use": "A test.",
            "kind": kind,
            "target": {"name": "y", "label": "Y", **target},
            "data": {"sources": {"made": "made.parquet"}, "sql": "SELECT * FROM made", "weight": weight},
            "fields": [X, *fields],
            "split": {"folds": 5},
        }
    )


BINARY = make("binary", positive="yes")
MANY = make("multiclass")


def table(y: Any, **more: Any) -> pa.Table:
    return pa.table({"x": random.normal(size=len(y)).clip(-9, 9), "y": y, **more})


def found(task: Task, given: pa.Table) -> list[tuple[str, str, str, int, tuple[int, ...]]]:
    return [brief(finding) for finding in check(task, given)]


def said(task: Task, given: pa.Table) -> str:
    return "\n".join(str(finding) for finding in check(task, given))


# --- types


@pytest.mark.parametrize(
    ("values", "positive", "classes"),
    [
        (ANSWERS, "yes", ["no", "yes"]),
        (ANSWERS == "yes", "true", ["false", "true"]),
        ((ANSWERS == "yes").astype(np.int8), "1", ["0", "1"]),
        ((ANSWERS == "yes").astype(float), "1", ["0", "1"]),
        ((ANSWERS == "no").astype(np.float32), "0", ["1", "0"]),
        (pa.array([Decimal(int(a == "yes")) for a in ANSWERS]), "1", ["0", "1"]),
        (pa.array(ANSWERS).dictionary_encode(), "no", ["yes", "no"]),
        (pa.array(ANSWERS, pa.string_view()), "yes", ["no", "yes"]),
        (pa.array(ANSWERS, pa.large_string()), "yes", ["no", "yes"]),
    ],
    ids=["words", "booleans", "integers", "floats", "float32", "decimals", "enum", "views", "large"],
)
def test_a_class_is_its_text_whatever_type_the_column_has(values, positive, classes):
    task, given = make("binary", positive=positive), table(values)
    assert found(task, given) == []
    assert offline.classes(task, given) == classes
    places = offline.target(task, given)
    assert sorted(set(places)) == [0.0, 1.0]
    assert (places == 1.0).sum() == sum(
        str(v).lower().removesuffix(".0") == positive for v in pa.array(values).to_pylist()
    )


@pytest.mark.parametrize(
    "values",
    [
        pa.array([None, *ANSWERS[1:]]),
        pa.array([None, *(ANSWERS[1:] == "yes").tolist()]),
        np.array([np.nan, *(ANSWERS[1:] == "yes").astype(float)]),
        pa.array([None, *ANSWERS[1:]]).dictionary_encode(),
    ],
    ids=["words", "booleans", "NaN", "enum"],
)
def test_an_unknown_class_is_left_out_and_told(values):
    words = {pa.types.is_floating: "1", pa.types.is_boolean: "true"}
    positive = next((word for is_so, word in words.items() if is_so(pa.array(values).type)), "yes")
    task = make("binary", positive=positive)
    assert found(task, table(values)) == [("y", "missing_target", "warning", 1, (0,))]
    assert len(offline.classes(task, table(values))) == 2
    assert np.flatnonzero(np.isnan(offline.target(task, table(values)))).tolist() == [0]


def test_whole_numbers_stand_in_their_order_and_not_in_that_of_their_letters():
    grades = np.arange(N) % 12
    assert offline.classes(MANY, table(grades)) == [str(grade) for grade in range(12)]
    assert offline.classes(MANY, table(pa.array(["b", "10", "9", "a"]))) == ["9", "10", "a", "b"]


def test_declared_classes_keep_their_order_and_a_word_outside_them_is_an_error_and_unknown():
    task, given = make("multiclass", classes=["C", "A"]), table(TYPES)
    beyond = int((TYPES == "B").sum())
    finding = check(task, given)[0]
    assert brief(finding)[:4] == ("y", "not_a_choice", "error", beyond)
    assert "'B'" in finding.message
    assert "C, A" in finding.remedy
    assert offline.classes(task, given) == ["C", "A"]
    assert np.isnan(offline.target(task, given)).sum() == beyond


@pytest.mark.parametrize("values", [[[1]] * N, pa.array([0] * N, pa.date32()), pa.array([0] * N, pa.timestamp("us"))])
def test_a_column_that_can_hold_no_classes_is_refused_by_its_type(values):
    assert ("y", "wrong_type", "error") in [finding[:3] for finding in found(MANY, table(values))]


def test_numbers_that_are_not_whole_are_no_classes():
    values = (TYPES == "A").astype(float)
    values[[4, 9]] = 0.5, np.inf
    task = make("multiclass")
    finding = check(task, table(values))[0]
    assert brief(finding) == ("y", "not_a_class", "error", 2, (4, 9))
    assert "'0.5', 'inf'" in finding.message
    assert "kind: regression" in finding.remedy


def test_an_empty_word_is_no_class():
    assert ("y", "not_a_class", "error", 1, (0,)) in found(MANY, table(["", *TYPES[1:]]))


# --- which classes


def test_a_table_of_one_class_is_an_error():
    codes = [(code, severity) for _, code, severity, *_ in found(BINARY, table(["yes"] * N))]
    assert codes == [("constant", "error")]


def test_a_positive_class_that_does_not_occur_is_an_error_that_names_those_that_do():
    finding = check(make("binary", positive="Yes"), table(ANSWERS))[0]
    assert brief(finding) == ("y", "absent_class", "error", N, ())
    assert "no row is 'Yes', the positive class; there are 'no', 'yes'" in finding.message


def test_a_declared_class_that_does_not_occur_is_an_error():
    finding = check(make("multiclass", classes=["A", "B", "C", "D"]), table(TYPES))[0]
    assert brief(finding) == ("y", "absent_class", "error", N, ())
    assert "'D'" in finding.message


def test_a_third_class_of_a_binary_target_is_an_error_with_the_two_ways_on():
    finding = check(make("binary", positive="A"), table(TYPES))[0]
    assert brief(finding) == ("y", "too_many_classes", "error", N, ())
    assert "`y = 'A' AS y`" in finding.remedy
    assert "kind: multiclass" in finding.remedy


def test_a_class_of_one_row_is_an_error_and_one_with_fewer_rows_than_folds_a_warning():
    once, thrice, five = (["D"] * count + TYPES[count:].tolist() for count in (1, 3, 5))
    assert found(MANY, table(once)) == [("y", "rare_class", "error", 1, (0,))]
    assert found(MANY, table(thrice)) == [("y", "rare_class", "warning", 3, (0, 1, 2))]
    assert found(MANY, table(five)) == []


def test_a_hundred_classes_are_fine_and_one_more_is_an_error_that_says_what_to_do():
    hundred = np.repeat(np.arange(100), 6).astype(str)
    assert found(MANY, table(hundred)) == []
    more = np.repeat(np.arange(101), 6)
    assert found(MANY, table(more)) == [("y", "too_many_classes", "error", 606, ())]
    assert "write `kind: regression`; if not, group them" in said(MANY, table(more))


# --- leaks


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ({"type": "flag"}, ANSWERS == "yes"),
        ({"type": "flag"}, ANSWERS == "no"),
        ({"type": "number", "limits": [0, 99]}, np.where(ANSWERS == "yes", 7.5, 3)),
        ({"type": "category"}, np.where(ANSWERS == "yes", "ill", "well")),
    ],
)
def test_a_field_that_stands_for_the_classes_one_to_one_is_an_error(field, values):
    task = make("binary", {"name": "copy", **field}, positive="yes")
    assert found(task, table(ANSWERS, copy=values)) == [("copy", "duplicate_columns", "error", N, ())]


def test_a_field_that_tells_nearly_the_class_is_left_in_peace():
    task = make("binary", {"name": "test", "type": "flag"}, positive="yes")
    test = ANSWERS == "yes"
    test[5] = ~test[5]
    assert found(task, table(ANSWERS, test=test)) == []


# --- weights


WEIGHTED = make("binary", positive="yes", weight="w")


def test_the_column_of_weights_is_no_extra_column():
    assert found(WEIGHTED, table(ANSWERS, w=random.random(N) + 0.1)) == []
    assert found(WEIGHTED, table(ANSWERS, w=pa.array([Decimal("0.5")] * N))) == []
    assert found(BINARY, table(ANSWERS, w=random.random(N))) == [("w", "extra_column", "warning", N, ())]


def test_a_weight_that_is_absent_or_no_number_is_an_error():
    assert found(WEIGHTED, table(ANSWERS)) == [("w", "missing_column", "error", N, ())]
    assert found(WEIGHTED, table(ANSWERS, w=["1"] * N)) == [("w", "wrong_type", "error", N, ())]
    assert found(WEIGHTED, table(ANSWERS, w=[True] * N)) == [("w", "wrong_type", "error", N, ())]


def test_every_weight_is_above_0():
    weights = np.ones(N)
    weights[[1, 2, 3, 4]] = 0, -1, np.nan, np.inf
    finding = check(WEIGHTED, table(ANSWERS, w=weights))[0]
    assert brief(finding) == ("w", "bad_weight", "error", 4, (1, 2, 3, 4))
    assert "WHERE w > 0" in finding.remedy
    assert found(WEIGHTED, table(ANSWERS, w=pa.array([None, *[1] * (N - 1)]))) == [
        ("w", "bad_weight", "error", 1, (0,))
    ]


# --- anything at all

FREE = Task.model_validate(
    make("multiclass", weight="age").model_dump(mode="json")
    | {"target": {"name": "weight_g", "label": "W"}, "fields": [{"name": "ill", "type": "flag"}]}
)


@settings(max_examples=200, deadline=None)
@given(tables())
def test_no_table_makes_it_raise(given):
    for task in (
        FREE,
        FREE.model_copy(update={"kind": "binary", "target": FREE.target.model_copy(update={"positive": "1"})}),
    ):
        for finding in check(task, given):
            assert finding.count <= given.num_rows
            assert all(0 <= row < given.num_rows for row in finding.rows)
