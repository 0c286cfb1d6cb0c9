"""`gancao new`: a Task is drafted from any table, says what it guessed, and trains as it is."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import commands, new
from experiments.drafting import draft, limits, names, prove
from experiments.drafting.text import sql, text
from feature_store import offline, taskfile
from feature_store.errors import GancaoError, NotDrafted, TableMissing, TableUnreadable, Usage
from feature_store.settings import Settings
from feature_store.task import Budget, Task
from tests.conftest import ROOT, Home
from training.train import train

FULL = os.environ.get("GANCAO_PROOFS") == "full"
N = 400


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir()
    return Settings(home=tmp_path / "home", data=tmp_path / "data", tasks=tmp_path / "tasks")


def births(n: int = N) -> dict[str, Any]:
    """Births with what real tables have: ids, codes, spellings, a leak, a constant, an empty column."""
    random = np.random.default_rng(0)
    weeks = np.clip(np.round(random.normal(39, 2, n)), 30, 42)
    weight = np.round(3300 + 150 * (weeks - 39) + random.normal(0, 400, n))
    age = np.clip(np.round(random.normal(29, 5, n)), 16, 44)
    age[::40] = 999
    sex = np.array(["F", "M", "m "], dtype=object)[random.choice(3, n, p=[0.5, 0.45, 0.05])]
    smoker = np.array(["yes", "no", "unknown"], dtype=object)[random.choice(3, n, p=[0.1, 0.8, 0.1])]
    return {
        "Record No": np.arange(n),
        "Mother's age (years)": age,
        "gestation_weeks": weeks,
        "Sex": sex,
        "smoker": smoker,
        "country": ["CN"] * n,
        "remark": ["late"] * 3 + [None] * (n - 3),
        "apgar5": random.integers(7, 11, n),
        "weight_lb": weight / 453.6,
        "weight_g": weight,
    }


def written(place: Settings, columns: dict[str, Any] | pa.Table, name: str = "births.parquet") -> Path:
    path = place.data / name
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path)
    return path


def drafted(place: Settings, path: Path, target: str, **more: Any) -> tuple[dict[str, Any], str, Task]:
    """The document, the file's text and its Task, which `gancao check` takes."""
    document, _ = new.new(path, target, place, **more)
    file = Path(document["file"])
    checked, _ = commands.check(str(file), place)
    assert checked["errors"] == 0
    return document, file.read_text(encoding="utf-8"), taskfile.read(file)


def left(document: dict[str, Any]) -> dict[str, str]:
    return {gone["column"]: gone["reason"] for gone in document["left_out"]}


def refused(place: Settings, path: Path, target: str, **more: Any) -> str:
    with pytest.raises(GancaoError) as caught:
        new.new(path, target, place, **more)
    return str(caught.value)


# --- what is guessed --------------------------------------------------------------------------------------------


def test_a_draft_tells_numbers_categories_and_flags_apart_and_leaves_out_what_teaches_nothing(place):
    document, words, task = drafted(place, written(place, births()), "weight_g")
    assert document.keys() == {"task", "file", "kind", "target", "fields", "left_out", "guesses"}
    assert (document["task"], document["kind"], document["target"]) == ("births", "regression", "weight_g")
    assert {name: field.type for name, field in task.by_name.items()} == {
        "mother_s_age_years": "number",
        "gestation_weeks": "number",
        "sex": "category",
        "smoker": "flag",
    }
    assert "number of the row" in left(document)["Record No"]
    assert "always 'CN'" in left(document)["country"]
    assert "unknown in 99.2%" in left(document)["remark"]
    assert "apgar" in left(document)["apgar5"]
    assert "weight_g" in left(document)["weight_lb"], "the target in another unit is a leak"
    for column_, reason in left(document).items():
        assert f"# - {column_}: {reason[:30]}" in words


def test_codes_and_words_for_unknown_become_null_and_spellings_one(place):
    _, words, task = drafted(place, written(place, births()), "weight_g")
    assert """nullif("Mother's age (years)", 999)""" in words
    assert "999: a code for unknown" in words
    assert """nullif("smoker", 'unknown') = 'yes'""" in words
    assert 'upper(trim("Sex"))' in words
    table = offline.fetch(task, place.data).table
    assert set(table["sex"].to_pylist()) == {"F", "M"}
    assert table["mother_s_age_years"].null_count == N // 40


