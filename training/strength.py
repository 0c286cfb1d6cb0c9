"""How much one field alone, or all of them together, tell of the target: quick figures on binned columns.

No learner is fitted: a column becomes bin codes, a bin's prediction is the target's mean in it, learnt on one half of
the rows and judged on the other, so that a column of names that never come back tells nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from training.losses import auc

ROWS = 50_000
"""Rows that are looked at, drawn by a seed: an R2 of 0.9 is then known to within 0.002."""

MOST_BINS = 100
LEAST_ROWS_A_BIN = 25
PRIOR_ROWS = 5.0
"""A bin's mean is drawn to the whole mean as if it held so many more rows: a word seen once says little."""

ROUNDS, RATE, PRIOR_TOGETHER = 15, 0.5, 50.0
"""Of `together`: passes over the fields, the share of each step, and the prior rows of a bin: many fields that each
learn a little noise learn much (with 5, 27 measures of 776 steel plates told nothing together)."""


@dataclass(frozen=True)
class Asked:
    """The target as outputs. values: (n, outputs), one output, or one 0/1 column a class; measure: `R2` or `AUC`.

    halves: two (n,) index arrays, the rows to learn a bin's mean from and the rows to judge it on, and in turn.
    """

    values: np.ndarray
    measure: str
    halves: tuple[np.ndarray, np.ndarray]

    def score(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """AUC of a binary target. Else 1 - squared error / that of the mean: R2, of classes the Brier skill."""
        truth = self.values[rows]
        if self.measure == "AUC":
            return auc(truth[:, 0], predicted[:, 0])
        spread = float(((truth - truth.mean(axis=0)) ** 2).sum())
        return 1.0 - float(((truth - predicted) ** 2).sum()) / spread if spread else 0.0


def ask(target: np.ndarray, classes: Sequence[str], random: np.random.Generator) -> Asked:
    """The target of a Task's rows, halved. target, classes: as `training.dataset.Rows` holds them."""
    order = random.permutation(len(target))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    if len(classes) > 2:
        return Asked((target[:, None] == np.arange(len(classes))).astype(float), "R2", halves)
    return Asked(target[:, None].astype(float), "AUC" if classes else "R2", halves)


def codes(column: np.ndarray, most: int = MOST_BINS) -> np.ndarray:
    """(n,) bin of each value, from 0; unknown is a bin of its own (0). Words get one each, numbers equal shares.

    column: as `feature_store.offline.columns` gives it. A number with few values has a bin a value.
    """
    if column.dtype == object:
        return np.asarray(pd.factorize(column)[0], dtype=np.int64) + 1
    known = column[~np.isnan(column)]
    values = np.unique(known)
    bins = int(np.clip(len(known) // (2 * LEAST_ROWS_A_BIN), 5, most))
    if len(values) > bins:
        values = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[:-1], method="inverted_cdf"))
    places = np.searchsorted(values, column, side="right")
    return np.where(np.isnan(column), 0, np.maximum(places, 1))


def means(code: np.ndarray, values: np.ndarray, size: int, prior: float = PRIOR_ROWS) -> np.ndarray:
    """(size, outputs) mean of the values in each bin, drawn to the whole mean as if by `prior` rows."""
    count = np.bincount(code, minlength=size)[:, None] + prior
    whole = values.mean(axis=0)
    sums = np.column_stack([np.bincount(code, weights=column, minlength=size) for column in values.T])
    return np.asarray((sums + prior * whole) / count)


def alone(code: np.ndarray, asked: Asked) -> float:
    """What one field alone tells: the mean of the two halves' scores (AUC, R2), each judged by the other's means."""
    size, (a, b) = int(code.max()) + 1, asked.halves
    turns = ((a, b), (b, a))
    return float(np.mean([asked.score(means(code[u], asked.values[u], size)[code[v]], v) for u, v in turns]))


def together(columns: Sequence[np.ndarray], asked: Asked) -> float:
    """What all these fields (as codes) tell together, without interactions, on the scale of `alone`.

    Each field in turn learns what the others leave over, as in a generalised additive model fitted by boosting.
    Source: Lou, Caruana and Gehrke 2012, KDD, section 3.2.
    """
    a, b = asked.halves
    scores = []
    for learnt, judged in ((a, b), (b, a)):
        guess = np.repeat(asked.values[learnt].mean(axis=0)[None, :], len(asked.values), axis=0)
        for _ in range(ROUNDS):
            for code in columns:
                left = asked.values[learnt] - guess[learnt]
                guess += RATE * means(code[learnt], left, int(code.max()) + 1, PRIOR_TOGETHER)[code]
        scores.append(asked.score(guess[judged], judged))
    return float(np.mean(scores))


@dataclass(frozen=True)
class Excluded:
    """A value of a field at which a class (nearly) never occurs.

    code: the bin of `codes(column, most)`; rows: how many lie there; seen, expected: how often the class occurred and
    would at its usual rate.
    """

    code: int
    most: int
    class_: int
    rows: int
    seen: int
    expected: float


LEAST_EXPECTED = 50.0
"""Cases that must be expected: by chance 1 or none of 50 occurs once in 1e20 (Poisson).
With 20, honest measures of steel plates are hit."""

RARE = 0.02
"""Of the expected cases, the share that may occur all the same (a call of a minute that did sell)."""


def excludes(column: np.ndarray, asked: Asked) -> Excluded | None:
    """The widest bin at which a class does not occur though `LEAST_EXPECTED` are due; None where there is none."""
    best = None
    sides = [1 - asked.values[:, 0], asked.values[:, 0]] if asked.values.shape[1] == 1 else list(asked.values.T)
    rarest = min(float(side.sum()) for side in sides)
    most = int(np.clip(rarest / (1.5 * LEAST_EXPECTED), 2, 20))  # so that the rarest class is due in each bin
    code = codes(column, most)
    count = np.bincount(code)
    for class_, side in enumerate(sides):
        seen, due = np.bincount(code, weights=side), count * side.mean()
        for place in np.flatnonzero((due >= LEAST_EXPECTED) & (seen <= RARE * due)):
            if best is None or due[place] > best.expected:
                best = Excluded(int(place), most, class_, int(count[place]), int(seen[place]), float(due[place]))
    return best


def told(column: np.ndarray, target: np.ndarray, classes: Sequence[str], random: np.random.Generator) -> float:
    """How well the *target* tells the field, 0 to 1: a field made from the target is a function of it.

    Words, flags and numbers of few values: of the rows outside the field's commonest value, the share that the
    commonest value among rows of the same target gets right on top (Goodman and Kruskal's lambda). Other numbers:
    R2 of their ranks. Both with means learnt on one half and judged on the other. Rows whose field is unknown do not
    count. NaN with fewer than 50 known, or one value.
    """
    known = np.flatnonzero(column != None if column.dtype == object else ~np.isnan(column))  # noqa: E711
    places, values = pd.factorize(column[known])
    if len(known) < 50 or len(values) < 2:
        return float("nan")
    bins = target[known].astype(np.int64) if classes else codes(target[known], most=200)
    few = len(values) <= max(MOST_BINS, 2) or column.dtype == object
    if few and len(values) > MOST_BINS:
        return float("nan")
    asked = ask(places if few else rankdata(column[known]), [str(v) for v in values] if few else (), random)
    if not few:
        return alone(bins, asked)
    return _lambda(bins, np.asarray(places), asked.halves)


def _lambda(bins: np.ndarray, places: np.ndarray, halves: tuple[np.ndarray, np.ndarray]) -> float:
    gains = []
    for a, b in (halves, halves[::-1]):
        shape = int(bins.max()) + 1, int(places.max()) + 1
        table = np.zeros(shape)
        np.add.at(table, (bins[a], places[a]), 1)
        whole = int(table.sum(axis=0).argmax())
        guess = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), whole)
        wrong = float((places[b] != whole).mean())
        gains.append(1.0 - float((guess[bins[b]] != places[b]).mean()) / wrong if wrong else 0.0)
    return float(np.mean(gains))


