"""Decisions where people and applications meet them: in the Task, over REST, on the form and in scored files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from feature_store import taskfile
from feature_store.errors import TaskInvalid
from feature_store.task import Task, dumps
from serving import bundle, cache, pyfunc
from serving.predictor import Predictor, load, numbers
from serving.pyfunc import GancaoModel, flatten
from tests.conftest import Home, Server, serving
from tests.decided import TASKS, WHOLE, decided, table, unseen
from tests.test_form import Html

EVERY = pytest.mark.parametrize("task", TASKS)
ALONE = [name for name in TASKS if name not in ("hits", "calls")]
CASE: dict[str, Any] = {"size": 40, "stock": 30, "price": 20, "sent": "2024-02-27", "rush": False}

# --- in the Task


def problems(decision: str, target: str = "{name: y, unit: d, limits: [0, 400], label: Y}", kind: str = "regression"):
    with pytest.raises(TaskInvalid) as caught:
        taskfile.parse(WHOLE.format(task="tiny", kind=kind, target=target, decision=decision))
    return [str(problem) for problem in caught.value.problems]


YES = "{name: y, positive: 'yes', label: Y}"
MANY = "{name: y, label: Y}"
ERLANG = "kind: headcount, interval_s: 1800, handling_s: 180, within_s: 20"


@EVERY
def test_a_decision_survives_the_trip_through_a_model_version(task):
    assert Task.model_validate_json(dumps(TASKS[task])) == TASKS[task]


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        ("{understock: 1}", "decision.kind: is missing. Add `kind: order_quantity`, `headcount`, `promise` or"),
        ("{kind: order}", "decision.kind: 'order' is not a kind of decision. Use order_quantity, headcount"),
        ("{kind: order_quantity, understock: 1}", "decision.overstock: is missing"),
        ("{kind: order_quantity, understock: 0, overstock: 1}", "decision.understock: 0 does not fit"),
        ("{kind: order_quantity, understock: 1, overstock: 1, packs: 1}", "Did you mean `pack`?"),
        ("{kind: order_quantity, understock: 1, overstock: 1, on_hand: stok}", "Did you mean 'stock'?"),
        ("{kind: order_quantity, understock: 1, overstock: 1, on_hand: sent}", "'sent' is a date field. Name a number"),
        ("{kind: headcount}", "decision.interval_s: is missing. Give interval_s, handling_s, within_s, answered"),
        (f"{{{ERLANG}}}", "decision.answered: is missing"),
        (f"{{{ERLANG}, answered: 0.8, productivity: 9}}", "decision.answered: does not go with productivity"),
        (f"{{{ERLANG}, answered: 1}}", "decision.answered: 1 does not fit"),
        ("{kind: headcount, productivity: 9, handling_s: 60}", "Add interval_s"),
        ("{kind: headcount, productivity: 9, handling_s: 600, interval_s: 1800}", "9 units take 5400 s"),
        (f"{{{ERLANG}000, answered: 0.8, handling_s: 1}}", "stands twice"),
        ("{kind: headcount, interval_s: 1, handling_s: 9999, within_s: 1, answered: 0.8}", "people busy at once"),
        ("{kind: promise, start: size}", "'size' is a number field. Name a date field."),
        ("{kind: promise, start: snt}", "there is no field 'snt'. Did you mean 'sent'?"),
        ("{kind: promise, level: 1}", "decision.level: 1 does not fit"),
        ("{kind: shortlist}", "decision.budget: is missing"),
        ("{kind: shortlist, budget: 2.5}", "decision.budget: 2.5 is no number of rows"),
        ("{kind: shortlist, budget: 10, cost: 20}", "no row is ever chosen"),
        ("{kind: shortlist, budget: 10, cost: -1}", "takes a number from 0 on, or the name of a number field"),
        ("{kind: shortlist, budget: 10, cost: stock}", "'stock' may be below 0"),
        ("{kind: shortlist, budget: 10, worth: 3}", "decision.worth: applies to a binary target"),
    ],
)  # fmt: skip
def test_a_decision_that_does_not_hold_together_says_so(decision, said):
    told = problems(decision)
    assert said in "\n".join(told)
    assert all(re.match(r"line 1[0-9], answers\.decision", line) for line in told), told


@pytest.mark.parametrize("kind", ["promise", "shortlist, budget: 3"])
def test_a_decision_needs_the_right_kind_of_task(kind):
    word = kind.split(",")[0]
    assert f"{word} does not apply to kind multiclass" in "\n".join(problems(f"{{kind: {kind}}}", MANY, "multiclass"))
    if word == "promise":
        assert "promise does not apply to kind binary" in "\n".join(problems(f"{{kind: {kind}}}", YES, "binary"))


def test_a_promise_needs_days_or_hours():
    told = problems("{kind: promise}", "{name: y, unit: min, limits: [0, 400], label: Y}")
    assert told == [
        "line 6, target.unit: 'min' is no unit of a promise. Write d (days) or h (hours) and convert the target in "
        "data.sql."
    ]


def test_what_a_decision_rests_on_must_be_given():
    whole = WHOLE.format(task="tiny", kind="binary", target=YES, decision="{kind: shortlist, budget: 3, worth: price}")
    with pytest.raises(TaskInvalid) as caught:
        taskfile.parse(
            whole.replace("limits: [0, 100], required: true, label: {en: Price", "limits: [0, 100], label: {en: Price")
        )
    assert "Add `required: true` to the field price." in str(caught.value)


# fmt: off
KEYS = ["kind", "understock", "overstock", "on_hand", "pack", "interval_s", "handling_s", "productivity", "within_s",
        "answered", "start", "budget", "cost", "worth", "level"]
# fmt: on
WORDS = ["order_quantity", "headcount", "promise", "shortlist", "size", "sent", "nothing"]


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(KEYS),
        st.none() | st.booleans() | st.sampled_from([0, 1, -1, 10**400, 1e308]) | st.floats() | st.lists(st.just(1))
        | st.sampled_from(WORDS),
        max_size=8,
    ),
    st.none() | st.lists(st.just("d"), max_size=1) | st.just("d"),
)  # fmt: skip
def test_no_decision_makes_the_reader_crash(decision, unit):
    target = json.dumps({"name": "y", "unit": unit, "limits": [0, 1e308], "label": "Y"})
    try:
        text = WHOLE.format(task="tiny", kind="regression", target=target, decision=json.dumps(decision))
        taskfile.parse(text)
    except TaskInvalid as error:
        assert error.problems


# --- from the predictor


@pytest.mark.parametrize("task", ALONE)
def test_a_decision_is_the_same_alone_and_among_others(task):
    predictor, rows = Predictor(decided(task)), unseen(task)
    together = predictor.answer(rows)
    assert [predictor.answer([row])[0] for row in rows] == together
    assert [predictor.answer(rows[::-1])[place] for place in (0, -1)] == [together[-1], together[0]]
    assert all(answer["decision"]["kind"] == TASKS[task].answers.decision.kind for answer in together)


@pytest.mark.parametrize("task", ["order", "delivery", "crew"])
def test_a_decision_lies_within_the_answer_that_it_is_made_from(task):
    asked = {"order": "demand", "delivery": "duration", "crew": "demand"}[task]
    for answer in Predictor(decided(task)).answer(unseen(task)):
        quantile, level = answer["decision"][asked], answer["decision"]["level"]
        assert level in (0.8, 0.9)
        assert answer["value"] <= quantile
        assert quantile == answer["interval"]["high"] if level == 0.9 else quantile <= answer["interval"]["high"]


@EVERY
def test_a_version_that_decides_is_read_again_and_proves_its_golden_rows(task, tmp_path):
    bundle.write(decided(task), tmp_path / "version")
    predictor = load(tmp_path / "version")
    rows = unseen(task)
    assert predictor.answer(rows) == Predictor(decided(task)).answer(rows)
    pinned = numbers(predictor.answer(rows)[0])["decision"]
    assert set(pinned) == (
        {"kind", "expected"} if task in ("hits", "calls") else set(predictor.answer(rows)[0]["decision"])
    )


def test_a_shortlist_keeps_to_the_budget_of_its_request():
    rows = unseen("hits")
    answers = Predictor(decided("hits")).answer(rows)
    spent = sum(row["price"] for row, answer in zip(rows, answers, strict=True) if answer["decision"]["chosen"])
    assert 0 < spent <= 100
    assert [answer["decision"]["expected"] for answer in answers] == [answer["value"] for answer in answers]
    buyers = unseen("calls")
    chosen = [a["decision"] for a in Predictor(decided("calls")).answer(buyers)]
    assert sum(one["chosen"] for one in chosen) == 3
    assert sorted(chosen, key=lambda one: -one["expected"]) == sorted(chosen, key=lambda one: one["rank"])


# --- over REST, as a document and on the form


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose cache holds a version of each decision; its registry is empty."""
    home = tmp_path_factory.mktemp("house")
    (home / "cache").mkdir()
    for name in TASKS:
        bundle.write(decided(name), home / f"new-{name}")
        cache.publish(home / "cache", name, "1", home / f"new-{name}", "by hand")
    with serving(Home(home, home)) as running:
        yield running


