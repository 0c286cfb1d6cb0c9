"""Training: what is learnt from, the record, the report, and the shipped tasks on their real tables."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments import catalog
from feature_store import taskfile
from feature_store.errors import TooFewRows
from feature_store.offline import Source
from feature_store.settings import Settings
from tests.conftest import ROOT, Home
from training import dataset
from training.dataset import Rows
from training.track import _names, open_registry


def test_an_optional_field_that_is_always_known_is_sometimes_hidden_so_that_unknown_is_learnt():
    task = taskfile.read(ROOT / "experiments/tasks/birth_weight_hospital.yaml")
    n = 4000
    columns = {
        field.name: np.full(
            n, "term" if field.type == "category" else 1.0, dtype=object if field.type == "category" else float
        )
        for field in task.fields
    }
    columns["parity"][0] = np.nan
    seen = dataset.with_unknowns(task, Rows(columns, np.zeros(n)), seed=0).columns
    share = np.mean([value is None for value in seen["term"]])
    assert abs(share - dataset.UNKNOWN_SHARE) < 4 * np.sqrt(0.05 * 0.95 / n)
    assert np.isnan(seen["parity"]).sum() == 1, "what has unknowns of its own is left alone"
    assert not np.isnan(seen["weight_first_kg"]).any(), "what is required is left alone"
    assert columns["term"][0] == "term", "and the table is not changed"


def test_rows_in_which_nothing_can_be_hidden_are_given_back_as_they_are():
    """Then the baselines learn from the very matrix of the search, and it is laid out once."""
    task = catalog.load("birth_weight_hospital")
    columns = {field.name: np.full(60, np.nan) for field in task.fields}
    rows = Rows(columns, np.zeros(60))
    assert dataset.with_unknowns(task, rows, seed=0) is rows


def test_a_query_that_fails_is_told_before_the_search(tmp_path):
    home = Home(tmp_path / "home", tmp_path)
    x = np.random.default_rng(0).normal(size=300)
    pq.write_table(pa.table({"x": x, "y": x + 1}), tmp_path / "t.parquet")
    task = {
        "task": "naive", "title": "T", "intended_use": "A test.",
        "target": {"name": "y", "label": "Y", "unit": "1", "limits": [-99, 99]},
        "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
        "fields": [{"name": "x", "type": "number", "limits": [-99, 99]}],
        "baselines": [{"name": "seasonal", "sql": "SELECT row_id, z AS value FROM holdout"}],
    }  # fmt: skip
    (tmp_path / "naive.yaml").write_text(json.dumps(task), encoding="utf-8")
    done = home.run("train", str(tmp_path / "naive.yaml"), "--budget", "2trials", code=1)
    assert "baseline seasonal of naive" in done.stderr
    assert not list(home.home.glob("runs/*")), "no trial was run"


def test_the_record_holds_what_was_promised(trained: Home):
    settings = Settings(home=trained.home, data=trained.data)
    registry = open_registry(settings)
    row = registry.versions("birth_weight")[0]
    client = registry._client
    run = client.get_run(row["run_id"])
    assert run.info.status == "FINISHED"
    assert {"budget", "seed", "rows"} <= set(run.data.params)
    assert {"rmse", "coverage", "baseline/lightgbm_defaults/rmse"} <= set(run.data.metrics)
    assert len(run.data.tags["gancao.data_digest"]) == 64
    children = client.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{row['run_id']}'")
    assert len(children) == 6
    assert all("loss" in child.data.metrics for child in children)
    names = {artifact.path for artifact in client.list_artifacts(row["run_id"])}
    assert {"report.html", "report.zh.html", "plots", "trials.csv", "environment.txt", "holdout.csv"} <= names
    assert {a.path for a in client.list_artifacts(row["run_id"], "plots")} >= {
        "plots/leaderboard.png",
        "plots/search.png",
    }


def test_the_report_is_self_contained_and_speaks_both_languages(trained: Home):
    english = next(trained.home.rglob("artifacts/report.html")).read_text(encoding="utf-8")
    chinese = next(trained.home.rglob("artifacts/report.zh.html")).read_text(encoding="utf-8")
    for page in (english, chinese):
        assert "LightGBM" in page
        assert "http://" not in page
        assert "https://" not in page
        assert page.count("data:image/png;base64,") >= 10
    assert "synthetic data" in english
    assert "合成数据" in chinese
    assert "better than" in english
    assert "优于" in chinese


def test_metrics_of_any_group_have_a_name_that_mlflow_takes():
    names = _names({"group/price<50/n": 1.0, "group/price>=50/n": 2.0, "group/州=北京/n": 3.0, "a*b": 4.0, "a+b": 5.0})
    assert list(names) == ["group/price below 50/n", "group/price from 50/n", "group/州_北京/n", "a_b", "a_b 2"]
    assert list(names.values()) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_too_few_labelled_rows_are_told():
    task = catalog.load("birth_weight")
    table = Rows({}, np.array([]))
    assert len(table) == 0
    source = _source({"birth_weight_g": [3000.0] * 10})
    with pytest.raises(TooFewRows, match="has 10 rows"):
        dataset.labelled(task, source)


def _source(columns):
    return Source(pa.table(columns), "digest", False)


def test_the_real_birth_weights_beat_lightgbm_defaults_and_cover(shared_data, tmp_path):
    """A short budget here; the README's figure comes from the full one."""
    home = Home(tmp_path / "home", shared_data)
    document = home.json("train", "birth_weight", "--budget", "3trials", "--promote")
    ours, theirs = document["metrics"], document["baselines"]["lightgbm_defaults"]
    assert 420 < theirs["rmse"] < 436
    assert ours["rmse"] <= theirs["rmse"] * 1.002
    assert abs(ours["coverage"] - 0.9) < 0.02
    for name, group in document["groups"].items():
        if group["n"] >= 300:
            assert abs(group["coverage"] - 0.9) < 0.03 + 2 * np.sqrt(0.09 / group["n"]), name
    assert set(document["baselines"]) == {"mean", "median_by_week", "linear", "lightgbm_defaults"}
    assert document["promoted"] is True


def test_the_hospital_table_trains_by_the_same_command(shared_data, tmp_path):
    home = Home(tmp_path / "home", shared_data)
    document = home.json("train", "birth_weight_hospital", "--budget", "11trials")
    assert document["metrics"]["mae"] < document["baselines"]["mean"]["mae"] * 1.02
    report = next(home.home.rglob("artifacts/report.html")).read_text(encoding="utf-8")
    assert "linear" in report
