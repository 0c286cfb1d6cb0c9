"""What no single key of a Task can show: names that must exist, limits in order, things that stand twice.

It judges plain data that may be half wrong, so that a Task file shows all its problems at once.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import Any

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
    if target.get("name") in known:
        yield Problem(
            f"fields[{names.index(target['name'])}].name",
            f"{target['name']!r} is the target: it would predict itself.",
            "Remove the field.",
        )
    yield from _order("target.limits", target.get("limits"))
    for where, field in fields:
        yield from _order(f"{where}.limits", field.get("limits"), dates=field.get("type") == "date")
        yield from _short(f"{where}.choices", field.get("choices"), 2)
        values = [c.get("value") if isinstance(c, dict) else c for c in _list(field, "choices")]
        yield from _twice(f"{where}.choices", values)
    yield from _groups(raw, known)
    yield from _baselines(raw, known)
    yield from _sections(raw, known)
    yield from _events(raw, target.get("limits"))


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
    for where, baseline in _items(raw, "baselines"):
        yield from _reference(f"{where}.median_by", baseline.get("median_by"), known)
        declared.add(str(baseline.get("name")))
    options = {"mean", "linear", "lightgbm_defaults"} | declared
    for position, name in enumerate(_list(_mapping(raw, "gate"), "baselines")):
        if name not in options:
            there = ", ".join(sorted(options))
            yield Problem(f"gate.baselines[{position}]", f"{name!r} is no baseline.", f"There are: {there}.")


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
