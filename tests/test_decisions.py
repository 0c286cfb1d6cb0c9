"""Decisions: pure functions of the predictive distribution, which never contradict its quantiles."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from feature_store.decision import Headcount, OrderQuantity, Promise, Shortlist
from serving import decisions, erlang
from serving.distribution import ALL, Cell, Predictive
from tests.oracles import best_by_trying, cost_by_counting, erlang_c_by_factorials

LIMITS = (0.0, 500.0)


def known(scores: list[float], centre: float = 0.0, scale: float = 1.0) -> Predictive:
    return Predictive(Cell(ALL, np.sort(np.array(scores, dtype=float))), centre, scale, LIMITS)


def places(case: Predictive) -> list[float]:
    """The n + 1 equally likely places of a case, in the target's unit; the last one counts as the largest."""
    scores = case.cell.scores.tolist()
    return [min(max(case.centre + case.scale * score, LIMITS[0]), LIMITS[1]) for score in [*scores, scores[-1]]]


cases = st.builds(
    known, st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.floats(-20, 520), st.floats(0.01, 60)
)  # fmt: skip
levels = st.floats(0.02, 0.98)
costs_of_one = st.floats(0.01, 50)
packs = st.sampled_from([1.0, 6.0, 12.0, 0.5, 0.1])


def order(**declared: float) -> OrderQuantity:
    return OrderQuantity(kind="order_quantity", **declared)  # type: ignore[arg-type]


# --- the distribution of one case


@given(cases, levels)
def test_a_quantile_is_reached_with_its_level(case, level):
    n = len(case.cell.scores)
    assert case.at_most(case.quantile(level)) >= min(level, (n + 0.5) / (n + 1))
    assert LIMITS[0] <= case.quantile(level) <= LIMITS[1]


@given(cases, st.floats(0.51, 0.98))
def test_above_a_half_it_is_the_quantile_that_intervals_are_made_of(case, level):
    end = case.centre + case.scale * case.cell.quantile(level)
    assert case.quantile(level) == min(max(end, LIMITS[0]), LIMITS[1])


@given(cases, st.floats(-30, 560), st.floats(-30, 560))
def test_chances_grow_with_the_amount(case, one, other):
    low, high = sorted((one, other))
    assert case.at_most(low) <= case.at_most(high)


@given(cases, st.floats(-30, 560))
def test_the_excess_is_what_counting_gives(case, amount):
    counted = cost_by_counting(places(case), 1.0, 0.0, amount)
    assert case.excess(amount) == pytest.approx(counted, rel=1e-9, abs=1e-9)


# --- how much to order


@given(cases, costs_of_one, costs_of_one)
def test_no_stock_costs_less_than_the_quantile_at_the_critical_ratio(case, understock, overstock):
    declared = order(understock=understock, overstock=overstock)
    told = decisions.order_quantity(declared, case, {})
    costs = [cost_by_counting(places(case), understock, overstock, stock) for stock in places(case)]
    ours = decisions.expected_cost(declared, case, told["demand"])
    assert ours == pytest.approx(min(costs), rel=1e-9, abs=1e-7)


@given(cases, costs_of_one, costs_of_one, packs, st.floats(-50, 600))
def test_an_order_reaches_its_level_in_whole_packs_and_no_more(case, understock, overstock, pack, there):
    declared = order(understock=understock, overstock=overstock, pack=pack).model_copy(update={"on_hand": "stock"})
    told = decisions.order_quantity(declared, case, {"stock": there})
    quantity, n = told["quantity"], len(case.cell.scores)
    assert quantity >= 0
    assert quantity / pack == pytest.approx(round(quantity / pack), abs=1e-6)
    assert there + quantity >= told["demand"] - 1e-8 * pack - 1e-9
    assert quantity == 0 or there + quantity - pack < told["demand"]
    if there + quantity >= told["demand"]:
        assert told["enough"] >= min(told["level"], (n + 0.5) / (n + 1))


