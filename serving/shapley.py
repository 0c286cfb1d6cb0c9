"""Shapley values of any function of a row against background rows, by walks from each of these to the row.

A walk takes over the row's values field by field, in some order; a field's step is what its value changed. The mean
over walks is the permutation estimate of Strumbelj and Kononenko 2014 (Knowledge and Information Systems 41(3)); each
order is walked forwards and backwards (antithetic pairs: Mitchell et al. 2022, JMLR 23(43)). Whatever the orders, a
row's values sum to its answer less the mean answer of the background.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SEED = 0
"""Of the orders: the same request gives the same bits."""

Function = Callable[[np.ndarray], np.ndarray]
"""(n, fields) rows to (n, outputs) answers; one row and many give the same bits."""


def orders(count: int, width: int) -> np.ndarray:
    """(count, width) orders of the fields, always the same."""
    random = np.random.default_rng([SEED, count, width])
    return np.array([random.permutation(width) for _ in range(count)], dtype=np.int64).reshape(count, width)


def shapley(function: Function, row: np.ndarray, background: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """(width, outputs) what each field of the row adds to the function's mean over the background.

    row: (width,); background: (m, width); orders: (m, width), one of all fields for each background row. A field whose
    value the background row has adds nothing there, and is not asked about.
    """
    ends = function(np.vstack([row, background]))
    out = np.zeros((background.shape[1], ends.shape[1]))
    for other, end, order in zip(background, ends[1:], orders, strict=True):
        walk = order[((row != other) & ~(np.isnan(row) & np.isnan(other)))[order]]
        if not len(walk):
            continue
        between = function(np.vstack([_between(row, other, walk), _between(row, other, walk[::-1])]))
        for way, steps in ((walk, between[: len(walk) - 1]), (walk[::-1], between[len(walk) - 1 :])):
            out[way] += np.diff(np.vstack([end, steps, ends[0]]), axis=0)
    return out / (2 * len(background))


def _between(row: np.ndarray, other: np.ndarray, walk: np.ndarray) -> np.ndarray:
    """(len(walk) - 1, width) the rows on the way from `other` to `row`, both left out."""
    out = np.tile(other, (len(walk) - 1, 1))
    for step, field in enumerate(walk[:-1]):
        out[step:, field] = row[field]
    return out
