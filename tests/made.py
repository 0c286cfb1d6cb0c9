"""Versions made by hand: real tables, real LightGBM models and real calibration, without a search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import lightgbm
import numpy as np

from feature_store import taskfile
from feature_store.task import Adaptive, Task
from serving import drift, encode
from serving.bundle import Bundle, Reference
from serving.distribution import Distribution
from serving.encode import Encoder, as_rows
from serving.ensemble import Link, Member, combine
from serving.predictor import Predictor
from serving.trees import Trees
from training import background, calibrate, conformal, familiar, golden
from training.dataset import Rows

STAY = """
task: {task}
title: {{en: {title}, zh: {title_zh}}}
intended_use: {{en: Planning of care after discharge., zh: 用于出院后照护安排。}}
kind: {kind}
target: {target}
data: {{sources: {{t: t.parquet}}, sql: SELECT * FROM t}}
fields:
  - {{name: age, type: number, unit: a, limits: [18, 110], integer: true, required: true, label: {{en: Age, zh: 年龄}}}}
  - {{name: days, type: number, unit: d, limits: [0, 200], label: {{en: Days in hospital, zh: 住院天数}}}}
  - {{name: ward, type: category, label: {{en: Ward, zh: 病区}},
     choices: [{{value: medical, label: {{en: medical, zh: 内科}}}},
               {{value: surgical, label: {{en: surgical, zh: 外科}}}}]}}
  - {{name: alone, type: flag, label: {{en: Lives alone, zh: 独居}}}}
