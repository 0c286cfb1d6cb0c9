"""What the training rows know of the holdout: copies, entities on both sides, dates that lie ahead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from training.dataset import Rows


@dataclass(frozen=True)
class Copies:
    """Rows of the holdout that have a twin in training.

    alike: share whose fields are those of a training row; same: share whose target is that of such a row too;
    agreement: of twins, how far they agree on the target beyond chance, 1 always; copied: share that chance does not
    explain.
    """

    alike: float
    same: float
    agreement: float
    copied: float


def copies(train: Rows, holdout: Rows) -> Copies:
    """Count identical rows across the split, less what chance explains.

    Of holdout rows with a twin in their fields, `same` have its target. Unrelated rows would agree on the target as
    often as its value is common, `1 - (1 - p)^twins`; the excess over that, as a share of what is left to exceed
    (Cohen's kappa), is the share of twins that are copies. So a table of few, coarse fields is no contamination.
    """
    fields, n = _keys(train, holdout), len(train)
    left, right = fields[:n], fields[n:]
    values, places = np.unique(np.concatenate([train.target, holdout.target]), return_inverse=True)
    order = np.sort(left)
    twins = np.searchsorted(order, right, side="right") - np.searchsorted(order, right, side="left")
    alike = twins > 0
    if not alike.any():
        return Copies(0.0, 0.0, 0.0, 0.0)
    common = np.bincount(places[:n], minlength=len(values)) / n
    chance = 1 - (1 - common[places[n:]]) ** twins
    pair = _mix(left, places[:n]), _mix(right, places[n:])
    same = np.isin(pair[1], pair[0])
    share, seen, due = float(alike.mean()), float(same.mean()), float(chance[alike].sum() / len(holdout))
    kappa = (seen - due) / (share - due) if share > due else 0.0
    return Copies(share, seen, max(0.0, kappa), max(0.0, kappa) * share)


def _keys(train: Rows, holdout: Rows) -> np.ndarray:
    """(n + m,) uint64, equal for rows that are equal in all fields."""
    total = np.zeros(len(train) + len(holdout), dtype=np.uint64)
    for name, column in train.columns.items():
        whole = np.concatenate([column, holdout.columns[name]])
        total = _mix(total, pd.factorize(whole)[0] if whole.dtype == object else _bits(whole))
    return total


def _bits(column: np.ndarray) -> np.ndarray:
    """A number's own bits, one pattern for unknown and for zero."""
    return np.asarray(np.where(np.isnan(column), np.nan, column + 0.0).view(np.int64))


def _mix(key: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Add a code to a key: multiply and shift as splitmix64 does, so that 1e6 rows collide once in 4e7 tables."""
    with np.errstate(over="ignore"):
        mixed = (key ^ code.astype(np.int64).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


@dataclass(frozen=True)
class Entities:
    """shared: share of holdout rows whose entity is in training too; rows: mean rows an entity in training.

    clustered: share of the target's variance that lies between entities (intraclass correlation), chance removed.
    """

    shared: float
    rows: float
    entities: int
    clustered: float


def entities(train: np.ndarray, holdout: np.ndarray, target: np.ndarray, classes: int = 0) -> Entities:
    """How entities lie across the split. train, holdout: (n,), (m,) keys, None or NaN unknown; target: (n,) of train.

    Source of the intraclass correlation: Donner 1986, International Statistical Review 54(1), one-way ANOVA.
    """
    whole = pd.factorize(np.concatenate([train, holdout]))[0]
    left, right = whole[: len(train)], whole[len(train) :]
    shared = float(np.isin(right[right >= 0], left[left >= 0]).sum() / max(1, len(right)))
    known = left >= 0
    code = left[known]  # training comes first, so its entities are 0 to k - 1
    count = np.bincount(code)
    k, n = len(count), len(code)
    if k < 2 or n <= k:
        return Entities(shared, n / max(1, k), k, 0.0)
    sides = [target[known]] if classes <= 2 else [(target[known] == c).astype(float) for c in range(classes)]
    between, within = 0.0, 0.0
    for y in sides:
        mean = np.bincount(code, weights=y) / count
        between += float((count * (mean - y.mean()) ** 2).sum()) / (k - 1)
        within += float(((y - mean[code]) ** 2).sum()) / (n - k)
    size = (n - float((count.astype(float) ** 2).sum()) / n) / (k - 1)
    total = between + (size - 1) * within
    return Entities(shared, n / k, k, max(0.0, (between - within) / total) if total > 0 else 0.0)


def ahead(column: np.ndarray, times: np.ndarray | float) -> float:
    """The share of known dates that lie after their row's day. column, times: days since 1970-01-01, (n,)."""
    known = ~np.isnan(column)
    late = column > np.floor(np.broadcast_to(times, column.shape))
    return float((late & known).sum() / max(1, known.sum()))
