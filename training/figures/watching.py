"""Figures of what is watched: coverage and error over time, chances of events, drift, what is missing, the level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from feature_store.task import Task
from serving import words as serving_words
from serving.drift import MATTERS
from serving.monitor import Monitored
from serving.recall import Level
from serving.tally import Estimate
from training import monitor
from training.figures import style
from training.figures.words import METRICS
from training.monitor_words import FIGURES, WORDS

MOST_FIELDS = 40
"""Fields that are drawn: those that moved most."""

MOST_EVENTS = 6


@dataclass(frozen=True)
class View:
    """What was found, in one language. levels: the history of working levels of the version that answers."""

    found: Monitored
    levels: Sequence[Level]
    lang: str

    @property
    def task(self) -> Task:
        """The Task."""
        return self.found.task

    def word(self, name: str, *inside: object) -> str:
        """A word of the page."""
        return WORDS[self.lang][name].format(*inside)

    def title(self, name: str) -> str:
        """The title of a figure."""
        return FIGURES[self.lang][name][0]

    def field(self, name: str) -> str:
        """A field's label; its name where the Task no longer has it."""
        found = self.task.by_name.get(name)
        return name if found is None else found.label[self.lang]

    def group(self, name: str) -> str:
        """A group or cell in words."""
        return serving_words.group(self.task, "zh" if self.lang == "zh" else "en", name)

    def event(self, name: str) -> str:
        """An event's label, or a class's."""
        labels = {event.name: event.label[self.lang] for event in self.task.answers.events}
        return labels.get(name) or serving_words.of_class(self.task, "zh" if self.lang == "zh" else "en", name)

    def error(self) -> str:
        """What the error over time is, with its unit."""
        unit = self.task.target.unit
        if self.task.kind == "regression":
            return f"RMSE ({unit})" if unit else "RMSE"
        return METRICS[self.lang]["log_loss"]


def coverage(view: View) -> Figure:
    """Months as points with bands, the days up to each day as a line, and the promise."""
    figure, axes = style.figure(view.title("coverage"), "", view.word("axis_inside"))
    days = monitor.rolling(view.found.realised)
    line = np.array([one.coverage["value"] for one in days], dtype=float)
    axes.plot(_times([one.when for one in days]), line, color=style.SKY, linewidth=1.4, label=view.word("axis_days"))
    level = view.task.answers.interval
    axes.axhline(level, color=style.RED, linewidth=1.2, label=view.word("axis_promised"))
    months = monitor.months(view.found.realised)
    _points(axes, _times([f"{one.when}-15" for one in months]), [one.coverage for one in months])
    lowest = min(*(one.coverage["low"] or 1.0 for one in months), level - 0.03)
    axes.set_ylim(max(lowest - 0.02, 0.0), 1.005)
    style.per_cent(axes.yaxis)
    axes.legend(loc="lower left", ncols=2)
    _dates(axes, len(months))
    return figure


def error(view: View) -> Figure:
    """The error of each month."""
    figure, axes = style.figure(view.title("error"), "", view.error())
    months = monitor.months(view.found.realised)
    _points(axes, _times([f"{one.when}-15" for one in months]), [one.error for one in months])
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
    _dates(axes, len(months))
    return figure


def _points(axes: Axes, times: np.ndarray, found: Sequence[Estimate]) -> None:
    value = np.array([one["value"] for one in found], dtype=float)
    ends = [
        np.array([one["value"] if one[end] is None else one[end] for one in found], float) for end in ("low", "high")
    ]
    error_ = np.abs(np.array([value - ends[0], ends[1] - value]))
    axes.errorbar(times, value, yerr=error_, fmt="o", color=style.BLUE, elinewidth=1.4, capsize=3, markersize=5)


def _times(days: Sequence[str]) -> np.ndarray:
    return np.array(days, dtype="datetime64[D]").astype("O") if days else np.array([])


def _dates(axes: Axes, months: int) -> None:
    if months <= 3:
        axes.margins(x=0.15)
    axes.tick_params(axis="x", rotation=30 if months > 2 else 0)


def events(view: View) -> Figure:
    """How often each event came true, by the chance that was given for it."""
    figure, axes = style.figure(view.title("events"), view.word("axis_chance"), view.word("axis_rate"))
    overall = view.found.realised.overall or {"events": {}}
    common = sorted(overall["events"].items(), key=lambda item: -item[1]["rate"]["value"])[:MOST_EVENTS]
    top = 0.02
    for place, (name, event) in enumerate(common):
        x = np.array([one["mean_chance"] for one in event["bins"]])
        y, low, high = (np.array([one["rate"][end] for one in event["bins"]]) for end in ("value", "low", "high"))
        axes.errorbar(
            x, y, yerr=np.abs(np.array([y - low, high - y])), fmt=f"{style.MARKS[place]}-", color=style.SERIES[place],
            markersize=5, linewidth=1.2, elinewidth=0.8, capsize=2, label=style.wrapped(view.event(name), 40),
        )  # fmt: skip
        top = max(top, float(x.max()), float(y.max()))
    top = min(top * 1.12, 1.02)
    axes.plot([0, top], [0, top], color=style.GREY, linewidth=1, zorder=0)
    axes.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top))
    style.per_cent(axes.xaxis)
    style.per_cent(axes.yaxis)
    axes.legend(loc="upper left")
    return figure


