"""Champion and challenger from the shell: who answers in the shadow, and who was better on what came true."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from experiments import catalog
from feature_store.settings import Settings
from training import compare_plot
from training import live as outcomes
from training.track import open_registry


def challenge(name: str, version: str | None, wanted: bool, settings: Settings) -> tuple[dict[str, Any], str]:
    """Let a version (the newest when none is named) answer in the shadow of the champion; or, not wanted, none.

    Raises UnknownVersion.
    """
    task = catalog.load(name, settings).task
    registry = open_registry(settings)
    if wanted and version is None:
        version = next((row["version"] for row in registry.versions(task)), "1")
    version = version if wanted else None
    before = registry.challenge(task, version)
    document = {"task": task, "challenger": version, "before": before}
    if version is None:
        return document, f"{task} has no challenger now" + (f" (before: {before})." if before else ".")
    words = f"Version {version} of {task} answers in the shadow now. In some time: gancao compare {task} --live"
    return document, words


def compare(name: str, one: str | None, other: str | None, settings: Settings) -> tuple[dict[str, Any], RenderableType]:
    """Two versions on outcomes alone; by default the latest challenger and what it answered beside."""
    document = outcomes.compare(catalog.load(name, settings), settings.journal_place, settings.shadows, one, other)
    return document, in_words(document)


def in_words(document: dict[str, Any]) -> RenderableType:
    """What a person reads of two versions on what came true."""
    if document["reason"]:
        return f"On outcomes: {document['reason']}"
    first, second = document["versions"]
    told, unit = document["coverage"], f" {document['unit']}" if document["unit"] else ""
    held = ", ".join(
        f"version {version}: {told[version]['value']:.1%} inside, {told[version]['mean_width']:.4g}{unit} wide"
        for version in (first, second)
    )
    gap = told["difference"]
    words = (
        f"At {told['level']:.0%}, {held}; {100 * gap['value']:+.2g} points ({100 * gap['low']:.2g} to "
        f"{100 * gap['high']:.2g}). On {document['n']} outcomes version {document['verdict']}."
    )
    return Group(differences(document, "paired on what came true"), words)


def differences(document: dict[str, Any], where: str) -> Table:
    """By group, how much the loss of the first version exceeds the second's; where: in the title."""
    first, second = document["versions"]
    metric, unit = compare_plot.loss_name(document["metric"]), f" ({document['unit']})" if document["unit"] else ""
    table = Table(title=f"{document['task']}: version {first} beside {second}, {where}")
    for heading in ("group", "n", f"difference in {metric}{unit}", "interval", ""):
        table.add_column(heading, justify="left" if heading in ("group", "") else "right")
    for group, row in document["differences"].items():
        interval = f"{row['low']:.4g} to {row['high']:.4g}"
        table.add_row(group, str(row["n"]), f"{row['mean']:.4g}", interval, row["word"])
    return table
