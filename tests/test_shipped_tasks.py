"""The shipped row tasks: read, sampled, checked, told in both languages; and one of them from table to page."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, expect

from benchmarks import tasks as bench
from experiments import catalog, stand_in
from experiments.sample import sample
from feature_store import offline, taskfile
from feature_store.check import check
from feature_store.errors import GancaoError, LeakageFound
from feature_store.field import Text
from feature_store.settings import Settings
from feature_store.task import Task
from tests.browsing import chromium
from tests.conftest import ROOT, SHARED, Home, need, serving
from training import dataset, leakage, splits

FULL = os.environ.get("GANCAO_PROOFS") == "full"
NEW = ("lead_time", "yield_fault", "process_yield", "customer_response")
EACH = pytest.mark.parametrize("name", NEW)


def of(name: str) -> Task:
    return taskfile.read(catalog.SHIPPED / f"{name}.yaml")


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 1,500 made-up rows of each task."""
    folder = tmp_path_factory.mktemp("sampled")
    for name in NEW:
        sample(name, folder, rows=1500)
    return folder


# --- stand-ins ----------------------------------------------------------------------------------------------------


@EACH
def test_a_stand_in_is_called_synthetic_passes_the_check_and_splits_without_a_leak(sampled, name):
    task = of(name)
    source = offline.fetch(task, sampled)
    assert source.synthetic
    assert [str(finding) for finding in check(task, source.table) if finding.severity == "error"] == []
    split = splits.split(task, dataset.labelled(task, source), 0)
    assert len(split.holdout) > 100
    leakage.gate(task, split.train, split.holdout)


@EACH
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, name):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        sample(name, tmp_path / folder, 60, seed)
    files = list(of(name).data.sources.values())
    one, same, other = ([(tmp_path / folder / file).read_bytes() for file in files] for folder in "abc")
    assert one == same != other


@EACH
def test_its_columns_and_types_are_those_of_the_real_files(shared_data, sampled, name):
    def columns(folder: Path, file: str) -> list[Any]:
        found = duckdb.sql(f"DESCRIBE SELECT * FROM '{folder / file}'").fetchall()
        return [(row[0], row[1]) for row in found]

    for file in of(name).data.sources.values():
        assert columns(sampled, file) == columns(shared_data, file), file


def test_of_several_files_none_is_written_where_one_is_not_marked_synthetic(tmp_path):
    real = tmp_path / of("lead_time").data.sources["places"]
    real.parent.mkdir(parents=True)
    real.write_text("precious")
    with pytest.raises(GancaoError, match=r"olist_geolocation.*not marked synthetic"):
        sample("lead_time", tmp_path, 50)
    assert [path.name for path in real.parent.iterdir()] == [real.name]


def test_every_script_belongs_to_a_shipped_task_and_every_file_is_marked(sampled):
    assert set(stand_in.names()) >= set(NEW)
    for name in stand_in.names():
        for file in of(name).data.sources.values():
            metadata = pq.read_metadata(sampled / file).metadata if (sampled / file).exists() else {}
            assert name not in NEW or metadata[offline.SYNTHETIC_KEY] == b"true"


# --- words --------------------------------------------------------------------------------------------------------


def texts(part: Any) -> Iterator[Text]:
    """Every text of a Task, wherever it stands."""
    if isinstance(part, Text):
        yield part
    elif isinstance(part, tuple):
        for one in part:
            yield from texts(one)
    elif hasattr(type(part), "model_fields"):
        for key in type(part).model_fields:
            yield from texts(getattr(part, key))


@EACH
def test_all_that_people_read_is_in_english_and_in_chinese(name):
    task = of(name)
    for text in texts(task):
        if text.en not in ("A300", "A400"):  # grades of steel
            assert re.search(r"[\u4e00-\u9fff]", text.zh), text
            assert not re.search(r"[\u4e00-\u9fff]", text.en), text


@EACH
def test_it_says_its_source_and_asks_for_every_field_in_a_section_of_the_form(name):
    task = of(name)
    assert task.data.citation
    listed = [field for section in task.form.sections for field in section.fields]
    assert sorted(listed) == sorted(task.by_name)


