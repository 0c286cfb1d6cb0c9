"""The relative errors of the AutoML comparison as a picture: a line a table, a dot a system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.automl_results import OWN, RIVAL, Board

COLOURS = {
    "gancao": "#c44536",
    "lightgbm": "#8a9199",
    "flaml": "#e09f3e",
    "lightautoml": "#6a994e",
    "autogluon_medium": "#9ecae1",
    "autogluon_good": "#4a90c2",
    "autogluon_best": "#12476b",
}
LEAST, MOST = 0.4, 2.0
"""Ratios beyond are drawn at the edge, as a triangle with their figure; failures as a cross on the right."""

TICKS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0)


def draw(board: Board, titles: Mapping[str, str], path: Path) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(9.6, 1.9 + 0.42 * len(board.tables)), layout="constrained", dpi=130)
    axes = figure.add_subplot()
    line = axes.axvline(1.0, color=COLOURS[RIVAL], linewidth=1.6, zorder=1, label=titles[RIVAL])
    drawn = [table for table in board.tables if not board.failures(RIVAL, table)]
    for row, table in enumerate(drawn):
        axes.axhspan(row - 0.5, row + 0.5, color="#f4f5f6" if row % 2 else "white", zorder=0)
        for place, system in enumerate(name for name in board.systems if name != RIVAL):
            height = row + (place - (len(board.systems) - 2) / 2) * 0.11
            if board.failures(system, table):
                axes.scatter([MOST], [height], s=30, marker="x", color=COLOURS[system], linewidth=1.3, zorder=4)
            else:
                _dot(axes, board, system, table, height, 1.03 + 0.045 * place)
    _furnish(axes, drawn)
    handles = [
        axes.scatter([], [], s=90 if name == OWN else 48, marker=_marker(name), color=COLOURS[name], label=titles[name])
        for name in board.systems
        if name != RIVAL
    ]
    figure.legend(
        handles=[*handles, line],
        loc="outside upper center",
        ncols=len(handles) + 1,
        frameon=False,
        fontsize=9,
        columnspacing=1.2,
        handletextpad=0.3,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _marker(system: str) -> str:
    return "D" if system == OWN else "o"


def _dot(axes: Axes, board: Board, system: str, table: str, height: float, shift: float) -> None:
    """Filled where the system is first or not told apart from the first; a line spans its splits.

    shift: by how much the figure of a ratio beyond the edge stands inwards, so that figures don't overlap.
    """
    mean, low, high = board.relative(system, table)
    colour, at = COLOURS[system], min(max(mean, LEAST), MOST)
    own = 3 if system == OWN else 2
    if len(board.seeds[table]) > 1:
        ends = [min(max(value, LEAST), MOST) for value in (low, high)]
        axes.plot(ends, [height, height], color=colour, linewidth=1, alpha=0.5, zorder=own)
    face = colour if system in board.first[table] else "white"
    marker = _marker(system) if at == mean else ">" if mean > MOST else "<"
    size = 62 if system == OWN else 34
    axes.scatter([at], [height], s=size, marker=marker, facecolor=face, edgecolor=colour, linewidth=1.3, zorder=own + 2)
    if at != mean:
        side, by = ("right", 1 / shift) if mean > MOST else ("left", shift)
        axes.text(at * by, height, f"{mean:.2g}", ha=side, va="center", fontsize=7, color=colour)


def _furnish(axes: Axes, tables: list[str]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(LEAST * 0.97, MOST * 1.03)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(len(tables) - 0.5, -0.5)
    axes.set_yticks(range(len(tables)), [table.replace("_", " ") for table in tables])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(
        "test error over that of LightGBM defaults (left is better; "
        "filled: first, or not told apart from the first; x: failed)"
    )
