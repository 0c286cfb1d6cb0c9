"""Golden rows: made-up requests whose answers every server must reproduce bit for bit.

They are drawn field by field from the training ranges, never copied from a table: a bundle travels, and no
person's record should travel in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.encode import Encoder
from serving.predictor import Predictor
from serving.request import check

COUNT = 24


def make(encoder: Encoder, seed: int) -> list[dict[str, Any]]:
    """COUNT rows that keep the Task's limits; about a tenth of the optional fields is missing, in one row all."""
    random = np.random.default_rng(seed)
    rows = [_row(encoder, random, 0.0 if n == 0 else 1.0 if n == 1 else 0.1) for n in range(COUNT)]
    return [row for row in rows if not check(encoder.task, [row])]


def answered(predictor: Predictor, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows with the answers that this predictor gives: what the bundle keeps."""
    return {"rows": rows, "answers": predictor.answer(rows)}


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
