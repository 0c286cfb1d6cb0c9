"""Gancao: `training.fit.fit`, and the very predictor that its server answers with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from contract import Job, run

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from feature_store import offline
from feature_store.task import Budget, Task
from serving import bundle
from training import dataset, fit


class Gancao:
    """A predictor of `serving`; an answer holds the interval, the events and the warnings too."""

    def __init__(self, job: Job) -> None:
        self.kind, self.classes = job.kind, job.classes
        self.categories, self.names = set(job.categories), list(job.train)
        task = Task.model_validate_json((job.folder / "task.json").read_bytes())
        rows = dataset.labelled(task, offline.fetch(task, job.folder))
        self.predictor, _ = fit.fit(task, rows, Budget(seconds=job.seconds), job.seed, job.folder / "work")

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        answers = self.predictor.answer([self._sent(row) for row in frame.to_dict("records")])
        if self.kind == "multiclass":
            return np.array([[answer["probabilities"][word] for word in self.classes] for answer in answers])
        return np.array([answer["value"] for answer in answers])

    def answer(self, row: dict[str, Any]) -> Any:
        return self.predictor.answer([self._sent(row)])[0]

    def save(self, path: Path) -> None:
        bundle.write(self.predictor.bundle, path)

    def _sent(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row as an application sends it: what is unknown is left out."""
        return {name: value for name, value in row.items() if value is not None and value == value}


if __name__ == "__main__":
    run(Gancao, ("lightgbm", "xgboost-cpu", "catboost", "flaml", "numpy"))
