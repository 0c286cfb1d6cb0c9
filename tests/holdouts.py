"""Made-up trainings of each kind for the tests of record, report and plots: real LightGBM models on synthetic rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import lightgbm
import numpy as np

from feature_store.task import Task
from serving import encode
from serving.additive import Additive, Curve
from serving.distribution import ALL, Cell, Distribution, GroupNames
from serving.encode import Encoder
from serving.ensemble import Link, Member, combine
from serving.trees import Trees
from training import evaluate
from training.curve import curve_point, summary
from training.engine import Put
from training.evaluate import Holdout
from training.explain import Judged, importance, shap
from training.figures.seen import Insight, Seen
from training.learn import columns
from training.runlog import Trial
from training.trial import Shared

KINDS = ("regression", "binary", "multiclass")
CLASSES = {"binary": ("home", "ward"), "multiclass": ("home", "ward", "theatre", "intensive")}
LINKS: dict[str, Link] = {"regression": "identity", "binary": "sigmoid", "multiclass": "softmax"}
OBJECTIVES = {"regression": "regression", "binary": "binary", "multiclass": "multiclass"}
TARGETS: dict[str, dict[str, Any]] = {
    "regression": {"name": "stay_h", "unit": "h", "limits": [0, 500], "label": {"en": "Stay", "zh": "住院时长"}},
    "binary": {
        "name": "admitted",
        "positive": "ward",
        "label": {"en": "Admitted", "zh": "收治入院"},
        "classes": [
            {"value": "home", "label": {"en": "Sent home", "zh": "回家"}},
            {"value": "ward", "label": {"en": "Admitted", "zh": "入院"}},
        ],
    },
    "multiclass": {
        "name": "next",
        "label": {"en": "Where next", "zh": "去向"},
        "classes": [
            {"value": "home", "label": {"en": "Home", "zh": "回家"}},
            {"value": "ward", "label": {"en": "Ward", "zh": "病房"}},
            {"value": "theatre", "label": {"en": "Theatre", "zh": "手术室"}},
            {"value": "intensive", "label": {"en": "Intensive care", "zh": "重症监护"}},
        ],
    },
}


def _text(en: str, zh: str) -> dict[str, str]:
    return {"en": en, "zh": zh}


def task(kind: str, metric: str | None = None) -> Task:
    """A task of the emergency room; eight fields, two groups."""
    events = [
        {"name": "day_case", "below": 24, "label": {"en": "Home within a day", "zh": "当天出院"}},
        {"name": "long_stay", "at_least": 96, "label": {"en": "Longer than four days", "zh": "超过四天"}},
    ]
    arrivals = (
        ("walked", "Walked in", "自行来院"),
        ("ambulance", "By ambulance", "救护车"),
        ("helicopter", "By helicopter", "直升机"),
    )
    choices = [{"value": value, "label": {"en": en, "zh": zh}} for value, en, zh in arrivals]
    fields: list[dict[str, Any]] = [
        {
            "name": "age",
            "type": "number",
            "unit": "a",
            "limits": [0, 110],
            "required": True,
            "label": _text("Age", "年龄"),
        },
        {"name": "pulse", "type": "number", "unit": "/min", "limits": [20, 250], "label": _text("Pulse", "脉搏")},
        {
            "name": "crp",
            "type": "number",
            "unit": "mg/L",
            "limits": [0, 500],
            "label": _text("C-reactive protein", "C 反应蛋白"),
        },
        {"name": "arrival", "type": "category", "choices": choices, "label": _text("Way of arrival", "来院方式")},
        {
            "name": "diabetes",
            "type": "flag",
            "label": _text("Diabetes, of whatever type and treatment", "糖尿病（任何类型及治疗）"),
        },
        {"name": "hour", "type": "number", "limits": [0, 24], "label": _text("Hour of the day", "到达时刻")},
        {"name": "visits", "type": "number", "limits": [0, 99], "label": _text("Earlier visits", "既往就诊次数")},
        {"name": "noise", "type": "number", "limits": [-9, 9], "label": _text("Ward's coin", "随机数")},
    ]
    return Task.model_validate(
        {
            "task": f"emergency_{kind}",
            "kind": kind,
            "target": TARGETS[kind],
            "title": {"en": "Emergency room: what comes next", "zh": "急诊：下一步去向"},
            "intended_use": {
                "en": "For planning beds, never for a single patient's care.",
                "zh": "用于床位安排，不用于个体诊疗。",
            },
            "data": {
                "sources": {"visits": "emergency/visits.parquet"},
                "sql": "SELECT * FROM visits",
                "citation": "Made-up visits to an emergency room",
            },
            "fields": fields,
            "groups": [{"field": "arrival"}, {"field": "age", "cuts": [18, 65]}],
            "answers": {"events": events} if kind == "regression" else {},
            **({"search": {"metric": metric}} if metric else {}),
        }
    )


def rows(kind: str, n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns as `offline.columns` gives them, and the target (n,)."""
    random = np.random.default_rng(seed)
    arrival = random.choice(["walked", "ambulance", "helicopter"], n, p=[0.62, 0.33, 0.05])
    columns: dict[str, np.ndarray] = {
        "age": np.round(random.uniform(1, 95, n)),
        "pulse": np.where(random.random(n) < 0.1, np.nan, np.round(random.normal(88, 16, n))),
        "crp": np.round(random.exponential(30, n), 1),
        "arrival": arrival.astype(object),
        "diabetes": (random.random(n) < 0.15).astype(float),
        "hour": np.round(random.uniform(0, 24, n)),
        "visits": random.poisson(1.5, n).astype(float),
        "noise": random.normal(size=n).clip(-9, 9),
    }
    way = np.select([arrival == "walked", arrival == "ambulance"], [0.0, 1.0], 2.2)
    pulse = np.nan_to_num(columns["pulse"], nan=88.0)
    risk = -2 + 0.025 * columns["age"] + 1.1 * way + 0.018 * columns["crp"] + 0.02 * (pulse - 88) * (way > 0)
    if kind == "regression":
        return columns, np.clip(20 + 22 * risk + random.gamma(2.0, 9 + 4 * way, n), 0, 500)
    if kind == "binary":
        return columns, (random.random(n) < 1 / (1 + np.exp(-risk + 0.8))).astype(float)
    scores = np.column_stack([np.zeros(n), risk, risk - 1 + 0.5 * way, 1.6 * risk - 3.2])
    return columns, (scores + random.gumbel(size=scores.shape)).argmax(axis=1).astype(float)


