"""Whether coverage has left its band: evidence that adds up outcome by outcome, however often one looks.

What an interval promises is a rate of misses on each side: at most (1 - level) / 2 of the truths lie below it, and at
most as many above (of a set of classes: at most 1 - level outside it), overall and in each cell that was calibrated
on its own. Each side is watched, since a shift of the whole population adds misses on one side and takes them from
the other: with 90 % intervals and a shift of a third of the residuals' standard deviation, coverage falls from 90 to
88 % only, but misses on one side double.

The rule is Shiryaev and Roberts's with betting factors in place of likelihoods (an e-detector: Shin, Ramdas and
Rinaldo 2024, New England Journal of Statistics in Data Science 2(2)). An outcome multiplies the evidence of a bet by
r (a miss) or (1 - r q) / (1 - q) (none), whose mean is at most 1 while misses come at the allowed rate q or less, and
each outcome adds a stake of 1 in all before. So evidence minus the number of outcomes is a supermartingale, and

- the mean number of outcomes between false alarms is at least `BETWEEN`;
- within any N outcomes a false alarm has a chance of at most N / BETWEEN: 5 % in a month of 2,000.

This holds for looks at any time, needs no normal approximation and forgets: a break after years of good answers is
found as fast as one on the first day, which one test of everything so far would not. A test of each month alone keeps
its level too, but a hospital of 50 births a month would wait years for what it adds up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, sqrt

from feature_store.task import Task
from serving.distribution import ALL

BETWEEN = 40_000
"""Outcomes between two false alarms, at least in the mean."""

RATIOS = (1.3, 1.7, 2.5, 5.0)
"""How many times the allowed rate of misses each bet is on; together they lose little to the best one."""

SLACK = 0.0025
"""Misses on one side beyond the promise that are no break, as a share of all outcomes: half a point of coverage in
all, which no interval is exact to from one year to the next."""

CALIBRATED = 200
"""Rows behind a cell of which no count is known: the fewest a cell has (`training.conformal.MIN_CELL`)."""


@dataclass(frozen=True)
class Alarm:
    """Coverage has left its band.

    at_us: when the outcome that settled it came true; outcomes: how many had been seen; version, cell: whose promise
    (`all`: of every case); side: `below` or `above` the interval, or `outside` the set; missed, of: truths on that
    side among the outcomes since the break, as far as it can be dated; allowed: the rate that was promised.
    """

    at_us: int
    outcomes: int
    version: str
    cell: str
    side: str
    missed: int
    of: int
    allowed: float


@dataclass
class _Side:
    """The evidence that truths lie on one side more often than allowed. stake: added before each outcome."""

    allowed: float
    stake: float
    evidence: list[float] = field(default_factory=lambda: [0.0] * len(RATIOS))
    lead: float = 0.0  # CUSUM of one bet: where it is 0, a break has not begun
    missed: int = 0
    of: int = 0

    def __post_init__(self) -> None:
        ratios = [min(ratio, 0.999 / self.allowed) for ratio in RATIOS]
        self._factors = (
            [(1 - ratio * self.allowed) / (1 - self.allowed) for ratio in ratios],
            ratios,
        )
        self._steps = [log(factors[1]) for factors in self._factors]

    def see(self, missed: bool) -> None:
        share = self.stake / len(RATIOS)
        factors = self._factors[missed]
        self.evidence = [(one + share) * factor for one, factor in zip(self.evidence, factors, strict=True)]
        self.lead = max(self.lead + self._steps[missed], 0.0)
        if self.lead == 0.0:
            self.missed = self.of = 0
        else:
            self.missed, self.of = self.missed + missed, self.of + 1


class Watch:
    """Sees outcomes in the order in which they came true; versions and cells have evidence of their own."""

    def __init__(self, task: Task, calibrated: Mapping[str, int] | None = None) -> None:
        """calibrated: by cell the rows that its interval or set was made from, `all` the whole."""
        self._names = ("below", "above") if task.kind == "regression" else ("outside",)
        self._rate = (1.0 - task.answers.interval) / len(self._names)
        self._stake = (0.5 if task.groups else 1.0) / len(self._names)
        self._calibrated = calibrated or {}
        self._sides: dict[tuple[str, str], list[_Side]] = {}
        self._total = 0.0
        self.outcomes = 0
        self.alarms: list[Alarm] = []

    @property
    def evidence(self) -> float:
        """Of all that is watched; an alarm at BETWEEN sets it back to 0."""
        return self._total

    def see(self, at_us: int, version: str, cell: str | None, side: str | None) -> None:
        """One outcome. cell: the calibrated cell that it is of, None for none of its own; side: None if covered."""
        self.outcomes += 1
        for name in (ALL, cell) if cell not in (None, ALL) else (ALL,):
            assert name is not None
            sides = self._sides.setdefault((version, name), [])
            if not sides:
                sides += [_Side(self.allowed(name), self._stake) for _ in self._names]
            self._total -= sum(sum(one.evidence) for one in sides)
            for one, own in zip(sides, self._names, strict=True):
                one.see(own == side)
            self._total += sum(sum(one.evidence) for one in sides)
        if self._total >= BETWEEN:
            self._alarm(at_us)

    def allowed(self, cell: str) -> float:
        """The rate of misses on one side that keeps the promise: what is stated, and what is not told apart from it.

        An interval made from n rows misses at a rate that is itself uncertain, with a standard error of
        sqrt(q (1 - q) / n): that, or SLACK if it is more, is no break of the population. (Twice it would be safer
        and see less: of intervals from 2,400 rows, 193 instead of 198 of 200 shifts by a third of a deviation.)
        """
        rows, q = self._calibrated.get(cell, CALIBRATED), self._rate
        return min(q + max(SLACK, sqrt(q * (1.0 - q) / rows)), 0.9)

    def _alarm(self, at_us: int) -> None:
        every = (
            (key, name, one) for key, sides in self._sides.items() for name, one in zip(self._names, sides, strict=True)
        )
        (version, cell), name, side = max(every, key=lambda found: sum(found[2].evidence))
        self.alarms.append(Alarm(at_us, self.outcomes, version, cell, name, side.missed, side.of, side.allowed))
        self._sides.clear()
        self._total = 0.0
