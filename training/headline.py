"""The answer in words: is it good, against what, how sure, would more data help, what drives it, for whom weaker."""

from __future__ import annotations

from typing import Any

import numpy as np

from training import measures
from training.figures.seen import Scene
from training.figures.words import METRICS, closed_up, rival
from training.gate import Verdict
from training.headline_words import HEADLINES

QUESTIONS = ("good", "compared", "sure", "data", "drives", "weaker")

MOST_NAMED = 3
LEAST_ROWS = 30
HARDLY, A_LITTLE = 0.005, 0.02
"""Shares of the loss: below the first, nobody would collect twice the rows; below the second, few would."""


def headline(scene: Scene, verdict: Verdict) -> list[tuple[str, str]]:
    """The six questions with their answers, in the language of the scene."""
    words = HEADLINES[scene.lang]
    answers = {
        "good": _good(scene, words),
        "compared": _compared(scene, verdict, words),
        "sure": _sure(scene, words),
        "data": _data(scene, words),
        "drives": _drives(scene, words),
        "weaker": _weaker(scene, words),
    }
    return [(words[f"{name}?"], closed_up(answers[name])) for name in QUESTIONS]


def per_cent(share: float) -> str:
    """0.9034 as `90.3 %` (with a no-break space), small shares with two digits that matter."""
    digits = 1 if abs(share) >= 0.01 or share == 0 else 2
    return f"{100 * share:.{digits}f}\u00a0%"


def in_unit(scene: Scene, value: float, metric: str) -> str:
    """A figure with the target's unit behind it, where the measure has one."""
    unit = scene.task.target.unit if metric in measures.IN_UNIT else ""
    return f"{scene.number(value, metric)}\u00a0{unit}" if unit else scene.number(value, metric)


def name_of(scene: Scene) -> str:
    """The search's metric in words."""
    return METRICS[scene.lang][scene.metric]


def _good(scene: Scene, words: dict[str, str]) -> str:
    measured, holdout, metric = scene.seen.card["metrics"], scene.seen.holdout, scene.metric
    low, high = measures.band(metric, holdout.target, holdout.predicted, holdout.weight)
    facts: dict[str, Any] = {
        "metric": name_of(scene),
        "ours": in_unit(scene, measured[metric], metric),
        "low": scene.number(low, metric),
        "high": scene.number(high, metric),
    }
    if scene.task.kind == "regression":
        facts |= {"mae": in_unit(scene, measured["mae"], "mae"), "r2": per_cent(max(measured["r2"], 0.0))}
    elif scene.task.kind == "binary":
        facts |= {"auc": per_cent(measured["auc"]), "positive": scene.classes()[-1]}
    else:
        counts = np.bincount(holdout.target.astype(np.int64), weights=holdout.weight)
        facts |= {"accuracy": per_cent(measured["accuracy"]), "common": per_cent(float(counts.max() / counts.sum()))}
    return words[f"good_{scene.task.kind}"].format(**facts)


def _compared(scene: Scene, verdict: Verdict, words: dict[str, str]) -> str:
    metric, baselines = scene.metric, scene.seen.card["baselines"]
    if not baselines:
        return words["none_compared"]
    side = -1 if metric in measures.HIGHER_IS_BETTER else 1
    best = min(baselines, key=lambda name: side * baselines[name][metric])
    ours, theirs = scene.seen.card["metrics"][metric], baselines[best][metric]
    found = next((word for word in ("better than", "worse than", "not told apart from")
                  if f"{word} {best}" in verdict.reasons), "")  # fmt: skip
    return words["compared"].format(
        rival=rival(best, scene.lang),
        metric=name_of(scene),
        share=per_cent(abs(ours / theirs - 1) if theirs else 0.0),
        direction=words["lower" if ours < theirs else "higher"],
        chance=words[found] if found else "",
    )


