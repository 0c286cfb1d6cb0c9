"""LightAutoML: `TabularAutoML` with its defaults, told the metric, the seconds, the cores and the seed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from contract import Job, run
from lightautoml.automl.presets.tabular_presets import TabularAutoML
from lightautoml.tasks import Task

TASKS = {
    "rmse": {"name": "reg", "loss": "mse", "metric": "mse"},
    "mae": {"name": "reg", "loss": "mae", "metric": "mae"},
    "auc": {"name": "binary", "loss": "logloss", "metric": "auc"},
    "log_loss": {"name": "binary", "loss": "logloss", "metric": "logloss"},
}


class LightAutoML:
    """A fitted preset. It has no way for one row but a frame of one row."""

    def __init__(self, job: Job) -> None:
        words = TASKS[job.metric]
        if job.kind == "multiclass":
            words = {"name": "multiclass", "loss": "crossentropy", "metric": "crossentropy"}
        self.automl = TabularAutoML(
            task=Task(**words),
            timeout=job.seconds,
            cpu_limit=job.cores,
            reader_params={"n_jobs": job.cores, "random_state": job.seed},
        )
        train = job.train.assign(target=job.target)
        self.automl.fit_predict(train, roles={"target": "target"}, verbose=0)

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return np.asarray(self.automl.predict(frame).data)

    def answer(self, row: dict[str, Any]) -> Any:
        return self.predict(pd.DataFrame([row]))[0]

    def save(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(self.automl, protocol=pickle.HIGHEST_PROTOCOL))


if __name__ == "__main__":
    run(LightAutoML, ("lightautoml", "lightgbm", "catboost", "torch", "scikit-learn"))
