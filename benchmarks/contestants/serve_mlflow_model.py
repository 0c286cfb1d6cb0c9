"""Writes the model as MLflow's LightGBM flavour, for `mlflow models serve`. Runs in MLflow's environment.

    PYTHON serve_mlflow_model.py MODEL_FOLDER OUT
"""  # fmt: skip

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightgbm
import mlflow
import pandas as pd

if __name__ == "__main__":
    folder, out = Path(sys.argv[1]), sys.argv[2]
    asked = json.loads((folder / "rows.json").read_text())
    frame = pd.DataFrame(asked["rows"], columns=asked["names"])
    booster = lightgbm.Booster(model_file=folder / "model.txt", params={"num_threads": 1})
    signature = mlflow.models.infer_signature(frame, booster.predict(frame, num_threads=1))
    mlflow.lightgbm.save_model(booster, out, signature=signature)
