"""MAPIE's and crepes' intervals on rows and folds that were laid out; runs in an environment of its own.

    python with_intervals.py FOLDER

FOLDER/rows.npz: matrix, target, fold of the training rows; test matrix; cell, test_cell (Mondrian, as numbers); oof,
size (out-of-fold predictions and predicted sizes of residuals); centre, test_size (of the test rows); levels;
quantiles (levels at which whole distributions are compared); limits (of the target).
Writes FOLDER/answers.npz: for each method `low` and `high` (levels, test rows) and seconds to fit and to answer; and
`crepes_quantiles`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from crepes import ConformalPredictiveSystem
from mapie.regression import ConformalizedQuantileRegressor, CrossConformalRegressor, SplitConformalRegressor
from sklearn.model_selection import PredefinedSplit

BLOCK = 500
"""Test rows at once: CV+ holds one number for each of them and each training row."""


def main() -> None:
    """Fit and ask each method."""
    folder = Path(sys.argv[1])
    rows = np.load(folder / "rows.npz")
    config = json.loads((folder / "config.json").read_text())
    out: dict[str, Any] = {}
    for name, method in (("mapie_split", split), ("mapie_cqr", cqr), ("mapie_cv_plus", cv_plus), ("crepes", crepes)):
        started = time.perf_counter()
        ask = method(rows, config)
        fitted = time.perf_counter()
        low, high = ask()
        out |= {f"{name}_low": low, f"{name}_high": high,
                f"{name}_seconds": [fitted - started, time.perf_counter() - fitted]}  # fmt: skip
    np.savez(folder / "answers.npz", crepes_quantiles=quantiles(rows), **out)


def _model(config: dict[str, Any], **more: Any) -> lightgbm.LGBMRegressor:
    return lightgbm.LGBMRegressor(**config, n_jobs=2, verbose=-1, **more)


def _parts(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and to conformalise with: the last fold."""
    return rows["fold"] != rows["fold"].max(), rows["fold"] == rows["fold"].max()


def split(rows: Any, config: dict[str, Any]) -> Any:
    """MAPIE's split conformal prediction."""
    fit, rest = _parts(rows)
    model = SplitConformalRegressor(_model(config), confidence_level=rows["levels"].tolist(), prefit=False)
    model.fit(rows["matrix"][fit], rows["target"][fit])
    model.conformalize(rows["matrix"][rest], rows["target"][rest])
    return lambda: _ends(model.predict_interval(rows["test"])[1])


def cqr(rows: Any, config: dict[str, Any]) -> Any:
    """MAPIE's conformalised quantile regression, a model for each level."""
    fit, rest = _parts(rows)
    models = []
    for level in rows["levels"].tolist():
        quantile = _model(config, objective="quantile", alpha=0.5)
        model = ConformalizedQuantileRegressor(quantile, confidence_level=level, prefit=False)
        model.fit(rows["matrix"][fit], rows["target"][fit])
        model.conformalize(rows["matrix"][rest], rows["target"][rest])
        models.append(model)

    def ask() -> tuple[np.ndarray, np.ndarray]:
        found = [_ends(model.predict_interval(rows["test"])[1]) for model in models]
        return np.concatenate([low for low, _ in found]), np.concatenate([high for _, high in found])

    return ask


def cv_plus(rows: Any, config: dict[str, Any]) -> Any:
    """MAPIE's CV+ on the same folds."""
    model = CrossConformalRegressor(
        _model(config), confidence_level=rows["levels"].tolist(), method="plus", cv=PredefinedSplit(rows["fold"])
    )
    model.fit_conformalize(rows["matrix"], rows["target"])

    def ask() -> tuple[np.ndarray, np.ndarray]:
        blocks = [rows["test"][start : start + BLOCK] for start in range(0, len(rows["test"]), BLOCK)]
        found = [_ends(model.predict_interval(block)[1]) for block in blocks]
        return np.hstack([low for low, _ in found]), np.hstack([high for _, high in found])

    return ask


def _system(rows: Any) -> ConformalPredictiveSystem:
    return ConformalPredictiveSystem().fit(rows["target"] - rows["oof"], sigmas=rows["size"], bins=rows["cell"])


def quantiles(rows: Any) -> np.ndarray:
    """(n, quantile levels) of crepes' distributions."""
    system = _system(rows)
    found = [_percentiles(system, rows, lower_percentiles=[100 * level]) for level in rows["quantiles"].tolist()]
    return np.hstack(found)


def _percentiles(system: ConformalPredictiveSystem, rows: Any, **wanted: list[float]) -> np.ndarray:
    """Within the target's limits: where a cell has too few rows crepes gives the very ends."""
    low, high = rows["limits"].tolist()
    return np.asarray(
        system.predict_percentiles(
            rows["centre"], sigmas=rows["test_size"], bins=rows["test_cell"], y_min=low, y_max=high, **wanted
        )
    ).reshape(len(rows["centre"]), -1)


def crepes(rows: Any, config: dict[str, Any]) -> Any:
    """crepes' conformal predictive system on our out-of-fold residuals, sizes and cells."""
    system = _system(rows)

    def ask() -> tuple[np.ndarray, np.ndarray]:
        ends = [
            _percentiles(system, rows, lower_percentiles=[50 * (1 - level)], higher_percentiles=[50 * (1 + level)])
            for level in rows["levels"].tolist()
        ]
        return np.array([both[:, 0] for both in ends]), np.array([both[:, 1] for both in ends])

    return ask


def _ends(intervals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(levels, n) lower and upper ends of MAPIE's (n, 2, levels)."""
    cube = np.asarray(intervals).reshape(len(intervals), 2, -1)
    return cube[:, 0].T, cube[:, 1].T


if __name__ == "__main__":
    main()