def fit_trees(matrix: np.ndarray, target: np.ndarray, weight: np.ndarray | None, seed: int, kind: str) -> Member:
    """A small LightGBM as a member of the whole weight."""
    params = {
        "objective": OBJECTIVES[kind],
        "num_leaves": 8,
        "learning_rate": 0.1,
        "num_threads": 1,
        "seed": seed,
        "verbosity": -1,
        "deterministic": True,
        "force_row_wise": True,
    }
    if kind == "multiclass":
        params["num_class"] = len(CLASSES[kind])
    data = lightgbm.Dataset(matrix, target, weight=weight, categorical_feature=[3], params={"verbosity": -1})
    text = lightgbm.train(params, data, 40).model_to_string()
    return Member("lightgbm", 1.0, (Trees(text, matrix.shape[1]),), LINKS[kind])


def additive(kind: str) -> Member:
    """A straight line of age, as an additive model."""
    outputs = len(CLASSES["multiclass"]) if kind == "multiclass" else 1
    slope = [0.02 * (place + 1) for place in range(outputs)]
    curve = Curve(0, [0.0, 50.0, 110.0], [[-1.0] * outputs] * 2, [slope] * 2, [0.0] * outputs)
    return Member("linear", 1.0, (Additive([-0.5] * outputs, [curve], []),), LINKS[kind])


def answers(
    described: Task, encoder: Encoder, predicted: np.ndarray, matrix: np.ndarray, truth: np.ndarray
) -> list[dict[str, Any]]:
    """Answers in the exchange's form, with an interval or a set about as wide as it should be."""
    if described.kind == "regression":
        size = 12.0
        scores = np.sort(np.random.default_rng(1).gamma(2.0, 1.0, 4000) - 2.0) * 0.95
        distribution = Distribution(described, {ALL: Cell(ALL, scores)}, GroupNames(encoder))
        found = [
            distribution.answer(row, float(centre), size) for row, centre in zip(matrix, predicted[:, 0], strict=True)
        ]
        return [
            {"value": one.value, "interval": {"level": 0.9, "low": one.low, "high": one.high}, "events": one.events}
            for one in found
        ]
    words = CLASSES[described.kind]
    full = np.column_stack([1 - predicted[:, 0], predicted[:, 0]]) if described.kind == "binary" else predicted
    out = []
    least = np.quantile(full[np.arange(len(truth)), truth.astype(int)], 0.1)
    for chances in full:
        chosen = [word for word, chance in zip(words, chances, strict=True) if chance >= least]
        known: dict[str, Any] = {"label": words[chances.argmax()], "set": chosen or [words[chances.argmax()]]}
        if described.kind == "binary":
            out.append({"value": float(chances[1]), **known})
        else:
            out.append({"probabilities": dict(zip(words, chances.tolist(), strict=True)), **known})
    return out


