"""The predictive distribution: value, interval and event probabilities read off one object.

A conformal predictive system (Vovk et al. 2017, "Nonparametric predictive distributions based on conformal
prediction") over out-of-fold residuals, scaled by their predicted size, Mondrian by the Task's groups: in the
bundle it is sorted numbers; here a quantile is one index and a probability one search.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, floor, isnan
from typing import Any

import numpy as np

from feature_store.task import Event, Group, Task
from serving.encode import Encoder

ALL = "all"
"""The cell of every row; the last resort of cells with too few rows."""


@dataclass(frozen=True)
class Cell:
    """Sorted scores, (n,), of one group of training rows: (y - centre) / scale, unit-free."""

    name: str
    scores: np.ndarray

    @cached_property
    def mean(self) -> float:
        """What is to be added to a centre of 0 for an unbiased answer."""
        return float(self.scores.mean())

    @cached_property
    def median(self) -> float:
        """The same for an answer that is as often too high as too low."""
        return float(np.median(self.scores))

    @cached_property
    def ordered(self) -> array[float]:
        """The scores for a single search, which numpy makes dearer than it is."""
        return array("d", self.scores.astype(float).tobytes())

    def quantile(self, level: float) -> float:
        """The score that a new case stays at or below with probability `level` (rounded outwards)."""
        n = len(self.ordered)
        rank = ceil((n + 1) * level - 1e-9) if level > 0.5 else floor((n + 1) * level + 1e-9)
        return self.ordered[min(max(rank, 1), n) - 1]

    def reaching(self, level: float) -> float:
        """The smallest score that a new case stays at or below with probability `level` or more; at most the largest.

        As `quantile` above 0.5; below, where that rounds downwards, it may be one score higher.
        """
        n = len(self.scores)
        return float(self.scores[min(max(ceil((n + 1) * level - 1e-9), 1), n) - 1])

    @cached_property
    def sums(self) -> np.ndarray:
        """(n + 1,) the sum of the first 0, 1, ... n scores."""
        return np.concatenate([[0.0], np.cumsum(self.scores)])

    def below(self, score: float) -> float:
        """P(a new score < `score`), in (0, 1): never certain, with (n + 1) possible places."""
        return (bisect_left(self.ordered, score) + 0.5) / (len(self.ordered) + 1)


SLACK = 1e-12
"""Amounts this near (relative) count as equal: one that was read off as a quantile is not below itself."""


@dataclass(frozen=True, slots=True)
class Predictive:
    """The distribution of one case in the target's unit: `centre + scale * score`, clipped to the target's limits."""

    cell: Cell
    centre: float
    scale: float
    limits: tuple[float, float]

    def quantile(self, level: float) -> float:
        """The smallest amount that the case stays at or below with probability `level` or more.

        Above 0.5 it is the upper end of the interval whose tail is 1 - level. No amount beyond the largest score is
        known, so levels above n / (n + 1) all give that one.
        """
        return _clip(self.centre + self.scale * self.cell.reaching(level), *self.limits)

    def at_most(self, amount: float) -> float:
        """P(the case <= `amount`): 0 below the limits, 1 from their end on, else never certain (see `Cell.below`)."""
        least, most = self.limits
        if amount < least or amount >= most:
            return float(amount >= most)
        slack = SLACK * (abs(amount) + abs(self.centre))
        n, score = len(self.cell.scores), (amount - self.centre + slack) / self.scale
        return (int(np.searchsorted(self.cell.scores, score, side="right")) + 0.5) / (n + 1)

    def excess(self, amount: float) -> float:
        """E[max(case - amount, 0)], each of the n + 1 places as likely; the last, of which nothing is known, is put at
        the largest score. Two searches in sums, however many scores there are."""
        least, most = self.limits
        if amount >= most:
            return 0.0
        if amount < least:
            return least - amount + self.excess(least)
        scores, sums = self.cell.scores, self.cell.sums
        n = len(scores)
        first, last = (int(np.searchsorted(scores, (end - self.centre) / self.scale)) for end in (amount, most))
        inside = float(sums[last] - sums[first]) * self.scale + (last - first) * (self.centre - amount)
        top = _clip(self.centre + self.scale * float(scores[-1]), amount, most) - amount
        return max(inside + (n - last) * (most - amount) + top, 0.0) / (n + 1)


@dataclass(frozen=True)
class Answer:
    """What is known of one case, in the target's unit."""

    value: float
    low: float
    high: float
    events: dict[str, float]
    group: str