def test_units_come_from_names_and_limits_hold_all_values_and_some_more(place):
    _, words, task = drafted(place, written(place, births()), "weight_g")
    age, weight = task.by_name["mother_s_age_years"], births()["weight_g"]
    assert (age.unit, age.integer, task.target.unit) == ("a", True, "g")
    assert age.limits[0] < 16
    assert 44 < age.limits[1] <= 60
    assert task.target.limits[0] < weight.min() < weight.max() < task.target.limits[1]
    assert "unit guessed from the name" in words


def test_labels_are_readable_english_and_to_be_translated(place):
    _, words, task = drafted(place, written(place, births()), "weight_g")
    assert task.target.label.en == "Weight"
    assert task.by_name["mother_s_age_years"].label.en == "Mother's age"
    line = next(line for line in words.split("\n") if "name: smoker" in line)
    assert "# 待译" in line


def test_the_positive_class_is_the_rarer_one_or_the_one_that_is_asked_for(place):
    path = written(place, births())
    assert drafted(place, path, "smoker")[2].target.positive == "yes"
    assert drafted(place, path, "smoker", positive="NO", force=True)[2].target.positive == "no"
    message = refused(place, path, "smoker", positive="maybe", force=True)
    assert "'yes'" in message
    assert "'no'" in message


def test_few_whole_numbers_and_words_are_classes_and_a_class_of_one_row_is_left_out(place):
    random = np.random.default_rng(0)
    kind = random.integers(1, 4, 200)
    grade = np.array(["a", "b", "c"], dtype=object)[kind - 1]
    grade[7] = "typo"
    path = written(place, {"x": random.normal(size=200), "kind": kind, "grade": grade})
    assert drafted(place, path, "kind")[2].kind == "multiclass"
    _, words, task = drafted(place, path, "grade", force=True)
    assert task.kind == "multiclass"
    assert "'typo'" in words
    assert "kind" not in task.by_name, "it is the class in other words"


def test_a_time_column_splits_by_time_and_gives_month_weekday_and_hour(place):
    random = np.random.default_rng(0)
    start = datetime.datetime.fromisoformat("2024-01-01")
    ordered = [start + datetime.timedelta(hours=30 * k) for k in range(N)]
    promised = [
        day + datetime.timedelta(days=int(more)) for day, more in zip(ordered, random.integers(5, 30, N), strict=True)
    ]
    days = np.round(random.gamma(4, 3, N), 1)
    path = written(place, {"ordered_at": ordered, "promised": promised, "x": random.normal(size=N), "delay_days": days})
    document, _, task = drafted(place, path, "delay_days")
    assert (task.split.kind, task.split.by) == ("time", "ordered_at")
    assert task.split.gap == np.ceil(np.quantile(days, 0.95)), "so long a target is not known"
    assert {"ordered_at_month", "ordered_at_weekday", "ordered_at_hour", "promised_days"} <= task.by_name.keys()
    assert "ordered_at" in left(document)


def test_a_patient_who_comes_again_stays_on_one_side(place):
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(100), 4)
    path = written(place, {"patient_id": patient, "visit": np.tile(range(4), 100), "x": random.normal(size=N),
                           "y": patient % 17 + random.normal(size=N)})  # fmt: skip
    document, _, task = drafted(place, path, "y")
    assert (task.split.kind, task.split.by) == ("grouped", "patient_id")
    assert "split" in left(document)["patient_id"]


def test_rows_that_stand_twice_are_taken_once(place):
    random = np.random.default_rng(0)
    x, y = random.normal(size=200), random.normal(size=200)
    _, words, task = drafted(place, written(place, {"x": np.tile(x, 2), "y": np.tile(y, 2)}), "y")
    assert "SELECT DISTINCT" in words
    assert offline.fetch(task, place.data).table.num_rows == 200


def test_a_target_that_moves_along_the_rows_is_told(place):
    random = np.random.default_rng(0)
    y = random.normal(size=N) + np.linspace(0, 5, N)
    document, _, _ = drafted(place, written(place, {"x": random.normal(size=N), "y": y}), "y")
    assert "row_number() OVER ()" in " ".join(guess["guess"] for guess in document["guesses"])


