"""What became of the answers: error, coverage and calibration against the outcomes, each with its n and 95 % band.

Rows are read a few thousand at a time and only sums are kept, so that a journal of any length takes the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from math import sqrt
from typing import Any

import numpy as np

from feature_store.task import Task
from serving.distribution import group_name
from serving.recall import Joined
from training.evaluate import happened
from training.watch import Alarm, Watch

Z = 1.959964
"""Of a 95 % band."""

CHUNK = 4096

Estimate = dict[str, float | None]
"""`value`, `low`, `high`; the ends are None where there is a single row."""


def wilson(hits: float, n: int) -> tuple[float, float]:
    """The 95 % band of a share by Wilson's score interval. n: 1 or more.

    Coverage is a share near 1 of sometimes few rows. The usual p +- 1.96 sqrt(p (1 - p) / n) has no width when all of
    20 rows are covered, goes beyond 1, and holds the truth in far less than 95 % of cases there; Wilson's does none of
    it, in closed form, and is not as wide as the exact one of Clopper and Pearson.
    Source: Brown, Cai and DasGupta 2001, Statistical Science 16(2).
    """
    share, z2 = hits / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


@dataclass
class Tally:
    """Sums over rows of named numbers; n: all rows, counts: by name those that had it."""

    n: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)

    def add(self, facts: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
        """facts: by name one number or truth a row, NaN where a row has none; rows: the places that count."""
        self.n += len(rows)
        for name, values in facts.items():
            known = np.asarray(values[rows], dtype=float)
            known = known[~np.isnan(known)]
            self.counts[name] = self.counts.get(name, 0) + len(known)
            self.sums[name] = self.sums.get(name, 0.0) + float(known.sum())
            self.squares[name] = self.squares.get(name, 0.0) + float(np.square(known).sum())

    def mean(self, name: str) -> Estimate:
        """A mean with its band by the normal approximation."""
        n = self.counts[name]
        value = self.sums[name] / n
        if n < 2:
            return {"value": value, "low": None, "high": None}
        half = Z * sqrt(max(self.squares[name] - n * value * value, 0.0) / (n - 1) / n)
        return {"value": value, "low": value - half, "high": value + half}

    def root(self, name: str) -> Estimate:
        """The root of a mean of squares, and of its band."""
        return {key: None if one is None else sqrt(max(one, 0.0)) for key, one in self.mean(name).items()}

    def share(self, name: str) -> Estimate:
        """A share with its band; see `wilson`."""
        low, high = wilson(self.sums[name], self.counts[name])
        return {"value": self.sums[name] / self.counts[name], "low": low, "high": high}


@dataclass(frozen=True)
class Realised:
    """What was found: overall, of each declared group by its name, of each version, and alarms in their order.

    Each part has `n`, `level` (promised) and `coverage` (realised) of intervals or sets, and `events`: of each event
    or class `n`, the `rate` at which it came true, the `mean_chance` that was answered and `brier`. Regression has
    `bias` (answers minus outcomes), `mae` and `rmse` besides, in the target's unit; classes have `accuracy`,
    `log_loss` and `brier`. overall is None where nothing came back.
    """

    task: str
    overall: dict[str, Any] | None
    groups: dict[str, dict[str, Any]]
    versions: dict[str, dict[str, Any]]
    alarms: list[Alarm]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure(task: Task, joined: Iterable[Joined], calibrated: Mapping[str, int] | None = None) -> Realised:
    """Measure answers against their outcomes, which come in the order of `serving.recall.joined`.

    calibrated: by cell the rows that its interval or set was made from (`all`: the whole), as the bundle's
    distribution has them: they say how exact a promise can be (`training.watch`).
    """
    watch, parts = Watch(task, calibrated), dict[tuple[str, str], Tally]()
    rows = iter(joined)
    while chunk := list(islice(rows, CHUNK)):
        facts, sides = _KINDS[task.kind](task, chunk)
        places: dict[tuple[str, str], list[int]] = {("overall", ""): list(range(len(chunk)))}
        for place, (row, side) in enumerate(zip(chunk, sides, strict=True)):
            names = [group_name(group, row.row.get(group.field)) for group in task.groups]
            cell = ",".join(names)
            # A cell that was too small answers from a larger one, which promises nothing of these rows alone.
            watch.see(row.outcome_at_us, row.version, cell if cell == row.answer["group"] else None, side)
            for part in (("version", row.version), *(("group", name) for name in names)):
                places.setdefault(part, []).append(place)
        for part, inside in places.items():
            parts.setdefault(part, Tally()).add(facts, np.array(inside))
    told = {part: _told(task, tally) for part, tally in sorted(parts.items())}
    groups, versions = (
        {name: found for (kind, name), found in told.items() if kind == wanted} for wanted in ("group", "version")
    )
    return Realised(task.task, told.get(("overall", "")), groups, versions, watch.alarms)


_Facts = dict[str, np.ndarray]
_Sides = list[str | None]


def _of_values(task: Task, chunk: list[Joined]) -> tuple[_Facts, _Sides]:
    """By name one number a row; and the side of the interval on which each truth lies, None inside."""
    truth = np.array([row.outcome for row in chunk], dtype=float)
    value = np.array([row.answer["value"] for row in chunk], dtype=float)
    low, high = (np.array([row.answer["interval"][end] for row in chunk], dtype=float) for end in ("low", "high"))
    error = value - truth
    facts = {"error": error, "size": np.abs(error), "square": error**2, "covered": (low <= truth) & (truth <= high)}
    for event in task.answers.events:  # an older version may have answered without one that the Task has now
        chance = np.array([row.answer["events"].get(event.name, np.nan) for row in chunk], dtype=float)
        facts |= _of_chance(event.name, happened(event, truth), chance)
    sides: _Sides = ["below" if t < a else "above" if t > b else None for t, a, b in zip(truth, low, high, strict=True)]
    return facts, sides


def _of_two(task: Task, chunk: list[Joined]) -> tuple[_Facts, _Sides]:
    positive = task.target.positive or ""
    chance = np.array([row.answer["value"] for row in chunk], dtype=float)
    true = np.array([row.outcome == positive for row in chunk])
    facts, sides = _of_classes(chunk, np.where(true, chance, 1.0 - chance))
    return facts | {"off": (chance - true) ** 2} | _of_chance(positive, true, chance), sides


def _of_many(task: Task, chunk: list[Joined]) -> tuple[_Facts, _Sides]:
    """Versions may know different classes: of one that an answer did not have there is no chance."""
    given = [row.answer["probabilities"] for row in chunk]
    of_true = np.array([one.get(row.outcome, 0.0) for one, row in zip(given, chunk, strict=True)], dtype=float)
    facts, sides = _of_classes(chunk, of_true)
    facts["off"] = np.array([sum(p * p for p in one.values()) for one in given]) + 1.0 - 2.0 * of_true
    for word in sorted({word for one in given for word in one}):
        chance = np.array([one.get(word, np.nan) for one in given], dtype=float)
        facts |= _of_chance(word, np.array([row.outcome == word for row in chunk]), chance)
    return facts, sides


def _of_classes(chunk: list[Joined], of_true: np.ndarray) -> tuple[_Facts, _Sides]:
    """of_true: (n,) the chance that was given to the class that came true."""
    covered = [row.outcome in row.answer["set"] for row in chunk]
    right = np.array([row.outcome == row.answer["label"] for row in chunk])
    facts = {"covered": np.array(covered), "right": right, "loss": -np.log(np.maximum(of_true, 1e-15))}
    return facts, [None if inside else "outside" for inside in covered]


_KINDS: dict[str, Callable[[Task, list[Joined]], tuple[_Facts, _Sides]]] = {
    "regression": _of_values,
    "binary": _of_two,
    "multiclass": _of_many,
}


def _of_chance(name: str, true: np.ndarray, chance: np.ndarray) -> _Facts:
    told = np.where(np.isnan(chance), np.nan, true)
    return {f"rate of {name}": told, f"chance of {name}": chance, f"brier of {name}": (chance - told) ** 2}


def _told(task: Task, tally: Tally) -> dict[str, Any]:
    out: dict[str, Any] = {"n": tally.n, "level": task.answers.interval, "coverage": tally.share("covered")}
    if task.kind == "regression":
        out |= {"bias": tally.mean("error"), "mae": tally.mean("size"), "rmse": tally.root("square")}
    else:
        out |= {"accuracy": tally.share("right"), "log_loss": tally.mean("loss"), "brier": tally.mean("off")}
    names = [key.removeprefix("rate of ") for key, n in tally.counts.items() if key.startswith("rate of ") and n]
    out["events"] = {
        name: {
            "n": tally.counts[f"rate of {name}"],
            "rate": tally.share(f"rate of {name}"),
            "mean_chance": tally.mean(f"chance of {name}")["value"],
            "brier": tally.mean(f"brier of {name}"),
        }
        for name in names
    }
    return out