@dataclass(frozen=True)
class Distribution:
    """All cells of a version, and how a row finds its own."""

    task: Task
    cells: dict[str, Cell]
    chooser: GroupNames = field(repr=False)

    def answer(self, row: Sequence[float], centre: float, scale: float, level: float | None = None) -> Answer:
        """The answer for an encoded row, the models' centre and their scale (> 0) for it.

        level: of the interval, the Task's if None.
        """
        cell = self.cells[self.chooser.cell(row, self.cells)]
        least, most = self.task.target.limits
        tail = (1.0 - (self.task.answers.interval if level is None else level)) / 2.0
        return Answer(
            value=_clip(centre + scale * self.middle(cell), least, most),
            low=_clip(centre + scale * cell.quantile(tail), least, most),
            high=_clip(centre + scale * cell.quantile(1.0 - tail), least, most),
            events={event.name: _chance(event, cell, centre, scale) for event in self.task.answers.events},
            group=cell.name,
        )

    def middle(self, cell: Cell) -> float:
        """How many scales the value lies above the centre: the metric's best guess of a score of the cell."""
        return cell.mean if self.task.search.metric == "rmse" else cell.median

    def predictive(self, cell: str, centre: float, scale: float) -> Predictive:
        """The whole distribution of a case, for decisions. cell: its `Answer.group`."""
        return Predictive(self.cells[cell], centre, scale, self.task.target.limits)

    def numbers(self) -> tuple[dict[str, Any], np.ndarray]:
        """Plain data for the bundle: names with their counts, and all scores end to end."""
        layout = {"cells": [[name, len(cell.scores)] for name, cell in self.cells.items()]}
        return layout, np.concatenate([cell.scores for cell in self.cells.values()])

    @staticmethod
    def from_numbers(encoder: Encoder, layout: Mapping[str, Any], scores: np.ndarray) -> Distribution:
        """The distribution of a bundle. scores: as `numbers` gives them."""
        cells, start = {}, 0
        for name, count in layout["cells"]:
            cells[name] = Cell(name, scores[start : start + count])
            start += count
        return Distribution(encoder.task, cells, GroupNames(encoder))


class GroupNames:
    """Names of the groups that an encoded row belongs to: `plurality=twins`, `gestation_weeks<37`."""

    def __init__(self, encoder: Encoder) -> None:
        position = {item.name: index for index, item in enumerate(encoder.task.fields)}
        self._groups = [(group, position[group.field], encoder) for group in encoder.task.groups]
        self._places = [(position[group.field], group.cuts) for group in encoder.task.groups]
        self._known: dict[tuple[float, ...], str] = {}

    def of(self, row: Sequence[float]) -> tuple[str, ...]:
        """One name a declared group, in the Task's order."""
        return tuple(_name(group, encoder, float(row[column])) for group, column, encoder in self._groups)

    def cell(self, row: Sequence[float], cells: Mapping[str, Cell]) -> str:
        """The finest cell that exists: all groups together, else fewer of them from the right, else `all`."""
        key = tuple([_code(float(row[place]), cuts) for place, cuts in self._places])
        if key not in self._known:
            names = self.of(row)
            tries = [",".join(names[:count]) for count in range(len(names), 0, -1)]
            self._known[key] = next((name for name in tries if name in cells), ALL)
        return self._known[key]


def _code(value: float, cuts: Sequence[float]) -> float:
    """A number a group of an encoded field: the place among the cuts, or the code itself; -1 is unknown."""
    if value != value:
        return -1.0
    return bisect_right(cuts, value) if cuts else value


def _name(group: Group, encoder: Encoder, value: float) -> str:
    if encoder.task.by_name[group.field].type == "category":
        words = encoder.categories[group.field]
        return group_name(group, words[int(value) - 1] if value >= 1 else None)
    if isnan(value):
        return group_name(group, None)
    return group_name(group, bool(value) if encoder.task.by_name[group.field].type == "flag" else value)


def group_name(group: Group, value: str | bool | float | None) -> str:
    """The name of a group by the value of its field as a row holds it; None is unknown."""
    if value is None:
        return f"{group.field}=unknown"
    if isinstance(value, str):
        return f"{group.field}={value}"
    if isinstance(value, bool):
        return f"{group.field}={'yes' if value else 'no'}"
    above = [cut for cut in group.cuts if value >= cut]
    if not above:
        return f"{group.field}<{group.cuts[0]:g}"
    if len(above) == len(group.cuts):
        return f"{group.field}>={group.cuts[-1]:g}"
    return f"{group.field}={above[-1]:g}-{group.cuts[len(above)]:g}"


def _chance(event: Event, cell: Cell, centre: float, scale: float) -> float:
    def below(bound: float) -> float:
        return cell.below((bound - centre) / scale)

    if event.below is not None:
        return below(event.below)
    if event.at_least is not None:
        return 1.0 - below(event.at_least)
    if event.between is not None:
        return below(event.between[1]) - below(event.between[0])
    raise AssertionError("a Task's event has one bound")


def happened(event: Event, target: np.ndarray) -> np.ndarray:
    """(n,) whether the event came true of targets."""
    if event.below is not None:
        return np.asarray(target < event.below)
    if event.at_least is not None:
        return np.asarray(target >= event.at_least)
    assert event.between is not None
    return np.asarray((target >= event.between[0]) & (target < event.between[1]))


def _clip(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
