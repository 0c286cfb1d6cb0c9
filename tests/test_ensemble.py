"""The ensemble: chosen on out-of-fold predictions, guarded, bounded, and how its members are made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.ensemble import combine
from tests.test_search import searching
from training import ensemble, members, trial
from training.ensemble import Bounds, Candidates
from training.local_engine import LocalEngine
from training.losses import loss
from training.members import Making

WIDE = Bounds(12, 1e6)


def made(metric: str, n: int, spreads: list[float], seed: int = 0) -> tuple[Candidates, list[np.ndarray], np.ndarray]:
    random = np.random.default_rng(seed)
    if metric in ("rmse", "mae"):
        target = random.normal(size=n)
        oofs = [(target + random.normal(size=n) * spread)[:, None] for spread in spreads]
    else:
        truth = random.normal(size=n)
        target = (random.random(n) < 1 / (1 + np.exp(-2 * truth))).astype(float)
        oofs = [(1 / (1 + np.exp(-2 * (truth + random.normal(size=n) * s))))[:, None] for s in spreads]
    return ensemble.candidates(metric, target, None, oofs, [50.0] * len(oofs)), oofs, target


@pytest.mark.parametrize("metric", ["rmse", "mae", "log_loss", "auc"])
def test_independent_errors_average_out_and_the_loss_is_the_metric_of_the_mean(metric):
    found, oofs, target = made(metric, 2000, [1.0, 1.1, 1.2, 5.0])
    chosen = ensemble.select(found, ["a"] * 4, Bounds(3, 1e6), 0)
    alone = [loss(metric, target, oof) for oof in oofs]
    assert chosen.loss < min(alone) * 0.95
    assert sum(chosen.weights.values()) == pytest.approx(1.0)
    assert len(chosen.weights) <= 3
    mean = np.asarray(sum(weight * oofs[index] for index, weight in chosen.weights.items()))
    assert chosen.loss == pytest.approx(loss(metric, target, mean), rel=1e-6)


def test_on_few_rows_forty_equals_are_not_chosen_among_by_luck():
    """40 equally good trials, 60 rows: the honest loss is no flattery, and what is chosen is as good on new rows."""
    honest, flattered, fresh = [], [], []
    for seed in range(20):
        found, oofs, target = made("rmse", 560, [1.0] * 40, seed)
        few = ensemble.candidates("rmse", target[:60], None, [oof[:60] for oof in oofs], [50.0] * 40)
        chosen = ensemble.select(few, ["a"] * 40, WIDE, seed)
        rest = found.take(np.arange(60, 560))
        honest.append(chosen.honest_loss)
        flattered.append(chosen.loss)
        fresh.append(rest.of_mean(chosen.weights))
    assert np.mean(flattered) < np.mean(fresh), "what chose flatters"
    error = np.std(np.array(honest) - np.array(fresh)) / np.sqrt(20)
    assert np.mean(honest) > np.mean(fresh) - 4 * error, "what did not choose does not"


def test_the_single_best_is_kept_where_the_others_only_repeat_it():
    _, oofs, target = made("rmse", 500, [1.0])
    twins = ensemble.candidates("rmse", target, None, [oofs[0], oofs[0].copy(), oofs[0].copy()], [50.0] * 3)
    chosen = ensemble.select(twins, ["a"] * 3, WIDE, 0)
    assert chosen.weights == {0: 1.0}


def test_the_bound_on_a_row_is_kept_and_one_trial_answers_where_none_keeps_it():
    found, _, _ = made("rmse", 1000, [1.0, 1.05, 1.1, 1.15])
    dear = replace(found, row_us=np.array([900.0, 400.0, 300.0, 200.0]))
    chosen = ensemble.select(dear, ["a"] * 4, Bounds(12, 700.0), 0)
    assert sum(dear.row_us[list(chosen.weights)]) <= 700
    beyond = ensemble.select(dear, ["a"] * 4, Bounds(12, 10.0), 0)
    assert list(beyond.weights) == [3], "the cheapest"


def test_weights_of_rows_count():
    random = np.random.default_rng(0)
    target = random.normal(size=1000)
    counts = np.where(np.arange(1000) < 500, 1.0, 1e-9)
    good_there = target + np.where(np.arange(1000) < 500, 0.1, 3.0) * random.normal(size=1000)
    good_here = target + np.where(np.arange(1000) < 500, 3.0, 0.1) * random.normal(size=1000)
    found = ensemble.candidates("rmse", target, counts, [good_here[:, None], good_there[:, None]], [1.0, 1.0])
    assert ensemble.select(found, ["a", "b"], WIDE, 0).weights.get(1, 0.0) > 0.95


# --- members --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine():
    engine = LocalEngine(2)
    yield engine
    engine.close()


def ready(folder: Path, engine: LocalEngine, max_row_us: float, left_s: float | None = None):
    search = searching(folder, engine, "4trials")
    trials = [t for t in search.run() if t.loss is not None]
    making = Making(engine, search.shared, search.log, max_row_us, lambda: left_s)
    return making, [(t, 1.0 / len(trials)) for t in trials]


def test_a_bag_answers_with_the_mean_of_the_folds_models(tmp_path, engine):
    making, chosen = ready(tmp_path, engine, 1e6, left_s=1e-3)
    kept = members.make(making, chosen)
    assert kept.way == "bag"
    matrix = making.shared.arrays()["matrix"]
    expected = np.zeros((len(matrix), 1))
    for one, weight in chosen:
        models, _ = trial.unpack(making.log.models(one), 3)
        expected += weight * np.mean([model.predict(matrix) for model in models], axis=0)
    assert np.allclose(combine(kept.members, matrix), expected)


def test_bag_or_refit_is_decided_by_rows_that_neither_has_seen(tmp_path, engine):
    making, chosen = ready(tmp_path, engine, 1e6)
    kept = members.make(making, chosen)
    assert kept.bag_loss is not None
    assert kept.refit_loss is not None
    assert kept.way == ("bag" if kept.bag_loss <= kept.refit_loss else "refit")
    assert all(len(member.models) == (4 if kept.way == "bag" else 1) for member in kept.members)


def test_by_time_members_know_the_newest_rows(tmp_path, engine):
    making, chosen = ready(tmp_path, engine, 1e6)
    making = replace(making, by_time=True)
    kept = members.make(making, chosen)
    assert kept.way == "refit"
    assert kept.bag_loss is None
    hurried = members.make(replace(making, left_s=lambda: 1e-3), chosen)
    assert hurried.way == "bag"
    last = [trial.unpack(making.log.models(one), 3)[0][-1] for one, _ in chosen]
    matrix = making.shared.arrays()["matrix"]
    for member, model in zip(hurried.members, last, strict=True):
        assert len(member.models) == 1
        assert np.array_equal(member.models[0].predict(matrix), model.predict(matrix))


def test_without_the_time_to_compare_members_are_fitted_on_all_rows(tmp_path, engine):
    making, chosen = ready(tmp_path, engine, 1e6)
    refitting = members.refit_s(making, chosen)
    heaviest = max(chosen, key=lambda pair: pair[1])[0]
    kept = members.make(replace(making, left_s=lambda: refitting + heaviest.seconds / 2), chosen)
    assert kept.way == "refit"
    assert kept.bag_loss is None


def test_a_bag_beyond_the_bound_is_refitted_and_costs_no_more(tmp_path, engine):
    making, chosen = ready(tmp_path, engine, 1.0)
    bound = sum(t.row_us for t, _ in chosen) * 1.5
    kept = members.make(replace(making, max_row_us=bound), chosen)
    assert kept.way == "refit"
    assert all(len(member.models) == 1 for member in kept.members)
    matrix = making.shared.arrays()["matrix"]
    target = making.shared.arrays()["target"]
    assert loss("rmse", target, combine(kept.members, matrix)) < 0.6 * float(np.std(target))
