"""What `check` finds in a table before anything is learnt from it, and what it leaves in peace."""

from __future__ import annotations

import os
import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import offline, taskfile
from feature_store.check import Finding, check
from feature_store.task import Task

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TASKS = Path(__file__).resolve().parents[1] / "experiments" / "tasks"
needs_shared = pytest.mark.skipif(
    not SHARED.exists() and os.environ.get("GANCAO_REQUIRE_ALL") != "1", reason="../shared/data is absent"
)

N = 40
AGE = {"name": "age", "type": "number", "unit": "a", "limits": [10, 60], "integer": True}
SEX = {"name": "sex", "type": "category", "choices": ["female", "male"]}
TOWN = {"name": "town", "type": "category"}
ILL = {"name": "ill", "type": "flag"}
SEEN = {"name": "seen", "type": "date", "limits": ["2020-01-01", "2020-12-31"]}


def make(*fields: dict[str, Any], **more: Any) -> Task:
    plain = {
        "task": "made",
        "title": "Made",
        "intended_use": "A test.",
        "target": {"name": "weight_g", "unit": "g", "limits": [200, 7000], "label": "Weight"},
        "data": {"sources": {"made": "made.parquet"}, "sql": "SELECT * FROM made"},
        "fields": list(fields),
    }
    return Task.model_validate({**plain, **more})


TASK = make(AGE, SEX, TOWN, ILL, SEEN)


def good(**changed: Any) -> pa.Table:
    """A table without a finding, some columns replaced; None leaves a column out."""
    random = np.random.default_rng(7)
    columns = {
        "weight_g": random.normal(3300, 400, N).round(),
        "age": random.integers(12, 51, N),
        "sex": random.choice(["female", "male"], N),
        "town": random.choice(["Bath", "York", "Ely"], N),
        "ill": random.random(N) < 0.3,
        "seen": pa.array([date(2020, 1 + int(m), 3) for m in random.integers(0, 12, N)]),
        **changed,
    }
    return pa.table({name: values for name, values in columns.items() if values is not None})


def but(column: str, **at: Any) -> pa.Table:
    """The good table with some rows of a column changed: `but("age", _3=99)`."""
    values = good()[column].to_pylist()
    for row, value in at.items():
        values[int(row[1:])] = value
    return good(**{column: pa.array(values)})


def only(table: pa.Table, task: Task = TASK) -> Finding:
    findings = check(task, table)
    assert len(findings) == 1, [str(finding) for finding in findings]
    return findings[0]


def brief(finding: Finding) -> tuple[str, str, str, int, tuple[int, ...]]:
    return finding.column, finding.code, finding.severity, finding.count, finding.rows


# --- names and types


def test_a_good_table_has_no_finding():
    assert check(TASK, good()) == []


def test_a_field_that_the_sql_does_not_select_is_an_error_that_names_the_nearest_column():
    table = good(age=None, agee=np.arange(12, 12 + N))
    missing, extra = check(TASK, table)
    assert brief(missing) == ("age", "missing_column", "error", N, ())
    assert "`agee AS age`" in missing.remedy
    assert brief(extra) == ("agee", "extra_column", "warning", N, ())


def test_a_column_selected_twice_is_an_error():
    table = good()
    table = table.append_column("age", table["age"])
    assert brief(only(table)) == ("age", "ambiguous_column", "error", N, ())


@pytest.mark.parametrize(
    ("column", "values", "shown"),
    [
        ("age", ["12", "n/a"] * 20, "'12', 'n/a'"),
        ("age", [True, False] * 20, "'true', 'false'"),
        ("weight_g", ["3300"] * N, "'3300'"),
        ("sex", [1, 2] * 20, "'1', '2'"),
        ("town", [True, False] * 20, "'true'"),
        ("ill", ["yes", "no"] * 20, "'yes', 'no'"),
        ("seen", ["2020-01-03"] * N, "'2020-01-03'"),
        ("seen", [20200103] * N, "'20200103'"),
        ("age", [[1, 2]] * N, "list<"),
    ],
)
def test_a_column_of_another_type_is_an_error_with_values_and_the_cast_to_write(column, values, shown):
    finding = next(f for f in check(TASK, good(**{column: values})) if f.column == column)
    assert brief(finding) == (column, "wrong_type", "error", N, (0, 1, 2, 3, 4))
    assert shown in finding.message
    assert f"AS {column}`" in finding.remedy


def test_a_number_that_is_not_whole_breaks_an_integer_field():
    finding = only(but("age", _4=30.5))
    assert brief(finding) == ("age", "wrong_type", "error", 1, (4,))
    assert "30.5" in finding.message


