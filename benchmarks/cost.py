"""What a model is said to cost for one row (`training/cost.py`) beside what it takes.

    .venv/bin/python -m benchmarks.cost

Fits every configuration of the portfolio on generated tables of the three kinds, and times one row at a time in turn
through the models. Writes docs/benchmarks/cost.md. The search only compares these estimates with each other and with
`search.max_row_us`: what counts is that a model which takes twice as long is said to.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from serving.ensemble import Model
from training import cost, learners
from training.job import Columns, Fit
from training.portfolio import PORTFOLIO

OUT = Path("docs/benchmarks/cost.md")
ROWS, NUMBERS, WORDS, CLASSES = 3000, 16, 6, 5
CALLS = 400


def main() -> None:
    """Fit, time, write."""
    lines, ratios = [], []
    for kind in ("regression", "binary", "multiclass"):
        for number, (learner, config) in enumerate(PORTFOLIO, start=1):
            fitted = learners.fit(learner, config, job(kind))
            model = fitted.model(int(np.argmin(fitted.curve)) + 1 if fitted.curve else 0)
            said, took = cost.row_us(model), measure(model)
            ratios.append(said / statistics.median(took))
            low, middle, high = np.quantile(took, [0.05, 0.5, 0.95])
            lines.append(f"| {kind} | {number} {learner} | {said:.0f} | {middle:.0f} ({low:.0f} to {high:.0f}) | "
                         f"{ratios[-1]:.2f} |")  # fmt: skip
            sys.stderr.write(lines[-1] + "\n")
    low, middle, high = np.quantile(ratios, [0.05, 0.5, 0.95])
    OUT.write_text("\n".join([
        "# What a row costs, as estimated and as measured\n",
        f"Made by `python -m benchmarks.cost` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores: each "
        f"configuration of the portfolio, learnt on {ROWS:,} generated rows of {NUMBERS} numbers and 2 categories "
        f"({CLASSES} classes), {CALLS} calls of one row each; microseconds, median (5 to 95 %).\n",
        f"Estimate over median: {middle:.2f} in the middle, {low:.2f} to {high:.2f} in 90 % of the models.\n",
        "| kind | configuration | estimate | measured | estimate / measured |",
        "|---|---|---|---|---|",
        *lines,
    ]) + "\n", encoding="utf-8")  # fmt: skip
    print(OUT.read_text(encoding="utf-8"))


def job(kind: str) -> Fit:
    """A generated table of numbers and two categories, a fifth of it to watch."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(ROWS, NUMBERS))
    words = random.integers(1, WORDS + 1, size=(ROWS, 2)).astype(float)
    value = numbers[:, 0] + np.sin(2 * numbers[:, 1]) + numbers[:, 2] * numbers[:, 3] + words[:, 0] / 2
    value += random.normal(size=ROWS)
    ranks = np.argsort(np.argsort(value)) / ROWS
    target = {"regression": value, "binary": np.floor(2 * ranks), "multiclass": np.floor(CLASSES * ranks)}[kind]
    matrix, fit = np.column_stack([numbers, words]), ROWS * 4 // 5
    columns = Columns((NUMBERS, NUMBERS + 1), (WORDS + 1, WORDS + 1), (0,) * matrix.shape[1])
    outputs, metric = CLASSES if kind == "multiclass" else 1, "rmse" if kind == "regression" else "log_loss"
    valid = (matrix[fit:], target[fit:], None)
    return Fit(columns, kind, outputs, metric, 0, matrix[:fit], target[:fit], None, valid)


def measure(model: Model) -> list[float]:
    """Microseconds of each of CALLS predictions of one row."""
    rows = job("regression").matrix[:CALLS]
    took = []
    for place in range(CALLS):
        row = rows[place : place + 1]
        begun = time.perf_counter()
        model.predict(row)
        took.append(1e6 * (time.perf_counter() - begun))
    return took


if __name__ == "__main__":
    main()
