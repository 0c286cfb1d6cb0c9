"""The Task: read from YAML, frozen, and when it is wrong, wrong in every place at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from feature_store import taskfile
from feature_store.errors import TaskInvalid
from feature_store.task import Budget, Search, Task, dumps
from tests.conftest import ROOT

TASKS = sorted((ROOT / "experiments/tasks").glob("*.yaml"))
BIRTH = (ROOT / "experiments/tasks/birth_weight.yaml").read_text(encoding="utf-8")

SMALL = """
task: tiny
title: Tiny
intended_use: To be tested
target: {name: y, unit: g, limits: [0, 10], label: Y}
data: {sources: {t: t.parquet}, sql: SELECT * FROM t}
fields:
  - {name: a, type: number, limits: [0, 1]}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(TaskInvalid) as caught:
        taskfile.parse(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_a_shipped_task_survives_the_trip_through_a_model_version(path):
    task = taskfile.read(path)
    assert task.task == path.stem
    assert Task.model_validate_json(dumps(task)) == task


def test_a_task_is_frozen():
    task = taskfile.parse(SMALL)
    with pytest.raises(ValidationError):
        task.task = "other"  # type: ignore[misc]


def test_a_plain_string_stands_for_both_languages():
    assert taskfile.parse(SMALL).title["zh"] == "Tiny"


def test_every_problem_is_told_at_once_with_line_field_and_remedy():
    wrong = BIRTH.replace("unit: wk", "unti: wk").replace("{field: diabetes}", "{field: diabets}")
    wrong = wrong.replace("below: 2500", "below: 9500").replace("limits: [75, 230]", "limits: [230, 75]")
    wrong = wrong.replace("kind: regression", "kind: regresion")
    told = problems(wrong)
    assert len(told) == 5
    for line, words in zip(
        told,
        ("regresion", "Did you mean `unit`", "230 is not below 75", "limits", "Did you mean 'diabetes'"),
        strict=True,
    ):
        assert words in line
    for line in told:
        number = int(re.match(r"line (\d+), ", line)[1])  # type: ignore[index]
        suspect = wrong.splitlines()[number - 1]
        assert any(word in suspect for word in ("regresion", "unti", "height_cm", "9500", "diabets")), suspect


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("target: {", "goal: {", "target: is missing"),
        ("name: a, type: number", "name: a, type: nmber", "'nmber' is not a type of field"),
        ("name: a, type: number", "name: A-1, type: number", "'A-1' is not a name"),
        ("name: a, type: number, limits: [0, 1]", "name: a", "fields[0].type: is missing"),
        ("name: a,", "name: y,", "would predict itself"),
        ("limits: [0, 1]", "limits: [0, .inf]", "finite"),
        ("limits: [0, 1]", "limits: [0]", "fields[0].limits"),
        ("number, limits: [0, 1]", "category, choices: [no, maybe]", "YAML reads this word as False"),
        ("number, limits: [0, 1]", "category, choices: [x, x]", "'x' stands 2 times"),
        ("number, limits: [0, 1]", "category, choices: [x]", "Give 2 or more"),
        ("number, limits: [0, 1]", "date, limits: ['2024-02-30', '2025-01-01']", "is not a day"),
        ("task: tiny", "task: tiny\ntask: tiny2", "stands twice (also on line 2)"),
        ("task: tiny", "task: tiny\nsearch: {budget: soon}", "a budget reads like 120s"),
        ("task: tiny", "task: tiny\ngroups: [{field: a}]", "groups by a number without cuts"),
        ("task: tiny", "task: tiny\ngate: {baselines: [magic]}", "'magic' is no baseline"),
        ("task: tiny", "task: tiny\nanswers: {events: [{name: e, label: E}]}", "Give one of below, at_least, between"),
        ("task: tiny", "task: tiny\nform: {sections: [{title: T, fields: [b]}]}", "there is no field 'b'"),
        ("task: tiny", "task: [tiny", "this is not YAML"),
    ],
)  # fmt: skip
def test_a_wrong_file_says_what_is_wrong(old, new, said):
    assert old in SMALL
    assert said in "\n".join(problems(SMALL.replace(old, new, 1)))


BINARY = SMALL.replace("unit: g, limits: [0, 10]", "positive: 'yes'").replace("tiny\n", "tiny\nkind: binary\n", 1)
MANY = SMALL.replace("unit: g, limits: [0, 10]", "classes: [low, high]").replace(
    "tiny\n", "tiny\nkind: multiclass\n", 1
)


