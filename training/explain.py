"""What drives a version: how much worse it gets without a field, and what each field adds to single answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from serving import exact
from serving.ensemble import Link, Member
from training.losses import loss

ROWS = 1000
"""Holdout rows that fields are shuffled in."""

SHAP_ROWS = 500
REPEATS = 5
MANY = 100
LEAST_ROWS = 100


@dataclass(frozen=True)
class Importance:
    """Of one field: by how much the search's metric worsens when its values are shuffled among the rows.

    rise: mean over the shuffles, in the metric's unit (of `auc`: the fall of AUC); spread: their standard deviation.
    """

    field: str
    rise: float
    spread: float


@dataclass(frozen=True)
class Judged:
    """The holdout: matrix (n, fields) encoded rows, target (n,), weight (n,) or None; metric: the search's."""

    metric: str
    matrix: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None = None

    def take(self, places: np.ndarray) -> Judged:
        """Some of the rows."""
        weight = None if self.weight is None else self.weight[places]
        return Judged(self.metric, self.matrix[places], self.target[places], weight)

    def loss(self, predicted: np.ndarray) -> float:
        """Of predictions (n, outputs)."""
        return loss(self.metric, self.target, predicted, self.weight)


def importance(
    predict: Callable[[np.ndarray], np.ndarray],
    names: Sequence[str],
    judged: Judged,
    seed: int = 0,
    first: Sequence[int] = (),
    budget_s: float = 5.0,
) -> list[Importance]:
    """Permutation importance of every field, the greatest first, on a sample of up to ROWS rows.

    predict: (n, fields) encoded rows to (n, outputs), in batches; names: of the columns. One timed call decides how
    many shuffles (1 to REPEATS) of how many rows (LEAST_ROWS or more) budget_s allows, so figures may differ in their
    last digits from run to run; a bundle does not hold them. Beyond MANY columns only as many are shuffled as twice
    the time allows, those of `first` before the others.
    Source: Breiman 2001, Machine Learning 45; Fisher et al. 2019, JMLR 20(177).
    """
    random = np.random.default_rng(seed)
    sample = judged.take(np.sort(random.permutation(len(judged.target))[:ROWS]))
    start = time.perf_counter()
    predict(sample.matrix)
    calls = budget_s / max(time.perf_counter() - start, 1e-6) / len(names)
    if calls < 1:
        sample = sample.take(np.arange(min(max(int(len(sample.target) * calls), LEAST_ROWS), len(sample.target))))
    whole = sample.loss(predict(sample.matrix))
    found: list[Importance] = []
    for column in dict.fromkeys([*first, *range(len(names))]):
        if len(found) >= MANY and time.perf_counter() - start > 2 * budget_s:
            break
        rises = []
        for _ in range(int(np.clip(calls, 1, REPEATS))):
            shuffled = sample.matrix.copy()
            shuffled[:, column] = random.permutation(shuffled[:, column])
            rises.append(sample.loss(predict(shuffled)) - whole)
        found.append(Importance(names[column], float(np.mean(rises)), float(np.std(rises))))
    return sorted(found, key=lambda one: -one.rise)


@dataclass(frozen=True)
class Shap:
    """What each field added to each of n rows' raw scores, weighted over the members that allow exact values.

    values: (n, fields, outputs); matrix: (n, fields) the encoded rows; link: of the members explained, on whose raw
    scale the values are (`identity`: the target's unit, `exp`: logarithms, `sigmoid`: log-odds, `softmax`: scores).
    share: of the ensemble's weight that they carry.
    """

    values: np.ndarray
    matrix: np.ndarray
    link: Link
    share: float

    @property
    def strength(self) -> np.ndarray:
        """(fields,) mean absolute values, summed over the outputs."""
        return np.asarray(np.abs(self.values).mean(axis=0).sum(axis=1))


def shap(members: Sequence[Member], matrix: np.ndarray, seed: int = 0, budget_s: float = 10.0) -> Shap | None:
    """SHAP values of up to SHAP_ROWS rows; None when no member allows exact ones.

    matrix: (n, fields) encoded holdout. Trees: TreeSHAP; additive models: each column's function minus its mean.
    Raw scores of different links can't be added: the link that carries the most weight is explained. Rows are done in
    growing blocks until budget_s is over, the first row in any case.
    """
    sample = matrix[np.random.default_rng([seed, 2]).permutation(len(matrix))[:SHAP_ROWS]]
    known = [member for member in members if len(sample) and exact.method(member, sample[:1]) != "sampled"]
    if not known:
        return None
    links = {member.link for member in known}
    link = max(sorted(links), key=lambda name: sum(m.weight for m in known if m.link == name))
    known = [member for member in known if member.link == link]
    share, means = sum(member.weight for member in known), exact.means(known, sample)
    start, done, blocks = time.perf_counter(), 0, list[np.ndarray]()
    while done < len(sample) and (not done or time.perf_counter() - start < budget_s / 2):  # the next may take as long
        rows = sample[done : 2 * done + 1]
        parts = [member.weight / share * exact.contributions(member, rows, means)[0] for member in known]
        blocks.append(np.sum(parts, axis=0))
        done += len(rows)
    values = np.concatenate(blocks)
    return Shap(values, sample[: len(values)], link, share)
