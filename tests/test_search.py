"""The search: what is tried, in which order, how long, and what a failing learner costs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_store.errors import NothingLearnt
from feature_store.task import Budget
from training import proposals, trial
from training.job import Columns
from training.local_engine import LocalEngine
from training.losses import loss
from training.portfolio import PORTFOLIO
from training.proposals import ARMS, Tuner
from training.runlog import RunLog, Trial
from training.search import Search
from training.trial import Shared, TrialResult

FAST = ("lightgbm", "xgboost", "linear")


@pytest.fixture(scope="module")
def engine():
    engine = LocalEngine(2)
    yield engine
    engine.close()


class Quiet:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []

    def trial(self, trial: Trial) -> None:
        self.trials.append(trial)

    def tick(self, elapsed_s: float, running: list[str]) -> None:
        pass

    def interrupted(self) -> None:
        pass


def searching(folder: Path, engine, budget: str, learners=FAST, target=None, kind="regression") -> Search:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(400, 3))
    matrix[:, 2] = random.integers(1, 4, 400)
    signal = matrix[:, 0] + matrix[:, 2] + random.normal(size=400) * 0.3
    if target is None:
        cuts = {"regression": None, "binary": [2.0], "multiclass": [1.0, 2.0, 3.0]}[kind]
        target = signal if cuts is None else np.digitize(signal, cuts).astype(float)
    arrays = {"matrix": matrix, "target": target}
    for fold in range(4):
        arrays |= {f"fit_{fold}": np.flatnonzero(np.arange(400) % 4 != fold),
                   f"valid_{fold}": np.flatnonzero(np.arange(400) % 4 == fold)}  # fmt: skip
    outputs = 4 if kind == "multiclass" else 1
    metric = "rmse" if kind == "regression" else "log_loss"
    shared = Shared(engine.put(arrays, folder / "shared"), Columns((2,), (4,), (0, 0, 0)), kind, outputs, metric, 0)
    log = RunLog(folder / "run", {"made": True})
    return Search(engine, shared, log, Budget.model_validate(budget), learners, 0, Quiet())


def trace(trials: list[Trial]) -> list[tuple[int, str, str, float | None, int]]:
    return sorted((t.number, t.learner, json.dumps(t.config, sort_keys=True), t.loss, t.rounds) for t in trials)


def listed(learners=FAST) -> int:
    return sum(learner in learners for learner, _ in PORTFOLIO)


def test_a_search_by_trials_is_the_same_again_whatever_the_slots(tmp_path, engine):
    count = listed() + 7
    first = searching(tmp_path / "a", engine, f"{count}trials").run()
    single = LocalEngine(1)
    try:
        second = searching(tmp_path / "b", single, f"{count}trials").run()
    finally:
        single.close()
    assert trace(first) == trace(second)
    assert len(first) == count
    assert "portfolio" in {t.origin for t in first}
    assert {t.origin for t in first} & {"cfo", "blendsearch"}


@pytest.mark.parametrize("stopped_at", [3, 13])
def test_a_search_that_was_stopped_goes_on_with_the_same_trials(tmp_path, engine, stopped_at):
    count = listed() + 6
    whole = searching(tmp_path / "whole", engine, f"{count}trials").run()
    searching(tmp_path / "cut", engine, f"{stopped_at}trials").run()
    went_on = searching(tmp_path / "cut", engine, f"{count}trials").run()
    assert trace(went_on) == trace(whole)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_classes_are_searched_with_every_learner(tmp_path, engine, kind):
    learners = ("lightgbm", "xgboost", "catboost", "mlp", "linear")
    search = searching(tmp_path, engine, f"{listed(learners)}trials", learners, kind=kind)
    trials = search.run()
    assert {t.learner for t in trials if t.loss is not None} == set(learners)
    target = search.shared.arrays()["target"]
    shares = np.bincount(target.astype(int)) / len(target)
    prior = np.tile(shares[1:] if kind == "binary" else shares, (len(target), 1))
    assert min(t.loss for t in trials if t.loss is not None) < 0.8 * loss("log_loss", target, prior)


def test_a_search_by_seconds_ends_about_then_and_goes_on_where_it_was(tmp_path, engine):
    before = searching(tmp_path, engine, "3s").run()
    again = searching(tmp_path, engine, "6s").run()
    assert trace(before) == trace(again[: len(before)])
    assert len(again) > len(before)
    keys = [(t.learner, json.dumps(t.config)) for t in again if t.origin == "portfolio"]
    assert len(keys) == len(set(keys)), "no portfolio configuration is tried twice"


def test_predictions_and_models_are_kept_with_every_trial_and_belong_together(tmp_path, engine):
    search = searching(tmp_path, engine, "4trials")
    arrays = search.shared.arrays()
    for one in search.run():
        oof = search.log.oof(one)
        assert loss("rmse", arrays["target"], oof) == pytest.approx(one.loss)
        models, link = trial.unpack(search.log.models(one), 3)
        assert link == "identity"
        for (_, valid), model in zip(search.shared.folds(), models, strict=True):
            assert np.array_equal(model.predict(arrays["matrix"][valid]), oof[valid]), "the very models that are kept"


def test_a_fold_that_time_ran_out_on_still_has_a_model(tmp_path, engine):
    search = searching(tmp_path, engine, "1trials")
    config = {"n_estimators": 100_000, "num_leaves": 31, "learning_rate": 1e-5, "min_child_samples": 5}
    start = time.monotonic()
    result = trial.run(search.shared, "lightgbm", config, limit_s=1.0)
    assert time.monotonic() - start < 20
    assert 0 < result.rounds < 100_000
    assert np.isfinite(result.oof).all()


@pytest.mark.parametrize("learner", ["xgboost", "catboost", "mlp"])
def test_every_learner_with_rounds_keeps_a_limit(tmp_path, engine, learner):
    search = searching(tmp_path, engine, "1trials")
    endless = {"n_estimators": 100_000, "learning_rate": 1e-5}
    config = {
        "xgboost": {**endless, "max_leaves": 6},
        "catboost": {**endless, "depth": 6},
        "mlp": {"epochs": 100_000, "patience": 100_000},
    }[learner]
    result = trial.run(search.shared, learner, config, limit_s=1.0)
    assert result.seconds < 20
    assert np.isfinite(result.oof).all()


# --- failures -----------------------------------------------------------------------------------------------------


def crash(*_: Any) -> None:
    os._exit(11)


def hang(*_: Any) -> None:
    time.sleep(1000)


def devour(*_: Any) -> int:
    held = []
    while True:
        held.append(np.ones(10_000_000))


def give_nan(shared: Shared, *_: Any) -> TrialResult:
    return TrialResult(float("nan"), 0.0, np.full((400, 1), np.nan), 0, 0.1, 1.0, b"")


class Sabotaged(LocalEngine):
    """An engine on which one learner's trials do something else."""

    def __init__(self, learner: str, function: Callable[..., Any], **more: Any) -> None:
        super().__init__(2, **more)
        self._learner, self._function = learner, function

    def submit(self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None) -> int:
        struck = len(arguments) > 1 and arguments[1] == self._learner
        return super().submit(self._function if struck else function, *arguments, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("function", "word"),
    [(crash, "WorkerDied"), (hang, "TimeoutError"), (devour, "out of memory"), (give_nan, "not finite")],
    ids=["crashes", "hangs", "eats memory", "gives NaN"],
)
def test_a_learner_that_fails_costs_its_own_trials_only_and_is_named(tmp_path, function, word):
    sabotaged = Sabotaged("xgboost", function, memory_bytes=1_500_000_000)
    try:
        trials = searching(tmp_path, sabotaged, "20s" if function is hang else "8trials").run()
    finally:
        sabotaged.close()
    failed = [t for t in trials if t.loss is None]
    assert failed
    assert all(t.learner == "xgboost" and "xgboost" in t.failure and word in t.failure for t in failed)
    assert all(t.loss is not None for t in trials if t.learner != "xgboost")
    assert {t.learner for t in trials if t.loss is not None} == {"lightgbm", "linear"}


