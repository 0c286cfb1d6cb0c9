"""From rows to a calibrated ensemble: search, choose, size the residuals, calibrate, refit."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import numpy as np

from feature_store.task import Budget, Task
from serving.bundle import Member, Model
from serving.encode import Encoder
from training import baseline, conformal, ensemble, trial
from training.conformal import Calibration
from training.dataset import Rows, Split
from training.engine import Engine
from training.learners import Columns
from training.progress import Progress
from training.runlog import RunLog, Trial
from training.search import Search
from training.trial import Shared

SCALE = ("lightgbm", {"n_estimators": 400, "num_leaves": 12, "learning_rate": 0.05, "min_child_samples": 100,
                      "colsample_bytree": 0.7})  # fmt: skip
"""The model of the residual's size: smooth on purpose."""


@dataclass(frozen=True)
class Workshop:
    """What every stage of one training works with."""

    task: Task
    encoder: Encoder
    engine: Engine
    log: RunLog
    seed: int

    def share(self, name: str, metric: str, matrix: np.ndarray, target: np.ndarray, folds: np.ndarray) -> Shared:
        """Lay arrays where the workers find them, under a name of the run's folder."""
        shared = Shared(self.log.folder / name, _columns(self.task), metric, self.seed)
        return shared.put(matrix, target, folds)

    def clear(self) -> None:
        """Delete what was laid out: copies of the table serve only a search that may be resumed."""
        for name in ("shared", "sizes", "plain"):
            shutil.rmtree(self.log.folder / name, ignore_errors=True)


@dataclass(frozen=True)
class Learnt:
    """Trials, the chosen ones with their weights, their models on all rows, and the calibration."""

    trials: list[Trial]
    chosen: list[tuple[Trial, float]]
    members: list[Member]
    scale: Model | None
    calibration: Calibration


def learn(shop: Workshop, rows: Rows, folds: np.ndarray, budget: Budget, progress: Progress) -> Learnt:
    """Search on the folds, then choose, calibrate and refit. rows: to learn from; folds: (n,) their folds."""
    task, engine = shop.task, shop.engine
    matrix, target, metric = shop.encoder.columns(rows.columns), rows.target, task.search.metric
    shared = shop.share("shared", metric, matrix, target, folds)
    trials = Search(engine, shared, shop.log, budget, task.search.learners, shop.seed, progress).run()
    good = sorted((t for t in trials if t.loss is not None), key=lambda t: t.number)
    progress.stage("choosing the ensemble and calibrating")
    best = ensemble.select(metric, target, [shop.log.oof(t) for t in good], task.search.max_members)
    chosen = [(good[index], weight) for index, weight in best.weights.items()]
    refits = [engine.submit(trial.refit, shared, t.learner, t.config, t.rounds) for t, _ in chosen]
    sizes = shop.share("sizes", "rmse", matrix, np.abs(target - best.oof), folds)
    sized = engine.result(engine.submit(trial.run, sizes, *SCALE))
    calibration = conformal.calibrate(task, shop.encoder, matrix, target, best.oof, sized.oof)
    width = matrix.shape[1]
    scale = None
    if calibration.uses_scale:
        scale = trial.from_text(engine.result(engine.submit(trial.refit, sizes, *SCALE, sized.rounds)), width)
    members = [
        Member(t.learner, weight, trial.from_text(engine.result(ticket), width))
        for (t, weight), ticket in zip(chosen, refits, strict=True)
    ]
    return Learnt(trials, chosen, members, scale, calibration)


def baselines(shop: Workshop, split: Split, holdout: np.ndarray) -> dict[str, np.ndarray]:
    """Each baseline's predictions (n,) for the encoded holdout.

    They learn from the table as it is, without the values that `with_unknowns` hides from the search.
    """
    matrix = shop.encoder.columns(split.train.columns)
    shared = shop.share("plain", shop.task.search.metric, matrix, split.train.target, split.folds)
    return baseline.predict(shop.task, split, holdout, shared, shop.engine)


def _columns(task: Task) -> Columns:
    direction = {"increasing": 1, "decreasing": -1, None: 0}
    return Columns(
        categories=tuple(i for i, field in enumerate(task.fields) if field.type == "category"),
        monotone=tuple(direction[field.monotone] if field.type == "number" else 0 for field in task.fields),
    )
