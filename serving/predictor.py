"""The one predictor: training judges candidates with it, the server answers with it.

A row and a batch give the same bits: every step works row by row or element by element in a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from feature_store.decision import Shortlist
from feature_store.errors import BundleRefused
from feature_store.task import Task
from serving import bundle as bundles
from serving import decisions
from serving.bundle import Bundle
from serving.classes import Classes
from serving.distribution import Distribution
from serving.ensemble import combine, ensembles
from serving.familiar import Unfamiliar
from serving.reader import Reader


class Predictor:
    """Answers rows of one model version; to be used by one thread at a time."""

    def __init__(self, bundle: Bundle, version: str = "") -> None:
        self.bundle, self.task, self.version = bundle, bundle.task, version
        self.reader = Reader(self.task)
        self._decide = decisions.decider(self.task)
        self._names = [field.name for field in self.task.fields]
        self._familiarity = bundle.reference.familiarity
        self._words = {name: set(words) for name, words in bundle.encoder.categories.items()}
        self._missing = {name: _missing(self.task, name, bundle.reference.costs.get(name)) for name in self._names}
        self._ranges = [
            (index, field.name, *bundle.encoder.ranges[field.name])
            for index, field in enumerate(self.task.fields)
            if field.name in bundle.encoder.ranges
        ]

    def answer(self, rows: Sequence[Mapping[str, Any]], level: float | None = None) -> list[dict[str, Any]]:
        """One answer a row, as in the exchange of docs/api.md but for `prediction_id`.

        rows: validated against the Task (`serving.request`); a missing field is None or absent. level: the working
        level of intervals and sets (`serving/levels.py`), the promised one if None.
        """
        working = self.task.answers.interval if level is None else level
        matrix = self.bundle.encoder.rows(rows)
        encoded = matrix.tolist()  # Python's own floats are read much faster one by one
        distribution = self.bundle.distribution
        if isinstance(distribution, Classes):
            found = self._classes(distribution, encoded, matrix, working)
        else:
            found = self._values(distribution, rows, encoded, matrix, working)
        answers = [
            {**answer, "warnings": self._warnings(row, one)}
            for row, one, answer in zip(rows, encoded, found, strict=True)
        ]
        if isinstance(declared := self.task.answers.decision, Shortlist):
            for answer, decision in zip(answers, decisions.shortlist(declared, rows, answers), strict=True):
                answer["decision"] = decision
        return answers

    def centre_and_scale(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of regression the ensemble's value and the size of its error, each (n,), in the target's unit."""
        centre = combine(self.bundle.members, matrix)[:, 0]
        floor = self.bundle.scale_floor
        if self.bundle.scale is None:
            return centre, np.full(len(matrix), floor)
        return centre, np.maximum(self.bundle.scale.predict(matrix)[:, 0], floor)

    def _values(
        self,
        distribution: Distribution,
        rows: Sequence[Mapping[str, Any]],
        encoded: list[list[float]],
        matrix: np.ndarray,
        working: float,
    ) -> Iterator[dict[str, Any]]:
        level, unit = self.task.answers.interval, self.task.target.unit
        told, decide = self._told(working), self._decide
        centres, scales = self.centre_and_scale(matrix)
        for row, one, centre, scale in zip(rows, encoded, centres.tolist(), scales.tolist(), strict=True):
            answer = distribution.answer(one, centre, scale, working)
            yield {
                "value": answer.value,
                "unit": unit,
                "interval": {"level": level, "low": answer.low, "high": answer.high, **told},
                "events": answer.events,
                "group": answer.group,
                "decision": decide(distribution.predictive(answer.group, centre, scale), row) if decide else None,
            }

    def _classes(
        self, distribution: Classes, encoded: list[list[float]], matrix: np.ndarray, working: float
    ) -> Iterator[dict[str, Any]]:
        words, binary, told = distribution.words, self.task.kind == "binary", self._told(working)
        told = {"level": self.task.answers.interval, **told} if told else {}
        for one, predicted in zip(encoded, ensembles(self.bundle.members, matrix).tolist(), strict=True):
            answer = distribution.answer(one, predicted, working)
            if binary:
                chances: dict[str, Any] = {"value": answer.chances[1]}
            else:
                chances = {"probabilities": dict(zip(words, answer.chances, strict=True))}
            own = {"label": answer.label, "set": answer.set, **told, "group": answer.group, "decision": None}
            yield {**chances, **own}

    def _told(self, working: float) -> dict[str, float]:
        return {"working_level": working} if self.task.answers.adaptive is not None else {}

    def _warnings(self, row: Mapping[str, Any], encoded: list[float]) -> list[dict[str, Any]]:
        get = row.get
        out: list[dict[str, Any]] = [warning for name, warning in self._missing.items() if get(name) is None]
        for name, words in self._words.items():
            if (word := get(name)) is not None and word not in words:
                out.append(_warning(name, "unseen_category", f"No training row has this {name}; it counts as unknown."))
        for index, name, low, high in self._ranges:
            if not low <= encoded[index] <= high and get(name) is not None:
                message = f"{name} is beyond the training rows' {low:g} to {high:g}: the answer is a guess there."
                out.append(_warning(name, "outside_training_range", message))
        if self._familiarity is not None and (hit := self._familiarity.judge(encoded)):
            out.append(self._unfamiliar(hit))
        return out

    def _unfamiliar(self, hit: Unfamiliar) -> dict[str, str]:
        name = self._names[hit.field]
        beside = "" if hit.beside is None else f" beside {self._names[hit.beside]}"
        message = f"Hardly any training row is like this one; what is oddest is {name}{beside}. Check the values."
        return _warning(name, "unfamiliar", message)

    def check_golden(self) -> None:
        """Raises BundleRefused unless every golden row gives its recorded answer bit for bit, in finite numbers."""
        golden = self.bundle.golden
        for row, recorded in zip(golden["rows"], golden["answers"], strict=True):
            if numbers(self.answer([row])[0]) != recorded:
                raise BundleRefused(
                    f"Version {self.version or '?'} of {self.task.task} does not reproduce its golden rows on this "
                    "machine, so its answers can't be trusted here. Train it again with this server's libraries."
                )
        if not golden["rows"] or [numbers(answer) for answer in self.answer(golden["rows"])] != golden["answers"]:
            raise BundleRefused(f"{self.task.task}: golden rows are absent, or differ between one row and a batch.")
        if not all(finite(answer) for answer in golden["answers"]):
            raise BundleRefused(
                f"A golden row of {self.task.task} is answered by a number that is none. Train it again."
            )


