"""Figures of how far the answers are from the truth: values of regression, and the error along the answer."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from serving.distribution import happened
from training import honesty
from training.figures import style
from training.figures.seen import Scene


def predicted_and_true(scene: Scene) -> Figure:
    """True against predicted value, as a density."""
    holdout = scene.seen.holdout
    figure, axes = style.figure(scene.title("predicted_and_true"), scene.in_unit("predicted"), scene.in_unit("true"))
    size = int(np.clip(np.sqrt(len(holdout.target)) / 1.5, 12, 45))
    axes.hexbin(holdout.value, holdout.target, gridsize=size, mincnt=1, bins="log", cmap="Blues", linewidths=0.2)
    ends = [
        float(min(holdout.value.min(), holdout.target.min())),
        float(max(holdout.value.max(), holdout.target.max())),
    ]
    axes.plot(ends, ends, color=style.RED, linewidth=1.2)
    axes.set_xlim(*_around(holdout.value))
    axes.set_ylim(*_around(holdout.target))
    return figure


def _around(values: np.ndarray) -> tuple[float, float]:
    margin = 0.04 * float(np.ptp(values)) or 1.0
    return float(values.min()) - margin, float(values.max()) + margin


def residuals(scene: Scene) -> Figure:
    """The distribution of true minus predicted, with the middle 90 % shaded; the outermost 0.2 % are cut off."""
    holdout = scene.seen.holdout
    error = holdout.target - holdout.value
    figure, axes = style.figure(scene.title("residuals"), scene.in_unit("error"), scene.word("cases"))
    ends = np.quantile(error, [0.001, 0.999])
    low, high = np.quantile(error, [0.05, 0.95])
    axes.axvspan(low, high, color=style.PALE, zorder=0)
    axes.hist(error, bins=int(np.clip(np.sqrt(len(error)), 15, 60)), range=tuple(ends), color=style.BLUE, alpha=0.85)
    axes.axvline(0, color=style.RED, linewidth=1.2)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    for at, side in ((low, "right"), (high, "left")):
        axes.annotate(f"{at:+.{scene.task.target.digits}f}", (at, 1), xycoords=("data", "axes fraction"),
                      xytext=(-4 if side == "right" else 4, -4), textcoords="offset points", ha=side, va="top",
                      fontsize=9)  # fmt: skip
    return figure


def events(scene: Scene) -> Figure:
    """How often each event came true, by the chance that was given for it; with 95 % bands."""
    holdout = scene.seen.holdout
    figure, axes = style.figure(scene.title("events"), scene.word("chance"), scene.word("came_true"))
    highest = 0.0
    for place, event in enumerate(scene.task.answers.events):
        chance, true = holdout.chance(event.name), happened(event, holdout.target)
        given, came, _, _ = style.reliability(
            axes, honesty.reliability(true, chance, holdout.weight), color=style.SERIES[place % 6],
            fmt=f"{style.MARKS[place % 6]}-", elinewidth=0.8, capsize=2,
            label=style.wrapped(event.label[scene.lang], 40),
        )  # fmt: skip
        highest = max(highest, float(given.max()), float(came.max()))
    top = min(highest * 1.12, 1.02)
    axes.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top))
    style.per_cent(axes.xaxis)
    style.per_cent(axes.yaxis)
    axes.legend(loc="upper left")
    return figure


def error_by_decile(scene: Scene) -> Figure:
    """Above: truth minus answer in each part, with its band; below: its loss."""
    deciles, regression = scene.seen.card["deciles"], scene.task.kind == "regression"
    metric = "log_loss" if scene.metric == "auc" else scene.metric
    answer = {"regression": "predicted", "binary": "chance", "multiclass": "confidence"}[scene.task.kind]
    x_label = scene.in_unit(answer) if regression else scene.word(answer)
    y_label = scene.in_unit("observed_less") if regression else scene.word("observed_less")
    figure, upper, lower = style.stacked(
        scene.title("error_by_decile"), x_label, (y_label, scene.measure(metric)), ratio=(3, 2)
    )
    parts = {key: np.array([row[key] for row in deciles]) for key in ("predicted", "observed", "low", "high", "loss")}
    upper.axhline(0, color=style.RED, linewidth=1.2)
    style.band(upper, parts["predicted"], parts["observed"] - parts["predicted"], parts["low"], parts["high"], False)
    lower.vlines(parts["predicted"], 0, parts["loss"], color=style.BLUE, linewidth=7)
    lower.set_ylim(0, float(parts["loss"].max()) * 1.12 or 1.0)
    for axes in (upper, lower):
        axes.yaxis.set_major_locator(MaxNLocator(5))
    if not regression:
        style.per_cent(lower.xaxis)
        style.per_cent(upper.yaxis)
    figure.align_ylabels()
    return figure
