"""Figures of the declared groups: for whom the version is weaker, and whether its promise holds for them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from training.figures import style
from training.figures.seen import Scene


def error_by_group(scene: Scene) -> Figure:
    """The search's metric of each group with its band, beside that of all."""
    metric = scene.metric
    rows = {name: row for name, row in scene.seen.card["groups"].items() if "low" in row}
    figure, axes = style.rows(scene.title("error_by_group"), scene.measure(metric), _names(scene, rows))
    centre, low, high = (np.array([row[key] for row in rows.values()]) for key in (metric, "low", "high"))
    axes.axvline(scene.seen.card["metrics"][metric], color=style.RED, linewidth=1.2)
    style.band(axes, np.arange(len(rows)), centre, low, high, across=True)
    return figure


def coverage_by_group(scene: Scene) -> Figure:
    """Share of true values inside the interval or set, by group, with the band of chance around what was promised."""
    level = scene.task.answers.interval
    key = "coverage" if scene.task.kind == "regression" else "set_coverage"
    rows = scene.seen.card["groups"]
    figure, axes = style.rows(scene.title("coverage_by_group"), scene.word("inside"), _names(scene, rows))
    share = np.array([row[key] for row in rows.values()])
    chance = np.array([1.96 * np.sqrt(level * (1 - level) / row["n"]) for row in rows.values()])
    axes.axvline(level, color=style.RED, linewidth=1.2)
    style.band(axes, np.arange(len(rows)), share, share - chance, share + chance, across=True)
    axes.set_xlim(
        max(min(float((share - chance).min()), level - 0.05) - 0.01, 0), min(float((share + chance).max()) + 0.01, 1.05)
    )
    style.per_cent(axes.xaxis)
    return figure


def _names(scene: Scene, rows: dict[str, dict[str, float]]) -> list[str]:
    return [f"{scene.group(name)} (n\u00a0=\u00a0{row['n']:.0f})" for name, row in rows.items()]
