"""Learns how familiar a row is (`serving/familiar.py`): bins, the tree of pairs, and the threshold."""

from __future__ import annotations

from math import ceil

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from serving.encode import Encoder
from serving.familiar import Bins, Familiarity

LEVEL = 0.001
"""Of rows like the training rows, how many are marked by chance; more where fewer rows than 1 / LEVEL judge."""

ROWS = 40_000
"""Rows that are looked at: half of them fill the tables, the others set the threshold."""

CUTS = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
"""Quantiles between a number's bins: fine in the tails, where what is strange lies."""

MOST_WORDS = 9
"""Words of a category with a bin of their own; the rarer ones share the last."""

PRIOR = 1.0
"""Rows' worth of the field's own shares, added to each of its parent's bins: little, so that a pair that never goes
together surprises."""

MOST_PAIRED = 120
"""Fields beyond which pairs are not looked at: their number grows with the square."""


def fit(encoder: Encoder, matrix: np.ndarray, seed: int) -> Familiarity:
    """The familiarity of the Task's rows. matrix: (n, fields) encoded training rows."""
    order = np.random.default_rng([seed, 5]).permutation(len(matrix))[:ROWS]
    learn, judge = matrix[order[: (len(order) + 1) // 2]], matrix[order[(len(order) + 1) // 2 :]]
    bins = tuple(_bins(encoder, place, learn[:, place]) for place in range(matrix.shape[1]))
    codes = np.column_stack([one.codes(learn[:, place]) for place, one in enumerate(bins)])
    sizes = [len(one.edges) + 1 if one.words is None else max(one.words, default=0) + 1 for one in bins]
    sizes = [max(size, 1) for size in sizes]
    parents = _tree(codes, sizes)
    tables = tuple(
        _table(codes[:, place], sizes[place], *((codes[:, parent], sizes[parent]) if parent >= 0 else (None, 0)))
        for place, parent in enumerate(parents)
    )
    found = Familiarity(bins, parents, tables, 0.0, LEVEL)
    scores = np.sort([sum(found.surprises(row)) for row in judge.tolist()])
    rank = min(ceil((len(scores) + 1) * (1 - LEVEL)), len(scores))
    level = 1 - rank / (len(scores) + 1)
    return Familiarity(bins, parents, tables, float(scores[rank - 1]), float(level))


def _bins(encoder: Encoder, place: int, column: np.ndarray) -> Bins:
    name = encoder.task.fields[place].name
    if name in encoder.categories:
        count = np.bincount(column.astype(np.int64), minlength=len(encoder.categories[name]) + 1)
        count[0] = -1  # unknown has no bin
        common = np.argsort(-count, kind="stable")[:MOST_WORDS].tolist()
        own = {code: bin_ for bin_, code in enumerate(sorted(c for c in common if c > 0))}
        return Bins(words=(-1, *(own.get(code, len(own)) for code in range(1, len(count)))))
    known = column[~np.isnan(column)]
    edges = np.unique(np.quantile(known, CUTS, method="inverted_cdf")) if known.size else np.array([])
    return Bins(edges=tuple(edges.tolist()))


def _tree(codes: np.ndarray, sizes: list[int]) -> tuple[int, ...]:
    """The parent of each field, -1 without one: the spanning forest of the greatest mutual information."""
    fields = codes.shape[1]
    if fields > MOST_PAIRED:
        return tuple([-1] * fields)
    shared = np.zeros((fields, fields))
    for one in range(fields):
        for other in range(one + 1, fields):
            shared[one, other] = _information(codes[:, one], codes[:, other], sizes[one], sizes[other])
    forest = minimum_spanning_tree(-shared)
    _, part = connected_components(forest, directed=False)
    parents = np.full(fields, -1)
    for number in range(int(part.max(initial=-1)) + 1):
        root = int(np.flatnonzero(part == number)[0])
        reached, before = breadth_first_order(forest, root, directed=False)
        for place in reached[1:]:
            parents[place] = before[place]
    return tuple(int(parent) for parent in parents)


def _information(one: np.ndarray, other: np.ndarray, size: int, width: int) -> float:
    """Mutual information of two columns of bins, in nats, less what chance gives (Miller 1955); 0 at least."""
    both = (one >= 0) & (other >= 0)
    n = int(both.sum())
    if n == 0:
        return 0.0
    count = np.bincount(one[both] * width + other[both], minlength=size * width).reshape(size, width).astype(float)
    expected = np.outer(count.sum(axis=1), count.sum(axis=0)) / n
    seen = count > 0
    bias = (np.count_nonzero(count.sum(axis=1)) - 1) * (np.count_nonzero(count.sum(axis=0)) - 1) / (2 * n)
    return max(float((count[seen] * np.log(count[seen] / expected[seen])).sum() / n) - bias, 0.0)


def _table(code: np.ndarray, size: int, parent: np.ndarray | None, width: int) -> tuple[tuple[float, ...], ...]:
    """-log p of each bin by the parent's bin, and in the last row without it."""
    alone = np.bincount(code[code >= 0], minlength=size) + 0.5
    share = alone / alone.sum()
    rows = []
    for bin_ in range(width):
        assert parent is not None
        count = np.bincount(code[(parent == bin_) & (code >= 0)], minlength=size)
        rows.append((count + PRIOR * share) / (count.sum() + PRIOR))
    return tuple(tuple((-np.log(row)).tolist()) for row in [*rows, share])
