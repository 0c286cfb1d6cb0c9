"""The gate: paired comparisons of any metric, verdicts that are earned, and versions side by side."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store import offline
from feature_store.errors import NotComparable
from feature_store.settings import Settings
from feature_store.task import Task
from serving import bundle as bundles
from serving import encode
from serving.additive import Additive, Curve
from serving.bundle import Bundle
from serving.distribution import ALL, Cell, Distribution, GroupNames
from serving.ensemble import Member
from serving.predictor import Predictor
from tests.oracles import auc_error_by_pairs
from training import compare_plot, dataset, evaluate, gate, golden, losses, paired, rivals, splits
from training.dataset import Rows
from training.paired import Difference, Ground
from training.track import Record, Registry, open_registry


def task(kind: str = "regression", **more: Any) -> Task:
    target = {
        "regression": {"name": "y", "unit": "g", "limits": [-100, 100], "label": "Y"},
        "binary": {"name": "y", "positive": "yes", "label": "Y"},
        "multiclass": {"name": "y", "label": "Y"},
    }[kind]
    return Task.model_validate(
        {
            "task": "made",
            "title": "Made",
            "intended_use": "A test.",
            "kind": kind,
            "target": target,
            "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
            "fields": [
                {"name": "x", "type": "number", "limits": [-100, 100]},
                {"name": "sex", "type": "category", "choices": ["f", "m"]},
            ],
            "groups": [{"field": "sex"}],
            **more,
        }
    )


GATE = {"gate": {"baselines": ["mean"]}}


def noisy(target: np.ndarray, size: float, seed: int) -> np.ndarray:
    return (target + size * np.random.default_rng(seed).normal(size=len(target)))[:, None]


@pytest.fixture
def ground() -> Ground:
    return Ground(np.random.default_rng(0).normal(size=2000))


# --- verdicts


def test_a_version_worse_than_a_baseline_is_rejected_and_one_alike_is_not(ground):
    good, bad = noisy(ground.target, 1.0, 1), noisy(ground.target, 1.3, 2)
    baselines = {"mean": bad, "linear": bad, "lightgbm_defaults": good + 0.001 * noisy(ground.target, 1.0, 3)}
    accepted = gate.judge(task(), ground, good, baselines, {}, seed=0)
    assert accepted.decision == "promote"
    assert accepted.reasons == ["better than mean", "better than linear", "not told apart from lightgbm_defaults"]
    refused = gate.judge(task(), ground, bad, {**baselines, "mean": good, "linear": bad}, {}, seed=0)
    assert refused.decision == "reject"
    assert "worse than mean" in refused.reasons


def test_the_mean_is_a_rival_also_where_the_gate_does_not_name_it(ground):
    good, bad = noisy(ground.target, 1.0, 1), noisy(ground.target, 1.3, 2)
    made = task(gate={"baselines": ["linear"]})
    verdict = gate.judge(made, ground, bad, {"linear": noisy(ground.target, 2.0, 3), "mean": good}, {}, seed=0)
    assert (verdict.decision, verdict.reasons) == ("reject", ["better than linear", "worse than mean"])


def test_a_version_that_was_not_shown_to_beat_the_mean_is_a_challenger(ground):
    verdict = gate.judge(task(**GATE), ground, noisy(ground.target, 1, 1), {"mean": noisy(ground.target, 1, 2)}, {}, 0)
    assert (verdict.decision, verdict.reasons) == ("challenger", ["not told apart from mean"])


@pytest.mark.parametrize(
    ("size", "blur", "decision", "reason"),
    [
        (0.9, 0.05, "promote", "better than champion-3"),
        (1.0, 0.002, "promote", "no worse than champion-3"),
        (1.0, 0.4, "challenger", "not told apart from champion-3"),
        (1.2, 0.05, "reject", "worse than champion-3"),
    ],
)
def test_a_version_must_be_better_than_the_champion_or_surely_no_worse(ground, size, blur, decision, reason):
    error = np.random.default_rng(1).normal(size=(2000, 1))
    blurs = np.random.default_rng(2).normal(size=(2, 2000, 1))
    champion = ground.target[:, None] + error + blur * blurs[0]
    version = ground.target[:, None] + size * error + blur * blurs[1]
    verdict = gate.judge(task(**GATE), ground, version, {"mean": 3 + 0 * error}, {"champion-3": champion}, seed=0)
    assert (verdict.decision, verdict.reasons) == (decision, ["better than mean", reason])


def test_the_same_predictions_again_are_no_worse(ground):
    version = noisy(ground.target, 1, 1)
    verdict = gate.judge(task(**GATE), ground, version, {"mean": 9 + version}, {"champion-1": version}, seed=0)
    assert (verdict.decision, verdict.reasons[1]) == ("promote", "no worse than champion-1")


def grouped(n: int, share: float) -> tuple[Ground, np.ndarray]:
    target = np.random.default_rng(0).normal(size=n)
    inside = np.arange(n) < share * n
    return Ground(target, None, [("sex=f",) if f else ("sex=m",) for f in inside]), inside


@pytest.mark.parametrize(("share", "decision"), [(0.1, "challenger"), (0.02, "promote"), (0.01, "promote")])
def test_a_group_that_suffers_holds_a_better_version_back_unless_it_is_small(share, decision):
    ground, inside = grouped(4000, share)
    champion = noisy(ground.target, 1.0, 1)
    version = np.where(inside[:, None], noisy(ground.target, 1.6, 2), noisy(ground.target, 0.7, 3))
    verdict = gate.judge(task(**GATE), ground, version, {"mean": champion}, {"champion-3": champion}, seed=0)
    assert verdict.decision == decision
    assert ("worse than champion-3 for sex=f" in verdict.reasons) == (decision == "challenger")
    assert verdict.groups["sex=m"].word == "better than"
    assert verdict.groups["sex=f"].n == share * 4000


def test_groups_alike_rarely_hold_a_version_back():
    """100 pairs with 8 groups each: the false alarms of all groups together stay near 2.5 %; 4 errors are 6 points."""
    random, alarms = np.random.default_rng(0), 0
    for seed in range(100):
        target = random.normal(size=800)
        ground = Ground(target, None, [(f"g={i % 8}",) for i in range(800)])
        one, other = (target + random.normal(size=800))[:, None], (target + random.normal(size=800))[:, None]
        found = paired.compare_groups(task(), ground, one, other, seed, shared=True)
        alarms += any(difference.word == "worse than" for difference in found.values())
    assert alarms / 100 < 0.025 + 4 * np.sqrt(0.025 * 0.975 / 100)


def test_a_verdict_is_plain_data_with_its_numbers(ground):
    version = noisy(ground.target, 1, 1)
    document = gate.judge(task(**GATE), ground, version, {"mean": 2 + version}, {"champion-1": version}, 0).to_json()
    assert list(document) == ["decision", "reasons", "differences", "groups"]
    assert set(document["differences"]["champion-1"]) == {"n", "mean", "low", "high", "other", "word"}


# --- the paired comparison


@pytest.mark.parametrize("metric", ["rmse", "mae"])
def test_a_difference_is_of_the_metric_itself_in_the_targets_unit(ground, metric):
    made = task(search={"metric": metric})
    one, other = noisy(ground.target, 1.0, 1), noisy(ground.target, 1.1, 2)
    found = paired.compare(made, ground, one, other, 0)
    assert found.mean == losses.loss(metric, ground.target, one) - losses.loss(metric, ground.target, other)
    assert found.low < found.mean < found.high
    assert found.other == losses.loss(metric, ground.target, other)
    assert found == paired.compare(made, ground, one, other, 0), "the same seed, the same interval"


@pytest.mark.parametrize(("kind", "metric"), [("regression", "rmse"), ("binary", "log_loss"), ("binary", "auc")])
def test_the_paired_test_rarely_calls_equals_different(kind, metric):
    """200 pairs of equally good predictions: about 1 in 20 is told apart at 95 %; 4 standard errors are 6 points."""
    made = task(kind, search={"metric": metric})
    random, told = np.random.default_rng(0), 0
    for seed in range(200):
        signal = random.normal(size=300)
        target = signal if kind == "regression" else (signal + random.logistic(size=300) > 0).astype(float)
        one, other = ((signal + random.normal(size=300))[:, None] for _ in range(2))
        if kind == "binary":
            one, other = 1 / (1 + np.exp(-one)), 1 / (1 + np.exp(-other))
        told += paired.compare(made, Ground(target), one, other, seed).word != "not told apart from"
    assert told / 200 < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)


def test_rows_that_depend_on_each_other_are_drawn_together():
    """30 groups of 20 rows whose errors are one: row by row half of all equals would be told apart."""
    made, told = task(), {"units": 0, "rows": 0}
    random = np.random.default_rng(0)
    units = np.repeat(np.arange(30), 20)
    for seed in range(100):
        one, other = (random.normal(size=30)[units][:, None] for _ in range(2))
        for name, given in (("units", units), ("rows", None)):
            found = paired.compare(made, Ground(np.zeros(600), None, None, given), one, other, seed)
            told[name] += found.word != "not told apart from"
    assert told["units"] / 100 < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 100)
    assert told["rows"] > 40


def test_units_follow_the_split():
    n = 200
    groups = np.array([f"g{i // 10}" for i in range(n)], dtype=object)
    made = [
        task(split={"kind": "grouped", "by": "g"}),
        *(task(split={"kind": "time", "by": "t", "gap": g}) for g in (0, 7)),
    ]
    rows = [Rows({}, np.zeros(n), by=by) for by in (groups, np.arange(n) // 2, np.arange(n) * 1.0)]
    found = [paired.units(one, given) for one, given in zip(made, rows, strict=True)]
    assert [len(np.unique(one)) for one in found] == [20, 100, 29]
    assert paired.units(task(), rows[0]) is None
    few = paired.units(made[2], Rows({}, np.zeros(n), by=np.arange(n) % 50 * 1.0))
    assert len(np.unique(few)) == 50, "8 blocks of 7 are too few to draw from"


def test_a_weight_counts_as_so_many_rows(ground):
    one, other = noisy(ground.target, 1.0, 1), noisy(ground.target, 1.1, 2)
    weight = np.where(np.arange(2000) < 500, 3.0, 1.0)
    again = np.repeat(np.arange(2000), weight.astype(int))
    found = paired.compare(task(), Ground(ground.target, weight), one, other, 0)
    repeated = paired.compare(task(), Ground(ground.target[again], units=again), one[again], other[again], 0)
    assert (found.mean, found.low, found.high) == pytest.approx((repeated.mean, repeated.low, repeated.high))


def chances(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    signal = random.normal(size=n)
    target = (signal + random.logistic(size=n) > 1).astype(float)
    one, other = (1 / (1 + np.exp(-signal - random.normal(size=n) * s)) for s in (0.3, 0.8))
    return target, one.round(2), other.round(2)  # with ties


def test_the_error_of_an_auc_difference_is_delongs():
    target, one, other = chances(300, 0)
    assert paired.auc_error(Ground(target), one, other) == pytest.approx(auc_error_by_pairs(target, one, other))
    singles = paired.auc_error(Ground(target, units=np.arange(300)), one, other)
    assert singles == pytest.approx(paired.auc_error(Ground(target), one, other), rel=0.02)
    assert paired.auc_error(Ground(np.ones(300)), one, other) == 0.0


def test_delongs_interval_is_that_of_a_bootstrap():
    target, one, other = chances(1000, 1)
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        rows = random.integers(0, 1000, 1000)
        drawn.append(losses.auc(target[rows], one[rows]) - losses.auc(target[rows], other[rows]))
    assert paired.auc_error(Ground(target), one, other) == pytest.approx(np.std(drawn), rel=0.15)  # 4 errors of a std


def test_a_weight_counts_as_so_many_rows_in_an_auc_too():
    target, one, other = chances(400, 2)
    weight = np.where(np.arange(400) < 100, 3.0, 1.0)
    again = np.repeat(np.arange(400), weight.astype(int))
    made = task("binary", search={"metric": "auc"})
    found = paired.compare(made, Ground(target, weight), one[:, None], other[:, None], 0)
    repeated = paired.compare(made, Ground(target[again], units=again), one[again, None], other[again, None], 0)
    assert found.mean == pytest.approx(repeated.mean)
    assert found.high == pytest.approx(repeated.high, rel=0.02)


def test_the_better_ranking_is_told_for_auc_and_log_loss_and_for_several_classes():
    target, one, other = chances(3000, 3)
    for metric in ("auc", "log_loss"):
        made = task("binary", search={"metric": metric})
        found = paired.compare(made, Ground(target), one[:, None].clip(0.01, 0.99), other[:, None].clip(0.01, 0.99), 0)
        assert found.word == "better than"
    random = np.random.default_rng(0)
    places = random.integers(0, 3, 3000)
    sure, unsure = (np.full((3000, 3), (1 - p) / 2) for p in (0.7, 0.5))
    for predicted, p in ((sure, 0.7), (unsure, 0.5)):
        predicted[np.arange(3000), np.where(random.random(3000) < 0.7, places, random.integers(0, 3, 3000))] = p
    assert paired.compare(task("multiclass"), Ground(places.astype(float)), sure, unsure, 0).word == "better than"


@pytest.mark.parametrize("metric", ["log_loss", "auc"])
def test_ten_thousand_rows_are_compared_in_seconds(metric):
    target, one, other = chances(10_000, 4)
    start = time.perf_counter()
    paired.compare(task("binary", search={"metric": metric}), Ground(target), one[:, None], other[:, None], 0)
    assert time.perf_counter() - start < 5


def test_groups_with_few_rows_or_one_class_are_not_compared():
    target, one, other = chances(200, 5)
    names = [("a",) if i < 29 else ("b",) if target[i] else ("c",) for i in range(200)]
    ground = Ground(target, None, names)
    made = task("binary", search={"metric": "auc"})
    assert paired.compare_groups(made, ground, one[:, None], other[:, None], 0) == {}
    assert set(paired.compare_groups(task("binary"), ground, one[:, None], other[:, None], 0)) == {"b", "c"}


# --- versions of a registry


def registered(registry: Registry, folder: Path, made: Task, slope: float, seed: int = 0) -> str:
    """A version that answers slope * x, which held out the rows that the seed says; its number."""
    source = offline.fetch(made, folder)
    split = splits.split(made, dataset.labelled(made, source), seed)
    encoder = encode.fit(made, split.train.columns)
    model = Additive([0.0], [Curve(0, [-100.0, 100.0], [[0.0]], [[slope]], [0.0])], [])
    cells = {ALL: Cell(ALL, np.linspace(-2, 2, 101))}
    bundle = Bundle(
        task=made,
        encoder=encoder,
        members=[Member("linear", 1.0, (model,), "identity")],
        scale=None,
        scale_floor=1.0,
        distribution=Distribution(made, cells, GroupNames(encoder)),
        card={"trained_on": {"digest": source.digest, "seed": seed}},
        golden={"rows": [], "answers": []},
    )
    rows = golden.answered(Predictor(bundle), golden.make(encoder, split.train, 0))
    place = folder / f"{slope}-{seed}" / "bundle"
    bundles.write(replace(bundle, golden=rows), place)
    tags = {"gancao.holdout": rivals.holdout_id(made, source.digest, seed)}
    return registry.record(Record(made, "by hand", {}, {}, tags, [], {}, place))[1]


@pytest.fixture(scope="module", name="registry")
def three_versions(tmp_path_factory) -> tuple[Registry, Settings, Task]:
    """Three versions of one task: 1 is the champion, 2 held out the same rows, 3 others."""
    folder = tmp_path_factory.mktemp("registry")
    random = np.random.default_rng(0)
    x, sex = random.normal(size=600) * 10, random.choice(["f", "m"], 600, p=[0.2, 0.8])
    pq.write_table(pa.table({"y": x + random.normal(size=600), "x": x, "sex": sex}), folder / "t.parquet")
    settings = Settings(home=folder / "home", data=folder)
    opened, made = open_registry(settings), task()
    for slope, seed in ((0.95, 0), (0.9, 0), (1.0, 7)):
        registered(opened, folder, made, slope, seed)
    opened.promote("made", "1")
    return opened, settings, made


def test_the_reigning_champion_is_a_rival_on_the_same_rows_only(registry):
    opened, settings, made = registry
    source = offline.fetch(made, settings.data)
    split = splits.split(made, dataset.labelled(made, source), 0)
    rows = encode.as_rows(made, split.holdout.columns)
    found = rivals.champion(opened, made, rivals.holdout_id(made, source.digest, 0), rows)
    assert list(found) == ["champion-1"]
    assert found["champion-1"].shape == (len(rows), 1)
    assert np.allclose(found["champion-1"][:, 0], 0.95 * split.holdout.columns["x"])
    assert rivals.champion(opened, made, rivals.holdout_id(made, source.digest, 7), rows) == {}
    other_split = task(split={"kind": "time", "by": "x"})
    assert rivals.holdout_id(other_split, source.digest, 0) != rivals.holdout_id(made, source.digest, 0)
    of_classes = task("binary")
    assert rivals.champion(opened, of_classes, rivals.holdout_id(made, source.digest, 0), rows, ("no", "yes")) == {}


def test_two_versions_are_compared_on_their_holdout_by_group(registry):
    _, settings, made = registry
    document = rivals.compare(made, settings, "2", None)
    assert document["versions"] == ["2", "1"]
    overall = document["differences"]["all"]
    assert overall["mean"] == pytest.approx(document["metrics"]["2"]["rmse"] - document["metrics"]["1"]["rmse"])
    assert 0 < overall["low"] < overall["mean"] < overall["high"]
    assert document["verdict"] == "2 is worse than 1"
    assert "sex=m" in document["differences"]
    with pytest.raises(NotComparable, match="held out different rows"):
        rivals.compare(made, settings, "3", "1")
    with pytest.raises(NotComparable, match="no two versions"):
        rivals.compare(made, settings, "1", "1")


def test_a_comparison_is_drawn_by_group_in_the_targets_unit(registry):
    _, settings, made = registry
    document = rivals.compare(made, settings, "2", "1")
    figure = compare_plot.forest(document)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"{name} ({row['n']})" for name, row in document["differences"].items()]
    assert "RMSE (g)" in figure.axes[0].get_xlabel()


def test_answers_of_every_kind_become_predictions():
    assert evaluate.predictions((), [{"value": 3.0}, {"value": 4.0}]).tolist() == [[3.0], [4.0]]
    assert evaluate.predictions(("no", "yes"), [{"value": 0.3, "label": "no"}]).tolist() == [[0.3]]
    answers = [{"probabilities": {"b": 0.7, "a": 0.3}, "label": "b"}]
    assert evaluate.predictions(("a", "b"), answers).tolist() == [[0.3, 0.7]]


def test_a_difference_is_within_a_margin_of_the_others_loss():
    assert Difference(9, 0.0, -1.0, 0.9, 100.0).within(0.01)
    assert not Difference(9, 0.0, -1.0, 1.1, 100.0).within(0.01)
