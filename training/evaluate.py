"""What a version is worth: measures on the holdout, read off the very answers that the server would send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from feature_store.decision import Promise
from feature_store.decision_coherence import DAYS
from feature_store.task import Kind, Task
from serving.distribution import GroupNames, happened
from serving.encode import Encoder
from training import losses, measures
from training.honesty import brier_parts, has_line, mean
from training.measures import point_metrics as point_metrics

GROUP_METRICS: dict[Kind, tuple[str, ...]] = {
    "regression": ("rmse", "mae", "bias", "coverage", "mean_width"),
    "binary": ("auc", "log_loss", "brier", "base_rate", "mean_chance", "set_coverage", "mean_set_size"),
    "multiclass": ("log_loss", "accuracy", "brier", "set_coverage", "mean_set_size"),
}
"""What is reported of each group, besides its `n`, the band of the search's metric and, of classes, GROUP_HONESTY."""

GROUP_HONESTY = (
    "ece", "ece_by_chance", "calibration_slope", "calibration_intercept", "brier_reliability", "brier_resolution",
    "brier_uncertainty",
)  # fmt: skip
"""Whether the chances of a group are honest; see `measures.point_metrics`."""

EVENT_HONESTY = {
    "slope": "calibration_slope", "intercept": "calibration_intercept", "ece": "ece", "ece_by_chance": "ece_by_chance",
}  # fmt: skip
"""What of `measures.honesty` is told of an event, by the end of its name."""