def test_where_every_learner_fails_there_is_an_error_with_the_reason(tmp_path):
    sabotaged = Sabotaged("linear", crash)
    try:
        with pytest.raises(NothingLearnt, match="linear failed: WorkerDied"):
            searching(tmp_path, sabotaged, "3trials", ("linear",)).run()
    finally:
        sabotaged.close()


def test_a_search_in_which_everything_fails_gives_up_before_its_time(tmp_path, engine):
    start = time.monotonic()
    with pytest.raises(NothingLearnt):
        searching(tmp_path, engine, "600s", target=np.full(400, np.nan)).run()
    assert time.monotonic() - start < 120


def test_a_search_with_only_a_linear_learner_ends(tmp_path, engine):
    trials = searching(tmp_path, engine, "60s", ("linear",)).run()
    assert {t.learner for t in trials} == {"linear"}
    assert len(trials) == listed(("linear",))


# --- proposals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ARMS, ids=str)
@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_a_tuner_stays_inside_flamls_space_and_repeats_itself(arm, kind):
    best = next(config for learner, config in PORTFOLIO if learner == arm[0])
    known = [Trial(0, arm[0], best, "portfolio", 1.0, 100, 1.0, 1.0)]

    def told() -> list[str]:
        tuner, out = Tuner(arm, (1000, 5), kind, known, seed=3), []
        for step in range(10):
            proposal = tuner.ask()
            if proposal is not None:
                out.append(json.dumps(proposal.config, sort_keys=True))
                tuner.tell(proposal, 1.0 / (step + 2) if step % 3 else None)
        return out

    first = told()
    assert len(set(first)) > 3
    assert first == told()