# --- the real tables ----------------------------------------------------------------------------------------------


@EACH
def test_the_real_table_passes_the_check_and_no_honest_field_is_taken_for_a_leak(shared_data, name):
    task = of(name)
    source = offline.fetch(task, shared_data)
    assert [str(finding) for finding in check(task, source.table) if finding.severity == "error"] == []
    split = splits.split(task, dataset.labelled(task, source), 0)
    assert leakage.find(task, split.train, split.holdout) == []


def test_with_the_duration_of_the_call_the_leakage_gate_stops_the_run(shared_data):
    text = (catalog.SHIPPED / "customer_response.yaml").read_text(encoding="utf-8")
    text = text.replace("      call_day,\n", "      call_day,\n      duration,\n", 1)
    text = text.replace("fields:\n", "fields:\n  - {name: duration, type: number, unit: s, limits: [0, 10000]}\n", 1)
    text = text.split("\nform:")[0] + "\n"
    task = taskfile.parse(text)
    split = splits.split(task, dataset.labelled(task, offline.fetch(task, shared_data)), 0)
    with pytest.raises(LeakageFound, match="duration: after_the_event"):
        leakage.gate(task, split.train, split.holdout)


def test_runs_of_one_lot_are_on_one_side_of_the_split(shared_data):
    task = of("process_yield")
    table = offline.fetch(task, shared_data).table
    split = splits.split(task, dataset.labelled(task, offline.fetch(task, shared_data)), 0)
    lot = table.column("lot").to_numpy()
    assert len(set(lot.tolist())) == 108
    assert not set(lot[split.train.number]) & set(lot[split.holdout.number])


def test_an_order_knows_only_deliveries_that_had_arrived_before_it(shared_data):
    """The pace so far, by a loop over every pair of orders (the oracle), for 60 orders of the real table."""
    task = of("lead_time")
    table = offline.fetch(task, shared_data).table.to_pylist()
    orders = pq.read_table(shared_data / task.data.sources["orders"]).to_pylist()
    items = pq.read_table(shared_data / task.data.sources["items"]).to_pylist()
    state = {
        row["customer_id"]: row["customer_state"]
        for row in pq.read_table(shared_data / task.data.sources["customers"]).to_pylist()
    }
    sellers: dict[str, set[str]] = {}
    for item in items:
        sellers.setdefault(item["order_id"], set()).add(item["seller_id"])
    done = [
        (o["order_id"], o["order_purchase_timestamp"], o["order_delivered_customer_date"], state[o["customer_id"]])
        for o in orders
        if o["order_status"] == "delivered" and o["order_delivered_customer_date"]
    ]
    by_time = sorted(done, key=lambda order: (order[1], order[0]))

    def pace(arrived: list[tuple[Any, ...]]) -> float | None:
        took = [(there - bought).total_seconds() / 86400 for _, bought, there, _ in arrived]
        return sum(took) / len(took) if took else None

    for place in np.linspace(0, len(table) - 1, 60).astype(int).tolist():
        row, (key, bought, _, where) = table[place], by_time[place]
        before = [other for other in done if other[2] < bought]
        own = [other for other in before if sellers[other[0]] & sellers[key]]
        near = [other for other in before if other[3] == where and other[2] >= bought - timedelta(days=60)]
        late = [other for other in before if other[2] >= bought - timedelta(days=30)]
        assert row["bought_at"] == bought
        assert row["seller_past_orders"] == len(own)
        for name, found in (("seller_past_d", own), ("state_past_d", near), ("all_past_d", late)):
            wanted = pace(found)
            assert row[name] == (None if wanted is None else pytest.approx(wanted, abs=0.0051)), name


