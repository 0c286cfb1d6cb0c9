"""The predictive distribution of classes: calibrated chances, the likeliest class and a conformal set.

Chances are the ensemble's, corrected by a few numbers (Platt 1999; temperature: Guo et al. 2017, ICML). A class's
score is 1 minus its chance; the set holds the classes whose score is no larger than the true class's was in
`answers.interval` of the out-of-fold rows (LAC: Sadinle, Lei and Wasserman 2019, JASA 114(525)), Mondrian by the
Task's groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, exp, fsum, isfinite, log
from typing import Any, Literal, get_args

import numpy as np

from serving.distribution import Cell, GroupNames
from serving.encode import Encoder

Method = Literal["identity", "platt", "temperature", "temperature_bias"]

LEAST = 1e-15
"""A chance of 0 counts as this much before its logarithm is taken."""

SLACK = 1e-12
"""Scores this near to the threshold are in the set: equal chances that were rounded differently are equal."""


@dataclass(frozen=True)
class Scaling:
    """How chances are corrected: p becomes softmax(slope * log p + bias); `identity` leaves them as they are.

    bias: one number a class. Of a binary target, `platt` is the logistic curve slope * logit p + bias[1] - bias[0].
    """

    method: Method
    slope: float
    bias: tuple[float, ...]

    def of(self, chances: Sequence[float]) -> list[float]:
        """The corrected chances, in the same order; by plain numbers, so that one row and many give the same bits."""
        if self.method == "identity":
            return list(chances)
        raw = [self.slope * log(max(p, LEAST)) + shift for p, shift in zip(chances, self.bias, strict=True)]
        top = max(raw)
        parts = [exp(one - top) for one in raw]
        total = fsum(parts)
        return [part / total for part in parts]


@dataclass(frozen=True)
class ClassAnswer:
    """What is known of one case.

    chances: one a class, in the order of the encoder's classes (the positive one last); label: the likeliest class;
    set: the classes that can't be ruled out at the Task's level, likeliest first, the label among them.
    """

    chances: list[float]
    label: str
    set: list[str]
    group: str


@dataclass(frozen=True)
class Classes:
    """All cells of a version with their scores, how chances are corrected, and how a row finds its cell."""

    words: tuple[str, ...]
    level: float
    scaling: Scaling
    cells: dict[str, Cell]
    chooser: GroupNames = field(repr=False)

    def answer(self, row: np.ndarray, predicted: Sequence[float], level: float | None = None) -> ClassAnswer:
        """The answer for an encoded row and the ensemble's outputs for it: P(positive) alone, or one chance a class.

        level: of the set, the Task's if None.
        """
        cell = self.chooser.cell(row, self.cells)
        if len(predicted) == 1:
            value = self.scaling.of([1.0 - predicted[0], predicted[0]])[1]
            chances = [1.0 - value, value]
        else:
            chances = self.scaling.of(predicted)
        ranked = sorted(zip(chances, range(len(self.words)), strict=True), reverse=True)
        least = 1.0 - threshold(self.cells[cell].scores, self.level if level is None else level) - SLACK
        inside = [self.words[place] for chance, place in ranked if chance >= least]
        label = self.words[ranked[0][1]]
        return ClassAnswer(chances, label, inside or [label], cell)

    def numbers(self) -> tuple[dict[str, Any], np.ndarray]:
        """Plain data for the bundle: the correction, names with their counts, and all scores end to end."""
        layout = {
            "method": self.scaling.method,
            "slope": self.scaling.slope,
            "bias": list(self.scaling.bias),
            "cells": [[name, len(cell.scores)] for name, cell in self.cells.items()],
        }
        return layout, np.concatenate([cell.scores for cell in self.cells.values()])

    @staticmethod
    def from_numbers(encoder: Encoder, layout: Mapping[str, Any], scores: np.ndarray) -> Classes:
        """The distribution of a bundle. scores: as `numbers` gives them. Raises ValueError when they do not fit."""
        cells, start = {}, 0
        for name, count in layout["cells"]:
            cells[name] = Cell(name, scores[start : start + count])
            start += count
        scaling = Scaling(layout["method"], float(layout["slope"]), tuple(float(shift) for shift in layout["bias"]))
        finite = all(map(isfinite, (scaling.slope, *scaling.bias)))
        if scaling.method not in get_args(Method) or not finite or len(scaling.bias) != len(encoder.classes):
            raise ValueError(f"the correction {scaling.method} does not fit {len(encoder.classes)} classes")
        if start != len(scores) or len(encoder.classes) < 2:
            raise ValueError(f"{len(scores)} scores for {start} places, {len(encoder.classes)} classes")
        return Classes(encoder.classes, encoder.task.answers.interval, scaling, cells, GroupNames(encoder))


def threshold(scores: np.ndarray, level: float) -> float:
    """The score that the true class of a new case keeps to with probability `level`.

    The ceil((n + 1) * level)-th smallest of n sorted scores, or 1 (every class) where n is too small for it.
    """
    rank = ceil((len(scores) + 1) * level - 1e-9)
    return float(scores[rank - 1]) if rank <= len(scores) else 1.0
