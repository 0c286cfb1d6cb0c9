"""What follows the portfolio, and whether a bag or a refit: what each is worth on rows that no trial saw.

    .venv/bin/python -m benchmarks.stages FOLDER [--seconds 50]

FOLDER: as of `benchmarks/portfolio.py`, whose tables these are (none of them is one that results are reported on; the
portfolio was found on them, which speaks for it here). On each table three quarters of the rows are searched, once, by
the product's own search: the portfolio, then FLAML's CFO and BlendSearch. Ensembles are chosen from the portfolio's
trials alone, with CFO's, with BlendSearch's, and from all; each answers the last quarter as a bag of its fold models,
the last also as refits. Writes docs/benchmarks/stages.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.portfolio import Table, tables
from feature_store.task import LEARNERS, Budget
from serving.ensemble import Member, combine
from training import ensemble, trial
from training.ensemble import Bounds, Ensemble
from training.job import Columns
from training.local_engine import LocalEngine
from training.losses import loss
from training.runlog import RunLog, Trial
from training.search import Search
from training.trial import Shared

OUT = Path("docs/benchmarks/stages.md")
FOLDS = 8
BOUNDS = Bounds(12, 2000.0)
"""Members at most, and microseconds that they may take for a row."""

SUBSETS = {
    "portfolio": ("portfolio",),
    "and CFO": ("portfolio", "cfo"),
    "and BlendSearch": ("portfolio", "blendsearch"),
    "and both": ("portfolio", "cfo", "blendsearch"),
}
EACH_KIND = 4
RESAMPLES = 2000


class _Nobody:
    """Watches nothing."""

    def trial(self, trial: Trial) -> None:
        pass

    def tick(self, elapsed_s: float, running: list[str]) -> None:
        pass

    def interrupted(self) -> None:
        pass


def main() -> None:
    """Search each table, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=50.0)
    choice = parser.parse_args()
    found = tables(choice.folder)
    some = [table for kind in ("regression", "binary", "multiclass") for table in largest(found, kind)]
    engine, lines, ratios = LocalEngine(), [], []
    try:
        for table in some:
            losses, counts, size = judge(table, engine, choice.seconds)
            ratios.append(np.array(losses) / losses[0])
            cells = " | ".join(f"{ratio:.4f}" for ratio in ratios[-1][1:])
            lines.append(f"| {table.name} ({table.kind}) | {counts} | {losses[0]:.5g} | {cells} | {size} |")
            sys.stderr.write(lines[-1] + "\n")
    finally:
        engine.close()
    OUT.write_text("\n".join([*head(choice.seconds), *lines, *foot(np.array(ratios))]) + "\n", encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


def largest(found: Sequence[Table], kind: str) -> list[Table]:
    """Those of a kind with the most cells."""
    own = [table for table in found if table.kind == kind]
    return sorted(own, key=lambda table: (-table.matrix.size, table.name))[:EACH_KIND]


def judge(table: Table, engine: LocalEngine, seconds: float) -> tuple[list[float], str, str]:
    """Losses on the test rows (a bag of each of SUBSETS, then refits), trials of each origin, members of the last."""
    order = np.random.default_rng(1).permutation(len(table.target))
    train, test = np.sort(order[len(order) // 4 :]), np.sort(order[: len(order) // 4])
    metric = "rmse" if table.kind == "regression" else "log_loss"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        matrix, target = table.matrix[train], table.target[train]
        fold = np.random.default_rng(2).permutation(len(train)) % FOLDS
        arrays = {"matrix": matrix, "target": target}
        for number in range(FOLDS):
            arrays |= {f"fit_{number}": np.flatnonzero(fold != number),
                       f"valid_{number}": np.flatnonzero(fold == number)}  # fmt: skip
        columns = Columns(tuple(table.categories), tuple(table.categories.values()), (0,) * matrix.shape[1])
        put = engine.put(arrays, folder / "arrays")
        shared = Shared(put, columns, table.kind, table.outputs, metric, 0)
        log = RunLog(folder / "run", {"table": table.name})
        trials = Search(engine, shared, log, Budget(seconds=seconds), LEARNERS, 0, _Nobody()).run()
        good = sorted((one for one in trials if one.loss is not None), key=lambda one: one.number)
        losses = []
        for origins in SUBSETS.values():
            own = [one for one in good if one.origin in origins]
            chosen = choose(metric, target, own, log)
            losses.append(asked(bags(own, chosen, log, matrix.shape[1]), table, test, metric))
        losses.append(asked(refits(good, chosen, shared, engine), table, test, metric))
    counts = " / ".join(str(sum(one.origin == origin for one in good)) for origin in SUBSETS["and both"])
    return losses, counts, str(len(chosen.weights))


def choose(metric: str, target: np.ndarray, own: list[Trial], log: RunLog) -> Ensemble:
    """The ensemble as `training.learn` chooses it."""
    found = ensemble.candidates(metric, target, None, [log.oof(one) for one in own], [one.row_us for one in own])
    return ensemble.select(found, [one.learner for one in own], BOUNDS, 0)


def bags(own: list[Trial], chosen: Ensemble, log: RunLog, width: int) -> list[Member]:
    """Each chosen trial's fold models."""
    out = []
    for index, weight in chosen.weights.items():
        models, link = trial.unpack(log.models(own[index]), width)
        out.append(Member(own[index].learner, weight, tuple(models), link))
    return out


def refits(own: list[Trial], chosen: Ensemble, shared: Shared, engine: LocalEngine) -> list[Member]:
    """Each chosen trial's configuration on all its rows."""
    out, width = [], shared.arrays()["matrix"].shape[1]
    for index, weight in chosen.weights.items():
        one = own[index]
        packed = engine.result(engine.submit(trial.refit, shared, one.learner, one.config, one.rounds))
        models, link = trial.unpack(packed, width)
        out.append(Member(one.learner, weight, tuple(models), link))
    return out


def asked(members: list[Member], table: Table, test: np.ndarray, metric: str) -> float:
    """The ensemble's loss on the test rows."""
    return float(loss(metric, table.target[test], combine(members, table.matrix[test])))


def head(seconds: float) -> list[str]:
    """What was done."""
    titles = [*list(SUBSETS)[1:], "both, refitted"]
    return [
        "# What follows the portfolio, and bag or refit\n",
        f"Made by `python -m benchmarks.stages` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, one search of "
        f"{seconds:g} s a table: trials of the portfolio / CFO / BlendSearch that finished; the loss on the test rows "
        "(RMSE or log loss, a quarter of at most 1,500) of an ensemble of the portfolio's trials alone, and the "
        "others' losses relative to it (below 1 is better).\n",
        f"| table | trials | portfolio | {' | '.join(titles)} | members |",
        f"|---|---|---|{'---|' * len(titles)}---|",
    ]


def foot(ratios: np.ndarray) -> list[str]:
    """Geometric means with a band over the tables, and refit beside bag. ratios: (tables, subsets and refit)."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(ratios), (RESAMPLES, len(ratios)))

    def mean(column: np.ndarray) -> str:
        logs = np.log(column)
        low, high = np.quantile(logs[drawn].mean(axis=1), [0.025, 0.975])
        return f"{np.exp(logs.mean()):.4f} ({np.exp(low):.4f} to {np.exp(high):.4f})"

    cells = " | ".join(mean(ratios[:, place]) for place in range(1, ratios.shape[1]))
    refit = ratios[:, -1] / ratios[:, -2]
    return [
        f"| **geometric mean** (95 % over tables) | | 1 | {cells} | |",
        f"\nRefits relative to bags of the same ensemble: {mean(refit)}; better on {int((refit < 1).sum())} of "
        f"{len(refit)} tables.",
    ]


if __name__ == "__main__":
    main()
