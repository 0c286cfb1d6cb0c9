"""What no single key of a Task can show: names that must exist, limits in order, things that stand twice.

It judges plain data that may be half wrong, so that a Task file shows all its problems at once.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from feature_store import formula
from feature_store.decision_coherence import contradictions_of
from feature_store.errors import Problem


def contradictions(raw: Any) -> Iterator[Problem]:
    """What no single field can show. `raw` may be half wrong: only what can be read is judged."""
    if not isinstance(raw, dict):
        return
    fields = list(_items(raw, "fields"))
    names = [field.get("name") for _, field in fields]
    known = {name: field for name, (_, field) in zip(names, fields, strict=True) if isinstance(name, str)}
    target = _mapping(raw, "target")
    yield from _short("fields", raw.get("fields"), 1)
    yield from _short("search.learners", _mapping(raw, "search").get("learners"), 1)
    yield from _twice("fields", names)
    if isinstance(target.get("name"), str) and target["name"] in names:
        yield Problem(
            f"fields[{names.index(target['name'])}].name",
            f"{target['name']!r} is the target: it would predict itself.",
            "Remove the field.",
        )
    yield from _target(raw, target)
    for where, field in fields:
        yield from _order(f"{where}.limits", field.get("limits"), dates=field.get("type") == "date")
        yield from _short(f"{where}.choices", field.get("choices"), 2)
        values = [c.get("value") if isinstance(c, dict) else c for c in _list(field, "choices")]
        yield from _twice(f"{where}.choices", values)
    yield from _split(_mapping(raw, "split"), target.get("name"))
    yield from _groups(raw, known)
    yield from _baselines(raw, known)
    yield from _sections(raw, known)
    yield from _events(raw, target.get("limits"))
    yield from contradictions_of(_mapping(raw, "answers").get("decision"), raw, known)
    yield from _adaptive(_mapping(raw, "answers"))
    yield from _waivers(raw, known)


_CLASS_METRICS = {"regression": ("rmse", "mae"), "binary": ("log_loss", "auc"), "multiclass": ("log_loss",)}


def _target(raw: dict[str, Any], target: dict[str, Any]) -> Iterator[Problem]:
    """What a target of this kind must and must not state, and the metrics that fit it."""
    kind = raw.get("kind", "regression")
    if not isinstance(kind, str) or kind not in _CLASS_METRICS or "name" not in target:
        return
    yield from _order("target.limits", target.get("limits"))
    if target["name"] == _mapping(raw, "data").get("weight"):
        yield Problem("data.weight", f"{target['name']!r} is the target.", "Name another column, or remove it.")
    classes = [c.get("value") if isinstance(c, dict) else c for c in _list(target, "classes")]
    yield from _twice("target.classes", classes)
    yield from _KINDS[kind](target, classes)
    metric = _mapping(raw, "search").get("metric")
    if isinstance(metric, str) and metric not in _CLASS_METRICS[kind]:
        fitting = ", ".join(_CLASS_METRICS[kind])
        yield Problem("search.metric", f"{metric!r} does not fit kind {kind}.", f"Use {fitting}.")
    if kind != "regression" and _list(_mapping(raw, "answers"), "events"):
        yield Problem("answers.events", "apply to regression.", "Remove them: the classes are the events.")


def _number(target: dict[str, Any], classes: list[Any]) -> Iterator[Problem]:
    for key, example in (("limits", "[0, 100]"), ("unit", "g")):
        if key not in target:
            yield Problem(f"target.{key}", "is missing.", f"Add `{key}: {example}`, say; 1 stands for no unit.")
    for key in ("positive", "classes"):
        if target.get(key) is not None:
            yield Problem(f"target.{key}", "applies to classes.", "Remove it, or write `kind: binary`.")


def _binary(target: dict[str, Any], classes: list[Any]) -> Iterator[Problem]:
    yield from _no_quantity(target)
    if target.get("positive") is None:
        yield Problem("target.positive", "is missing.", "Name the class whose probability is asked: `positive: 'yes'`.")
    elif classes and target["positive"] not in classes:
        yield Problem("target.positive", f"{target['positive']!r} is not among the classes.", "Name one of them.")
    if classes and len(classes) != 2:
        yield Problem("target.classes", f"holds {len(classes)}.", "A binary target has 2; or write `kind: multiclass`.")


def _multiclass(target: dict[str, Any], classes: list[Any]) -> Iterator[Problem]:
    yield from _no_quantity(target)
    if target.get("positive") is not None:
        yield Problem("target.positive", "applies to two classes.", "Remove it, or write `kind: binary`.")
    if target.get("classes") is not None:
        yield from _short("target.classes", target["classes"], 2)


def _no_quantity(target: dict[str, Any]) -> Iterator[Problem]:
    """A class has no unit and no limits; those that stand by default say as much."""
    if target.get("unit"):
        yield Problem("target.unit", "applies to regression.", "Remove it: the answer is a probability.")
    if _is_pair(target.get("limits")) and list(target["limits"]) != [0, 1]:
        yield Problem("target.limits", "apply to regression.", "Remove them: the answer is a probability.")


_KINDS: dict[str, Callable[[dict[str, Any], list[Any]], Iterator[Problem]]] = {
    "regression": _number,
    "binary": _binary,
    "multiclass": _multiclass,
}


def _split(split: dict[str, Any], target: Any) -> Iterator[Problem]:
    """What each kind of split needs, and what does not apply to it."""
    kind, by = split.get("kind", "random"), split.get("by")
    if kind in ("grouped", "time") and by is None:
        yield Problem("split.by", "is missing.", f"Name the column of data.sql that holds the {_BY[kind]}: `by: day`.")
    if kind == "random" and by is not None:
        yield Problem("split.by", "does not apply to kind random.", "Write `kind: grouped` or `kind: time`.")
    if kind in ("random", "grouped") and split.get("gap"):
        yield Problem("split.gap", f"does not apply to kind {kind}.", "Remove it, or write `kind: time`.")
    if isinstance(by, str) and by == target:
        yield Problem("split.by", f"{by!r} is the target.", "Name the column of the group or the time.")


_BY = {"grouped": "group", "time": "time"}


def _groups(raw: dict[str, Any], known: dict[str, Any]) -> Iterator[Problem]:
    for where, group in _items(raw, "groups"):
        yield from _reference(f"{where}.field", group.get("field"), known)
        kind = known.get(str(group.get("field")), {}).get("type")
        cuts = group.get("cuts") or []
        if kind == "number" and not cuts:
            yield Problem(where, "groups by a number without cuts.", "Add `cuts: [37]`, say.")
        if kind in ("category", "flag") and cuts:
            yield Problem(f"{where}.cuts", f"cuts do not apply to a {kind}.", "Remove them.")
        if kind == "date":
            yield Problem(where, "groups by a date.", "Group by a category, a flag or a number with cuts.")
        if _numbers(cuts) and list(cuts) != sorted(set(cuts)):
            yield Problem(f"{where}.cuts", "the cuts do not increase.", "Write them from small to large, each once.")


def _baselines(raw: dict[str, Any], known: dict[str, Any]) -> Iterator[Problem]:
    declared = set()
    items = list(_items(raw, "baselines"))
    given = [baseline for _, baseline in items]
    for where, baseline in items:
        yield from _baseline(where, baseline, raw.get("kind", "regression"), known)
        declared.add(str(baseline.get("name")))
    constant = "prior" if raw.get("kind") in ("binary", "multiclass") else "mean"
    yield from _twice("baselines", [constant, "linear", "lightgbm_defaults", *(b.get("name") for b in given)])
    options = {constant, "linear", "lightgbm_defaults"} | declared
    for position, name in enumerate(_list(_mapping(raw, "gate"), "baselines")):
        if name not in options:
            there = ", ".join(sorted(options))
            yield Problem(f"gate.baselines[{position}]", f"{name!r} is no baseline.", f"There are: {there}.")


_RULES = {
    "median_by": ("regression",),
    "rate_by": ("binary", "multiclass"),
    "formula": ("regression", "binary"),
    "sql": ("regression", "binary", "multiclass"),
}
"""Rule of a baseline -> the kinds of target that it applies to."""


def _baseline(where: str, baseline: dict[str, Any], kind: Any, known: dict[str, Any]) -> Iterator[Problem]:
    """One rule, which fits the kind of target and names fields that are there."""
    rules = [rule for rule in _RULES if baseline.get(rule) is not None]
    if len(rules) != 1:
        yield Problem(where, f"gives {', '.join(rules) or 'no rule'}.", f"Give one of {', '.join(_RULES)}.")
    for rule in rules:
        if isinstance(kind, str) and kind in _CLASS_METRICS and kind not in _RULES[rule]:
            fitting = ", ".join(name for name, kinds in _RULES.items() if kind in kinds)
            yield Problem(f"{where}.{rule}", f"does not apply to kind {kind}.", f"Use {fitting}.")
    for rule in ("median_by", "rate_by"):
        yield from _reference(f"{where}.{rule}", baseline.get(rule), known)
    if isinstance(text := baseline.get("formula"), str):
        for message, remedy in formula.problems(text, {name: str(field.get("type")) for name, field in known.items()}):
            yield Problem(f"{where}.formula", message, remedy)


def _sections(raw: dict[str, Any], known: dict[str, Any]) -> Iterator[Problem]:
    shown: list[Any] = []
    for where, section in _items(_mapping(raw, "form"), "sections", "form.sections"):
        yield from _short(f"{where}.fields", section.get("fields"), 1)
        for position, name in enumerate(_list(section, "fields")):
            yield from _reference(f"{where}.fields[{position}]", name, known)
            shown.append(name)
    yield from _twice("form.sections", shown)


def _events(raw: dict[str, Any], limits: Any) -> Iterator[Problem]:
    answers = _mapping(raw, "answers")
    events = list(_items(answers, "events", "answers.events"))
    yield from _twice("answers.events", [event.get("name") for _, event in events])
    for where, event in events:
        given = [key for key in ("below", "at_least", "between") if event.get(key) is not None]
        if len(given) != 1:
            yield Problem(where, f"gives {', '.join(given) or 'no bound'}.", "Give one of below, at_least, between.")
            continue
        bounds = event[given[0]] if given == ["between"] else [event[given[0]]]
        yield from _order(f"{where}.between", bounds if given == ["between"] else None)
        if _is_pair(limits):
            for bound in bounds if isinstance(bounds, list | tuple) else ():
                if isinstance(bound, int | float) and not limits[0] <= bound <= limits[1]:
                    yield Problem(
                        f"{where}.{given[0]}", f"{bound:g} is beyond the target's limits.", "Mend it or the limits."
                    )


def _adaptive(answers: dict[str, Any]) -> Iterator[Problem]:
    """The bounds of the working level hold the promised one between them."""
    adaptive, level = _mapping(answers, "adaptive"), answers.get("interval", 0.9)
    for key, sign in (("lowest", 1), ("highest", -1)):
        bound = adaptive.get(key)
        if isinstance(bound, int | float) and isinstance(level, int | float) and sign * bound >= sign * level:
            side = "below" if key == "lowest" else "above"
            yield Problem(f"answers.adaptive.{key}", f"{bound:g} is not {side} the interval's {level:g}.", "Mend it.")


LEAST_REASON = 10
"""Characters of a waiver's reason: `ok` is none."""


