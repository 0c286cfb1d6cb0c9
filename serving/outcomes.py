"""Outcomes: what came true is judged against the Task, found in the journal and kept there, item by item."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from feature_store.field import AnyField, CategoryField, Choice, NumberField
from feature_store.task import Task
from serving import archives, recall, request, words
from serving.journal import Journal, Outcome

LATEST_S = 300
"""A clock may run ahead of ours by so much; what is said to come true later than that is refused."""

MAX_ID = 100


@dataclass(frozen=True)
class Result:
    """What became of one item. status: stored, unchanged, corrected or refused, with code and message then.

    prediction_id: of the answer that it is of; None where it is refused, for what was sent is not repeated.
    """

    row: int
    prediction_id: str | None
    status: str
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class _Item:
    """An item that may be kept: of one answer by its id, or of the one that `key` finds."""

    row: int
    value: str
    at_us: int | None
    prediction_id: str = ""
    key: dict[str, Any] = field(default_factory=dict)


def asked(task: Task, classes: Sequence[str]) -> NumberField | CategoryField:
    """The target as a field that is asked for: its limits, or its classes as choices. classes: the encoder's."""
    target = task.target
    if task.kind == "regression":
        return NumberField(
            type="number", name=target.name, label=target.label, unit=target.unit, limits=target.limits, required=True
        )
    choices = tuple(
        # Not validated: a word that was learnt from a table may be longer than one that is declared.
        Choice.model_construct(value=word, label=words.of_class_in_both(task, word))
        for word in classes
    )
    return CategoryField.model_construct(
        type="category", name=target.name, label=target.label, help=None, required=True, code=None, choices=choices
    )


async def keep(journal: Journal, task: Task, classes: Sequence[str], items: Sequence[Any]) -> list[Result]:
    """One result an item, in order, once all that may be kept is durable. Raises JournalFull.

    items: as an application sends them, `{"prediction_id": ..., "value": ..., "at_utc": ...}` or with a `key`
    instead of the id; what is wrong with one is told in its result and does not touch the others.
    classes: the words of a class target; () for regression.
    """
    target, now_us = asked(task, classes), time.time_ns() // 1000
    judged = [_judge(task, target, now_us, row, item) for row, item in enumerate(items)]
    keyed = [item for item in judged if isinstance(item, _Item) and item.key]
    if keyed:
        found = await asyncio.to_thread(_find, journal, task, keyed)
        judged = [found.get(item.row, item) for item in judged]
    wanted = [item for item in judged if isinstance(item, _Item)]
    sent = [Outcome(item.prediction_id, item.value, item.at_us) for item in wanted]
    kept = await journal.keep_outcomes(task.task, sent, task.answers.adaptive)
    results = {item.row: item for item in judged if isinstance(item, Result)}
    if None in kept or any(result.code == "no_match" for result in results.values()):
        where = await asyncio.to_thread(archives.told, journal.place)
    for item, status in zip(wanted, kept, strict=True):
        if status is None:
            text = f"No answer of {task.task} has this id in the journal. Check the id and the task. {where}".rstrip()
            results[item.row] = Result(item.row, None, "refused", "unknown_prediction", text)
        else:
            results[item.row] = Result(item.row, item.prediction_id, status)
    for row, result in results.items():
        if result.code == "no_match":
            results[row] = replace(result, message=f"{result.message} {where}".rstrip())
    return [results[row] for row in range(len(items))]


def counts(results: Sequence[Result]) -> dict[str, int]:
    """How many were stored, unchanged, corrected and refused."""
    counted = Counter(result.status for result in results)
    return {status: counted[status] for status in ("stored", "unchanged", "corrected", "refused")}


_KEYS = {"prediction_id", "key", "value", "at_utc"}