def done(number: int, learner: str, value: float, config: dict[str, Any] | None = None, origin="portfolio") -> Trial:
    return Trial(number, learner, config or {"n": number}, origin, value, 10, 1.0, float(number))


def test_the_learner_that_still_improves_gets_most_of_the_trials():
    """One arm halves its loss with every trial, the other has not improved for nine trials."""
    arms = (("lightgbm", "cfo"), ("xgboost", "cfo"))
    trials = [done(n, "lightgbm", 1.0 / 2**n) for n in range(10)]
    trials += [done(10 + n, "xgboost", 1.0 if n else 0.9) for n in range(10)]
    chosen = [proposals.choose_arm(arms, trials, [1.0] * 20, draw) for draw in np.linspace(0, 0.999, 200)]
    assert np.mean(np.array(chosen) == 0) > 0.8


def test_the_logarithm_is_proposed_for_skewed_targets_and_kept_where_it_helps():
    offered = list(proposals.portfolio(("lightgbm", "linear"), log_target=True))
    for learner in ("lightgbm", "linear"):
        scales = [p.config.get("target") for p in offered if p.learner == learner]
        assert scales[:2] == [None, "log"]
        assert scales.count("log") == 1
    plain, logged = (next(p for p in offered if p.learner == "lightgbm" and p.config.get("target") == scale)
                     for scale in (None, "log"))  # fmt: skip
    later = [p for p in offered if p.learner == "lightgbm"][2]
    pair = [done(0, "lightgbm", 2.0, plain.config), done(1, "lightgbm", 1.0, logged.config)]
    assert proposals.on_the_better_scale(later, pair).config["target"] == "log"
    worse = [done(0, "lightgbm", 1.0, plain.config), done(1, "lightgbm", 2.0, logged.config)]
    assert "target" not in proposals.on_the_better_scale(later, worse).config
    assert "target" not in proposals.on_the_better_scale(later, pair[:1]).config


def test_a_skewed_positive_target_is_searched_on_both_scales(tmp_path, engine):
    random = np.random.default_rng(1)
    search = searching(
        tmp_path, engine, "8trials", ("linear", "lightgbm"), target=np.exp(random.normal(size=400) * 1.5)
    )
    assert {t.config.get("target") for t in search.run()} == {None, "log"}
