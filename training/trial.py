"""A trial: one configuration of one learner on all folds. Runs in a worker process of the engine."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from serving.bundle import Model
from serving.linear import Linear
from serving.trees import Trees
from training import learners
from training.learners import Columns, Config, Fit


@dataclass(frozen=True)
class Shared:
    """What all trials of a search work on; arrays lie in `folder` and are mapped, not copied."""

    folder: Path
    columns: Columns
    metric: str
    seed: int

    def put(self, matrix: np.ndarray, target: np.ndarray, folds: np.ndarray) -> Shared:
        """Store matrix (n, fields), target (n,) and the fold of each row (n,); returns itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, array in (("matrix", matrix), ("target", target), ("folds", folds)):
            np.save(self.folder / f"{name}.npy", array, allow_pickle=False)
        return self

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """matrix, target, folds."""
        return _load(self.folder)


@lru_cache(maxsize=1)
def _load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    def load(name: str) -> np.ndarray:
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))

    return load("matrix"), load("target"), load("folds")


@dataclass(frozen=True)
class TrialResult:
    """loss: the metric over the out-of-fold predictions `oof` (n,); rounds: boosting rounds to keep."""

    loss: float
    oof: np.ndarray
    rounds: int
    seconds: float


@dataclass(frozen=True)
class Refitted:
    """A model fitted on all rows, as text that a bundle can hold: LightGBM text or JSON of a linear model."""

    model: str
    is_tree: bool


def run(shared: Shared, learner: str, config: Config) -> TrialResult:
    """Fit on every fold, choose one number of rounds for all folds, and predict each row out of fold.

    The rounds are those of the lowest mean validation curve, one number chosen on all rows, as `lightgbm.cv` does:
    rounds chosen fold by fold would make the out-of-fold errors look smaller than they are.
    """
    start = time.perf_counter()
    matrix, target, folds = shared.arrays()
    fitted = []
    for fold in range(int(folds.max()) + 1):
        inside, outside = folds != fold, folds == fold
        job = Fit(shared.columns, shared.metric, shared.seed, matrix[inside], target[inside],
                  (matrix[outside], target[outside]))  # fmt: skip
        fitted.append(learners.fit(learner, config, job))
    length = min(len(one.curve) for one in fitted)
    rounds = int(np.argmin(np.mean([one.curve[:length] for one in fitted], axis=0))) + 1 if length else 0
    oof = np.empty(len(target))
    for fold, one in enumerate(fitted):
        oof[folds == fold] = one.model(rounds).predict(matrix[folds == fold])
    return TrialResult(loss(shared.metric, target, oof), oof, rounds, time.perf_counter() - start)


def refit(shared: Shared, learner: str, config: Config, rounds: int) -> Refitted:
    """The configuration on all rows, with the rounds that its trial chose."""
    matrix, target, _ = shared.arrays()
    config = {**config, "n_estimators": rounds} if rounds else config
    job = Fit(shared.columns, shared.metric, shared.seed, matrix, target)
    return as_text(learners.fit(learner, config, job).model(rounds))


def as_text(model: Model) -> Refitted:
    """The model as a worker hands it back."""
    if isinstance(model, Trees):
        return Refitted(model.text, True)
    return Refitted(json.dumps(model.to_json(), allow_nan=False), False)


def from_text(refitted: Refitted, width: int) -> Model:
    """The model again; width: number of columns."""
    if refitted.is_tree:
        return Trees(refitted.model, width)
    return Linear.from_json(json.loads(refitted.model))


def loss(metric: str, target: np.ndarray, predicted: np.ndarray) -> float:
    """`rmse` or `mae`, in the target's unit."""
    error = target - predicted
    return float(np.sqrt(np.mean(error**2)) if metric == "rmse" else np.mean(np.abs(error)))
