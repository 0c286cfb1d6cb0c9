"""The one model that every contestant of benchmarks/serve.py answers with, and the Gancao versions around it.

LightGBM, 500 trees of 63 leaves on 24 numbers, learnt on generated rows whose noise differs from row to row. `alone` is
a version of that model and nothing else: one size of error for all rows, no event, no group, no reference. `full` is
what training would record around it: a model of the error's size, events, groups, marks for unfamiliar rows.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from feature_store.task import Task
from serving import bundle as bundles
from serving import cache, encode
from serving.bundle import Bundle, Reference
from serving.ensemble import Member
from serving.predictor import Predictor
from serving.trees import Trees
from training import conformal, familiar, golden
from training.dataset import Rows

FIELDS, TREES, LEAVES = 24, 500, 63
ROWS, HELD = 20_000, 6_000
"""Generated rows, and how many of them intervals are made from."""

ASKED = 256
"""Different rows that are asked, in turn."""


def make(folder: Path) -> None:
    """The homes `alone` and `full`, `model.txt`, and `rows.json`: what is asked, and the values that are due."""
    if (folder / "made").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    matrix, target = _table()
    held, size = slice(ROWS - HELD, ROWS - HELD // 2), slice(ROWS - HELD // 2, ROWS)
    text = _fitted(matrix[: ROWS - HELD], target[: ROWS - HELD], TREES, LEAVES)
    model = Trees(text, FIELDS)
    predicted = model.predict(matrix)[:, 0]
    scale = Trees(_fitted(matrix[size], np.abs(target - predicted)[size], 100, 15), FIELDS)
    (folder / "model.txt").write_text(text, encoding="utf-8")
    asked = held.start + np.arange(ASKED)
    names = [field.name for field in _task().fields]
    rows = [dict(zip(names, row, strict=True)) for row in matrix[asked].tolist()]
    values = {"model": predicted[asked].tolist()}
    for name, task in (("alone", _task()), ("full", _task(events=True))):
        columns = {field.name: matrix[:, place] for place, field in enumerate(task.fields)}
        encoder = encode.fit(task, columns)
        sized = scale.predict(matrix)[:, 0] if name == "full" else np.ones(ROWS)
        found = conformal.calibrate(task, encoder, matrix[held], target[held], predicted[held], sized[held])
        member, empty = Member("lightgbm", 1.0, (model,), "identity"), {"rows": [], "answers": []}
        made = Bundle(task, encoder, [member], None, found.floor, found.distribution, {}, empty)
        if name == "full":
            assert found.uses_scale
            made = replace(made, scale=scale, reference=Reference(familiar.fit(encoder, matrix[: ROWS - HELD], 0)))
        pinned = golden.make(encoder, Rows(columns, target, None, ()), 0)
        _publish(replace(made, golden=golden.answered(Predictor(made), pinned)), folder / name)
        values[name] = [answer["value"] for answer in Predictor(made).answer(rows)]
    document = {"names": names, "rows": matrix[asked].tolist(), "values": values}
    (folder / "rows.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "made").touch()


def _table() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(ROWS, FIELDS)).round(4)
    signal = 40 * np.sin(2 * matrix[:, 0]) + 30 * matrix[:, 1] * matrix[:, 2] + matrix[:, 3:] @ random.normal(size=21)
    return matrix, 500 + signal + 20 * np.exp(0.5 * matrix[:, 4]) * random.normal(size=ROWS)


def _fitted(matrix: np.ndarray, target: np.ndarray, rounds: int, leaves: int) -> str:
    settings: dict[str, Any] = {"objective": "regression", "num_leaves": leaves, "learning_rate": 0.03, "verbose": -1}
    settings |= {"num_threads": 1, "deterministic": True, "seed": 0}
    return str(lightgbm.train(settings, lightgbm.Dataset(matrix, target), rounds).model_to_string())


def _task(events: bool = False) -> Task:
    answers = {"interval": 0.9, "events": [
        {"name": "small", "label": "Small", "below": 450}, {"name": "large", "label": "Large", "at_least": 550},
    ]} if events else {"interval": 0.9}  # fmt: skip
    return Task.model_validate({
        "task": "made", "title": "Made", "intended_use": "A benchmark.",
        "fields": [{"name": f"field_{n:02}", "type": "number", "limits": [-9, 9]} for n in range(FIELDS)],
        "target": {"name": "y", "label": "Y", "unit": "g", "limits": [0, 1000]}, "answers": answers,
        "groups": [{"field": "field_04", "cuts": [-1, 0, 1]}] if events else [],
        "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
    })  # fmt: skip


def _publish(made: Bundle, home: Path) -> None:
    """The version in the cache of a home, as the fetcher leaves it."""
    home.mkdir()
    bundles.write(made, home / "bundle")
    (home / "cache").mkdir()
    cache.publish(home / "cache", made.task.task, "1", home / "bundle", "1")
