"""The pace of a search in seconds: on how many folds, and how many rows of each, a configuration is tried.

On all folds of a large table with many classes a minute lasts for a handful of configurations, all of them stopped
long before they have learnt. So one fold is timed first, and folds are left out, then rows, until the budget lasts
for TRIALS. With a budget in trials all folds are tried, since a clock is not reproducible.
"""

from __future__ import annotations

import time
from dataclasses import replace

from training import learners
from training.engine import Engine
from training.job import Config
from training.trial import Shared

TRIALS = 12
"""Configurations that a budget should last for: what a good ensemble is chosen from, at least."""

ROUNDS, TYPICAL = 20, 400
"""Boosting rounds that are timed, and those of a configuration that has learnt enough."""

PROBE: Config = {"num_leaves": 31, "learning_rate": 0.1, "min_child_samples": 10}

LEAST_ROWS = 20_000
"""Rows that are fitted on in any case."""


CHOOSING = 0.08
"""Of a budget, the share for choosing and calibrating."""

REFITTING = 0.42
"""Of the trials of a search, the share that the ensemble's take, and as much again as a fold leaves out of the rows."""


def share(folds: int) -> float:
    """Of a budget in seconds, the share of the search: where few folds are validated a refit costs as much as a trial.

    0.85 with 5 folds, 0.65 with one.
    """
    return (1 - CHOOSING) / (1 + REFITTING / folds)


def paced(shared: Shared, engine: Engine, seconds: float) -> dict[str, int | None]:
    """`last` and `most` of `Shared` for a search of so many seconds."""
    folds = shared.folds()
    if len(folds) == 1 and len(folds[0][0]) <= LEAST_ROWS:
        return {"last": 1, "most": None}
    of_fold = engine.result(engine.submit(probe, shared))
    return choose(of_fold, seconds * engine.slots, len(folds), len(folds[-1][0]))


def probe(shared: Shared) -> float:
    """Seconds that a typical configuration takes on one fold, about. Runs in a worker."""
    job, took = shared.job(shared.folds()[-1][0], None), []
    for rounds in (1, ROUNDS):
        started = time.perf_counter()
        learners.fit("lightgbm", {**PROBE, "n_estimators": rounds}, job)
        took.append(time.perf_counter() - started)
    return took[0] + max(took[1] - took[0], 0.0) / (ROUNDS - 1) * TYPICAL


def choose(of_fold: float, seconds: float, folds: int, rows: int) -> dict[str, int | None]:
    """How many of the last folds to validate, and how many rows of each to fit on at most (None: all).

    of_fold: seconds of a configuration on one fold; seconds: of all slots together; rows: that a fold fits on.
    """
    room = seconds / TRIALS
    last = min(max(int(room / of_fold), 1), folds)
    most = max(int(rows * room / of_fold), LEAST_ROWS)
    return {"last": last, "most": most if most < rows else None}


def at(shared: Shared, pace: dict[str, int | None]) -> Shared:
    """The shared work at that pace."""
    return replace(shared, last=pace["last"], most=pace["most"])