def groups(view: View) -> Figure:
    """Coverage of each group with its band."""
    found = view.found.realised.groups
    names = [f"{view.group(name)} (n\u00a0=\u00a0{row['n']})" for name, row in found.items()]
    figure, axes = style.rows(view.title("groups"), view.word("axis_inside"), names)
    value, low, high = (np.array([row["coverage"][end] for row in found.values()]) for end in ("value", "low", "high"))
    axes.axvline(view.task.answers.interval, color=style.RED, linewidth=1.2)
    style.band(axes, np.arange(len(found)), value, low, high, across=True)
    style.per_cent(axes.xaxis)
    return figure


def drift(view: View) -> Figure:
    """The index of each field, beside the one that matters."""
    fields = view.found.drift[view.found.now or ""][:MOST_FIELDS]
    figure, axes = style.rows(view.title("drift"), view.word("axis_index"), [view.field(one.field) for one in fields])
    colours = [style.RED if one.drifted else style.BLUE for one in fields]
    axes.barh(range(len(fields)), [one.psi for one in fields], color=colours, height=0.62)
    axes.axvline(MATTERS, color=style.GREY, linewidth=1.2, linestyle="--")
    axes.set_xlim(0, max(MATTERS * 1.3, *(one.psi * 1.05 for one in fields)))
    return figure


def missing(view: View) -> Figure:
    """What share of each field is unknown, then and now; of fields that ever were."""
    fields = [one for one in view.found.drift[view.found.now or ""] if max(one.unknown, one.unknown_before) > 0]
    fields = sorted(fields, key=lambda one: -abs(one.unknown - one.unknown_before))[:MOST_FIELDS]
    names = [view.field(one.field) for one in fields]
    figure, axes = style.rows(view.title("missing"), view.word("axis_unknown"), names)
    for place, one in enumerate(fields):
        axes.plot([one.unknown_before, one.unknown], [place, place], color=style.GREY, linewidth=1.2, zorder=1)
        axes.plot(one.unknown_before, place, "o", color="white", markeredgecolor=style.BLUE, markersize=7, zorder=2)
        axes.plot(one.unknown, place, "o", color=style.BLUE, markersize=7, zorder=3)
    axes.set_xlim(-0.02, min(max(max(one.unknown, one.unknown_before) for one in fields) * 1.15 + 0.02, 1.02))
    style.per_cent(axes.xaxis)
    then = Line2D([], [], marker="o", linestyle="", color="white", markeredgecolor=style.BLUE)
    now = Line2D([], [], marker="o", linestyle="", color=style.BLUE)
    axes.legend([then, now], [view.word("axis_then"), view.word("axis_now")], loc="lower right")
    return figure


def level(view: View) -> Figure:
    """The working level over time, its promise and its bounds."""
    figure, axes = style.figure(view.title("level"), "", view.word("axis_level"))
    times = np.array([datetime.fromtimestamp(one.at_us / 1e6, UTC) for one in view.levels], dtype=object)
    axes.step(times, [one.level for one in view.levels], where="post", color=style.BLUE, linewidth=1.2)
    promised = view.found.levels[view.found.now or ""].promised
    axes.axhline(promised, color=style.RED, linewidth=1.2)
    if view.task.answers.adaptive is not None:
        for bound in view.task.answers.adaptive.bounds(promised):
            axes.axhline(bound, color=style.GREY, linewidth=1.2, linestyle="--")
    style.per_cent(axes.yaxis)
    axes.tick_params(axis="x", rotation=30)
    return figure


def _has_outcomes(view: View) -> bool:
    return bool(view.found.realised.days)


def _has_drift(view: View) -> bool:
    return bool(view.found.drift.get(view.found.now or ""))


def _has_unknown(view: View) -> bool:
    return any(max(one.unknown, one.unknown_before) > 0 for one in view.found.drift.get(view.found.now or "", []))


_FIGURES: tuple[tuple[str, Callable[[View], Figure], Callable[[View], bool]], ...] = (
    ("coverage", coverage, _has_outcomes),
    ("error", error, _has_outcomes),
    ("events", events, lambda view: bool((view.found.realised.overall or {"events": {}})["events"])),
    ("groups", groups, lambda view: bool(view.found.realised.groups)),
    ("drift", drift, _has_drift),
    ("missing", missing, _has_unknown),
    ("level", level, lambda view: bool(view.levels)),
)
"""Name, what draws it, and whether there is something to draw; in the order of the report."""


def pictures(found: Monitored, levels: Sequence[Level], lang: str) -> dict[str, bytes]:
    """PNGs of all figures by name; without a Chinese font zh comes in English (see `training.figures.style`)."""
    view = View(found, levels, style.drawn_in(lang))
    with style.quiet():
        drawn = {name: draw(view) for name, draw, worth in _FIGURES if worth(view)}
    return {name: style.png(figure) for name, figure in drawn.items()}
