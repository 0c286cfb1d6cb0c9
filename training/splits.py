"""Splits that tell the truth: what is held out and what is folded, at random, by group or by time.

No row both chooses and judges: folds are of training rows only, and the holdout is touched once, at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from feature_store.errors import GapTooWide, TableRefused, TooFewGroups, TooFewRows, TooFewTimes
from feature_store.offline import Source
from feature_store.task import Task
from training import dataset
from training.dataset import Rows
from training.thin import evenly

Folds = list[tuple[np.ndarray, np.ndarray]]
"""For each fold the places of the training rows to fit on and of those to validate, both int64 and increasing.

A row is validated once at most. By time the rows of the first block never are: they have no out-of-fold prediction.
"""

LEAST_FIT = 10
"""A fold that fits on fewer rows says nothing of a model."""

MANY_ROWS, ENOUGH_VALIDATED = 50_000, 20_000
"""From so many training rows on, about so many are validated: see `economical`."""

MOST_FITTED = 250_000
"""Rows that a configuration is fitted on at most while a table of more than MANY_ROWS is searched."""


@dataclass(frozen=True)
class Split:
    """Rows to learn from, rows to report on (touched once), and the folds of the rows to learn from.

    `train.by` and `holdout.by` are the groups or times, `train.number` and `holdout.number` the rows' places in the
    source table. Rows that a gap leaves out are in neither.
    """

    train: Rows
    holdout: Rows
    folds: Folds


def split(task: Task, rows: Rows, seed: int) -> Split:
    """Hold out and fold as the Task's `split` says; the same rows and seed give the same split.

    Raises TooFewGroups, TooFewTimes, GapTooWide, TooFewRows, or TableRefused where a row's group or time is unknown.
    """
    random = np.random.default_rng(seed)
    if task.split.kind == "time":
        train, held, folds = _by_time(task, rows)
    else:
        if task.split.kind == "grouped":
            train, held, fold_of = _by_group(task, rows, random)
        else:
            train, held, fold_of = (_by_class if rows.classes else _by_rank)(task, rows, random)
        numbers = range(int(fold_of.max()) + 1)
        folds = [(np.flatnonzero(fold_of != number), np.flatnonzero(fold_of == number)) for number in numbers]
    least = min(len(fit) for fit, _ in folds)
    if least < LEAST_FIT:
        raise TooFewRows(
            f"A fold of {task.task} would learn from {least} rows of {len(train)}; at least {LEAST_FIT} are needed.\n"
            f"Bring more rows, or ask for {'fewer' if task.split.kind == 'time' else 'more'} folds (split.folds)."
        )
    return Split(rows.take(train), rows.take(held), folds)


def of(task: Task, source: Source, seed: int) -> Split:
    """The split of a source's labelled rows. Their columns are read once they are split: they are never held twice.

    Raises as `split` and `dataset.labelled`.
    """
    found = split(task, dataset.labels(task, source), seed)
    train, holdout = (dataset.with_columns(part, task, source) for part in (found.train, found.holdout))
    return replace(found, train=train, holdout=holdout)


def fold(task: Task, rows: Rows, seed: int) -> Folds:
    """Folds of all rows, for learning without a holdout: what `split` would hold out is one more fold."""
    count = task.split.folds_of(len(rows))
    shares = task.split.model_copy(update={"holdout": min(max(1.0 / count, 0.05), 0.5), "folds": max(count - 1, 2)})
    numbered = replace(rows, number=np.arange(len(rows)))
    found = split(task.model_copy(update={"split": shares}), numbered, seed)
    train, held = found.train.number, found.holdout.number
    assert train is not None
    assert held is not None
    out = []
    for fit, valid in found.folds:
        inside = train[fit] if task.split.kind == "time" else np.setdiff1d(np.arange(len(rows)), train[valid])
        out.append((inside, train[valid]))
    return [*out, (train, held)]


def economical(folds: Folds, n: int) -> Folds:
    """Above MANY_ROWS training rows (n) the last folds only, so many that about ENOUGH_VALIDATED rows are validated.

    The squared error of 20,000 normal residuals has a mean with a relative standard error of sqrt(2 / 20,000) = 1 %,
    the RMSE of 0.5 %; two configurations on the same rows differ by much less than that, so that more rows would buy
    time lost and no better choice. The last folds: by time they are the most like what is to come and fit on the
    most rows; otherwise one is as good as another. Of the rows to fit on MOST_FITTED are taken, from all over them:
    a configuration is compared sooner; the members are fitted on all rows, where time is left for it.
    """
    if n <= MANY_ROWS:
        return folds
    validated = np.cumsum([len(valid) for _, valid in reversed(folds)])
    last = folds[-(int(np.argmin(np.abs(validated - ENOUGH_VALIDATED))) + 1) :]
    return [(evenly(fit, MOST_FITTED), valid) for fit, valid in last]


def _by_rank(task: Task, rows: Rows, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train, holdout and the folds of train at random within neighbours by target, so that each has its spread."""
    folds, share = task.split.folds_of(len(rows)), task.split.held_of(len(rows))
    order = random.permutation(len(rows))
    ranked = order[np.argsort(rows.target[order], kind="stable")]  # ties in random order
    block = round(1.0 / share) * 10
    held = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(ranked), block):
        part = ranked[start : start + block]
        held[random.permutation(part)[: round(len(part) * share)]] = True
    ranked_train = ranked[~held[ranked]]
    fold_of = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(ranked_train), folds):
        part = ranked_train[start : start + folds]
        fold_of[part] = random.permutation(folds)[: len(part)]
    train = np.flatnonzero(~held)
    return train, np.flatnonzero(held), fold_of[train]