def finite(part: Any) -> bool:
    """Whether all numbers of an answer are ones that JSON has: neither NaN nor infinite."""
    if isinstance(part, dict):
        return all(finite(one) for one in part.values())
    if isinstance(part, list):
        return all(finite(one) for one in part)
    return not isinstance(part, float) or isfinite(part)


def numbers(answer: dict[str, Any]) -> dict[str, Any]:
    """What a golden row pins of an answer: all but what may differ.

    That is the sentences of its warnings, which a later server may mend, and of a shortlist the rank and the choice,
    which are not the row's own.
    """
    own = {**answer, "warnings": [[warning["field"], warning["code"]] for warning in answer["warnings"]]}
    if own["decision"] is not None and own["decision"]["kind"] == "shortlist":
        own["decision"] = {key: own["decision"][key] for key in ("kind", "expected")}
    return own


def _missing(task: Task, name: str, cost: float | None) -> dict[str, Any]:
    """cost: how much wider the interval, or larger the set, is without the field; None where it is not known."""
    if cost is None:
        return _warning(name, "missing_field", f"{name} was not given.")
    if task.kind == "regression":
        told = f"the interval narrower by {cost:.{task.target.digits}f} {task.target.unit}"
    else:
        told = f"the set smaller by {cost:.2f} classes"
    message = f"{name} was not given. Knowing it makes {told} on average."
    if float(f"{cost:.{task.target.digits if task.kind == 'regression' else 2}f}") <= 0:
        message = f"{name} was not given. Knowing it hardly changes how sure the answer is."
    return {**_warning(name, "missing_field", message), "cost": cost}


def _warning(field: str, code: str, message: str) -> dict[str, str]:
    return {"field": field, "code": code, "message": message}


def load(folder: Path, version: str = "") -> Predictor:
    """The predictor of a bundle: digests checked, golden rows reproduced. Raises BundleRefused."""
    try:
        predictor = Predictor(bundles.read(folder), version)
        predictor.check_golden()
    except (
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RecursionError,
    ) as error:
        raise BundleRefused(
            f"It is not a bundle that this server reads ({type(error).__name__}). Train the task again."
        ) from error
    return predictor
