"""AutoGluon: `TabularPredictor.fit` with a preset, told the metric, the seconds and the cores; kept in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor
from contract import Job, run

METRICS = {"rmse": "root_mean_squared_error", "mae": "mean_absolute_error", "auc": "roc_auc", "log_loss": "log_loss"}


class AutoGluon:
    """A fitted predictor, with the models of its best one held by `persist()`, as its guide to fast answers says."""

    def __init__(self, job: Job) -> None:
        self.kind, self.outputs = job.kind, len(job.classes)
        self.predictor = TabularPredictor(
            label="target",
            problem_type=job.kind,
            eval_metric=METRICS[job.metric],
            path=str(job.folder / "autogluon"),
            verbosity=1,
        )
        self.predictor.fit(
            job.train.assign(target=job.target),
            presets=job.options["preset"],
            time_limit=job.seconds,
            num_cpus=job.cores,
            num_gpus=0,
        )
        self.predictor.persist()

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        if self.kind == "regression":
            return np.asarray(self.predictor.predict(frame))
        chances = self.predictor.predict_proba(frame)
        if self.kind == "binary":
            return np.asarray(chances[1])
        return np.asarray(chances.reindex(columns=range(self.outputs), fill_value=0.0))

    def answer(self, row: dict[str, Any]) -> Any:
        return self.predict(pd.DataFrame([row]))[0]

    def save(self, path: Path) -> None:
        self.predictor.clone_for_deployment(str(path))


if __name__ == "__main__":
    run(AutoGluon, ("autogluon.tabular", "lightgbm", "xgboost-cpu", "catboost", "torch", "scikit-learn"))
