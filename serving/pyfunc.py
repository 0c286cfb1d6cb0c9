"""The version as an MLflow pyfunc, for `mlflow models serve` and batch engines. The server never loads it so.

MLflow finds this module by name (`loader_module`) and gives it the bundle's folder; there is no pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feature_store.errors import RowError, RowsRefused
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
        rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
        if errors := check(self._predictor.task, rows):
            raise _told(errors)
        answers = [flatten(answer) for answer in self._predictor.answer(rows)]
        return type(frame)(answers, index=frame.index)


def _told(errors: list[RowError]) -> RowsRefused:
    """The refusal with every error in its words: MLflow and batch engines pass on nothing but the text."""
    refused = RowsRefused(errors)
    refused.args = ("\n".join([f"{refused}:", *(f"row {e.row}, {e.field}: {e.message}" for e in errors)]),)
    return refused


def _load_pyfunc(path: str) -> GancaoModel:
    """MLflow's entry. Raises BundleRefused when a file was altered or the golden rows differ."""
    return GancaoModel(predictor.load(Path(path)))
