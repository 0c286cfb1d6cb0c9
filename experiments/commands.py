"""What the launcher does where training is installed; each function gives a document and what a person reads."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from experiments import catalog
from experiments import live as on_outcomes
from experiments import outcomes as returning
from experiments import score as scoring
from experiments.refused import Outcome, Refused
from experiments.sample import sample as make_sample
from feature_store import check as checks
from feature_store import offline
from feature_store.errors import Usage
from feature_store.finding import Finding
from feature_store.settings import Settings
from feature_store.task import Budget, Task
from training import compare_plot, leakage, live, rivals, splits
from training.evaluate import GROUP_METRICS
from training.figures.words import METRICS
from training.measures import COLUMNS, IN_UNIT, SHARES
from training.track import open_registry
from training.train import Trained
from training.train import train as run_training


def check(name: str, settings: Settings) -> Outcome:
    """Every problem of the table. Raises Refused when there are errors."""
    task = catalog.load(name, settings)
    source = offline.fetch(task, settings.data)
    table, findings = source.table, checks.check(task, source.table)
    if not any(finding.severity == "error" for finding in findings):
        findings += _leaks(task, source)
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


def _leaks(task: Task, source: offline.Source) -> list[Finding]:
    """What the leakage gate of a training would say of the table."""
    split = splits.of(task, source, 0)
    found = leakage.find(task, split.train, split.holdout, leakage.sides(task, split.train, split.holdout))
    return [
        Finding(leak.field, leak.check, "warning" if leak.waived else "error", len(split.train), (), leak.message,
                leak.remedy)
        for leak in found
    ]  # fmt: skip


def train(
    name: str, settings: Settings, budget: str | None, engine: str, seed: int, resume: str | None, promote: bool
) -> Outcome:
    """Train and register. Raises Refused when --promote was asked and the verdict says no."""
    task = catalog.load(name, settings)
    trained = run_training(task, settings, read_budget(budget), seed, resume, promote, engine)
    outcome = (trained.to_json(), in_words(trained))
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


def in_words(trained: Trained) -> RenderableType:
    """What a person reads at the end of a training, for every kind of target."""
    task = trained.task
    verdict = f"Verdict: {trained.verdict.decision} ({'; '.join(trained.verdict.reasons)})."
    decision, words = trained.verdict.decision, f"gancao promote {task.task} {trained.version}"
    if trained.promoted:
        after = "It is the champion now; a running server answers with it within seconds."
    elif decision == "promote":
        after = f"Promote it with: {words}"
    else:
        doubt = "worse than what it must beat" if decision == "reject" else "not shown to be better"
        force = " --force" if decision == "reject" else ""
        after = f"It was not promoted: it is {doubt}. Read its report; to promote it all the same: {words}{force}"
    groups = [_groups_in_words(trained)] if trained.groups else []
    last = f"{trained.seconds:.0f} s, run {trained.run}, MLflow run {trained.run_id}"
    return Group(_leaderboard_in_words(trained), _promise(trained), *groups, verdict, after, last)


def _leaderboard_in_words(trained: Trained) -> Table:
    task = trained.task
    title = f"{task.task}, version {trained.version}: the same holdout for all"
    table = Table(title=title, caption=f"in the order of {METRICS['en'][task.search.metric]}")
    columns = COLUMNS[task.kind]
    for heading in ("", *(_heading(task, column) for column in columns)):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in trained.leaderboard.iterrows():
        cells = (_cell(task, column, row[column]) for column in columns)
        table.add_row(str(name), *cells, style="bold" if name == "gancao" else None)
    return table


def _promise(trained: Trained) -> str:
    """How the interval or the set of classes held on the holdout."""
    level, measured = f"{trained.task.answers.interval:.0%}", trained.metrics
    if trained.task.kind == "regression":
        return f"{level} interval: {measured['coverage']:.1%} covered."
    size = f"{measured['mean_set_size']:.2f} classes in it on average"
    return f"{level} set of classes: {measured['set_coverage']:.1%} covered, {size}."


def _groups_in_words(trained: Trained) -> Table:
    task = trained.task
    columns = ("n", *(column for column in GROUP_METRICS[task.kind] if column not in ("brier", "mean_set_size")))
    table = Table(title="By group")
    for heading in ("group", *(_heading(task, column) for column in columns)):
        table.add_column(heading, justify="left" if heading == "group" else "right")
    for name, facts in trained.groups.items():
        table.add_row(name, *(_cell(task, column, facts.get(column)) for column in columns))
    return table


def _heading(task: Task, metric: str) -> str:
    unit = f" ({task.target.unit})" if task.target.unit and metric in IN_UNIT else ""
    return METRICS["en"][metric] + unit


def _cell(task: Task, metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    if metric == "n":
        return f"{value:.0f}"
    if metric in SHARES:
        return f"{value:.1%}"
    return f"{value:.{task.target.digits + 1 if metric in IN_UNIT else 3}f}"


def score(name: str, source: str, out: Path, version: str | None, resume: bool, settings: Settings) -> Outcome:
    """Answer a file of fields; progress goes to standard error.

    Raises Refused when a row was; the others are answered all the same.
    """
    task = catalog.load(name, settings)
    console = Console(file=sys.stderr)
    with ProgressBar(console=console, disable=not console.is_terminal) as bar:
        line = bar.add_task(f"scoring {task.task}", total=None)
        document = scoring.score(
            task,
            settings,
            source,
            out,
            version,
            lambda done, total: bar.update(line, completed=done, total=total),
            resume,
        )
    refused = document["refused"]
    words = f"{document['rows'] - refused} rows answered by version {document['version']}: {out}"
    if not refused:
        return document, words
    told = [f"  row {one['row']}, {one['field']}: {one['message']}" for one in document["errors"][:SHOWN_REFUSALS]]
    if refused > len({one["row"] for one in document["errors"][:SHOWN_REFUSALS]}):
        told.append("  and more; the column `error` tells of each.")
    raise Refused((document, Group(words, f"{refused} rows refused:", *(Text(line) for line in told))))


SHOWN_REFUSALS = 20
"""Refused rows or outcomes that a person is shown."""


def outcomes(name: str, source: Path, settings: Settings) -> Outcome:
    """Keep a file of what came true. Raises Refused when a row was; the others are kept all the same."""
    task = catalog.load(name, settings)
    console = Console(file=sys.stderr)
    with ProgressBar(console=console, disable=not console.is_terminal) as bar:
        line = bar.add_task(f"outcomes of {task.task}", total=None)
        document = returning.keep(
            task, settings, source, lambda done, total: bar.update(line, completed=done, total=total)
        )
    refusals = document["refusals"]
    lines = [f"  row {one['row']}: {one['message']}" for one in refusals[:SHOWN_REFUSALS]]
    if len(refusals) > SHOWN_REFUSALS:
        lines.append(f"  and {len(refusals) - SHOWN_REFUSALS} more; --json tells all.")
    words = ", ".join(f"{document[status]} {status}" for status in ("stored", "unchanged", "corrected", "refused"))
    outcome = (document, Group(f"{task.task}: {words}.", *(Text(line) for line in lines)))
    if refusals:
        raise Refused(outcome)
    return outcome


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


def compare(name: str, one: str | None, other: str | None, settings: Settings, plot: Path | None = None) -> Outcome:
    """Two versions on the holdout that they share, overall and by group, and on outcomes where one shadowed the other.

    plot: a picture of the former, written there.
    """
    if plot is not None and plot.suffix not in PICTURES:
        raise Usage(f"--plot {plot}: {plot.suffix or 'no'} suffix is not drawn. Use {', '.join(PICTURES)}.")
    task = catalog.load(name, settings)
    document = rivals.compare(task, settings, one, other)
    first, second = document["versions"]
    document["live"] = live.compare(task, settings.journal_place, settings.shadows, first, second)
    table = on_outcomes.differences(document, "paired on their holdout")
    measured = document["metrics"].items()
    losses = ", ".join(f"version {v}: {document['metric'].upper()} {m[document['metric']]:.4g}" for v, m in measured)
    words = f"{losses}. Version {document['verdict']}."
    if plot is not None:
        compare_plot.forest(document).savefig(plot, dpi=150)
        words += f" Drawn in {plot}."
    return document, Group(table, words, on_outcomes.in_words(document["live"]))


PICTURES = (".png", ".svg", ".pdf")
"""Suffixes that `gancao compare --plot` draws to."""


def promote(name: str, version: str | None, force: bool, settings: Settings) -> Outcome:
    """Make a version (the newest when none is named) the champion, unless its verdict is `reject`.

    A challenger is a matter of judgement: a person may promote it, `train --promote` does not.
    """
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
    words = (
        f"Wrote {rows} synthetic rows to {path}. They are for trying out: a model of them knows nothing of the world."
    )
    return {"task": Path(name).stem, "path": str(path), "rows": rows, "synthetic": True}, words


def ui_command(settings: Settings, port: int) -> list[str]:
    """The command that shows MLflow's own pages on this machine."""
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    if settings.artifact_root is None:
        raise Usage(f"MLflow's pages are served by {settings.mlflow_uri} itself. Open that address.")
    stores = ["--backend-store-uri", settings.tracking_uri, "--default-artifact-root", settings.artifact_root]
    return [sys.executable, "-m", "mlflow", "server", *address, *stores]
