"""Versions whose Tasks decide, made by hand: real additive models and real calibration, without a search."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from feature_store import taskfile
from feature_store.task import Task
from serving import encode
from serving.additive import Additive, Curve
from serving.bundle import Bundle
from serving.encode import as_rows
from serving.ensemble import Member
from serving.predictor import Predictor
from training import calibrate, conformal, golden
from training.dataset import Rows

WHOLE = """
task: {task}
title: {{en: {task}, zh: 决策}}
intended_use: Planning.
kind: {kind}
target: {target}
data: {{sources: {{t: t.csv}}, sql: SELECT * FROM t}}
fields:
  - {{name: size, type: number, limits: [0, 100], required: true, label: {{en: Size, zh: 规模}}}}
  - {{name: stock, type: number, limits: [-50, 500], required: true, label: {{en: On hand, zh: 现有库存}}}}
  - {{name: price, type: number, limits: [0, 100], required: true, label: {{en: Price, zh: 价格}}}}
  - {{name: sent, type: date, label: {{en: Sent, zh: 发货日期}}}}
  - {{name: rush, type: flag, label: {{en: Rush, zh: 加急}}}}
answers: {{interval: 0.8, decision: {decision}}}
groups: [{{field: rush}}]
search: {{budget: 1trials, learners: [linear]}}
"""
NUMBER = "{{name: y, unit: {unit}, limits: [0, 400], label: {{en: {en}, zh: {zh}}}, digits: 1}}"
PARTS: dict[str, dict[str, str]] = {
    "order": {
        "target": NUMBER.format(unit="kg", en="Demand", zh="需求"),
        "decision": "{kind: order_quantity, understock: 4, overstock: 1, pack: 12, minimum: 24, on_hand: stock}",
    },
    "staffing": {
        "target": NUMBER.format(unit="'1'", en="Calls", zh="来电数"),
        "decision": "{kind: headcount, interval_s: 1800, handling_s: 180, within_s: 20, answered: 0.8, shrinkage: 0.3}",
    },
    "crew": {
        "target": NUMBER.format(unit="'1'", en="Parcels", zh="包裹数"),
        "decision": "{kind: headcount, productivity: 25, level: 0.8}",
    },
    "delivery": {
        "target": NUMBER.format(unit="h", en="Hours on the way", zh="在途时长"),
        "decision": "{kind: promise, level: 0.9, start: sent}",
    },
    "hits": {
        "target": NUMBER.format(unit="kg", en="Sales", zh="销量"),
        "decision": "{kind: shortlist, budget: 100, cost: price}",
    },
    "calls": {
        "kind": "binary",
        "target": "{name: y, positive: 'yes', label: {en: Buys, zh: 购买}}",
        "decision": "{kind: shortlist, budget: 3, worth: price}",
    },
}
TASKS: dict[str, Task] = {
    name: taskfile.parse(WHOLE.format(task=name, **({"kind": "regression"} | parts))) for name, parts in PARTS.items()
}


def table(kind: str, n: int, seed: int) -> Rows:
    """n rows; a tenth of the days and flags are unknown."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "size": random.uniform(0, 100, n).round(1),
        "stock": random.integers(-50, 200, n).astype(float),
        "price": random.integers(0, 60, n).astype(float),
        "sent": np.where(random.random(n) < 0.1, np.nan, random.integers(19000, 20000, n)),
        "rush": np.where(random.random(n) < 0.1, np.nan, random.random(n) < 0.3),
    }
    if kind == "binary":
        return Rows(columns, (columns["size"] + 30 * random.normal(size=n) > 60).astype(float), None, ("no", "yes"))
    return Rows(columns, np.clip(2 * columns["size"] + 20 + 15 * random.normal(size=n), 0, 400), None)


@cache
def decided(name: str) -> Bundle:
    """A version that answers twice the size plus 20, or its logit, and decides on it."""
    task = TASKS[name]
    binary = task.kind == "binary"
    rows = table(task.kind, 600, 0)
    encoder = encode.fit(task, rows.columns, rows.classes)
    matrix = encoder.columns(rows.columns)
    base, slope = (-3.0, 0.05) if binary else (20.0, 2.0)
    curve = Curve(0, [0.0, 100.0], [[base]], [[slope]], [base])
    members = [Member("linear", 1.0, (Additive([0.0], [curve], []),), "sigmoid" if binary else "identity")]
    oof = members[0].predict(matrix)
    card = {"metrics": {}, "trained_on": {"rows": 600, "holdout_rows": 200, "synthetic": True}}
    empty: dict[str, Any] = {"rows": [], "answers": []}
    if binary:
        classes, _ = calibrate.calibrate(task, encoder, matrix, rows.target, oof)
        bundle = Bundle(task, encoder, members, None, 1.0, classes, card, empty)
    else:
        found = conformal.calibrate(task, encoder, matrix, rows.target, oof[:, 0], np.ones(len(oof)))
        bundle = Bundle(task, encoder, members, None, found.floor, found.distribution, card, empty)
    made = golden.answered(Predictor(bundle), golden.make(encoder, rows, 0))
    return Bundle(**{**vars(bundle), "golden": made})


def unseen(name: str, n: int = 50) -> list[dict[str, Any]]:
    """Rows as an application would send them."""
    return as_rows(TASKS[name], table(TASKS[name].kind, n, 1).columns)
