"""The View: frozen, with a digest of what changes a number, and values that are exact."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from feature_store import event
from feature_store.errors import EventRefused
from feature_store.value import as_float, fit, instant, ratio
from feature_store.view import View, dumps, microseconds

SALES: dict[str, Any] = {
    "view": "sales",
    "title": "Sales",
    "entity": "product",
    "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
    "id": ["basket"],
    "event_time": "sold_at",
    "columns": {"units": "int", "value": "decimal(2)", "price": "float32", "deal": "flag", "store": "text"},
    "features": {
        "units_7d": {"sum": "units", "window": "7d"},
        "units_28d": {"sum": "units", "window": "28d"},
        "value_7d": {"sum": "value", "window": "7d"},
        "sales": {"count": True},
        "mean_value": {"mean": "value"},
        "last_price": {"last": "price"},
        "deals": {"sum": "deal"},
        "stores": {"distinct": "store", "window": "1w"},
        "units_change": {"difference": ["units_7d", "units_28d"]},
        "units_share": {"ratio": ["units_7d", "units_28d"]},
        "odd": {"difference": ["units_7d", "value_7d"]},
    },
    "attributes": {"data": {"sources": {"p": "p.csv"}, "sql": "SELECT * FROM p"}, "columns": {"department": "text"}},
}
NOW = instant("2024-06-01")


def view(**changes: Any) -> View:
    return View.model_validate(SALES | changes)


def test_a_view_survives_the_trip_through_a_model_version():
    assert View.model_validate_json(dumps(view())) == view()
    assert View.model_validate_json(dumps(view())).digest == view().digest


def test_the_kind_of_every_output_follows_from_the_columns():
    assert view().outputs == {
        "units_7d": "int",
        "units_28d": "int",
        "value_7d": "decimal(2)",
        "sales": "int",
        "mean_value": "float64",
        "last_price": "float32",
        "deals": "int",
        "stores": "int",
        "units_change": "int",
        "units_share": "float64",
        "odd": "float64",
        "department": "text",
    }
    assert view().values == ("units", "value", "price", "deal", "store")


def test_the_digest_changes_with_whatever_changes_a_number_and_with_nothing_else():
    base = view().digest
    features = SALES["features"]
    assert view(title={"en": "Other", "zh": "别的"}).digest == base
    assert view(data={**SALES["data"], "citation": "Somebody 2020"}).digest == base
    assert view(features=features | {"stores": {"distinct": "store", "window": "7d"}}).digest == base
    for change in (
        {"entity": ["product", "store"]},
        {"every": "1d"},
        {"latest": "30d"},
        {"known_time": "known_at"},
        {"id": ["basket", "line"]},
        {"data": {**SALES["data"], "sql": "SELECT * FROM t WHERE units > 0"}},
        {"columns": SALES["columns"] | {"units": "decimal(0)"}},
        {"features": features | {"sales": {"count": "units"}}},
        {"features": features | {"stores": {"distinct": "store", "window": "8d"}}},
        {"features": features | {"more": {"max": "units"}}},
        {"attributes": None},
    ):
        assert view(**change).digest != base, change


def test_instants_are_floored_to_midnight_and_to_mondays():
    noon = instant("2024-05-30T12:34:56")  # a Thursday
    assert view().floor(noon) == noon
    assert view(every="1d").floor(noon) == instant("2024-05-30")
    assert view(every="1w").floor(noon) == instant("2024-05-27")
    assert view(every="30m").floor(noon) == instant("2024-05-30T12:30")
    assert view(every="1d").floor(-1) == instant("1969-12-31")
    assert view(every="1d").floor(instant("2024-05-30")) == instant("2024-05-30")


def test_a_window_holds_its_end_and_not_its_beginning():
    past = view().features["units_7d"]
    week = microseconds("7d")
    assert [past.reaches(NOW, NOW + d) for d in (1, 0, 1 - week, -week)] == [False, True, True, False]
    known = view(known_time="planned_at", features={"planned": {"max": "deal", "ahead": "7d"}}).features["planned"]
    assert [known.reaches(NOW, NOW + d) for d in (0, 1, week, week + 1)] == [False, True, True, False]
    assert view().features["sales"].reaches(NOW, instant("0001-01-01"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": {"a": {"sum": "price"}}}, "order of its terms"),
        ({"features": {"a": {"min": "store"}}}, "means nothing"),
        ({"features": {"a": {"sum": "unit"}}}, "Did you mean 'units'"),
        ({"features": {"a": {"sum": "units", "max": "units"}}}, "gives sum, max"),
        ({"features": {"a": {"window": "7d"}}}, "gives no aggregate"),
        ({"features": {"a": {"max": "deal", "ahead": "7d"}}}, "nothing ahead is known"),
        ({"features": {"a": {"max": "deal", "ahead": "7d", "window": "7d"}}}, "window and ahead"),
        ({"known_time": "k", "features": {"a": {"max": "deal", "ahead": "400d"}}}, "beyond `latest`"),
        ({"features": {"a": {"ratio": ["b", "b"]}, "b": {"count": True}}}, "stands below"),
        ({"features": {"a": {"last": "store"}, "b": {"ratio": ["a", "a"]}}}, "is no number"),
        ({"features": {"a": {"count": True}, "b": {"ratio": ["a", "a"], "window": "7d"}}}, "does not apply"),
        ({"features": {"product": {"count": True}}}, "name of something else"),
        ({"features": {"department": {"count": True}}}, "name of something else"),
        ({"features": {}}, "holds none"),
        ({"entity": []}, "names no column"),
        ({"id": ["basket", "basket"]}, "stands 2 times"),
        ({"columns": SALES["columns"] | {"product": "flag"}}, "an entity or id is no flag"),
        ({"columns": {"units": "integer"}}, "pattern"),
        ({"every": "1 day"}, "pattern"),
    ],
)
def test_what_does_not_hold_together_is_refused_with_its_remedy(change, said):
    with pytest.raises(ValidationError) as caught:
        view(**change)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        ("int", 5, 5),
        ("int", 5.0, 5),
        ("int", "-5", -5),
        ("int", math.nan, None),
        ("int", 2**63 - 1, 2**63 - 1),
        ("decimal(2)", 3.99, 399),
        ("decimal(2)", "3.99", 399),
        ("decimal(2)", 1, 100),
        ("decimal(0)", 2.5, 2),
        ("decimal(0)", 3.5, 4),
        ("decimal(2)", 0.125, 12),
        ("float32", 0.1, float(np.float32(0.1))),
        ("float64", 0.1, 0.1),
        ("flag", True, 1),
        ("flag", 0.0, 0),
        ("flag", "false", 0),
        ("text", "a", "a"),
        ("text", 5, "5"),
        ("text", date(2024, 5, 30), "2024-05-30"),
        ("text", None, None),
    ],
)
def test_a_value_is_kept_as_its_kind(kind, given, kept):
    assert fit(kind, given) == kept


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("int", 5.5),
        ("int", True),
        ("int", 2**63),
        ("int", 1e300),
        ("int", "5.0"),
        ("int", "five"),
        ("decimal(2)", 1e14),
        ("decimal(2)", math.inf),
        ("float32", 1e39),
        ("float64", "1e999"),
        ("float64", "inf"),
        ("float64", False),
        ("flag", 2),
        ("flag", "yes"),
        ("text", 1.5),
        ("text", True),
        ("text", "\ud800"),
        ("text", ["a"]),
    ],
)
def test_a_value_of_another_kind_is_refused(kind, given):
    with pytest.raises(ValueError):
        fit(kind, given)


def test_minus_nothing_is_nothing():
    assert [math.copysign(1, fit(kind, -0.0)) for kind in ("float32", "float64")] == [1, 1]  # type: ignore[arg-type]


def test_times_are_utc_with_or_without_a_zone():
    noon = instant("2024-05-30 12:00")
    east = datetime(2024, 5, 30, 20, tzinfo=timezone(timedelta(hours=8)))
    assert instant(east) == noon == instant("2024-05-30T20:00:00+08:00") == instant("2024-05-30T12:00:00.000Z")
    assert instant(datetime(2024, 5, 30, 12)) == noon  # noqa: DTZ001
    assert instant(date(1970, 1, 2)) == microseconds("1d")
    assert instant(datetime(1, 1, 1, tzinfo=UTC)) == instant("0001-01-01")
    for wrong in ("2024-02-30", "yesterday", "2024-05-30T24:00", "20240530", 1_700_000_000, True):
        with pytest.raises(ValueError):
            instant(wrong)


def test_a_ratio_of_nothing_is_unknown():
    assert ratio(1.0, 0.0) is None
    assert ratio(None, 1.0) is None
    assert ratio(as_float("decimal(2)", 399), as_float("int", 3)) == 3.99 / 3


ROW = {"product": "p", "basket": 7, "sold_at": "2024-05-30", "units": 2, "value": 3.99, "price": 2, "deal": True}


def test_a_row_becomes_an_event():
    entity, found = event.read(view(), ROW, NOW)
    assert entity == ("p",)
    assert found == event.Event(instant("2024-05-30"), instant("2024-05-30"), ("7",), (2, 399, 2.0, 1, None))


@pytest.mark.parametrize(
    ("change", "reason", "column"),
    [
        ({"product": None}, "null_key", "product"),
        ({"basket": None}, "null_key", "basket"),
        ({"basket": 1.5}, "wrong_type", "basket"),
        ({"sold_at": None}, "null_time", "sold_at"),
        ({"sold_at": "soon"}, "unreadable_time", "sold_at"),
        ({"sold_at": "2025-06-03"}, "far_future", "sold_at"),
        ({"units": "many"}, "wrong_type", "units"),
    ],
)
def test_what_is_wrong_with_an_event_has_a_name_and_a_place(change, reason, column):
    with pytest.raises(EventRefused) as caught:
        event.read(view(), ROW | change, NOW)
    assert (caught.value.reason, caught.value.column) == (reason, column)
    assert reason in event.REASONS


def test_of_two_events_with_one_id_the_one_known_first_counts():
    planned = view(known_time="known_at")
    rows = [ROW | {"known_at": "2024-05-31", "units": 1}, ROW | {"known_at": "2024-05-30", "units": 9},
            ROW | {"known_at": "2024-05-30", "units": None}, ROW | {"known_at": "2024-05-30", "store": ""}]  # fmt: skip
    read = [event.read(planned, row, NOW)[1] for row in rows]
    assert [found.values[0] for found in sorted(read, key=lambda one: one.precedence)] == [2, 9, None, 1]
