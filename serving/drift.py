"""Drift: whether a field's values have moved away from those that the version has learnt from.

The population stability index of binned values, and its own test: without drift, PSI / (1/n + 1/m) is about chi-squared
with one degree of freedom less than there are bins (Yurdakul and Naranjo 2020, J. Risk Model Validation 14(4)). A
field has drifted when that is no chance (`LEVEL`, shared out among the fields) and the index is one that matters
(`MATTERS`): of many rows the test alone calls every trifle drift, of few the index alone calls noise so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erfc, exp, pi, sqrt

import numpy as np

from serving.familiar import Bins

LEVEL = 0.001
"""Of false alarms each time that all fields are looked at."""

MATTERS = 0.1
"""An index from which on a population has moved (Siddiqi 2006, Credit Risk Scorecards: 0.1 some, 0.25 much)."""

LEAST_EXPECTED = 5.0
"""Bins in which fewer recent rows are due are taken together."""


@dataclass(frozen=True)
class Drift:
    """Of one field: index, probability of as much by chance, share unknown then and now, and the verdict."""

    field: str
    rows: int
    psi: float
    p: float
    unknown_before: float
    unknown: float
    drifted: bool


def counts(bins: Bins, column: np.ndarray) -> list[int]:
    """Rows in each bin, those where the field is unknown last. column: (n,) encoded."""
    codes = bins.codes(column)
    size = len(bins.edges) + 1 if bins.words is None else max(bins.words, default=0) + 1
    known = np.bincount(codes[codes >= 0], minlength=max(size, 1))
    return [*known.tolist(), int(np.sum(codes < 0))]


def judge(before: Mapping[str, Sequence[int]], recent: Mapping[str, Sequence[int]]) -> list[Drift]:
    """Each field's drift, the greatest index first. before, recent: as `counts` gives them, of the same bins.

    A field of which no training row knew the value, such as the day from which a promise counts, is left out: nothing
    was learnt from it, so nothing can be wrong when it moves.
    """
    out = []
    for name, then in before.items():
        if not sum(then[:-1]):
            continue
        psi, p = index(np.array(then, dtype=float), np.array(recent[name], dtype=float))
        rows = int(sum(recent[name]))
        shares = [part[-1] / max(sum(part), 1) for part in (then, recent[name])]
        out.append(Drift(name, rows, psi, p, shares[0], shares[1], psi > MATTERS and p < LEVEL / len(before)))
    return sorted(out, key=lambda one: -one.psi)


def index(before: np.ndarray, recent: np.ndarray) -> tuple[float, float]:
    """The population stability index of two sets of counts, less what chance gives, and the test's probability."""
    m, n = float(before.sum()), float(recent.sum())
    if n == 0 or m == 0:
        return 0.0, 1.0
    due = before / m * n
    small = due < LEAST_EXPECTED
    p, q = ([*part[~small], part[small].sum()] for part in (before, recent))
    was, now = (np.array(part) + 0.5 for part in (p, q))
    was, now = was / was.sum(), now / now.sum()
    raw = float(np.sum((now - was) * np.log(now / was)))
    noise = 1 / n + 1 / m
    freedom = max(len(was) - 1, 1)
    return max(raw - freedom * noise, 0.0), tail(raw / noise, freedom)


def tail(statistic: float, freedom: int) -> float:
    """P(chi-squared >= statistic), 0 or more, with so many degrees of freedom; a worker has no scipy.

    The finite sum for whole and half numbers: Abramowitz and Stegun 1964, 26.4.4 and 26.4.5.
    """
    x = statistic / 2.0
    if freedom % 2:
        total, term, at = erfc(sqrt(x)), sqrt(x / pi) * exp(-x) * 2.0, 0.5
    else:
        total, term, at = exp(-x), x * exp(-x), 1.0
    while at < freedom / 2.0:
        total, at = total + term, at + 1.0
        term *= x / at
    return min(total, 1.0)
