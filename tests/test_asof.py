"""The past: what was known at an instant, held against nested loops over every event."""

from __future__ import annotations

import os
import random
import struct
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from experiments import view_catalog
from feature_store import asof, events, fit_sql
from feature_store.errors import OriginsUnfit, SumTooLarge, TableMissing, TableUnreadable
from feature_store.event import REASONS
from feature_store.settings import Settings
from feature_store.value import fit, instant, scale
from feature_store.view import View, microseconds
from tests.oracles import NestedLoops

FULL = os.environ.get("GANCAO_PROOFS") == "full"
HISTORIES = 10
"""Entities of one generated table: what costs time is the table, not its rows."""

DAY = microseconds("1d")
START = instant("2024-03-01")
NOW = START + 40 * DAY
COLUMNS = {"units": "int", "value": "decimal(2)", "price": "float32", "rate": "float64", "deal": "flag", "shop": "text"}
AGGREGATES = {
    "sum": ("units", "value", "deal"),
    "count": (*COLUMNS, True),
    "mean": ("units", "value", "deal"),
    "min": ("units", "value", "price", "rate", "deal"),
    "max": ("units", "value", "price", "rate", "deal"),
    "last": tuple(COLUMNS),
    "distinct": tuple(COLUMNS),
}
TYPED = pa.schema(
    [
        ("who", pa.string()),
        ("site", pa.int32()),
        ("bill", pa.int64()),
        ("at", pa.timestamp("us")),
        ("known_at", pa.timestamp("us")),
        ("units", pa.int32()),
        ("value", pa.float64()),
        ("price", pa.float32()),
        ("rate", pa.float64()),
        ("deal", pa.bool_()),
        ("shop", pa.string()),
    ]
)


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any view: one entity column or two, a grid or none, known late or at once, and 3 to 12 features."""
    late = draw(st.booleans())
    features: dict[str, dict[str, Any]] = {}
    for number in range(draw(st.integers(3, 10))):
        aggregate = draw(st.sampled_from(sorted(AGGREGATES)))
        feature: dict[str, Any] = {aggregate: draw(st.sampled_from(AGGREGATES[aggregate]))}
        look = draw(st.sampled_from(["all", "window", "ahead"] if late else ["all", "window"]))
        if look != "all":
            feature[look] = draw(st.sampled_from(["6h", "1d", "2d", "1w", "20d"]))
        features[f"f{number}"] = feature
    numbers = [n for n, f in features.items() if not {"deal", "shop"} & set(f.values()) or {"sum", "count"} & set(f)]
    for number in range(draw(st.integers(0, 2)) if numbers else 0):
        pair = [draw(st.sampled_from(numbers)), draw(st.sampled_from(numbers))]
        features[f"p{number}"] = {draw(st.sampled_from(["ratio", "difference"])): pair}
    whole = draw(st.booleans())
    return view(
        entity=draw(st.sampled_from([["who"], ["site", "who"]])),
        id=draw(st.sampled_from([["bill"], ["shop", "bill"]])),
        known_time="known_at" if late else None,
        every=draw(st.sampled_from([None, None, "1d", "1w"])),
        columns=COLUMNS | ({"site": "int", "bill": "int"} if whole else {}),
        features=features,
    )


def view(**changes: Any) -> View:
    base = {"view": "sales", "title": "Sales", "entity": "who", "id": ["bill"], "event_time": "at", "latest": "25d",
            "columns": COLUMNS, "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"}}  # fmt: skip
    return View.model_validate(base | changes)


def history(dice: random.Random, who: str) -> list[dict[str, Any]]:
    """Some events of an entity: ties, duplicates, late, early and missing ones, and a few that nobody can take."""

    def some(*values: Any) -> Any:
        return dice.choice(values)

    rows = []
    for _ in range(dice.randrange(14)):
        at = START + some(0, 1, 2, 3, 5, 8, 13) * DAY + some(0, 0, 0, 1, -1, DAY // 4, DAY // 2)
        known = at + some(0, 0, 0, 1, DAY // 4, DAY, 3 * DAY, 15 * DAY, -DAY, -6 * DAY, -24 * DAY)
        row = {
            "who": who,
            "site": some(1, 1, 10, 9),
            "bill": dice.randrange(12),
            "at": _moment(at),
            "known_at": _moment(known),
            "units": some(0, 1, 2, -3, 1000, None),
            "value": some(0.0, 3.99, -1.25, 0.1, 199.0, None, float("nan")),
            "price": some(0.1, -0.0, 0.0, 2.5, 1e-40, None),
            "rate": some(0.1, -0.0, 1e300, 2.5, None),
            "deal": some(True, False, None),
            "shop": some("", "a", "b", "Zürich", "上海", "\U0001f600", None),
        }
        if dice.random() < 0.15:
            row |= some({"who": None}, {"bill": None}, {"at": None}, {"known_at": None}, {"rate": float("inf")},
                        {"at": _moment(NOW + 300 * DAY)}, {"site": None})  # fmt: skip
        rows.append(row)
    return rows


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(tzinfo=None, microsecond=us % 1_000_000)


def as_text(dice: random.Random, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same as a CSV has it, with cells that are of no kind; NaN has no text that is read."""
    words = [
        {name: None if value is None or value != value else str(value) for name, value in row.items()} for row in rows
    ]
    for row in words:
        if dice.random() < 0.1:
            row[dice.choice(["at", "known_at", "units", "price", "deal", "site"])] = dice.choice(
                ["soon", "1.5x", "", "2024-02-30", "2024-03-02T10:00:00+05:30", "inf"]
            )
    return words


