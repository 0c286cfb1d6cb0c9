"""The leakage gate: it stops what would tell the answer, says what and how much, and lets honest fields pass."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import catalog
from feature_store import offline, taskfile
from feature_store.errors import LeakageFound, TaskInvalid
from feature_store.settings import Settings
from feature_store.task import Task
from training import contamination, dataset, leakage, lexicon, splits, strength
from training.dataset import Rows
from training.leakage import Sides
from training.splits import Split

HERE = Path(__file__).parent / "tasks"
N = 4_000
TODAY = date(2026, 11, 26)


def real(name: str, data: Path, seed: int = 0) -> tuple[Task, Split]:
    """A task of tests/tasks with its real rows, split."""
    task = taskfile.read(HERE / f"{name}.yaml")
    return task, splits.split(task, dataset.labelled(task, offline.fetch(task, data)), seed)


def made(fields: dict[str, np.ndarray], target: np.ndarray, **more: Any) -> tuple[Task, Rows, Rows]:
    """A Task over these columns, and its rows: four fifths for training. `more` goes into the Task."""
    kinds = {name: "category" if column.dtype == object else "number" for name, column in fields.items()}
    dates = more.pop("dates", ())
    plain = {
        "task": "made", "title": "m", "intended_use": "m", "data": {"sources": {"a": "a.csv"}, "sql": "s"},
        "target": {"name": "y", "label": "y", "unit": "1", "limits": [-1e6, 1e6]},
        "fields": [
            {"name": name, "type": "date"} if name in dates
            else {"name": name, "type": kind} | ({"limits": [-1e9, 1e9]} if kind == "number" else {})
            for name, kind in kinds.items()
        ],
    } | more  # fmt: skip
    if more.get("kind") == "binary":
        plain["target"] = {"name": "y", "label": "y", "positive": "yes"}
    classes = ("no", "yes") if more.get("kind") == "binary" else ()
    rows, cut = Rows(fields, target.astype(float), None, classes), len(target) * 4 // 5
    return Task.model_validate(plain), rows.take(np.arange(cut)), rows.take(np.arange(cut, len(target)))


def found(*arguments: Any, **more: Any) -> set[tuple[str, str]]:
    return {(leak.field, leak.check) for leak in leakage.find(*arguments, today=TODAY, **more)}


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def honest(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Five honest fields."""
    words = np.array([f"w{n}" for n in range(30)], dtype=object)
    return {f"x{n}": random.normal(size=N) for n in range(4)} | {"shop": words[random.integers(0, 30, N)]}


# --- the three of the issue, on real rows -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "field", "check"),
    [
        ("bank_duration", "duration", "after_the_event"),
        ("hospital_lnh", "lnh", "target_derived"),
        ("natality_apgar", "apgar5", "after_the_event"),
    ],
)
def test_the_gate_stops_on_the_leak_of_a_real_table_and_on_nothing_else(shared_data, name, field, check):
    task, split = real(name, shared_data)
    assert found(task, split.train, split.holdout) == {(field, check)}
    with pytest.raises(LeakageFound) as stopped:
        leakage.gate(task, split.train, split.holdout)
    said = str(stopped.value)
    figure = next(leak.figure for leak in leakage.find(task, split.train, split.holdout))
    assert f"{name} has 1 leak" in said
    assert f"{field}: {check}" in said
    assert f"{figure:.3f}" in said
    assert f"Remove {field} from the Task's fields" in said
    assert f"waivers: [{{field: {field}, check: {check}, reason:" in said


def test_the_waiver_that_the_message_prints_can_be_pasted_into_the_task_and_lets_the_run_pass(shared_data):
    task, split = real("hospital_lnh", shared_data)
    remedy = leakage.find(task, split.train, split.holdout)[0].remedy
    text = (HERE / "hospital_lnh.yaml").read_text(encoding="utf-8") + "\n" + remedy[remedy.index("leakage: ") :]
    waived = taskfile.parse(text)
    (entry,) = leakage.card(leakage.gate(waived, split.train, split.holdout))
    assert entry["field"] == "lnh"
    assert entry["reason"] == "why it is known in time"
    assert entry["figure"] > entry["threshold"]
    assert entry["label"] == {"en": "made from the target", "zh": "由目标推算而来"}