def test_a_flag_may_be_0_and_1_but_no_other_number():
    assert check(TASK, good(ill=[0, 1, 1, None] * 10)) == []
    finding = only(good(ill=[0, 1, 2, None] * 10))
    assert brief(finding) == ("ill", "wrong_type", "error", 10, (2, 6, 10, 14, 18))


def test_decimals_enums_timestamps_and_other_widths_are_read_as_what_they_are():
    table = good(
        weight_g=pa.array([Decimal(3000 + i) for i in range(N)]),
        age=pa.array([12.0 + i for i in range(N)], pa.float32()),
        sex=pa.array(["female", "male"] * 20).dictionary_encode(),
        town=pa.array(["Bath", "York", "Ely", None] * 10, pa.large_string()),
        seen=pa.array([f"2020-{1 + i % 12:02}-03T14:05:00" for i in range(N)]).cast(pa.timestamp("us")),
    )
    assert check(TASK, table) == []


# --- values


def test_values_beyond_the_limits_are_errors_with_their_rows_and_values():
    finding = only(but("age", _3=9, _8=61, _9=61))
    assert brief(finding) == ("age", "beyond_limits", "error", 3, (3, 8, 9))
    assert "beyond 10 to 60 a: 9, 61 (rows 3, 8, 9)" in finding.message
    assert "CASE WHEN age BETWEEN 10 AND 60 THEN age END" in finding.remedy


def test_limits_hold_for_the_target_and_for_dates_too():
    target = only(but("weight_g", _0=7.4))
    assert brief(target) == ("weight_g", "beyond_limits", "error", 1, (0,))
    assert "WHERE weight_g BETWEEN 200 AND 7000" in target.remedy
    day = only(but("seen", _1=date(2021, 1, 1)))
    assert brief(day) == ("seen", "beyond_limits", "error", 1, (1,))
    assert "2021-01-01" in day.message


def test_limits_are_inclusive():
    assert check(TASK, but("age", _0=10, _1=60)) == []


def test_a_word_that_is_no_choice_is_an_error_but_unlisted_words_are_free():
    finding = only(but("sex", _2="F", _5="unknown", _6=None))
    assert brief(finding) == ("sex", "not_a_choice", "error", 2, (2, 5))
    assert "'F', 'unknown'" in finding.message
    assert check(TASK, but("town", _2="Atlantis")) == []


def test_an_infinite_number_is_an_error_and_nan_is_merely_unknown():
    finding = only(but("age", _0=float("inf"), _1=float("nan")))
    assert brief(finding) == ("age", "not_finite", "error", 1, (0,))


def test_a_constant_field_is_a_warning_and_a_constant_target_an_error():
    field = only(good(ill=[True] * 30 + [None] * 10))
    assert brief(field) == ("ill", "constant", "warning", 30, ())
    target = only(good(weight_g=[3300] * N))
    assert brief(target) == ("weight_g", "constant", "error", N, ())


def test_a_field_that_is_never_known_is_a_warning_and_an_error_where_it_is_required():
    assert brief(only(good(age=pa.nulls(N)))) == ("age", "all_missing", "warning", N, ())
    required = make({**AGE, "required": True}, SEX, TOWN, ILL, SEEN)
    assert brief(only(good(age=pa.nulls(N)), required)) == ("age", "all_missing", "error", N, ())


def test_a_field_is_nearly_empty_from_95_percent_unknown_on():
    assert check(TASK, good(age=[30, 31, 32] + [None] * 37)) == []
    finding = only(good(age=[30, 31] + [None] * 38))
    assert brief(finding) == ("age", "high_missing", "warning", 38, (2, 3, 4, 5, 6))


def test_rows_without_a_target_are_counted_and_a_table_of_them_is_an_error():
    assert brief(only(but("weight_g", _1=None, _2=None))) == ("weight_g", "missing_target", "warning", 2, (1, 2))
    findings = check(TASK, good(weight_g=pa.nulls(N, pa.float64())))
    assert [(f.code, f.severity) for f in findings] == [("missing_target", "error"), ("too_few_rows", "error")]


# --- codes for "unknown"


WIDE = {"type": "number", "limits": [-1e6, 1e6]}


def suspected(values: Any) -> bool:
    table = pa.table({"weight_g": np.linspace(2000, 4000, len(values)), "x": values})
    return "missing_code" in {f.code for f in check(make({"name": "x", **WIDE}), table)}


random = np.random.default_rng(11)
AGES = random.integers(12, 51, 1000).astype(float)
GRAMS = np.clip(random.normal(3270, 590, 20_000).round(), 227, 6407)
CONTACT_DAYS = np.clip(random.poisson(6, 1500), 0, 27).astype(float)
CIGARETTES = np.where(random.random(20_000) < 0.9, 0, 5 * random.geometric(0.4, 20_000).clip(0, 12)).astype(float)


