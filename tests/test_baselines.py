"""Baselines that the field would use: rules from the Task, judged on the same holdout and blind to its target."""

from __future__ import annotations

import json
import warnings
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import catalog
from feature_store import formula, offline, taskfile
from feature_store.errors import BaselineRefused, TableUnreadable, TaskInvalid
from feature_store.offline import Source
from feature_store.task import Task
from training import dataset, rules, splits

FIELDS = [
    {"name": "ac", "type": "number", "limits": [0, 100]},
    {"name": "hc", "type": "number", "limits": [0, 100]},
    {"name": "bpd", "type": "number", "limits": [0, 100]},
    {"name": "fl", "type": "number", "limits": [0, 100]},
    {"name": "sex", "type": "category"},
    {"name": "ill", "type": "flag"},
]
HADLOCK = """
  10 ** (1.3596 - 0.00386 * ac * fl + 0.0064 * hc
         + 0.00061 * bpd * ac + 0.0424 * ac + 0.174 * fl)
"""
"""Weight in g from cm. Source: Hadlock et al. 1985, Am J Obstet Gynecol 151(3), 333-337, model 4."""


def plain(kind: str = "regression", **more: Any) -> dict[str, Any]:
    target = {
        "regression": {"name": "y", "unit": "g", "limits": [0, 7000], "label": "Y"},
        "binary": {"name": "y", "positive": "yes", "label": "Y"},
        "multiclass": {"name": "y", "classes": ["calm", "wild", "odd one"], "label": "Y"},
    }[kind]
    return {
        "task": "made",
        "title": "Made",
        "intended_use": "A test.",
        "kind": kind,
        "target": target,
        "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
        "fields": FIELDS,
        **more,
    }


def task(kind: str = "regression", *baselines: dict[str, Any], **more: Any) -> Task:
    named = [{"name": "rule", **baseline} for baseline in baselines]
    return Task.model_validate(plain(kind, baselines=named, **more))


def table(n: int = 200, **changed: Any) -> pa.Table:
    random = np.random.default_rng(5)
    columns = {
        "y": random.normal(3000, 400, n),
        "ac": random.normal(34, 2, n),
        "hc": random.normal(33, 2, n),
        "bpd": random.normal(9.3, 0.5, n),
        "fl": random.normal(7.2, 0.4, n),
        "sex": random.choice(["female", "male"], n),
        "ill": random.random(n) < 0.3,
        **changed,
    }
    return pa.table(columns)


def parts(made: Task, given: pa.Table) -> splits.Split:
    return splits.split(made, dataset.labelled(made, Source(given, "digest", False)), 0)


def asked(made: Task, given: pa.Table) -> tuple[np.ndarray, splits.Split]:
    """What the rule says of the holdout, and the split."""
    split = parts(made, given)
    return rules.predict(made, split, given)["rule"], split


# --- the constant ones


def test_the_mean_is_of_the_training_rows_alone():
    made, given = task(), table()
    split = parts(made, given)
    (found,) = rules.predict(made, split, given).values()
    assert found.shape == (len(split.holdout), 1)
    assert set(found[:, 0]) == {split.train.target.mean()}


def test_weights_count_in_the_mean_the_median_and_the_prior():
    weight = np.where(np.arange(200) % 2, 9.0, 1.0)
    data = {"sources": {"t": "t"}, "sql": "SELECT 1", "weight": "w"}
    given = table(y=np.arange(200) % 2 * 100.0, w=weight, ill=[True] * 200)
    made = task("regression", {"median_by": "ill"}, data=data)
    split = parts(made, given)
    found = rules.predict(made, split, given)
    assert found["mean"][0, 0] == np.average(split.train.target, weights=split.train.weight) > 85
    assert set(found["rule"][:, 0]) == {100.0}
    classes = task("binary", data=data)
    words = given.set_column(0, "y", pa.array(np.where(np.arange(200) % 2, "yes", "no")))
    assert rules.predict(classes, parts(classes, words), words)["prior"][0, 0] == pytest.approx(0.9, abs=0.01)


def test_the_prior_is_each_classs_share():
    words = np.random.default_rng(0).permutation(np.repeat(["calm", "wild", "odd one"], [120, 60, 20]))
    made, given = task("multiclass"), table(y=words)
    found = rules.predict(made, parts(made, given), given)["prior"]
    assert found.shape[1] == 3
    assert np.allclose(found[0], [0.6, 0.3, 0.1], atol=0.01)
    assert np.allclose(found.sum(axis=1), 1)