def _judge(task: Task, target: AnyField, now_us: int, row: int, item: Any) -> _Item | Result:
    if not isinstance(item, dict):
        text = 'The item is not an object. Send {"prediction_id": ..., "value": ...}.'
        return Result(row, None, "refused", "wrong_type", text)
    given = item.get("prediction_id")
    fault = _of_shape(item) or _of_value(target, item.get("value"))
    if fault is None and given is None:
        fault = _of_key(task, item["key"])
    at_us: int | None = None
    if fault is None and item.get("at_utc") is not None:
        at_us, fault = _moment(item["at_utc"], now_us)
    if fault is not None:
        return Result(row, None, "refused", *fault)
    value = float(item["value"]) if target.type == "number" else item["value"]
    return _Item(row, json.dumps(value, ensure_ascii=False), at_us, given or "", item["key"] if given is None else {})


def _of_shape(item: Mapping[str, Any]) -> request.Fault | None:
    if place := next((place for place, name in enumerate(item, 1) if name not in _KEYS), 0):
        return "unknown_field", f"Key {place} is not part of an outcome. It may hold {', '.join(sorted(_KEYS))}."
    given, key = item.get("prediction_id"), item.get("key")
    if (given is None) == (key is None):
        return "required", "Send either the prediction_id of the answer, or a key: {field: value, ...}."
    if given is not None and (not isinstance(given, str) or not given or len(given) > MAX_ID or "\0" in given):
        return "wrong_type", "prediction_id takes the text that came with the answer."
    return None


def _of_value(target: AnyField, value: Any) -> request.Fault | None:
    if value is None:
        return "required", f"value is required: the {target.name} that came true."
    return request.fault(target, value)


def _of_key(task: Task, key: Any) -> request.Fault | None:
    if not isinstance(key, dict) or not key:
        return "wrong_type", "key takes an object of fields with their values as they were asked: {field: value, ...}."
    for place, (name, value) in enumerate(key.items(), 1):
        asked_for = task.by_name.get(name)
        if asked_for is None:
            return "unknown_field", request.unknown(place, name, task.by_name, task.task)
        if value is None:
            return "required", f"{name} is null in the key. Leave it out, or give its value."
        if fault := request.fault(asked_for, value):
            return fault
    return None


def _moment(text: Any, now_us: int) -> tuple[int | None, request.Fault | None]:
    try:
        at_us = recall.microseconds(datetime.fromisoformat(text))
    except (TypeError, ValueError, OverflowError):
        return None, ("not_a_time", "at_utc takes a time such as '2024-03-01T14:30:00Z'; without a zone it is UTC.")
    if at_us > now_us + LATEST_S * 1_000_000:
        return None, ("in_the_future", "at_utc is later than now. Send an outcome once it has come true.")
    return at_us, None


def _find(journal: Journal, task: Task, keyed: Sequence[_Item]) -> dict[int, _Item | Result]:
    """By row, the items with the id that their key finds, or why it finds none."""
    names = sorted(keyed[0].key)
    alike = [item for item in keyed if sorted(item.key) == names]
    matches = recall.match(journal.place, task.task, names, [[item.key[name] for name in names] for item in alike])
    out: dict[int, _Item | Result] = {
        item.row: Result(
            item.row, None, "refused", "other_key",
            f"Keys of one request name the same fields, here {', '.join(names)}. Send this one in another request.",
        )
        for item in keyed
    }  # fmt: skip
    for item, found in zip(alike, matches, strict=True):
        out[item.row] = _of_match(task, item, found)
    return out


def _of_match(task: Task, item: _Item, found: recall.Match | None) -> _Item | Result:
    if found is None:
        text = f"No answer of {task.task} in the journal was asked with these values. Check them, or send the id."
        return Result(item.row, None, "refused", "no_match", text)
    if found.cases > 1:
        text = f"{found.cases} different rows hold these values. Name more fields, or send the prediction_id."
        return Result(item.row, None, "refused", "several_matches", text)
    return _Item(item.row, item.value, item.at_us, found.prediction_id)
