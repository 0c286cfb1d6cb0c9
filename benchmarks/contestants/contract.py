"""What every contestant reads, does and writes: learn in the given seconds, predict the test rows, be timed.

    PYTHON benchmarks/contestants/with_lightgbm.py FOLDER

FOLDER holds meta.json, train.parquet (features and `target`) and test.parquet (features only: its target never
reaches a contestant). The contestant adds predictions.npy, result.json and its model. This file imports nothing but
numpy and pandas, which are in every peer's environment.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

WARM_UP = 5
CALLS = 50
LEAST_CALLS = 30
ROW_SECONDS = 20.0
"""Single rows are asked until CALLS or, when at least LEAST_CALLS are done, this many seconds have passed."""

BATCH = 1000
BATCHES = 3


@dataclass(frozen=True)
class Job:
    """One table, one split. kind, metric: as in `benchmarks.automl_tables.Table`; classes: the words of the target."""

    folder: Path
    kind: str
    metric: str
    seconds: float
    cores: int
    seed: int
    categories: list[str]
    classes: list[str]
    options: dict[str, Any]

    @property
    def model(self) -> Path:
        """Where the contestant keeps its model: a folder or a file that does not exist yet."""
        return self.folder / "model"

    @cached_property
    def train(self) -> pd.DataFrame:
        """The features to learn from: float64, NaN unknown, and objects of str or None."""
        return self._plain(pd.read_parquet(self.folder / "train.parquet").drop(columns="target"))

    @cached_property
    def target(self) -> np.ndarray:
        """The target to learn from, (n,): float64 values, or int64 places of `classes`."""
        column = pd.read_parquet(self.folder / "train.parquet", columns=["target"])["target"]
        if not self.classes:
            return column.to_numpy(dtype="float64")
        place = {word: index for index, word in enumerate(self.classes)}
        return np.array([place[word] for word in column], dtype="int64")

    @cached_property
    def test(self) -> pd.DataFrame:
        """The features to be judged on."""
        return self._plain(pd.read_parquet(self.folder / "test.parquet"))

    def _plain(self, frame: pd.DataFrame) -> pd.DataFrame:
        words = {name: frame[name].astype(object).where(frame[name].notna(), None) for name in self.categories}
        return frame.assign(**words)


class Fitted(Protocol):
    """What a contestant gives back when it has learnt."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """(n, outputs) of many rows: the value, the positive class's probability, or one probability a class."""
        ...

    def answer(self, row: dict[str, Any]) -> Any:
        """The answer of one row given as a dict (NaN and None unknown), the fastest documented way."""
        ...

    def save(self, path: Path) -> None:
        """What a server would need, under that path."""
        ...


def run(fit: Callable[[Job], Fitted], packages: tuple[str, ...]) -> None:
    """The whole of a contestant. packages: whose versions are recorded."""
    folder = Path(sys.argv[1])
    job = Job(folder=folder, **json.loads((folder / "meta.json").read_text(encoding="utf-8")))
    _ = job.train, job.target
    started = time.monotonic()
    fitted = fit(job)
    trained = time.monotonic()
    predicted = np.asarray(fitted.predict(job.test), dtype="float64")
    np.save(folder / "predictions.npy", predicted.reshape(len(job.test), -1), allow_pickle=False)
    fitted.save(job.model)
    result = {
        "train_s": trained - started,
        "size_bytes": size(job.model),
        "versions": {name: metadata.version(name) for name in packages},
    }
    _write(folder, result)  # at once: a run that is ended while its answers are timed has learnt in time all the same
    result["row_s"] = _row_seconds(fitted, job.test)
    result["batch_s"] = _batch_seconds(fitted, job.test)
    _write(folder, result)


def _write(folder: Path, result: dict[str, Any]) -> None:
    part = folder / "result.json.part"
    part.write_text(json.dumps(result), encoding="utf-8")
    part.replace(folder / "result.json")


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def _row_seconds(fitted: Fitted, frame: pd.DataFrame) -> float:
    """The median over single rows, each another one, after warming up."""
    rows = frame.head(WARM_UP + CALLS).to_dict("records")
    spent: list[float] = []
    for turn in range(WARM_UP + CALLS):
        if len(spent) >= WARM_UP + LEAST_CALLS and sum(spent) > ROW_SECONDS:
            break
        row = rows[turn % len(rows)]
        before = time.perf_counter()
        fitted.answer(row)
        spent.append(time.perf_counter() - before)
    return statistics.median(spent[WARM_UP:])


def _batch_seconds(fitted: Fitted, frame: pd.DataFrame) -> float:
    """The median for 1,000 rows; a small table's rows are repeated."""
    batch = frame.iloc[np.arange(BATCH) % len(frame)].reset_index(drop=True)
    fitted.predict(batch)
    spent = []
    for _ in range(BATCHES):
        before = time.perf_counter()
        fitted.predict(batch)
        spent.append(time.perf_counter() - before)
    return statistics.median(spent)
