"""Learning without proof: from rows to a predictor, with no holdout, no gate and no record.

For notebooks, and for comparisons that hold out rows of their own (`benchmarks/automl.py`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from feature_store.task import Budget, Task
from serving import drift, encode
from serving.bundle import Bundle, Reference
from serving.ensemble import combine
from serving.predictor import Predictor
from training import background, dataset, familiar, missing, splits, trial
from training.dataset import Rows
from training.engine import Engine
from training.learn import Learnt, Workshop, learn
from training.local_engine import LocalEngine
from training.progress import Progress
from training.runlog import RunLog
from training.trial import Shared

EMPTY: dict[str, Any] = {"rows": [], "answers": []}
"""The golden rows of a bundle that is not written."""


def fit(
    task: Task, rows: Rows, budget: Budget, seed: int, folder: Path, engine: Engine | None = None
) -> tuple[Predictor, Learnt]:
    """Learn from all the given rows.

    folder: where the run's journal goes; engine: where trials run, by default a pool on this machine.
    Raises NothingLearnt, and what `splits.fold` raises.
    """
    own = LocalEngine() if engine is None else engine
    try:
        warm(own)
        with Progress(task.task, budget, task.search.metric, task.target.unit) as progress:
            seen = dataset.with_unknowns(task, rows, seed)
            folds = splits.economical(splits.fold(task, rows, seed), len(rows))
            log = RunLog(folder, {"task": task.task, "rows": len(rows), "seed": seed})
            shop = Workshop(task, encode.fit(task, seen.columns, rows.classes), own, log, seed)
            learnt = learn(shop, seen, shop.lay_out("shared", seen, folds), budget, progress)
            bundle = assemble(shop, learnt, {}, EMPTY, refer(shop, learnt, learnt.shared))
            shop.clear()
    finally:
        if engine is None:
            own.close()
    return Predictor(bundle), learnt


def warm(engine: Engine) -> None:
    """Have the engine start its workers, whose imports take seconds, while something else goes on."""
    for _ in range(engine.slots):
        engine.submit(trial.ready)


def refer(shop: Workshop, learnt: Learnt, plain: Shared) -> Reference:
    """What the training rows are like, for warnings, drift and explanations. plain: these as the table has them."""
    matrix = plain.arrays()["matrix"]
    bare = Predictor(assemble(shop, learnt, {}, EMPTY, Reference()))
    known = familiar.fit(shop.encoder, matrix, shop.seed)
    counts = {f.name: drift.counts(known.bins[place], matrix[:, place]) for place, f in enumerate(shop.task.fields)}
    beside = background.make(shop.encoder, known, matrix, partial(combine, bare.bundle.members), shop.seed)
    return Reference(known, missing.costs(bare, matrix, shop.seed), counts, beside)


def assemble(
    shop: Workshop, learnt: Learnt, card: dict[str, Any], golden: dict[str, Any], reference: Reference
) -> Bundle:
    """The bundle of what was learnt. card, golden, reference: as `serving.bundle.Bundle`."""
    answering = learnt.answering
    return Bundle(
        shop.task,
        shop.encoder,
        learnt.kept.members,
        answering.scale,
        answering.floor,
        answering.distribution,
        card,
        golden,
        reference,
    )
