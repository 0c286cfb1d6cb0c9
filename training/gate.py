"""The gate: promotion is earned, on the holdout, in a paired test, against the baselines and the reigning champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feature_store.task import Task

DRAWS = 1000
"""Resamples of a bootstrap."""


@dataclass(frozen=True)
class Verdict:
    """`promote` or `reject`, and the reasons in words: `better than mean`, `not told apart from champion-3`."""

    decision: str
    reasons: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"decision": self.decision, "reasons": self.reasons}


@dataclass(frozen=True)
class Difference:
    """Mean difference of the loss of two predictions of the same rows, with its interval; below 0 the first is better.

    The loss of a row is the squared error for rmse and the absolute error for mae.
    """

    n: int
    mean: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """What the interval allows to say of the first."""
        if self.low > 0:
            return "worse than"
        return "better than" if self.high < 0 else "not told apart from"


def judge(task: Task, target: np.ndarray, value: np.ndarray, rivals: Mapping[str, np.ndarray], seed: int) -> Verdict:
    """Whether a version is no worse than each rival, with the gate's confidence.

    target: (n,) true values of the holdout; value: (n,) the version's; rivals: (n,) each, by name.
    """
    found = {name: compare(task, target, value, rival, seed).word for name, rival in rivals.items()}
    decision = "reject" if "worse than" in found.values() else "promote"
    return Verdict(decision, [f"{word} {name}" for name, word in found.items()])


def compare(task: Task, target: np.ndarray, one: np.ndarray, other: np.ndarray, seed: int) -> Difference:
    """Paired bootstrap of the rows' difference in loss; all arrays (n,)."""
    difference = _row_loss(task.search.metric, target, one) - _row_loss(task.search.metric, target, other)
    random, n = np.random.default_rng(seed), len(difference)
    means = [float(difference[random.integers(0, n, n)].mean()) for _ in range(DRAWS)]
    tail = (1 - task.gate.confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Difference(n, float(difference.mean()), float(low), float(high))


def compare_groups(
    task: Task, target: np.ndarray, one: np.ndarray, other: np.ndarray, groups: Sequence[tuple[str, ...]], seed: int
) -> dict[str, Difference]:
    """The same for all rows and for each group with 30 rows or more; groups: the names that each row belongs to."""
    out = {"all": compare(task, target, one, other, seed)}
    for name in sorted({name for names in groups for name in names}):
        inside = np.array([name in names for names in groups])
        if inside.sum() >= 30:
            out[name] = compare(task, target[inside], one[inside], other[inside], seed)
    return out


def _row_loss(metric: str, target: np.ndarray, value: np.ndarray) -> np.ndarray:
    return np.asarray((target - value) ** 2 if metric == "rmse" else np.abs(target - value))
