"""Figures of what drives the answers, and of what more data would bring."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from training.explain import Shap
from training.figures import style
from training.figures.seen import Scene

MOST_FIELDS = 15
_LOW_TO_HIGH = LinearSegmentedColormap.from_list("low_to_high", [style.SKY, "#9aa5ad", style.RED])


def importance(scene: Scene) -> Figure:
    """Rise of the metric without each field, the greatest first."""
    found = scene.seen.insight.importance[:MOST_FIELDS]
    label = scene.word("fall" if scene.metric == "auc" else "rise", scene.measure(scene.metric))
    figure, axes = style.rows(scene.title("importance"), label, [scene.field(one.field) for one in found])
    rises, spread = np.array([one.rise for one in found]), np.array([one.spread for one in found])
    axes.barh(range(len(found)), rises, xerr=spread, color=style.BLUE, height=0.62, ecolor=style.INK,
              error_kw={"elinewidth": 1, "capsize": 2})  # fmt: skip
    axes.axvline(0, color=style.GREY, linewidth=1)
    return figure


def shap(scene: Scene) -> Figure:
    """A dot a case for one output; for several classes the mean size of the effect on each, stacked."""
    shown = scene.seen.insight.shap
    assert shown is not None
    order = np.argsort(-shown.strength, kind="stable")[:MOST_FIELDS]
    names = [scene.field(scene.task.fields[column].name) for column in order]
    told = "" if shown.share >= 0.995 else "\n" + scene.word("explained", f"{shown.share:.0%}")
    figure, axes = style.rows(scene.title("shap"), _scale(scene, shown) + told, names)
    if shown.values.shape[2] > 1:
        _stacked(scene, axes, shown, order)
    else:
        _swarm(axes, shown, order)
        bar = figure.colorbar(ScalarMappable(cmap=_LOW_TO_HIGH), ax=axes, aspect=30, pad=0.02, ticks=[0, 1])
        bar.ax.set_yticklabels([scene.word("low"), scene.word("high")])
        bar.set_label(scene.word("value"), labelpad=-8)
        bar.outline.set_visible(False)
    return figure


def _scale(scene: Scene, shown: Shap) -> str:
    if shown.link == "identity":
        return scene.word("adds", scene.task.target.unit) if scene.task.target.unit else scene.word("adds", "–")
    return scene.word({"exp": "adds_log", "sigmoid": "adds_odds", "softmax": "adds_score"}[shown.link])


def _swarm(axes: Axes, shown: Shap, order: np.ndarray) -> None:
    random = np.random.default_rng(0)
    axes.axvline(0, color=style.GREY, linewidth=1)
    for place, column in enumerate(order):
        values, level = shown.values[:, column, 0], _level(shown.matrix[:, column])
        counts, edges = np.histogram(values, bins=60)
        crowd = counts[np.clip(np.digitize(values, edges) - 1, 0, 59)] / max(counts.max(), 1)
        at = place + crowd * random.uniform(-0.38, 0.38, len(values))
        known = ~np.isnan(level)
        axes.scatter(values[~known], at[~known], s=5, color="#c9ced2", linewidths=0)
        axes.scatter(values[known], at[known], s=5, c=level[known], cmap=_LOW_TO_HIGH, vmin=0, vmax=1, linewidths=0)


def _level(column: np.ndarray) -> np.ndarray:
    """Each value's place between the column's 5 % and 95 % quantiles, 0 to 1; NaN where it is missing."""
    if np.isnan(column).all():
        return np.full(len(column), np.nan)
    low, high = np.nanquantile(column, [0.05, 0.95])
    if high == low:
        low, high = float(np.nanmin(column)), float(np.nanmax(column))
    return np.asarray(np.clip((column - low) / ((high - low) or 1.0), 0, 1))


def _stacked(scene: Scene, axes: Axes, shown: Shap, order: np.ndarray) -> None:
    sizes = np.abs(shown.values).mean(axis=0)[order]
    names = scene.classes()
    common = np.argsort(-sizes.sum(axis=0), kind="stable")
    left = np.zeros(len(order))
    for place, output in enumerate(common[:6]):
        axes.barh(range(len(order)), sizes[:, output], left=left, height=0.62, color=style.SERIES[place],
                  edgecolor="white", linewidth=0.5, label=style.wrapped(names[output], 24))  # fmt: skip
        left += sizes[:, output]
    if len(common) > 6:
        rest = sizes[:, common[6:]].sum(axis=1)
        axes.barh(range(len(order)), rest, left=left, height=0.62, color=style.GREY, label=scene.word("other"))
    axes.legend(loc="lower right")


def learning_curve(scene: Scene) -> Figure:
    """The loss on ever more rows with its standard error, and the fitted power law on to twice the rows."""
    curve = scene.seen.insight.curve
    assert curve is not None
    y = scene.measure(scene.metric) if scene.metric != "auc" else "1 − AUC"
    figure, axes = style.figure(scene.title("learning_curve"), scene.word("rows"), y)
    rows = np.array([point.rows for point in curve.points], dtype=float)
    ahead = np.geomspace(rows[0], 2 * max(curve.rows, rows[-1]), 60)
    axes.plot(ahead, [curve.at(count) for count in ahead], color=style.GREY, linestyle="--", linewidth=1.2)
    axes.errorbar(rows, [point.loss for point in curve.points], yerr=[point.spread for point in curve.points], fmt="o-",
                  color=style.BLUE, capsize=3, markersize=5, linewidth=1.4)  # fmt: skip
    twice = 2.0 * curve.rows
    axes.plot([twice], [curve.at(twice)], "o", markerfacecolor="white", color=style.RED, markersize=7)
    axes.annotate(scene.word("twice"), (twice, curve.at(twice)), xytext=(0, 10), textcoords="offset points",
                  ha="right", fontsize=9)  # fmt: skip
    axes.set_xscale("log")
    ticks = [*rows, twice] if twice > 1.5 * rows[-1] else list(rows)
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", "\u2009")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.06, y=0.15)
    return figure
