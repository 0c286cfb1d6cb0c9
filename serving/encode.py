"""One encoder for training and serving: rows or columns of a Task become the models' float64 matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from feature_store.field import AnyField
from feature_store.task import Task, days

UNKNOWN = 0.0
"""The code of a category that is missing or was never seen; known ones count from 1."""


@dataclass(frozen=True)
class Encoder:
    """What was learnt of the fields from the training rows; plain numbers and words.

    categories: per category field its words, whose codes are 1, 2, ...
    fill: per field that was never missing in training, the value that stands in for a missing one (median;
        for a category the commonest code): LightGBM would else read NaN as 0 there. Only required fields are
        never missing in training (`training.dataset.with_unknowns`), and a request without them is refused.
    ranges: per number or date field, smallest and largest value seen in training.
    classes: the words of a class target in the order of the models' outputs, the positive one last; () for regression.
    """

    task: Task
    categories: dict[str, list[str]]
    fill: dict[str, float]
    ranges: dict[str, tuple[float, float]]
    classes: tuple[str, ...] = ()

    @cached_property
    def codes(self) -> dict[str, dict[str, float]]:
        """Per category field, the code of each word."""
        return {
            name: {word: float(code) for code, word in enumerate(words, start=1)}
            for name, words in self.categories.items()
        }

    @cached_property
    def _fills(self) -> list[float]:
        missing = [self.fill.get(f.name, UNKNOWN if f.type == "category" else np.nan) for f in self.task.fields]
        return [float(fill) for fill in missing]

    @cached_property
    def _steps(self) -> list[tuple[str, Callable[[Any], float], float]]:
        """By field: its name, what makes a number of a value that is no float, and what stands in for a missing one."""
        return [
            (field.name, _coder(field, self.codes.get(field.name, {}), fill), fill)
            for field, fill in zip(self.task.fields, self._fills, strict=True)
        ]

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(n, fields) float64 of validated rows: numbers, booleans, words, `YYYY-MM-DD`; None or absent is missing."""
        out = np.empty((len(rows), len(self._steps)))
        for position, row in enumerate(rows):
            get = row.get
            out[position] = [
                fill if (value := get(name)) is None else value if value.__class__ is float else code(value)
                for name, code, fill in self._steps
            ]
        return out

    def columns(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n, fields) float64 of columns as `feature_store.offline.columns` gives them; equals `rows` bit for bit."""
        fields = self.task.fields
        out = np.empty((len(columns[fields[0].name]), len(fields)))
        for place, (field, fill) in enumerate(zip(fields, self._fills, strict=True)):
            column = columns[field.name]
            if field.type == "category":
                codes = self.codes[field.name]
                out[:, place] = [fill if word is None else codes.get(word, fill) for word in column]
            else:
                out[:, place] = np.where(np.isnan(column), fill, column)
        return out

    def to_json(self) -> dict[str, Any]:
        """Plain data for the bundle."""
        return {
            "categories": self.categories,
            "fill": self.fill,
            "ranges": {k: list(v) for k, v in self.ranges.items()},
            "classes": list(self.classes),
        }

    @staticmethod
    def from_json(task: Task, data: Mapping[str, Any]) -> Encoder:
        """The encoder of a bundle."""
        ranges = {name: (float(low), float(high)) for name, (low, high) in data["ranges"].items()}
        return Encoder(task, dict(data["categories"]), dict(data["fill"]), ranges, tuple(data["classes"]))


def _coder(field: AnyField, codes: dict[str, float], fill: float) -> Callable[[Any], float]:
    if field.type == "category":
        return lambda word: codes.get(word, fill)
    return days if field.type == "date" else float


def fit(task: Task, columns: Mapping[str, np.ndarray], classes: Sequence[str] = ()) -> Encoder:
    """Learn categories, fills and ranges from training columns (as `feature_store.offline.columns` gives them).

    classes: as `feature_store.offline.classes` gives them.
    """
    categories: dict[str, list[str]] = {}
    fill: dict[str, float] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for field in task.fields:
        column = columns[field.name]
        if field.type == "category":
            words = _words(field, column)
            categories[field.name] = words
            if all(word is not None for word in column):
                counts = [int(np.sum(column == word)) for word in words]
                fill[field.name] = float(np.argmax(counts)) + 1.0
            continue
        known = column[~np.isnan(column)]
        if known.size and known.size == column.size:
            fill[field.name] = float(np.median(known))
        if known.size and field.type != "flag":
            ranges[field.name] = (float(known.min()), float(known.max()))
    return Encoder(task, categories, fill, ranges, tuple(classes))


def _words(field: AnyField, column: np.ndarray) -> list[str]:
    if field.type == "category" and field.choices is not None:
        return [choice.value for choice in field.choices]
    return sorted({str(word) for word in column if word is not None})


def as_rows(task: Task, columns: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Training columns as the rows that an application would send; missing values are left out."""
    lists: list[list[Any]] = []
    for field in task.fields:
        values = columns[field.name].tolist()
        if field.type == "flag":
            values = [None if v != v else bool(v) for v in values]
        elif field.type == "number":
            values = [None if v != v else int(v) if field.integer else v for v in values]
        elif field.type == "date":
            values = [None if v != v else str(np.datetime64(int(v), "D")) for v in values]
        lists.append(values)
    names = [field.name for field in task.fields]
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*lists, strict=True)
    ]
