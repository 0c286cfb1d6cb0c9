"""What no single key of a decision can show: that it fits the target, and that the fields it names can carry it.

Like `coherence`, which calls it, it judges plain data that may be half wrong.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from feature_store.errors import Problem

WHERE = "answers.decision"

DAYS = {"d": 1.0, "days": 1.0, "h": 24.0, "hours": 24.0}
"""Units that a promise can be given in -> how many of them a day has."""

MOST_LOAD = 100_000.0
"""Erlangs: people who would all be busy. The staffing of one row then takes a fraction of a millisecond."""

_FITTING = {
    "order_quantity": ("regression",),
    "headcount": ("regression",),
    "promise": ("regression",),
    "shortlist": ("regression", "binary"),
}

Known = Mapping[str, Any]
"""The Task's fields by name, as plain data."""


def contradictions_of(decision: Any, raw: Mapping[str, Any], known: Known) -> Iterator[Problem]:
    """What is wrong with `answers.decision`. raw: the whole Task; known: its fields by name; any may be half wrong."""
    if not isinstance(decision, dict):
        return
    given = {key: value for key, value in decision.items() if value is not None}
    kind, task_kind = given.get("kind"), raw.get("kind", "regression")
    if not isinstance(kind, str) or kind not in _FITTING:
        return
    if task_kind in ("regression", "binary", "multiclass") and task_kind not in _FITTING[kind]:
        fitting = " or ".join(_FITTING[kind])
        yield Problem(f"{WHERE}.kind", f"{kind} does not apply to kind {task_kind}.", f"It needs {fitting}; remove it.")
        return
    target = raw.get("target")
    yield from _OF_KIND[kind](given, target if isinstance(target, dict) else {}, task_kind, known)


def _order_quantity(given: dict[str, Any], target: dict[str, Any], kind: Any, known: Known) -> Iterator[Problem]:
    yield from _field("on_hand", given, known, "number")


_WAITING = ("interval_s", "handling_s", "within_s", "answered")


def _headcount(given: dict[str, Any], target: dict[str, Any], kind: Any, known: Known) -> Iterator[Problem]:
    """One of two ways to staff, whole: a rate of work, or a share of arrivals answered in time."""
    yield from _by_rate(given) if "productivity" in given else _by_waiting(given, target.get("limits"))


def _by_rate(given: dict[str, Any]) -> Iterator[Problem]:
    for key in ("within_s", "answered"):
        if key in given:
            remedy = "Remove it, or remove productivity and staff by waiting time."
            yield Problem(f"{WHERE}.{key}", "does not go with productivity.", remedy)
    for key, other in (("interval_s", "handling_s"), ("handling_s", "interval_s")):
        if key in given and other not in given:
            remedy = f"Add {other}, from both of which occupancy is told, or remove it."
            yield Problem(f"{WHERE}.{key}", "says nothing alone beside productivity.", remedy)
    if _are_numbers(given, "productivity", "handling_s", "interval_s"):
        busy = given["productivity"] * given["handling_s"]
        if busy > given["interval_s"] * (1 + 1e-9):
            told = f"{given['productivity']:g} units take {busy:g} s, more than the interval."
            yield Problem(f"{WHERE}.productivity", told, "Mend it, handling_s or interval_s.")


def _by_waiting(given: dict[str, Any], limits: Any) -> Iterator[Problem]:
    for key in _WAITING:
        if key not in given:
            remedy = f"Give {', '.join(_WAITING)} (Erlang C), or productivity alone."
            yield Problem(f"{WHERE}.{key}", "is missing.", remedy)
    most = limits[1] if isinstance(limits, list | tuple) and len(limits) == 2 else None
    if _is_number(most) and _are_numbers(given, "handling_s", "interval_s") and given["interval_s"] > 0:
        load = most * given["handling_s"] / given["interval_s"]
        if load > MOST_LOAD:
            told = f"the target's limits allow {load:g} people busy at once; at most {MOST_LOAD:g} are reckoned with."
            yield Problem(f"{WHERE}.handling_s", told, "Mend it, interval_s or target.limits.")


def _promise(given: dict[str, Any], target: dict[str, Any], kind: Any, known: Known) -> Iterator[Problem]:
    unit = target.get("unit")
    if isinstance(unit, str) and unit not in DAYS:
        told = f"{unit!r} is no unit of a promise."
        yield Problem("target.unit", told, "Write d (days) or h (hours) and convert the target in data.sql.")
    yield from _field("start", given, known, "date")


def _shortlist(given: dict[str, Any], target: dict[str, Any], kind: Any, known: Known) -> Iterator[Problem]:
    budget, cost = given.get("budget"), given.get("cost")
    if "worth" in given and kind == "regression":
        yield Problem(f"{WHERE}.worth", "applies to a binary target.", "Remove it: the value is what is expected.")
    if cost is None and _is_number(budget) and budget != int(budget):
        remedy = "Without a cost the budget is a number of rows: make it whole, or add cost."
        yield Problem(f"{WHERE}.budget", f"{budget:g} is no number of rows.", remedy)
    if _is_number(cost) and _is_number(budget) and cost > budget:
        yield Problem(f"{WHERE}.cost", f"{cost:g} is beyond the budget, so no row is ever chosen.", "Mend one of them.")
    for key in ("cost", "worth"):
        yield from _field(key, given, known, "number")
    limits = known.get(cost, {}).get("limits") if isinstance(cost, str) else None
    if isinstance(limits, list | tuple) and limits and _is_number(limits[0]) and limits[0] < 0:
        remedy = "Begin that field's limits at 0 or above."
        yield Problem(f"{WHERE}.cost", f"{cost!r} may be below 0, and a cost is not.", remedy)


_OF_KIND: dict[str, Callable[[dict[str, Any], dict[str, Any], Any, Known], Iterator[Problem]]] = {
    "order_quantity": _order_quantity,
    "headcount": _headcount,
    "promise": _promise,
    "shortlist": _shortlist,
}


def _field(key: str, given: dict[str, Any], known: Known, kind: str) -> Iterator[Problem]:
    """A field that a decision is made from is there, of the right type, and given in every row."""
    name, where = given.get(key), f"{WHERE}.{key}"
    if not isinstance(name, str):
        return
    if name not in known:
        close = difflib.get_close_matches(name, list(known), n=1)
        remedy = f"Did you mean {close[0]!r}?" if close else f"Name a {kind} field."
        yield Problem(where, f"there is no field {name!r}.", remedy)
        return
    is_now = known[name].get("type")
    if is_now in ("number", "category", "flag", "date") and is_now != kind:
        yield Problem(where, f"{name!r} is a {is_now} field.", f"Name a {kind} field.")
    elif known[name].get("required") is not True and key != "start":
        remedy = f"Add `required: true` to the field {name}."
        yield Problem(where, f"{name!r} may be left out, and nothing is decided without it.", remedy)


def _is_number(value: Any) -> TypeGuard[float]:
    """A number that can be reckoned with: YAML also gives infinities, and integers beyond any float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100


def _are_numbers(given: dict[str, Any], *keys: str) -> bool:
    return all(_is_number(given.get(key)) for key in keys)
