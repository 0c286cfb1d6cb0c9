"""Training: the engine, the search, the ensemble, the gate, the record."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from experiments import catalog
from feature_store import taskfile
from feature_store.errors import NothingLearnt, TooFewRows
from feature_store.offline import Source
from feature_store.settings import Settings
from feature_store.task import Budget
from tests.conftest import ROOT, Home
from training import dataset, ensemble, gate
from training.dataset import Rows
from training.engine import LocalEngine, WorkerDied
from training.learners import Columns
from training.proposals import PORTFOLIO, Tuner
from training.runlog import RunLog, Trial
from training.search import Search
from training.track import _names, open_registry
from training.trial import Shared


# What the engine runs must be importable by name, so these stand at the top.
def double(number: int) -> int:
    return 2 * number


def die_once(marker: str) -> str:
    if not Path(marker).exists():
        Path(marker).touch()
        os._exit(9)
    return "alive"


def die(number: int) -> None:
    os._exit(number)


def fail(words: str) -> None:
    raise ValueError(words)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


@pytest.fixture(scope="module")
def engine():
    engine = LocalEngine(2)
    yield engine
    engine.close()


def outcome(engine, *submission, **more):
    ticket = engine.submit(*submission, **more)
    while ticket not in engine.wait_any([ticket], 1.0):
        pass
    return engine.result(ticket)


def test_an_engine_gives_back_what_its_functions_return(engine):
    tickets = [engine.submit(double, n) for n in range(6)]
    pending, done = set(tickets), []
    while pending:
        done = engine.wait_any(sorted(pending), 5.0)
        pending -= set(done)
    assert [engine.result(ticket) for ticket in tickets] == [0, 2, 4, 6, 8, 10]


def test_an_exception_in_a_worker_is_the_callers(engine):
    with pytest.raises(ValueError, match="so it is"):
        outcome(engine, fail, "so it is")


def test_a_worker_that_dies_is_tried_once_more(engine, tmp_path):
    assert outcome(engine, die_once, str(tmp_path / "marker")) == "alive"


def test_a_worker_that_dies_twice_costs_its_own_function_only(engine):
    with pytest.raises(WorkerDied, match="code 7"):
        outcome(engine, die, 7)
    assert outcome(engine, double, 4) == 8


def test_a_function_is_killed_after_its_time(engine):
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        outcome(engine, sleep, 60.0, timeout_s=0.5)
    assert time.monotonic() - start < 30


def test_a_cancelled_function_gives_its_slot_back(engine):
    tickets = [engine.submit(sleep, 60.0) for _ in range(2)]
    time.sleep(0.3)
    for ticket in tickets:
        engine.cancel(ticket)
    assert outcome(engine, double, 3) == 6


def test_a_pool_that_broke_is_built_anew(engine):
    engine._pool.stop()
    engine._pool.join()
    assert outcome(engine, double, 5) == 10


class Quiet:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []

    def trial(self, trial: Trial) -> None:
        self.trials.append(trial)

    def tick(self, elapsed_s: float, running: list[str]) -> None:
        pass


def searching(folder: Path, engine, budget: str, learners=("lightgbm", "xgboost", "linear"), target=None) -> Search:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(400, 3))
    matrix[:, 2] = random.integers(1, 4, 400)
    values = matrix[:, 0] + matrix[:, 2] + random.normal(size=400) * 0.3 if target is None else target
    shared = Shared(folder / "shared", Columns((2,), (0, 0, 0)), "rmse", 0).put(matrix, values, np.arange(400) % 4)
    log = RunLog(folder / "run", {"made": True})
    return Search(engine, shared, log, Budget.model_validate(budget), learners, 0, Quiet())


def trace(trials: list[Trial]) -> list[tuple[int, str, str, float | None, int]]:
    return sorted((t.number, t.learner, json.dumps(t.config, sort_keys=True), t.loss, t.rounds) for t in trials)


def test_a_search_by_trials_is_the_same_again_whatever_the_slots(tmp_path, engine):
    count = len(PORTFOLIO) + 5
    first = searching(tmp_path / "a", engine, f"{count}trials").run()
    single = LocalEngine(1)
    try:
        second = searching(tmp_path / "b", single, f"{count}trials").run()
    finally:
        single.close()
    assert trace(first) == trace(second)
    assert len(first) == count
    assert {trial.origin for trial in first} == {"portfolio", "cfo"}


def test_a_search_by_seconds_ends_about_then_and_goes_on_where_it_was(tmp_path, engine):
    first = searching(tmp_path, engine, "2s")
    before = first.run()
    again = searching(tmp_path, engine, "4s").run()
    assert trace(before) == trace(again[: len(before)])
    assert len(again) > len(before)
    keys = [(t.learner, json.dumps(t.config)) for t in again if t.origin == "portfolio"]
    assert len(keys) == len(set(keys)), "no portfolio configuration is tried twice"


def test_the_out_of_fold_predictions_are_kept_with_every_trial(tmp_path, engine):
    search = searching(tmp_path, engine, "3trials")
    trials = search.run()
    target = search.shared.arrays()[1]
    for trial in trials:
        rmse = float(np.sqrt(np.mean((search.log.oof(trial) - target) ** 2)))
        assert rmse == pytest.approx(trial.loss)


def test_a_trial_whose_loss_is_not_finite_fails_by_name_and_nothing_learnt_is_an_error(tmp_path, engine):
    search = searching(tmp_path, engine, "2trials", ("lightgbm",), target=np.full(400, np.inf))
    with pytest.raises(NothingLearnt, match="lightgbm"):
        search.run()
    assert {trial.loss for trial in search.watcher.trials} == {None}


def test_a_search_in_which_everything_fails_gives_up_before_its_time(tmp_path, engine):
    start = time.monotonic()
    with pytest.raises(NothingLearnt):
        searching(tmp_path, engine, "600s", target=np.full(400, np.nan)).run()
    assert time.monotonic() - start < 120


def test_a_search_with_only_a_linear_learner_ends(tmp_path, engine):
    trials = searching(tmp_path, engine, "30s", ("linear",)).run()
    assert {trial.learner for trial in trials} == {"linear"}
    assert len(trials) == sum(proposal.learner == "linear" for proposal in PORTFOLIO)


@pytest.mark.parametrize("learner", ["lightgbm", "xgboost"])
def test_the_tuner_stays_inside_flamls_space_and_repeats_itself(learner):
    def told() -> list[str]:
        tuner = Tuner(learner, 1000, 5, [(PORTFOLIO[1].config, 1.0)] if learner == "lightgbm" else [], seed=3)
        out = []
        for step in range(8):
            proposal = tuner.ask()
            assert proposal is not None
            out.append(json.dumps(proposal.config))
            tuner.tell(proposal, 1.0 / (step + 2) if step % 3 else None)
        return out

    assert told() == told()


def test_the_ensemble_is_never_worse_than_its_best_member_out_of_fold():
    random = np.random.default_rng(0)
    target = random.normal(size=500)
    oofs = [target + random.normal(size=500) * size for size in (1.0, 1.1, 1.2, 5.0)]
    chosen = ensemble.select("rmse", target, oofs, max_members=3)
    assert chosen.loss < min(np.sqrt(np.mean((oof - target) ** 2)) for oof in oofs) * 0.8
    assert sum(chosen.weights.values()) == pytest.approx(1.0)
    assert len(chosen.weights) <= 3
    assert np.allclose(chosen.oof, sum(weight * oofs[i] for i, weight in chosen.weights.items()))


def test_the_holdout_and_the_folds_share_nothing_and_leave_nothing_out():
    task = taskfile.read(ROOT / "experiments/tasks/birth_weight.yaml")
    rows = Rows({"gestation_weeks": np.arange(1003.0)}, np.random.default_rng(0).normal(size=1003))
    split = dataset.split(task, rows, seed=4)
    train, held = split.train.columns["gestation_weeks"], split.holdout.columns["gestation_weeks"]
    assert sorted([*train, *held]) == list(range(1003))
    assert len(held) == pytest.approx(0.2 * 1003, abs=5)
    assert np.bincount(split.folds).min() >= len(train) // 5 - 1
    assert held.tolist() == dataset.split(task, rows, seed=4).holdout.columns["gestation_weeks"].tolist()
    assert held.tolist() != dataset.split(task, rows, seed=5).holdout.columns["gestation_weeks"].tolist()
    assert abs(split.train.target.mean() - split.holdout.target.mean()) < 0.05, "stratified"


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


def test_the_gate_rejects_what_is_worse_and_does_not_reject_by_chance():
    task = taskfile.read(ROOT / "experiments/tasks/birth_weight_hospital.yaml")
    random = np.random.default_rng(0)
    target = random.normal(size=800)
    good, bad = target + random.normal(size=800), target + 1.3 * random.normal(size=800)
    baselines = {"mean": bad, "linear": bad, "lightgbm_defaults": good + 0.001 * random.normal(size=800)}
    accepted = gate.judge(task, target, good, baselines, seed=0)
    assert accepted.decision == "promote"
    assert accepted.reasons == ["better than mean", "better than linear", "not told apart from lightgbm_defaults"]
    refused = gate.judge(task, target, bad, {**baselines, "mean": good, "linear": bad}, seed=0)
    assert refused.decision == "reject"
    assert "worse than mean" in refused.reasons


def test_the_reigning_champion_is_a_rival_on_the_same_rows_only(own_home: Home):
    same = own_home.json("train", "birth_weight", "--budget", "1trials")
    assert any(reason.endswith("champion-1") for reason in same["verdict"]["reasons"])
    other = own_home.json("train", "birth_weight", "--budget", "1trials", "--seed", "3")
    assert not any("champion" in reason for reason in other["verdict"]["reasons"])
    document = own_home.json("compare", "birth_weight", "2", "1")
    assert document["versions"] == ["2", "1"]
    assert document["metrics"]["2"]["rmse"] == same["metrics"]["rmse"], "the number reported is the number compared"
    overall = document["differences"]["all"]
    expected = document["metrics"]["2"]["rmse"] ** 2 - document["metrics"]["1"]["rmse"] ** 2
    assert overall["mean"] == pytest.approx(expected)
    assert overall["low"] < overall["mean"] < overall["high"]
    assert "plurality=singleton" in document["differences"]
    assert "held out different rows" in own_home.run("compare", "birth_weight", code=1).stderr


def test_the_paired_test_rarely_calls_equals_different():
    """200 pairs of equally good predictions: about 1 in 20 is told apart at 95 %; 4 standard errors are 6 points."""
    task = taskfile.read(ROOT / "experiments/tasks/birth_weight.yaml")
    random, told = np.random.default_rng(0), 0
    for seed in range(200):
        target = random.normal(size=300)
        one, other = target + random.normal(size=300), target + random.normal(size=300)
        told += gate.compare(task, target, one, other, seed).word != "not told apart from"
    assert told / 200 < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)


def test_a_rejected_version_is_not_promoted_without_force(own_home: Home):
    """The newest version is promoted by hand only against its verdict's consent."""
    registry = open_registry(Settings(home=own_home.home, data=own_home.data))
    registry._client.set_model_version_tag("birth_weight", "1", "gancao.verdict", "reject")
    assert own_home.json("promote", "birth_weight", code=1)["promoted"] is False
    assert own_home.json("promote", "birth_weight", "--force")["promoted"] is True


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
    for page, words in ((english, "linear baseline"), (chinese, "线性基线")):
        assert words in page
        assert "lightgbm_defaults" in page
        assert "http://" not in page
        assert "https://" not in page
        assert page.count("data:image/png;base64,") == 6
    assert "synthetic data" in english
    assert "合成数据" in chinese
    assert "better than mean" in english
    assert "优于 mean" in chinese


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
    document = home.json("train", "birth_weight", "--budget", "5trials", "--promote")
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
    assert "linear baseline" in report
