"""What a version says of itself: its card, and everything that its run leaves in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feature_store import offline
from feature_store.task import Budget, Task, dumps
from serving import bundle as bundles
from training import evaluate, plots, report
from training.evaluate import Holdout
from training.figures import style
from training.figures.seen import Seen
from training.gate import Verdict
from training.learn import Learnt
from training.measures import point_metrics
from training.report import Origin
from training.rivals import holdout_id
from training.runlog import Trial
from training.splits import Split
from training.tables import tables
from training.track import Record, environment, versions


def origins(task: Task, split: Split, source: offline.Source, learnt: Learnt, seed: int) -> dict[str, Any]:
    """The part of the card that is known before the holdout is touched."""
    return {
        "trained_on": {
            "rows": len(split.train),
            "holdout_rows": len(split.holdout),
            "sources": sorted(task.data.sources.values()),
            "digest": source.digest,
            "synthetic": source.synthetic,
            "seed": seed,
            "trials": len(learnt.trials),
            "cells": learnt.answering.cells,
            "calibration": learnt.answering.facts,
        },
        "members": [
            {"learner": t.learner, "weight": weight, "rounds": t.rounds, "loss": t.loss} for t, weight in learnt.chosen
        ],
        "ensemble": {
            "loss": learnt.ensemble.loss,
            "honest_loss": learnt.ensemble.honest_loss,
            "kept": learnt.kept.way,
            "reason": learnt.kept.reason,
            "bag_loss": learnt.kept.bag_loss,
            "refit_loss": learnt.kept.refit_loss,
        },
    }


def measures(task: Task, holdout: Holdout, guesses: Mapping[str, np.ndarray], verdict: Verdict) -> dict[str, Any]:
    """The part of the card that the holdout gives. guesses: (n, outputs) predictions of each baseline."""
    return {
        "metrics": evaluate.metrics(task, holdout),
        "baselines": {
            name: point_metrics(task.kind, holdout.target, guess, holdout.weight) for name, guess in guesses.items()
        },
        "groups": evaluate.by_group(task, holdout),
        "deciles": evaluate.by_decile(task, holdout),
        "verdict": verdict.to_json(),
    }


@dataclass(frozen=True)
class Evidence:
    """All that a finished training knows and a record is made of."""

    seen: Seen
    budget: Budget
    verdict: Verdict
    findings: list[str]


def record(evidence: Evidence, name: str, bundle: Path) -> Record:
    """The run's record. name: the run's; bundle: the folder of the version's bundle."""
    seen, task, card = evidence.seen, evidence.seen.task, evidence.seen.card
    on = card["trained_on"]
    pictures = {lang: _pictures(seen, lang) for lang in ("en", "zh")}
    return Record(
        task=task,
        name=name,
        params={
            "budget": evidence.budget,
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
            "gancao.verdict": evidence.verdict.decision,
            "gancao.holdout": holdout_id(task, on["digest"], on["seed"]),
            "gancao.synthetic": str(on["synthetic"]).lower(),
        },
        trials=seen.trials,
        artifacts={
            "report.html": _report(evidence, name, pictures["en"], "en"),
            "report.zh.html": _report(evidence, name, pictures["zh"], "zh"),
            **{f"plots/{key}.png": picture for key, picture in pictures["en"].items()},
            "task.json": dumps(task),
            "environment.txt": environment(),
            **tables(seen),
        },
        bundle=bundle,
        curves={"best_loss": best_so_far(seen.trials)},
    )


def best_so_far(trials: Iterable[Trial]) -> list[tuple[float, float]]:
    """The lowest loss after each finished trial: (seconds of search, loss)."""
    out: list[tuple[float, float]] = []
    for trial in sorted((t for t in trials if t.loss is not None), key=lambda t: t.elapsed_s):
        out.append((trial.elapsed_s, min(trial.loss or 0.0, out[-1][1] if out else np.inf)))
    return out


def _pictures(seen: Seen, lang: str) -> dict[str, bytes]:
    return {key: style.png(figure) for key, figure in plots.all_plots(seen, lang).items()}


def _report(evidence: Evidence, name: str, pictures: dict[str, bytes], lang: str) -> str:
    task, seed = evidence.seen.task.task, evidence.seen.card["trained_on"]["seed"]
    origin = Origin(f"gancao train {task} --budget {evidence.budget} --seed {seed}", name, versions())
    return report.render(evidence.seen, evidence.verdict, origin, pictures, evidence.findings, lang)


def _flat(card: dict[str, Any]) -> dict[str, float]:
    """Metrics for MLflow: the version's by name, baselines' and groups' behind their names."""
    out: dict[str, float] = dict(card["metrics"])
    for kind in ("baselines", "groups"):
        for name, row in card[kind].items():
            out |= {f"{kind[:-1]}/{name}/{key}": float(value) for key, value in row.items()}
    return out
