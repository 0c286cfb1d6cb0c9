"""What the figures are drawn from, and how its names read in a language."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from feature_store.task import Task
from serving import words as serving_words
from training.curve import LearningCurve
from training.evaluate import Holdout
from training.explain import Importance, Shap
from training.figures.words import FIGURES, LABELS, METRICS, closed_up
from training.measures import IN_UNIT
from training.runlog import Trial


@dataclass(frozen=True)
class Insight:
    """What was learnt about the version besides its measures; each may be absent."""

    importance: list[Importance] = field(default_factory=list)
    shap: Shap | None = None
    curve: LearningCurve | None = None


@dataclass(frozen=True)
class Seen:
    """A finished training. card: with metrics, baselines, groups and deciles; chosen: trials with their weights."""

    task: Task
    holdout: Holdout
    card: dict[str, Any]
    trials: list[Trial]
    chosen: list[tuple[Trial, float]]
    insight: Insight = Insight()


@dataclass(frozen=True)
class Scene:
    """What was seen, in one language, with the words that a figure needs."""

    seen: Seen
    lang: str

    @property
    def task(self) -> Task:
        """The Task."""
        return self.seen.task

    @property
    def metric(self) -> str:
        """The search's metric as the card names it."""
        return self.task.search.metric

    def title(self, name: str) -> str:
        """The title of a figure."""
        return FIGURES[self.lang][name][0]

    def word(self, name: str, *inside: object) -> str:
        """A label of an axis or a legend."""
        return closed_up(LABELS[self.lang][name].format(*inside))

    def measure(self, metric: str) -> str:
        """A metric with its unit: `RMSE (g)`, `log loss`."""
        name, unit = METRICS[self.lang].get(metric, metric), self.task.target.unit
        return f"{name} ({unit})" if unit and metric in IN_UNIT else name

    def in_unit(self, name: str) -> str:
        """A label with the target's unit, where it has one."""
        unit = self.task.target.unit
        return f"{self.word(name)} ({unit})" if unit else self.word(name)

    def field(self, name: str) -> str:
        """A field's label."""
        return self.task.by_name[name].label[self.lang]

    def group(self, name: str) -> str:
        """A group in words; its name where nothing is known of it."""
        return serving_words.group(self.task, "zh" if self.lang == "zh" else "en", name)

    def classes(self) -> list[str]:
        """The labels of the target's classes in the order of the outputs."""
        labels = {choice.value: choice.label[self.lang] for choice in self.task.target.classes or ()}
        return [labels.get(word, word) for word in self.seen.holdout.classes]

    def number(self, value: float, metric: str) -> str:
        """A metric's figure with the digits that it needs: the target's own in its unit, else three decimals."""
        if metric in IN_UNIT:
            return f"{value:.{self.task.target.digits + 1}f}"
        if metric == "r2" or abs(value) >= 0.01 or value == 0:
            return f"{value:.3f}".replace("-0.000", "0.000")
        return f"{value:.2g}"
