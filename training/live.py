"""Two versions on what came true: a challenger answered in the shadow what a champion was asked, and outcomes tell.

Nothing is held out here and no table is needed: the rows are those of the application, asked after both were learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feature_store.place import Place
from feature_store.task import METRICS, Task
from serving import recall, shadows
from serving.distribution import group_name
from serving.shadows import Pair
from serving.tally import Tally
from training import losses, paired
from training.paired import LEAST_ROWS, Ground

LEAST_OF_A_CLASS = 5
"""Outcomes of either class that an AUC needs."""


@dataclass(frozen=True)
class Case:
    """One answer that was sent, what the other version would have answered, and what came true.

    one, other: the answers of the first and the second version, whichever of them was sent.
    """

    row: dict[str, Any]
    one: dict[str, Any]
    other: dict[str, Any]
    outcome: float | str


def compare(task: Task, journal: Place, file: Path, one: str | None = None, other: str | None = None) -> dict[str, Any]:
    """By how much the first version loses to the second on outcomes; by default the latest challenger to what it
    answered beside.

    journal, file: of the answers and of the shadows. `n` outcomes of `shadows` answers are known; below LEAST_ROWS
    there is a `reason` and nothing is compared. Raises JournalFull when either can't be read.
    """
    pairs = shadows.pairs(file, task.task)
    if one is None or other is None:
        newest = next((pair for pair in pairs if (one or pair.version) == pair.version), None)
        one, other = (newest.version, newest.served) if newest is not None else (one, other)
    wanted = [pair for pair in pairs if {pair.version, pair.served} == {one, other}]
    cases = [case for pair in wanted for case in _cases(task, journal, file, pair, one or "")]
    document = {
        "task": task.task,
        "versions": [one, other],
        "metric": task.search.metric,
        "unit": task.target.unit if task.kind == "regression" else "",
        "shadows": sum(pair.n for pair in wanted),
        "n": len(cases),
        "reason": _too_few(task, wanted, cases, one, other),
    }
    return document if document["reason"] else {**document, **_measured(task, cases, str(one), str(other))}


def _too_few(task: Task, pairs: Sequence[Pair], cases: Sequence[Case], one: str | None, other: str | None) -> str:
    """Why nothing can be said yet, or ""."""
    if not pairs:
        beside = "No challenger has answered" if one is None else f"Version {one} has not answered"
        return (
            f"{beside} beside {'a champion' if other is None else f'version {other}'} in the shadow. "
            f"Make one: gancao promote {task.task} N --challenger, and let the server run."
        )
    answered = sum(pair.n for pair in pairs)
    if len(cases) < LEAST_ROWS:
        return (
            f"Of {answered} answers beside each other {len(cases)} outcomes are known; {LEAST_ROWS} are needed. "
            f"Send what came true: gancao outcomes {task.task} FILE."
        )
    if task.search.metric == "auc":
        positive = sum(case.outcome == task.target.positive for case in cases)
        if min(positive, len(cases) - positive) < LEAST_OF_A_CLASS:
            return f"Of {len(cases)} outcomes {positive} are positive; {LEAST_OF_A_CLASS} of each class are needed."
    return ""


def _cases(task: Task, journal: Place, file: Path, pair: Pair, one: str) -> list[Case]:
    beside = shadows.answers(file, task.task, pair.version, pair.served)
    out = []
    for joined in recall.joined(journal, task.task, pair.first_us - 60_000_000):
        if joined.version == pair.served and joined.prediction_id in beside:
            sent, shadow = joined.answer, beside[joined.prediction_id]
            first, second = (shadow, sent) if pair.version == one else (sent, shadow)
            out.append(Case(joined.row, first, second, joined.outcome))
    return out


def _measured(task: Task, cases: Sequence[Case], one: str, other: str) -> dict[str, Any]:
    classes = _classes(task, cases)
    target = np.array([_target(task, classes, case.outcome) for case in cases])
    first, second = (
        np.array([_predicted(task, classes, answer) for answer in answers], dtype=float)
        for answers in ([case.one for case in cases], [case.other for case in cases])
    )
    groups = [tuple(group_name(group, case.row.get(group.field)) for group in task.groups) for case in cases]
    ground = Ground(target, None, groups)
    found = {"all": paired.compare(task, ground, first, second, 0)}
    found |= paired.compare_groups(task, ground, first, second, 0)
    predicted = {one: first, other: second}
    return {
        "metrics": {
            version: {name: _metric(name, target, values) for name in METRICS[task.kind]}
            for version, values in predicted.items()
        },
        "coverage": _coverage(task, cases, one, other),
        "differences": {name: difference.to_json() for name, difference in found.items()},
        "verdict": f"{one} is {found['all'].word} {other}",
    }


def _metric(name: str, target: np.ndarray, predicted: np.ndarray) -> float:
    value = losses.loss(name, target, predicted)
    return 1 - value if name == "auc" else value


def _classes(task: Task, cases: Sequence[Case]) -> list[str]:
    """The words of several classes, those that outcomes alone name among them; [] for other kinds."""
    if task.kind != "multiclass":
        return []
    named = {word for case in cases for answer in (case.one, case.other) for word in answer["probabilities"]}
    return sorted(named | {str(case.outcome) for case in cases})


def _target(task: Task, classes: Sequence[str], outcome: float | str) -> float:
    """The value, 1 for the positive class of two, or the place of the class."""
    if task.kind == "regression":
        return float(outcome)
    return float(outcome == task.target.positive) if task.kind == "binary" else float(classes.index(str(outcome)))


def _predicted(task: Task, classes: Sequence[str], answer: dict[str, Any]) -> list[float]:
    """The value, or a chance a class; of one that a version does not know, 0."""
    if task.kind == "multiclass":
        return [answer["probabilities"].get(word, 0.0) for word in classes]
    return [answer["value"]]


def _coverage(task: Task, cases: Sequence[Case], one: str, other: str) -> dict[str, Any]:
    """How often either interval (or set) held the truth, how wide they were, and the paired difference of both."""
    tally = Tally()
    for name, measured in (("held", _held), ("size", _size)):
        rows = [[measured(task, answer, case.outcome) for answer in (case.one, case.other)] for case in cases]
        first, second = np.array(rows, dtype=float).T
        facts = {f"{name} {one}": first, f"{name} {other}": second, f"{name} difference": first - second}
        tally.add(facts, np.arange(len(cases)))
    return {
        "level": task.answers.interval,
        **{v: {**tally.share(f"held {v}"), "mean_width": tally.mean(f"size {v}")["value"]} for v in (one, other)},
        "difference": tally.mean("held difference"),
        "width_difference": tally.mean("size difference"),
    }


def _held(task: Task, answer: dict[str, Any], outcome: float | str) -> bool:
    if task.kind == "regression":
        return bool(answer["interval"]["low"] <= float(outcome) <= answer["interval"]["high"])
    return outcome in answer["set"]


def _size(task: Task, answer: dict[str, Any], outcome: float | str) -> float:
    """Of an interval its width in the target's unit, of a set its number of classes."""
    if task.kind == "regression":
        return float(answer["interval"]["high"] - answer["interval"]["low"])
    return float(len(answer["set"]))
