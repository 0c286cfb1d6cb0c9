"""Background rows: made up, like the training rows, and nobody's record. Answers are explained beside them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from serving.encode import UNKNOWN, Encoder
from serving.familiar import Bins, Familiarity

ROWS = 16
"""Of the background: a sampled explanation asks the models some 30 times for each field and row of it."""

SETS = 64
"""Sets of ROWS that are drawn; the one whose mean answer is the training rows' is kept."""

ASKED = 2000
"""Training rows whose mean answer is taken."""


def make(
    encoder: Encoder,
    known: Familiarity,
    matrix: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
    seed: int,
) -> np.ndarray:
    """(ROWS, fields) encoded rows.

    matrix: (n, fields) encoded training rows; predict: (n, fields) to (n, outputs) of the ensemble. So few rows have a
    mean that is off by a quarter of the spread; the set that is off least is as good as a far larger one.
    """
    random = np.random.default_rng([seed, 7])
    drawn = draw(encoder, known, matrix, SETS * ROWS, random)
    asked = matrix[random.permutation(len(matrix))[:ASKED]]
    goal, answers = predict(asked).mean(axis=0), predict(drawn)
    off = np.abs(answers.reshape(SETS, ROWS, -1).mean(axis=1) - goal).sum(axis=1)
    return np.asarray(drawn.reshape(SETS, ROWS, -1)[int(np.argmin(off))])


def draw(
    encoder: Encoder, known: Familiarity, matrix: np.ndarray, count: int, random: np.random.Generator
) -> np.ndarray:
    """(count, fields) encoded rows from the tree of `known`: each field's bin given its parent's, then a value in it.

    A value is unknown as often as in the training rows (matrix), whatever the others are. Numbers are spread evenly
    over their bin, as whole numbers where the column has no others; categories go by the training rows' shares.
    """
    codes = np.full((count, len(known.bins)), -1)
    for place in _downwards(known.parents):
        parent = known.parents[place]
        above = codes[:, parent] if parent >= 0 else np.full(count, -1)
        shares = np.exp(-np.array(known.tables[place]))[above]  # -1, unknown, is the last row
        codes[:, place] = _choose(shares, random)
        codes[random.random(count) < np.mean(known.bins[place].codes(matrix[:, place]) < 0), place] = -1
    columns = [_values(encoder, known.bins[place], place, codes[:, place], matrix[:, place], random)
               for place in range(len(known.bins))]  # fmt: skip
    return np.column_stack(columns)


def _downwards(parents: tuple[int, ...]) -> list[int]:
    """The fields, each after its parent."""

    def depth(place: int) -> int:
        return 0 if parents[place] < 0 else 1 + depth(parents[place])

    return sorted(range(len(parents)), key=depth)


def _choose(shares: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(n,) one column of each row of (n, k) shares, by chance."""
    up_to = np.cumsum(shares, axis=1)
    at = random.random(len(shares))[:, None] * up_to[:, -1:]
    return np.asarray(np.minimum((up_to <= at).sum(axis=1), shares.shape[1] - 1))


def _values(
    encoder: Encoder, bins: Bins, place: int, codes: np.ndarray, column: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """(n,) encoded values in bins; codes: (n,), -1 is unknown; column: the training rows'."""
    if bins.words is not None:
        of_word = np.array(bins.words)
        count = np.bincount(column.astype(np.int64), minlength=len(of_word)).astype(float) + 1e-9
        shares = np.where(of_word[None, :] == codes[:, None], count, 0.0)
        return np.where(codes < 0, UNKNOWN, _choose(shares, random).astype(float))
    seen = column[~np.isnan(column)]
    if not seen.size:
        return np.full(len(codes), np.nan)
    low, high = float(seen.min()), float(seen.max())
    ends = np.array([low, *bins.edges, high])
    start, end = ends[np.maximum(codes, 0)], ends[np.maximum(codes, 0) + 1]
    value = end - random.random(len(codes)) * (end - start)  # a bin holds its upper edge
    if np.array_equal(seen, np.rint(seen)):
        value = np.ceil(value)
    return np.where(codes < 0, np.nan, np.clip(value, low, high))
