"""What became of the answers: error, coverage and calibration against the outcomes, each with its n and 95 % band.

Rows are read a few thousand at a time and only sums are kept, so that a journal of any length takes the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from feature_store.task import Task
from serving.distribution import group_name, happened
from serving.recall import EVER, Joined
from serving.tally import Tally, wilson
from serving.watch import Alarm, Watch

CHUNK = 4096

DAY_US = 86_400_000_000

CHANCES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Between the bins of chances for which it is told how often an event came true."""


@dataclass(frozen=True)
class Realised:
    """What was found: overall, of each declared group by its name, of each version, and alarms in their order.

    Each part has `n`, `level` (promised) and `coverage` (realised) of intervals or sets, and `events`: of each event
    or class `n`, the `rate` at which it came true, the `mean_chance` that was answered and `brier`. Regression has
    `bias` (answers minus outcomes), `mae` and `rmse` besides, in the target's unit; classes have `accuracy`,
    `log_loss` and `brier`. overall is None where nothing came back; its events have `bins`: of answers with like
    chances `n`, `mean_chance` and the `rate` at which it came true. days: sums of each day since 1970 (UTC), of all
    rows that were given: `covered`, and `square` (regression) or `loss`.
    """

    task: str
    overall: dict[str, Any] | None
    groups: dict[str, dict[str, Any]]
    versions: dict[str, dict[str, Any]]
    alarms: list[Alarm]
    days: dict[int, Tally] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure(
    task: Task, joined: Iterable[Joined], calibrated: Mapping[str, int] | None = None, since_us: int = EVER
) -> Realised:
    """Measure answers against their outcomes, which come in the order of `serving.recall.joined`.

    calibrated: by cell the rows that its interval or set was made from (`all`: the whole), as the bundle's
    distribution has them: they say how exact a promise can be (`serving/watch.py`). since_us: what came true before
    is evidence for the watch, and has its days, but takes no part in the measures.
    """
    watch, parts, days = Watch(task, calibrated), dict[tuple[str, str], Tally](), dict[int, Tally]()
    bins: _Bins = {}
    rows = iter(joined)
    while chunk := list(islice(rows, CHUNK)):
        facts, sides = _KINDS[task.kind](task, chunk)
        by_day: _Facts = {name: facts[name] for name in ("covered", "square", "loss") if name in facts}
        of_day: dict[int, list[int]] = {}
        places: dict[tuple[str, str], list[int]] = {}
        for place, (row, side) in enumerate(zip(chunk, sides, strict=True)):
            names = [group_name(group, row.row.get(group.field)) for group in task.groups]
            cell = ",".join(names)
            # A cell that was too small answers from a larger one, which promises nothing of these rows alone.
            watch.see(row.outcome_at_us, row.version, cell if cell == row.answer["group"] else None, side)
            of_day.setdefault(row.outcome_at_us // DAY_US, []).append(place)
            if row.outcome_at_us >= since_us:
                for part in (("overall", ""), ("version", row.version), *(("group", name) for name in names)):
                    places.setdefault(part, []).append(place)
        for part, inside in places.items():
            parts.setdefault(part, Tally()).add(facts, np.array(inside))
        for day, inside in of_day.items():
            days.setdefault(day, Tally()).add(by_day, np.array(inside))
        _add_to_bins(bins, facts, np.array(places.get(("overall", ""), []), dtype=int))
    told = {part: _told(task, tally) for part, tally in sorted(parts.items())}
    groups, versions = (
        {name: found for (kind, name), found in told.items() if kind == wanted} for wanted in ("group", "version")
    )
    overall = told.get(("overall", ""))
    for name, event in (overall or {"events": {}})["events"].items():
        event["bins"] = [_of_bin(*sums) for (own, _), sums in sorted(bins.items()) if own == name]
    return Realised(task.task, overall, groups, versions, watch.alarms, days)


_Bins = dict[tuple[str, int], tuple[int, float, float]]
"""By event and bin of chances: rows, the sum of their chances, and how many came true."""


def _add_to_bins(bins: _Bins, facts: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
    for key in facts:
        name = key.removeprefix("chance of ")
        if name == key:
            continue
        chance, true = facts[key][rows], facts[f"rate of {name}"][rows]
        place = np.where(np.isnan(chance), -1, np.digitize(chance, CHANCES))
        for one in np.unique(place[place >= 0]).tolist():
            inside = place == one
            n, sum_chance, sum_true = bins.get((name, one), (0, 0.0, 0.0))
            bins[name, one] = (
                n + int(inside.sum()), sum_chance + float(chance[inside].sum()), sum_true + float(true[inside].sum())
            )  # fmt: skip


def _of_bin(n: int, chances: float, true: float) -> dict[str, Any]:
    low, high = wilson(true, n)
    return {"n": n, "mean_chance": chances / n, "rate": {"value": true / n, "low": low, "high": high}}


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