@EVERY
def test_the_server_decides_as_training_did_and_as_its_document_says(house, task):
    rows = unseen(task)
    response = house.post(f"/v1/{task}/predict", json={"rows": rows})
    assert response.status_code == 200, response.text
    document = house.get("/openapi.json").json()
    schema = {"$ref": f"#/components/schemas/{task.capitalize()}Response", "components": document["components"]}
    Draft202012Validator(schema).validate(response.json())
    answers = response.json()["answers"]
    for answer in answers:
        del answer["prediction_id"]
    assert answers == Predictor(decided(task)).answer(rows)
    entries = document["components"]["schemas"][f"{task.capitalize()}Answer"]["properties"]["decision"]["properties"]
    assert list(entries) and set(entries) == set(answers[0]["decision"])


@pytest.mark.parametrize(
    ("task", "entry", "en", "zh"),
    [
        ("order", "quantity", ("Order", "kg", "Critical ratio", "80 %"), ("订货量", "kg", "临界比", "够用的概率")),
        ("staffing", "people", ("People to roster", "people", "Answered in time"), ("排班人数", "人", "及时应答比例")),
        ("crew", "people", ("People to roster", "Level of demand"), ("排班人数", "其中在岗")),
        ("delivery", "date", ("Promise", "2024-03-0", "Kept with a chance of"), ("承诺", "2024-03-0", "按时概率")),
        ("hits", "expected", ("Expected value", "compares the rows of one request"), ("期望值", "预算之内", "是")),
        ("calls", "expected", ("Expected value", "Within the budget", "yes"), ("期望值", "此处只有一行")),
    ],
)  # fmt: skip
def test_a_person_reads_the_decision_in_their_language(house, task, entry, en, zh):
    (answer,) = house.post(f"/v1/{task}/predict", json={"rows": [CASE]}).json()["answers"]
    typed = {**{name: str(value) for name, value in CASE.items()}, "rush": "no"}
    for lang, said in (("en", en), ("zh", zh)):
        page = house.post(f"/form/{task}?lang={lang}", data=typed).text
        read = Html(page)
        for words in said:
            assert words in read.by_id["decision"], (words, read.by_id["decision"])
        assert f'data-testid="decision-value" value="{answer["decision"][entry]}"' in page
        assert 'id="decision-rank"' not in page


