"""The version as an MLflow pyfunc, for `mlflow models serve` and batch engines. The server never loads it so.

MLflow finds this module by name (`loader_module`) and gives it the bundle's folder; there is no pickle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from feature_store.errors import RowsRefused
from serving import predictor
from serving.predictor import Predictor
from serving.request import check


def flatten(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer as columns: value, low, high, p_<event> each, group, and warnings (codes, comma-separated)."""
    return {
        "value": answer["value"],
        "low": answer["interval"]["low"],
        "high": answer["interval"]["high"],
        **{f"p_{name}": chance for name, chance in answer["events"].items()},
        "group": answer["group"],
        "warnings": ",".join(sorted({warning["code"] for warning in answer["warnings"]})),
    }


class GancaoModel:
    """What MLflow calls. predict: DataFrame of fields in, DataFrame of `flatten` columns out, same order."""

    def __init__(self, answering: Predictor) -> None:
        self._predictor = answering

    def predict(self, frame: Any, params: dict[str, Any] | None = None) -> Any:
        """Raises RowsRefused naming row and field when a value breaks the Task's limits."""
        rows = [_row(record) for record in frame.to_dict(orient="records")]
        if errors := check(self._predictor.task, rows):
            raise RowsRefused(errors)
        answers = [flatten(answer) for answer in self._predictor.answer(rows)]
        return type(frame)(answers, index=frame.index)


def _row(record: dict[str, Any]) -> dict[str, Any]:
    """A record of a DataFrame without its missing values, its numpy scalars as Python's own."""
    plain: Iterable[tuple[str, Any]] = (
        (name, value.item() if hasattr(value, "item") else value) for name, value in record.items()
    )
    return {name: value for name, value in plain if value is not None and not _is_nan(value)}


def _is_nan(value: Any) -> bool:
    return value != value or (isinstance(value, float) and math.isnan(value))


def _load_pyfunc(path: str) -> GancaoModel:
    """MLflow's entry. Raises BundleRefused when a file was altered or the golden rows differ."""
    return GancaoModel(predictor.load(Path(path)))
