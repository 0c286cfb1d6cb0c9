"""What a version says of itself: its card, and everything that its run leaves in MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from feature_store import offline
from feature_store.task import Budget, Task, dumps
from serving import bundle as bundles
from training import evaluate, report
from training.dataset import Split
from training.evaluate import Holdout
from training.gate import Verdict
from training.learn import Learnt
from training.rivals import holdout_id
from training.track import Record, environment, trials_table


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
            "cells": learnt.calibration.group_rows,
        },
        "members": [
            {"learner": t.learner, "weight": weight, "rounds": t.rounds, "loss": t.loss} for t, weight in learnt.chosen
        ],
    }


def measures(task: Task, holdout: Holdout, guesses: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    """The part of the card that the holdout gives. guesses: (n,) predictions of each baseline."""
    return {
        "metrics": evaluate.metrics(task, holdout),
        "baselines": {name: evaluate.point_metrics(holdout.target, guess) for name, guess in guesses.items()},
        "groups": evaluate.by_group(task, holdout),
        "verdict": verdict.to_json(),
    }


@dataclass(frozen=True)
class Evidence:
    """All that a finished training knows and a record is made of."""

    task: Task
    budget: Budget
    learnt: Learnt
    holdout: Holdout
    card: dict[str, Any]
    verdict: Verdict
    figures: dict[str, Figure]
    findings: list[str]


def record(evidence: Evidence, name: str, bundle: Path) -> Record:
    """The run's record. name: the run's; bundle: the folder of the version's bundle."""
    task, card, learnt = evidence.task, evidence.card, evidence.learnt
    pictures = {key: report.png(figure) for key, figure in evidence.figures.items()}
    on = card["trained_on"]
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
        trials=learnt.trials,
        artifacts={
            "report.html": _report(evidence, pictures, "en"),
            "report.zh.html": _report(evidence, pictures, "zh"),
            **{f"plots/{key}.png": picture for key, picture in pictures.items()},
            "task.json": dumps(task),
            "trials.csv": trials_table(learnt.trials),
            "environment.txt": environment(),
            "holdout.csv": _holdout_table(task, evidence.holdout),
        },
        bundle=bundle,
    )


def _report(evidence: Evidence, pictures: dict[str, bytes], lang: str) -> str:
    chosen = evidence.learnt.chosen
    members = [{"learner": t.learner, "weight": w, "loss": t.loss, "config": t.config} for t, w in chosen]
    return report.render(evidence.task, evidence.card, evidence.verdict, members, pictures, evidence.findings, lang)


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