def written(folder: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "t.parquet")
    return folder


def kept(kind: str, value: Any) -> Any:
    """What `as_of` gives as it is kept, a float by its bits."""
    if isinstance(value, Decimal):
        return int(value.scaleb(scale(kind)))
    return struct.pack("<d", value) if isinstance(value, float) else value


@pytest.mark.proof
@settings(
    max_examples=100 if FULL else 10,
    deadline=None,
    derandomize=not FULL,
    phases=[Phase.explicit, Phase.generate],  # rows follow from the seed, so there is little to shrink
    suppress_health_check=list(HealthCheck),
)
@given(views(), st.integers(0, 2**32), st.booleans())
def test_the_join_gives_what_nested_loops_give(view, seed, text):
    dice = random.Random(seed)
    rows = [row for number in range(HISTORIES) for row in history(dice, f"e{number}")]
    dice.shuffle(rows)
    schema = pa.schema([(name, pa.string()) for name in TYPED.names]) if text else TYPED
    rows = pa.Table.from_pylist(as_text(dice, rows) if text else rows, schema=schema).to_pylist()
    asked = [
        {"who": f"e{dice.randrange(HISTORIES + 1)}", "site": dice.choice([1, 9, 10]), "as_of": _moment(START + offset)}
        for offset in [dice.choice([-1, 0, 1, 2, 6, 20, 33]) * DAY + dice.choice([0, 1, DAY // 4]) for _ in range(40)]
    ]
    origins = pa.Table.from_pylist(asked)
    with tempfile.TemporaryDirectory() as folder:
        found = asof.as_of(view, written(Path(folder), rows, schema), origins, now=NOW)
    oracle = NestedLoops(view, rows, NOW)
    assert asof.refused(found)["events"] == {reason: n for reason, n in oracle.refused.items() if n}
    assert found.select(origins.column_names).to_pylist() == asked
    for row in found.to_pylist():
        entity = tuple(fit(view.kind(name), row[name]) for name in view.entity)
        expected = oracle.features(entity, instant(row["as_of"]))  # type: ignore[arg-type]
        got = {name: kept(kind, row[name]) for name, kind in view.outputs.items()}
        assert got == {name: kept(view.outputs[name], value) for name, value in expected.items()}, (entity, row)


SOURCES: dict[str, list[str]] = {
    "BIGINT": ["0", "1", "-5", "9007199254740993", "9223372036854775807", "NULL"],
    "HUGEINT": ["1", "9223372036854775808", "NULL"],
    "DOUBLE": ["0", "-0.0", "1", "2.5", "3.5", "0.125", "3.99", "1e14", "1e39", "'nan'", "'inf'",
               "9007199254740994", "NULL"],
    "FLOAT": ["0.1", "1", "'nan'", "NULL"],
    "DECIMAL(12,3)": ["1.005", "2", "0.125", "NULL"],
    "BOOLEAN": ["true", "false", "NULL"],
    "DATE": ["'2024-05-30'", "'0001-01-01'", "NULL"],
    "TIMESTAMP": ["'2024-05-30 12:00:00.000001'", "'1969-12-31 23:59:59'", "NULL"],
    "VARCHAR": ["'5'", "'+5'", "'-5'", "'5.0'", "' 5'", "'1e3'", "'1e999'", "'0x10'", "'true'", "'TRUE'", "'0'", "''",
                "'3.99'", "'99999999999999999999'", "'nan'", "'2024-05-30'", "'2024-05-30T12:00'",
                "'2024-05-30 12:00:00.5Z'", "'2024-05-30T12:00:00-08:00'", "'2024-05-30T12:00+05:30'",
                "'2024-05-30T24:00'", "'2024-2-3'", "'0001-01-01T00:00+01:00'", "NULL"],
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", ["int", "decimal(0)", "decimal(2)", "float32", "float64", "flag", "text", "time"])
def test_a_table_and_a_stream_are_read_alike(source, kind):
    with duckdb.connect() as connection:
        listed = ", ".join(f"(CAST({literal} AS {source}))" for literal in SOURCES[source])
        given = connection.sql(f"SELECT x FROM (VALUES {listed}) AS t(x)")
        name = str(given.types[0])
        sql = fit_sql.instant("x", name) if kind == "time" else fit_sql.value(kind, "x", name)
        table = given.fetchall()
        got = (
            connection.sql(f"SELECT {sql}, {fit_sql.absent('x', name)} FROM given").fetchall()
            if sql
            else [(None, value is None or value != value) for (value,) in table]
        )
    for (value,), (one, absent) in zip(table, got, strict=True):
        assert absent == (value is None or value != value)
        try:
            expected = None if absent else instant(value) if kind == "time" else fit(kind, value)
        except (ValueError, OverflowError):
            expected = None
        assert kept(kind, one) == kept(kind, expected), (value, one, expected)


def sales(folder: Path, rows: list[tuple[str, int, str, str, int | None]]) -> Path:
    named = [dict(zip(("who", "bill", "at", "known_at", "units"), row, strict=True)) for row in rows]
    pq.write_table(pa.Table.from_pylist(named), folder / "t.parquet")
    return folder


def ask(view: View, folder: Path, *asked: tuple[str, str], **more: Any) -> list[dict[str, Any]]:
    origins = pa.table({"who": [who for who, _ in asked], "as_of": [datetime.fromisoformat(at) for _, at in asked]})
    return asof.as_of(view, folder, origins, now=NOW, **more).to_pylist()


def test_a_late_correction_is_invisible_before_it_arrived(tmp_path):
    late = view(known_time="known_at", columns={"units": "int"}, features={"units": {"last": "units"}})
    sales(tmp_path, [("a", 1, "2024-03-04", "2024-03-04", 5), ("a", 2, "2024-03-04", "2024-03-06", 9)])
    rows = ask(late, tmp_path, ("a", "2024-03-03"), ("a", "2024-03-05"), ("a", "2024-03-07"))
    assert [row["units"] for row in rows] == [None, 5, 9]


def test_what_is_planned_counts_until_it_happens(tmp_path):
    plan = view(known_time="known_at", columns={"units": "int"}, features={"planned": {"sum": "units", "ahead": "7d"}})
    sales(tmp_path, [("a", 1, "2024-03-20", "2024-03-15", 5)])
    days = ["2024-03-12", "2024-03-13", "2024-03-15", "2024-03-19T23:59:59", "2024-03-20"]
    assert [row["planned"] for row in ask(plan, tmp_path, *(("a", day) for day in days))] == [None, None, 5, 5, None]


def test_a_sum_is_exact_or_an_error(tmp_path):
    features = {"all": {"sum": "units"}, "day": {"sum": "units", "window": "1d"}, "mean": {"mean": "units"}}
    whole = view(columns={"units": "int"}, features=features)
    large = 2**62
    rows = [("a", n, f"2024-03-{n:02d}", "", value) for n, value in enumerate([large, large - 1, -large, 7], 1)]
    sales(tmp_path, rows)
    asked = [("a", "2024-03-01"), ("a", "2024-03-02"), ("a", "2024-03-03"), ("a", "2024-03-04")]
    answers = ask(whole, tmp_path, *asked)
    assert [row["all"] for row in answers] == [large, 2 * large - 1, large - 1, large + 6]
    assert [row["day"] for row in answers] == [large, large - 1, -large, 7]
    assert answers[1]["mean"] == float(2 * large - 1) / 2.0
    sales(tmp_path, [*rows, ("a", 9, "2024-03-02", "", 1)])
    with pytest.raises(SumTooLarge, match=r"sales: all is beyond 64 bits\. Give it a shorter window"):
        ask(whole, tmp_path, *asked)


def test_a_difference_is_exact_or_an_error(tmp_path):
    features = {"last": {"last": "units"}, "least": {"min": "units"}, "change": {"difference": ["last", "least"]}}
    sales(
        tmp_path, [("a", 1, "2024-03-01", "", -(2**63)), ("a", 2, "2024-03-02", "", -1), ("a", 3, "2024-03-03", "", 0)]
    )
    whole = view(columns={"units": "int"}, features=features)
    assert ask(whole, tmp_path, ("a", "2024-03-02"))[0]["change"] == 2**63 - 1
    with pytest.raises(SumTooLarge):
        ask(whole, tmp_path, ("a", "2024-03-03"))


def many(folder: Path, seed: int = 0) -> tuple[View, pa.Table, Path]:
    """30,000 events of 500 entities, a tenth of them twice, and 5,000 origins."""
    dice = np.random.default_rng(seed)
    n = 30_000
    table = pa.table({"who": np.char.add("e", dice.integers(0, 500, n).astype(str)), "bill": dice.integers(0, 900, n),
                      "at": START + dice.integers(0, 30, n) * DAY, "units": dice.integers(-9, 99, n),
                      "shop": dice.choice(["a", "b", "c"], n)})  # fmt: skip
    table = table.set_column(2, "at", table.column("at").cast(pa.timestamp("us")))
    pq.write_table(table, folder / "t.parquet")
    features: dict[str, Any] = {
        f"{aggregate}_{window}": {aggregate: "shop" if aggregate in ("last", "distinct") else "units", "window": window}
        for aggregate in AGGREGATES
        for window in ("1d", "7d")
    }
    times = pa.array(START + dice.integers(0, 35, 5000) * DAY).cast(pa.timestamp("us"))
    origins = pa.table({"who": np.char.add("e", dice.integers(0, 510, 5000).astype(str)), "as_of": times})
    return view(columns={"units": "int", "shop": "text"}, features=features), origins, folder


def test_neither_the_order_of_rows_nor_the_memory_changes_a_bit(tmp_path):
    view, origins, folder = many(tmp_path)
    whole = asof.as_of(view, folder, origins, now=NOW)
    assert asof.refused(whole)["events"]["duplicate"] > 500
    seen: list[tuple[int, int]] = []
    parts = asof.as_of(view, folder, origins, now=NOW, memory_mb=2, progress=lambda *at: seen.append(at))
    assert len(seen) > 4
    assert seen[-1] == (events.BUCKETS, events.BUCKETS)
    assert parts.equals(whole, check_metadata=True)
    table = pq.read_table(folder / "t.parquet")
    pq.write_table(table.take(pa.array(np.random.default_rng(1).permutation(len(table)))), folder / "t.parquet")
    assert asof.as_of(view, folder, origins, now=NOW).equals(whole, check_metadata=True)


def test_attributes_are_one_row_an_entity_and_what_is_refused_is_counted(tmp_path):
    sales(tmp_path, [("a", 1, "2024-03-01", "", 5)])
    (tmp_path / "p.csv").write_text("who,size,kind\na,2.50,x\nb,,y\nb,1.00,z\n,3,x\nc,big,x\n", encoding="utf-8")
    described = view(
        columns={"units": "int"},
        features={"bills": {"count": True}},
        attributes={
            "data": {"sources": {"p": "p.csv"}, "sql": "FROM p"},
            "columns": {"size": "decimal(1)", "kind": "text"},
        },
    )
    origins = pa.table({"who": ["b", "a", "d", "c"], "as_of": [datetime(2024, 3, 2)] * 4})  # noqa: DTZ001
    found = asof.as_of(described, tmp_path, origins, now=NOW)
    assert found.column("size").to_pylist() == [Decimal("1.0"), Decimal("2.5"), None, None]
    assert found.column("kind").to_pylist() == ["z", "x", None, None]
    assert found.column("bills").to_pylist() == [0, 1, 0, 0]
    assert asof.refused(found) == {"events": {}, "attributes": {"duplicate": 1, "null_key": 1, "wrong_type": 1}}
    assert set(asof.refused(found)["attributes"]) <= set(REASONS)


def test_no_origins_are_no_rows(tmp_path):
    sales(tmp_path, [("a", 1, "2024-03-01", "", 5)])
    assert (
        ask(view(features={"bills": {"count": True}, "most": {"max": "units"}}, columns={"units": "int"}), tmp_path)
        == []
    )


def test_what_can_not_be_read_is_told_with_its_remedy(tmp_path):
    simple = view(columns={"units": "int"}, features={"units": {"sum": "units"}})
    origins = pa.table({"who": ["a"], "as_of": [datetime(2024, 3, 2)]})  # noqa: DTZ001
    with pytest.raises(TableMissing, match=r"sales needs t\.parquet"):
        asof.as_of(simple, tmp_path, origins)
    sales(tmp_path, [("a", 1, "2024-03-01", "", 5)])
    for changes, said in (
        ({"event_time": "sold_at"}, "gives no column sold_at.\nThere are: who, bill, at"),
        ({"event_time": "units"}, "column units is BIGINT, of which nothing is a time.\nCAST it"),
        ({"data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * REPLACE ([units] AS units) FROM t"}}, "is BIGINT"),
        ({"data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM u"}}, "could not run data.sql of sales"),
    ):
        with pytest.raises(TableUnreadable) as caught:
            asof.as_of(View.model_validate(simple.model_dump(exclude_none=True) | changes), tmp_path, origins)
        assert said in str(caught.value)
    for table, said in (
        (origins.drop_columns(["as_of"]), "no column as_of"),
        (origins.append_column("units", pa.array([1])), "have columns units already"),
        (pa.table({"who": [None], "as_of": origins.column("as_of")}), "has 1 NULLs"),
        (pa.table({"who": ["a"], "as_of": ["soon"]}), "column as_of of the origins is no timestamp"),
    ):
        with pytest.raises(OriginsUnfit, match=f"(?i){said}"):
            asof.as_of(simple, tmp_path, table)


@pytest.mark.parametrize(
    ("name", "entity", "at"),
    [
        ("product_sales", {"product_id": "1082185"}, "2017-07-01"),
        ("store_dept_sales", {"store": 1, "dept": 1}, "2012-02-01"),
    ],
)
def test_the_shipped_views_say_of_real_tables_what_nested_loops_say(shared_data, name, entity, at):
    shipped = view_catalog.load(name, Settings())
    origins = pa.table({key: [value] for key, value in entity.items()} | {"as_of": [datetime.fromisoformat(at)]})
    found = asof.as_of(shipped, shared_data, origins, now=NOW)
    assert asof.refused(found) == {"events": {}, "attributes": {}}
    with duckdb.connect() as connection:
        for source, path in shipped.data.sources.items():
            connection.execute(f"CREATE VIEW {source} AS FROM '{shared_data / path}'")
        chosen = " AND ".join(f"{key} = '{value}'" for key, value in entity.items())
        rows = connection.sql(f"SELECT * FROM ({shipped.data.sql}) WHERE {chosen}").to_arrow_table().to_pylist()
    assert len(rows) > 100
    expected = NestedLoops(shipped, rows, NOW).features(tuple(entity.values()), instant(at))
    row = found.to_pylist()[0]
    got = {name: kept(shipped.outputs[name], row[name]) for name in shipped.features}
    assert got == {name: kept(shipped.outputs[name], value) for name, value in expected.items()}
    assert all(row[name] is not None for name in shipped.attributes.columns)  # type: ignore[union-attr]
