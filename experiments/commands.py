"""What the launcher does where training is installed; each function gives a document and what a person reads."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from experiments import catalog
from experiments import score as scoring
from experiments.sample import sample as make_sample
from feature_store import check as checks
from feature_store import offline
from feature_store.errors import GancaoError, Usage
from feature_store.settings import Settings
from feature_store.task import Budget
from training import rivals
from training.track import open_registry
from training.train import Trained
from training.train import train as run_training

Outcome = tuple[dict[str, Any], RenderableType]
"""The document of --json, and what a person sees instead."""


class Refused(GancaoError):
    """A refusal that still has a document: exit code 1 with the document on standard output."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__("refused")


def check(name: str, settings: Settings) -> Outcome:
    """Every problem of the table. Raises Refused when there are errors."""
    task = catalog.load(name, settings)
    table = offline.fetch(task, settings.data).table
    findings = checks.check(task, table)
    errors = sum(finding.severity == "error" for finding in findings)
    document = {
        "task": task.task,
        "rows": table.num_rows,
        "columns": table.num_columns,
        "errors": errors,
        "findings": [{**asdict(finding), "rows": list(finding.rows)} for finding in findings],
    }
    colours = {"error": "red", "warning": "yellow"}
    lines = [Text(str(finding), style=colours[finding.severity]) for finding in findings]
    shown = Group(*lines, f"{task.task}: {table.num_rows} rows, {len(findings)} findings, {errors} of them errors.")
    outcome = (document, shown)
    if errors:
        raise Refused(outcome)
    return outcome


def train(
    name: str, settings: Settings, budget: str | None, engine: str, seed: int, resume: str | None, promote: bool
) -> Outcome:
    """Train and register. Raises Refused when --promote was asked and the verdict says no."""
    if engine != "local":
        raise Usage(f"There is no engine {engine!r} yet. Use --engine local.")
    task = catalog.load(name, settings)
    trained = run_training(task, settings, read_budget(budget), seed, resume, promote)
    outcome = (trained.to_json(), in_words(trained, promote))
    if promote and not trained.promoted:
        raise Refused(outcome)
    return outcome


def read_budget(words: str | None) -> Budget | None:
    if words is None:
        return None
    try:
        return Budget.model_validate(words)
    except ValueError:
        raise Usage(f"--budget {words!r} is not a budget. Write 120s, 5m, 1h or 40trials.") from None


