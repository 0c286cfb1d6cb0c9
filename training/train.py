"""The story: check, split, learn, evaluate, record, promote. Read it top to bottom."""

from __future__ import annotations

import secrets
import shutil
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from feature_store import check, offline
from feature_store.errors import RunUnusable, TableRefused
from feature_store.settings import Settings
from feature_store.task import Budget, Task
from serving import bundle as bundles
from serving import encode, predictor
from serving.bundle import Bundle
from serving.encode import Encoder
from serving.predictor import Predictor
from training import dataset, evaluate, gate, golden, plots, record
from training.dataset import Split
from training.engine import LocalEngine
from training.evaluate import Holdout
from training.gate import Verdict
from training.learn import Learnt, Workshop, baselines, learn
from training.progress import Progress
from training.record import Evidence
from training.rivals import champion, holdout_id
from training.runlog import RunLog
from training.track import Registry, open_registry


@dataclass(frozen=True)
class Trained:
    """What `train` gives back: a registered version and what was measured."""

    task: Task
    version: str
    run_id: str
    run: str
    promoted: bool
    verdict: Verdict
    card: dict[str, Any] = field(repr=False)
    seconds: float
    figures: dict[str, Figure] = field(repr=False)

    @property
    def metrics(self) -> dict[str, float]:
        """Measures of the version on the holdout."""
        measured: dict[str, float] = self.card["metrics"]
        return measured

    @property
    def groups(self) -> dict[str, dict[str, float]]:
        """The same by group."""
        measured: dict[str, dict[str, float]] = self.card["groups"]
        return measured

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The version and the baselines on the same holdout, best first."""
        table = pd.DataFrame({"gancao": self.metrics, **self.card["baselines"]}).T[["rmse", "mae", "r2", "bias"]]
        return table.sort_values(self.task.search.metric)

    def to_json(self) -> dict[str, Any]:
        """The document that `gancao train --json` prints."""
        return {
            "task": self.task.task,
            "version": self.version,
            "run_id": self.run_id,
            "run": self.run,
            "promoted": self.promoted,
            "verdict": self.verdict.to_json(),
            "metrics": self.metrics,
            "baselines": self.card["baselines"],
            "groups": self.groups,
            "seconds": self.seconds,
        }


def train(
    task: Task,
    settings: Settings,
    budget: Budget | None = None,
    seed: int = 0,
    resume: str | None = None,
    promote: bool = False,
) -> Trained:
    """Train a version of the Task and register it.

    resume: the name of a run under the home's `runs/`, or `last`. promote: make it champion if its verdict allows.
    Raises TableRefused, NothingLearnt and the other errors of `feature_store.errors`.
    """
    start = time.monotonic()
    budget = budget or task.search.budget
    with (
        Progress(task.task, budget, task.search.metric, task.target.unit) as progress,
        closing(LocalEngine()) as engine,
    ):
        progress.stage("connecting to MLflow")
        registry = open_registry(settings)
        progress.stage("reading and checking the table")
        source = offline.fetch(task, settings.data)
        findings = _checked(task, source)
        split = dataset.split(task, dataset.labelled(task, source), seed)
        seen = dataset.with_unknowns(task, split.train, seed)
        log = _open_run(task, settings, source, budget, seed, resume)
        shop = Workshop(task, encode.fit(task, seen.columns), engine, log, seed)
        progress.stage(f"searching (run {log.name})")
        learnt = learn(shop, seen, split.folds, budget, progress)
        progress.stage("evaluating on the holdout")
        card = record.origins(task, split, source, learnt, seed)
        answering = Predictor(_bundle(shop, learnt, card, {"rows": [], "answers": []}))
        holdout, matrix = _asked(answering, shop.encoder, split)
        guesses = baselines(shop, split, matrix)
        rivals = {name: guesses[name] for name in task.gate.baselines}
        rivals |= champion(registry, task, holdout_id(task, source.digest, seed), holdout.rows)
        verdict = gate.judge(task, holdout.target, holdout.value, rivals, seed)
        card |= record.measures(task, holdout, guesses, verdict)
        rows = golden.answered(answering, golden.make(shop.encoder, split.train, seed))
        bundle = _write(_bundle(shop, learnt, card, rows), log.folder / "bundle")
        progress.stage("recording in MLflow")
        leaderboard = {"gancao": card["metrics"], **card["baselines"]}
        figures = plots.all_plots(task, holdout, card["groups"], leaderboard, learnt.trials)
        evidence = Evidence(task, budget, learnt, holdout, card, verdict, figures, findings)
        run_id, version = registry.record(record.record(evidence, log.name, bundle))
        shop.clear()
        promoted = promote and _promote(registry, task, version, verdict)
    seconds = round(time.monotonic() - start, 1)
    return Trained(task, version, run_id, log.name, promoted, verdict, card, seconds, figures)


def _asked(answering: Predictor, encoder: Encoder, split: Split) -> tuple[Holdout, np.ndarray]:
    """The holdout asked as an application would ask it, and its encoded rows."""
    rows, matrix = encode.as_rows(answering.task, split.holdout.columns), encoder.columns(split.holdout.columns)
    groups = evaluate.group_names(encoder, matrix)
    return Holdout(rows, split.holdout.target, answering.answer(rows), groups), matrix


def _checked(task: Task, source: offline.Source) -> list[str]:
    """Warnings of the table in words. Raises TableRefused with all its errors."""
    found = check.check(task, source.table)
    if errors := [finding for finding in found if finding.severity == "error"]:
        lines = "\n".join(f"  {finding}" for finding in errors)
        raise TableRefused(f"The table of {task.task} can't be trained on:\n{lines}\nMend data.sql or the Task.")
    return [str(finding) for finding in found]


def _open_run(
    task: Task, settings: Settings, source: offline.Source, budget: Budget, seed: int, resume: str | None
) -> RunLog:
    runs = settings.home / "runs"
    identity = {
        "task": task.task,
        "data": source.digest,
        "fields": [item.model_dump(mode="json") for item in task.fields],
        "split": task.split.model_dump(mode="json"),
        "metric": task.search.metric,
        "learners": list(task.search.learners),
        "seed": seed,
        "budget": "trials" if budget.trials else "seconds",
    }
    if resume is None:
        name = f"{task.task}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        return RunLog(runs / name, identity)
    there = sorted((p.name for p in runs.glob(f"{task.task}-2*") if (p / "run.json").exists()), reverse=True)
    name = there[0] if resume == "last" and there else resume
    if name not in there:
        raise RunUnusable(
            f"There is no run {resume!r} of {task.task} in {runs}. There are: {', '.join(there) or 'none'}."
        )
    return RunLog(runs / name, identity)


def _bundle(shop: Workshop, learnt: Learnt, card: dict[str, Any], rows: dict[str, Any]) -> Bundle:
    floor, distribution = learnt.calibration.floor, learnt.calibration.distribution
    return Bundle(shop.task, shop.encoder, learnt.members, learnt.scale, floor, distribution, card, rows)


def _write(bundle: Bundle, folder: Path) -> Path:
    """Write the bundle, and read it back as the server will: golden rows and all."""
    if folder.exists():
        shutil.rmtree(folder)
    bundles.write(bundle, folder)
    predictor.load(folder)
    return folder


def _promote(registry: Registry, task: Task, version: str, verdict: Verdict) -> bool:
    if verdict.decision != "promote":
        return False
    registry.promote(task.task, version)
    return True