LEAST_GROUPS = 10


def own_mean(group: np.ndarray, column: np.ndarray, target: np.ndarray) -> float:
    """Whether a number is the mean of the target in its group, these very rows included: near 0 then, else 1 or more.

    group: (n,) codes. The figure is the mean over groups of (number - mean of these rows)^2 / (variance / rows). Were
    the number a mean of other rows (last year's, say) it would be 1 or more; a mean over training and holdout
    gives the holdout's share. NaN where the number is not constant within groups, or under `LEAST_GROUPS` groups of
    two rows or more.
    """
    known = np.flatnonzero(~np.isnan(column))
    order = known[np.argsort(group[known], kind="stable")]
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    if len(starts) < LEAST_GROUPS or len(order) == 0:
        return float("nan")
    value, count = column[order], np.diff(np.append(starts, len(order)))
    low, high = np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
    if np.any(high - low > 1e-9 * np.abs(high)):
        return float("nan")
    y = target[order]
    mean = np.add.reduceat(y, starts) / count
    within = y - np.repeat(mean, count)
    spread = float((within**2).sum()) / max(1, len(y) - len(starts))
    several = count >= 2
    if several.sum() < LEAST_GROUPS or spread <= 0 or np.unique(low[several]).size < LEAST_GROUPS:
        return float("nan")
    return float(np.mean(((low - mean) ** 2 * count / spread)[several]))


def span(column: np.ndarray, hit: Excluded) -> str:
    """The values of that bin in words: `0`, `5 to 77`, `unknown`."""
    inside = column[codes(column, hit.most) == hit.code]
    if column.dtype == object:
        return "unknown" if inside[0] is None else str(inside[0])
    if np.isnan(inside).all():
        return "unknown"
    low, high = float(inside.min()), float(inside.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def siblings(columns: dict[str, np.ndarray], positive: np.ndarray) -> list[str]:
    """The 0/1 fields that are the target's other classes: with it, exactly one of them is 1 in every row.

    columns: name -> (n,); positive: (n,) bool. Empty where there is no such set of fields.
    """
    flags = {name: column for name, column in columns.items() if column.dtype != object and _is_flag(column)}
    never = {name: column == 1 for name, column in flags.items() if not np.any((column == 1) & positive)}
    if not never or not positive.any():
        return []
    total = positive.astype(np.int64) + np.sum(list(never.values()), axis=0)
    return list(never) if bool(np.all(total == 1)) else []


def _is_flag(column: np.ndarray) -> bool:
    return bool(np.all((column == 0) | (column == 1))) and bool(np.any(column == 1))
