"""How a perceptron's inputs are learnt of a matrix: robust scales, pieces, missing flags, indicators."""

from __future__ import annotations

import numpy as np

from feature_store.errors import NothingLearnt
from serving.mlp import INPUTS, STEEPEST, Category, Inputs, Number

WORDS = 64
"""A category column has at most so many indicators; rarer words share one."""

RARE = 5
"""Words with fewer rows share the indicator of the rare and the unseen."""


def learn_inputs(matrix: np.ndarray, categories: tuple[int, ...], bins: int) -> Inputs:
    """How rows become inputs: robust scale of numbers, their pieces, flags where some are missing, indicators.

    bins: pieces between quantiles of each number, 0 for none; fewer where the inputs would be too many.
    """
    smooth: list[Number] = []
    plain: list[Number] = []
    missing: list[int] = []
    words: list[Category] = []
    numbers = [column for column in range(matrix.shape[1]) if column not in categories]
    pieces = min(bins, (INPUTS - 2 * len(numbers) - len(categories) * (WORDS + 1)) // max(1, len(numbers)))
    place = 0
    for column in range(matrix.shape[1]):
        if column in categories:
            words.append(_indicators(matrix[:, column], column, place))
            place = max(words[-1].places) + 1
            continue
        known = matrix[~np.isnan(matrix[:, column]), column]
        if 0 < known.size < len(matrix):
            missing.append(column)
        if known.size and known.min() < known.max():
            smooth.append(_robust(known, column))
            plain += _pieces(known, column, pieces)
    inputs = Inputs(smooth, plain, missing, words)
    if not 0 < inputs.width <= INPUTS:
        raise NothingLearnt(f"A perceptron takes 1 to {INPUTS} inputs, not {inputs.width}. Leave out the learner mlp.")
    return inputs


def _robust(known: np.ndarray, column: int) -> Number:
    """Median and interquartile range, else half the range; constant beyond what training saw."""
    low, first, centre, third, high = np.quantile(known, [0, 0.25, 0.5, 0.75, 1])
    size = third - first if third > first else (high - low) / 2
    size = max(size, (high - low) / STEEPEST * 1.001)
    return Number(column, float(low), float(high), float(centre), float(1.0 / size))


def _pieces(known: np.ndarray, column: int, bins: int) -> list[Number]:
    if bins < 2:
        return []
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)))
    ends = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    return [Number(column, low, high, low, 1.0 / (high - low)) for low, high in ends] if len(ends) > 1 else []


def _indicators(codes: np.ndarray, column: int, place: int) -> Category:
    """The common words' own places from place + 1 on; the rare and the unseen share `place`."""
    counts = np.bincount(codes.astype(np.int64))
    common = [int(code) for code in np.argsort(-counts, kind="stable")[:WORDS] if counts[code] >= RARE]
    places = [place] * max(1, len(counts))
    for position, code in enumerate(sorted(common), start=1):
        places[code] = place + position
    return Category(column, places)