def test_a_promise_without_its_start_is_told_in_days(house):
    page = Html(house.post("/form/delivery?lang=en", data={"size": "40", "stock": "0", "price": "1"}).text)
    assert re.fullmatch(r"\d days", page.by_id["decision-value"].strip())
    assert "decision-date" not in page.by_id


# --- as columns


@EVERY
def test_the_columns_of_a_decision_are_those_that_the_version_names(task):
    made, rows = decided(task), unseen(task)
    answers = Predictor(made).answer(rows)
    named = dict(pyfunc.columns(TASKS[task], made.encoder.classes))
    frame = GancaoModel(Predictor(made)).predict(pd.DataFrame(rows))
    assert list(frame.columns) == list(named) == list(flatten(answers[0]))
    for answer, (_, told) in zip(answers, frame.iterrows(), strict=True):
        for entry, value in answer["decision"].items():
            if entry != "kind":
                column = told[f"decision_{entry}"]
                assert column == value or (value is None and pd.isna(column))
                assert value is None or isinstance(named[f"decision_{entry}"](value), named[f"decision_{entry}"])


def test_a_shortlist_is_trained_and_scored_over_the_whole_file(tmp_path: Path):
    home, source = Home(tmp_path / "home", tmp_path), tmp_path / "calls.yaml"
    target, decision = YES.replace("yes", "true"), "{kind: shortlist, budget: 3, worth: price}"
    text = WHOLE.format(task="calls", kind="binary", target=target, decision=decision)
    source.write_text(text, encoding="utf-8")
    rows = table("binary", 6000, 3)
    frame = pd.DataFrame(rows.columns).assign(y=rows.target == 1)
    frame["sent"] = pd.to_datetime(frame["sent"], unit="D").dt.date
    frame["rush"] = frame["rush"].map({1.0: "true", 0.0: "false"})
    frame.to_csv(tmp_path / "t.csv", index=False)
    home.json("train", str(source))
    out = tmp_path / "out.csv"
    home.run("promote", str(source), "--force")
    assert home.json("score", str(source), "task", "--out", str(out))["rows"] == 6000
    told = list(csv.DictReader(out.open()))
    chosen = [row for row in told if row["decision_chosen"] == "true"]
    assert sorted(int(row["decision_rank"]) for row in told) == list(range(1, 6001))
    assert sorted(int(row["decision_rank"]) for row in chosen) == [1, 2, 3]
    best = sorted((float(row["decision_expected"]) for row in told), reverse=True)[:3]
    assert sorted((float(row["decision_expected"]) for row in chosen), reverse=True) == best
    for row in chosen:
        assert float(row["decision_expected"]) == pytest.approx(float(row["value"]) * float(row["price"]))