# --- by a field's value


def test_the_median_by_a_fields_value_is_that_of_the_same_rows_else_of_all():
    hc = np.random.default_rng(1).integers(0, 60, 200).astype(float)
    hc[:5] = np.nan
    made, given = task("regression", {"median_by": "hc"}), table(hc=hc)
    found, split = asked(made, given)
    for value, answer in zip(split.holdout.columns["hc"], found[:, 0], strict=True):
        same = split.train.target[split.train.columns["hc"] == value]
        assert answer == np.median(same if same.size else split.train.target)


def test_the_rate_by_a_fields_value_is_drawn_to_the_prior_where_rows_are_few():
    sex = np.array([*["female"] * 100, *["male"] * 97, *["rare"] * 2, None], dtype=object)
    random = np.random.default_rng(2)
    y = np.where(random.random(200) < np.where(sex == "female", 0.8, 0.2), "yes", "no")
    y[197:199] = "yes"
    made, given = task("binary", {"rate_by": "sex"}), table(sex=sex, y=y)
    split = parts(made, given)
    split = splits.Split(split.train, split.train, split.folds)  # every value is asked
    found, train = rules.predict(made, split, given), split.train
    prior = train.target.mean()
    for value in ("female", "male", "rare"):
        same = train.target[train.columns["sex"] == value]
        if same.size:
            expected = (same.sum() + 20 * prior) / (same.size + 20)
            assert np.allclose(found["rule"][train.columns["sex"] == value, 0], expected)
    assert np.allclose(found["rule"][[word is None for word in train.columns["sex"]], 0], prior)


def test_the_rates_of_several_classes_sum_to_one():
    words = np.random.default_rng(0).choice(["calm", "wild", "odd one"], 200)
    found, _ = asked(task("multiclass", {"rate_by": "sex"}), table(y=words))
    assert found.shape[1] == 3
    assert np.allclose(found.sum(axis=1), 1)


# --- a formula


def test_hadlocks_formula_gives_the_weight_of_a_fetus():
    fetus = {"ac": np.array([34.0]), "hc": np.array([33.0]), "bpd": np.array([9.3]), "fl": np.array([7.2])}
    by_hand = 10 ** (1.3596 - 0.00386 * 34 * 7.2 + 0.0064 * 33 + 0.00061 * 9.3 * 34 + 0.0424 * 34 + 0.174 * 7.2)
    assert formula.evaluate(HADLOCK, fetus)[0] == pytest.approx(by_hand, rel=1e-12)
    assert by_hand == pytest.approx(3259.5, abs=0.1)


def test_a_formula_answers_the_median_where_a_field_is_unknown_and_stays_within_the_limits():
    ac = np.random.default_rng(0).normal(34, 2, 200)
    ac[::7] = np.nan
    ac[1::7] = 100.0
    found, split = asked(task("regression", {"formula": HADLOCK}), table(ac=ac))
    asked_ac = split.holdout.columns["ac"]
    assert set(found[np.isnan(asked_ac), 0]) == {float(np.median(split.train.target))}
    assert set(found[asked_ac == 100, 0]) == {7000.0}


def test_a_formula_may_give_a_probability():
    words = np.random.default_rng(0).choice(["yes", "no"], 200)
    risk = "1 / (1 + exp(-(0.3 * (ac - 34)))) if sex == 'male' and not ill else 2"
    found, split = asked(task("binary", {"formula": risk}), table(y=words))
    columns = split.holdout.columns
    risky = (columns["sex"] == "male") & (columns["ill"] == 0)
    assert np.allclose(found[risky, 0], 1 / (1 + np.exp(-0.3 * (columns["ac"][risky] - 34))))
    assert set(found[~risky, 0]) == {1.0}


