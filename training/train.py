"""The story: check, split, search, ensemble, calibrate, evaluate, record. Read it top to bottom."""

from __future__ import annotations

import secrets
import time
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
from feature_store.task import Budget, Task, dumps
from serving import bundle as bundles
from serving import encode
from serving.bundle import Bundle, Member, Model
from serving.encode import Encoder
from serving.predictor import Predictor
from training import baseline, conformal, dataset, ensemble, evaluate, golden, plots, report, trial
from training.conformal import Calibration
from training.dataset import Rows, Split
from training.engine import Engine, LocalEngine
from training.ensemble import Ensemble
from training.evaluate import Holdout, Verdict
from training.learners import Columns
from training.progress import Progress
from training.runlog import RunLog, Trial
from training.search import Search
from training.track import Record, Registry, environment, open_registry, trials_table
from training.trial import Shared

SCALE = ("lightgbm", {"n_estimators": 400, "num_leaves": 12, "learning_rate": 0.05, "min_child_samples": 100,
                      "colsample_bytree": 0.7})  # fmt: skip
"""The model of the residual's size: smooth on purpose."""


@dataclass(frozen=True)
class Trained:
    """What `train` gives back: a registered version and what was measured."""

    task: Task
    version: str
    run_id: str
    run: str
    promoted: bool
    verdict: Verdict
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    groups: dict[str, dict[str, float]]
    seconds: float
    figures: dict[str, Figure] = field(repr=False)

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The version and the baselines on the same holdout, best first."""
        table = pd.DataFrame({"gancao": self.metrics, **self.baselines}).T[["rmse", "mae", "r2", "bias"]]
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
            "baselines": self.baselines,
            "groups": self.groups,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class _Learnt:
    """What the search and the calibration left: trials, the chosen ones with their weights, models."""

    trials: list[Trial]
    chosen: list[tuple[Trial, float]]
    members: list[Member]
    scale: Model | None
    calibration: Calibration
    oof: Ensemble


def train(
    task: Task,
    settings: Settings,
    budget: Budget | None = None,
    seed: int = 0,
    resume: str | None = None,
    promote: bool = False,
    engine: Engine | None = None,
) -> Trained:
    """Train a version of the Task and register it.

    resume: the name of a run under the home's `runs/`, or `last`. promote: make it champion if its verdict allows.
    Raises TableRefused, NothingLearnt and the other errors of `feature_store.errors`.
    """
    start = time.monotonic()
    budget = budget or task.search.budget
    with Progress(task.task, budget, task.search.metric, task.target.unit) as progress:
        progress.stage("connecting to MLflow")
        registry = open_registry(settings)
        progress.stage("reading and checking the table")
        source = offline.fetch(task, settings.data)
        findings = _checked(task, source)
        split = dataset.split(task, dataset.labelled(task, source), seed)
        seen = dataset.with_unknowns(task, split.train, seed)
        encoder = encode.fit(task, seen.columns)
        log = _open_run(task, settings, source, budget, seed, resume)
        progress.stage(f"searching (run {log.name})")
        pool = engine or LocalEngine()
        try:
            learnt = _learn(task, seen, split.folds, encoder, pool, log, budget, seed, progress)
            progress.stage("evaluating on the holdout")
            holdout_matrix = encoder.columns(split.holdout.columns)
            guesses = _baselines(task, split, encoder, holdout_matrix, pool, log, seed)
        finally:
            pool.close()
        card = _card(task, split, source, learnt, seed, len(learnt.trials))
        predictor = Predictor(_bundle(task, encoder, learnt, card, {"rows": [], "answers": []}))
        holdout = Holdout(
            rows := encode.as_rows(task, split.holdout.columns),
            split.holdout.target,
            predictor.answer(rows),
            evaluate.group_names(encoder, holdout_matrix),
        )
        card |= _measured(task, holdout, guesses)
        verdict = evaluate.judge(task, holdout, guesses, seed)
        card["verdict"] = verdict.to_json()
        bundle = _bundle(
            task, encoder, learnt, card, golden.answered(predictor, golden.make(encoder, split.train, seed))
        )
        bundle_folder = log.folder / "bundle"
        _write_bundle(bundle, bundle_folder)
        progress.stage("recording in MLflow")
        figures = plots.all_plots(
            task, holdout, card["groups"], {"gancao": card["metrics"], **card["baselines"]}, learnt.trials
        )
        record = _record(task, log, bundle_folder, card, verdict, learnt, holdout, figures, findings, budget)
        run_id, version = registry.record(record)
        promoted = promote and _promote(registry, task, version, verdict)
    return Trained(
        task, version, run_id, log.name, promoted, verdict, card["metrics"], card["baselines"], card["groups"],
        round(time.monotonic() - start, 1), figures,
    )  # fmt: skip


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


def _learn(
    task: Task,
    rows: Rows,
    folds: np.ndarray,
    encoder: Encoder,
    engine: Engine,
    log: RunLog,
    budget: Budget,
    seed: int,
    progress: Progress,
) -> _Learnt:
    """Search, choose, size the residuals, calibrate and refit on all training rows."""
    matrix, target = encoder.columns(rows.columns), rows.target
    columns = _columns(task)
    shared = Shared(log.folder / "shared", columns, task.search.metric, seed).put(matrix, target, folds)
    trials = Search(engine, shared, log, budget, task.search.learners, seed, progress).run()
    good = sorted((t for t in trials if t.loss is not None), key=lambda t: t.number)
    progress.stage("choosing the ensemble and calibrating")
    oof = ensemble.select(task.search.metric, target, [log.oof(t) for t in good], task.search.max_members)
    chosen = [(good[index], weight) for index, weight in oof.weights.items()]
    refits = [engine.submit(trial.refit, shared, t.learner, t.config, t.rounds) for t, _ in chosen]
    sizes = Shared(log.folder / "sizes", columns, "rmse", seed).put(matrix, np.abs(target - oof.oof), folds)
    sized = engine.result(engine.submit(trial.run, sizes, *SCALE))
    calibration = conformal.calibrate(task, encoder, matrix, target, oof.oof, sized.oof)
    width = matrix.shape[1]
    scale = None
    if calibration.uses_scale:
        scale = trial.from_text(engine.result(engine.submit(trial.refit, sizes, *SCALE, sized.rounds)), width)
    members = [
        Member(t.learner, weight, trial.from_text(engine.result(ticket), width))
        for (t, weight), ticket in zip(chosen, refits, strict=True)
    ]
    return _Learnt(trials, chosen, members, scale, calibration, oof)


def _baselines(
    task: Task, split: Split, encoder: Encoder, holdout: np.ndarray, engine: Engine, log: RunLog, seed: int
) -> dict[str, np.ndarray]:
    """Baselines learn from the table as it is, without the values that `with_unknowns` hides from the search."""
    shared = Shared(log.folder / "plain", _columns(task), task.search.metric, seed)
    shared.put(encoder.columns(split.train.columns), split.train.target, split.folds)
    return baseline.predict(task, split, holdout, shared, engine)


def _columns(task: Task) -> Columns:
    direction = {"increasing": 1, "decreasing": -1, None: 0}
    return Columns(
        categories=tuple(i for i, item in enumerate(task.fields) if item.type == "category"),
        monotone=tuple(direction[item.monotone] if item.type == "number" else 0 for item in task.fields),
    )


def _bundle(task: Task, encoder: Encoder, learnt: _Learnt, card: dict[str, Any], rows: dict[str, Any]) -> Bundle:
    calibration = learnt.calibration
    return Bundle(task, encoder, learnt.members, learnt.scale, calibration.floor, calibration.distribution, card, rows)


def _write_bundle(bundle: Bundle, folder: Path) -> None:
    """Write it, and read it back as the server will: golden rows and all."""
    if folder.exists():
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
    bundles.write(bundle, folder)
    Predictor(bundles.read(folder)).check_golden()


def _card(task: Task, split: Split, source: offline.Source, learnt: _Learnt, seed: int, trials: int) -> dict[str, Any]:
    """The part of the model card that is known before the holdout is touched."""
    return {
        "trained_on": {
            "rows": len(split.train),
            "holdout_rows": len(split.holdout),
            "sources": sorted(task.data.sources.values()),
            "digest": source.digest,
            "synthetic": source.synthetic,
            "seed": seed,
            "trials": trials,
            "cells": learnt.calibration.group_rows,
        },
        "members": [
            {"learner": t.learner, "weight": weight, "rounds": t.rounds, "loss": t.loss} for t, weight in learnt.chosen
        ],
    }


def _measured(task: Task, holdout: Holdout, guesses: dict[str, np.ndarray]) -> dict[str, Any]:
    """The part of the card that the holdout gives."""
    return {
        "metrics": evaluate.metrics(task, holdout),
        "baselines": {name: evaluate.point_metrics(holdout.target, guess) for name, guess in guesses.items()},
        "groups": evaluate.by_group(task, holdout),
    }


def _record(
    task: Task,
    log: RunLog,
    bundle: Path,
    card: dict[str, Any],
    verdict: Verdict,
    learnt: _Learnt,
    holdout: Holdout,
    figures: dict[str, Figure],
    findings: list[str],
    budget: Budget,
) -> Record:
    pictures = {name: report.png(figure) for name, figure in figures.items()}
    members = [{"learner": t.learner, "weight": w, "loss": t.loss, "config": t.config} for t, w in learnt.chosen]
    pages = {
        f"report{'' if lang == 'en' else f'.{lang}'}.html": report.render(
            task, card, verdict, members, pictures, findings, lang
        )
        for lang in ("en", "zh")
    }
    on = card["trained_on"]
    return Record(
        task=task,
        name=log.name,
        params={
            "budget": budget,
            "seed": on["seed"],
            "rows": on["rows"],
            "holdout_rows": on["holdout_rows"],
            "metric": task.search.metric,
            "learners": ",".join(task.search.learners),
        },
        metrics=_flat(card),
        tags={
            "gancao.data_digest": on["digest"],
            "gancao.bundle_digest": bundles.digest(bundle),
            "gancao.verdict": verdict.decision,
            "gancao.synthetic": str(on["synthetic"]).lower(),
        },
        trials=learnt.trials,
        artifacts={
            **pages,
            **{f"plots/{name}.png": picture for name, picture in pictures.items()},
            "task.json": dumps(task),
            "trials.csv": trials_table(learnt.trials),
            "environment.txt": environment(),
            "holdout.csv": _holdout_table(task, holdout),
        },
        bundle=bundle,
    )


def _flat(card: dict[str, Any]) -> dict[str, float]:
    """Metrics for MLflow: the version's by name, baselines' and groups' behind their names."""
    out: dict[str, float] = dict(card["metrics"])
    for kind in ("baselines", "groups"):
        for name, row in card[kind].items():
            out |= {f"{kind[:-1]}/{name}/{key}": float(value) for key, value in row.items()}
    return out


def _holdout_table(task: Task, holdout: Holdout) -> str:
    """True and answered values of the holdout in its order, as CSV with every digit; no field of a row."""
    events = [event.name for event in task.answers.events]
    lines = [",".join([task.target.name, "value", "low", "high", *(f"p_{name}" for name in events)])]
    for true, answer in zip(holdout.target.tolist(), holdout.answers, strict=True):
        interval = answer["interval"]
        numbers = [true, answer["value"], interval["low"], interval["high"], *(answer["events"][e] for e in events)]
        lines.append(",".join(map(repr, numbers)))
    return "\n".join(lines) + "\n"


def _promote(registry: Registry, task: Task, version: str, verdict: Verdict) -> bool:
    if verdict.decision != "promote":
        return False
    registry.promote(task.task, version)
    return True