def with_code(values: np.ndarray, code: float, count: int) -> np.ndarray:
    return np.append(values, np.full(count, code))


@pytest.mark.parametrize("count", [1, 5, 500])
@pytest.mark.parametrize("code", [99, 98, 999, -9, -99])
def test_a_code_far_from_the_ages_of_mothers_is_suspected_however_often_it_stands(code, count):
    assert suspected(with_code(AGES, code, count)) == (count > 1 or abs(code) > 9)


@pytest.mark.parametrize(
    ("values", "code", "count"),
    [(CONTACT_DAYS, 999, 39_000), (CONTACT_DAYS, -1, 39_000), (GRAMS, 9999, 2), (GRAMS, 9999, 1), (CIGARETTES, 99, 20)],
    ids=["bank pdays", "bank pdays as -1", "weights", "one weight", "cigarettes"],
)
def test_codes_are_found_in_the_columns_they_are_known_from(values, code, count):
    assert suspected(with_code(values, code, count))


@pytest.mark.parametrize(
    "values",
    [
        AGES,
        GRAMS,
        np.arange(0.0, 100),  # 99 is the next number
        np.arange(-9.0, 10).repeat(5),  # a scale
        np.array([-1.0, 0, 1] * 50),
        random.poisson(2, 1000).clip(0, 9).astype(float),
        np.append(random.poisson(2, 1000).clip(0, 7), 9.0),  # one large family
        random.lognormal(3, 1, 5000).round(),
        np.full(50, 99.0),  # constant, which is another finding
    ],
    ids=["ages", "grams", "percent", "scale", "signs", "counts", "one large count", "long tail", "constant"],
)
def test_an_ordinary_value_that_looks_like_a_code_is_left_in_peace(values):
    assert not suspected(values)


def test_a_suspected_code_is_a_warning_with_the_nullif_to_write():
    table = pa.table({"weight_g": np.linspace(2000, 4000, 1003), "x": with_code(AGES, 99, 3)})
    finding = next(f for f in check(make({"name": "x", **WIDE}), table) if f.code == "missing_code")
    assert brief(finding) == ("x", "missing_code", "warning", 3, (1000, 1001, 1002))
    assert "nullif(x, 99)" in finding.remedy


# --- the table


def test_two_columns_that_tell_the_same_are_a_warning_also_when_respelled():
    task = make(AGE, {**AGE, "name": "age_again"}, SEX, {"name": "gender", "type": "category"})
    table = good(town=None, ill=None, seen=None)
    gender = ["F" if word == "female" else "M" for word in table["sex"].to_pylist()]
    table = table.append_column("age_again", table["age"]).append_column("gender", pa.array(gender))
    assert [brief(f) for f in check(task, table)] == [
        ("age_again", "duplicate_columns", "warning", N, ()),
        ("gender", "duplicate_columns", "warning", N, ()),
    ]


def test_a_field_with_the_values_of_the_target_is_an_error():
    task = make({"name": "grams", **WIDE})
    table = pa.table({"weight_g": np.linspace(2000, 4000, N), "grams": np.linspace(2000, 4000, N)})
    assert brief(only(table, task)) == ("grams", "duplicate_columns", "error", N, ())


def test_rows_that_repeat_an_earlier_one_are_counted():
    table = pa.concat_tables([good(), good().slice(3, 2), good().slice(3, 1)])
    assert brief(only(table)) == ("", "duplicate_rows", "warning", 3, (40, 41, 42))


@pytest.mark.parametrize(
    ("more", "least"),
    [
        ({"split": {"folds": 5, "holdout": 0.2}}, 13),  # 2 x 5 / 0.8
        ({"split": {"folds": 2, "holdout": 0.5}}, 18),  # 0.9 / 0.1 / 0.5: intervals ask for more than folds
        ({"answers": {"interval": 0.5}, "split": {"folds": 3, "holdout": 0.25}}, 8),
    ],
)
def test_a_table_too_short_for_its_folds_or_its_interval_is_an_error(more, least):
    task = make(AGE, SEX, TOWN, ILL, SEEN, **more)
    assert "too_few_rows" not in {f.code for f in check(task, good().slice(0, least))}
    finding = next(f for f in check(task, good().slice(0, least - 1)) if f.code == "too_few_rows")
    assert brief(finding) == ("", "too_few_rows", "error", least - 1, ())
    assert str(least) in finding.message


