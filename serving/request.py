"""From a body's bytes to rows that keep the Task's limits, or every error named by row and field.

The standard library's JSON reader, for its hooks: keys that stand twice, NaN and numbers beyond a float are
refused instead of silently changed. What that costs stands in docs/benchmarks/decisions.md.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Collection, Mapping
from datetime import date
from itertools import islice
from typing import Any, NamedTuple

from feature_store.errors import BodyRefused, RowError, RowsRefused, TooLarge
from feature_store.field import AnyField, CategoryField, DateField, NumberField
from feature_store.task import Task
from serving import depth

MAX_ROWS = 1000
MAX_EXPLAINED = 50
"""Rows of a request whose answers are explained."""

MAX_ERRORS = 100
MAX_NAME = 63
"""Letters of a field's name at most; what is longer is like none of them."""

Fault = tuple[str, str]
"""Code and message of what is wrong with a value; never the value itself."""


class Asked(NamedTuple):
    """What a body asks for. rows: validated; explain: whether the answers are to be explained."""

    rows: list[dict[str, Any]]
    explain: bool


def read(task: Task, body: bytes, explain: bool = False) -> Asked:
    """What a predict body asks for; explain: so does it whatever it says. Raises BodyRefused, TooLarge, RowsRefused."""
    rows, more = _opened(body, "rows", ("explain",))
    if not isinstance(wish := more.get("explain", False), bool):
        raise BodyRefused("explain is neither true nor false. Send one of them, or leave it out.")
    if explain or wish:
        _counted(rows, "rows", MAX_EXPLAINED, "explained")
    else:
        _counted(rows, "rows", MAX_ROWS, "answered")
    if errors := check(task, rows):
        raise RowsRefused(errors)
    return Asked(rows, explain or wish)


def listed(body: bytes, name: str) -> list[Any]:
    """The list of 1 to 1000 items under `name`, the body's only key. Raises BodyRefused or TooLarge."""
    items, _ = _opened(body, name, ())
    _counted(items, name, MAX_ROWS, "taken")
    return items


def _opened(body: bytes, name: str, others: tuple[str, ...]) -> tuple[list[Any], dict[str, Any]]:
    """The list under `name` of a body, and its other keys; others: those that it may hold. Raises BodyRefused."""
    document = decode(body)
    if not isinstance(document, dict) or not isinstance(document.get(name), list):
        raise BodyRefused(f'The body is not an object with a list of {name}. Send {{"{name}": [{{...}}]}}.')
    if unknown := set(document) - {name, *others}:
        allowed = " and ".join((name, *others))
        place = next(place for place, key in enumerate(document, 1) if key in unknown)
        raise BodyRefused(f"Key {place} of the body is not one that it may hold: {allowed}. Remove or rename it.")
    items: list[Any] = document.pop(name)
    return items, document


def _counted(items: list[Any], name: str, most: int, done: str) -> None:
    """Raises BodyRefused when there are no items, and TooLarge when more than `most`; done: to them."""
    if not items:
        raise BodyRefused(f"The list of {name} is empty. Send 1 to {most} {name}.")
    if len(items) > most:
        raise TooLarge(f"The list has {len(items)} {name}; at most {most} are {done} at once. Send several requests.")


