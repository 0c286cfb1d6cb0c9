"""The linear learner: ridge or logistic regression on splines or quantile scores of numbers, and on categories.

What it fits comes to one function a column, so the model that is kept is additive (`serving/additive.py`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from serving.additive import Additive, Curve, Table
from training.job import Config, Fit, Fitted

FEW = 5
"""Rows below which a word has no indicator of its own."""

MANY_WORDS = 50
"""Words of a category beyond which only the most frequent ones have indicators."""

QUANTILES = 33

MOST_ROWS, MOST_CELLS = 100_000, 20_000_000
"""Rows, and cells of the design, that are fitted on at most: a few hundred weights are known to a fraction of a per
cent by then, and the design of a million rows would take gigabytes."""

WIDE = 500
"""Columns beyond which numbers stay plain: hinges would be many more than the rows can tell apart."""


@dataclass(frozen=True)
class _Numbers:
    """One number column's features: their values at the knots, (knots, features); piecewise linear in between."""

    column: int
    knots: np.ndarray
    at_knots: np.ndarray
    fill: float
    flagged: bool

    def design(self, matrix: np.ndarray) -> np.ndarray:
        x = matrix[:, self.column]
        unknown = np.isnan(x)
        filled = np.where(unknown, self.fill, x)
        parts = [np.interp(filled, self.knots, self.at_knots[:, feature]) for feature in range(self.at_knots.shape[1])]
        return np.column_stack([*parts, unknown] if self.flagged else parts)

    def curve(self, weights: np.ndarray) -> tuple[Curve, np.ndarray]:
        """The function that these weights, (features, outputs), make of the column."""
        of_features = weights[: self.at_knots.shape[1]]
        values = self.at_knots @ of_features
        slope = np.diff(values, axis=0) / np.diff(self.knots)[:, None]
        base = values[:-1] - slope * self.knots[:-1, None]
        fill = [float(np.interp(self.fill, self.knots, values[:, output])) for output in range(values.shape[1])]
        missing = np.array(fill) + (weights[-1] if self.flagged else 0.0)
        return Curve(self.column, self.knots.tolist(), base.tolist(), slope.tolist(), missing.tolist()), missing


@dataclass(frozen=True)
class _Words:
    """One category column's indicators; codes: those that have one of their own, all others share none."""

    column: int
    size: int
    codes: np.ndarray

    def design(self, matrix: np.ndarray) -> np.ndarray:
        return np.asarray(matrix[:, self.column][:, None] == self.codes[None, :], dtype=float)

    def table(self, weights: np.ndarray) -> Table:
        values = np.zeros((self.size, weights.shape[1]))
        values[self.codes.astype(np.int64)] = weights
        return Table(self.column, values.tolist())


