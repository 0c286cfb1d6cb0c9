"""What the pace of a search (`training/pace.py`) is worth where a budget is short for its table.

    .venv/bin/python -m benchmarks.pace [--seconds 60]

A generated table of 20,000 rows and 60 classes is learnt from twice by `training.fit`: at the pace that the probe sets,
and on all folds, whatever they take. Other rows judge. Writes docs/benchmarks/pace.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import make_classification

from feature_store.task import Budget, Task
from serving.ensemble import combine
from training import pace
from training.dataset import Rows
from training.engine import Engine
from training.fit import fit
from training.losses import loss
from training.trial import Shared

OUT = Path("docs/benchmarks/pace.md")
ROWS, JUDGES, COLUMNS, CLASSES = 20_000, 6_000, 12, 60

TASK = {
    "task": "many",
    "title": "Many classes",
    "intended_use": "A benchmark.",
    "kind": "multiclass",
    "target": {"name": "y", "label": "Y"},
    "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
    "fields": [{"name": f"x{n}", "type": "number", "limits": [-99, 99], "required": True} for n in range(COLUMNS)],
}

Paced = Callable[[Shared, Engine, float], dict[str, int | None]]


def whole(shared: Shared, engine: Engine, seconds: float) -> dict[str, int | None]:
    """All folds and all rows."""
    return {"last": len(shared.folds()), "most": None}


def main() -> None:
    """Learn, judge and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    lines = [line(title, paced, seconds) for title, paced in (("as timed", pace.paced), ("all folds", whole))]
    OUT.write_text("\n".join([
        "# The pace of a search\n",
        f"Made by `python -m benchmarks.pace` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores: a generated "
        f"table of {ROWS:,} rows, {COLUMNS} numbers and {CLASSES} classes, {seconds:g} s; log loss on {JUDGES:,} other "
        "rows. One run each.\n",
        "| pace | folds | trials | learners | members | log loss | s |",
        "|---|---|---|---|---|---|---|",
        *lines,
    ]) + "\n", encoding="utf-8")  # fmt: skip
    print(OUT.read_text(encoding="utf-8"))


def line(title: str, paced: Paced, seconds: float) -> str:
    """One row of the table: learnt at a pace, judged."""
    matrix, target = make_classification(
        ROWS + JUDGES, COLUMNS, n_informative=9, n_redundant=0, n_classes=CLASSES, n_clusters_per_class=1,
        class_sep=1.2, random_state=3,
    )  # fmt: skip
    columns = {f"x{n}": matrix[:ROWS, n] for n in range(COLUMNS)}
    rows = Rows(columns, target[:ROWS].astype(float), None, tuple(f"c{n:02d}" for n in range(CLASSES)))
    shipped, started = pace.paced, time.monotonic()
    pace.paced = paced  # what `training.learn` asks
    try:
        with tempfile.TemporaryDirectory() as folder:
            predictor, learnt = fit(Task.model_validate(TASK), rows, Budget(seconds=seconds), 0, Path(folder) / "run")
            folds = len(learnt.shared.folds())
    finally:
        pace.paced = shipped
    took = time.monotonic() - started
    answers = combine(predictor.bundle.members, matrix[ROWS:])
    good: list[Any] = [trial for trial in learnt.trials if trial.loss is not None]
    names = ", ".join(sorted({trial.learner for trial in good}))
    judged = loss("log_loss", target[ROWS:].astype(np.float64), answers)
    return f"| {title} | {folds} | {len(good)} | {names} | {learnt.kept.way} | {judged:.4f} | {took:.1f} |"


if __name__ == "__main__":
    main()
