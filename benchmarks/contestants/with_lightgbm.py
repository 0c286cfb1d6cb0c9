"""LightGBM with its defaults: only the kind of target, the loss that is measured, cores and seed are stated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from contract import Job, run

OBJECTIVES = {"rmse": "regression", "mae": "regression_l1", "auc": "binary"}


class Defaults:
    """A booster and the words of its categories; a row goes to the booster as numbers, on one thread."""

    def __init__(self, job: Job) -> None:
        self.names, self.words = list(job.train), {}
        for name in job.categories:
            words = sorted({word for word in job.train[name] if word is not None})
            self.words[name] = {word: float(code) for code, word in enumerate(words)}
        kind = lightgbm.LGBMRegressor if job.kind == "regression" else lightgbm.LGBMClassifier
        objective = {"objective": OBJECTIVES[job.metric]} if job.kind == "regression" else {}
        model = kind(n_jobs=job.cores, random_state=job.seed, verbose=-1, **objective)
        places = [self.names.index(name) for name in job.categories]
        model.fit(self._matrix(job.train), job.target, categorical_feature=places)
        self.booster = model.booster_

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return np.asarray(self.booster.predict(self._matrix(frame)))

    def answer(self, row: dict[str, Any]) -> Any:
        vector = [self._code(name, row[name]) for name in self.names]
        return self.booster.predict(np.array([vector]), num_threads=1)[0]

    def save(self, path: Path) -> None:
        path.mkdir()
        self.booster.save_model(path / "model.txt")
        (path / "words.json").write_text(json.dumps(self.words), encoding="utf-8")

    def _code(self, name: str, value: Any) -> float:
        return self.words[name].get(value, np.nan) if name in self.words else value

    def _matrix(self, frame: pd.DataFrame) -> np.ndarray:
        codes = {name: frame[name].map(words) for name, words in self.words.items()}
        return frame.assign(**codes)[self.names].to_numpy(dtype="float64")


if __name__ == "__main__":
    run(Defaults, ("lightgbm", "scikit-learn"))
