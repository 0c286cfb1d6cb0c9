"""Erlang C: how many people answer arrivals in time, where those who can't be answered at once wait.

Arrivals are Poisson, handling times exponential, nobody hangs up: the M/M/n queue. It staffs rather too many where
people hang up. Source: Erlang 1917, "Solution of some problems in the theory of probabilities of significance in
automatic telephone exchanges"; as here, with the share answered in time, Gans, Koole and Mandelbaum 2003,
Manufacturing & Service Operations Management 5(2), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, sqrt


@dataclass(frozen=True)
class Staffed:
    """So many people at work. answered: share of arrivals answered in time; occupancy: share of time they are busy."""

    people: int
    answered: float
    occupancy: float


def staff(load: float, patience: float, answered: float) -> Staffed:
    """The fewest people who answer a share of `answered` of the arrivals in time.

    load: arrivals times handling time over the interval, in erlangs; patience: the time within which arrivals are to
    be answered, in handling times. Without arrivals nobody is needed.
    """
    if load <= 0:
        return Staffed(0, 1.0, 0.0)
    for people, chance in waits(load):
        share = 1.0 - chance * exp(-(people - load) * patience)
        if share >= answered:
            return Staffed(people, share, load / people)
    raise AssertionError("the share that is answered in time grows to 1")


def waits(load: float) -> Iterator[tuple[int, float]]:
    """(people, P(an arrival waits)) from the first number of people who can keep up, on and on.

    By the recursion of Erlang's B, B(n) = load B(n-1) / (n + load B(n-1)), whose terms are all positive and below 1:
    nothing overflows or cancels. It forgets where it began, by n / load at each step: from 10 standard deviations
    below the load it has forgotten all but e^-50 of it, so a load of 10,000 takes 1,000 steps and not 10,000.
    """
    people, blocked = max(int(load - 10.0 * sqrt(load)), 0), 1.0
    while True:
        people += 1
        blocked = load * blocked / (people + load * blocked)
        if people > load:
            yield people, blocked / (1.0 - load / people * (1.0 - blocked))
