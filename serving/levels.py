"""The working level: each outcome moves the level at which the next answers are made, so that the promise is kept.

Adaptive conformal inference (Gibbs and Candes 2021, NeurIPS): a miss raises the level, a hit lowers it a little, and
they balance where misses come at the promised rate, whatever the population does. An outcome that comes late tells
of the level at which its answer was made, not of today's; that difference is taken from what it tells, so that a
thousand outcomes that are under way don't push the level on and on. What was answered at today's level moves it by
Gibbs and Candes's own step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feature_store.task import Adaptive


def of(answer: Mapping[str, Any]) -> tuple[float, float] | None:
    """The promised level and the one that an answer was made at; None where its Task does not ask for it."""
    told = answer.get("interval", answer)
    return (told["level"], told["working_level"]) if "working_level" in told else None


def missed(answer: Mapping[str, Any], truth: float | str) -> bool:
    """Whether the truth lies outside the interval, or the set, of an answer."""
    if "interval" in answer:
        return not answer["interval"]["low"] <= float(truth) <= answer["interval"]["high"]
    return truth not in answer["set"]


def step(adaptive: Adaptive, promised: float, level: float, made_at: float, miss: bool) -> float:
    """The next level. level: today's; made_at: the level of the answer that was a hit or a miss.

    As long as no bound is reached, the share of misses over T outcomes, each D outcomes after its answer, is within
    (highest - lowest) * (1 / rate + D) / T of the promised one: the steps add up to the level's own change, and what
    is taken off for lateness cancels but for the first and the last D.
    """
    lowest, highest = adaptive.bounds(promised)
    moved = level + adaptive.rate * (miss - (1.0 - promised) - (level - made_at))
    return min(max(moved, lowest), highest)