def in_words(trained: Trained, promote: bool) -> RenderableType:
    task, unit, digits = trained.task, trained.task.target.unit, trained.task.target.digits + 1
    table = Table(title=f"{task.task}, version {trained.version}: the same holdout for all")
    for heading in ("", f"RMSE ({unit})", f"MAE ({unit})", "R2", "bias"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in trained.leaderboard.iterrows():
        style = "bold" if name == "gancao" else None
        table.add_row(
            str(name),
            *(f"{row[k]:.{d}f}" for k, d in (("rmse", digits), ("mae", digits), ("r2", 3), ("bias", digits))),
            style=style,
        )
    groups = Table(title=f"{task.answers.interval:.0%} interval: {trained.metrics['coverage']:.1%} covered")
    for heading in ("group", "n", "coverage", f"width ({unit})", f"MAE ({unit})"):
        groups.add_column(heading, justify="left" if heading == "group" else "right")
    for name, facts in trained.groups.items():
        groups.add_row(
            name,
            f"{facts['n']}",
            f"{facts['coverage']:.1%}",
            f"{facts['mean_width']:.{digits - 1}f}",
            f"{facts['mae']:.{digits}f}",
        )
    verdict = f"Verdict: {trained.verdict.decision} ({'; '.join(trained.verdict.reasons)})."
    if trained.promoted:
        after = "It is the champion now; a running server answers with it within seconds."
    elif promote:
        after = f"It was not promoted. To do it all the same: gancao promote {task.task} {trained.version} --force"
    else:
        after = f"Promote it with: gancao promote {task.task} {trained.version}"
    return Group(
        table, groups, verdict, after, f"{trained.seconds:.0f} s, run {trained.run}, MLflow run {trained.run_id}"
    )


def score(name: str, source: str, out: Path, version: str | None, settings: Settings) -> Outcome:
    """Answer a file of fields; progress goes to standard error."""
    task = catalog.load(name, settings)
    console = Console(file=sys.stderr)
    with ProgressBar(console=console, disable=not console.is_terminal) as bar:
        line = bar.add_task(f"scoring {task.task}", total=None)
        document = scoring.score(
            task, settings, source, out, version, lambda done, total: bar.update(line, completed=done, total=total)
        )
    return document, f"{document['rows']} rows answered by version {document['version']}: {out}"


def versions(name: str, settings: Settings) -> Outcome:
    """All versions of a task, newest first."""
    task = catalog.load(name, settings).task
    rows = open_registry(settings).versions(task)
    table = Table(title=f"{task}: {len(rows)} versions")
    for heading in ("version", "champion", "trained (UTC)", "verdict", "data", "run"):
        table.add_column(heading)
    for row in rows:
        when = datetime.fromtimestamp(row["created_ms"] / 1000, UTC).isoformat(" ", "seconds")[:19]
        tags = row["tags"]
        data = tags.get("gancao.data_digest", "")[:12] + (
            " synthetic" if tags.get("gancao.synthetic") == "true" else ""
        )
        table.add_row(
            row["version"], "yes" if row["champion"] else "", when, tags.get("gancao.verdict", ""), data, row["run_id"]
        )
    return {"task": task, "versions": rows}, table


def compare(name: str, one: str | None, other: str | None, settings: Settings) -> Outcome:
    """Two versions on the holdout that they share, overall and by group."""
    document = rivals.compare(catalog.load(name, settings), settings, one, other)
    first, second = document["versions"]
    metric = document["metric"]
    table = Table(title=f"{document['task']}: version {first} beside {second}, paired on their holdout")
    measure = "squared error" if metric == "rmse" else "absolute error"
    for heading in ("group", "n", f"difference in mean {measure}", "interval", ""):
        table.add_column(heading, justify="left" if heading in ("group", "") else "right")
    for group, row in document["differences"].items():
        interval = f"{row['low']:.4g} to {row['high']:.4g}"
        table.add_row(group, str(row["n"]), f"{row['mean']:.4g}", interval, row["word"])
    losses = ", ".join(f"version {v}: {metric.upper()} {m[metric]:.4g}" for v, m in document["metrics"].items())
    return document, Group(table, f"{losses}. Version {document['verdict']}.")


def promote(name: str, version: str | None, force: bool, settings: Settings) -> Outcome:
    """Make a version (the newest when none is named) the champion, unless its verdict is against it."""
    task = catalog.load(name, settings).task
    registry = open_registry(settings)
    rows = registry.versions(task)
    chosen = version or (rows[0]["version"] if rows else "1")
    verdict = next((row["tags"].get("gancao.verdict") for row in rows if row["version"] == chosen), None)
    document = {"task": task, "version": chosen, "promoted": False, "verdict": verdict}
    if verdict == "reject" and not force:
        words = (
            f"Version {chosen} was rejected by its own gate, so it was not promoted. gancao promote --force does it."
        )
        raise Refused(({**document, "before": registry.champion(task)}, words))
    before = registry.promote(task, chosen)
    return (
        {**document, "promoted": True, "before": before},
        f"{task} is answered by version {chosen} now" + (f" (before: {before})." if before else "."),
    )


def rollback(name: str, settings: Settings) -> Outcome:
    """Make the champion before this one the champion again."""
    task = catalog.load(name, settings).task
    now, before = open_registry(settings).rollback(task)
    return {
        "task": task,
        "version": now,
        "before": before,
    }, f"{task} is answered by version {now} again (was {before})."


def sample(name: str, settings: Settings, rows: int, seed: int) -> Outcome:
    """Write the synthetic stand-in of a task's table."""
    path = make_sample(Path(name).stem, settings.data, rows, seed)
    words = f"Wrote {rows} synthetic rows to {path}. They are for trying out: a model of them knows nothing of births."
    return {"task": Path(name).stem, "path": str(path), "rows": rows, "synthetic": True}, words


def ui_command(settings: Settings, port: int) -> list[str]:
    """The command that shows MLflow's own pages on this machine."""
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    if settings.artifact_root is None:
        raise Usage(f"MLflow's pages are served by {settings.mlflow_uri} itself. Open that address.")
    stores = ["--backend-store-uri", settings.tracking_uri, "--default-artifact-root", settings.artifact_root]
    return [sys.executable, "-m", "mlflow", "server", *address, *stores]