def predictions(classes: tuple[str, ...], answers: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(n, outputs) of answers: the value, the positive class's probability, or one probability a class.

    classes: () for regression; (negative, positive) for binary; all words of a multiclass target in their order.
    """
    if classes and answers and "probabilities" in answers[0] and "value" not in answers[0]:
        rows = [[answer["probabilities"][word] for word in classes] for answer in answers]
        return np.array(rows, dtype=float).reshape(len(answers), len(classes))
    return np.array([answer["value"] for answer in answers], dtype=float).reshape(-1, 1)


@dataclass(frozen=True)
class Holdout:
    """The holdout rows as requests, their true values or places of classes (n,), their answers, their groups' names.

    weight: (n,) how much each row counts, or None for all alike; classes: the words of a class target in their order.
    """

    rows: list[dict[str, Any]]
    target: np.ndarray
    answers: list[dict[str, Any]]
    groups: list[tuple[str, ...]]
    weight: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    @cached_property
    def predicted(self) -> np.ndarray:
        """(n, outputs) answered values or probabilities."""
        return predictions(self.classes, self.answers)

    @property
    def value(self) -> np.ndarray:
        """(n,) answered values; the positive class's probability."""
        return self.predicted[:, 0]

    @property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends, (n,) each."""
        ends = [(answer["interval"]["low"], answer["interval"]["high"]) for answer in self.answers]
        low, high = np.array(ends).reshape(-1, 2).T
        return low, high

    @cached_property
    def covered(self) -> np.ndarray:
        """(n,) whether the interval, or the set of classes, holds the truth."""
        if not self.classes:
            low, high = self.interval
            return np.asarray((low <= self.target) & (self.target <= high))
        true = [self.classes[int(place)] for place in self.target]
        return np.array([word in answer["set"] for word, answer in zip(true, self.answers, strict=True)])

    @property
    def unfamiliar(self) -> np.ndarray:
        """(n,) whether the row was marked as unlike the training rows."""
        return np.array([any(w["code"] == "unfamiliar" for w in answer.get("warnings", ())) for answer in self.answers])

    @property
    def sure(self) -> np.ndarray:
        """(n,) of classes the chance whose honesty is judged: the positive one's, or of several the predicted one's."""
        return np.asarray(self.predicted.max(axis=1))

    @property
    def right(self) -> np.ndarray:
        """(n,) whether that class came true."""
        return np.asarray(self.target == (1 if len(self.classes) == 2 else self.predicted.argmax(axis=1)))

    def chance(self, event: str) -> np.ndarray:
        """(n,) answered probabilities of an event."""
        return np.array([answer["events"][event] for answer in self.answers])

    def take(self, inside: np.ndarray) -> Holdout:
        """The rows at these places or where it is true, in their order."""
        places = np.flatnonzero(inside) if inside.dtype == bool else inside
        weight = None if self.weight is None else self.weight[places]
        rows, answers = ([part[place] for place in places] for part in (self.rows, self.answers))
        groups = [self.groups[place] for place in places]
        return Holdout(rows, self.target[places], answers, groups, weight, self.classes)


def group_names(encoder: Encoder, matrix: np.ndarray) -> list[tuple[str, ...]]:
    """For each encoded row, its name in every declared group."""
    names = GroupNames(encoder)
    return [names.of(row) for row in matrix]


def metrics(task: Task, holdout: Holdout) -> dict[str, float]:
    """Point error, the quality of intervals or sets, and of events, each in one number; see `point_metrics`.

    Besides: unfamiliar, the share of rows marked so. regression: coverage, mean_width, winkler, of each event what
    `_event` gives, behind its name, and where the Task promises what `_promises` gives. binary, multiclass:
    set_coverage, mean_set_size. binary: mean_chance.
    """
    target, weight = holdout.target, holdout.weight
    out = point_metrics(task.kind, target, holdout.predicted, weight) | {"unfamiliar": mean(holdout.unfamiliar, weight)}
    if task.kind != "regression":
        sizes = np.array([len(answer["set"]) for answer in holdout.answers])
        chance = {"mean_chance": mean(holdout.value, weight)} if task.kind == "binary" else {}
        return out | chance | {"set_coverage": mean(holdout.covered, weight), "mean_set_size": mean(sizes, weight)}
    out |= _interval_metrics(holdout, task.answers.interval)
    if isinstance(task.answers.decision, Promise):
        out |= _promises(holdout, DAYS[task.target.unit])
    for event in task.answers.events:
        facts = _event(happened(event, target), holdout.chance(event.name), weight)
        out |= {f"{event.name}_{name}": value for name, value in facts.items()}
    return out


def _event(true: np.ndarray, chance: np.ndarray, weight: np.ndarray | None) -> dict[str, float]:
    """rate, mean_chance, brier = reliability - resolution + uncertainty, slope, intercept, ece, ece_by_chance, auc.

    `uncertainty` is the Brier score of the base rate. Of an event that always or never came true there is no auc.
    """
    honest = measures.honesty(true, chance, weight)
    out = {
        "rate": mean(true, weight),
        "mean_chance": mean(chance, weight),
        "brier": mean((chance - true) ** 2, weight),
        **brier_parts(true, chance, weight),
        **{name: honest[whole] for name, whole in EVENT_HONESTY.items()},
    }
    if true.any() and not true.all():
        out["auc"] = float(roc_auc_score(true, chance, sample_weight=weight))
    return out


def _interval_metrics(holdout: Holdout, level: float) -> dict[str, float]:
    (low, high), target = holdout.interval, holdout.target
    miss = np.maximum(low - target, 0) + np.maximum(target - high, 0)
    return {
        "coverage": mean(holdout.covered, holdout.weight),
        "mean_width": mean(high - low, holdout.weight),
        "winkler": mean(high - low + 2 / (1 - level) * miss, holdout.weight),
    }


def _promises(holdout: Holdout, a_day: float) -> dict[str, float]:
    """promise_kept, the share of rows that had ended by the promised day, and promise_days, their mean. a_day: in units
    of the target."""
    days = np.array([answer["decision"]["days"] for answer in holdout.answers], dtype=float)
    kept = holdout.target <= days * a_day
    return {"promise_kept": mean(kept, holdout.weight), "promise_days": mean(days, holdout.weight)}


def by_group(task: Task, holdout: Holdout) -> dict[str, dict[str, float]]:
    """For each declared group, by its name: n, GROUP_METRICS, and `low`, `high`: the search's metric's 95 % band.

    Of classes also GROUP_HONESTY, without slope and intercept where fewer than `honesty.LEAST_SIDE` cases came true, or
    did not. A binary group of one class alone has no `auc`, and then no band of it.
    """
    columns = GROUP_METRICS[task.kind] + (() if task.kind == "regression" else GROUP_HONESTY)
    out: dict[str, dict[str, float]] = {}
    for name in sorted({name for names in holdout.groups for name in names}):
        part = holdout.take(np.array([name in names for names in holdout.groups]))
        measured = metrics(task, part)
        row = {"n": len(part.rows)} | {key: measured[key] for key in columns}
        one_class = task.kind == "binary" and len(set(part.target.tolist())) < 2
        if one_class:
            del row["auc"]
        if task.kind != "regression" and not has_line(part.right):
            del row["calibration_slope"], row["calibration_intercept"]
        if not (one_class and task.search.metric == "auc"):
            row["low"], row["high"] = measures.band(task.search.metric, part.target, part.predicted, part.weight)
        out[name] = row
    return out


def by_decile(task: Task, holdout: Holdout) -> list[dict[str, float]]:
    """Error along the answer: up to ten parts of equal weight, lowest answer first (equal answers stay together).

    The answer is the value, the positive class's chance, or a multiclass answer's highest probability. Each: n,
    predicted (its mean), observed (mean truth: value, share positive, share right), `low`, `high` (95 % band of the
    observed mean minus the predicted one), loss (the search's metric; log_loss for auc), coverage.
    """
    weight, sure = holdout.weight, holdout.predicted.max(axis=1)
    true = holdout.predicted.argmax(axis=1) == holdout.target if task.kind == "multiclass" else holdout.target
    metric = "log_loss" if task.search.metric == "auc" else task.search.metric
    out = []
    for part in measures.bins(sure, weight):
        share = None if weight is None else weight[part]
        low, high = measures.mean_band(true[part] - sure[part], share)
        out.append({
            "n": len(part), "predicted": mean(sure[part], share), "observed": mean(true[part], share),
            "low": low, "high": high,
            "loss": losses.loss(metric, holdout.target[part], holdout.predicted[part], share),
            "coverage": mean(holdout.covered[part], share),
        })  # fmt: skip
    return out
