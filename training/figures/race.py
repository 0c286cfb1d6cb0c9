"""Figures of the search: who won, what was tried, and what the ensemble is made of."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from training.figures import style
from training.figures.seen import Scene
from training.figures.words import closed_up, rival
from training.measures import HIGHER_IS_BETTER
from training.runlog import Trial

_LEARNERS = ("lightgbm", "xgboost", "catboost", "mlp", "linear")


def leaderboard(scene: Scene) -> Figure:
    """The version and the baselines, best above."""
    metric = scene.metric
    table = {"gancao": scene.seen.card["metrics"], **scene.seen.card["baselines"]}
    names = sorted(table, key=lambda name: table[name][metric], reverse=metric in HIGHER_IS_BETTER)
    figure, axes = style.rows(
        scene.title("leaderboard"), scene.measure(metric), [rival(name, scene.lang) for name in names]
    )
    ours = table["gancao"][metric]
    values = [table[name][metric] for name in names]
    axes.barh(range(len(names)), values, height=0.62, color=[style.BLUE if n == "gancao" else "#c3cad0" for n in names])
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        off = "" if name == "gancao" or not ours else f"  ({value / ours - 1:+.1%})"
        axes.annotate(f"{scene.number(value, metric)}{off}", (value, place), xytext=(5, 0), textcoords="offset points",
                      va="center", fontsize=9)  # fmt: skip
    axes.set_xlim(0, max(values) * 1.32)
    return figure


def search(scene: Scene) -> Figure:
    """Loss of each trial over time, coloured by learner, and the best so far; the tail of bad trials is cut off."""
    done = sorted((t for t in scene.seen.trials if t.loss is not None), key=lambda trial: trial.elapsed_s)
    losses = np.array([trial.loss for trial in done], dtype=float)
    name = "1 − AUC" if scene.metric == "auc" else scene.measure(scene.metric)
    figure, axes = style.figure(
        scene.title("search"), scene.word("seconds"), closed_up(f"{scene.word('out_of_fold')} {name}")
    )
    handles = []
    for learner in sorted({trial.learner for trial in done}):
        colour = colour_of(learner)
        for origin in sorted({trial.origin for trial in done}):
            mine = [t for t in done if (t.learner, t.origin) == (learner, origin)]
            places, losses_of = [t.elapsed_s for t in mine], [t.loss or 0.0 for t in mine]
            axes.plot(places, losses_of, _mark(origin), color=colour, markersize=5, alpha=0.85, markeredgewidth=0)
        handles.append(Line2D([], [], marker="o", color=colour, linestyle="", label=learner))
    for origin in sorted({trial.origin for trial in done}):
        words = scene.word("portfolio") if origin == "portfolio" else origin.upper() if origin == "cfo" else origin
        handles.append(Line2D([], [], marker=_mark(origin), color=style.INK, linestyle="", label=words))
    best = np.minimum.accumulate(losses)
    axes.step([t.elapsed_s for t in done], best, where="post", color=style.RED, linewidth=1.4)
    handles.append(Line2D([], [], color=style.RED, label=scene.word("best")))
    least, top = float(losses.min()), float(max(np.quantile(losses, 0.85), losses.min() * 1.02))
    axes.set_ylim(least - 0.06 * (top - least), top + 0.06 * (top - least))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4))
    return figure


def _mark(origin: str) -> str:
    return {"portfolio": "o", "cfo": "^"}.get(origin, "D")


def weights(scene: Scene) -> Figure:
    """Each member's share of the answer."""
    chosen: list[tuple[Trial, float]] = sorted(scene.seen.chosen, key=lambda pair: -pair[1])
    names = [f"{trial.learner} #{trial.number}" for trial, _ in chosen]
    figure, axes = style.rows(scene.title("weights"), scene.word("share"), names)
    shares = [weight for _, weight in chosen]
    bars = axes.barh(range(len(chosen)), shares, height=0.62, color=[colour_of(trial.learner) for trial, _ in chosen])
    axes.bar_label(bars, [f"{share:.0%}" for share in shares], padding=4, fontsize=9)
    axes.set_xlim(0, max(shares) * 1.15)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    return figure


def colour_of(learner: str) -> str:
    """A learner's colour, the same in every figure."""
    return style.SERIES[_LEARNERS.index(learner)] if learner in _LEARNERS else style.GREY
