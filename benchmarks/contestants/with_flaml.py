"""FLAML: `AutoML.fit` with its defaults, told the metric, the seconds, the cores and the seed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from contract import Job, run
from flaml import AutoML

METRICS = {"rmse": "rmse", "mae": "mae", "auc": "roc_auc", "log_loss": "log_loss"}


class Flaml:
    """A fitted AutoML. It has no way for one row but a frame of one row."""

    def __init__(self, job: Job) -> None:
        self.kind = job.kind
        self.automl = AutoML()
        self.automl.fit(
            X_train=job.train.copy(),
            y_train=job.target,
            task="regression" if job.kind == "regression" else "classification",
            metric=METRICS[job.metric],
            time_budget=job.seconds,
            n_jobs=job.cores,
            seed=job.seed,
            verbose=0,
        )
        if self.automl.model is None:
            raise RuntimeError("FLAML found no model in the time given.")

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        if self.kind == "regression":
            return np.asarray(self.automl.predict(frame))
        chances = np.asarray(self.automl.predict_proba(frame))
        return chances[:, 1] if self.kind == "binary" else chances

    def answer(self, row: dict[str, Any]) -> Any:
        return self.predict(pd.DataFrame([row]))[0]

    def save(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(self.automl, protocol=pickle.HIGHEST_PROTOCOL))


if __name__ == "__main__":
    run(Flaml, ("flaml", "lightgbm", "xgboost-cpu", "catboost", "scikit-learn"))
