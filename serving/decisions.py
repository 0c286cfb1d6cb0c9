"""What to do with an answer: an order, a headcount, a promise or a shortlist, read off the predictive distribution.

Each is a pure function of what the Task declares (`feature_store.decision`) and the distribution of the case, so that
a decision can't contradict the quantiles and chances beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from math import ceil, ulp
from typing import Any

from feature_store.decision import Headcount, OrderQuantity, Promise, Shortlist
from feature_store.decision_coherence import DAYS
from feature_store.task import Task
from serving import erlang
from serving.distribution import Predictive

Decide = Callable[[Predictive, Mapping[str, Any]], dict[str, Any]]
"""The decision for one case: its distribution and its row, validated, to plain data."""

NEARLY = 1e-9
"""A count this little above a whole number is that number: 36.000000000001 units are three packs of 12."""


def decider(task: Task) -> Decide | None:
    """How the Task decides on a case; None where it does not, or not for a case alone (`shortlist`)."""
    decision = task.answers.decision
    if isinstance(decision, OrderQuantity):
        return partial(order_quantity, decision)
    if isinstance(decision, Headcount):
        return partial(headcount, decision)
    if isinstance(decision, Promise):
        return partial(promise, decision, task.target.unit)
    return None


def order_quantity(declared: OrderQuantity, demand: Predictive, row: Mapping[str, Any]) -> dict[str, Any]:
    """The quantity that costs least: demand's quantile at understock / (understock + overstock), less what is there.

    Rounded up to packs, so that the level is kept; never below 0. Where that is below the minimum order, the minimum
    (in packs) or nothing, whichever is expected to cost less; nothing when they cost the same.
    Source: the newsvendor's critical ratio; Arrow, Harris and Marschak 1951, Econometrica 19(3), 250-272.
    """
    level = declared.understock / (declared.understock + declared.overstock)
    asked = demand.quantile(level)
    there = float(row[declared.on_hand]) if declared.on_hand else 0.0
    quantity = _packs(asked - there, declared.pack)
    least = _packs(declared.minimum, declared.pack)
    if 0 < quantity < least:
        nothing, minimum = (expected_cost(declared, demand, there + order) for order in (0.0, least))
        quantity = least if minimum < nothing else 0
    return {
        "kind": "order_quantity",
        "quantity": quantity,
        "level": level,
        "demand": asked,
        "enough": demand.at_most(there + quantity),
    }


def expected_cost(declared: OrderQuantity, demand: Predictive, stock: float) -> float:
    """What is expected to be lost with so much in stock: by what is asked for in vain, and by what is left over."""
    short = demand.excess(stock)
    mean = demand.limits[0] + demand.excess(demand.limits[0])
    return declared.understock * short + declared.overstock * max(stock - mean + short, 0.0)


def headcount(declared: Headcount, demand: Predictive, row: Mapping[str, Any]) -> dict[str, Any]:
    """The fewest people for the demand at the declared level: at their rate of work, or so that waits are short.

    The interval's arrivals are taken as spread evenly over it. `present` are at work; `people` are to be rostered,
    since a share of `shrinkage` is not. Demand already varies as arrivals do: by counting that twice, levels above
    0.5 staff more than their name says with Erlang C.
    """
    asked = max(demand.quantile(declared.level), 0.0)
    answered = load = None
    if declared.handling_s is not None and declared.interval_s is not None:
        load = asked * declared.handling_s / declared.interval_s
    if declared.productivity is not None:
        present = _count(asked / declared.productivity)
    else:
        assert load is not None and declared.handling_s and declared.within_s is not None and declared.answered
        staffed = erlang.staff(load, declared.within_s / declared.handling_s, declared.answered)
        present, answered = staffed.people, staffed.answered
    return {
        "kind": "headcount",
        "people": _count(present / (1.0 - declared.shrinkage)),
        "present": present,
        "level": declared.level,
        "demand": asked,
        "answered": answered,
        "occupancy": load / present if load is not None and present else None,
    }


def promise(declared: Promise, unit: str, duration: Predictive, row: Mapping[str, Any]) -> dict[str, Any]:
    """The duration that is kept with a chance of `level`, in whole days rounded up, and the day on which it ends.

    `date` is None where no start is declared or given, and beyond the year 9999.
    """
    lasting = duration.quantile(declared.level)
    days = _count(lasting / DAYS[unit])
    start = row.get(declared.start) if declared.start else None
    return {
        "kind": "promise",
        "date": _after(start, days) if start is not None else None,
        "days": days,
        "level": declared.level,
        "duration": lasting,
    }


def shortlist(
    declared: Shortlist, rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One decision a row: what is expected of it, its rank among the rows, and whether the budget reaches to it.

    rows, answers: in the same order, of a regression or a binary target. See `choose`.
    """
    expected = [answer["value"] * _amount(declared.worth, row) for row, answer in zip(rows, answers, strict=True)]
    costs = [cost(declared, row) for row in rows]
    places = choose(expected, costs, declared)
    return [
        {"kind": "shortlist", "rank": rank, "chosen": chosen, "expected": one}
        for (rank, chosen), one in zip(places, expected, strict=True)
    ]


def cost(declared: Shortlist, row: Mapping[str, Any]) -> float:
    """What a row takes of the budget: money, or one row."""
    return _amount(declared.cost, row)


def choose(expected: Sequence[float], costs: Sequence[float], declared: Shortlist) -> list[tuple[int, bool]]:
    """(rank from 1, whether it is chosen) a row; ranked by what is expected per cost, ties by position.

    In that order each row is chosen that what is left of the budget pays for. No money is spent on a row of which
    nothing is expected. The sum of what is expected falls short of the best possible by less than is expected
    of the first row that was too dear. Source: Dantzig 1957, Operations Research 5(2), 266-277.
    """
    order = sorted(range(len(expected)), key=lambda place: (-_per_cost(expected[place], costs[place]), place))
    out = [(0, False)] * len(order)
    left, spends = declared.budget * (1.0 + NEARLY), declared.cost is not None
    for rank, place in enumerate(order, start=1):
        chosen = costs[place] <= left and (expected[place] > 0 or not spends)
        left -= costs[place] if chosen else 0.0
        out[place] = (rank, chosen)
    return out


def _per_cost(expected: float, cost: float) -> float:
    """What a unit of the budget brings; of what costs nothing, no end of it."""
    if cost > 0:
        return expected / cost
    return float("inf") if expected > 0 else 0.0 if expected == 0 else float("-inf")


def _amount(declared: float | str | None, row: Mapping[str, Any]) -> float:
    if isinstance(declared, str):
        return float(row[declared])
    return 1.0 if declared is None else declared


def _packs(amount: float, pack: float) -> int | float:
    """The amount in whole packs, rounded up; an integer where a pack is."""
    count = _count(amount / pack)
    return count * int(pack) if pack == int(pack) else float(f"{count * pack:.12g}")


def _count(amount: float) -> int:
    """The amount rounded up, never below 0."""
    return max(ceil(amount - max(NEARLY, 4 * ulp(amount))), 0)


def _after(start: str, days: int) -> str | None:
    place = date.fromisoformat(start).toordinal() + days
    return date.fromordinal(place).isoformat() if place <= date.max.toordinal() else None
