"""What is known of an entity, kept as bytes: late, repeated, unordered events give what loops over all of them see."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import entity, event, layout, state
from feature_store.errors import InstantRefused
from feature_store.online_sqlite import SqliteOnline
from feature_store.push import push
from feature_store.vectors import Vectors
from tests.histories import DAY, HOUR, NOON, lines, moment, rows, same_bits, seen, view

FOREVER = {
    "all_units": {"sum": "units"},
    "first_price": {"min": "price"},
    "all_shops": {"distinct": "shop"},
    "newest": {"last": "shop"},
    "per_event": {"mean": "paid"},
    "week": {"count": True, "window": "1w"},
}


def known(a_view, some, now):
    """The events of each key, as the loops take them."""
    out: dict[str, list[event.Event]] = {}
    for row in some:
        who, one = event.read(a_view, row, now)
        out.setdefault(entity.key(who), []).append(one)
    return out


def store(tmp_path: Path) -> SqliteOnline:
    return SqliteOnline(tmp_path / "online.db")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([{}, {"every": "1d"}, {"every": "1w"}, {"features": FOREVER}]))
def test_pushed_events_give_what_loops_over_them_see_at_any_instant(tmp_path_factory, seed, more):
    rng, a_view = random.Random(seed), view(**more)
    online = store(tmp_path_factory.mktemp("online"))
    some, pushed = rows(rng, 40, 2), []
    vectors = Vectors(a_view, online)
    for start in range(0, len(some), 9):
        part = some[start : start + 9]
        pushed += part
        push(a_view, online, [lines(part)], lambda: NOON, lambda done: None)
        for key, events in known(a_view, pushed, NOON).items():
            for at in (NOON, NOON + rng.randrange(9) * DAY + rng.randrange(3), NOON - rng.randrange(DAY)):
                if a_view.floor(at) < NOON - DAY:
                    continue
                expected, found = seen(a_view, events, at), vectors.one(key, at)
                assert all(same_bits(found[name], value) for name, value in expected.items()), (key, at)
    online.close()


def test_the_same_events_in_any_order_and_any_parts_are_the_same_bytes(tmp_path):
    rng, a_view = random.Random(7), view()
    some, kept = rows(rng, 120, 2), []
    for number in range(4):
        online = store(tmp_path / str(number))
        rng.shuffle(some)
        size = rng.choice([1, 7, 500])
        push(a_view, online, [lines(some[at : at + size]) for at in range(0, len(some), size)], lambda: NOON, print)
        keys = sorted(known(a_view, some, NOON))
        kept.append((online.rows(a_view.digest, keys), online.tails(a_view.digest, keys)))
    assert all(one == kept[0] for one in kept)


def test_a_row_is_unpacked_as_long_as_it_holds_and_worked_out_afterwards(tmp_path):
    a_view, online = view(), store(tmp_path)
    row = rows(random.Random(1), 1, 1)[0] | {"sold_at": moment(NOON - HOUR), "known_at": moment(NOON - HOUR)}
    push(a_view, online, [lines([row])], lambda: NOON, print)
    vectors = Vectors(a_view, online)
    (key,) = known(a_view, [row], NOON)
    gone = NOON - HOUR + 2 * DAY  # when it leaves the window of two days
    assert vectors.one(key, NOON)["events_2d"] == vectors.one(key, gone - 1)["events_2d"] == 1
    assert vectors.stale == 0
    assert vectors.one(key, gone)["events_2d"] == 0
    assert vectors.stale == 1


def test_an_event_that_is_known_later_counts_from_then_on(tmp_path):
    a_view, online = view(), store(tmp_path)
    row = rows(random.Random(1), 1, 1)[0] | {"sold_at": moment(NOON - HOUR), "known_at": moment(NOON + HOUR)}
    push(a_view, online, [lines([row])], lambda: NOON, print)
    vectors, (key,) = Vectors(a_view, online), known(a_view, [row], NOON)
    assert [vectors.one(key, at)["events_2d"] for at in (NOON, NOON + HOUR - 1, NOON + HOUR)] == [0, 0, 1]


def test_an_instant_before_what_is_kept_is_a_clear_error(tmp_path):
    a_view, online = view(), store(tmp_path)
    some = rows(random.Random(1), 3, 1)
    push(a_view, online, [lines(some)], lambda: NOON, print)
    key = next(iter(known(a_view, some, NOON)))
    with pytest.raises(InstantRefused, match="does not reach back"):
        Vectors(a_view, online).one(key, NOON - 2 * DAY)


def test_events_that_no_window_looks_at_any_more_are_let_go(tmp_path):
    a_view, online = view(), store(tmp_path)
    base = rows(random.Random(1), 1, 1)[0]
    old, new = (base | {"slip": slip, "sold_at": moment(at), "known_at": moment(at)} for slip, at in
                (("old", NOON - 5 * DAY), ("new", NOON)))  # fmt: skip
    key = next(iter(known(a_view, [old], NOON)))
    sizes = []
    for part, now in ((old, NOON - 5 * DAY), (new, NOON), (new | {"slip": "later"}, NOON + 3 * DAY)):
        push(a_view, online, [lines([part])], lambda now=now: now, print)
        sizes.append(len(state.read(layout.of(a_view), online.tails(a_view.digest, [key])).events.event))
    assert sizes == [1, 2, 2]


def test_lines_that_are_refused_are_named_and_the_rest_is_stored(tmp_path):
    a_view, online = view(), store(tmp_path)
    good = rows(random.Random(3), 1, 1)[0] | {"sold_at": moment(NOON - HOUR), "known_at": moment(NOON - HOUR)}
    good["units"] = 1
    bad = [
        b"{",
        b"[1]",
        *lines([
            good | {"store": None},
            good | {"slip": None},
            good | {"sold_at": None},
            good | {"sold_at": "yesterday"},
            good | {"sold_at": moment(NOON + 400 * DAY), "known_at": moment(NOON)},
            good | {"units": "many"},
            good | {"units": 99},
        ]),
    ]  # fmt: skip
    done = push(a_view, online, [[*lines([good]), b"", *bad, *lines([good])]], lambda: NOON, print)
    assert [(one.line, one.reason) for one in done.refusals] == [
        (3, "not_json"), (4, "not_json"), (5, "null_key"), (6, "null_key"), (7, "null_time"),
        (8, "unreadable_time"), (9, "far_future"), (10, "wrong_type"), (11, "duplicate"),
    ]  # fmt: skip
    assert (done.lines, done.stored, done.unchanged) == (12, 1, 1)
    assert "many" not in "".join(map(str, done.refusals)), "a refusal tells no value"


def test_a_sum_beyond_64_bits_refuses_the_event_that_makes_it(tmp_path):
    a_view, online = view(), store(tmp_path)
    base = rows(random.Random(3), 1, 1)[0] | {"sold_at": moment(NOON), "known_at": moment(NOON), "units": 2**62}
    some = [base | {"slip": str(number)} for number in range(3)]
    done = push(a_view, online, [lines(some)], lambda: NOON, print)
    assert (done.stored, [(one.line, one.reason) for one in done.refusals]) == (
        1,
        [(2, "sum_too_large"), (3, "sum_too_large")],
    )
    key = next(iter(known(a_view, some, NOON)))
    assert Vectors(a_view, online).one(key, NOON)["units_2d"] == 2**62


def test_a_row_of_more_than_64_features_keeps_what_is_missing_apart(tmp_path):
    features = {f"f{number}": {"last": ("units", "shop", "price")[number % 3], "window": "2d"} for number in range(150)}
    a_view, online = view(features=features), store(tmp_path)
    row = rows(random.Random(3), 1, 1)[0] | {
        "sold_at": moment(NOON),
        "known_at": moment(NOON),
        "units": None,
        "shop": "汉",
    }
    row |= {"price": 1.1}
    push(a_view, online, [lines([row])], lambda: NOON, print)
    key, events = next(iter(known(a_view, [row], NOON).items()))
    assert Vectors(a_view, online).one(key, NOON) == seen(a_view, events, NOON)


def test_a_key_is_read_back_as_it_was_written():
    a_view = view()
    assert entity.key((7, "b,c/汉")) == "7,b%2Cc%2F%E6%B1%89"
    assert entity.read(a_view, "007,b%2Cc%2F%E6%B1%89") == (7, "b,c/汉")
