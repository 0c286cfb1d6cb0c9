"""The comparison with other AutoML systems: its tables, its judgements, its pages, and how it watches a run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import automl_plot, automl_report, automl_results, automl_run, watch
from benchmarks.automl import said, time_left
from benchmarks.automl_results import Board
from benchmarks.automl_sources import BUNDLED, MAKERS
from benchmarks.automl_tables import MAX_ROWS, Table, places, read, split, task
from feature_store import offline
from serving import request
from tests.conftest import ROOT
from training import dataset

TITLES = {name: system.title for name, system in automl_run.SYSTEMS.items()}
LEAKS = (
    "duration",
    "lnh",
    "profit",
    "apgar5",
    "dbwt",
    "order_delivered_carrier_date",
    "product_category",
    "review_score",
)


# ---- the tables


def well_formed(table: Table) -> None:
    """What every system may rely on."""
    assert 100 <= len(table.x) == len(table.y) <= MAX_ROWS
    assert not table.y.isna().any()
    assert all(table.x[name].dtype in (object, np.float64) for name in table.x)
    assert not set(LEAKS) & set(table.x)
    if table.classes:
        assert min(table.y.value_counts()) >= 40, "a class is too small to be in every fold"
        assert set(table.y) == set(table.classes)
    parts = split(table, 0)
    assert not set(parts.train) & set(parts.test)
    assert len(parts.train) + len(parts.test) == len(table.y)
    assert {*places(table)[parts.train]} >= {*places(table)[parts.test]} or not table.classes


@pytest.mark.parametrize("name", BUNDLED)
def test_scikit_learns_tables_are_well_formed(name, tmp_path):
    well_formed(read(name, tmp_path / "absent"))


@pytest.mark.parametrize("name", sorted(set(MAKERS) - set(BUNDLED)))
def test_the_shared_tables_are_well_formed_and_hold_no_known_leak(name, shared_data):
    well_formed(read(name, shared_data))


def test_there_are_ten_tables_or_more_of_three_kinds():
    assert len(MAKERS) >= 10
    assert {kind for kind, _, _ in MAKERS.values()} == {"regression", "binary", "multiclass"}


def test_the_same_seed_gives_the_same_split_and_another_seed_another(tmp_path):
    table = read("diabetes", tmp_path)
    assert (split(table, 1).test == split(table, 1).test).all()
    assert set(split(table, 1).test) != set(split(table, 2).test)


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer", "wine"])
def test_gancao_learns_from_the_rows_and_targets_that_its_rivals_get(name, tmp_path):
    table = read(name, tmp_path)
    parts = split(table, 0)
    automl_run._lay_out(table, parts.train, parts.test, tmp_path)
    rows = dataset.labelled(task(table), offline.fetch(task(table), tmp_path))
    assert rows.classes == table.classes
    assert (rows.target == places(table)[parts.train]).all()
    assert all((rows.columns[column] == table.x[column].iloc[parts.train]).all() for column in table.x)


def test_a_task_of_the_comparison_refuses_no_row_of_its_table(shared_data):
    table = read("hospital_births", shared_data)
    rows = [{k: v for k, v in row.items() if v is not None and v == v} for row in table.x.to_dict("records")]
    assert request.check(task(table), rows) == []


def test_a_shared_table_without_its_folder_says_which_and_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"bank_calls needs the shared tables.*--data"):
        read("bank_calls", tmp_path / "absent")


# ---- judgements and pages, on made-up results


def record(system: str, table: str, loss: float, seed: int = 0, **more: object) -> dict:
    """A run's document, its bootstrap samples spread by a hundredth of the loss, the same for all systems."""
    noise = 1 + 0.01 * np.random.default_rng(seed).standard_normal(automl_run.RESAMPLES)
    own = 1 + 0.002 * np.random.default_rng([seed, len(system)]).standard_normal(automl_run.RESAMPLES)
    head = {"system": system, "table": table, "kind": "regression", "metric": "rmse", "seed": seed, "budget_s": 60.0}
    shape = {"train_rows": 750, "test_rows": 250, "columns": 9, "process_s": 70.0, "peak_bytes": 3e8}
    cost = {"train_s": 61.0, "row_s": 0.0001, "batch_s": 0.01, "size_bytes": 1e6, "versions": {"lightgbm": "4.7.0"}}
    return head | shape | cost | {"loss": loss, "resampled": (loss * noise * own).tolist()} | more


def failed(system: str, table: str, reason: str, seed: int = 0) -> dict:
    """A run that came to nothing."""
    whole = record(system, table, 1.0, seed)
    for name in ("loss", "resampled", "train_s", "row_s", "batch_s", "size_bytes", "versions"):
        del whole[name]
    return whole | {"failed": reason}


def board(records: list[dict]) -> Board:
    """All systems and the tables that are named."""
    return Board(records, list(automl_run.SYSTEMS), sorted({r["table"] for r in records}))


