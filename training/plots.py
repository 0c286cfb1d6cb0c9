"""Plots where people would rather look than read: each function gives one matplotlib figure."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from feature_store.task import Task
from training.evaluate import Holdout, happened
from training.runlog import Trial

BLUE, GREY, RED = "#1f6f8b", "#8a9199", "#c44536"


def all_plots(
    task: Task,
    holdout: Holdout,
    groups: dict[str, dict[str, float]],
    leaderboard: dict[str, dict[str, float]],
    trials: list[Trial],
) -> dict[str, Figure]:
    """Every plot of a version, by the name of its file."""
    return {
        "leaderboard": leaderboard_bars(task, leaderboard),
        "predicted_and_true": predicted_and_true(task, holdout),
        "error_by_tenth": error_by_tenth(task, holdout),
        "coverage_by_group": coverage_by_group(task, groups),
        "events": event_reliability(task, holdout),
        "search": search_curve(task, trials),
    }


def _figure(title: str, x: str, y: str, width: float = 6.4) -> Figure:
    figure = Figure(figsize=(width, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def predicted_and_true(task: Task, holdout: Holdout) -> Figure:
    """True against predicted value, as a density."""
    unit = task.target.unit
    figure = _figure("Holdout: predicted and true", f"predicted ({unit})", f"true ({unit})")
    axes = figure.axes[0]
    axes.hexbin(holdout.value, holdout.target, gridsize=45, mincnt=1, bins="log", cmap="Blues")
    ends = [float(holdout.value.min()), float(holdout.value.max())]
    axes.plot(ends, ends, color=RED, linewidth=1)
    return figure


def error_by_tenth(task: Task, holdout: Holdout) -> Figure:
    """Mean error in each tenth of the predicted value: flat at 0 is unbiased."""
    unit = task.target.unit
    figure = _figure(
        "Holdout: error by tenth of the predicted value", f"predicted ({unit})", f"true - predicted ({unit})"
    )
    parts = np.array_split(np.argsort(holdout.value), 10)
    error = holdout.target - holdout.value
    axes = figure.axes[0]
    axes.axhline(0, color=GREY, linewidth=1)
    axes.errorbar(
        [float(holdout.value[p].mean()) for p in parts],
        [float(error[p].mean()) for p in parts],
        yerr=[1.96 * float(error[p].std()) / np.sqrt(len(p)) for p in parts],
        fmt="o",
        color=BLUE,
        capsize=3,
    )
    return figure


def coverage_by_group(task: Task, groups: dict[str, dict[str, float]]) -> Figure:
    """Share of true values inside the interval, by group, with its 95 % band."""
    level = task.answers.interval
    figure = _figure(f"Holdout: coverage of the {level:.0%} interval", "share inside", "")
    axes = figure.axes[0]
    names = list(groups)[::-1]
    share = np.array([groups[name]["coverage"] for name in names])
    band = np.array([1.96 * np.sqrt(level * (1 - level) / groups[name]["n"]) for name in names])
    axes.axvline(level, color=RED, linewidth=1)
    axes.errorbar(share, range(len(names)), xerr=band, fmt="o", color=BLUE, capsize=3)
    axes.set_yticks(range(len(names)), [f"{name} (n = {groups[name]['n']:.0f})" for name in names])
    return figure


def event_reliability(task: Task, holdout: Holdout) -> Figure:
    """How often an event came true, by the chance that was given for it."""
    figure = _figure("Holdout: chances given and what came true", "chance given", "share that came true")
    axes = figure.axes[0]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    for event in task.answers.events:
        chance, true = holdout.chance(event.name), happened(event, holdout.target)
        parts = np.array_split(np.argsort(chance), 10)
        axes.plot(
            [float(chance[p].mean()) for p in parts],
            [float(true[p].mean()) for p in parts],
            marker="o",
            label=event.label.en,
        )
    if task.answers.events:
        axes.legend(frameon=False)
    return figure


def leaderboard_bars(task: Task, leaderboard: dict[str, dict[str, float]]) -> Figure:
    """The version and the baselines, best above."""
    metric = task.search.metric
    figure = _figure(f"Holdout {metric.upper()}", f"{metric.upper()} ({task.target.unit})", "")
    axes = figure.axes[0]
    names = sorted(leaderboard, key=lambda name: leaderboard[name][metric], reverse=True)
    bars = axes.barh(
        names, [leaderboard[n][metric] for n in names], color=[BLUE if n == "gancao" else GREY for n in names]
    )
    axes.bar_label(bars, fmt="%.1f", padding=3)
    return figure


def search_curve(task: Task, trials: list[Trial]) -> Figure:
    """Loss of each trial over time, and the best so far."""
    figure = _figure("Search", "seconds", f"out-of-fold {task.search.metric.upper()} ({task.target.unit})")
    axes = figure.axes[0]
    done = sorted((t for t in trials if t.loss is not None), key=lambda trial: trial.elapsed_s)
    losses = [trial.loss or 0.0 for trial in done]
    for learner in sorted({trial.learner for trial in done}):
        mine = [trial for trial in done if trial.learner == learner]
        axes.plot([t.elapsed_s for t in mine], [t.loss or 0.0 for t in mine], "o", label=learner, markersize=4)
    axes.step([t.elapsed_s for t in done], np.minimum.accumulate(losses), where="post", color=RED, linewidth=1)
    top = float(np.quantile(losses, 0.9))
    axes.set_ylim(min(losses) * 0.998, max(top, min(losses) * 1.02))
    axes.legend(frameon=False)
    return figure