@pytest.mark.parametrize("name", ["birth_weight", "birth_weight_hospital"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_field_of_a_shipped_task_is_taken_for_a_leak(shared_data, name, seed):
    task = catalog.load(name, Settings(data=shared_data))
    split = splits.split(task, dataset.labelled(task, offline.fetch(task, shared_data)), seed)
    assert leakage.gate(task, split.train, split.holdout, seed=seed) == []


def test_bank_marketing_without_the_duration_passes_though_many_of_its_calls_are_alike(shared_data):
    task, split = real("bank_duration", shared_data)
    fields = [f for f in task.model_dump()["fields"] if f["name"] != "duration"]
    rest = Task.model_validate(task.model_dump() | {"fields": fields})
    train, holdout = (Rows({f.name: side.columns[f.name] for f in rest.fields}, side.target, None, side.classes)
                      for side in (split.train, split.holdout))  # fmt: skip
    assert contamination.copies(train, holdout).same > 0.05
    assert leakage.gate(rest, train, holdout) == []


# --- each check by itself ---------------------------------------------------------------------------------------


def test_a_field_that_is_nearly_the_target_is_found_and_a_strong_honest_one_is_not(honest, random):
    y = honest["x0"] + 0.5 * random.normal(size=N)  # R2 of x0: 0.8
    assert found(*made(honest, y)) == set()
    near = honest | {"near": y + 0.05 * random.normal(size=N)}
    assert ("near", "single_field") in found(*made(near, y))


def test_the_task_may_set_how_much_one_field_may_tell(honest, random):
    y = honest["x0"] + 0.5 * random.normal(size=N)
    assert found(*made(honest, y, leakage={"max_single": 0.7})) == {("x0", "single_field")}


def test_an_id_that_never_comes_back_tells_nothing(honest, random):
    y = random.normal(size=N)
    ids = np.array([f"id{n}" for n in range(N)], dtype=object)
    assert found(*made(honest | {"order": ids}, y)) == set()
    assert abs(strength.alone(strength.codes(ids), strength.ask(y, (), random))) < 0.01


def test_a_value_that_decides_the_class_is_found_only_if_the_field_beats_all_the_others(honest, random):
    talk = random.exponential(size=N)
    likely = 1 / (1 + np.exp(-6 * honest["x0"]))
    y = (talk > 0.3) & (random.random(N) < likely)
    task, train, holdout = made({"x1": honest["x1"], "x2": honest["x2"], "shop": honest["shop"], "talk": talk}, y,
                                kind="binary")  # fmt: skip
    (leak,) = leakage.find(task, train, holdout, today=TODAY)
    assert (leak.field, leak.check) == ("talk", "after_the_event")
    assert "'yes' is 0 of" in leak.message
    assert found(*made(honest | {"talk": talk, "better": likely}, y, kind="binary")) == set()


@pytest.mark.parametrize("bend", [lambda y: 1.8 * y + 32, np.exp, np.round, lambda y: np.digitize(y, [-1, 1])])
def test_a_transform_a_rounding_and_a_class_of_the_target_are_found(honest, random, bend):
    y = honest["x0"] + random.normal(size=N)
    assert ("bent", "target_derived") in found(*made(honest | {"bent": bend(y).astype(float)}, y))


def test_the_other_classes_of_a_one_hot_target_are_found(honest, random):
    kind = random.integers(0, 3, N)
    more = {"b": (kind == 1).astype(float), "c": (kind == 2).astype(float)}
    assert {("b", "target_derived"), ("c", "target_derived")} <= found(*made(honest | more, kind == 0, kind="binary"))


def test_a_mean_of_the_target_with_its_own_row_is_found_and_a_mean_of_earlier_rows_is_not(honest, random):
    places = random.integers(0, 300, N)
    level = random.normal(size=300)
    y, before = (level[places] + random.normal(size=N) for _ in range(2))
    shops = np.array([f"s{n}" for n in places], dtype=object)
    mean, earlier = ((np.bincount(places, v, 300) / np.maximum(1, np.bincount(places, minlength=300)))[places]
                     for v in (y, before))  # fmt: skip
    assert found(*made(honest | {"shop": shops, "level": earlier}, y)) == set()
    assert ("level", "target_derived") in found(*made(honest | {"shop": shops, "level": mean}, y))


def test_copied_rows_on_both_sides_are_found_and_counted(honest, random):
    y = honest["x0"] + random.normal(size=N)
    task, train, holdout = made(honest, y)
    copies = train.take(np.arange(80))
    mixed = Rows({k: np.concatenate([v, copies.columns[k]]) for k, v in holdout.columns.items()},
                 np.concatenate([holdout.target, copies.target]))  # fmt: skip
    assert found(task, train, mixed) == {("", "duplicates_across_split")}
    share = contamination.copies(train, mixed)
    assert share.copied == pytest.approx(80 / 880, abs=0.005)
    (leak,) = leakage.find(task, train, mixed, today=TODAY)
    assert "SELECT DISTINCT" in leak.remedy


def test_rows_that_are_alike_because_fields_are_few_and_coarse_are_no_copies(random):
    coarse = {"a": random.integers(0, 5, N).astype(float), "b": random.integers(0, 4, N).astype(float)}
    y = random.poisson(5 + coarse["a"])
    task, train, holdout = made(coarse, y)
    assert contamination.copies(train, holdout).same > 0.9
    assert found(task, train, holdout) == set()


def test_an_entity_with_few_rows_that_tells_the_target_is_found_in_a_random_split(honest, random):
    people = np.array([f"p{n}" for n in random.integers(0, 800, N)], dtype=object)
    level = dict(zip(sorted(set(people)), random.normal(size=800), strict=False))
    y = np.array([level[p] for p in people]) + 0.5 * random.normal(size=N)
    assert found(*made(honest | {"patient": people}, y)) == {("patient", "entity_overlap")}
    assert found(*made(honest | {"patient": people}, random.normal(size=N))) == set()


def test_the_share_of_variance_between_entities_is_what_it_was_made_of(random):
    people = random.integers(0, 500, N)
    y = random.normal(size=500)[people] * np.sqrt(0.6) + random.normal(size=N) * np.sqrt(0.4)
    assert contamination.entities(people, people, y).clustered == pytest.approx(0.6, abs=0.06)


def test_a_date_after_its_row_is_found_unless_it_is_a_plan(honest, random):
    when = np.floor(random.uniform(16_000, 17_000, N))
    fields = honest | {"sent": when + 3, "promised": when + 9, "ordered": when - 1}
    arguments = made(fields, random.normal(size=N), dates=("sent", "promised", "ordered"))
    cut = N * 4 // 5
    sides = Sides(train_times=when[:cut] + 0.5, holdout_times=when[cut:] + 0.5)
    assert found(*arguments, sides) == {("sent", "future_timestamps")}
    assert found(*arguments) == set()  # without the time of a row, only today is known


def test_a_date_after_today_is_found(honest, random):
    fields = honest | {"seen": np.full(N, float((TODAY - date(1970, 1, 1)).days + 2))}
    assert found(*made(fields, random.normal(size=N), dates=("seen",))) == {("seen", "future_timestamps")}


@pytest.mark.parametrize(
    ("words", "late"),
    [
        ("Apgar5", True), ("阿普加评分", True), ("Profit", True), ("Length of stay", True), ("通话时长", True),
        ("Delivered to carrier", True), ("Duration of the last call", True), ("Route of delivery", True),
        ("Outcome of the previous campaign", False), ("Planned weeks of gestation at birth", False),
        ("Duration of the loan", False), ("Profitable segment", False), ("既往剖宫产", False),
        ("Weight at delivery", False),
        ("Estimated delivery date", False), ("Children who died earlier", False),
    ],
)  # fmt: skip
def test_words_of_a_later_time_are_read_in_both_languages_and_words_of_the_past_are_not(words, late):
    plain = {"name": "f", "type": "flag", "label": words}
    task = Task.model_validate({
        "task": "t", "title": "t", "intended_use": "t", "data": {"sources": {"a": "a.csv"}, "sql": "s"},
        "target": {"name": "y", "label": "y", "unit": "1", "limits": [0, 1]}, "fields": [plain],
    })  # fmt: skip
    assert bool(lexicon.after(task.fields[0])) is late


# --- waivers ----------------------------------------------------------------------------------------------------


def test_a_waiver_is_for_one_field_and_one_check_and_an_idle_one_is_told(honest, random):
    y = honest["x0"] + random.normal(size=N)
    waivers = [
        {"field": "bent", "check": "target_derived", "reason": "a test of the gate"},
        {"field": "x1", "check": "single_field", "reason": "not needed at all"},
    ]
    task, train, holdout = made(honest | {"bent": y + 1}, y, leakage={"waivers": waivers})
    with pytest.raises(LeakageFound) as stopped:
        leakage.gate(task, train, holdout)
    assert len(stopped.value.leaks) == 1
    assert "bent: single_field" in stopped.value.leaks[0]
    leaks = leakage.find(task, train, holdout)
    assert [entry["check"] for entry in leakage.card(leaks)] == ["target_derived"]
    assert [waiver.field for waiver in leakage.idle(task, leaks)] == ["x1"]


def test_a_waiver_needs_a_field_that_exists_a_known_check_and_a_reason():
    text = (HERE / "hospital_lnh.yaml").read_text(encoding="utf-8")
    waivers = """
leakage:
  waivers:
    - {field: lhn, check: target_derived, reason: known before birth}
    - {field: lnh, check: target_drived, reason: known before birth}
    - {field: lnh, check: target_derived, reason: ok}
    - {field: lnh, check: duplicates_across_split, reason: known before birth}
    - {check: single_field, reason: known before birth}
"""
    with pytest.raises(TaskInvalid) as refused:
        taskfile.parse(text + waivers)
    problems = {problem.where: str(problem) for problem in refused.value.problems}
    assert "Did you mean 'lnh'?" in problems["leakage.waivers[0].field"]
    assert "leakage.waivers[1].check" in problems
    assert "no reason" in problems["leakage.waivers[2].reason"]
    assert "whole table" in problems["leakage.waivers[3].field"]
    assert "is missing" in problems["leakage.waivers[4].field"]


def test_the_same_rows_and_seed_give_the_same_leaks(honest, random):
    y = honest["x0"] + random.normal(size=N)
    arguments = made(honest | {"bent": y + 1}, y)
    assert leakage.find(*arguments, seed=3) == leakage.find(*arguments, seed=3)


def test_columns_that_are_empty_or_constant_are_no_leaks_and_no_fault(honest, random):
    fields = honest | {"empty": np.full(N, np.nan), "none": np.full(N, None, dtype=object), "one": np.ones(N)}
    assert found(*made(fields, random.normal(size=N))) == set()
    assert found(*made(fields, random.random(N) < 0.3, kind="binary")) == set()
