"""Histories of events for tests of the feature store, and a slow, obvious way to see what was known when."""

from __future__ import annotations

import json
import random
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_store.event import Event
from feature_store.value import as_float, ratio
from feature_store.view import View

DAY, HOUR = 86_400_000_000, 3_600_000_000
NOON = 19_800 * DAY + 12 * HOUR
"""An instant in March 2024."""


def view(**more: Any) -> View:
    """A view with every kind of column and every aggregate; `more` goes over its keys."""
    features: dict[str, Any] = {
        "events_2d": {"count": True, "window": "2d"},
        "price_count": {"count": "price", "window": "5d"},
        "units_2d": {"sum": "units", "window": "2d"},
        "units_5d": {"sum": "units", "window": "5d"},
        "units_share": {"ratio": ["units_2d", "units_5d"]},
        "units_more": {"difference": ["units_5d", "units_2d"]},
        "paid_5d": {"sum": "paid", "window": "5d"},
        "paid_mean": {"mean": "paid", "window": "5d"},
        "paid_per_unit": {"ratio": ["paid_5d", "units_5d"]},
        "paid_odd": {"difference": ["paid_5d", "units_5d"]},
        "units_mean": {"mean": "units", "window": "2d"},
        "units_min": {"min": "units", "window": "5d"},
        "units_max": {"max": "units", "window": "2d"},
        "price_min": {"min": "price", "window": "5d"},
        "price_max": {"max": "price", "window": "2d"},
        "price_last": {"last": "price", "window": "5d"},
        "weight_last": {"last": "weight", "window": "5d"},
        "shop_last": {"last": "shop", "window": "5d"},
        "shops": {"distinct": "shop", "window": "5d"},
        "prices": {"distinct": "price", "window": "2d"},
        "deals": {"sum": "deal", "window": "5d"},
        "deal_max": {"max": "deal", "window": "2d"},
        "deal_ahead": {"max": "deal", "ahead": "3d"},
        "units_ahead": {"sum": "units", "ahead": "1d"},
    }
    plain: dict[str, Any] = {
        "view": "sales",
        "title": "Sales",
        "entity": ["store", "brand"],
        "data": {"sources": {"sales": "sales.jsonl"}, "sql": "SELECT * FROM sales"},
        "id": ["slip", "line"],
        "event_time": "sold_at",
        "known_time": "known_at",
        "columns": {
            "store": "int", "line": "int", "units": "int", "paid": "decimal(2)", "price": "float32",
            "weight": "float64", "shop": "text", "deal": "flag",
        },
        "features": features,
    }  # fmt: skip
    return View.model_validate(plain | more)


def rows(
    rng: random.Random, many: int, entities: int, *, end: int = NOON, span: int = 12 * DAY
) -> list[dict[str, Any]]:
    """Rows of such a source as JSON holds them: ties, late ones, plans, duplicates, nulls, in no order."""
    out: list[dict[str, Any]] = []
    for number in range(many):
        at = end - rng.randrange(span // HOUR) * HOUR + rng.choice([0, 0, 1, 999_999])
        known = at + rng.choice([0, 0, 0, 1, HOUR, 2 * DAY, -2 * DAY, -5 * DAY])
        row = {
            "store": rng.randrange(entities),
            "brand": rng.choice(["a", "b,c", "汉"]),
            "slip": f"s{number}" if rng.random() < 0.5 else f"é{number}",
            "line": rng.randrange(3),
            "sold_at": moment(at),
            "known_at": moment(known),
            "units": rng.choice([None, 0, 1, 2, -3, 10**12]),
            "paid": rng.choice([None, 0, 1.25, 19.99, -0.01, 123456.78]),
            "price": rng.choice([None, 1.1, 2.5, -3.75, 0.0]),
            "weight": rng.choice([None, 0.1, 1e300, -2.0]),
            "shop": rng.choice([None, "", "north", "süd", "汉口"]),
            "deal": rng.choice([None, True, False]),
        }
        out.append(row)
        if rng.random() < 0.1:
            other = dict(row)
            if rng.random() < 0.7:
                other["known_at"] = moment(known + rng.choice([-HOUR, 0, HOUR]))
                other["units"] = rng.choice([None, 5])
            out.append(other)
    rng.shuffle(out)
    return out


def lines(some: list[dict[str, Any]]) -> list[bytes]:
    """The rows as JSON Lines."""
    return [json.dumps(row, ensure_ascii=False).encode() for row in some]


def moment(us: int) -> str:
    """Microseconds since 1970 as ISO 8601."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()


def seen(view: View, events: list[Event], as_of: int) -> dict[str, Any]:
    """The features of one entity as of an instant, by loops over its events; decimals as floats, flags as bool."""
    at = view.floor(as_of)
    first: dict[Any, Event] = {}
    for event in events:
        if event.id not in first or event.precedence < first[event.id].precedence:
            first[event.id] = event
    known = sorted((one for one in first.values() if one.known <= at), key=lambda one: (one.event, one.known, one.id))
    out: dict[str, Any] = {}
    for name, feature in view.features.items():
        if feature.pair is not None:
            kinds = [view.outputs[one] for one in feature.pair]
            a, b = (out[one] for one in feature.pair)
            if view.outputs[name] != "float64":
                out[name] = None if a is None or b is None else a - b
                continue
            a, b = (None if x is None else as_float(kind, x) for kind, x in zip(kinds, (a, b), strict=True))
            out[name] = ratio(a, b) if feature.ratio else None if a is None or b is None else a - b
            continue
        inside = [one for one in known if feature.reaches(at, one.event)]
        if feature.column is None:
            out[name] = len(inside)
            continue
        place, kind = view.values.index(feature.column), view.kind(feature.column)
        values = [one.values[place] for one in inside if one.values[place] is not None]
        match feature.aggregate:
            case "count":
                out[name] = len(values)
            case "distinct":
                out[name] = len(set(values))
            case "sum":
                out[name] = sum(values) if values else None
            case "mean":
                out[name] = as_float(kind, sum(values)) / float(len(values)) if values else None
            case "min" | "max":
                out[name] = (min if feature.aggregate == "min" else max)(values) if values else None
            case "last":
                out[name] = values[-1] if values else None
    return {name: served(view.outputs[name], value) for name, value in out.items()}


def served(kind: str, value: Any) -> Any:
    """A kept value as it is served."""
    if value is None:
        return None
    return bool(value) if kind == "flag" else as_float(kind, value) if kind.startswith("decimal") else value


def same_bits(one: Any, other: Any) -> bool:
    """Whether two served values are the same to the bit, and of one type."""
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    return type(one) is type(other) and one == other