@pytest.mark.parametrize(
    ("column_", "name", "english", "chinese", "unit"),
    [
        ("BWt(kg)", "bwt_kg", "BWt", "BWt", "kg"),
        ("weight_kg", "weight_kg", "Weight", "Weight", "kg"),
        ("ageYears", "age_years", "Age", "Age", "a"),
        ("Temp (°C)", "temp_c", "Temp", "Temp", "Cel"),
        ("delivery_days", "delivery_days", "Delivery days", "Delivery days", "d"),
        ("group_s", "group_s", "Group s", "Group s", None),
        ("年龄(岁)", "age", "Age", "年龄", "a"),
        ("出生体重", "birth_weight", "Birth weight", "出生体重", None),
        ("2nd visit", "n_2nd_visit", "2nd visit", "2nd visit", None),
        ("备注", "column_1", "备注", "备注", None),
    ],
)
def test_a_name_tells_an_identifier_labels_and_a_unit(column_, name, english, chinese, unit):
    assert names.identifiers([column_]) == {column_: name}
    assert names.labels(column_) == (english, chinese)
    assert names.unit(column_) == unit


def test_a_height_of_ten_is_a_slip_and_a_long_tail_is_none():
    random = np.random.default_rng(0)
    heights = np.append(random.normal(155, 7, 2000), [10, 12])
    low, _ = limits.slips(heights) or (0, 0)
    assert low > 100
    assert limits.slips(np.exp(random.normal(0, 2, 20_000))) is None
    assert limits.slips(random.poisson(0.3, 5000).astype(float)) is None


# --- awkward tables ---------------------------------------------------------------------------------------------


def test_awkward_names_and_mixed_values_in_a_csv_with_a_byte_order_mark(place):
    random = np.random.default_rng(0)
    long = "a very long name of a column " * 5
    head = ["体重 (kg)", "备注", 'say ""it""', "a", "a", "A", "select", "a\nb", long, "mixed", "order"]
    rows = [",".join(f'"{name}"' for name in head)]
    for k in range(200):
        numbers = [f"{value:.3f}" for value in random.normal(60, 9, 9)]
        rows.append(",".join([*numbers, "oops" if k == 150 else str(k % 7), str(random.choice(["x", "y", "z"]))]))
    path = place.data / "awkward.csv"
    path.write_text("\ufeff" + "\n".join(rows) + "\n", encoding="utf-8")
    document, words, task = drafted(place, path, "体重 (kg)")
    assert task.target.name == "weight_kg"
    assert task.target.label.zh == "体重"
    assert task.by_name.keys() >= {"column_2", "say_it", "a", "a_1", "a_2", "select", "mixed", "order"}
    assert "line break" in left(document)["a\nb"]
    assert "'oops'" in words


def test_a_csv_in_gb18030_is_refused_with_the_way_to_utf8(place):
    path = place.data / "gb.csv"
    path.write_bytes("年龄,结果\n31,好\n".encode("gb18030"))
    assert "iconv -f GB18030 -t UTF-8" in refused(place, path, "结果")