def _by_class(task: Task, rows: Rows, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for classes: each has its share of the holdout, rounded up or down, and of each fold.

    Rows are laid class by class, in random order within, and every so manieth is taken (systematic sampling): of m
    rows floor(m * share) or one more are held out, and a class with as many training rows as folds is in each.
    """
    folds, share = task.split.folds_of(len(rows)), task.split.held_of(len(rows))
    order = random.permutation(len(rows))
    ranked = order[np.argsort(rows.target[order], kind="stable")]
    ends = np.floor((np.arange(len(rows) + 1) + random.random() / share) * share)
    held = np.zeros(len(rows), dtype=bool)
    held[ranked[np.diff(ends) > 0]] = True
    ranked_train = ranked[~held[ranked]]
    fold_of = np.empty(len(rows), dtype=np.int64)
    fold_of[ranked_train] = random.permutation(folds)[np.arange(len(ranked_train)) % folds]
    train = np.flatnonzero(~held)
    return train, np.flatnonzero(held), fold_of[train]


def _by_group(task: Task, rows: Rows, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole groups to the holdout and to the folds; left open, there are no more folds than groups allow."""
    words, group = np.unique(_known(task, rows).astype(str), return_inverse=True)
    folds = task.split.folds_of(len(rows))
    if task.split.folds is None:
        folds = max(2, min(folds, len(words) - 1))
    if len(words) < folds + 1:
        raise TooFewGroups(
            f"The rows of {task.task} form {len(words)} groups by {task.split.by}; a holdout and {folds} folds need "
            f"{folds + 1}.\nBring rows of more groups, ask for fewer folds (split.folds), or split by a finer column."
        )
    strata = rows.target.astype(np.int64) if rows.classes else _tenths(rows.target)
    counts = np.zeros((len(words), int(strata.max()) + 1))
    np.add.at(counts, (group, strata), 1.0)
    share = task.split.held_of(len(rows))
    part = _deal(counts, np.array([share, *[(1 - share) / folds] * folds]), random)[group]
    train = np.flatnonzero(part > 0)
    return train, np.flatnonzero(part == 0), part[train] - 1


def _deal(counts: np.ndarray, shares: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The part (groups,) that each group goes to, every part being given one at least.

    counts: (groups, strata) rows; shares: (parts,) of the rows. Large groups come first, each to a part that has room
    for half of it or more, and of these to the one that lacks most of what the group holds, relative to its share.
    """
    total = counts.sum(axis=1)
    expected = shares[:, None] * np.maximum(counts.sum(axis=0), 1)
    part = np.empty(len(counts), dtype=np.int64)
    filled, empty = np.zeros_like(expected), np.ones(len(shares), dtype=bool)
    order = np.lexsort((random.random(len(counts)), -np.floor(np.log2(total))))  # about alike in size: at random
    for left, index in zip(range(len(counts), 0, -1), order.tolist(), strict=True):
        rows = filled.sum(axis=1)
        lack = 1 - rows / (shares * total.sum())
        fit = empty if left <= empty.sum() else rows + total[index] / 2 <= shares * total.sum()
        full = filled / expected @ counts[index] / total[index]
        choice = np.where(fit, full - lack, np.inf) if fit.any() else -lack
        part[index] = chosen = int(np.argmin(choice + 1e-9 * random.random(len(shares))))
        filled[chosen] += counts[index]
        empty[chosen] = False
    return part


def _by_time(task: Task, rows: Rows) -> tuple[np.ndarray, np.ndarray, Folds]:
    """The latest rows are held out; fold k validates the k-th block of the others and fits on what is before it.

    Blocks hold about as many rows each, and a time is never cut in two. What a block or the holdout is predicted from
    ends `gap` before its first time. Rolling origin: Tashman 2000, Int. J. Forecasting 16(4).
    """
    time, gap = _known(task, rows).astype(np.float64), task.split.gap
    distinct, count = np.unique(time, return_counts=True)
    asked = task.split.folds or 2
    if len(distinct) < asked + 2:
        raise TooFewTimes(
            f"{task.split.by} of {task.task} has {len(distinct)} different times; a holdout, {asked} folds and a first "
            f"block to learn from need {asked + 2}.\nBring a longer history or a finer time, or lower split.folds."
        )
    last = distinct[_cuts(count, [1 - task.split.held_of(len(rows))], asked + 1)[0]]
    train, held = np.flatnonzero(time < last - gap), np.flatnonzero(time >= last)
    own = time[train]
    times = len(np.unique(own))
    folds = task.split.folds or min(task.split.folds_of(len(rows)), max(times - 1, 2))
    if times < folds + 1:
        raise _too_wide(task, f"before the holdout {times} different times", f"{folds} folds need {folds + 1}")
    found = _rolling(own, gap, folds)
    while not task.split.folds and len(found) > 2 and len(found[0][0]) < LEAST_FIT:
        found = _rolling(own, gap, len(found) - 1)
    if gap and (least := len(found[0][0])) < LEAST_FIT:
        raise _too_wide(task, f"a fold with {least} rows to learn from", f"at least {LEAST_FIT} are needed")
    return train, held, found


def _rolling(time: np.ndarray, gap: float, folds: int) -> Folds:
    """Folds of rolling origin over (n,) times, of which there are more than folds; the first fits on least."""
    distinct, count = np.unique(time, return_counts=True)
    starts = distinct[_cuts(count, [k / (folds + 1) for k in range(1, folds + 1)])].tolist()
    return [
        (np.flatnonzero(time < start - gap), np.flatnonzero((time >= start) & (time < end)))
        for start, end in zip(starts, [*starts[1:], np.inf], strict=True)
    ]


def _too_wide(task: Task, leaves: str, needs: str) -> GapTooWide:
    return GapTooWide(
        f"A gap of {task.split.gap:g} in {task.split.by} leaves {task.task} {leaves}; {needs}.\n"
        "Bring a longer history, or ask for a smaller split.gap or fewer split.folds."
    )


def _cuts(count: np.ndarray, shares: list[float], least: int = 1) -> list[int]:
    """Places in the distinct times where blocks begin: increasing, from `least` on, nearest to these shares of rows.

    count: (times,) rows of each. There are at least `least` times more than shares.
    """
    before = np.concatenate([[0], np.cumsum(count)[:-1]])
    cuts: list[int] = []
    for position, share in enumerate(shares):
        first = cuts[-1] + 1 if cuts else least
        last = len(count) - (len(shares) - position)
        nearest = int(np.argmin(np.abs(before - share * count.sum())))
        cuts.append(min(max(nearest, first), last))
    return cuts


def _known(task: Task, rows: Rows) -> np.ndarray:
    """What the rows are split by. Raises TableRefused where it is unknown (`gancao check` tells the rows)."""
    by = rows.by
    unknown = len(rows) if by is None else sum(v is None or v != v or v in (math.inf, -math.inf) for v in by.tolist())
    if by is None or unknown:
        raise TableRefused(
            f"{task.task} is split by {task.split.by}, which is unknown in {unknown} rows.\n"
            f"Leave them out in data.sql: WHERE {task.split.by} IS NOT NULL."
        )
    return by


def _tenths(target: np.ndarray) -> np.ndarray:
    """(n,) the tenth, 0 to 9, of each value; equal values are in the same one."""
    return np.searchsorted(np.quantile(target, np.arange(1, 10) / 10), target, side="right")
