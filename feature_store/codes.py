"""Missing codes that look like numbers: 99 for an age, 9999 for a weight."""

from __future__ import annotations

import numpy as np

CODES = np.array(
    [sign * code for sign in (1, -1) for code in (8, 9, 88, 98, 99, 888, 998, 999, 8888, 9998, 9999, 99999, 999999)]
    + [77, 777, 7777, 97, 997, 9997, 99.9, 999.9, -1, -2, -7]
)
"""Numbers that questionnaires and registers write for unknown, refused or not asked."""


def missing_codes(known: np.ndarray) -> tuple[list[float], float, float]:
    """Codes beyond the lowest or highest other value that stand apart, and the range of the values that are left.

    known: (n,) finite values of a column. See `_stands_apart` for the rule.
    """
    distinct, counts = np.unique(known, return_counts=True)
    plain = np.flatnonzero(~np.isin(distinct, CODES))
    if not plain.size:
        return [], float(distinct[0]), float(distinct[-1])
    low, high, suspects = int(plain[0]), int(plain[-1]), []
    for i in [*range(high + 1, len(distinct)), *range(low - 1, -1, -1)]:  # from the middle outwards
        if _stands_apart(distinct[low : high + 1], counts[low : high + 1], distinct[i], counts[i]):
            suspects.append(float(distinct[i]))
        elif i in (low - 1, high + 1):  # an ordinary value after all
            low, high = min(low, i), max(high, i)
    return suspects, float(distinct[low]), float(distinct[high])


def _stands_apart(rest: np.ndarray, counts: np.ndarray, code: float, count: int) -> bool:
    """Whether a code beyond `rest` (distinct, sorted; `counts` of each) looks like no measurement.

    Either farther from the rest than the rest is wide (99 after ages 12 to 50; of 8, 9 and their negatives only
    a repeated one), or half as far as the middle 98 % of rows are wide and at least as frequent as the nearest
    value (9999 g after 227 to 6407 g: a long tail is thin where a code is a spike; 98 and 99 must be repeated),
    or, repeated, the only negative value under ten others or more, unless a rarer tail below 0 (-1 before 0 to 27).
    """
    near = 0 if code < rest[0] else -1
    gap, width, share = abs(code - rest[near]), rest[-1] - rest[0], counts.cumsum() / counts.sum()
    middle = rest[np.searchsorted(share, 0.99)] - rest[np.searchsorted(share, 0.01)]
    spike = count >= max(counts[near], 1 if abs(code) >= 100 else 2)
    if code < 0 <= rest[0] and len(rest) >= 10 and count >= 2 and (spike or rest[0] > 0):
        return True
    if abs(code) < 10:
        return bool(gap > width and spike)
    return bool(gap >= width or (gap >= middle / 2 and spike))