def test_json_lines_are_read_and_nested_values_left_out(place):
    path = place.data / "rows.jsonl"
    lines = [{"x": k * 0.37 % 1, "nested": {"a": k}, "some": [k], "y": k * 0.37 % 1 + k % 3} for k in range(120)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    document, _, task = drafted(place, path, "y")
    assert list(task.by_name) == ["x"]
    assert left(document).keys() == {"nested", "some"}


def test_two_thousand_columns_are_drafted():
    random = np.random.default_rng(0)
    wide = pa.table({f"x {k}": random.normal(size=60) for k in range(2000)} | {"y": random.normal(size=60)})
    made = draft.draft(wide, "y", "wide", "wide.csv")
    assert len(made.fields) == 2000
    assert sql(made).count(" AS x_") == text(made).count("name: x_") == 2000


def test_a_table_elsewhere_is_named_by_its_whole_path_and_can_be_read(place, tmp_path):
    path = written(place, births()).rename(tmp_path / "elsewhere.parquet")
    _, words, task = drafted(place, path, "weight_g")
    assert task.data.sources == {"records": str(path)}
    assert "Outside GANCAO_DATA" in words
    assert offline.fetch(task, place.data).table.num_rows == N


def test_a_draft_of_few_rows_says_that_they_are_too_few(place):
    document, _ = new.new(written(place, births(30)), "weight_g", place)
    assert "at least 50" in Path(document["file"]).read_text(encoding="utf-8")
    assert any("at least 50" in guess["guess"] for guess in document["guesses"])


# --- refusals ---------------------------------------------------------------------------------------------------


def test_a_file_is_not_overwritten_without_force(place):
    path = written(place, births())
    first = Path(drafted(place, path, "weight_g")[0]["file"])
    before = first.read_text(encoding="utf-8")
    assert "--force" in refused(place, path, "smoker")
    assert first.read_text(encoding="utf-8") == before
    drafted(place, path, "smoker", force=True)
    assert first.read_text(encoding="utf-8") != before
    assert not list(first.parent.glob(".*")), "nothing half written is left"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("wieght_g", "Did you mean 'weight_g'"),
        ("country", "always 'CN'"),
        ("born", "is a time"),
        ("name", "different words"),
        ("nothing", "unknown in every row"),
    ],
)
def test_a_target_that_is_absent_or_is_none_is_refused_with_a_hint(place, target, says):
    more = {
        "born": [datetime.date(2024, 1, 1) + datetime.timedelta(k) for k in range(N)],
        "name": [f"name {k}" for k in range(N)],
        "nothing": pa.nulls(N, pa.float64()),
    }
    assert says in refused(place, written(place, births() | more), target)


def test_an_empty_table_a_missing_file_and_a_wrong_name_are_refused(place):
    for name, content in {"none.csv": "", "head.csv": "x,y\n"}.items():
        (place.data / name).write_text(content, encoding="utf-8")
        assert "no rows" in refused(place, place.data / name, "y")
    with pytest.raises(TableMissing):
        new.new(place.data / "absent.csv", "y", place)
    (place.data / "t.xlsx").write_text("x", encoding="utf-8")
    with pytest.raises(TableUnreadable, match="suffix"):
        new.new(place.data / "t.xlsx", "y", place)
    with pytest.raises(Usage, match="beginning with a letter"):
        new.new(written(place, births()), "weight_g", place, name="Not A Name")
    with pytest.raises(NotDrafted, match="No column is left"):
        drafted(place, written(place, {"id": [f"k{i}" for i in range(60)], "y": np.arange(60.0)}), "y")


# --- any table --------------------------------------------------------------------------------------------------