def decode(body: bytes) -> Any:
    """The document of JSON bytes; nothing is changed silently. Raises BodyRefused."""
    depth.bound(body)
    try:
        text = body.decode("utf-8")
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
        if "\\u" in text:  # a lone surrogate is no text, and no journal could keep it
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise BodyRefused("The body is not UTF-8 text. Send JSON in UTF-8.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BodyRefused(f"The body is not JSON ({place}): {error.msg}. Mend it there.") from None
    except ValueError as error:
        reason = str(error) if isinstance(error, _Refused) else "a number has too many digits"
        raise BodyRefused(f"The body can't be read: {reason}. Mend it and send it again.") from None
    return document


class _Refused(ValueError):
    """What our hooks found while reading JSON."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(n for n, (key, _) in enumerate(pairs, 1) if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"key {twice} of an object stands twice in it")
    return out


def _no_constant(word: str) -> Any:
    raise _Refused(f"{word} is not a JSON number; leave out what is unknown, or send null")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _Refused("a number is beyond what a 64-bit float holds")
    return value


def unknown(place: int, name: str, known: Collection[str], owner: str) -> str:
    """What is said of a key that is none of those known: its place and the known one that is like it, never itself.

    place: from 1; owner: whose keys they are, such as the task.
    """
    near = difflib.get_close_matches(name, known, 1, 0.7) if len(name) <= MAX_NAME else []
    if near:
        return f"Key {place} is not a field of {owner}. Did you mean {near[0]}? Rename or remove it."
    return f"Key {place} is not a field of {owner}. Remove or rename it."


def check(task: Task, rows: list[Any]) -> list[RowError]:
    """Every error of every row, up to MAX_ERRORS."""
    errors: list[RowError] = []
    for position, row in enumerate(rows):
        if len(errors) >= MAX_ERRORS:
            break
        if not isinstance(row, dict):
            errors.append(RowError(position, "", "wrong_type", "The row is not an object. Send {field: value, ...}."))
            continue
        errors += [RowError(position, name, code, message) for name, code, message in _faults(task, row)]
    return errors[:MAX_ERRORS]


def _faults(task: Task, row: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    known = task.by_name
    strange = ((place, name) for place, name in enumerate(row, 1) if name not in known)
    out = [("", "unknown_field", unknown(place, name, known, task.task)) for place, name in islice(strange, MAX_ERRORS)]
    for name, field in known.items():
        value = row.get(name)
        if value is None:
            if field.required:
                out.append((name, "required", f"{name} is required. Give it{_within(field)}."))
        elif found := fault(field, value):
            out.append((name, *found))
    return out


def fault(field: AnyField, value: Any) -> Fault | None:
    """What is wrong with a value that is not null, or None."""
    return _CHECKS[field.type](field, value)


def _number(field: AnyField, value: Any) -> Fault | None:
    assert isinstance(field, NumberField)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "wrong_type", f"{field.name} takes a number{_within(field)}, without quotes or a unit."
    low, high = field.limits
    if value < low:
        return "below_limit", f"{field.name} is below {_amount(low, field)}. Check the value and its unit."
    if value > high:
        return "above_limit", f"{field.name} is above {_amount(high, field)}. Check the value and its unit."
    if field.integer and value != int(value):
        return "not_an_integer", f"{field.name} takes a whole number{_within(field)}."
    return None


def _category(field: AnyField, value: Any) -> Fault | None:
    assert isinstance(field, CategoryField)
    if not isinstance(value, str):
        return "wrong_type", f"{field.name} takes a word in quotes{_within(field)}."
    if field.choices is not None and all(value != choice.value for choice in field.choices):
        return "not_a_choice", f"{field.name} takes{_within(field)}, or null when unknown."
    if len(value) > 200:
        return "wrong_type", f"{field.name} takes a word of at most 200 characters."
    return None


def _flag(field: AnyField, value: Any) -> Fault | None:
    return None if isinstance(value, bool) else ("wrong_type", f"{field.name} takes true or false, or null if unknown.")


def _date(field: AnyField, value: Any) -> Fault | None:
    assert isinstance(field, DateField)
    try:
        if not isinstance(value, str) or len(value) != 10:
            raise ValueError
        date.fromisoformat(value)
    except ValueError:
        return "not_a_date", f"{field.name} takes a day as 'YYYY-MM-DD'."
    if field.limits is not None and value < field.limits[0]:
        return "below_limit", f"{field.name} is before {field.limits[0]}. Check the day."
    if field.limits is not None and value > field.limits[1]:
        return "above_limit", f"{field.name} is after {field.limits[1]}. Check the day."
    return None


_CHECKS: dict[str, Callable[[AnyField, Any], Fault | None]] = {
    "number": _number,
    "category": _category,
    "flag": _flag,
    "date": _date,
}


def _within(field: AnyField) -> str:
    if field.type == "number":
        return f" from {field.limits[0]:g} to {_amount(field.limits[1], field)}"
    if field.type == "category" and field.choices is not None:
        return f" one of {', '.join(choice.value for choice in field.choices)}"
    return ""


def _amount(value: float, field: NumberField) -> str:
    return f"{value:g}{f' {field.unit}' if field.unit else ''}"
