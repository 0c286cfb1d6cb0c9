"""The members that answer: of each chosen trial its fold models as a bag, or one model fitted on all rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.ensemble import Member
from training import trial
from training.engine import Engine, Ticket
from training.runlog import RunLog, Trial
from training.trial import Shared

Chosen = list[tuple[Trial, float]]
"""Trials with their weights."""


@dataclass(frozen=True)
class Kept:
    """How the members were made: `bag` or `refit`, and why.

    bag_loss, refit_loss: of the heaviest trial on one fold's rows, where it was measured.
    """

    members: list[Member]
    way: str
    reason: str
    bag_loss: float | None = None
    refit_loss: float | None = None


@dataclass(frozen=True)
class Making:
    """What members are made with.

    left_s: gives the seconds that are left, or None without a budget in seconds. by_time: each fold's models know more
    of the newest rows than the fold's before, and none knows all.
    """

    engine: Engine
    shared: Shared
    log: RunLog
    max_row_us: float
    left_s: Callable[[], float | None]
    by_time: bool = False


def make(making: Making, chosen: Chosen) -> Kept:
    """The members, whichever way the out-of-fold evidence, the bound on a row and the time left favour.

    A bag costs no further fit but as many models a row as there are folds, cut to what `max_row_us` allows. By time it
    is no choice, since what comes is most like the newest rows: without the time for a refit the last fold's models
    answer.
    """
    folds = len(making.shared.folds())
    size = bag_size(chosen, folds, making.max_row_us)
    refitting = refit_s(making, chosen)
    if _lacks(making, refitting):
        size = 1 if making.by_time else max(size, 1)
        return Kept(_bags(making, chosen, size), "bag", "no time was left to fit on all rows")
    if making.by_time:
        return Kept(_refits(making, chosen), "refit", "only models of all rows know the newest")
    if size < 2 or size < folds / 2:
        why = "one fold was validated" if folds < 2 else f"a bag would take more than {making.max_row_us:g} us a row"
        return Kept(_refits(making, chosen), "refit", why)
    heaviest, _ = max(chosen, key=lambda pair: pair[1])
    if folds < 3 or _lacks(making, refitting + heaviest.seconds):
        return Kept(_refits(making, chosen), "refit", "one model of all rows is usually the better one, and faster")
    packed = making.log.models(heaviest)
    ticket = making.engine.submit(
        trial.bag_or_refit, making.shared, heaviest.learner, heaviest.config, heaviest.rounds, packed
    )
    bag, refit = making.engine.result(ticket)
    if bag <= refit:
        return Kept(_bags(making, chosen, size), "bag", "better on rows of one fold", bag, refit)
    return Kept(_refits(making, chosen), "refit", "better on rows of one fold", bag, refit)


def bag_size(chosen: Chosen, folds: int, max_row_us: float) -> int:
    """How many fold models of each trial a row's bound allows, at most all."""
    one = sum(trial.row_us for trial, _ in chosen)
    return max(0, min(folds, int(max_row_us // one) if one > 0 else folds))


def refit_s(making: Making, chosen: Chosen) -> float:
    """Seconds that fitting on all rows takes, about."""
    slots, folds = max(making.engine.slots, 1), making.shared.folds()
    longest = max(trial.seconds for trial, _ in chosen)
    more = len(making.shared.arrays()["target"]) / np.mean([len(fit) for fit, _ in folds])
    return max(longest, sum(trial.seconds for trial, _ in chosen) / slots) * float(more) / len(folds)


def _lacks(making: Making, needed: float) -> bool:
    """Whether so many seconds are more than are left."""
    left = making.left_s()
    return left is not None and needed > left


def _bags(making: Making, chosen: Chosen, size: int) -> list[Member]:
    width = making.shared.arrays()["matrix"].shape[1]
    out = []
    for one, weight in chosen:
        models, link = trial.unpack(making.log.models(one), width)
        out.append(Member(one.learner, weight, tuple(models[-size:] if making.by_time else models[:size]), link))
    return out


def _refits(making: Making, chosen: Chosen) -> list[Member]:
    width = making.shared.arrays()["matrix"].shape[1]
    tickets: list[Ticket] = [
        making.engine.submit(trial.refit, making.shared, one.learner, one.config, one.rounds) for one, _ in chosen
    ]
    out = []
    for (one, weight), ticket in zip(chosen, tickets, strict=True):
        models, link = trial.unpack(making.engine.result(ticket), width)
        out.append(Member(one.learner, weight, tuple(models), link))
    return out
