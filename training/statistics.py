"""Statistics of categories: each word becomes its mean target, for learners that take numbers only.

A training row's own target must not tell: rows get the statistic of the *other* parts of the training rows, as if
they were new (Micci-Barreca 2001, SIGKDD Explorations 3(1); out-of-fold as in Pargent et al. 2022, Computational
Statistics 37). A new row gets that of all training rows. Rare words are drawn towards the overall mean.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.job import Columns, Fit

PARTS = 5
SMOOTHING = 10.0
"""Rows' worth of the overall mean that is added to each word."""

MOST_CLASSES = 8
"""Classes that get a statistic of their own."""


Source = int | tuple[int, np.ndarray]
"""Where a column of the expanded matrix comes from: a number column, or a category column and each code's statistic."""


def expand(job: Fit) -> tuple[Fit, list[Source]]:
    """The job with the statistics of its categories in the place of their codes, and where each column comes from.

    Numbers come first in their order, then one statistic a category, or for several classes one a class.
    """
    numbers = [column for column in range(job.matrix.shape[1]) if column not in job.columns.categories]
    sources: list[Source] = list(numbers)
    parts, valid_parts = [job.matrix[:, numbers]], [job.valid[0][:, numbers]] if job.valid is not None else []
    for column, size in zip(job.columns.categories, job.columns.sizes, strict=True):
        for target in _targets(job):
            rows, of_code = encode(job.matrix[:, column], size, target, job.weight, job.seed)
            sources.append((column, of_code))
            parts.append(rows[:, None])
            if job.valid is not None:
                valid_parts.append(of_code[job.valid[0][:, column].astype(np.int64)][:, None])
    monotone = tuple(job.columns.monotone[source] if isinstance(source, int) else 0 for source in sources)
    valid = (np.hstack(valid_parts), *job.valid[1:]) if job.valid is not None else None
    columns = Columns((), (), monotone)
    return replace(job, columns=columns, matrix=np.hstack(parts), valid=valid), sources


def _targets(job: Fit) -> list[np.ndarray]:
    """The numbers whose means are taken, (n,) each: the target itself, or for several classes one flag a class."""
    if job.kind != "multiclass":
        return [job.target]
    return [np.asarray(job.target == place, dtype=float) for place in range(min(job.outputs, MOST_CLASSES))]


def encode(
    codes: np.ndarray, size: int, target: np.ndarray, weight: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The statistic of each row out of its part, (n,), and of each code over all rows, (size,).

    codes: (n,) whole numbers from 0 to size - 1; target: (n,) numbers.
    """
    codes = codes.astype(np.int64)
    weight = np.ones(len(codes)) if weight is None else weight
    part = np.random.default_rng(seed).integers(0, PARTS, len(codes))
    rows = np.empty(len(codes))
    for number in range(PARTS):
        inside, outside = part == number, part != number
        rows[inside] = _means(codes[outside], target[outside], weight[outside], size)[codes[inside]]
    return rows, _means(codes, target, weight, size)


def _means(codes: np.ndarray, target: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    total = np.bincount(codes, weights=weight * target, minlength=size)
    count = np.bincount(codes, weights=weight, minlength=size)
    overall = total.sum() / count.sum() if count.sum() > 0 else 0.0
    return np.asarray((total + SMOOTHING * overall) / (count + SMOOTHING))