COLUMNS = {
    "ac": np.array([1.0, 2.0, 5.0]),
    "hc": np.array([3.0, 2.0, 1.0]),
    "sex": np.array(["male", "female", "male"], dtype=object),
    "ill": np.array([1.0, 0.0, 1.0]),
}
KINDS = {"ac": "number", "hc": "number", "sex": "category", "ill": "flag"}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2", [2, 2, 2]),
        ("-ac ** 2 + 1", [0, -3, -24]),
        ("(ac + hc) / 2", [2, 2, 3]),
        ("1 < ac <= 5", [0, 1, 1]),
        ("ac if ac > hc else hc", [3, 2, 5]),
        ("min(ac, hc, 2) + max(ac, 4)", [5, 6, 6]),
        ("sex == 'male'", [1, 0, 1]),
        ("(sex != 'male') * 10 + ill", [1, 10, 1]),
        ("not (ill and ac > 2) or hc == 1", [1, 1, 1]),
        ("log(exp(ac)) + sqrt(hc ** 2) + abs(-ac)", [5, 6, 11]),
        ("ac\n  + hc", [4, 4, 6]),
    ],
)
def test_a_formula_means_what_it_says(text, values):
    assert list(formula.problems(text, KINDS)) == []
    assert formula.evaluate(text, COLUMNS).tolist() == pytest.approx(values)


def test_what_can_not_be_computed_is_not_finite_and_warns_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = formula.evaluate("log(ac - 1) + 1 / (hc - 2) + 9 ** 9 ** 9", COLUMNS)
    assert not np.isfinite(found).any()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ac + hcc", "there is no field 'hcc'. Did you mean 'hc'"),
        ("ac +", "is no expression"),
        ("ac, hc", "is not allowed"),
        ("[ac]", "is not allowed"),
        ("ac % 2", "is not allowed"),
        ("ac.real", "is not allowed"),
        ("__import__('os')", "'__import__' is no function here"),
        ("(lambda: 1)()", "is no function here"),
        ("exp(ac, hc)", "exp takes one value"),
        ("min(ac)", "min takes two values or more"),
        ("exp", "exp is a function"),
        ("sex + 1", "'sex' is a category"),
        ("ac == 'male'", "'male' is no number"),
        ("sex < 'male'", "'sex' is a category"),
        ("True", "'True' is no number"),
        ("1j", "'1j' is no number"),
        ("1" + "0" * 400, "is no number"),
        ("-" * 3000 + "ac", "deeply"),
        ("(" * 300 + "ac" + ")" * 300, "is no expression"),
        ("+".join(["ac"] * 400), "nested too deeply"),
        ("ac\0", "is no expression"),
    ],
)
def test_a_formula_that_can_not_be_read_is_told(text, said):
    assert said in "\n".join(f"{message} {remedy}" for message, remedy in formula.problems(text, KINDS))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([*"()+-*/<>=,.'\n", "**", "ac", "sex", "'male'", "if", "else", "min", "2", " "]), max_size=14
    )
)
def test_any_formula_is_computed_or_told(words):
    text = "".join(words)
    told = list(formula.problems(text, KINDS))
    if not told:
        assert formula.evaluate(text, COLUMNS).shape == (3,)
    assert all(message and remedy for message, remedy in told)


# --- a query

NAIVE = "SELECT row_id, (SELECT avg(t.y) FROM train t WHERE t.day = h.day - 7) AS value FROM holdout h"


def days(n: int = 100) -> list[date]:
    return [date(2024, 1, 1) + timedelta(days=i) for i in range(n)]


def test_the_seasonal_naive_forecast_is_a_query():
    given = table(100, y=np.arange(100) % 7 * 10.0, day=days())
    made = task("regression", {"sql": NAIVE}, split={"kind": "time", "by": "day", "holdout": 0.05, "folds": 5})
    found, split = asked(made, given)
    assert found[:, 0].tolist() == split.holdout.target.tolist()
    far = task("regression", {"sql": NAIVE}, split={"kind": "time", "by": "day", "holdout": 0.2, "folds": 5})
    found, split = asked(far, given)
    assert found[:7, 0].tolist() == split.holdout.target[:7].tolist()
    assert set(found[7:, 0]) == {float(np.median(split.train.target))}, "what it says nothing of has the median"


def test_a_query_does_not_see_the_target_of_the_holdout_nor_rows_of_a_gap():
    given = table(100, day=days())
    query = {"sql": "SELECT row_id, y AS value FROM holdout UNION ALL SELECT -1, 0"}
    made = task("regression", query, split={"kind": "time", "by": "day", "gap": 9, "folds": 2})
    found, split = asked(made, given)
    assert set(found[:, 0]) == {float(np.median(split.train.target))}
    count = {"sql": "SELECT row_id, (SELECT count(*) FROM train) AS value FROM holdout"}
    found, split = asked(task("regression", count, split={"kind": "time", "by": "day", "gap": 9, "folds": 2}), given)
    assert set(found[:, 0]) == {float(len(split.train))} == {71.0}


