"""Whether the perceptron earns its place beside gradient boosting: what it brings to their average.

    GANCAO_DATA=../shared/data .venv/bin/python -m benchmarks.mlp

Five folds a table, one thread; writes docs/benchmarks/mlp.md. The perceptron's defaults were chosen on generated tables
and scikit-learn's own; the last three tables had no say.
"""

from __future__ import annotations

import os
import platform
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow.parquet as pq
from sklearn import datasets
from sklearn.model_selection import KFold, StratifiedKFold

from experiments import catalog
from feature_store import offline
from feature_store.settings import Settings, from_environment
from serving import encode
from serving.ensemble import LINKS, Link
from training.dataset import labelled
from training.losses import loss
from training.mlp import fit

OUT = Path("docs/benchmarks/mlp.md")
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
LINK_OF: dict[str, Link] = {"regression": "identity", "binary": "sigmoid", "multiclass": "softmax"}
FAULTS = ("Pastry", "Z_Scratch", "K_Scatch", "Stains", "Dirtiness", "Bumps", "Other_Faults")


@dataclass(frozen=True)
class Columns:
    """Which columns are categories."""

    categories: tuple[int, ...]


@dataclass(frozen=True)
class Fold:
    """What `training.mlp.fit` reads."""

    kind: str
    outputs: int
    metric: str
    columns: Columns
    matrix: np.ndarray
    target: np.ndarray
    valid: tuple[np.ndarray, np.ndarray]
    seed: int = 0
    weight: np.ndarray | None = None
    deadline: float | None = None


@dataclass(frozen=True)
class Table:
    """A named table: kind of target, (n, fields), (n,) and which columns are categories."""

    name: str
    kind: str
    matrix: np.ndarray
    target: np.ndarray
    categories: tuple[int, ...] = ()


def main() -> None:
    """Run and write."""
    settings = from_environment()
    tables = [
        *of_sklearn(),
        steel(settings),
        of_task("birth_weight_hospital", settings),
        of_task("birth_weight", settings),
    ]
    lines = [measure(table) for table in tables]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("lightgbm", "numpy", "scikit-learn"))
    OUT.write_text(
        "# What the perceptron brings\n\n"
        f"Made by `GANCAO_DATA=../shared/data .venv/bin/python -m benchmarks.mlp` on {datetime.now(UTC):%Y-%m-%d}, "
        f"{os.cpu_count()} shared cores ({platform.machine()}), one thread, {versions}.\n\n"
        "Out-of-fold loss on 5 folds (seed 0): RMSE in the target's unit, else log loss in nats. LightGBM: 100 rounds "
        "of 31 leaves at 0.1. The perceptron: its defaults, epochs at the least of the folds' mean curve (one number a "
        "table, chosen on the rows that are scored, as the search does; LightGBM has no such choice). Share: the "
        "perceptron's in the best of the averages of 0, 25, 50, 75 and 100 %, chosen on the same rows. Gain: how much "
        "lower the loss of that average is than that of the better one alone. Row: the perceptron's answer to one row, "
        "the least of 200 means of 50. The first four tables also had a say in the defaults, the last three none.\n\n"
        "| table | rows | loss | LightGBM | perceptron | average | share | gain | fit s, LightGBM | fit s | row µs |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n",
        encoding="utf-8",
    )


def of_sklearn() -> list[Table]:
    """The tables that come with scikit-learn."""
    out = []
    kinds = {"digits": "multiclass", "wine": "multiclass", "breast_cancer": "binary", "diabetes": "regression"}
    for name, kind in kinds.items():
        matrix, target = getattr(datasets, f"load_{name}")(return_X_y=True)
        out.append(Table(name, kind, np.asarray(matrix, dtype=float), np.asarray(target, dtype=float)))
    return out


def steel(settings: Settings) -> Table:
    """Which of seven faults a steel plate has."""
    table = pq.read_table(Path(settings.data) / "yield_rate/steel_plates_faults.parquet")
    faults = np.column_stack([table[name].to_numpy() for name in FAULTS])
    fields = [table[name].to_numpy().astype(float) for name in table.column_names if name not in FAULTS]
    return Table("steel plates", "multiclass", np.column_stack(fields), faults.argmax(axis=1).astype(float))


