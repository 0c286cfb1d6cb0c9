"""Ways to choose an ensemble, judged on rows that did not choose.

    .venv/bin/python -m benchmarks.selection FOLDER

FOLDER: as of `benchmarks/portfolio.py`, whose out-of-fold predictions are used: 100, 250 or 600 rows of each table
choose among the configurations, and the other rows judge. None of the tables is one that results are reported on.
Writes docs/benchmarks/selection.md.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.portfolio import Table, tables
from training import ensemble
from training.ensemble import Bounds, Candidates

OUT = Path("docs/benchmarks/selection.md")
SIZES, REPEATS, JUDGES = (100, 250, 600), 4, 250
BOUNDS = Bounds(12, 2000.0)

Weights = dict[int, float]


def single(found: Candidates) -> Weights:
    """The best trial alone."""
    return {int(np.argmin(found.losses(found.numbers))): 1.0}


def top(found: Candidates) -> Weights:
    """The mean of the best five."""
    return dict.fromkeys(np.argsort(found.losses(found.numbers))[:5].tolist(), 0.2)


def greedy(found: Candidates) -> Weights:
    """One greedy selection."""
    return ensemble.greedy(found, BOUNDS)


def bagged(bags: int) -> Callable[[Candidates], Weights]:
    """The mean of so many greedy selections on rows drawn with replacement."""

    def choose(found: Candidates) -> Weights:
        random, total, n = np.random.default_rng(0), Counter[int](), len(found.target)
        for _ in range(bags):
            total.update(greedy(found.take(random.integers(0, n, n))))
        kept = dict(total.most_common(BOUNDS.members))
        return {index: weight / sum(kept.values()) for index, weight in kept.items()}

    return choose


def simplest(found: Candidates) -> Weights:
    """The simplest of single, greedy and bagged that the others do not beat across two halves of the rows."""
    halves = [found.take(half) for half in np.array_split(np.random.default_rng(0).permutation(len(found.target)), 2)]
    ways = (single, greedy, bagged(8))
    honest = [np.mean([b.of_mean(way(a)) for a, b in (halves, halves[::-1])]) for way in ways]
    chosen = next(way for way, loss in zip(ways, honest, strict=True) if loss <= min(honest) * (1 + ensemble.MIN_GAIN))
    return chosen(found)


WAYS: dict[str, Callable[[Candidates], Weights]] = {
    "the best trial": single,
    "mean of the best five": top,
    "one greedy selection": greedy,
    "the simplest not beaten across halves": simplest,
    "bagged, 8 selections": bagged(8),
    "**bagged, 16 selections**": bagged(16),
}


def main() -> None:
    """Judge every way on every table, write."""
    folder = Path(sys.argv[1])
    found = [table for table in tables(folder) if len(table.target) >= SIZES[0] + JUDGES]
    lines = [
        "# How an ensemble is chosen\n",
        f"Made by `python -m benchmarks.selection` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores: "
        f"{len(found)} tables of docs/benchmarks/portfolio.md, {REPEATS} draws each of the rows that choose; loss on "
        "the other rows relative to the configuration that is the best there: geometric mean, 90 % of cases below, "
        "worst.\n",
        f"| rows that choose | {' | '.join(WAYS)} |",
        f"|---|{'---|' * len(WAYS)}",
    ]
    for size in SIZES:
        ratios = [one for table in found for one in judge(table, folder, size)]
        cells = []
        for way in WAYS:
            column = np.array([one[way] for one in ratios])
            cells.append(f"{np.exp(np.log(column).mean()):.4f}, {np.quantile(column, 0.9):.3f}, {column.max():.2f}")
        lines.append(f"| {size} ({len(ratios)} cases) | {' | '.join(cells)} |")
        sys.stderr.write(lines[-1] + "\n")
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def judge(table: Table, folder: Path, size: int) -> list[dict[str, float]]:
    """Each way's relative loss, for each draw of the rows that choose."""
    if len(table.target) < size + JUDGES:
        return []
    rows = [np.load(path) for path in sorted((folder / "results").glob(f"{table.name}.*.npz"))]
    rows = [row for row in rows if np.isfinite(row["loss"]) and row["oof"].size]
    metric = "rmse" if table.kind == "regression" else "log_loss"
    oofs, cost = [row["oof"] for row in rows], [float(row["row_us"]) for row in rows]
    found = ensemble.candidates(metric, table.target, None, oofs, cost)
    out = []
    for repeat in range(REPEATS):
        order = np.random.default_rng([repeat, size]).permutation(len(table.target))
        chooses, judges = found.take(order[:size]), found.take(order[size:])
        best = float(judges.losses(judges.numbers).min())
        out.append({name: judges.of_mean(way(chooses)) / best for name, way in WAYS.items()})
    return out


if __name__ == "__main__":
    main()
