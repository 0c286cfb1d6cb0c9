"""Intervals beside MAPIE's and crepes', and the promise of coverage on repeated splits, on the real birth weights.

    python3 benchmarks/peers_env.py .peers intervals           # once
    .venv/bin/python -m benchmarks.intervals [--rivals 5] [--splits 20]

Rivals: on each split 20,000 births to learn from and 10,000 to judge, one LightGBM configuration and the same five
folds for every method; ours is `training.conformal` on its out-of-fold predictions, answered by refits. The promise:
the product's own `fit` (3 trials, members, calibration and all) on 80 % of the whole table, judged on the other 20 %.
Writes docs/benchmarks/intervals.md. Each finished split is appended to a JSON Lines file and not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments import catalog
from feature_store import offline
from feature_store.settings import from_environment
from feature_store.task import Budget, Task
from serving import encode
from serving.distribution import Distribution, GroupNames, happened
from serving.encode import Encoder
from training import conformal, dataset, evaluate, honesty, splits
from training.dataset import Rows
from training.fit import fit

OUT, RESULTS = Path("docs/benchmarks/intervals.md"), Path("docs/benchmarks/intervals.jsonl")
LEVELS = (0.9, 0.8)
QUANTILES = np.arange(1, 50) / 50
"""Levels over which the pinball loss is averaged: twice its mean is the CRPS, about."""

TRAIN, TEST, FOLDS = 20_000, 10_000, 5
LEAST = 300
CONFIG: dict[str, Any] = {"n_estimators": 300, "num_leaves": 31, "learning_rate": 0.04, "min_child_samples": 30,
                          "colsample_bytree": 0.7}  # fmt: skip
SIZE: dict[str, Any] = {"n_estimators": 200, "num_leaves": 12, "learning_rate": 0.05, "min_child_samples": 100,
                        "colsample_bytree": 0.7}  # fmt: skip
METHODS = {
    "ours": "**Gancao** (CPS from out-of-fold residuals)",
    "crepes": "crepes (CPS, our residuals and cells)",
    "mapie_cv_plus": "MAPIE CV+",
    "mapie_cqr": "MAPIE CQR",
    "mapie_split": "MAPIE split",
}


def main() -> None:
    """Run what is missing, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", type=int, default=5)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--peers", type=Path, default=Path(".peers"))
    choice = parser.parse_args()
    settings = from_environment()
    task = catalog.load("birth_weight", settings)
    rows = dataset.labelled(task, offline.fetch(task, settings.data))
    done = {(r["part"], r["seed"]) for r in read()}
    parts: list[tuple[str, int]] = [("rivals", seed) for seed in range(choice.rivals)]
    parts += [("promise", seed) for seed in range(choice.splits)]
    missing = [part for part in parts if part not in done]
    started = time.monotonic()
    for place, (part, seed) in enumerate(missing):
        found = rivals(task, rows, seed, choice.peers) if part == "rivals" else promise(task, rows, seed)
        with RESULTS.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"part": part, "seed": seed, **found}) + "\n")
        left = (time.monotonic() - started) / (place + 1) * (len(missing) - place - 1)
        sys.stderr.write(f"{part} {seed}: {json.dumps(found)[:300]}; about {left / 60:.0f} min left\n")
    OUT.write_text(page(read(), held(task, rows)), encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


def read() -> list[dict[str, Any]]:
    """The finished splits."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


# --- rivals -----------------------------------------------------------------------------------------------------


def rivals(task: Task, rows: Rows, seed: int, peers: Path) -> dict[str, Any]:
    """Measures of every method on one split, by level."""
    order = np.random.default_rng([seed, 11]).permutation(len(rows))
    train, test = rows.take(order[:TRAIN]), rows.take(order[TRAIN : TRAIN + TEST])
    encoder = encode.fit(task, train.columns)
    matrix, asked = encoder.columns(train.columns), encoder.columns(test.columns)
    fold = np.arange(TRAIN) % FOLDS
    oof, centre = crossed(matrix, train.target, asked, fold, CONFIG, seed)
    size, test_size = crossed(matrix, np.abs(train.target - oof), asked, fold, SIZE, seed)
    begun = time.perf_counter()
    found = conformal.calibrate(task, encoder, matrix, train.target, oof, size)
    fitted = time.perf_counter() - begun
    scale = np.maximum(test_size, found.floor) if found.uses_scale else np.full(TEST, found.floor)
    begun = time.perf_counter()
    answers = {"ours": ends(found.distribution, asked, centre, scale)}
    seconds = {"ours": [fitted, (time.perf_counter() - begun) / len(LEVELS)]}
    names = GroupNames(encoder)
    cells = {name: number for number, name in enumerate(found.distribution.cells)}
    own, theirs = (np.array([cells[names.cell(row, found.distribution.cells)] for row in part])
                   for part in (matrix, asked))  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        laid = {
            "matrix": matrix,
            "target": train.target,
            "fold": fold,
            "test": asked,
            "cell": own,
            "test_cell": theirs,
            "oof": oof,
            "centre": centre,
            "size": np.maximum(size, found.floor),
            "test_size": np.maximum(test_size, found.floor),
            "levels": np.array(LEVELS),
            "quantiles": QUANTILES,
            "limits": np.array(task.target.limits),
        }
        np.savez(folder / "rows.npz", allow_pickle=False, **laid)
        (folder / "config.json").write_text(json.dumps({**CONFIG, "random_state": seed}))
        script = Path(__file__).absolute().parent / "contestants/with_intervals.py"
        subprocess.run([str((peers / "intervals/bin/python").absolute()), str(script), str(folder)], check=True)
        theirs_ = np.load(folder / "answers.npz")
        for method in list(METHODS)[1:]:
            answers[method] = (theirs_[f"{method}_low"], theirs_[f"{method}_high"])
            seconds[method] = theirs_[f"{method}_seconds"].tolist()
        whole = {"crepes": theirs_["crepes_quantiles"]}
    own_cells = [found.distribution.cells[name] for name in cells]
    scores = np.array([[cell.reaching(float(level)) for level in QUANTILES] for cell in own_cells])[theirs]
    whole["ours"] = centre[:, None] + scale[:, None] * scores
    groups = [set(one) for one in evaluate.group_names(encoder, asked)]
    preterm = asked[:, list(task.by_name).index("gestation_weeks")] < 37
    out = {method: {**measured(test.target, *answers[method], groups, preterm), "seconds": seconds[method]}
           for method in METHODS}  # fmt: skip
    for method, quantiles in whole.items():
        out[method]["crps"] = crps(test.target, quantiles)
    return out


def crps(target: np.ndarray, quantiles: np.ndarray) -> float:
    """The continuous ranked probability score, in the target's unit, of (n, levels) quantiles at QUANTILES.

    Twice the mean pinball loss: Gneiting and Raftery 2007, JASA 102(477), section 4.2.
    """
    off = target[:, None] - quantiles
    return float(2 * np.mean(np.maximum(QUANTILES * off, (QUANTILES - 1) * off)))


def crossed(
    matrix: np.ndarray, target: np.ndarray, asked: np.ndarray, fold: np.ndarray, config: dict[str, Any], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) out-of-fold predictions and (m,) those of one model of all rows."""

    def model() -> lightgbm.LGBMRegressor:
        return lightgbm.LGBMRegressor(**config, n_jobs=2, verbose=-1, random_state=seed)

    oof = np.empty(len(target))
    for number in range(FOLDS):
        out = fold == number
        oof[out] = model().fit(matrix[~out], target[~out]).predict(matrix[out])
    return oof, np.asarray(model().fit(matrix, target).predict(asked))


def ends(
    distribution: Distribution, matrix: np.ndarray, centre: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(levels, n) lower and upper ends, read off row by row as the server does."""
    lows, highs = [], []
    for level in LEVELS:
        raw = distribution.task.model_dump(mode="json")
        raw["answers"]["interval"] = level
        own = replace(distribution, task=Task.model_validate(raw))
        cases = zip(matrix, centre.tolist(), scale.tolist(), strict=True)
        answers = [own.answer(*case) for case in cases]
        lows.append([answer.low for answer in answers])
        highs.append([answer.high for answer in answers])
    return np.array(lows), np.array(highs)


def measured(
    target: np.ndarray, low: np.ndarray, high: np.ndarray, groups: list[set[str]], preterm: np.ndarray
) -> dict[str, Any]:
    """By level: coverage, mean width, Winkler score, coverage of preterm births, and the worst group's coverage."""
    out = {}
    for level, below, above in zip(LEVELS, low, high, strict=True):
        miss = np.maximum(below - target, 0) + np.maximum(target - above, 0)
        inside = miss == 0
        by_group = {name: inside[np.array([name in names for names in groups])] for name in set().union(*groups)}
        large = {name: float(part.mean()) for name, part in sorted(by_group.items()) if len(part) >= LEAST}
        out[str(level)] = {
            "coverage": float(inside.mean()),
            "width": float(np.mean(above - below)),
            "winkler": float(np.mean(above - below + 2 / (1 - level) * miss)),
            "preterm": float(inside[preterm].mean()),
            "groups": large,
        }
    return out


# --- the promise ------------------------------------------------------------------------------------------------


def promise(task: Task, rows: Rows, seed: int) -> dict[str, Any]:
    """Coverage of the product's own answers on a fresh split of the whole table, and their cost a row."""
    split = splits.split(task, rows, 1000 + seed)
    with tempfile.TemporaryDirectory() as folder:
        predictor, _ = fit(task, split.train, Budget(trials=3), seed, Path(folder) / "run")
    encoder, distribution = predictor.bundle.encoder, predictor.bundle.distribution
    assert isinstance(distribution, Distribution)
    asked = encoder.columns(split.holdout.columns)
    centre, scale = predictor.centre_and_scale(asked)
    begun = time.perf_counter()
    for case in zip(asked, centre.tolist(), scale.tolist(), strict=True):
        distribution.answer(*case)
    cost = (time.perf_counter() - begun) / len(asked)
    groups = [set(one) for one in evaluate.group_names(encoder, asked)]
    preterm = asked[:, list(task.by_name).index("gestation_weeks")] < 37
    low, high = ends(distribution, asked, centre, scale)
    answers = [distribution.answer(*case) for case in zip(asked, centre.tolist(), scale.tolist(), strict=True)]
    return {
        "ours": measured(split.holdout.target, low, high, groups, preterm),
        "answer_us": 1e6 * cost,
        "events": {
            event.name: judged(
                happened(event, split.train.target),
                happened(event, split.holdout.target),
                np.array([answer.events[event.name] for answer in answers]),
                *(plain(encoder, part.columns) for part in (split.train, split.holdout)),
            )
            for event in task.answers.events
        },
    }


def held(task: Task, rows: Rows) -> dict[str, int]:
    """Holdout rows of all, of preterm births and of each group, on the first split: others differ by a few."""
    encoder = encode.fit(task, rows.columns)
    asked = encoder.columns(splits.split(task, rows, 1000).holdout.columns)
    counts = Counter(name for names in evaluate.group_names(encoder, asked) for name in set(names))
    preterm = int((asked[:, list(task.by_name).index("gestation_weeks")] < 37).sum())
    return {"all": len(asked), "preterm": preterm, **counts}


def by_chance(level: float, rows: int, times: int) -> float:
    """How far from the level the farthest of so many holdouts is by chance alone, 95 times in 100 at most, for
    intervals that cover exactly: the distance of binomial shares of so many rows."""
    each = 0.95 ** (1 / times)
    hits = np.arange(rows + 1)
    distance = np.abs(hits / rows - level)
    nearest = np.argsort(distance)
    reached = np.searchsorted(np.cumsum(binom.pmf(hits, rows, level)[nearest]), each)
    return float(distance[nearest][reached])


def judged(
    before: np.ndarray, true: np.ndarray, chance: np.ndarray, train: np.ndarray, asked: np.ndarray
) -> dict[str, float]:
    """Calibration and Brier scores of an event's chances, of the base rate and of a logistic regression.

    before, true: (n,) and (m,) whether it happened in training and holdout rows; train, asked: their `plain` columns.
    """
    intercept, slope = honesty.calibration_line(true, chance)
    rival = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, before)
    return {
        "slope": slope,
        "intercept": intercept,
        "brier": float(np.mean((chance - true) ** 2)),
        "base_rate": float(np.mean((before.mean() - true) ** 2)),
        "logistic": float(np.mean((rival.predict_proba(asked)[:, 1] - true) ** 2)),
    }


def plain(encoder: Encoder, columns: dict[str, Any]) -> np.ndarray:
    """(n, more columns) for a logistic regression: words as columns, unknown numbers as the middle and a mark."""
    matrix, out = encoder.columns(columns), []
    for place, field in enumerate(encoder.task.fields):
        column = matrix[:, place]
        if field.type == "category":
            out += [column == code for code in range(len(encoder.categories[field.name]) + 1)]
        else:
            low, high = encoder.ranges.get(field.name, (0.0, 1.0))
            unknown = np.isnan(column)
            out += [np.where(unknown, (low + high) / 2, column), unknown]
    return np.column_stack(out).astype(float)


# --- the page ---------------------------------------------------------------------------------------------------


def page(records: list[dict[str, Any]], sizes: dict[str, int]) -> str:
    """The Markdown of all finished splits. sizes: `held`."""
    lines = [
        "# Intervals\n",
        f"Made by `python -m benchmarks.intervals` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, on US "
        "births of 2014 (task birth_weight).\n",
    ]
    if beside := [record for record in records if record["part"] == "rivals"]:
        lines += _rivals(beside)
    if kept := [record for record in records if record["part"] == "promise"]:
        lines += _promise(kept, sizes)
    return "\n".join(lines) + "\n"


def _rivals(records: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"## Beside MAPIE and crepes\n\n{len(records)} split(s), {TRAIN:,} births to learn from and {TEST:,} to judge; "
        "the same LightGBM configuration and folds. Means over the splits (lowest to highest). Worst group: of the "
        f"Task's groups with {LEAST} rows or more, the one whose coverage is farthest below the level. A row: "
        "microseconds to answer it, models not counted for Gancao and crepes, which share them; counted for MAPIE. "
        "Cells with too few rows have the target's limits from crepes, and from Gancao the scores of a larger cell.\n"
    ]
    for level in map(str, LEVELS):
        lines += [
            f"### {float(level):.0%}\n",
            "| | coverage | mean width, g | Winkler score, g | preterm coverage | worst group | µs a row |",
            "|---|---|---|---|---|---|---|",
        ]
        for method, title in METHODS.items():
            found = [record[method][level] for record in records]
            cells = [_band([one[key] for one in found], form) for key, form in
                     (("coverage", ".3f"), ("width", ".0f"), ("winkler", ".0f"), ("preterm", ".3f"))]  # fmt: skip
            worst = _band([min(one["groups"].values()) for one in found], ".3f")
            row = _band([1e6 * record[method]["seconds"][1] / TEST for record in records], ".0f")
            lines.append(f"| {title} | {' | '.join(cells)} | {worst} | {row} |")
        lines.append("")
        ours = np.array([record["ours"][level]["winkler"] for record in records])
        for method in ("mapie_cqr", "mapie_cv_plus"):
            ratio = ours / np.array([record[method][level]["winkler"] for record in records])
            lines.append(f"Winkler score relative to {METHODS[method]}, split by split: {_band(ratio, '.4f')}.\n")
    scores = {method: _band([record[method]["crps"] for record in records], ".1f") for method in ("ours", "crepes")}
    lines.append(f"CRPS, g (intervals alone have none): Gancao {scores['ours']}, crepes {scores['crepes']}.\n")
    return lines


def _promise(records: list[dict[str, Any]], sizes: dict[str, int]) -> list[str]:
    lines = [
        f"## The promise\n\n{len(records)} split(s) of the table, 80 % to learn from, 3 trials of `training.fit`: "
        f"coverage, mean and the split farthest from the level; groups with {LEAST} holdout rows or more. By chance: "
        "so many points from the level is the farthest of as many holdouts of that size for intervals that cover "
        "exactly, 95 times in 100 at most; ours are calibrated on about 16,000 births.\n",
        "| level | group | holdout rows | mean | farthest | points off | by chance | splits |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for level in map(str, LEVELS):
        found = [record["ours"][level] for record in records]
        rows = {"all": [one["coverage"] for one in found], "preterm": [one["preterm"] for one in found]}
        for one in found:
            for name, covered in one["groups"].items():
                rows.setdefault(name, []).append(covered)
        for name, covered in rows.items():
            far = max(covered, key=lambda value: abs(value - float(level)))
            lucky = 100 * by_chance(float(level), sizes[name], len(covered))
            lines.append(
                f"| {float(level):.0%} | {name} | {sizes[name]:,} | {np.mean(covered):.4f} | {far:.4f} | "
                f"{100 * (far - float(level)):+.1f} | ±{lucky:.1f} | {len(covered)} |"
            )
    cost = _band([record["answer_us"] for record in records], ".1f")
    return [*lines, f"\nInterval, value and three events of a row, beyond the models: {cost} µs.\n", *_events(records)]


def _events(records: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Events\n\nOn the same splits: calibration slope and intercept of the chances (1 and 0 are honest), and the "
        "Brier score beside that of a logistic regression of the same fields, both relative to the base rate's.\n",
        "| event | slope | intercept | Gancao | logistic regression |",
        "|---|---|---|---|---|",
    ]
    for name in records[0]["events"]:
        found = [record["events"][name] for record in records]
        line = [_band([one[key] for one in found], ".3f") for key in ("slope", "intercept")]
        brier = [_band([one[key] / one["base_rate"] for one in found], ".4f") for key in ("brier", "logistic")]
        lines.append(f"| {name} | {' | '.join([*line, *brier])} |")
    return lines


def _band(values: Any, form: str) -> str:
    values = np.asarray(values, dtype=float)
    return f"{values.mean():{form}} ({values.min():{form}}–{values.max():{form}})"


if __name__ == "__main__":
    main()