def of_task(name: str, settings: Settings) -> Table:
    """A shipped task's table, at most 10,000 rows of it."""
    task = catalog.load(name, settings)
    rows = labelled(task, offline.fetch(task, Path(settings.data)))
    if len(rows) > 10_000:
        rows = rows.take(np.random.default_rng(0).permutation(len(rows))[:10_000])
    matrix = encode.fit(task, rows.columns).columns(rows.columns)
    categories = tuple(place for place, field in enumerate(task.fields) if field.type == "category")
    return Table(name, task.kind, matrix, rows.target, categories)


def measure(table: Table) -> str:
    """One line of the page."""
    splitter = (KFold if table.kind == "regression" else StratifiedKFold)(5, shuffle=True, random_state=0)
    metric = "rmse" if table.kind == "regression" else "log_loss"
    outputs = int(table.target.max()) + 1 if table.kind == "multiclass" else 1
    places, folds = [], []
    for train, valid in splitter.split(table.matrix, table.target):
        watched = (table.matrix[valid], table.target[valid])
        columns = Columns(table.categories)
        folds.append(Fold(table.kind, outputs, metric, columns, table.matrix[train], table.target[train], watched))
        places.append(valid)
    answers = {}
    seconds = {}
    for name, learner in (("boosting", _boosting), ("perceptron", _perceptron)):
        start = time.perf_counter()
        answers[name] = np.empty((len(table.target), outputs))
        for valid, part in zip(places, learner(folds), strict=True):
            answers[name][valid] = part
        seconds[name] = (time.perf_counter() - start) / len(folds)
    losses = [
        loss(metric, table.target, (1 - share) * answers["boosting"] + share * answers["perceptron"])
        for share in SHARES
    ]
    best = int(np.argmin(losses))
    gain = 1.0 - losses[best] / min(losses[0], losses[-1])
    model, row = fit({"epochs": 1}, folds[0]).model(1), table.matrix[:1].copy()
    row_us = min(timeit.repeat(lambda: model.predict(row), number=50, repeat=200)) / 50 * 1e6
    line = (
        f"| {table.name} | {len(table.target)} | {metric} | {losses[0]:.4g} | {losses[-1]:.4g} | {losses[best]:.4g} | "
        f"{SHARES[best]:.0%} | {gain:.1%} | {seconds['boosting']:.1f} | {seconds['perceptron']:.1f} | {row_us:.0f} |"
    )
    print(line, flush=True)
    return line


def _boosting(folds: list[Fold]) -> list[np.ndarray]:
    out = []
    for fold in folds:
        params = {
            "objective": fold.kind,
            "num_leaves": 31,
            "learning_rate": 0.1,
            "num_threads": 1,
            "verbosity": -1,
            "seed": 0,
            **({"num_class": fold.outputs} if fold.kind == "multiclass" else {}),
        }
        data = lightgbm.Dataset(fold.matrix, fold.target, categorical_feature=list(fold.columns.categories))
        booster = lightgbm.train(params, data, 100)
        out.append(booster.predict(fold.valid[0], num_threads=1).reshape(len(fold.valid[0]), -1))
    return out


def _perceptron(folds: list[Fold]) -> list[np.ndarray]:
    fitted = [fit({}, fold) for fold in folds]
    longest = max(len(one.curve) for one in fitted)
    curves = [[*one.curve, *[one.curve[-1]] * (longest - len(one.curve))] for one in fitted]
    rounds = int(np.argmin(np.mean(curves, axis=0))) + 1
    link: Callable[[np.ndarray], np.ndarray] = LINKS[LINK_OF[folds[0].kind]]
    return [link(one.model(rounds).predict(fold.valid[0])) for one, fold in zip(fitted, folds, strict=True)]


if __name__ == "__main__":
    main()