@given(cases, costs_of_one, costs_of_one, st.floats(1.0, 10.0), st.floats(0, 300))
def test_an_order_grows_with_the_cost_of_missing_and_shrinks_with_that_of_leftovers(case, under, over, times, minimum):
    def quantity(understock: float, overstock: float) -> float:
        declared = order(understock=understock, overstock=overstock, pack=6, minimum=minimum)
        return float(decisions.order_quantity(declared, case, {})["quantity"])

    assert quantity(under, over) <= quantity(under * times, over)
    assert quantity(under, over) >= quantity(under, over * times)


@given(cases, costs_of_one, costs_of_one, st.integers(1, 200))
def test_below_the_minimum_order_the_cheaper_of_it_and_nothing_is_taken(case, understock, overstock, minimum):
    free = decisions.order_quantity(order(understock=understock, overstock=overstock), case, {})["quantity"]
    declared = order(understock=understock, overstock=overstock, minimum=minimum)
    quantity = decisions.order_quantity(declared, case, {})["quantity"]
    if free == 0 or free >= minimum:
        assert quantity == free
        return
    nothing, some = (cost_by_counting(places(case), understock, overstock, stock) for stock in (0, minimum))
    assume(abs(nothing - some) > 1e-6 * (nothing + some))
    assert quantity == (minimum if some < nothing else 0)


def test_a_buyer_reads_an_order_that_can_be_checked_by_hand():
    weekly = known([float(n) for n in range(1, 100)])  # 1, 2, ... 99 pieces, each as likely
    told = decisions.order_quantity(order(understock=4, overstock=1, pack=12), weekly, {})
    assert told == {"kind": "order_quantity", "quantity": 84, "level": 0.8, "demand": 80.0, "enough": 0.845}
    assert isinstance(told["quantity"], int)


# --- how many people


@pytest.mark.parametrize("load", ["1/1000", "1/2", "1", "37/10", "10", "48", "619/10", "120"])
def test_erlang_c_is_what_the_factorials_say(load):
    exact = Fraction(load)
    for people, chance in islice(erlang.waits(float(exact)), 12):
        assert people > exact
        assert chance == pytest.approx(float(erlang_c_by_factorials(people, exact)), rel=1e-12)


def test_a_recursion_from_nobody_gives_the_same_of_ten_thousand_erlangs():
    load, blocked = 10_000.3, 1.0
    for people in range(1, 10_011):
        blocked = load * blocked / (people + load * blocked)
    people, chance = next(one for one in erlang.waits(load) if one[0] == 10_010)
    assert chance == pytest.approx(blocked / (1 - load / people * (1 - blocked)), rel=1e-12)


def test_erlang_c_gives_published_values():
    """100 calls in 30 minutes of 180 s, 80 % in 20 s: the manual of the R package ErlangC 0.1.0 (CRAN 2024) and the
    description of pyworkforce 0.1.0 (PyPI) give 14 people, of whom 20 are rostered at a shrinkage of 30 %.
    360 calls in 30 minutes of 240 s and 55 people: 0.239 of them wait (Westbay/Mitan's worked example)."""
    chances = dict(islice(erlang.waits(10.0), 5))
    assert chances[11] == pytest.approx(0.6821182, abs=5e-8)
    assert chances[14] == pytest.approx(0.1741319335950498, rel=1e-12)
    staffed = erlang.staff(10.0, 20 / 180, 0.8)
    assert (staffed.people, round(staffed.answered, 12)) == (14, 0.888350019179)
    assert staffed.occupancy == pytest.approx(0.7142857142857143)
    assert dict(islice(erlang.waits(48.0), 10))[55] == pytest.approx(0.239, abs=5e-4)


def waiting(**declared: float) -> Headcount:
    whole = {"interval_s": 1800, "handling_s": 180, "within_s": 20, "answered": 0.8} | declared
    return Headcount(kind="headcount", **whole)  # type: ignore[arg-type]


def test_a_planner_reads_the_published_staffing():
    told = decisions.headcount(waiting(shrinkage=0.3), known([100.0]), {})
    assert (told["people"], told["present"], told["demand"]) == (20, 14, 100.0)
    assert told["answered"] == pytest.approx(0.88835, abs=1e-6)
    assert told["occupancy"] == pytest.approx(10 / 14)