@pytest.mark.parametrize(
    ("whole", "old", "new", "said"),
    [
        (BINARY, "positive: 'yes'", "digits: 0", "target.positive: is missing. Name the class"),
        (BINARY, "'yes'", "yes", "YAML reads this word as True. Put it in quotes"),
        (BINARY, "'yes'", "1", "target.positive: YAML reads this as the number 1. Put it in quotes: '1'"),
        (BINARY, "'yes'", "'yes', classes: [1, 'yes']", "target.classes[0]: YAML reads this as the number 1"),
        (BINARY, "'yes'", "'yes', classes: [a, b]", "'yes' is not among the classes"),
        (BINARY, "'yes'", "'yes', classes: [a, 'yes', b]", "holds 3. A binary target has 2"),
        (BINARY, "'yes'", "'yes', unit: g", "target.unit: applies to regression"),
        (BINARY, "'yes'", "'yes', limits: [0, 5]", "target.limits: apply to regression"),
        (BINARY, "SELECT * FROM t", "SELECT * FROM t, weight: y", "data.weight: 'y' is the target"),
        (BINARY, "SELECT * FROM t", "SELECT * FROM t, weight: W-1", "data.weight: 'W-1' is not a name"),
        (BINARY, "task: tiny", "task: tiny\nsearch: {metric: rmse}", "'rmse' does not fit kind binary. Use log_loss"),
        (BINARY, "task: tiny", "task: tiny\ngate: {baselines: [mean]}", "There are: lightgbm_defaults, linear, prior"),
        (BINARY, "task: tiny", "task: tiny\nanswers: {events: [{name: e, label: E, below: 1}]}", "the classes are"),
        (MANY, "[low, high]", "[low, high], positive: low", "target.positive: applies to two classes"),
        (MANY, "[low, high]", "[low]", "target.classes: holds 1. Give 2 or more"),
        (MANY, "[low, high]", "[low, low]", "'low' stands 2 times"),
        (MANY, "task: tiny", "task: tiny\nsearch: {metric: auc}", "'auc' does not fit kind multiclass. Use log_loss"),
        (SMALL, "limits: [0, 10]", "limits: [0, 10], positive: a", "target.positive: applies to classes"),
        (SMALL, "unit: g, limits: [0, 10], ", "", "target.limits: is missing"),
        (SMALL, "task: tiny", "task: tiny\nsearch: {metric: auc}", "'auc' does not fit kind regression. Use rmse, mae"),
        (SMALL, "task: tiny", "task: tiny\nsearch: {learners: [catbost]}", "'catbost' is not one of them"),
        (SMALL, "task: tiny", "task: tiny\nsearch: {max_row_us: 0}", "search.max_row_us: 0 does not fit"),
    ],
)  # fmt: skip
def test_a_target_that_does_not_fit_its_kind_says_so(whole, old, new, said):
    assert old in whole
    assert said in "\n".join(problems(whole.replace(old, new, 1)))


def test_a_class_task_has_its_own_metric_and_baselines_unless_it_names_some():
    task = taskfile.parse(BINARY)
    assert (task.search.metric, task.gate.baselines) == ("log_loss", ("prior", "linear", "lightgbm_defaults"))
    assert taskfile.parse(MANY).search.metric == "log_loss"
    named = BINARY.replace("task: tiny", "task: tiny\nsearch: {metric: auc}\ngate: {baselines: [prior]}", 1)
    assert (taskfile.parse(named).search.metric, taskfile.parse(named).gate.baselines) == ("auc", ("prior",))
    assert Task.model_validate_json(dumps(task)) == task


@pytest.mark.parametrize("text", ["", "[]", "task", "null", "- a\n- b"])
def test_what_is_no_mapping_is_told_how_to_begin(text):
    assert "a Task is a mapping" in problems(text)[0]


def test_a_target_whose_name_is_no_word_is_told():
    assert "target.name: ['y'] does not fit" in "\n".join(problems(SMALL.replace("name: y", "name: [y]")))


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["task", "fields", "target", "groups", "name", "limits", "type", "answers", "events", "form"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
@example({"fields": [{}]})  # neither target nor field has a name
def test_no_yaml_makes_the_reader_crash(document):
    try:
        taskfile.parse(json.dumps(document))
    except TaskInvalid as error:
        assert error.problems


def test_budgets_are_read_in_words():
    assert Budget.model_validate("2m").seconds == 120
    assert Budget.model_validate("40trials").trials == 40
    assert str(Budget.model_validate("90s")) == "90s"


def test_the_published_schema_is_the_one_of_the_code():
    assert json.loads((ROOT / "docs/task.schema.json").read_text()) == taskfile.json_schema()


def test_the_birth_weight_task_asks_nothing_that_is_known_only_after_labour():
    task = taskfile.read(Path(ROOT / "experiments/tasks/birth_weight.yaml"))
    for leak in ("apgar", "ab_", "mm_", "mtran", "ilive", "me_pres", "me_rout", "uop_induc", "ld_indl", "uld_breech"):
        assert leak not in task.data.sql
    hospital = taskfile.read(Path(ROOT / "experiments/tasks/birth_weight_hospital.yaml"))
    assert "LNH" not in hospital.data.sql


@pytest.mark.parametrize(("said", "outputs", "bound"), [(None, 1, 500.0), (None, 3, 1000.0), (90, 3, 90.0)])
def test_a_row_of_several_classes_may_take_twice_as_long_unless_the_task_says(said, outputs, bound):
    assert Search(max_row_us=said).row_us_of(outputs) == bound
