"""The version as an MLflow pyfunc, for `mlflow models serve` and batch engines. The server never loads it so.

MLflow finds this module by name (`loader_module`) and gives it the bundle's folder; there is no pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feature_store.errors import RowError, RowsRefused
from feature_store.task import Task
from serving import decision_fields, predictor
from serving.predictor import Predictor
from serving.request import check


def flatten(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer as columns; `columns` names them.

    regression: value, low, high, p_<event> each; binary: value, label; multiclass: p_<class> each, label, set
    (comma-separated); then group, decision_<entry> of a Task that decides, and warnings (codes, comma-separated).
    """
    if "interval" in answer:
        ends = {"low": answer["interval"]["low"], "high": answer["interval"]["high"]}
        own = {"value": answer["value"], **ends, **{f"p_{name}": p for name, p in answer["events"].items()}}
    elif "probabilities" in answer:
        chances = {f"p_{word}": p for word, p in answer["probabilities"].items()}
        own = {**chances, "label": answer["label"], "set": ",".join(answer["set"])}
    else:
        own = {"value": answer["value"], "label": answer["label"]}
    codes = ",".join(sorted({warning["code"] for warning in answer["warnings"]}))
    return {**own, "group": answer["group"], **decision_fields.flat(answer["decision"]), "warnings": codes}


def columns(task: Task, classes: Sequence[str]) -> list[tuple[str, type]]:
    """Name and type (float, str, bool) of each column of `flatten`. classes: the encoder's; () for regression."""
    if task.kind == "regression":
        numbers, words = ["value", "low", "high", *(f"p_{event.name}" for event in task.answers.events)], []
    elif task.kind == "binary":
        numbers, words = ["value"], ["label"]
    else:
        numbers, words = [f"p_{word}" for word in classes], ["label", "set"]
    decided = decision_fields.columns(task)
    return [*((name, float) for name in numbers), *((name, str) for name in [*words, "group"]), *decided,
            ("warnings", str)]  # fmt: skip


class GancaoModel:
    """What MLflow calls. predict: DataFrame of fields in, DataFrame of `flatten` columns out, same order.

    A shortlist is made of one DataFrame: a batch engine that cuts a table into several makes several.
    """

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
