"""The ensemble: greedy selection with replacement on out-of-fold predictions (Caruana et al. 2004, ICML)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from training.trial import loss

STEPS = 25
MIN_GAIN = 2e-4
"""A step that lowers the loss by a smaller share than this is noise: it is not taken."""


@dataclass(frozen=True)
class Ensemble:
    """weights: share of each chosen trial by its position, summing to 1; oof: (n,) their weighted mean; its loss."""

    weights: dict[int, float]
    oof: np.ndarray
    loss: float


def select(metric: str, target: np.ndarray, oofs: list[np.ndarray], max_members: int) -> Ensemble:
    """Start from the best trial and add, with replacement, whichever lowers the loss most.

    target: (n,); oofs: (n,) each; max_members: how many different trials at most.
    """
    losses = [loss(metric, target, oof) for oof in oofs]
    chosen = [int(np.argmin(losses))]
    total, best = oofs[chosen[0]].copy(), min(losses)
    for _ in range(STEPS - 1):
        full = len(set(chosen)) >= max_members
        candidates = sorted(set(chosen)) if full else range(len(oofs))
        scored = [(loss(metric, target, (total + oofs[i]) / (len(chosen) + 1)), i) for i in candidates]
        value, index = min(scored)
        if value > best * (1 - MIN_GAIN):
            break
        chosen.append(index)
        total += oofs[index]
        best = value
    weights = {index: count / len(chosen) for index, count in sorted(Counter(chosen).items())}
    return Ensemble(weights, total / len(chosen), best)
