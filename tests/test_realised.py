"""Realised error, coverage and calibration, and the watch on coverage: right numbers, honest bands, stated alarms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest

from feature_store import taskfile
from feature_store.task import Task
from serving import realised
from serving.distribution import group_name
from serving.predictor import Predictor
from serving.recall import Joined
from serving.tally import wilson
from serving.watch import BETWEEN, SLACK, Watch
from tests.conftest import ROOT
from tests.made import READMITTED, STAYED, version
from training import evaluate
from training.losses import loss

BIRTH = taskfile.read(ROOT / "experiments/tasks/birth_weight.yaml")
SD_G, SHIFT_G, MONTHS = 430.0, -150.0, 100


def rows_of(kind: str, shift: float = 0.0, rows: int = 3000) -> list[Joined]:
    """Answers of a made version to rows it has not seen, with what came true of them."""
    made = version(kind)
    answers = Predictor(made.bundle, "1").answer(made.rows[:rows])
    classes = made.bundle.encoder.classes
    truths: Iterable[Any] = made.target[:rows] + shift
    if classes:
        truths = [classes[int(place)] for place in made.target[:rows]]
    return [
        Joined(f"id{n}", n, str(1 + n % 2), row, answer, truth if classes else float(truth), 1000 + n)
        for n, (row, answer, truth) in enumerate(zip(made.rows, answers, truths, strict=False))
    ]


def cells(kind: str) -> dict[str, int]:
    """By cell the rows that its interval or set was made from."""
    return {name: len(cell.scores) for name, cell in version(kind).bundle.distribution.cells.items()}


# --- the numbers --------------------------------------------------------------------------------------------------


def test_realised_measures_of_values_are_those_of_an_evaluation_of_the_same_rows():
    joined, made = rows_of("regression"), version("regression")
    found = realised.measure(STAYED, iter(joined), cells("regression"))
    rows, answers = [one.row for one in joined], [one.answer for one in joined]
    groups = evaluate.group_names(made.bundle.encoder, made.bundle.encoder.rows(rows))
    holdout = evaluate.Holdout(rows, made.target, answers, groups)
    whole = evaluate.metrics(STAYED, holdout)
    assert found.overall is not None
    for name in ("bias", "mae", "rmse", "coverage"):
        estimate = found.overall[name]
        assert estimate["value"] == pytest.approx(whole[name], rel=1e-9)
        assert estimate["low"] < estimate["value"] < estimate["high"]
    event = found.overall["events"]["long"]
    assert event["rate"]["value"] == pytest.approx(whole["long_rate"])
    assert event["mean_chance"] == pytest.approx(whole["long_mean_chance"])
    assert event["brier"]["value"] == pytest.approx(whole["long_brier"])
    for name, measured in evaluate.by_group(STAYED, holdout).items():
        assert found.groups[name]["n"] == measured["n"]
        assert found.groups[name]["coverage"]["value"] == pytest.approx(measured["coverage"])
        assert found.groups[name]["bias"]["value"] == pytest.approx(measured["bias"])
    assert set(found.groups) == {"alone=yes", "alone=no"}
    assert {version: part["n"] for version, part in found.versions.items()} == {"1": 1500, "2": 1500}
    assert found.to_json()["overall"]["n"] == 3000


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_realised_measures_of_classes_are_those_of_an_evaluation_of_the_same_rows(kind):
    joined, made = rows_of(kind), version(kind)
    task, classes = made.bundle.task, made.bundle.encoder.classes
    found = realised.measure(task, iter(joined), cells(kind)).overall
    answers = [one.answer for one in joined]
    holdout = evaluate.Holdout([one.row for one in joined], made.target, answers, [()] * len(joined), None, classes)
    whole = evaluate.metrics(task, holdout)
    assert found is not None
    assert found["coverage"]["value"] == pytest.approx(whole["set_coverage"])
    assert found["accuracy"]["value"] == pytest.approx(whole["accuracy"])
    assert found["brier"]["value"] == pytest.approx(whole["brier"])
    assert found["log_loss"]["value"] == pytest.approx(loss("log_loss", made.target, holdout.predicted))
    assert set(found["events"]) == ({"yes"} if kind == "binary" else set(classes))
    for word, event in found["events"].items():
        place = classes.index(word)
        assert event["rate"]["value"] == pytest.approx(float(np.mean(made.target == place)))
        assert event["mean_chance"] == pytest.approx(event["rate"]["value"], abs=0.03), "calibrated on rows never seen"
        assert event["rate"]["low"] < event["rate"]["value"] < event["rate"]["high"]


def test_few_or_no_outcomes_give_what_they_give_and_no_more():
    nothing = realised.measure(STAYED, iter(()))
    assert (nothing.overall, nothing.groups, nothing.versions, nothing.alarms) == (None, {}, {}, [])
    (one,) = rows_of("regression", rows=1)
    single = realised.measure(STAYED, [one]).overall
    assert single is not None
    assert (single["n"], single["mae"]["low"]) == (1, None)
    assert single["coverage"]["high"] - single["coverage"]["low"] > 0.7


def test_an_answer_without_an_event_that_the_task_has_now_counts_for_the_rest():
    joined = rows_of("regression", rows=200)
    older = [one._replace(answer={**one.answer, "events": {}}) for one in joined[:150]]
    found = realised.measure(STAYED, [*older, *joined[150:]]).overall
    assert found is not None
    assert (found["n"], found["events"]["long"]["n"]) == (200, 50)


def test_measuring_takes_a_few_thousand_rows_at_a_time():
    (one,) = rows_of("regression", rows=1)
    given = 0

    def endless(rows: int) -> Iterator[Joined]:
        nonlocal given
        for _ in range(rows):
            given += 1
            yield one
        raise RuntimeError("enough")

    rows = realised.CHUNK * 2 + 5
    with pytest.raises(RuntimeError, match="enough"):
        realised.measure(STAYED, endless(rows))
    assert given == rows
    doubled = realised.measure(STAYED, chain.from_iterable([[one]] * rows)).overall
    assert doubled is not None
    assert doubled["n"] == rows


def test_a_row_has_the_groups_that_its_encoder_gives_it():
    made = version("regression")
    for row, names in zip(
        made.rows[:200],
        evaluate.group_names(made.bundle.encoder, made.bundle.encoder.rows(made.rows[:200])),
        strict=True,
    ):
        assert tuple(group_name(group, row.get(group.field)) for group in STAYED.groups) == names
    weeks = (
        taskfile.read(ROOT / "experiments/tasks/birth_weight.yaml")
        .groups[0]
        .model_copy(update={"field": "gestation_weeks", "cuts": (37.0,)})
    )
    assert [group_name(weeks, value) for value in (36.9, 37, None)] == [
        "gestation_weeks<37", "gestation_weeks>=37", "gestation_weeks=unknown"]  # fmt: skip


# --- the bands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "n"), [(0.9, 20), (0.9, 200), (0.98, 50), (0.5, 10)])
def test_a_wilson_band_holds_the_true_share_about_95_times_in_100(share, n):
    hits = np.random.default_rng(3).binomial(n, share, 4000)
    bands = {int(k): wilson(int(k), n) for k in np.unique(hits)}
    held = np.mean([bands[int(k)][0] <= share <= bands[int(k)][1] for k in hits])
    assert 0.92 <= held <= 0.99  # hits are whole numbers: 0.95 is not to be had exactly
    normal = [1.96 * np.sqrt(k / n * (1 - k / n) / n) for k in hits]
    if share == 0.98:
        assert np.mean([abs(k / n - share) <= half for k, half in zip(hits, normal, strict=True)]) < 0.7, "why Wilson"


def test_a_wilson_band_solves_its_equation_and_stays_within_0_and_1():
    for hits, n in ((17, 20), (180, 200), (0, 9), (9, 9)):
        low, high = wilson(hits, n)
        assert 0.0 <= low < high <= 1.0
        for end in {low, high} - {0.0, 1.0}:
            assert abs(hits / n - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / n), abs=1e-9)


# --- the watch on coverage ----------------------------------------------------------------------------------------


def month(
    random: np.random.Generator, n: int, shift_g: float, watch: Watch | None = None, spread: float = 1.0
) -> Watch:
    """n births whose 90 % intervals were made for residuals of SD_G."""
    watch = watch or Watch(BIRTH, {"all": 80_000})
    half = 1.6448536 * SD_G
    for place, off in enumerate((shift_g + spread * SD_G * random.standard_normal(n)).tolist()):
        watch.see(place, "1", None, "below" if off < -half else "above" if off > half else None)
    return watch


def test_a_population_that_weighs_150_g_less_sounds_the_alarm_within_2000_outcomes():
    random = np.random.default_rng(1)
    watches = [month(random, 2000, SHIFT_G) for _ in range(MONTHS)]
    fired = [watch.alarms[0] for watch in watches if watch.alarms]
    assert len(fired) >= 99
    assert {(alarm.side, alarm.cell, alarm.version) for alarm in fired} == {("below", "all", "1")}
    assert np.median([alarm.outcomes for alarm in fired]) < 600
    assert all(alarm.missed / alarm.of > alarm.allowed for alarm in fired)


def test_intervals_that_were_made_from_few_rows_are_watched_as_well():
    """They miss their promise by chance, more or less, and are made anew for each month here."""
    random, rows = np.random.default_rng(11), 2400

    def alarmed(shift_g: float) -> bool:
        residuals = np.sort(SD_G * random.standard_normal(rows))
        low, high = residuals[int((rows + 1) * 0.05) - 1], residuals[int(np.ceil((rows + 1) * 0.95)) - 1]
        watch = Watch(BIRTH, {"all": rows})
        for off in (shift_g + SD_G * random.standard_normal(2000)).tolist():
            watch.see(0, "1", None, "below" if off < low else "above" if off > high else None)
        return bool(watch.alarms)

    assert sum(alarmed(0.0) for _ in range(MONTHS)) <= 5
    assert sum(alarmed(SHIFT_G) for _ in range(MONTHS)) >= 95


@pytest.mark.parametrize("n", [500, 1000, 2000])
def test_the_same_population_leaves_it_silent_in_at_least_95_of_100_months(n):
    random = np.random.default_rng(2)
    assert sum(bool(month(random, n, 0.0).alarms) for _ in range(MONTHS)) <= 5


def test_even_where_every_promise_is_only_just_kept_a_month_of_2000_is_silent_95_times_in_100():
    """The bound itself: both sides miss at the highest rate allowed, in months of their own and in one long stream."""
    random, alarms = np.random.default_rng(4), 0
    allowed = Watch(BIRTH, {"all": 80_000}).allowed("all")
    for _ in range(MONTHS):
        watch = Watch(BIRTH, {"all": 80_000})
        for drawn in random.random(2000).tolist():
            watch.see(0, "1", None, "below" if drawn < allowed else "above" if drawn > 1 - allowed else None)
        alarms += bool(watch.alarms)
    assert alarms <= 5
    stream = Watch(BIRTH, {"all": 80_000})
    for drawn in random.random(200_000).tolist():
        stream.see(0, "1", None, "below" if drawn < allowed else "above" if drawn > 1 - allowed else None)
    assert len(stream.alarms) <= 200_000 / BETWEEN + 3 * np.sqrt(200_000 / BETWEEN)


def test_a_break_after_years_of_good_answers_is_found_as_fast_as_one_on_the_first_day():
    random = np.random.default_rng(5)
    watch = month(random, 50_000, 0.0)
    assert not watch.alarms
    month(random, 2000, SHIFT_G, watch)
    assert watch.alarms[0].outcomes < 51_500
    assert watch.alarms[0].of < 1500, "and dated to the break, not to the beginning"


def test_a_gross_fault_is_found_within_a_few_dozen_outcomes():
    watch = month(np.random.default_rng(6), 60, -2 * SD_G)
    assert watch.alarms[0].outcomes <= 40


def test_wider_residuals_sound_the_alarm_and_narrower_ones_do_not():
    assert month(np.random.default_rng(7), 4000, 0.0, spread=1.25).alarms
    assert not month(np.random.default_rng(7), 4000, 0.0, spread=0.8).alarms


def test_one_cell_that_breaks_is_named_and_the_watch_begins_anew():
    random = np.random.default_rng(8)
    watch = Watch(BIRTH, {"all": 80_000, "twins": 3000})
    for place in range(20_000):
        twins = place % 20 == 0
        off = random.standard_normal() - (1.0 if twins and place >= 4000 else 0.0)
        side = "below" if off < -1.6448536 else "above" if off > 1.6448536 else None
        watch.see(place, "3", "twins" if twins else None, side)
        if watch.alarms:
            break
    (alarm,) = watch.alarms
    assert (alarm.cell, alarm.side, alarm.version) == ("twins", "below", "3")
    assert 4000 < alarm.at_us < 8000
    assert watch.evidence == 0.0


def test_an_interval_made_from_few_rows_promises_less_exactly():
    watch = Watch(BIRTH, {"all": 80_000, "few": 400})
    assert watch.allowed("all") == pytest.approx(0.05 + SLACK)
    assert watch.allowed("few") == pytest.approx(0.05 + np.sqrt(0.05 * 0.95 / 400))
    assert watch.allowed("unheard of") > watch.allowed("few")


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_real_answers_are_silent_on_their_own_population(kind):
    task: Task = version(kind).bundle.task
    assert not realised.measure(task, rows_of(kind), cells(kind)).alarms


def test_real_answers_of_a_shifted_population_sound_the_alarm():
    found = realised.measure(STAYED, rows_of("regression", shift=4.0, rows=2000), cells("regression"))
    assert found.overall is not None
    assert 0.8 < found.overall["coverage"]["value"] < 0.9
    assert found.alarms[0].side == "above"
    joined = rows_of("binary", rows=2000)
    turned = [one._replace(outcome="yes" if n % 4 == 0 else one.outcome) for n, one in enumerate(joined)]
    (alarm, *_) = realised.measure(READMITTED, turned, cells("binary")).alarms
    assert (alarm.side, alarm.at_us > 1000) == ("outside", True)
