"""Watching from the shell: what became of a task's answers, whether its fields have moved, and whether to worry."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments import catalog
from experiments.moments import moment
from experiments.refused import Outcome, Refused
from feature_store.errors import BundleRefused, RegistryUnreachable, UnknownVersion, Usage
from feature_store.settings import Settings
from feature_store.task import Task
from serving import archives, cache, predictor, recall
from serving import monitor as watching
from serving.bundle import Bundle
from serving.journal import Journal
from serving.log import log
from training import monitor as over_time
from training import monitor_report, rivals
from training.figures.watching import View
from training.track import open_registry

SHOWN = 6
"""Fields and warnings that a person is shown; --json and --html have them all."""


def monitor(name: str, settings: Settings, since: str, html: Path | None) -> Outcome:
    """What is watched. Raises Refused when there is an alarm; html: where the report goes (zh beside it)."""
    task, since_us = catalog.load(name, settings), moment(since, "--since")
    if html is not None and html.suffix != ".html":
        raise Usage(f"--html {html}: the report is a page. Name a file that ends in .html.")
    found = watching.measure(
        task,
        settings.journal_place,
        bundles(task, settings, recall.versions(settings.journal_place, task.task, since_us)),
        since_us,
    )
    levels = [level for level in recall.levels(settings.journal_place, task.task) if level.version == found.now]
    document = {**found.to_json(), "months": [asdict(month) for month in over_time.months(found.realised)]}
    moved = [one for one in archives.archives(settings.journal_place) if one.before_us > since_us]
    written: list[str] = []
    if html is not None:
        for lang, page in monitor_report.pages(found, levels).items():
            path = html if lang == "en" else html.with_suffix(f".{lang}.html")
            path.write_text(page, encoding="utf-8")
            written.append(str(path))
    shown = in_words(View(found, levels, "en"), written, archives.told(settings.journal_place) if moved else "")
    outcome = ({**document, "archives": [one._asdict() for one in moved], "html": written}, shown)
    if found.reasons:
        kinds = [reason.kind for reason in found.reasons]
        fields = ",".join(reason.field for reason in found.reasons if reason.field is not None)
        log("monitor_alarm", task=task.task, version=found.now, coverage=kinds.count("coverage"), drifted=fields)
        raise Refused(outcome)
    return outcome


def reset(name: str, settings: Settings) -> Outcome:
    """Set the working level of every version back to what it promises; what it was stays in the journal."""
    task = catalog.load(name, settings)
    newest = {level.version: level.level for level in recall.levels(settings.journal_place, task.task)}
    known = bundles(task, settings, newest)
    promised = {
        version: known[version].task.answers.interval if version in known else task.answers.interval
        for version in newest
    }
    moved = {version: level for version, level in promised.items() if newest[version] != level}
    if moved:
        journal = Journal(settings.journal_place)
        try:
            asyncio.run(journal.reset_levels(task.task, moved))
        finally:
            journal.close()
    told = [f"version {version} from {newest[version]:.4g} to {level:.4g}" for version, level in moved.items()]
    words = f"The working level is set back: {', '.join(told)}." if told else "No level differs from what is promised."
    return {"task": task.task, "reset": moved, "before": {version: newest[version] for version in moved}}, words


def bundles(task: Task, settings: Settings, versions: list[str] | dict[str, float]) -> dict[str, Bundle]:
    """The bundles of versions: from the cache, else from the registry; those that neither has are absent."""
    out, registry = {}, None
    for version in versions:
        folder = cache.folder(settings.cache, task.task, version)
        try:
            if folder is not None:
                out[version] = predictor.load(folder, version).bundle
                continue
        except BundleRefused:
            pass  # the registry may have it whole
        try:
            registry = registry or open_registry(settings)
            out[version] = rivals.fetch(registry, task.task, version).bundle
        except (BundleRefused, UnknownVersion, RegistryUnreachable):
            continue  # named in the report as one of which nothing is known
    return out


def in_words(view: View, written: list[str], moved: str = "") -> RenderableType:
    """What a person reads. moved: where answers of that time are that are not counted here."""
    found, colour = view.found, "red" if view.found.reasons else "green"
    told = [Text(f"{view.word('alarm' if found.reasons else 'quiet')}.", style=f"bold {colour}")]
    told += [Text(f"- {sentence}") for sentence in monitor_report.sentences(view)]
    shown: list[RenderableType] = [Text(f"{found.task.task} · {monitor_report.since(view)}"), *told]
    counts = f"{sum(found.answers.values())} answers, {sum(found.outcomes.values())} outcomes"
    if found.delay_days is not None:
        counts += f", {found.delay_days['median']:.1f} days after them (median; 90 %: {found.delay_days['p90']:.1f})"
    shown.append(Text(" ".join([f"{counts}.", moved]).rstrip()))
    if rows := monitor_report.parts(view):
        measures = monitor_report.MEASURES[found.task.kind]
        shown.append(_table(("", "n", "inside", "95 % band", *measures), rows))
    fields = found.drift.get(found.now or "", [])[:SHOWN]
    if fields:
        cells = [[one.field, f"{one.psi:.3f}", f"{one.p:.2g}", "drifted" if one.drifted else ""] for one in fields]
        shown.append(_table(("field", "index", "by chance", ""), cells))
    shown += [Text(view.word("no_reference", version)) for version in found.unknown]
    if found.warnings:
        shown.append(
            _table(("warning", "field", "answers", "share", "in training"), monitor_report.warnings(view)[:SHOWN])
        )
    shown += [Text(f"Report: {path}") for path in written]
    return Group(*shown)


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> Table:
    table = Table()
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