LETTERS = st.characters(codec="utf-8", exclude_characters="\x00")
VALUES = st.one_of(
    st.lists(st.none() | st.integers(-(2**40), 2**40), min_size=1, max_size=8),
    st.lists(st.none() | st.sampled_from([0, 1, 2, 3, 99, 999, -1]), min_size=1, max_size=8),
    st.lists(st.none() | st.floats(), min_size=1, max_size=8),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=8),
    st.lists(st.none() | st.text(LETTERS, max_size=6), min_size=1, max_size=8),
    st.lists(
        st.none() | st.sampled_from(["yes", "No", "NA", "1", "2,5", "2024-01-02", "it's", "m", "M "]),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.none() | st.datetimes(), min_size=1, max_size=8),
    st.lists(st.none() | st.dates(), min_size=1, max_size=8),
)
TABLES = st.dictionaries(st.text(LETTERS, min_size=1, max_size=8), VALUES, min_size=2, max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(TABLES, st.sampled_from([7, 75]))
def test_any_small_table_is_drafted_or_refused_with_a_sentence(columns, rows):
    """The draft is parsed and held against the table by `prove`, which takes away what the check refuses."""
    arrays = [pa.array([values[k % len(values)] for k in range(rows)]) for values in columns.values()]
    table = pa.Table.from_arrays(arrays, names=list(columns))
    table = offline.query("SELECT * FROM records", {"records": table}, "the test")  # names as DuckDB tells them apart
    try:
        made, task = prove.prove(draft.draft(table, table.column_names[-1], "any", "any.csv"), table)
    except NotDrafted as error:
        assert "\n" in str(error), "what happened, and what to do"
        return
    assert taskfile.parse(text(made)) == task


def test_the_example_of_the_docs_is_what_the_command_writes(place, monkeypatch):
    monkeypatch.chdir(place.data)
    made = re.search(r"```python\n(import csv.*?)```", (ROOT / "docs/task.md").read_text(encoding="utf-8"), re.DOTALL)
    piece = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert made is not None
    assert piece is not None
    subprocess.run([sys.executable, "-c", made[1]], check=True, cwd=place.data)
    _, words, _ = drafted(place, place.data / "visits.csv", "stay_days")
    for line in piece[1].splitlines():
        assert line in words.splitlines()


# --- training ---------------------------------------------------------------------------------------------------


def test_an_unedited_draft_trains_by_the_commands(place):
    home = Home(place.home, place.data, (("GANCAO_TASKS", str(place.tasks)),))
    written(place, births())
    document = home.json("new", str(place.data / "births.parquet"), "--target", "weight_g")
    assert Path(document["file"]) == place.tasks / "births.yaml"
    trained = home.json("train", "births", "--budget", "2trials")
    assert trained["metrics"]["rmse"] < 1.2 * trained["baselines"]["mean"]["rmse"]


LEAD = """
SELECT o.*, date_diff('minute', order_purchase_timestamp, order_delivered_customer_date) / 1440.0 AS delivery_days,
       customer_unique_id, customer_city, customer_state, product_id, seller_id, shipping_limit_date, price,
       freight_value, product_category_name, product_weight_g, product_length_cm, product_photos_qty
FROM orders o JOIN customers USING (customer_id)
JOIN (SELECT * FROM order_items WHERE order_item_id = 1) USING (order_id) LEFT JOIN products USING (product_id)
"""
FAULT = """
SELECT * EXCLUDE (Pastry, Z_Scratch, K_Scatch, Stains, Dirtiness, Bumps, Other_Faults),
  CASE WHEN Pastry = 1 THEN 'Pastry' WHEN Z_Scratch = 1 THEN 'Z_Scratch' WHEN K_Scatch = 1 THEN 'K_Scatch'
       WHEN Stains = 1 THEN 'Stains' WHEN Dirtiness = 1 THEN 'Dirtiness' WHEN Bumps = 1 THEN 'Bumps'
       ELSE 'Other' END AS fault FROM plates
"""
SHARED = {
    "hospital": ("birth_weight/cbwdb_assam_hospital.parquet", "BWt(kg)", {"LNH"}),
    "chemical": ("yield_rate/chem_process_yield.parquet", "yield", set()),
    "plates": ("yield_rate/steel_plates_faults.parquet", "Pastry", {"Bumps", "Stains"}),
    "faults": ("yield_rate/steel_plates_faults.parquet", "fault", set()),
    "lead": ("lead_time/olist_orders.parquet", "delivery_days", {"order_delivered_customer_date", "order_status"}),
    "bank": ("customer_response/bank_additional_full.parquet", "y", {"duration"}),
    "natality": ("birth_weight/natality_2014_100k.parquet", "dbwt", {"apgar5", "apgar10", "me_rout", "ab_nicu"}),
}


def shared_table(name: str, data: Path, place: Settings) -> Path:
    """A shared table as a person would have it: as it is, or joined and saved as CSV."""
    read = {path.stem.removeprefix("olist_"): offline.read_file(path) for path in data.glob("lead_time/*.parquet")}
    if name == "lead":
        made = offline.query(LEAD, read, "the test")
    elif name == "faults":
        made = offline.query(FAULT, {"plates": offline.read_file(data / SHARED[name][0])}, "the test")
    else:
        return data / SHARED[name][0]
    path = place.data / f"{name}.csv"
    made.to_pandas().to_csv(path, index=False)
    return path


@pytest.mark.proof
@pytest.mark.parametrize("name", list(SHARED) if FULL else ["hospital"])
def test_unedited_drafts_of_the_real_tables_pass_the_gate_and_train(shared_data, place, name):
    _, target, leaks = SHARED[name]
    path = shared_table(name, shared_data, place)
    document, _, task = drafted(place, path, target)
    assert leaks <= left(document).keys()
    assert len(task.fields) >= 10
    if FULL:
        trained = train(task, place, Budget(trials=2))
        assert trained.metrics[task.search.metric] > 0
