"""The synthetic stand-in for the birth register: what it promises, and what it never does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lightgbm import LGBMRegressor

from experiments.sample import sample
from feature_store import offline, taskfile
from feature_store.check import check
from feature_store.errors import GancaoError, Usage
from feature_store.task import Task

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TASKS = Path(__file__).resolve().parents[1] / "experiments" / "tasks"
N = 20_000


@pytest.fixture(scope="module")
def task() -> Task:
    return taskfile.read(TASKS / "birth_weight.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data")
    sample("birth_weight", made, rows=N, seed=0)
    return made


@pytest.fixture(scope="module")
def fields(task: Task, folder: Path) -> dict[str, np.ndarray]:
    return offline.columns(task, offline.fetch(task, folder).table)


@pytest.fixture(scope="module")
def weight_g(task: Task, folder: Path) -> np.ndarray:
    return offline.target(task, offline.fetch(task, folder).table)


def near(share: float, n: int, slack: float = 0.0) -> object:
    """A share met by n independent rows: five standard errors, and `slack` for what is rounded in the model."""
    return pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / n) + slack)


# --- the file


def test_it_stands_where_the_task_looks_for_its_source_and_fetch_calls_it_synthetic(task, tmp_path):
    path = sample("birth_weight", tmp_path, rows=100)
    assert path == tmp_path / task.data.sources["births"]
    assert pq.read_metadata(path).metadata[offline.SYNTHETIC_KEY] == b"true"
    assert offline.fetch(task, tmp_path).synthetic


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    one, same, other = (
        sample("birth_weight", tmp_path / name, 500, seed).read_bytes() for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    assert one == same != other


def test_it_may_be_made_again_over_itself_and_leaves_nothing_else_behind(tmp_path):
    sample("birth_weight", tmp_path, rows=10)
    path = sample("birth_weight", tmp_path, rows=20)
    assert pq.read_metadata(path).num_rows == 20
    assert list(path.parent.iterdir()) == [path]


def test_20_000_births_take_less_than_two_seconds(tmp_path):
    began = time.perf_counter()
    sample("birth_weight", tmp_path, rows=N)
    assert time.perf_counter() - began < 6  # 0.4 s on an idle core


@pytest.mark.parametrize("marked", ["no Parquet", "Parquet without the mark", "Parquet marked false"])
def test_a_file_that_is_not_marked_synthetic_is_left_alone(tmp_path, marked):
    path = tmp_path / "birth_weight" / "natality_2014_100k.parquet"
    path.parent.mkdir()
    if marked == "no Parquet":
        path.write_text("precious")
    else:
        mark = {offline.SYNTHETIC_KEY: b"false"} if "false" in marked else None
        pq.write_table(pa.table({"dbwt": [3300]}).replace_schema_metadata(mark), path)
    before = path.read_bytes()
    with pytest.raises(GancaoError, match=r"not marked synthetic[\s\S]*another folder"):
        sample("birth_weight", tmp_path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_task_without_a_generator_is_refused_and_those_that_have_one_are_named(tmp_path):
    with pytest.raises(GancaoError, match=r"'staffing'[\s\S]*birth_weight"):
        sample("staffing", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_rows_are_refused(tmp_path):
    with pytest.raises(Usage, match="0 rows"):
        sample("birth_weight", tmp_path, rows=0)


@pytest.mark.skipif(
    not SHARED.exists() and os.environ.get("GANCAO_REQUIRE_ALL") != "1", reason="../shared/data is absent"
)
def test_its_columns_and_types_are_those_of_the_real_file(task, folder):
    relative = task.data.sources["births"]
    assert pq.read_schema(folder / relative).equals(pq.read_schema(SHARED / relative))


# --- the births


def test_the_table_passes_the_check(task, folder):
    findings = check(task, offline.fetch(task, folder).table)
    assert [str(finding) for finding in findings if finding.severity == "error"] == []
    assert len(findings) <= 1


def test_one_birth_is_enough_for_a_file(tmp_path, task):
    sample("birth_weight", tmp_path, rows=1)
    assert offline.fetch(task, tmp_path).table.num_rows <= 1


def test_every_column_of_the_task_is_filled_and_every_optional_number_is_sometimes_unknown(task, fields):
    for field in task.fields:
        if field.type == "number":
            unknown = np.isnan(fields[field.name]).mean()
            assert unknown < 0.2, field.name
            assert (unknown > 0) == (field.name not in ("gestation_weeks", "mother_age")), field.name
    assert None in set(fields["payer"])


def test_every_choice_of_every_category_occurs(task, fields):
    for field in task.fields:
        if field.type == "category":
            assert {choice.value for choice in field.choices} == set(fields[field.name]) - {None}


def test_weights_have_the_moments_of_births(weight_g):
    n = len(weight_g)
    assert n > 0.99 * N
    assert weight_g.mean() == pytest.approx(3270, abs=5 * 590 / np.sqrt(n) + 20)
    assert 550 < weight_g.std() < 620
    assert (weight_g < 2500).mean() == near(0.080, n, slack=0.005)  # Final 2014


def test_rates_are_the_published_ones(fields):
    n = len(fields["plurality"])
    bmi = fields["weight_before_kg"] / (fields["height_cm"] / 100) ** 2
    bmi = bmi[~np.isnan(bmi)]
    assert (fields["plurality"] == "twins").mean() == near(0.0339, n)
    assert (fields["fetal_sex"] == "male").mean() == near(1048 / 2048, n)
    assert (fields["gestation_weeks"] < 37).mean() == near(0.1139, n, slack=0.01)  # by last period: NVSR 64(1), 2013
    assert np.nanmean(fields["diabetes"]) == near(0.06, n, slack=0.005)
    assert np.nanmean(fields["cigarettes_before"] > 0) == near(0.109, n, slack=0.01)
    assert np.nanmean(fields["food_programme"]) == near(0.43, n, slack=0.02)
    assert np.mean(bmi < 18.5) == near(0.038, n, slack=0.01)
    assert np.mean(bmi >= 30) == near(0.248, n, slack=0.01)
    assert fields["mother_age"].mean() == pytest.approx(28, abs=0.7)


def test_weight_goes_with_what_it_is_known_to_go_with(fields, weight_g):
    term = (fields["gestation_weeks"] >= 39) & (fields["plurality"] == "singleton")

    def difference(these: np.ndarray) -> float:
        return weight_g[term & these].mean() - weight_g[term & ~these].mean()

    assert 80 < difference(fields["fetal_sex"] == "male") < 180
    assert -300 < difference(fields["cigarettes_trimester_3"] >= 10) < -60
    assert 30 < difference(fields["diabetes"] == 1) < 300
    assert -220 < difference(fields["children_living"] == 0) < -20
    by_week = [weight_g[fields["gestation_weeks"] == week].mean() for week in (30, 34, 37, 39, 40)]
    assert by_week == sorted(by_week)
    assert weight_g[fields["plurality"] == "twins"].mean() < 2500


def test_a_model_finds_in_them_about_what_it_finds_in_births(fields, weight_g):
    coded = [v if v.dtype != object else np.unique(v.astype(str), return_inverse=True)[1] for v in fields.values()]
    table, cut = np.column_stack(coded).astype(float), len(weight_g) * 3 // 4
    model = LGBMRegressor(n_jobs=1, verbose=-1, random_state=0).fit(table[:cut], weight_g[:cut])
    residual = weight_g[cut:] - model.predict(table[cut:])
    assert 0.35 < 1 - np.var(residual) / np.var(weight_g[cut:]) < 0.55