def _waivers(raw: dict[str, Any], known: dict[str, Any]) -> Iterator[Problem]:
    waivers = list(_items(_mapping(raw, "leakage"), "waivers", "leakage.waivers"))
    columns = known | {str(_mapping(raw, "split").get("by")): {}}  # a split may group by a column that is no field
    for where, waiver in waivers:
        field, check, reason = waiver.get("field"), waiver.get("check"), waiver.get("reason")
        yield from _reference(f"{where}.field", field, columns)
        if check == "duplicates_across_split" and field is not None:
            yield Problem(f"{where}.field", "duplicates are the whole table's.", "Remove the field.")
        if isinstance(check, str) and check != "duplicates_across_split" and field is None:
            yield Problem(f"{where}.field", "is missing.", "Name the field that may pass.")
        if isinstance(reason, str) and len(reason.strip()) < LEAST_REASON:
            yield Problem(f"{where}.reason", f"{reason!r} is no reason.", "Say why the value is known in time.")
    yield from _twice("leakage.waivers", [f"{w.get('field') or 'the table'}, {w.get('check')}" for _, w in waivers])


def _mapping(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _list(raw: dict[str, Any], key: str) -> list[Any]:
    value = raw.get(key)
    return list(value) if isinstance(value, list | tuple) else []


def _items(raw: dict[str, Any], key: str, path: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    for position, item in enumerate(_list(raw, key)):
        if isinstance(item, dict):
            yield f"{path or key}[{position}]", item


def _twice(where: str, names: list[Any]) -> Iterator[Problem]:
    for name, count in Counter(name for name in names if isinstance(name, str)).items():
        if count > 1:
            yield Problem(where, f"{name!r} stands {count} times.", "Keep one.")


def _short(where: str, items: Any, least: int) -> Iterator[Problem]:
    """Judged here and not by the type: a type that counts would hide what is wrong with the items."""
    if isinstance(items, list | tuple) and len(items) < least:
        yield Problem(where, f"holds {len(items)}.", f"Give {least} or more.")


def _reference(where: str, name: Any, known: dict[str, Any]) -> Iterator[Problem]:
    if isinstance(name, str) and name not in known:
        close = difflib.get_close_matches(name, list(known), n=1)
        remedy = f"Did you mean {close[0]!r}?" if close else "Name one of the fields."
        yield Problem(where, f"there is no field {name!r}.", remedy)


def _numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value)


def _is_pair(value: Any) -> bool:
    return _numbers(value) and len(value) == 2


def _order(where: str, limits: Any, dates: bool = False) -> Iterator[Problem]:
    if dates and isinstance(limits, list | tuple):
        for day in limits:
            try:
                date.fromisoformat(str(day))
            except ValueError:
                yield Problem(where, f"{str(day)!r} is not a day.", "Write 'YYYY-MM-DD' in quotes.")
                return
    pair = [str(v) for v in limits] if dates and isinstance(limits, list | tuple) and len(limits) == 2 else limits
    if (_is_pair(pair) or dates) and pair and pair[0] >= pair[1]:
        yield Problem(where, f"{pair[0]} is not below {pair[1]}.", "Write the smaller one first.")