def told(results: Board, wider: Board | None = None) -> str:
    """The page of a board."""
    return automl_report.page(results, wider or results, TITLES, "python -m benchmarks.automl", "a machine")


def one_split() -> Board:
    """A win, a tie within the test rows' noise, a loss, and a rival that fails."""
    return board(
        [
            record("gancao", "a_win", 8.0),
            record("lightgbm", "a_win", 10.0),
            record("autogluon_best", "a_win", 9.0, row_s=0.01),
            record("gancao", "b_tie", 10.001),
            record("lightgbm", "b_tie", 10.0),
            record("autogluon_best", "b_tie", 12.0, row_s=0.02),
            record("gancao", "c_loss", 10.0),
            record("lightgbm", "c_loss", 9.0),
            failed("autogluon_best", "c_loss", "not done after 240 s"),
        ]
    )


def test_with_one_split_a_tie_is_what_the_test_rows_cannot_tell_apart_and_the_page_says_so():
    results = one_split()
    assert results.first == {"a_win": ["gancao"], "b_tie": ["lightgbm", "gancao"], "c_loss": ["lightgbm"]}
    page = told(results)
    assert "first, or not told apart from the first, on 2 of 3 tables" in page
    assert "its mean error is the smallest on 1." in page
    assert "1 split each" in page
    assert "the spread from one split to the next is not known" in page


def test_losses_stand_on_the_page_as_plainly_as_wins():
    page = told(one_split())
    assert "Behind beyond the noise on c_loss." in page
    assert "- Behind LightGBM defaults beyond the noise: 1 (c_loss); in the mean: 2 (b_tie, c_loss)." in page
    assert "| c_loss (RMSE) | 1.111 | **1.000** | failed (1 of 1) |" in page


def test_a_failure_is_ranked_last_and_told_with_its_reason():
    results = one_split()
    assert results.ranked("c_loss") == ["lightgbm", "gancao"]
    assert results.rank("autogluon_best") == pytest.approx((2 + 3 + 3) / 3)
    page = told(results)
    assert "- AutoGluon best on c_loss, seed 0: not done after 240 s" in page


def test_own_failure_counts_as_behind():
    results = board([failed("gancao", "a", "exit code 1: KeyError"), record("lightgbm", "a", 10.0)])
    assert results.behind("gancao", "lightgbm") == (["a"], ["a"])
    assert "on 0 of 1 tables" in automl_report.gist(results, TITLES)


def test_with_five_splits_the_noise_is_that_of_the_splits():
    steady = [record("gancao", "a", 9.0 + 0.1 * seed, seed) for seed in range(5)]
    steady += [record("lightgbm", "a", 10.0 + 0.1 * seed + 0.01 * (seed % 2), seed) for seed in range(5)]
    shaky = [record("gancao", "b", 9.0 + 2.0 * (seed % 2), seed) for seed in range(5)]
    shaky += [record("lightgbm", "b", 11.0 - 2.0 * (seed % 2), seed) for seed in range(5)]
    results = board([*steady, *shaky])
    assert results.first == {"a": ["gancao"], "b": ["gancao", "lightgbm"]}
    page = told(results)
    assert "5 splits each" in page
    assert "t interval over the splits" in page
    assert "**0.902** (0.900–0.904)" in automl_report.relative(board([*steady]), TITLES)


def test_systems_that_ran_on_fewer_splits_stand_beside_all_others_on_these():
    both = [
        record(system, "a", loss, seed) for system, loss in (("gancao", 9.0), ("lightgbm", 10.0)) for seed in (0, 1)
    ]
    wider = board([*both, record("lightautoml", "a", 8.0)])
    page = told(board(both), wider)
    assert "2 splits each" in page
    assert "relative to LightGBM defaults on 1 split that all have run on" in page
    assert "| a (RMSE) | 0.900 | 1.000 | **0.800** |" in page
    assert "## All systems" not in told(board(both))


def test_the_interval_over_splits_is_the_corrected_one():
    own, other = [1.0, 2.0, 4.0], [1.5, 2.0, 3.0]
    records = [record("gancao", "a", loss, seed) for seed, loss in enumerate(own)]
    records += [record("lightgbm", "a", loss, seed) for seed, loss in enumerate(other)]
    gaps = np.subtract(own, other)
    width = 4.302652729911275 * np.sqrt(np.var(gaps, ddof=1) * (1 / 3 + 250 / 750))  # t of 2 degrees at 97.5 %
    found = board(records).versus("gancao", "lightgbm", "a")
    assert (found.low, found.high) == pytest.approx((gaps.mean() - width, gaps.mean() + width))


def test_a_split_that_not_all_systems_have_run_is_left_out():
    results = board([record("gancao", "a", 1.0, 0), record("lightgbm", "a", 1.0, 0), record("gancao", "a", 9.0, 1)])
    assert results.seeds == {"a": [0]}


