"""The working level: it keeps the promise after a shift, stays put without one, within bounds, and can be set back."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store import taskfile
from feature_store.errors import TaskInvalid
from feature_store.place import Place
from feature_store.task import Adaptive
from serving import bundle as bundles
from serving import cache, levels, recall
from serving.bundle import Bundle
from serving.distribution import ALL, Cell, Distribution, GroupNames
from serving.encode import Encoder
from serving.journal import Entry, Journal, Outcome
from serving.predictor import Predictor
from tests.conftest import Home, Server, serving, until
from tests.made import STAY, adaptive, version

SD_G, SHIFT_G = 430.0, -150.0
WEIGHT = taskfile.parse(STAY.format(
    task="weight", title="Weight", title_zh="体重", kind="regression",
    target="{name: weight_g, unit: g, limits: [0, 9000], label: Weight}", answers="{interval: 0.9, adaptive: {}}",
).replace("groups: [{field: alone}]", ""))  # fmt: skip
ASKED = WEIGHT.answers.adaptive or Adaptive()
ROW = np.array([40.0, 3.0, 1.0, 0.0])


def births(
    n: int, shift: float, late: int = 0, made_at_known: bool = True, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) whether each answer missed, and the level that it was made at; each outcome comes `late` outcomes later."""
    random = np.random.default_rng(seed)
    cells = {ALL: Cell(ALL, np.sort(random.normal(size=20_000)))}
    distribution = Distribution(WEIGHT, cells, GroupNames(Encoder(WEIGHT, {"ward": []}, {}, {})))
    level, waiting, misses, used = 0.9, deque[tuple[float, bool]](), [], []
    for truth in random.normal(3400.0 + shift, SD_G, n).tolist():
        answer = distribution.answer(ROW, 3400.0, SD_G, level)
        miss = levels.missed({"interval": {"low": answer.low, "high": answer.high}}, truth)
        misses.append(miss)
        used.append(level)
        waiting.append((level, miss))
        if len(waiting) > late:
            made_at, missed = waiting.popleft()
            level = levels.step(ASKED, 0.9, level, made_at if made_at_known else level, missed)
    return np.array(misses), np.array(used)


@pytest.mark.parametrize("shift", [SHIFT_G, -SD_G])
def test_after_a_shift_coverage_is_back_within_2_points_from_the_thousandth_outcome_on(shift):
    covered = [1 - births(5000, shift, seed=seed)[0][1000:].mean() for seed in range(5)]
    assert np.abs(np.array(covered) - 0.9).max() < 0.02
    fixed = np.mean(np.abs(np.random.default_rng(1).normal(shift, SD_G, 50_000)) < 1.645 * SD_G)
    assert fixed < (0.885 if shift == SHIFT_G else 0.76), "what a fixed level would cover"


def test_without_a_shift_coverage_stays_within_1_point_and_the_level_near_the_promise():
    for seed in range(5):
        misses, used = births(10_000, 0.0, seed=seed)
        assert abs(misses.mean() - 0.1) < 0.01
        assert abs(used.mean() - 0.9) < 0.01
        # its standard deviation is sqrt(rate * 0.9 * 0.1 / 2) = 0.015
        assert used.std() < 0.025


def test_a_thousand_outcomes_that_are_under_way_do_not_push_the_level_on_and_on():
    misses, used = births(20_000, SHIFT_G, late=1000)
    assert abs(misses[2000:].mean() - 0.1) < 0.02
    assert used[4000:].std() < 0.025
    _, swinging = births(20_000, SHIFT_G, late=1000, made_at_known=False)
    assert swinging[4000:].std() > 0.035, "why a step asks which level an answer was made at"


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0)), max_size=300),
    st.floats(0.5, 0.99),
    st.floats(0.0001, 0.05),
)
def test_the_level_never_leaves_its_bounds_and_a_miss_never_lowers_it_more_than_a_hit(steps, promised, rate):
    asked = Adaptive(rate=rate)
    lowest, highest = asked.bounds(promised)
    assert 0.0 < lowest < promised < highest < 1.0
    level = promised
    for miss, share in steps:
        made_at = lowest + share * (highest - lowest)
        assert levels.step(asked, promised, level, made_at, True) >= levels.step(asked, promised, level, made_at, False)
        level = levels.step(asked, promised, level, made_at, miss)
        assert lowest <= level <= highest


def test_an_answer_at_todays_level_moves_it_by_the_step_of_gibbs_and_candes():
    assert levels.step(ASKED, 0.9, 0.91, 0.91, True) == pytest.approx(0.91 + 0.005 * 0.9)
    assert levels.step(ASKED, 0.9, 0.91, 0.91, False) == pytest.approx(0.91 - 0.005 * 0.1)


def test_bounds_that_do_not_hold_the_promise_between_them_are_problems_of_the_task():
    text = STAY.format(
        task="t", title="T", title_zh="T", kind="regression", target="{name: y, unit: g, limits: [0, 9], label: Y}",
        answers="{interval: 0.9, adaptive: {lowest: 0.95, highest: 0.85}}",
    )  # fmt: skip
    with pytest.raises(TaskInvalid) as refused:
        taskfile.parse(text)
    assert {problem.where for problem in refused.value.problems} == {
        "answers.adaptive.lowest", "answers.adaptive.highest"}  # fmt: skip


# --- through the journal --------------------------------------------------------------------------------------------


def fill(path: Place, bundle: Bundle, level: float | None, n: int) -> list[str]:
    """n answers of version 1 at a level; their ids."""
    rows = version(bundle.task.kind).rows[:n]
    answers = Predictor(bundle, "1").answer(rows, level)
    entries = [
        Entry(f"{level}-{place}", bundle.task.task, "1", json.dumps(row), json.dumps(answer))
        for place, (row, answer) in enumerate(zip(rows, answers, strict=True))
    ]
    journal = Journal(path)
    asyncio.run(journal.keep(entries))
    journal.close()
    return [entry.prediction_id for entry in entries]


