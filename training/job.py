"""What a learner is given and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.ensemble import Link, Model

PATIENCE = 40
"""Boosting stops after so many rounds without a better validation loss."""

Config = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """What a learner must know of the matrix.

    categories: the columns that hold codes; sizes: how many codes each of these may hold (0, unknown, included);
    monotone: a direction a column (-1, 0, 1).
    """

    categories: tuple[int, ...]
    sizes: tuple[int, ...]
    monotone: tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """One configuration's work on one part of the rows.

    kind: of the Task; outputs: 1, or the number of classes of `multiclass`; metric: of the search.
    matrix: (n, fields); target: (n,) values (on the scale to be learnt) or places of classes; weight: (n,) or None.
    valid: rows to watch while boosting, as (matrix, target, weight), or None.
    deadline: `time.monotonic()` after which no further round begins, or None.
    """

    columns: Columns
    kind: str
    outputs: int
    metric: str
    seed: int
    matrix: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None = None
    valid: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None
    deadline: float | None = None

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() > self.deadline

    @property
    def link(self) -> Link:
        """From raw scores to the answer's scale, where the learner's objective is the kind's usual one."""
        return {"regression": "identity", "binary": "sigmoid"}.get(self.kind, "softmax")  # type: ignore[return-value]


@dataclass(frozen=True)
class Fitted:
    """A fitted configuration. curve: validation loss after each round, empty without rounds.

    model: gives the model cut after that many rounds (ignored by models without rounds).
    """

    curve: list[float]
    model: Callable[[int], Model]
    link: Link
