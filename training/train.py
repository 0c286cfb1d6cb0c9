"""The story: check, split, learn, evaluate, record, promote. Read it top to bottom."""

from __future__ import annotations

import secrets
import shutil
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
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
from training import baseline, dataset, evaluate, gate, golden, leakage, memory, plots, record, rules, splits
from training.engine import Engine
from training.engines import open_engine
from training.evaluate import Holdout
from training.figures.seen import Seen
from training.fit import EMPTY, assemble, refer, warm
from training.gate import Verdict
from training.insights import insight
from training.learn import Workshop, learn
from training.measures import COLUMNS, HIGHER_IS_BETTER
from training.paired import Ground, units
from training.progress import Progress
from training.record import Evidence
from training.rivals import champion, holdout_id
from training.runlog import RunLog
from training.splits import Split
from training.track import Registry, open_registry
from training.trial import Shared


@dataclass(frozen=True)
class Trained:
    """What `train` gives back: a registered version and what was measured. digest: SHA-256 of its bundle."""

    task: Task
    version: str
    run_id: str
    run: str
    digest: str
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
        table = pd.DataFrame({"gancao": self.metrics, **self.card["baselines"]}).T[list(COLUMNS[self.task.kind])]
        metric = self.task.search.metric
        return table.sort_values(metric, ascending=metric not in HIGHER_IS_BETTER)

    def to_json(self) -> dict[str, Any]:
        """The document that `gancao train --json` prints."""
        return {
            "task": self.task.task,
            "version": self.version,
            "run_id": self.run_id,
            "run": self.run,
            "digest": self.digest,
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
    engine: str = "local",
) -> Trained:
    """Train a version of the Task and register it.

    resume: the name of a run under the home's `runs/`, or `last`. promote: make it champion if its verdict allows.
    engine: where trials run, `local` or `ray` (at `settings.ray_address`).
    Raises TableRefused, NothingLearnt and the other errors of `feature_store.errors`.
    """
    start = time.monotonic()
    budget = budget or task.search.budget
    with (
        Progress(task.task, budget, task.search.metric, task.target.unit) as progress,
        closing(open_engine(engine, address=settings.ray_address)) as pool,
    ):
        warm(pool)
        progress.stage("table", "connecting to MLflow, reading and checking the table")
        registry = open_registry(settings)
        source = offline.fetch(task, settings.data)
        findings = _checked(task, source)
        split = splits.of(task, source, seed)
        guesses = rules.predict(task, split, source.table)  # before the search: a query that fails is told at once
        source = source.emptied()
        memory.give_back()
        progress.stage("leakage")
        leaks = leakage.gate(task, split.train, split.holdout, leakage.sides(task, split.train, split.holdout), seed)
        findings += [f"The waiver of {one.field or 'the table'} ({one.check}) is not needed: remove it."
                     for one in leakage.idle(task, leaks)]  # fmt: skip
        log = _open_run(task, settings, source, budget, seed, resume)
        shop, laid = _lay_out(task, split, pool, log, seed)
        split = replace(split, train=replace(split.train, columns={}))
        memory.give_back()
        progress.stage("search", f"run {log.name}")
        learnt = learn(shop, split.train, laid.shared, budget, progress)
        progress.stage("holdout")
        card = record.origins(task, split, source, learnt, seed) | {"leakage": leakage.card(leaks)}
        reference = refer(shop, learnt, laid.plain)
        answering = Predictor(assemble(shop, learnt, card, EMPTY, reference))
        holdout, matrix = _asked(answering, shop.encoder, split)
        guesses |= baseline.predict(task.kind, matrix, laid.plain, pool)
        reigning = champion(registry, task, holdout_id(task, source.digest, seed), holdout.rows, holdout.classes)
        verdict = _judged(task, holdout, units(task, split.holdout), guesses, reigning, seed)
        card |= record.measures(task, holdout, guesses, verdict)
        rows = golden.answered(answering, laid.golden)
        bundle = _write(assemble(shop, learnt, card, rows, reference), log.folder / "bundle")
        finished = Seen(
            task, holdout, card, learnt.trials, learnt.chosen, insight(answering, shop, learnt, holdout, matrix)
        )
        progress.stage("record")
        run_id, version = registry.record(
            record.record(Evidence(finished, budget, verdict, findings), log.name, bundle)
        )
        shop.clear()
        promoted = promote and _promote(registry, task, version, verdict)
    seconds = round(time.monotonic() - start, 1)
    digest = bundles.digest(bundle)
    return Trained(task, version, run_id, log.name, digest, promoted, verdict, card, seconds, plots.all_plots(finished))


@dataclass(frozen=True)
class _Laid:
    """The training rows where the workers find them, so that this process need not hold their columns.

    shared: what is learnt from, some values made unknown; plain: as the table has them, for the baselines.
    golden: the golden rows' requests.
    """

    shared: Shared
    plain: Shared
    golden: list[dict[str, Any]]


def _lay_out(task: Task, split: Split, pool: Engine, log: RunLog, seed: int) -> tuple[Workshop, _Laid]:
    seen = dataset.with_unknowns(task, split.train, seed)
    shop = Workshop(task, encode.fit(task, seen.columns, seen.classes), pool, log, seed)
    shared = shop.lay_out("shared", seen, splits.economical(split.folds, len(seen)))
    plain = shared if seen is split.train else shop.lay_out("plain", split.train, ())
    return shop, _Laid(shared, plain, golden.make(shop.encoder, split.train, seed))


def _asked(answering: Predictor, encoder: Encoder, split: Split) -> tuple[Holdout, np.ndarray]:
    """The holdout asked as an application would ask it, and its encoded rows."""
    held = split.holdout
    rows, matrix = encode.as_rows(answering.task, held.columns), encoder.columns(held.columns)
    groups = evaluate.group_names(encoder, matrix)
    return Holdout(rows, held.target, answering.answer(rows), groups, held.weight, held.classes), matrix


def _judged(
    task: Task,
    holdout: Holdout,
    together: np.ndarray | None,
    guesses: dict[str, np.ndarray],
    reigning: dict[str, np.ndarray],
    seed: int,
) -> Verdict:
    """The gate's verdict against the Task's baselines, the plainest in any case, and the champion."""
    ground = Ground(holdout.target, holdout.weight, holdout.groups, together)
    rivals = {name: guesses[name] for name in (*task.gate.baselines, next(iter(guesses)))}
    return gate.judge(task, ground, holdout.predicted, rivals, reigning, seed)


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
