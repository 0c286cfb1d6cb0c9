"""The predictive distribution of classes: calibrated chances, the likeliest class and a conformal set.

Chances are the ensemble's, corrected by `serving/scaling.py`. A class's score is 1 minus its chance; the set holds the
classes whose score is no larger than the true class's was in `answers.interval` of the out-of-fold rows (LAC:
Sadinle, Lei and Wasserman 2019, JASA 114(525)), Mondrian by the Task's groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, fsum
from typing import Any

import numpy as np

from serving import scaling as scalings
from serving.distribution import Cell, GroupNames
from serving.encode import Encoder
from serving.scaling import Scaling

SLACK = 1e-12
"""Scores this near to the threshold are in the set: equal chances that were rounded differently are equal."""


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

    def answer(
        self, row: Sequence[float], predicted: Sequence[Sequence[float]], level: float | None = None
    ) -> ClassAnswer:
        """The answer for an encoded row and its outputs, ensemble by ensemble (`serving.ensemble.ensembles`).

        predicted: for each ensemble P(positive) alone, or one chance a class. level: of the set, the Task's if None.
        """
        cell = self.chooser.cell(row, self.cells)
        chances = self.chances(predicted)
        ranked = sorted(zip(chances, range(len(self.words)), strict=True), reverse=True)
        least = 1.0 - threshold(self.cells[cell].scores, self.level if level is None else level) - SLACK
        inside = [self.words[place] for chance, place in ranked if chance >= least]
        label = self.words[ranked[0][1]]
        return ClassAnswer(chances, label, inside or [label], cell)

    def chances(self, predicted: Sequence[Sequence[float]]) -> list[float]:
        """The corrected chances, one a class, of a row's outputs; see `answer`.

        Each ensemble is corrected and then the mean is taken, not the other way round: the correction was learnt from
        single ensembles, and their mean is less sure than each. By convexity the mean's log loss is no larger than
        the mean of theirs.
        """
        each = [self._corrected(one) for one in predicted]
        return each[0] if len(each) == 1 else [fsum(chance) / len(each) for chance in zip(*each, strict=True)]

    def _corrected(self, predicted: Sequence[float]) -> list[float]:
        if len(predicted) > 1:
            return self.scaling.of(predicted)
        value = self.scaling.of([1.0 - predicted[0], predicted[0]])[1]
        return [1.0 - value, value]

    def numbers(self) -> tuple[dict[str, Any], np.ndarray]:
        """Plain data for the bundle: the correction, names with their counts, and all scores end to end."""
        cells = [[name, len(cell.scores)] for name, cell in self.cells.items()]
        layout = {"scaling": self.scaling.numbers(), "cells": cells}
        return layout, np.concatenate([cell.scores for cell in self.cells.values()])

    @staticmethod
    def from_numbers(encoder: Encoder, layout: Mapping[str, Any], scores: np.ndarray) -> Classes:
        """The distribution of a bundle. scores: as `numbers` gives them. Raises ValueError when they do not fit."""
        cells, start = {}, 0
        for name, count in layout["cells"]:
            cells[name] = Cell(name, scores[start : start + count])
            start += count
        scaling = scalings.from_numbers(layout["scaling"], len(encoder.classes))
        if start != len(scores) or len(encoder.classes) < 2:
            raise ValueError(f"{len(scores)} scores for {start} places, {len(encoder.classes)} classes")
        return Classes(encoder.classes, encoder.task.answers.interval, scaling, cells, GroupNames(encoder))


def threshold(scores: np.ndarray, level: float) -> float:
    """The score that the true class of a new case keeps to with probability `level`.

    The ceil((n + 1) * level)-th smallest of n sorted scores, or 1 (every class) where n is too small for it.
    """
    rank = ceil((len(scores) + 1) * level - 1e-9)
    return float(scores[rank - 1]) if rank <= len(scores) else 1.0