answers: {answers}
groups: [{{field: alone}}]
"""

READMITTED: Task = taskfile.parse(STAY.format(
    task="readmission", title="Readmission within 30 days", title_zh="30 天内再入院", kind="binary",
    target="{name: readmitted, positive: 'yes', label: {en: Readmitted within 30 days, zh: 30 天内再入院}}",
    answers="{interval: 0.9}",
))  # fmt: skip
PLACES = {
    "home": "回家", "home_with_care": "居家照护", "rehabilitation": "康复机构", "nursing_home": "养老院",
    "hospice": "临终关怀机构",
}  # fmt: skip
DESTINATION: Task = taskfile.parse(STAY.format(
    task="destination", title="Place after discharge", title_zh="出院去向", kind="multiclass",
    target="{name: place, label: {en: Place after discharge, zh: 出院去向}, classes: [" + ", ".join(
        f"{{value: {word}, label: {{en: {word.replace('_', ' ')}, zh: {zh}}}}}" for word, zh in PLACES.items()) + "]}",
    answers="{interval: 0.9}",
))  # fmt: skip
STAYED: Task = taskfile.parse(STAY.format(
    task="stay", title="Days in rehabilitation", title_zh="康复天数", kind="regression",
    target="{name: rehabilitation_d, unit: d, limits: [0, 100], label: Days in rehabilitation}",
    answers="{interval: 0.9, events: [{name: long, label: Long, at_least: 40}]}",
))  # fmt: skip

LINKS: dict[str, Link] = {"regression": "identity", "binary": "sigmoid", "multiclass": "softmax"}


@dataclass(frozen=True)
class Made:
    """A version, what its calibration found, and rows that it has not seen with their true places or values."""

    bundle: Bundle
    facts: dict[str, Any]
    rows: list[dict[str, Any]]
    target: np.ndarray


def table(kind: str, n: int, seed: int) -> Rows:
    """n patients; a tenth of their days in hospital are unknown."""
    random = np.random.default_rng(seed)
    age, days = random.integers(18, 96, n).astype(float), random.gamma(2.0, 4.0, n).round()
    ward = random.choice(["medical", "surgical"], n).astype(object)
    alone = (random.random(n) < 0.3).astype(float)
    frail = (age - 60) / 12 + days / 8 + alone + random.logistic(size=n)
    classes: tuple[str, ...] = ()
    if kind == "binary":
        target, classes = (frail > 2.5).astype(float), ("no", "yes")
    elif kind == "multiclass":
        target, classes = np.digitize(frail, [0.5, 2.0, 3.5, 6.0]).astype(float), tuple(PLACES)
    else:
        target = np.clip(10 + 6 * frail, 0, 100)
    days[random.random(n) < 0.1] = np.nan
    return Rows({"age": age, "days": days, "ward": ward, "alone": alone}, target, None, classes)


def _fitted(kind: str, matrix: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Trees:
    settings: dict[str, Any] = {"objective": kind, "num_leaves": 7, "verbose": -1, "num_threads": 1, "seed": seed}
    settings |= {"deterministic": True, "bagging_fraction": 0.8, "bagging_freq": 1}
    if kind == "multiclass":
        settings["num_class"] = classes
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix, target), num_boost_round=20)
    return Trees(booster.model_to_string(), matrix.shape[1])


@cache
def version(kind: str, n: int = 3000) -> Made:
    """A small version of a kind of target: two members, one of them a bag; golden rows; a background; a card."""
    task = {"regression": STAYED, "binary": READMITTED, "multiclass": DESTINATION}[kind]
    rows, unseen = table(kind, n, 0), table(kind, n, 1)
    encoder = encode.fit(task, rows.columns, rows.classes)
    matrix, folds = encoder.columns(rows.columns), np.arange(n) % 3
    link, count = LINKS[kind], len(rows.classes)
    bag = [_fitted(kind, matrix[folds != k], rows.target[folds != k], count, k) for k in range(3)]
    whole = _fitted(kind, matrix, rows.target, count, 9)
    out_of_fold = [Member("lightgbm", 1.0, (model,), link) for model in bag]
    oof = np.empty((n, out_of_fold[0].predict(matrix[:1]).shape[1]))
    for k, member in enumerate(out_of_fold):
        oof[folds == k] = member.predict(matrix[folds == k])
    members = [Member("lightgbm", 0.75, tuple(bag), link), Member("lightgbm", 0.25, (whole,), link)]
    bundle, facts = _calibrated(encoder, members, rows, matrix, oof)
    made = golden.make(encoder, rows, 0)
    beside = background.make(encoder, familiar.fit(encoder, matrix, 0), matrix, partial(combine, members), 0)
    bundle = replace(bundle, golden=golden.answered(Predictor(bundle), made), reference=Reference(background=beside))
    return Made(bundle, facts, as_rows(task, unseen.columns), unseen.target)


@cache
def referred(kind: str) -> Bundle:
    """The same version with what its training rows are like: it marks unfamiliar rows, and drift can be told."""
    bundle, rows = version(kind).bundle, table(kind, 3000, 0)
    matrix = bundle.encoder.columns(rows.columns)
    known = familiar.fit(bundle.encoder, matrix, 0)
    counts = {f.name: drift.counts(known.bins[n], matrix[:, n]) for n, f in enumerate(bundle.task.fields)}
    return _answering(replace(bundle, reference=replace(bundle.reference, familiarity=known, counts=counts)))


def adaptive(bundle: Bundle) -> Bundle:
    """The same version, whose Task asks for a working level."""
    answers = bundle.task.answers.model_copy(update={"adaptive": Adaptive()})
    return of_task(bundle, bundle.task.model_copy(update={"answers": answers}))


def of_task(bundle: Bundle, task: Task) -> Bundle:
    """The same version with another Task of the same fields and target."""
    distribution = bundle.distribution
    if isinstance(distribution, Distribution):
        distribution = replace(distribution, task=task)
    encoder = replace(bundle.encoder, task=task)
    return _answering(replace(bundle, task=task, encoder=encoder, distribution=distribution))


def _answering(bundle: Bundle) -> Bundle:
    return replace(bundle, golden=golden.answered(Predictor(bundle), bundle.golden["rows"]))


def _calibrated(
    encoder: Encoder, members: list[Member], rows: Rows, matrix: np.ndarray, oof: np.ndarray
) -> tuple[Bundle, dict[str, Any]]:
    task, empty = encoder.task, {"rows": [], "answers": []}
    card = {
        "metrics": _metrics(task.kind, rows, combine(members, matrix)),
        "trained_on": {"rows": len(rows), "holdout_rows": 750, "synthetic": False},
    }
    if task.kind == "regression":
        found = conformal.calibrate(task, encoder, matrix, rows.target, oof[:, 0], np.ones(len(oof)))
        return Bundle(task, encoder, members, None, found.floor, found.distribution, card, empty), {}
    classes, facts = calibrate.calibrate(task, encoder, matrix, rows.target, oof)
    return Bundle(task, encoder, members, None, 1.0, classes, card, empty), facts


def _metrics(kind: str, rows: Rows, predicted: np.ndarray) -> dict[str, float]:
    if kind == "regression":
        error = rows.target - predicted[:, 0]
        return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean())), "coverage": 0.9}
    found = {"log_loss": 0.41, "accuracy": 0.8, "set_coverage": 0.902}
    return found | ({"auc": 0.87} if kind == "binary" else {})