def fit_linear(config: Config, job: Fit) -> Fitted:
    """`numbers`: `plain`, `splines` (with `knots`) or `quantiles`; `alpha`: the penalty a thousand rows."""
    job = _some(job, MOST_ROWS)
    parts = _parts(config, job)
    widths = [part.design(job.matrix[:1]).shape[1] for part in parts]
    job = _some(job, max(MOST_CELLS // max(sum(widths), 1), FEW))
    design, size, start = np.empty((len(job.target), sum(widths))), np.ones(sum(widths)), 0
    for part, width in zip(parts, widths, strict=True):  # the design is held once: it is the largest array there is
        block, own = part.design(job.matrix), slice(start, start + width)
        size[own] = np.where(block.std(axis=0) == 0, 1.0, block.std(axis=0))
        design[:, own] = block / size[own]
        start += width
    weights, intercept = _solve(design, float(config["alpha"]), job)
    weights = weights / size[:, None]
    curves, tables, start = [], [], 0
    for part, width in zip(parts, widths, strict=True):
        of_part = weights[start : start + width]
        start += width
        if isinstance(part, _Numbers):
            curves.append(part.curve(of_part)[0])
        else:
            tables.append(part.table(of_part))
    model = Additive(intercept.tolist(), curves, tables)
    return Fitted([], lambda _: model, job.link)


def _some(job: Fit, most: int) -> Fit:
    """The job on at most so many of its rows, drawn by its seed."""
    if len(job.target) <= most:
        return job
    rows = np.sort(np.random.default_rng(job.seed).permutation(len(job.target))[:most])
    weight = None if job.weight is None else job.weight[rows]
    return replace(job, matrix=job.matrix[rows], target=job.target[rows], weight=weight)


def _solve(design: np.ndarray, alpha: float, job: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Weights (features, outputs) and intercept (outputs,). The design is used up."""
    penalty = alpha * len(design) / 1000.0
    if job.kind == "regression":
        ridge = Ridge(alpha=max(penalty, 1e-9), solver="cholesky", copy_X=False)
        ridge.fit(design, job.target, sample_weight=job.weight)
        return ridge.coef_[:, None], np.array([ridge.intercept_])
    present = np.unique(job.target)
    if len(present) < 2:  # a fold in which one class is all there is
        chance = np.full(job.outputs, -20.0)
        chance[int(present[0]) if job.kind == "multiclass" else 0] = 20.0 if present[0] else -20.0
        return np.zeros((design.shape[1], job.outputs)), chance
    logistic = LogisticRegression(C=1.0 / max(penalty, 1e-6), max_iter=200, tol=1e-4)
    with warnings.catch_warnings():  # after 200 steps it is as good as the penalty lets it be
        warnings.simplefilter("ignore", ConvergenceWarning)
        logistic.fit(design, job.target, sample_weight=job.weight)
    if job.kind == "binary":
        return logistic.coef_.T, logistic.intercept_
    weights, intercept = np.zeros((design.shape[1], job.outputs)), np.full(job.outputs, -20.0)
    places = present.astype(np.int64)
    if len(present) == 2:  # scikit-learn then fits one column: the second class against the first
        weights[:, places[1]], intercept[places] = logistic.coef_[0], (0.0, logistic.intercept_[0])
    else:
        weights[:, places], intercept[places] = logistic.coef_.T, logistic.intercept_
    return weights, intercept


def _parts(config: Config, job: Fit) -> list[_Numbers | _Words]:
    if job.matrix.shape[1] > WIDE:
        config = {**config, "numbers": "plain"}
    sizes = dict(zip(job.columns.categories, job.columns.sizes, strict=True))
    out: list[_Numbers | _Words] = []
    for column in range(job.matrix.shape[1]):
        values = job.matrix[:, column]
        if column in sizes:
            codes, counts = np.unique(values, return_counts=True)
            kept = codes[counts >= min(FEW, max(2, len(values) // 50))]
            order = np.argsort(-counts[counts >= min(FEW, max(2, len(values) // 50))], kind="stable")
            if len(kept):
                out.append(_Words(column, sizes[column], np.sort(kept[order][:MANY_WORDS])))
            continue
        known = values[~np.isnan(values)]
        if known.size and known.min() < known.max():
            out.append(_numbers(config, column, known, known.size < values.size))
    return out


def _numbers(config: Config, column: int, known: np.ndarray, flagged: bool) -> _Numbers:
    low, high = float(known.min()), float(known.max())
    if config["numbers"] == "quantiles":
        levels = np.linspace(0.0, 1.0, QUANTILES)
        knots, places = np.unique(np.quantile(known, levels), return_index=True)
        last = np.append(places[1:], len(levels)) - 1  # a value that fills several levels scores in their middle
        scores = norm.ppf(np.clip((levels[places] + levels[last]) / 2, 0.005, 0.995))
        return _Numbers(column, knots, scores[:, None], float(np.median(known)), flagged)
    count = int(config["knots"]) if config["numbers"] == "splines" else 0
    inside = np.quantile(known, np.linspace(0, 1, count + 2)[1:-1], method="nearest") if count else []
    knots = np.unique(np.array([low, *map(float, inside), high]))
    hinges = np.maximum(knots[:, None] - knots[None, :-1], 0.0)
    return _Numbers(column, knots, hinges, float(np.median(known)), flagged)
