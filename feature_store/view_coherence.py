"""What no single key of a View can show: columns and features that must exist, and what can be asked of them.

It judges plain data that may be half wrong, so that a View file shows all its problems at once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

from feature_store.errors import Problem

EXACT = ("int", "decimal", "flag")
ORDERED = (*EXACT, "float32", "float64")
ANY = (*ORDERED, "text")
AGGREGATES: dict[str, tuple[str, ...]] = {
    "sum": EXACT,
    "count": ANY,
    "mean": EXACT,
    "min": ORDERED,
    "max": ORDERED,
    "last": ANY,
    "distinct": ANY,
    "ratio": (),
    "difference": (),
}
"""Aggregate -> kinds of columns that it takes. A sum of floats depends on the order of its terms, so there is none."""

RESERVED = ("as_of",)


def contradictions(raw: Any) -> Iterator[Problem]:
    """What no single key can show. `raw` may be half wrong: only what can be read is judged."""
    if not isinstance(raw, dict):
        return
    entity, ids = names(raw.get("entity")), names(raw.get("id"))
    columns, features = _mapping(raw, "columns"), _mapping(raw, "features")
    for key, given in (("entity", entity), ("id", ids)):
        yield from _keys(key, raw.get(key), given)
    for name in sorted({*entity, *ids} & set(columns)):
        if columns[name] not in ("int", "text"):
            yield Problem(f"columns.{name}", f"an entity or id is no {columns[name]}.", "Use int or text.")
    if raw.get("features") == {}:
        yield Problem("features", "holds none.", "Add one, such as `units_7d: {sum: quantity, window: 7d}`.")
    attributes = _mapping(_mapping(raw, "attributes"), "columns")
    yield from _taken("features", features, {*entity, *RESERVED})
    yield from _taken("attributes.columns", attributes, {*entity, *RESERVED, *features})
    yield from _features(raw, features, columns)


def _keys(key: str, value: Any, given: list[str]) -> Iterator[Problem]:
    if value in ([], ()):
        yield Problem(key, "names no column.", "Name one or more.")
    for name in sorted({name for name in given if given.count(name) > 1}):
        yield Problem(key, f"{name!r} stands {given.count(name)} times.", "Keep one.")


def _taken(where: str, group: dict[str, Any], taken: set[str]) -> Iterator[Problem]:
    for name in group:
        if name in taken:
            yield Problem(f"{where}.{name}", "has the name of something else here.", "Give it another name.")


def names(value: Any) -> list[str]:
    """A name, or several, as a list; what is no name is left out."""
    several = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    return [name for name in several if isinstance(name, str)]


def _features(raw: dict[str, Any], features: dict[str, Any], columns: dict[str, Any]) -> Iterator[Problem]:
    numbers: list[str] = []
    latest = _seconds(raw.get("latest", "366d"))
    for name, feature in features.items():
        where = f"features.{name}"
        if not isinstance(feature, dict):
            continue
        given = [key for key in AGGREGATES if feature.get(key) not in (None, False)]
        if len(given) != 1:
            said = "gives " + (", ".join(given) or "no aggregate")
            yield Problem(where, f"{said}.", f"Give one of {', '.join(AGGREGATES)}.")
            continue
        if given[0] in ("ratio", "difference"):
            yield from _pair(f"{where}.{given[0]}", feature[given[0]], numbers, list(features))
            for key in ("window", "ahead"):
                if feature.get(key) is not None:
                    yield Problem(f"{where}.{key}", f"does not apply to a {given[0]}.", "Give it to its two features.")
        else:
            yield from _column(f"{where}.{given[0]}", given[0], feature[given[0]], columns)
            yield from _windows(where, feature, raw, latest)
        if columns.get(str(feature.get(given[0]))) not in ("text", "flag") or given[0] not in ("min", "max", "last"):
            numbers.append(name)


def _column(where: str, aggregate: str, column: Any, columns: dict[str, Any]) -> Iterator[Problem]:
    """The column is declared, and of a kind that can be aggregated so."""
    if (aggregate == "count" and column is True) or not isinstance(column, str):
        return
    if column not in columns:
        close = difflib.get_close_matches(column, [str(name) for name in columns], n=1)
        remedy = f"Did you mean {close[0]!r}?" if close else f"Add `{column}: int` (or what it is) to `columns`."
        yield Problem(where, f"{column!r} is not among the columns.", remedy)
        return
    kind = str(columns[column]).split("(")[0]
    if kind in ANY and kind not in AGGREGATES[aggregate]:
        floats = kind.startswith("float")
        why = "would depend on the order of its terms" if floats else "means nothing"
        remedy = "Declare the column as decimal(2), say." if floats else "Use last, count or distinct."
        yield Problem(where, f"a {aggregate} of {kind} {why}.", remedy)


def _pair(where: str, pair: Any, numbers: list[str], features: list[str]) -> Iterator[Problem]:
    """Both features stand above and are numbers."""
    if not isinstance(pair, list | tuple):
        return
    for name in pair:
        if not isinstance(name, str) or name in numbers:
            continue
        if name in features:
            yield Problem(where, f"{name!r} is no number, or stands below.", "Name numbers that stand above.")
        else:
            close = difflib.get_close_matches(name, features, n=1)
            remedy = f"Did you mean {close[0]!r}?" if close else "Name features of this view."
            yield Problem(where, f"there is no feature {name!r}.", remedy)


def _windows(where: str, feature: dict[str, Any], raw: dict[str, Any], latest: int | None) -> Iterator[Problem]:
    ahead = feature.get("ahead")
    if ahead is None:
        return
    if feature.get("window") is not None:
        yield Problem(where, "gives window and ahead.", "Keep one: window looks back from T, ahead looks on from it.")
    if raw.get("known_time") in (None, raw.get("event_time")):
        remedy = "Name the column that says when an event was planned: `known_time: planned_at`."
        yield Problem(f"{where}.ahead", "nothing ahead is known where an event is known when it happens.", remedy)
    if (length := _seconds(ahead)) is not None and latest is not None and length > latest:
        remedy = f"Shorten it, or write `latest: {ahead}` in the view."
        yield Problem(f"{where}.ahead", f"{ahead} reaches beyond `latest`, after which events are refused.", remedy)


def _seconds(duration: Any) -> int | None:
    """A duration in seconds, to compare two of them."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhdw])", duration) if isinstance(duration, str) else None
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[match[2]] if match else None


def _mapping(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}