def test_a_call_knows_only_how_the_calls_before_its_day_went(shared_data):
    task = of("customer_response")
    raw = pq.read_table(shared_data / task.data.sources["calls"]).to_pylist()
    table = offline.fetch(task, shared_data).table.to_pylist()
    hits = np.array([row["y"] == "yes" for row in raw], dtype=float)
    left_out = len(raw) - len(table)  # May to July 2008
    days = np.array([row["call_day"] for row in table])
    starts = {int(day): left_out + int(np.searchsorted(days, day)) for day in np.unique(days)}
    for day in [sorted(starts)[place] for place in (5, 60, 200, -1)]:
        start, first = starts[day], starts[day - 5]
        row = table[start - left_out]
        assert row["recent_yes_pct"] == pytest.approx(100 * hits[start - 200 : start].mean(), abs=0.051)
        assert row["week_calls"] == start - first
        assert row["week_yes_pct"] == pytest.approx(100 * hits[first:start].mean(), abs=0.051)


# --- the table of the README --------------------------------------------------------------------------------------


def test_the_readme_has_a_row_for_each_task_that_was_run_and_for_no_other(tmp_path, monkeypatch):
    assert set(bench.RUNS) == {path.stem for path in catalog.SHIPPED.glob("*.yaml")} & set(bench.RUNS)
    assert set(NEW) <= set(bench.RUNS)
    readme = tmp_path / "README.md"
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    readme.write_text(page, encoding="utf-8")
    monkeypatch.setattr(bench, "README", readme)
    monkeypatch.setattr(bench, "OUT", ROOT / "docs/benchmarks/tasks.md")
    bench.show_in_readme(Settings())
    assert readme.read_text(encoding="utf-8") == page


# --- from table to page -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def fill(page: Any, task: Task, row: dict[str, Any]) -> None:
    for name, value in row.items():
        if value is None:
            continue
        match task.by_name[name].type:
            case "flag":
                page.locator(f"input[name={name}][value={'yes' if value else 'no'}]").check()
            case "category":
                page.locator(f"#f-{name}").select_option(str(value))
            case _:
                page.locator(f"#f-{name}").fill(str(value))


@pytest.mark.proof
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NEW if FULL else NEW[:1])
def test_it_trains_is_served_and_a_person_reads_the_answer_that_an_application_gets(tmp_path, browser, name):
    """In full each task on its real table with its own budget; in short one of them, two trials on made-up rows."""
    task = of(name)
    if FULL:
        need(SHARED.is_dir(), "../shared/data (real public tables) is absent")
        home = Home(tmp_path / "home", SHARED)
        trained = home.json("train", name, "--promote")
        assert trained["verdict"]["decision"] != "reject", trained["verdict"]
    else:
        home = Home(tmp_path / "home", tmp_path / "data")
        home.run("sample", name, "--rows", "900")
        trained = home.json("train", name, "--budget", "2trials")
    home.run("promote", name, trained["version"], "--force")
    with serving(home) as server:
        schemas = server.get("/openapi.json").json()["components"]["schemas"]
        word = "".join(part.capitalize() for part in name.split("_"))
        row = schemas[f"{word}Request"]["examples"][0]["rows"][0]
        if name == "lead_time":
            row = {"purchased_on": "2018-06-01"} | row
        answer = server.post(f"/v1/{name}/predict", json={"rows": [row]}).json()["answers"][0]
        context = browser.new_context(base_url=server.base, viewport={"width": 390, "height": 844})
        for lang in ("en", "zh"):
            page = context.new_page()
            page.goto(f"/form/{name}?lang={lang}")
            fill(page, task, row)
            page.locator("#submit").click()
            shown = page.locator("#answer-value").get_attribute("value")
            assert shown == str(answer["value"] if "value" in answer else answer["label"])
            expect(page.locator("#answer")).to_contain_text(task.target.label[lang])
            root = "document.documentElement"
            assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
        context.close()
    if name == "lead_time":
        assert answer["decision"]["kind"] == "promise"
        promised = date.fromisoformat(row["purchased_on"]) + timedelta(days=answer["decision"]["days"])
        assert answer["decision"]["date"] == promised.isoformat()
        assert "purchased_on" not in [warning["field"] for warning in answer["warnings"]]
        assert 0 < trained["metrics"]["promise_kept"] <= 1