def _sure(scene: Scene, words: dict[str, str]) -> str:
    measured, kind = scene.seen.card["metrics"], scene.task.kind
    facts = {"level": f"{scene.task.answers.interval:.0%}".replace("%", "\u00a0%"), "n": len(scene.seen.holdout.target)}
    facts["coverage"] = per_cent(measured["coverage" if kind == "regression" else "set_coverage"])
    if kind == "regression":
        return words["sure_regression"].format(**facts, width=in_unit(scene, measured["mean_width"], "mean_width"))
    facts |= {"ece": per_cent(measured["ece"]), "noise": per_cent(measured["ece_by_chance"])}
    if kind == "binary":
        shares = {key: per_cent(measured[key]) for key in ("mean_chance", "base_rate")}
        return words["sure_binary"].format(**facts, **shares)
    return words["sure_multiclass"].format(**facts, size=f"{measured['mean_set_size']:.1f}")


def _data(scene: Scene, words: dict[str, str]) -> str:
    curve = scene.seen.insight.curve
    if curve is None:
        return words["data_unknown"]
    clear = "data_clear" if curve.gain >= A_LITTLE else "data_little"
    name = "data_no" if curve.gain < HARDLY else clear if curve.clear else "data_unclear"
    metric = "1 − AUC" if scene.metric == "auc" else name_of(scene)
    return words[name].format(metric=metric, gain=per_cent(curve.gain))


def _drives(scene: Scene, words: dict[str, str]) -> str:
    found = scene.seen.insight.importance
    if not found:
        return words["drives_unknown"]
    real = [one for one in found if one.rise > 2 * one.spread and one.rise > 0]
    if not real:
        return words["drives_nothing"]
    names = [_quoted(scene, one.field) for one in real[: 1 + MOST_NAMED]]
    more = words["drives_more"].format(fields=listed(names[1:], scene.lang)) if names[1:] else ""
    direction = words["lower" if scene.metric == "auc" else "higher"]
    rise = in_unit(scene, real[0].rise, scene.metric)
    return words["drives"].format(first=names[0], more=more, metric=name_of(scene), rise=rise, direction=direction)


def _quoted(scene: Scene, field: str) -> str:
    return f"“{scene.field(field)}”"


def listed(names: list[str], lang: str) -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    if lang == "zh":
        return "、".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def weaker_groups(scene: Scene) -> list[str]:
    """Groups whose band of the search's metric lies wholly on the worse side of the figure of all; worst first.

    Of LEAST_ROWS or more: the band of a smaller one is too rough to judge by.
    """
    metric, overall = scene.metric, scene.seen.card["metrics"][scene.metric]
    higher = metric in measures.HIGHER_IS_BETTER
    rows = {name: row for name, row in _judged(scene).items() if "low" in row and metric in row}
    weak = [name for name, row in rows.items() if (row["high"] < overall if higher else row["low"] > overall)]
    return sorted(weak, key=lambda name: rows[name][metric] * (1 if higher else -1))


def uncovered_groups(scene: Scene) -> list[str]:
    """Groups of LEAST_ROWS whose coverage falls short of the level by more than chance (95 %, normal approximation)."""
    level, key = scene.task.answers.interval, "coverage" if scene.task.kind == "regression" else "set_coverage"
    return [
        name
        for name, row in _judged(scene).items()
        if row[key] < level - 1.96 * np.sqrt(level * (1 - level) / row["n"])
    ]


def _judged(scene: Scene) -> dict[str, dict[str, float]]:
    return {name: row for name, row in scene.seen.card["groups"].items() if row["n"] >= LEAST_ROWS}


def _weaker(scene: Scene, words: dict[str, str]) -> str:
    rows, metric = scene.seen.card["groups"], scene.metric
    if not rows:
        return words["weaker_undeclared"]
    weak, short = weaker_groups(scene)[:MOST_NAMED], uncovered_groups(scene)[:MOST_NAMED]
    told = words["weaker_none"]
    if weak:
        each = [
            words["weaker_one"].format(
                group=scene.group(name), metric=name_of(scene), value=in_unit(scene, rows[name][metric], metric)
            )
            for name in weak
        ]
        overall = in_unit(scene, scene.seen.card["metrics"][metric], metric)
        told = words["weaker"].format(groups=("；" if scene.lang == "zh" else "; ").join(each), all=overall)
    if short:
        key = "coverage" if scene.task.kind == "regression" else "set_coverage"
        each = [words["covered_one"].format(group=scene.group(n), coverage=per_cent(rows[n][key])) for n in short]
        level = f"{scene.task.answers.interval:.0%}".replace("%", "\u00a0%")
        told += words["weaker_covered"].format(level=level, groups=listed(each, scene.lang))
    return told