@dataclass(frozen=True)
class InMemory:
    """Arrays that one process shares with itself."""

    known: dict[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return self.known


def problem(matrix: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a search in three folds."""
    folds = np.arange(len(target)) % 3
    arrays = {"matrix": matrix, "target": target}
    for fold in range(3):
        arrays |= {f"fit_{fold}": np.flatnonzero(folds != fold), f"valid_{fold}": np.flatnonzero(folds == fold)}
    return arrays


def shared(described: Task, encoder: Encoder, put: Put) -> Shared:
    """What the trials of a search work on."""
    outputs = len(CLASSES[described.kind]) if described.kind == "multiclass" else 1
    return Shared(put, columns(encoder), described.kind, outputs, described.search.metric, 0)


def trials(metric: str, best: float) -> list[Trial]:
    """A search of 30 trials of four learners, one of which failed, that got better with time."""
    random = np.random.default_rng(5)
    out = []
    for number in range(30):
        learner = ("lightgbm", "xgboost", "catboost", "linear")[number % 4]
        failed = number == 11
        loss = best * (1 + 0.06 * float(random.exponential()) / (1 + number / 6) + 0.04 * (learner == "linear"))
        out.append(
            Trial(
                number,
                learner,
                {"n_estimators": 200 + number, "num_leaves": 8 + number, "learning_rate": 0.07},
                "portfolio" if number < 12 else "cfo",
                None if failed else loss,
                200,
                1.2 + number % 4,
                1.9 * (number + 1),
                failure=f"{learner} failed: ValueError: bad_alloc" if failed else "",
            )
        )
    return out


@cache
def seen(kind: str, metric: str | None = None, weighted: bool = False) -> Seen:
    """A finished training, whole: models, answers, card, insight."""
    described = task(kind, metric)
    columns, target = rows(kind, 3000, 0)
    words = CLASSES.get(kind, ())
    encoder = encode.fit(described, columns, words)
    matrix = encoder.columns(columns)
    trees = fit_trees(matrix, target, None, 0, kind)
    members = [
        Member("lightgbm", 0.85, trees.models, trees.link),
        Member("linear", 0.15, additive(kind).models, trees.link),
    ]
    if kind == "regression":  # two lines of very different level: the trees alone answer
        members = [trees]
    held, truth = rows(kind, 1500, 1)
    asked = encoder.columns(held)
    weight = np.random.default_rng(2).uniform(0.5, 2.0, len(truth)) if weighted else None
    replies = answers(described, encoder, combine(members, asked), asked, truth)
    holdout = Holdout(
        encode.as_rows(described, held), truth, replies, evaluate.group_names(encoder, asked), weight, words
    )
    name = described.search.metric
    measured = evaluate.metrics(described, holdout)
    work = shared(described, encoder, InMemory(problem(matrix, target)))
    points = [curve_point(work, share) for share in (0.125, 0.25, 0.5, 1.0)]
    insight = Insight(
        importance(
            lambda m: combine(members, m),
            [f.name for f in described.fields],
            Judged(name, asked, truth, weight),
            budget_s=1.0,
        ),
        shap(members, asked, budget_s=2.0),
        summary(name, points, len(target)),
    )
    loss = 1 - measured["auc"] if name == "auc" else measured[name]
    tried = trials(name, loss)
    best = sorted((t for t in tried if t.loss is not None), key=lambda t: t.loss or 0.0)[:3]
    return Seen(
        described,
        holdout,
        card(described, holdout, measured),
        tried,
        [(best[0], 0.6), (best[1], 0.28), (best[2], 0.12)],
        insight,
    )


def card(described: Task, holdout: Holdout, measured: dict[str, float]) -> dict[str, Any]:
    """A card as `training.record` makes it."""
    names = {"regression": ("mean", "linear", "lightgbm_defaults")}.get(
        described.kind, ("prior", "linear", "lightgbm_defaults")
    )
    truth, n = holdout.target, len(holdout.target)
    if described.kind == "multiclass":
        shares = np.bincount(truth.astype(int), minlength=len(holdout.classes)) / n
        flat = np.tile(shares, (n, 1))
    else:
        flat = np.full((n, 1), truth.mean())
    blend = {
        names[0]: flat,
        names[1]: 0.45 * flat + 0.55 * holdout.predicted,
        names[2]: 0.08 * flat + 0.92 * holdout.predicted,
    }
    baselines = {
        name: evaluate.measures.point_metrics(described.kind, truth, guess, holdout.weight)
        for name, guess in blend.items()
    }
    return {
        "trained_on": {
            "rows": 3000,
            "holdout_rows": n,
            "sources": ["emergency/visits.parquet"],
            "digest": "c0ffee" * 10,
            "synthetic": False,
            "seed": 0,
            "trials": 30,
            "cells": {"all": 3000},
            "calibration": {}
            if described.kind == "regression"
            else {"method": "temperature", "log_loss_before": 0.6123, "log_loss_after": 0.6011},
        },
        "metrics": measured,
        "baselines": baselines,
        "groups": evaluate.by_group(described, holdout),
        "deciles": evaluate.by_decile(described, holdout),
        "leakage": [
            {
                "field": "crp",
                "check": "single_field",
                "figure": 0.97,
                "reason": "The sample is taken on arrival, before the decision.",
            }
        ],
    }
