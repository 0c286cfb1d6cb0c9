"""Golden rows: made-up requests whose answers every server must reproduce bit for bit.

They are drawn field by field from the training ranges, never copied from a table: a bundle travels, and no
person's record should travel in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from feature_store.task import Task
from serving.encode import Encoder, as_rows
from serving.predictor import Predictor, numbers
from serving.request import check
from training.dataset import Rows

COUNT = 24


def make(encoder: Encoder, rows: Rows, seed: int) -> list[dict[str, Any]]:
    """COUNT rows that keep the Task's limits: a typical one, one of required fields alone, and random ones.

    Of the random ones a tenth of the optional fields is missing. rows: the training rows.
    """
    random = np.random.default_rng(seed)
    drawn = [_row(encoder, random, 1.0 if n == 0 else 0.1) for n in range(COUNT - 1)]
    return [row for row in [typical(encoder.task, rows), *drawn] if not check(encoder.task, [row])]


def answered(predictor: Predictor, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows with the answers that this predictor gives: what the bundle keeps."""
    return {"rows": rows, "answers": [numbers(answer) for answer in predictor.answer(rows)]}


def typical(task: Task, rows: Rows) -> dict[str, Any]:
    """Field by field the median, or the commonest word: nobody's record, and a fair example of a request."""
    middle: dict[str, np.ndarray] = {}
    for field in task.fields:
        column = rows.columns[field.name]
        known = [value for value in column.tolist() if value is not None and value == value]
        if field.type == "category":
            best = max(sorted(set(known)), key=known.count, default=None)
            middle[field.name] = np.array([best], dtype=object)
        else:
            value = float(np.quantile(known, 0.5, method="nearest")) if known else np.nan
            middle[field.name] = np.array([value])
    return as_rows(task, middle)[0]


def _row(encoder: Encoder, random: np.random.Generator, missing: float) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field in encoder.task.fields:
        share = float(random.random())
        if share < missing and not field.required:
            continue
        place = float(random.random())
        if field.type == "category":
            words = encoder.categories[field.name]
            row[field.name] = words[int(place * len(words))] if words else None
        elif field.type == "flag":
            row[field.name] = place < 0.3
        elif field.name in encoder.ranges:
            low, high = encoder.ranges[field.name]
            value = low + place * (high - low)
            if field.type == "date":
                row[field.name] = str(np.datetime64(int(value), "D"))
            else:
                row[field.name] = round(value) if field.integer else round(value, 2)
    return row
