"""From rows to a calibrated ensemble: search, choose, make the members, calibrate."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from feature_store.task import Budget, Task
from serving.classes import Classes
from serving.distribution import Distribution
from serving.encode import Encoder
from serving.ensemble import Model
from training import calibrate, conformal, covers, ensemble, members, pace, trial
from training.dataset import Rows
from training.engine import Engine, Ticket
from training.ensemble import Bounds, Ensemble
from training.job import Columns
from training.members import Kept, Making
from training.progress import Progress
from training.runlog import RunLog, Trial
from training.search import Search
from training.trial import Shared, TrialResult

SCALE = ("lightgbm", {"n_estimators": 400, "num_leaves": 12, "learning_rate": 0.05, "min_child_samples": 100,
                      "colsample_bytree": 0.7})  # fmt: skip
"""The model of the residual's size: smooth on purpose."""

SCALE_FOLDS = 5

SEARCHING = 0.85
"""Of a budget in seconds, the share that the pace is set for."""

Folds = Sequence[tuple[np.ndarray, np.ndarray]]
"""Places of the rows to fit and to validate, for each fold."""


@dataclass(frozen=True)
class Workshop:
    """What every stage of one training works with."""

    task: Task
    encoder: Encoder
    engine: Engine
    log: RunLog
    seed: int

    def lay_out(self, name: str, rows: Rows, folds: Folds) -> Shared:
        """Encode rows and lay them where the workers find them; after that nobody need hold their columns."""
        return self.share(name, rows, self.encoder.columns(rows.columns), folds)

    def share(self, name: str, rows: Rows, matrix: np.ndarray, folds: Folds) -> Shared:
        """Lay arrays where the workers find them, under a name of the run's folder. matrix: the encoded rows."""
        arrays = {"matrix": matrix, "target": rows.target}
        if rows.weight is not None:
            arrays["weight"] = rows.weight
        for number, (fit, valid) in enumerate(folds):
            arrays |= {f"fit_{number}": fit, f"valid_{number}": valid}
        put = self.engine.put(arrays, self.log.folder / name)
        outputs = len(rows.classes) if self.task.kind == "multiclass" else 1
        return Shared(put, columns(self.encoder), self.task.kind, outputs, self.task.search.metric, self.seed)

    def clear(self) -> None:
        """Delete what was laid out: copies of the table serve only a search that may be resumed."""
        for name in ("shared", "sizes", "plain"):
            shutil.rmtree(self.log.folder / name, ignore_errors=True)


@dataclass(frozen=True)
class Answering:
    """How the ensemble's values become answers.

    scale: the model of the residual's size, or None for `floor` throughout; cells: training rows of each group and
    cell; facts: what the calibration found.
    """

    distribution: Distribution | Classes
    scale: Model | None
    floor: float
    cells: dict[str, int]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Learnt:
    """Trials, the chosen ones with their weights, how they became members, and how these answer.

    shared: what the trials worked on, as long as the workshop is not cleared.
    """

    trials: list[Trial]
    chosen: list[tuple[Trial, float]]
    ensemble: Ensemble
    kept: Kept
    answering: Answering
    shared: Shared