def tell(path: Place, bundle: Bundle, outcomes: list[tuple[str, Any]]) -> list[str | None]:
    journal = Journal(path)
    kept = [Outcome(one, json.dumps(value)) for one, value in outcomes]
    found = asyncio.run(journal.keep_outcomes(bundle.task.task, kept, bundle.task.answers.adaptive))
    journal.close()
    return list(found)


def test_only_the_first_outcome_of_an_answer_moves_the_level(place):
    bundle, path = adaptive(version("regression").bundle), place
    (one,) = fill(path, bundle, None, 1)
    assert tell(path, bundle, [(one, 100.0)]) == ["stored"]
    assert tell(path, bundle, [(one, 100.0), (one, 30.0), ("nobody", 3.0)]) == ["unchanged", "corrected", None]
    (moved,) = recall.levels(path, "stay")
    assert (moved.version, moved.prediction_id) == ("1", one)
    assert moved.level == pytest.approx(0.9 + 0.005 * 0.9)
    assert recall.newest_levels(path, [("stay", "1"), ("stay", "2")]) == {("stay", "1"): moved.level}


def test_a_task_that_does_not_ask_for_it_has_no_levels_and_says_none(tmp_path):
    bundle, path = version("regression").bundle, tmp_path / "journal.db"
    (one,) = fill(path, bundle, None, 1)
    tell(path, bundle, [(one, 100.0)])
    tell(path, adaptive(bundle), [(one, 99.0)])
    assert recall.levels(path, "stay") == []
    assert set(Predictor(bundle).answer([{"age": 40}])[0]["interval"]) == {"level", "low", "high"}


def test_levels_are_only_added(tmp_path):
    bundle, path = adaptive(version("regression").bundle), tmp_path / "journal.db"
    tell(path, bundle, [(fill(path, bundle, None, 1)[0], 100.0)])
    with closing(sqlite3.connect(path)) as connection:
        for words in ("UPDATE levels SET level = 0.5", "DELETE FROM levels"):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                connection.execute(words)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_a_higher_level_gives_a_wider_interval_or_a_larger_set_and_the_promised_one_the_same_answer(kind):
    plain, made = Predictor(version(kind).bundle), Predictor(adaptive(version(kind).bundle))
    rows = version(kind).rows[:200]
    for one, same, wider in zip(plain.answer(rows), made.answer(rows), made.answer(rows, 0.97), strict=True):
        if kind == "regression":
            assert same["interval"] == {**one["interval"], "working_level": 0.9}
            assert wider["interval"]["low"] < same["interval"]["low"] or wider["interval"]["low"] == 0.0
            assert wider["interval"]["level"] == 0.9
            assert (wider["value"], wider["events"]) == (one["value"], one["events"])
        else:
            assert (same["level"], same["working_level"], wider["working_level"]) == (0.9, 0.9, 0.97)
            assert same["set"] == one["set"]
            assert set(one["set"]) <= set(wider["set"])


# --- a server -------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = tmp_path / "home"
    (home / "cache").mkdir(parents=True)
    bundles.write(adaptive(version("regression").bundle), home / "new")
    cache.publish(home / "cache", "stay", "1", home / "new", "by hand")
    (tmp_path / "stay.yaml").write_text(TASK)
    return Home(home, home)


TASK = STAY.format(
    task="stay", title="Days in rehabilitation", title_zh="康复天数", kind="regression",
    target="{name: rehabilitation_d, unit: d, limits: [0, 100], label: Days in rehabilitation}",
    answers="{interval: 0.9, events: [{name: long, label: Long, at_least: 40}], adaptive: {}}",
)  # fmt: skip


@pytest.fixture
def clinic(home: Home) -> Iterator[Server]:
    with serving(home, "--workers", "2") as running:
        yield running


def answer(clinic: Server) -> dict[str, Any]:
    rows = [{"age": 71, "days": 9, "ward": "medical", "alone": True}]
    found: dict[str, Any] = clinic.post("/v1/stay/predict", json={"rows": rows}).json()["answers"][0]
    return found


def test_every_worker_follows_the_level_and_a_reset_sets_it_back(clinic, home, tmp_path):
    first = answer(clinic)
    assert first["interval"]["working_level"] == 0.9
    sent = [{"prediction_id": answer(clinic)["prediction_id"], "value": 100} for _ in range(20)]
    assert clinic.post("/v1/stay/outcomes", json={"outcomes": sent}).json()["stored"] == 20

    def all_at(level: float) -> bool:
        return {round(answer(clinic)["interval"]["working_level"], 6) for _ in range(12)} == {round(level, 6)}

    moved = recall.levels(home.home / "journal.db", "stay")[-1].level
    assert moved > 0.97
    until(lambda: all_at(moved), 20, lambda: "the workers did not follow")
    wide = answer(clinic)["interval"]
    assert (wide["level"], wide["high"] > first["interval"]["high"]) == (0.9, True)
    document = home.json("monitor", str(tmp_path / "stay.yaml"), "--reset-level")
    assert document["reset"] == {"1": 0.9}
    until(lambda: all_at(0.9), 20, lambda: "the workers did not follow the reset")
    history = recall.levels(home.home / "journal.db", "stay")
    assert (len(history), history[-1].prediction_id) == (21, None)
    assert home.json("monitor", str(tmp_path / "stay.yaml"), "--reset-level")["reset"] == {}
    assert history[-1].at_us <= time.time_ns() // 1000