@given(st.floats(0.001, 300), st.floats(0, 3), st.floats(0.01, 0.99))
@settings(deadline=None)
def test_fewer_people_would_answer_too_few_in_time(load, patience, answered):
    staffed = erlang.staff(load, patience, answered)
    assert staffed.answered >= answered
    assert staffed.people > load
    before = [chance for count, chance in islice(erlang.waits(load), 2000) if count == staffed.people - 1]
    for chance in before:
        assert 1 - chance * np.exp(-(staffed.people - 1 - load) * patience) < answered


@given(cases, levels, levels, st.floats(0.05, 0.99), st.floats(0.05, 0.99), st.floats(0, 0.6))
@settings(deadline=None)
def test_people_grow_with_the_level_of_demand_the_share_answered_and_the_shrinkage(case, a, b, c, d, shrinkage):
    def people(level: float, answered: float, shrinkage: float) -> int:
        declared = waiting(level=level, answered=answered, shrinkage=shrinkage)
        return int(decisions.headcount(declared, case, {})["people"])

    assert people(min(a, b), c, 0) <= people(max(a, b), c, 0)
    assert people(a, min(c, d), 0) <= people(a, max(c, d), 0)
    assert people(a, c, 0) <= people(a, c, shrinkage)


@given(cases, levels, st.floats(0.5, 80), st.floats(0, 0.6))
def test_by_a_rate_of_work_the_people_manage_the_demand_and_one_less_would_not(case, level, productivity, shrinkage):
    declared = Headcount(kind="headcount", productivity=productivity, level=level, shrinkage=shrinkage)
    told = decisions.headcount(declared, case, {})
    assert told["demand"] == case.quantile(level)
    assert told["present"] * productivity >= told["demand"] - 1e-6
    assert told["present"] == 0 or (told["present"] - 1) * productivity < told["demand"]
    assert told["people"] * (1 - shrinkage) >= told["present"] - 1e-6
    assert told["answered"] is None
    assert told["occupancy"] is None


def test_nobody_is_rostered_where_nothing_arrives():
    assert decisions.headcount(waiting(), known([-3.0]), {}) == {
        "kind": "headcount", "people": 0, "present": 0, "level": 0.5, "demand": 0.0, "answered": 1.0, "occupancy": None,
    }  # fmt: skip


# --- by when


@given(cases, levels, st.dates(date(1970, 1, 1), date(2100, 1, 1)), st.sampled_from(["d", "days", "h", "hours"]))
def test_a_promised_day_is_never_before_the_quantile_and_less_than_a_day_after_it(case, level, start, unit):
    told = decisions.promise(Promise(kind="promise", level=level, start="sent"), unit, case, {"sent": str(start)})
    lasting = timedelta(**{"hours" if unit.startswith("h") else "days": case.quantile(level)})
    kept = date.fromisoformat(told["date"]) - start
    assert kept >= lasting - timedelta(milliseconds=1)
    assert kept - timedelta(days=1) < lasting
    assert told["duration"] == case.quantile(level)
    assert told["days"] == kept.days


@given(cases, levels, levels)
def test_a_surer_promise_is_no_earlier(case, one, other):
    low, high = sorted((one, other))
    days = [decisions.promise(Promise(kind="promise", level=at), "d", case, {})["days"] for at in (low, high)]
    assert days[0] <= days[1]


def test_a_dispatcher_reads_a_promise_that_can_be_checked_by_hand():
    case = known([float(hours) for hours in range(1, 100)])  # 1 to 99 hours, each as likely
    declared = Promise(kind="promise", start="sent")
    assert decisions.promise(declared, "h", case, {"sent": "2024-02-27"}) == {
        "kind": "promise", "date": "2024-03-02", "days": 4, "level": 0.9, "duration": 90.0,
    }  # fmt: skip
    assert decisions.promise(declared, "h", case, {})["date"] is None
    assert decisions.promise(declared, "d", case, {"sent": "9999-12-01"})["date"] is None, "there is no such day"


# --- which rows

amounts = st.integers(-5, 40).map(lambda n: n / 4)
prices = st.integers(0, 30).map(lambda n: n / 2)
rows_of = st.lists(st.tuples(amounts, prices), min_size=1, max_size=9)