def test_row_times_are_told_as_ratios():
    assert one_split().row_ratios("autogluon_best") == pytest.approx([100, 200])
    gist = automl_report.gist(one_split(), TITLES)
    assert "One row is answered 150 times as fast as by AutoGluon best (median of the tables; 100 to 200)." in gist


def test_the_readme_keeps_all_but_the_block_between_its_marks():
    text = "before\n<!-- automl -->\nstale\n<!-- /automl -->\nafter\n"
    page = automl_report.readme(text, one_split(), TITLES)
    assert page.startswith("before\n<!-- automl -->\n- **Gancao is first")
    assert page.endswith("<!-- /automl -->\nafter\n")
    assert "stale" not in page
    with pytest.raises(ValueError, match="lacks the marks"):
        automl_report.readme("no marks", one_split(), TITLES)


def test_without_gancaos_own_runs_the_page_says_that_they_are_missing():
    page = told(board([record("lightgbm", "a", 1.0)]))
    assert "Gancao itself has not run" in page


@pytest.mark.parametrize("splits", [1, 3])
def test_the_picture_is_drawn_for_one_split_and_for_several(tmp_path, splits):
    records = [
        record(system, table, 1.0 + 0.3 * place * (-1) ** seed, seed)
        for seed in range(splits)
        for table in ("a", "b")
        for place, system in enumerate(automl_run.SYSTEMS)
    ]
    automl_plot.draw(board(records), TITLES, tmp_path / "img" / "automl.png")
    assert (tmp_path / "img" / "automl.png").read_bytes().startswith(b"\x89PNG")


# ---- the results' file


def test_an_interrupted_file_is_read_but_for_its_half_line_and_a_later_run_replaces_an_earlier(tmp_path):
    file = tmp_path / "automl.jsonl"
    lines = [json.dumps(record("gancao", "a", loss)) for loss in (3.0, 2.0)]
    file.write_text("\n".join([*lines, lines[0][:40]]), encoding="utf-8")
    assert [r["loss"] for r in automl_results.read(file)] == [2.0]
    assert automl_results.read(tmp_path / "absent.jsonl") == []


def test_time_left_follows_what_the_runs_took():
    missing = [(0, "a", "gancao"), (0, "a", "lightgbm")]
    assert time_left(missing, [record("gancao", "b", 1.0, process_s=595.0)], 60.0) == "10 min left"
    assert "FAILED after 70 s: too late" in said(failed("gancao", "a", "too late"), None)


# ---- runs under watch


def watched(code: str, tmp_path: Path, limit_s: float = 20) -> watch.Watched:
    """A Python program under watch."""
    return watch.run([sys.executable, "-c", code], [0], limit_s, tmp_path / "log", {"PATH": "/usr/bin:/bin"})


def test_the_memory_of_children_counts(tmp_path):
    child = "import time; b = bytearray(120_000_000); time.sleep(1.5)"
    found = watched(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])", tmp_path)
    assert found.code == 0
    assert 120e6 < found.peak_bytes < 220e6


def test_a_late_run_is_ended_with_a_child_that_left_its_session(tmp_path):
    mark = f"sleep 98.{time.time_ns() % 1_000_000}"
    code = f"import subprocess, time; subprocess.Popen({mark.split()}, start_new_session=True); time.sleep(99)"
    found = watched(code, tmp_path, limit_s=1.0)
    assert found.code is None
    assert found.seconds < 10
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert mark not in listed.splitlines()


def test_a_contestant_that_fails_is_a_result_with_its_reason(tmp_path):
    found = watched("raise KeyError('price')", tmp_path)
    assert automl_run._reason(found) == "exit code 1: KeyError: 'price'"


def test_a_contestant_never_sees_the_target_of_the_test_rows(tmp_path):
    table = read("diabetes", tmp_path)
    parts = split(table, 0)
    automl_run._lay_out(table, parts.train, parts.test, tmp_path)
    columns = offline.read_file(tmp_path / "test.parquet").column_names
    assert "target" not in columns
    assert offline.read_file(tmp_path / "train.parquet").num_rows == len(parts.train)


def test_bootstrap_samples_are_the_same_rows_for_every_system():
    target = np.arange(50.0)
    one = automl_run.losses("mae", target, target[:, None] + 1.0, seed=3)
    two = automl_run.losses("mae", target, target[:, None] + 1.0, seed=3)
    assert one == two
    assert len(one["resampled"]) == automl_run.RESAMPLES


@pytest.mark.parametrize("script", sorted({system.script for system in automl_run.SYSTEMS.values()}))
def test_every_system_has_its_script_and_its_lock(script):
    assert (automl_run.SCRIPTS / script).is_file()
    for system in automl_run.SYSTEMS.values():
        lock = ROOT / "benchmarks/contestants/locks" / f"{system.environment}.txt"
        assert not system.environment or "==" in lock.read_text(encoding="utf-8")