def learn(shop: Workshop, rows: Rows, shared: Shared, budget: Budget, progress: Progress) -> Learnt:
    """Search on the folds, then choose, make the members and calibrate.

    rows: to learn from; their columns are not looked at. shared: the same rows, as `Workshop.lay_out` laid them.
    """
    start, task = time.monotonic(), shop.task
    searching = budget
    if not budget.trials:
        seconds = budget.seconds or 60.0
        shared = pace.at(shared, shop.log.note("pace", partial(pace.paced, shared, shop.engine, SEARCHING * seconds)))
        searching = Budget(seconds=pace.share(len(shared.folds())) * seconds)
    trials = Search(shop.engine, shared, shop.log, searching, task.search.learners, shop.seed, progress).run()
    progress.stage("choose")
    seen = np.sort(np.concatenate([valid for _, valid in shared.folds()]))
    judged, matrix = replace(rows, columns={}).take(seen), shared.arrays()["matrix"][seen]
    good = sorted((t for t in trials if t.loss is not None), key=lambda t: t.number)
    oofs = [shop.log.oof(t)[seen] for t in good]
    bounds = Bounds(task.search.max_members, task.search.row_us_of(shared.outputs))
    best = _choose(shop, judged, good, oofs, bounds)
    chosen = [(good[index], weight) for index, weight in best.weights.items()]
    oof = np.asarray(sum(weight * oofs[index] for index, weight in best.weights.items()))
    progress.ensemble(best.loss)
    progress.stage("calibrate", "making the members and calibrating")
    # What answers is calibrated while the members are made: neither waits for the other.
    size = None if task.kind != "regression" else _begin_size(shop, judged, matrix, oof)
    most = task.search.row_us_of(1)  # a bag is for small members: of several classes a row would take milliseconds
    making = Making(shop.engine, shared, shop.log, most, _clock(budget, start), task.split.kind == "time")
    kept = members.make(making, chosen)
    kept = replace(kept, members=covers.counted(kept.members, matrix))
    answering = _classes(shop, judged, matrix, oof) if size is None else _values(shop, judged, matrix, oof, size)
    return Learnt(trials, chosen, best, kept, answering, shared)


def _choose(shop: Workshop, rows: Rows, trials: list[Trial], oofs: list[np.ndarray], bounds: Bounds) -> Ensemble:
    metric, costs = shop.task.search.metric, [trial.row_us for trial in trials]
    found = ensemble.candidates(metric, rows.target, rows.weight, oofs, costs)
    return ensemble.select(found, [trial.learner for trial in trials], bounds, shop.seed)


def _clock(budget: Budget, start: float) -> Callable[[], float | None]:
    """Seconds that a budget in seconds has left; None for one in trials."""
    seconds = None if budget.trials else budget.seconds or 60.0
    return lambda: None if seconds is None else seconds - (time.monotonic() - start)


def _begin_size(shop: Workshop, rows: Rows, matrix: np.ndarray, oof: np.ndarray) -> tuple[Shared, Ticket]:
    """Start to learn the size of the residuals."""
    part = np.random.default_rng(shop.seed).permutation(len(rows)) % SCALE_FOLDS
    folds = [(np.flatnonzero(part != number), np.flatnonzero(part == number)) for number in range(SCALE_FOLDS)]
    residual = np.abs(rows.target - oof[:, 0])
    sizes = shop.share("sizes", replace(rows, target=residual), matrix, folds)
    free = replace(sizes.columns, monotone=(0,) * matrix.shape[1])
    sizes = replace(sizes, metric="rmse", columns=free)
    return sizes, shop.engine.submit(trial.run, sizes, *SCALE)


def _values(shop: Workshop, rows: Rows, matrix: np.ndarray, oof: np.ndarray, size: tuple[Shared, Ticket]) -> Answering:
    shared, ticket = size
    sized: TrialResult = shop.engine.result(ticket)
    found = conformal.calibrate(shop.task, shop.encoder, matrix, rows.target, oof[:, 0], sized.oof[:, 0])
    scale = None
    if found.uses_scale:
        packed = shop.engine.result(shop.engine.submit(trial.refit, shared, *SCALE, sized.rounds))
        scale = covers.count(trial.unpack(packed, matrix.shape[1])[0][0], covers.sample(matrix))
    return Answering(found.distribution, scale, found.floor, found.group_rows, {})


def _classes(shop: Workshop, rows: Rows, matrix: np.ndarray, oof: np.ndarray) -> Answering:
    classes, facts = calibrate.calibrate(shop.task, shop.encoder, matrix, rows.target, oof, rows.weight)
    return Answering(classes, None, 0.0, facts.pop("cells"), facts)


def columns(encoder: Encoder) -> Columns:
    """What learners must know of the matrix that this encoder makes."""
    fields = encoder.task.fields
    direction = {"increasing": 1, "decreasing": -1, None: 0}
    categories = [(index, field.name) for index, field in enumerate(fields) if field.type == "category"]
    return Columns(
        categories=tuple(index for index, _ in categories),
        sizes=tuple(len(encoder.categories[name]) + 1 for _, name in categories),
        monotone=tuple(direction[field.monotone] if field.type == "number" else 0 for field in fields),
    )
