"""A trial: one configuration of one learner on all folds. Runs in a worker process of the engine."""

from __future__ import annotations

import json
import time
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving import bundle
from serving.ensemble import LINKS, Link, Member, Model
from training import cost, learners
from training.engine import Put
from training.job import Columns, Config, Fit, Fitted
from training.losses import loss
from training.thin import evenly


@dataclass(frozen=True)
class Shared:
    """What all trials of a search work on.

    put: `matrix` (n, fields), `target` (n,), `weight` (n,) if rows count differently, and of each fold k the places
    of the rows to fit, `fit_k`, and to validate, `valid_k`. outputs: 1, or the number of classes of `multiclass`.
    last: how many of the last folds count, all if None; most: rows of each that are fitted on at most, from all over
    them.
    """

    put: Put
    columns: Columns
    kind: str
    outputs: int
    metric: str
    seed: int
    last: int | None = None
    most: int | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, read-only."""
        return self.put.arrays()

    def folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(fit, valid) places of each fold that counts."""
        arrays = self.arrays()
        count = sum(name.startswith("fit_") for name in arrays)
        found = [(arrays[f"fit_{fold}"], arrays[f"valid_{fold}"]) for fold in range(count)]
        counting = found[-self.last :] if self.last else found
        return counting if self.most is None else [(evenly(fit, self.most), valid) for fit, valid in counting]

    def job(self, fit: np.ndarray | None, valid: np.ndarray | None, deadline: float | None = None) -> Fit:
        """A learner's work: fit these rows (None: all), watch those (None: none)."""
        arrays = self.arrays()

        def take(rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
            parts = [arrays.get(name) for name in ("matrix", "target", "weight")]
            matrix, target, weight = (part if part is None or rows is None else part[rows] for part in parts)
            assert matrix is not None
            assert target is not None
            return matrix, target, weight

        watched = take(valid) if valid is not None else None
        return Fit(self.columns, self.kind, self.outputs, self.metric, self.seed, *take(fit), watched, deadline)


@dataclass(frozen=True)
class TrialResult:
    """What a trial gives back.

    loss: the metric over the validated rows; spread: its standard error over the folds, 0.0 with one fold.
    oof: (n, outputs) out-of-fold predictions on the answer's scale, NaN for rows that no fold validates.
    rounds: boosting rounds to keep, 0 without rounds; row_us: what one fold's model costs for one row.
    models: the folds' models, packed (`unpack`).
    """

    loss: float
    spread: float
    oof: np.ndarray
    rounds: int
    seconds: float
    row_us: float
    models: bytes


def ready() -> None:
    """Nothing: a worker that has run it has imported what trials need."""


def run(shared: Shared, learner: str, config: Config, limit_s: float | None = None) -> TrialResult:
    """Fit on every fold, choose one number of rounds for all folds, and predict each row out of fold.

    The rounds are those of the lowest mean validation curve, one number chosen on all rows, as `lightgbm.cv` does:
    rounds chosen fold by fold would make the out-of-fold errors look smaller than they are.
    limit_s: boosting stops early so that the trial takes about this long; None: it takes what it takes.
    """
    start = time.monotonic()
    folds, fitted = shared.folds(), list[Fitted]()
    for number, (fit, valid) in enumerate(folds):
        deadline = None if limit_s is None else start + limit_s * (number + 1) / len(folds)
        fitted.append(learners.fit(learner, config, shared.job(fit, valid, deadline)))
    rounds = common_rounds([one.curve for one in fitted])
    models = [one.model(rounds) for one in fitted]
    arrays = shared.arrays()
    oof, losses = np.full((len(arrays["target"]), shared.outputs), np.nan), []
    for (_, valid), model, one in zip(folds, models, fitted, strict=True):
        oof[valid] = LINKS[one.link](model.predict(arrays["matrix"][valid]))
        losses.append(shared_loss(shared, oof, valid))
    seen = np.concatenate([valid for _, valid in folds])
    spread = float(np.std(losses, ddof=1) / np.sqrt(len(losses))) if len(losses) > 1 else 0.0
    packed = pack(models, fitted[0].link)
    us = cost.row_us(models[0])
    return TrialResult(shared_loss(shared, oof, seen), spread, oof, rounds, time.monotonic() - start, us, packed)


def shared_loss(shared: Shared, predicted: np.ndarray, rows: np.ndarray) -> float:
    """The search's metric over some rows; predicted: (n, outputs)."""
    arrays = shared.arrays()
    weight = arrays["weight"][rows] if "weight" in arrays else None
    return loss(shared.metric, arrays["target"][rows], predicted[rows], weight)


def common_rounds(curves: list[list[float]]) -> int:
    """The rounds of the lowest mean curve, as far as all curves reach; 0 without rounds."""
    length = min(len(curve) for curve in curves)
    return int(np.argmin(np.mean([curve[:length] for curve in curves], axis=0))) + 1 if length else 0


def refit(shared: Shared, learner: str, config: Config, rounds: int) -> bytes:
    """The configuration on all rows, with the rounds that its trial chose, packed."""
    return _fit_packed(shared, learner, config, rounds, None)


def _fit_packed(shared: Shared, learner: str, config: Config, rounds: int, rows: np.ndarray | None) -> bytes:
    fitted = learners.fit(learner, _with_rounds(config, rounds), shared.job(rows, None))
    return pack([fitted.model(rounds)], fitted.link)


def _with_rounds(config: Config, rounds: int) -> Config:
    return {**config, "n_estimators": rounds} if rounds and "n_estimators" in config else config


def bag_or_refit(shared: Shared, learner: str, config: Config, rounds: int, packed: bytes) -> tuple[float, float]:
    """Losses on the first fold's validation rows of a bag and of one model, all of them fitted without that fold.

    One model of all the other rows is what a refit comes to; the mean of models that each leave out one more fold is
    what a bag comes to. packed: the trial's models, of which the first is the former.
    """
    folds, matrix = shared.folds(), shared.arrays()["matrix"]
    (fit, valid), width = folds[0], shared.arrays()["matrix"].shape[1]
    models, link = unpack(packed, width)
    bag = []
    for _, other in folds[1:]:
        rows = np.setdiff1d(fit, other)
        bag += unpack(_fit_packed(shared, learner, config, rounds, rows), width)[0]
    out = []
    for group in (bag, models[:1]):
        predicted = np.full((len(matrix), shared.outputs), np.nan)
        predicted[valid] = Member(learner, 1.0, tuple(group), link).predict(matrix[valid])
        out.append(shared_loss(shared, predicted, valid))
    return out[0], out[1]


def pack(models: list[Model], link: Link) -> bytes:
    """Models as a worker hands them back and a run keeps them: compressed text, no pickle."""
    document: dict[str, Any] = {"link": link, "models": [bundle.as_text(model) for model in models]}
    return zlib.compress(json.dumps(document).encode(), level=1)


def unpack(packed: bytes, width: int) -> tuple[list[Model], Link]:
    """The models and their link; width: number of columns."""
    document = json.loads(zlib.decompress(packed))
    return [bundle.from_text(suffix, text, width) for suffix, text in document["models"]], document["link"]