def short(budget: float, cost: float | str | None = None, worth: float | str | None = None) -> Shortlist:
    return Shortlist(kind="shortlist", budget=budget, cost=cost, worth=worth)


@given(rows_of, st.integers(1, 10))
def test_a_budget_of_rows_takes_the_best_ones(rows, budget):
    told = decisions.shortlist(short(budget), [{} for _ in rows], [{"value": value} for value, _ in rows])
    inside = sorted((one["expected"] for one in told if one["chosen"]), reverse=True)
    assert inside == sorted((value for value, _ in rows), reverse=True)[:budget]
    assert sorted(one["rank"] for one in told) == list(range(1, len(rows) + 1))
    assert all(one["chosen"] == (one["rank"] <= budget) for one in told)


@given(rows_of, st.integers(1, 100).map(float))
def test_money_is_kept_to_and_nearly_as_well_spent_as_can_be(rows, budget):
    answers, given_rows = [{"value": value} for value, _ in rows], [{"price": price} for _, price in rows]
    told = decisions.shortlist(short(budget, cost="price"), given_rows, answers)
    chosen = [place for place, one in enumerate(told) if one["chosen"]]
    assert sum(rows[place][1] for place in chosen) <= budget
    assert all(rows[place][0] > 0 for place in chosen)
    passed = [place for place, one in enumerate(told) if not one["chosen"] and rows[place][0] > 0]
    dear = min(passed, key=lambda place: told[place]["rank"], default=None)
    best = best_by_trying([value for value, _ in rows], [price for _, price in rows], budget)
    ours = sum(rows[place][0] for place in chosen)
    assert ours <= best
    assert best < ours + rows[dear][0] if dear is not None else best == ours


def test_one_dear_hit_does_not_eat_the_money_of_many_cheap_ones():
    rows = [(30.0, 100.0), (20.0, 10.0), (20.0, 10.0), (-1.0, 1.0), (5.0, 90.0)]
    answers, prices = [{"value": value} for value, _ in rows], [{"price": price} for _, price in rows]
    told = decisions.shortlist(short(110, cost="price"), prices, answers)
    assert [one["rank"] for one in told] == [3, 1, 2, 5, 4]
    assert [one["chosen"] for one in told] == [False, True, True, False, True]


@given(rows_of, st.integers(1, 60).map(float), st.randoms(use_true_random=False))
def test_rows_in_another_order_are_chosen_alike(rows, budget, random):
    ranked = {value / price if price else value * np.inf for value, price in rows if value or price}
    assume(len(ranked) == len(rows))  # ties are broken by position
    order_of = list(range(len(rows)))
    random.shuffle(order_of)

    def told(rows: list[tuple[float, float]]) -> list[dict[str, object]]:
        given_rows, answers = [{"price": price} for _, price in rows], [{"value": value} for value, _ in rows]
        return decisions.shortlist(short(budget, cost="price"), given_rows, answers)

    before = told(rows)
    assert told([rows[place] for place in order_of]) == [before[place] for place in order_of]


def test_ties_go_by_position():
    told = decisions.shortlist(short(2), [{}] * 3, [{"value": 0.4}] * 3)
    assert [(one["rank"], one["chosen"]) for one in told] == [(1, True), (2, True), (3, False)]


@given(rows_of, st.integers(1, 60), st.integers(0, 60))
def test_a_larger_budget_of_rows_drops_none(rows, budget, more):
    def chosen(budget: float) -> set[int]:
        told = decisions.shortlist(short(budget), [{} for _ in rows], [{"value": value} for value, _ in rows])
        return {place for place, one in enumerate(told) if one["chosen"]}

    assert chosen(budget) <= chosen(budget + more)


def test_a_chance_counts_by_its_worth():
    answers = [{"value": 0.5}, {"value": 0.2}, {"value": 0.1}]
    own = decisions.shortlist(short(1, worth="fee"), [{"fee": 10}, {"fee": 40}, {"fee": 50}], answers)
    assert [one["expected"] for one in own] == [5.0, 8.0, 5.0]
    assert [one["rank"] for one in own] == [2, 1, 3]
    same = decisions.shortlist(short(50, cost=20, worth=100), [{}] * 3, answers)
    assert [one["chosen"] for one in same] == [True, True, False]
