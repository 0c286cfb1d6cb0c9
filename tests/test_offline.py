"""The offline store: a Task's table, the same again each time, or a reason."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store import offline, taskfile
from feature_store.errors import TableMissing, TableUnreadable

TASK = """
task: made
title: Made
intended_use: To be tested
target: {name: y, unit: g, limits: [0, 1e9], label: Y}
data: {sources: {t: t.parquet}, sql: "SQL"}
fields:
  - {name: k, type: category}
"""


def task(sql: str = "SELECT * FROM t", more: str = ""):
    return taskfile.parse(TASK.replace("SQL", sql) + more)


def write(folder, **columns):
    pq.write_table(pa.table(columns), folder / "t.parquet")


def test_a_grouped_table_comes_in_the_same_order_each_time(tmp_path):
    random = np.random.default_rng(0)
    write(tmp_path, k=random.integers(0, 50_000, 400_000).astype(str), y=random.random(400_000))
    grouped = task("SELECT k, sum(y) AS y FROM t GROUP BY ALL")
    first, second = offline.fetch(grouped, tmp_path), offline.fetch(grouped, tmp_path)
    assert first.digest == second.digest
    assert first.table.equals(second.table)


def test_another_value_or_another_order_or_another_question_is_another_digest(tmp_path):
    def digest(sql: str = "SELECT * FROM t", **columns) -> str:
        write(tmp_path, **columns)
        return offline.fetch(task(sql), tmp_path).digest

    plain = digest(k=["a", "b"], y=[1.0, 2.0])
    assert digest(k=["a", "b"], y=[1.0, 2.0]) == plain
    others = [
        digest(k=["a", "b"], y=[1.0, 2.5]),
        digest(k=["b", "a"], y=[2.0, 1.0]),
        digest(k=["a", None], y=[1.0, 2.0]),
        digest(k=["ab", ""], y=[1.0, 2.0]),
        digest(k=["a", "b"], y=pa.array([1, 2])),
        digest("SELECT k, y FROM t", k=["a", "b"], y=[1.0, 2.0]),
    ]
    assert len({plain, *others}) == len(others) + 1


def test_columns_become_what_the_encoder_takes(tmp_path):
    more = (
        "  - {name: n, type: number, limits: [0, 999]}\n"
        "  - {name: f, type: flag}\n  - {name: d, type: date}\n  - {name: m, type: number, limits: [0, 999]}\n"
    )
    write(
        tmp_path,
        k=["x", None],
        y=[1.0, None],
        n=pa.array([3, None]),
        f=[True, None],
        d=[datetime.date(1970, 1, 11), None],
        m=[decimal.Decimal("198.1"), None],
    )
    made = task(more=more)
    source = offline.fetch(made, tmp_path)
    columns = offline.columns(made, source.table)
    assert columns["k"].tolist() == ["x", None]
    assert [columns[name][0] for name in ("n", "f", "d", "m")] == [3.0, 1.0, 10.0, 198.1]
    assert all(np.isnan(columns[name][1]) for name in ("n", "f", "d", "m"))
    assert offline.target(made, source.table)[0] == 1.0


@pytest.mark.parametrize("values", [[1, 2], [1.0, 2.0], [decimal.Decimal("1.0"), decimal.Decimal("2.0")]])
def test_weights_are_floats_whatever_the_column_holds(tmp_path, values):
    write(tmp_path, k=["a", "b"], y=[1.0, 2.0], w=values)
    plain = task()
    weighted = plain.model_copy(update={"data": plain.data.model_copy(update={"weight": "w"})})
    source = offline.fetch(weighted, tmp_path)
    found = offline.weight(weighted, source.table)
    assert found is not None
    assert (found.dtype, found.tolist()) == (np.float64, [1.0, 2.0])
    assert offline.weight(plain, source.table) is None


def test_a_column_of_duckdbs_enum_or_of_csv_gives_the_same_classes(tmp_path):
    whole = TASK.replace("unit: g, limits: [0, 1e9]", "positive: 'yes'").replace("made\n", "made\nkind: binary\n", 1)
    write(tmp_path, k=["a", "b", "c"], y=["yes", "no", None])
    for column in ("y", "y::ENUM('no', 'yes')"):
        binary = taskfile.parse(whole.replace("SQL", f"SELECT k, {column} AS y FROM t"))
        table = offline.fetch(binary, tmp_path).table
        assert offline.classes(binary, table) == ["no", "yes"]
        np.testing.assert_array_equal(offline.target(binary, table), [1.0, 0.0, np.nan])


def test_an_absent_file_is_told_with_the_two_ways_on(tmp_path):
    with pytest.raises(TableMissing, match=r"t\.parquet, which is not under[\s\S]*gancao sample made"):
        offline.fetch(task(), tmp_path)


@pytest.mark.parametrize(
    ("sql", "said"),
    [("SELECT nothing FROM t", "nothing"), ("SELEC", "syntax error"), ("SELECT * FROM u", "does not exist")],
)
def test_sql_that_does_not_run_is_told_in_duckdbs_words(tmp_path, sql, said):
    write(tmp_path, k=["a"], y=[1.0])
    with pytest.raises(TableUnreadable, match=said):
        offline.fetch(task(sql), tmp_path)


def test_a_stand_in_is_known_by_its_mark(tmp_path):
    table = pa.table({"k": ["a"], "y": [1.0]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert offline.fetch(task(), tmp_path).synthetic is False
    pq.write_table(table.replace_schema_metadata({offline.SYNTHETIC_KEY: b"true"}), tmp_path / "t.parquet")
    assert offline.fetch(task(), tmp_path).synthetic is True
