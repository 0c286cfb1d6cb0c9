"""The model as a BentoML service, for `bentoml serve serve_bentoml:Made`. Runs in BentoML's environment.

SERVE_MODEL names the folder with model.txt and rows.json.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import bentoml
import lightgbm
import numpy as np

FOLDER = Path(os.environ["SERVE_MODEL"])


@bentoml.service(workers=int(os.environ.get("SERVE_WORKERS", "1")), metrics={"enabled": False})
class Made:
    """LightGBM on one thread, asked with rows of named numbers."""

    def __init__(self) -> None:
        self.names = json.loads((FOLDER / "rows.json").read_text())["names"]
        self.booster = lightgbm.Booster(model_file=FOLDER / "model.txt")

    @bentoml.api
    def predict(self, rows: list[dict[str, float]]) -> list[float]:
        """One value a row."""
        matrix = np.array([[row[name] for name in self.names] for row in rows])
        values: list[float] = self.booster.predict(matrix, num_threads=1).tolist()
        return values