def test_an_empty_table_is_too_short_and_nothing_else():
    assert [f.code for f in check(TASK, good().slice(0, 0))] == ["too_few_rows"]


def test_all_problems_come_at_once_errors_first():
    table = good(age=[5] + [None] * 39, sex=["F"] * N, town=None, extra=[1] * N)
    severities = [f.severity for f in check(TASK, table)]
    assert {"missing_column", "beyond_limits", "not_a_choice", "extra_column", "high_missing", "constant"} == {
        f.code for f in check(TASK, table)
    }
    assert severities == sorted(severities)


def test_a_finding_reads_as_two_lines():
    assert str(only(but("age", _3=9))) == (
        "error beyond_limits: age: 1 value beyond 10 to 60 a: 9 (row 3).\n"
        "  Mend them in data.sql (CASE WHEN age BETWEEN 10 AND 60 THEN age END makes them unknown), "
        "or widen the limits."
    )


# --- anything at all

SCALARS = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(),
    "text": st.text(max_size=20),
    "flag": st.booleans(),
    "date": st.dates(),
    "time": st.datetimes(),
    "decimal": st.decimals(-(10**20), 10**20, places=3),
    "bytes": st.binary(max_size=5),
    "list": st.lists(st.integers(0, 9), max_size=3),
    "struct": st.fixed_dictionaries({"a": st.integers(0, 9)}),
    "code": st.sampled_from([0, 1, 9, 99, 999, -1]),
    "null": st.none(),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 12))
    names = draw(st.lists(st.sampled_from(["weight_g", "age", "sex", "town", "ill", "seen", "more"]), max_size=8))
    columns = []
    for _ in names:
        values = st.none() | SCALARS[draw(st.sampled_from(sorted(SCALARS)))]
        columns.append(pa.array(draw(st.lists(values, min_size=rows, max_size=rows))))
    return pa.table(columns, names=names)


@settings(max_examples=300, deadline=None)
@given(tables())
def test_no_table_makes_it_raise(table):
    for finding in check(TASK, table):
        assert finding.count <= max(table.num_rows, 0)
        assert all(0 <= row < table.num_rows for row in finding.rows)
        assert str(finding).startswith(finding.severity)


def test_types_that_no_python_value_makes_do_not_make_it_raise():
    far = pa.array([2**62] * N)
    odd = [
        far.cast(pa.timestamp("s")),
        pa.array([2**31 - 1] * N, pa.int32()).cast(pa.date32()),
        pa.array([Decimal("1e40")] * N, pa.decimal256(60, 2)),
        pa.array([b"0" * 16] * N, pa.uuid()),
        pa.array([0] * N, pa.timestamp("us", "Asia/Shanghai")),
        pa.array(["x" * 100_000] * N),
        pa.array(["a"] * N, pa.string_view()),
        pa.array([[("k", 1)]] * N, pa.map_(pa.string(), pa.int32())),
        pa.Array.from_buffers(
            pa.string(), N, [None, pa.py_buffer(np.arange(N + 1, dtype=np.int32)), pa.py_buffer(b"\xff" * N)]
        ),  # not UTF-8
    ]
    for values in odd:
        for column in good().column_names:
            assert all(str(finding) for finding in check(TASK, good(**{column: values})))


def test_a_million_rows_of_thirty_columns_take_seconds():
    n, random = 1_000_000, np.random.default_rng(0)
    numbers = {f"n{i}": random.normal(0, 1, n) for i in range(22)}
    words = {f"c{i}": pa.array(random.choice(["a", "b", "c"], n)) for i in range(7)}
    fields = [{"name": name, **WIDE} for name in numbers] + [{"name": name, "type": "category"} for name in words]
    table = pa.table({"weight_g": random.uniform(2000, 4000, n), **numbers, **words})
    began = time.perf_counter()
    assert check(make(*fields), table) == []
    assert time.perf_counter() - began < 15  # 2 to 3 s on two idle cores


# --- real tables


@needs_shared
@pytest.mark.parametrize(
    ("name", "warnings"),
    [
        # 98 cigarettes are the register's "98 or more"; 12 births are alike in every column.
        ("birth_weight", [("cigarettes_trimester_3", "missing_code", 7), ("", "duplicate_rows", 12)]),
        ("birth_weight_hospital", [("", "duplicate_rows", 5)]),
    ],
)
def test_the_real_tables_pass_with_few_warnings(name, warnings):
    task = taskfile.read(TASKS / f"{name}.yaml")
    findings = check(task, offline.fetch(task, SHARED).table)
    assert [f for f in findings if f.severity == "error"] == []
    assert [(f.column, f.code, f.count) for f in findings] == warnings