def test_a_query_gives_a_column_a_class():
    words = np.random.default_rng(0).choice(["calm", "wild", "odd one"], 200)
    query = {"sql": "SELECT row_id, 1 AS calm, CASE WHEN ill THEN 1 ELSE 0.5 END AS wild, 0 AS 'odd one' FROM holdout"}
    found, split = asked(task("multiclass", query), table(y=words))
    ill = split.holdout.columns["ill"] == 1
    assert np.allclose(found[ill], [0.5, 0.5, 0])
    assert np.allclose(found[~ill], [2 / 3, 1 / 3, 0])


def test_a_query_reads_no_file(tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("row_id,value\n1,2\n")
    for sql in (f"SELECT * FROM '{secret}'", f"SELECT * FROM read_csv('{secret}')"):
        with pytest.raises(TableUnreadable):
            asked(task("regression", {"sql": sql}), table())


@pytest.mark.parametrize(
    ("sql", "error", "said"),
    [
        (
            "SELECT row_id, z AS value FROM holdout",
            TableUnreadable,
            r"SQL of baseline rule of made.*\nThere are train \(",
        ),
        ("SELEC", TableUnreadable, "syntax error"),
        ("CREATE TABLE a (b INT)", BaselineRefused, "not row_id, value"),
        ("SELECT y FROM train", BaselineRefused, "gives y, not row_id, value.\nSelect row_id, value"),
        ("SELECT row_id, 1 AS value FROM holdout, range(2)", BaselineRefused, "several of the same"),
        ("SELECT NULL AS row_id, 1 AS value", BaselineRefused, "without a row_id"),
        ("SELECT row_id, 'high' AS value FROM holdout", BaselineRefused, "no number"),
    ],
)
def test_a_query_that_does_not_fit_is_refused_with_what_to_do(sql, error, said):
    with pytest.raises(error, match=said):
        asked(task("regression", {"sql": sql}), table())


def test_rows_without_a_target_are_in_neither_view():
    y = [None if i % 4 == 0 else 3000.0 for i in range(200)]
    query = {
        "sql": "SELECT row_id, (SELECT count(*) FROM train) + (SELECT count(*) FROM holdout) AS value FROM holdout"
    }
    found, _ = asked(task("regression", query), table(y=y))
    assert set(found[:, 0]) == {150.0}


# --- the Task


@pytest.mark.parametrize(
    ("kind", "baseline", "said"),
    [
        ("regression", {"median_by": "acc"}, "there is no field 'acc'"),
        ("binary", {"median_by": "ac"}, "median_by: does not apply to kind binary. Use rate_by, formula, sql."),
        ("regression", {"rate_by": "sex"}, "rate_by: does not apply to kind regression"),
        ("multiclass", {"formula": "ac"}, "formula: does not apply to kind multiclass. Use rate_by, sql."),
        ("regression", {"formula": "ac * weigth"}, "baselines[0].formula: there is no field 'weigth'"),
        ("regression", {}, "gives no rule. Give one of median_by, rate_by, formula, sql"),
        ("regression", {"median_by": "ac", "formula": "ac"}, "gives median_by, formula. Give one"),
        ("regression", {"name": "linear", "median_by": "ac"}, "'linear' stands 2 times"),
    ],
)
def test_a_baseline_that_contradicts_the_task_is_told(kind, baseline, said):
    with pytest.raises(TaskInvalid) as caught:
        taskfile.parse(json.dumps(plain(kind, baselines=[{"name": "rule", **baseline}])))
    assert said in str(caught.value)


def test_the_real_birth_weights_are_given_by_week_and_by_a_formula(shared_data):
    read = catalog.load("birth_weight")
    raw = read.model_dump(mode="json")
    raw["baselines"].append({"name": "line", "formula": "3300 + 190 * (gestation_weeks - 39)"})
    made = Task.model_validate(raw)
    source = offline.fetch(made, shared_data)
    split = splits.split(made, dataset.labelled(made, source), 0)
    found = rules.predict(made, split, source.table)
    rmse = {name: float(np.sqrt(np.mean((split.holdout.target - p[:, 0]) ** 2))) for name, p in found.items()}
    assert rmse["median_by_week"] < rmse["line"] < rmse["mean"]
    assert rmse["median_by_week"] == pytest.approx(475.6, abs=5)  # the README's figure
