"""Splits that tell the truth: no row chooses and judges, whatever the kind of split."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiments import catalog
from feature_store import offline, taskfile
from feature_store.check import check
from feature_store.errors import GapTooWide, TableRefused, TaskInvalid, TooFewGroups, TooFewRows, TooFewTimes
from feature_store.offline import Source
from feature_store.task import Split as TaskSplit
from feature_store.task import Task
from tests.conftest import ROOT
from tests.test_check import AGE, make, tables
from training import dataset, splits
from training.dataset import Rows

CLASSES = ("a", "b", "c")


def task(kind: str = "random", classes: bool = False, **split: Any) -> Task:
    target: dict[str, Any] = {"name": "y", "label": "Y"} | ({} if classes else {"unit": "g", "limits": [-1e9, 1e9]})
    return Task.model_validate(
        {
            "task": "made",
            "title": "Made",
            "intended_use": "A test.",
            "kind": "multiclass" if classes else "regression",
            "target": target,
            "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
            "fields": [{"name": "x", "type": "number", "limits": [-1e9, 1e9]}],
            "split": {"kind": kind, **({} if kind == "random" else {"by": "key"}), **split},
        }
    )


def rows(target: np.ndarray, by: Any = None, classes: bool = False) -> Rows:
    n = len(target)
    keys = None if by is None else np.asarray(by)
    return Rows({"x": np.arange(n, dtype=float)}, target, None, CLASSES if classes else (), keys, np.arange(n))


def refuses_to_mix(split: splits.Split, every: int) -> None:
    """What holds for every kind: parts share no row, and a row is validated once at most, never by its own model."""
    train, held = split.train.number.tolist(), split.holdout.number.tolist()
    assert not set(train) & set(held)
    assert set(train) | set(held) <= set(range(every))
    assert train == sorted(train)
    judged: list[int] = []
    for fit, valid in split.folds:
        assert len(fit) >= splits.LEAST_FIT
        assert len(valid)
        assert not set(fit.tolist()) & set(valid.tolist())
        assert max(*fit.tolist(), *valid.tolist()) < len(train)
        judged += valid.tolist()
    assert len(judged) == len(set(judged))


designs = st.tuples(st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.3, 0.5]), st.sampled_from([None, 2, 3, 5, 8, 12]))


@settings(max_examples=200, deadline=None)
@given(designs, st.integers(50, 400), st.booleans(), st.integers(0, 999))
def test_at_random_no_row_chooses_and_judges_and_none_is_left_out(design, n, classes, seed):
    holdout, folds = design
    random = np.random.default_rng(seed)
    target = random.choice(3, n, p=[0.8, 0.17, 0.03]).astype(float) if classes else random.normal(size=n).round(1)
    split = splits.split(task("random", classes, holdout=holdout, folds=folds), rows(target, classes=classes), seed)
    refuses_to_mix(split, n)
    assert len(split.train) + len(split.holdout) == n
    assert sorted(np.concatenate([valid for _, valid in split.folds])) == list(range(len(split.train)))
    assert abs(len(split.holdout) - holdout * n) <= 5 + (0 if classes else n / 50)


@settings(max_examples=200, deadline=None)
@given(designs, st.integers(50, 400), st.integers(14, 60), st.booleans(), st.integers(0, 999))
def test_a_group_is_on_one_side_and_in_one_fold_only(design, n, count, classes, seed):
    holdout, folds = design
    random = np.random.default_rng(seed)
    group = random.integers(0, count, n)
    assume(len(set(group.tolist())) > (folds or 8))
    target = random.choice(3, n).astype(float) if classes else random.normal(size=n) + group
    made = rows(target, group.astype(str).astype(object), classes)
    split = splits.split(task("grouped", classes, holdout=holdout, folds=folds), made, seed)
    refuses_to_mix(split, n)
    assert len(split.train) + len(split.holdout) == n
    assert not set(split.train.by) & set(split.holdout.by)
    folded = [set(split.train.by[valid]) for _, valid in split.folds]
    assert len(set().union(*folded)) == sum(map(len, folded))
    for fit, valid in split.folds:
        assert not set(split.train.by[fit]) & set(split.train.by[valid])


@settings(max_examples=200, deadline=None)
@given(designs, st.integers(120, 400), st.integers(30, 500), st.sampled_from([0.0, 1.0, 3.5]), st.integers(0, 999))
def test_by_time_a_model_never_sees_what_comes_after_its_gap(design, n, span, gap, seed):
    holdout, folds = design
    time = np.random.default_rng(seed).integers(0, span, n).astype(float)
    made = rows(np.random.default_rng(seed).normal(size=n), time)
    try:
        split = splits.split(task("time", holdout=holdout, folds=folds, gap=gap), made, seed)
    except (GapTooWide, TooFewRows):
        assume(False)
    refuses_to_mix(split, n)
    first = split.holdout.by.min()
    assert split.train.by.max() < first - gap
    assert set(np.flatnonzero(time >= first)) == set(split.holdout.number)
    assert set(np.flatnonzero(time < first - gap)) == set(split.train.number), "only the gap's rows are left out"
    blocks = [split.train.by[valid] for _, valid in split.folds]
    for (fit, _), block in zip(split.folds, blocks, strict=True):
        assert split.train.by[fit].max() < block.min() - gap
        assert len(fit) == np.sum(split.train.by < block.min() - gap), "all that came before"
    assert all(one.max() < other.min() for one, other in itertools.pairwise(blocks))
    assert blocks[-1].max() == split.train.by.max()


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    target = np.random.default_rng(0).normal(size=300)
    by = (np.arange(300) % 40).astype(str).astype(object)
    for kind in ("random", "grouped"):
        held = [splits.split(task(kind), rows(target, by), seed).holdout.number.tolist() for seed in (4, 4, 5)]
        assert held[0] == held[1]
        assert held[0] != held[2]


def test_a_random_split_is_stratified_by_the_target():
    task_ = taskfile.read(ROOT / "experiments/tasks/birth_weight.yaml")
    made = rows(np.random.default_rng(0).normal(size=1003))
    split = splits.split(task_, made, seed=4)
    assert len(split.holdout) == pytest.approx(0.2 * 1003, abs=5)
    assert min(len(valid) for _, valid in split.folds) >= len(split.train) // 5 - 1
    assert abs(split.train.target.mean() - split.holdout.target.mean()) < 0.05
    for _, valid in split.folds:
        assert abs(split.train.target[valid].mean() - split.train.target.mean()) < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_every_class_with_as_many_training_rows_as_folds_is_in_every_fold(seed):
    counts = (900, 90, 13)
    target = np.random.default_rng(seed).permutation(np.repeat([0.0, 1.0, 2.0], counts))
    split = splits.split(task("random", classes=True, folds=8), rows(target, classes=True), seed)
    for place, count in enumerate(counts):
        assert abs(np.sum(split.holdout.target == place) - 0.2 * count) < 1
        inside = [int(np.sum(split.train.target[valid] == place)) for _, valid in split.folds]
        assert min(inside) >= 1
        assert max(inside) - min(inside) <= 1


def test_groups_are_dealt_out_so_that_parts_are_alike_in_rows_and_target():
    random = np.random.default_rng(1)
    group = np.repeat(np.arange(150), random.geometric(0.05, 150))
    target = random.normal(size=len(group)) + random.normal(size=150)[group]
    split = splits.split(task("grouped", folds=5), rows(target, group.astype(str).astype(object)), 0)
    largest = np.bincount(group).max()
    parts = [split.holdout.target, *(split.train.target[valid] for _, valid in split.folds)]
    for part, share in zip(parts, [0.2, *[0.16] * 5], strict=True):
        assert abs(len(part) - share * len(group)) < largest / 2
        assert abs(part.mean() - target.mean()) < 0.15 * target.std()


def test_the_number_of_folds_follows_the_rows_unless_it_is_stated():
    assert task().split.folds_of(2999) == 8
    assert task().split.folds_of(3000) == 5
    assert task(folds=3).split.folds_of(100) == 3


def test_left_open_there_are_no_more_folds_than_groups_or_times_allow():
    target = np.random.default_rng(0).normal(size=200)
    by = (np.arange(200) % 5).astype(str).astype(object)
    assert len(splits.split(task("grouped"), rows(target, by), 0).folds) == 4
    assert len(splits.split(task("time"), rows(target, np.repeat(np.arange(5.0), 40)), 0).folds) == 3
    assert len(splits.split(task("time", gap=20), rows(target, np.arange(200.0)), 0).folds) == 3


def test_a_large_table_validates_about_20000_rows_in_its_last_folds():
    def folds(n: int) -> splits.Folds:
        place = np.arange(n) % 5
        return [(np.flatnonzero(place != k), np.flatnonzero(place == k)) for k in range(5)]

    assert len(splits.economical(folds(50_000), 50_000)) == 5
    kept = splits.economical(folds(60_000), 60_000)
    assert [valid[0] for _, valid in kept] == [3, 4]
    assert sum(len(valid) for _, valid in kept) == 24_000
    assert len(splits.economical(folds(1_000_000), 1_000_000)) == 1


@pytest.mark.parametrize(
    ("made", "by", "error", "said"),
    [
        (
            task("grouped", folds=5),
            np.array(["a", "b", "c"] * 40, object),
            TooFewGroups,
            "form 3 groups by key.*need 6",
        ),
        (task("grouped"), np.array(["a", "b"] * 60, object), TooFewGroups, "form 2 groups"),
        (task("grouped"), np.array(["a", None] * 60, object), TableRefused, "unknown in 60 rows"),
        (task("time", folds=5), np.repeat(np.arange(6.0), 20), TooFewTimes, "6 different times.*need 7"),
        (task("time"), np.repeat([0.0, 1.0], 60), TooFewTimes, "2 different times.*need 4"),
        (task("time"), np.append(np.arange(119.0), np.nan), TableRefused, "unknown in 1 rows"),
        (task("time", gap=500), np.arange(120.0), GapTooWide, "gap of 500 in key leaves made"),
        (
            task("time", gap=10, folds=6),
            np.arange(120.0),
            GapTooWide,
            "a fold with 2 rows to learn from.*10 are needed",
        ),
        (task("time", folds=12), np.arange(120.0), TooFewRows, "fewer folds"),
    ],
)
def test_a_split_that_can_not_be_is_refused_with_what_to_do(made, by, error, said):
    with pytest.raises(error) as caught:
        splits.split(made, rows(np.random.default_rng(0).normal(size=120), by), 0)
    words = str(caught.value)
    assert "\n" in words
    assert re.search(said, words), words


# --- from the Task and its table


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"kind": "time"}, "split.by: is missing"),
        ({"kind": "grouped"}, "split.by: is missing"),
        ({"kind": "random", "by": "x"}, "split.by: does not apply"),
        ({"kind": "grouped", "by": "x", "gap": 7}, "split.gap: does not apply"),
        ({"kind": "time", "by": "y"}, "is the target"),
    ],
)
def test_a_split_that_contradicts_itself_is_told_with_its_line(split, said):
    text = json.dumps({**task().model_dump(mode="json", exclude={"split"}), "split": split})
    with pytest.raises(TaskInvalid) as caught:
        taskfile.parse(text)
    assert said in str(caught.value)


def table(key: Any, n: int = 60) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table({"y": random.normal(size=n), "x": random.normal(size=n), "key": key})


def test_what_rows_are_split_by_need_be_no_field_and_is_no_extra_column():
    assert check(task("time"), table(np.arange(60))) == []
    assert [f.code for f in check(task("random"), table(np.arange(60)))] == ["extra_column"]
    assert [(f.column, f.code) for f in check(task("grouped"), table(np.arange(60)).drop(["key"]))] == [
        ("key", "missing_column")
    ]


@pytest.mark.parametrize(
    ("kind", "key", "code", "rows_"),
    [
        ("time", [float(i) if i != 3 else float("nan") for i in range(60)], "missing_key", (3,)),
        ("time", [i if i != 3 else None for i in range(60)], "missing_key", (3,)),
        ("grouped", ["a", None, "b"] * 20, "missing_key", (1, 4, 7, 10, 13)),
        ("time", ["2020-01-01"] * 60, "wrong_type", ()),
    ],
)
def test_a_row_without_its_group_or_time_is_an_error_of_the_table(kind, key, code, rows_):
    (finding,) = check(task(kind), table(pa.array(key)))
    assert (finding.column, finding.code, finding.severity, finding.rows) == ("key", code, "error", rows_)
    assert "data.sql" in finding.remedy


@settings(max_examples=200, deadline=None)
@given(tables(), st.sampled_from(["time", "grouped"]))
def test_no_column_to_split_by_makes_the_check_raise(given_table, kind):
    for finding in check(make(AGE, split={"kind": kind, "by": "more"}), given_table):
        assert str(finding).startswith(finding.severity)


def test_times_are_days_of_dates_and_timestamps_and_numbers_as_they_are():
    days = [date(1970, 1, 1) + timedelta(days=i) for i in range(60)]
    noons = [datetime(1970, 1, 1, 12, tzinfo=UTC) + timedelta(days=i) for i in range(60)]
    zoned = pa.array(noons, pa.timestamp("ns", "Asia/Shanghai"))
    made = task("time", gap=3)
    assert offline.split_by(made, table(days)).tolist() == list(range(60))
    assert offline.split_by(made, table(pa.array(noons, pa.timestamp("us")))).tolist() == [i + 0.5 for i in range(60)]
    assert offline.split_by(made, table(zoned)).tolist() == [i + 0.5 for i in range(60)]
    assert offline.split_by(made, table(np.arange(60) * 3)).tolist() == [3.0 * i for i in range(60)]
    split = splits.split(made, dataset.labelled(made, Source(table(days), "digest", False)), 0)
    assert split.holdout.by.min() - split.train.by.max() > 3


def test_rows_keep_their_place_in_the_table_where_some_have_no_target():
    values = [None if i % 3 == 0 else float(i) for i in range(90)]
    source = Source(pa.table({"y": values, "x": values, "key": np.arange(90) // 2}), "digest", False)
    made = task("grouped")
    split = splits.split(made, dataset.labelled(made, source), 0)
    for part in (split.train, split.holdout):
        assert part.target.tolist() == [values[number] for number in part.number]
        assert part.by.tolist() == [str(number // 2) for number in part.number]


def test_the_order_of_rows_can_be_the_time(tmp_path):
    pq.write_table(pa.table({"y": np.arange(200.0), "x": np.arange(200.0)}), tmp_path / "t.parquet")
    made = task("time").model_copy(
        update={"data": task().data.model_copy(update={"sql": "SELECT y, x, row_number() OVER () AS key FROM t"})}
    )
    split = splits.split(made, dataset.labelled(made, offline.fetch(made, tmp_path)), 0)
    assert split.holdout.number.tolist() == list(range(160, 200))


def test_a_source_is_split_into_the_rows_that_its_whole_table_would_be():
    values = [None if i % 7 == 0 else float(i) for i in range(120)]
    x = [None if i % 5 == 0 else i / 3 for i in range(120)]
    source = Source(pa.table({"y": values, "x": x, "key": np.arange(120) // 3}), "digest", False)
    for kind in ("random", "grouped", "time"):
        made = task(kind)
        found, whole = splits.of(made, source, 3), splits.split(made, dataset.labelled(made, source), 3)
        for one, other in ((found.train, whole.train), (found.holdout, whole.holdout)):
            np.testing.assert_array_equal(one.number, other.number)
            assert one.columns.keys() == other.columns.keys()
            for name in one.columns:
                np.testing.assert_array_equal(one.columns[name], other.columns[name])


def test_the_real_birth_weights_hold_out_the_same_rows_as_before_splits_had_kinds(shared_data):
    """Figures that were published stay comparable: the first and last rows held out by seed 0, and how many."""
    task_ = catalog.load("birth_weight")
    split = splits.split(task_, dataset.labelled(task_, offline.fetch(task_, shared_data)), 0)
    assert (len(split.train), len(split.holdout)) == (79_547, 19_887)
    assert split.holdout.number[:3].tolist() == [1, 3, 4]
    assert len(splits.economical(split.folds, len(split.train))) == 1


def test_a_very_large_table_is_searched_on_250000_rows_from_all_over_it_and_holds_out_50000():
    n = 1_000_000
    folds = [(np.setdiff1d(np.arange(n), np.arange(k, n, 5)), np.arange(k, n, 5)) for k in range(5)]
    [(fit, valid)] = splits.economical(folds, n)
    assert len(fit) == 250_000
    assert len(np.unique(fit)) == 250_000
    assert not np.intersect1d(fit, valid).size
    assert np.histogram(fit, bins=10, range=(0, n))[0].min() > 24_900, "from all over"
    assert TaskSplit().held_of(n) == 0.05
    assert TaskSplit().held_of(100_000) == 0.2
