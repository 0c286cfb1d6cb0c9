"""The figures behind a report as CSV files, with every digit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from feature_store.task import Task
from training.evaluate import Holdout
from training.figures.seen import Seen
from training.runlog import Trial


def tables(seen: Seen) -> dict[str, str]:
    """CSV text by file name; a table without rows is left out."""
    groups = seen.card["groups"]
    out = {
        "trials.csv": _trials_table(seen.trials),
        "holdout.csv": _holdout_table(seen.task, seen.holdout),
        "deciles.csv": _csv([{"part": number, **row} for number, row in enumerate(seen.card["deciles"], start=1)]),
        "importance.csv": _csv(
            [{"field": one.field, "rise": one.rise, "spread": one.spread} for one in seen.insight.importance]
        ),
        "groups.csv": _csv([{"group": name, **row} for name, row in groups.items()]),
    }
    if seen.insight.shap is not None:
        strength = zip(seen.task.fields, seen.insight.shap.strength.tolist(), strict=True)
        out["shap.csv"] = _csv([{"field": field.name, "mean_absolute": value} for field, value in strength])
    if (curve := seen.insight.curve) is not None:
        out["learning_curve.csv"] = _csv(
            [{"rows": point.rows, "loss": point.loss, "spread": point.spread} for point in curve.points]
        )
    return {name: table for name, table in out.items() if table}


def _trials_table(trials: Sequence[Trial]) -> str:
    """The trials, best first, failed ones last."""
    names = ("number", "learner", "origin", "loss", "rounds", "seconds", "elapsed_s", "failure")
    ordered = sorted(trials, key=lambda trial: (trial.loss is None, trial.loss or 0.0))
    return _csv([{name: getattr(t, name) for name in names} | {"config": json.dumps(t.config)} for t in ordered])


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same or fewer cells than the fullest; empty without rows."""
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _holdout_table(task: Task, holdout: Holdout) -> str:
    """True and answered values of the holdout in its order, as CSV with every digit; no field of a row.

    regression: value, low, high, p_<event>. binary: value (the positive class's probability), label, set.
    multiclass: p_<class>, label, set. Sets are joined by `|`; `weight` stands last where rows are weighted.
    """
    rows = []
    for place, answer in enumerate(holdout.answers):
        true: Any = float(holdout.target[place])
        if task.kind == "regression":
            ends = {key: answer["interval"][key] for key in ("low", "high")}
            chances = {f"p_{event.name}": answer["events"][event.name] for event in task.answers.events}
            row = {task.target.name: true, "value": answer["value"], **ends, **chances}
        else:
            known = (
                {"value": answer["value"]}
                if task.kind == "binary"
                else {f"p_{word}": answer["probabilities"][word] for word in holdout.classes}
            )
            row = {task.target.name: holdout.classes[int(true)], **known, "label": answer["label"]}
            row["set"] = "|".join(answer["set"])
        rows.append(row if holdout.weight is None else {**row, "weight": float(holdout.weight[place])})
    return _csv(rows)
