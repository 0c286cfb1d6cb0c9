"""The ensemble: members, each one configuration's models, on the answer's own scale.

A row and a batch give the same bits: everything is summed element by element in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Link = Literal["identity", "exp", "sigmoid", "softmax"]
"""From a model's raw scores to values or probabilities."""


class Model(Protocol):
    """What a learner leaves behind: raw scores of encoded rows, without the learner."""

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """(n, outputs) raw scores of a (n, fields) float64 matrix. One row and many give the same bits."""


@dataclass(frozen=True)
class Member:
    """One configuration of the ensemble.

    models: one that was fitted on all rows, or a bag of those fitted fold by fold, whose mean answers.
    weight: its share; all members' shares sum to 1.
    """

    learner: str
    weight: float
    models: tuple[Model, ...]
    link: Link

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """(n, outputs) values or probabilities."""
        total = LINKS[self.link](self.models[0].predict(matrix))
        for model in self.models[1:]:
            total = total + LINKS[self.link](model.predict(matrix))
        return total / len(self.models) if len(self.models) > 1 else total


def combine(members: list[Member], matrix: np.ndarray) -> np.ndarray:
    """(n, outputs) the members' weighted mean."""
    total = members[0].weight * members[0].predict(matrix)
    for member in members[1:]:
        total = total + member.weight * member.predict(matrix)
    return total


def ensembles(members: list[Member], matrix: np.ndarray) -> np.ndarray:
    """(n, ensembles, outputs) of all members' first models, of their second ones and so on; their mean is `combine`'s.

    Each is what one fold's out-of-fold predictions were made with. There is one, `combine`'s, where members hold
    different numbers of models.
    """
    sizes = {len(member.models) for member in members}
    if len(sizes) > 1 or sizes == {1}:
        return combine(members, matrix)[:, None]
    total = _stacked(members[0], matrix)
    for member in members[1:]:
        total = total + _stacked(member, matrix)
    return total


def _stacked(member: Member, matrix: np.ndarray) -> np.ndarray:
    """(n, models, outputs) the weighted answers of each of its models."""
    return member.weight * np.stack([LINKS[member.link](model.predict(matrix)) for model in member.models], axis=1)


def _identity(raw: np.ndarray) -> np.ndarray:
    return raw


def _exp(raw: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(np.ascontiguousarray(raw)))


def _sigmoid(raw: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + _exp(-np.clip(raw, -700.0, 700.0))))


def _softmax(raw: np.ndarray) -> np.ndarray:
    top = raw[:, 0]
    for column in range(1, raw.shape[1]):
        top = np.maximum(top, raw[:, column])
    parts = _exp(raw - top[:, None])
    total = parts[:, 0].copy()
    for column in range(1, raw.shape[1]):  # one by one: a reduction may sum in another order for other shapes
        total += parts[:, column]
    return np.asarray(parts / total[:, None])


LINKS: dict[Link, Callable[[np.ndarray], np.ndarray]] = {
    "identity": _identity,
    "exp": _exp,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}
