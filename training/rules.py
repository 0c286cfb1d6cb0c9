"""Rules of the field: baselines that need no learner, from the plain mean to a published formula or a query."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from feature_store import formula, offline
from feature_store.errors import BaselineRefused
from feature_store.task import Baseline, Task
from training.dataset import Rows
from training.splits import Split

PRIOR_ROWS = 20.0
"""How many rows of the prior stand beside a value's own rows in `rate_by`, so that three rows don't say 0 or 1."""


def predict(task: Task, split: Split, table: pa.Table) -> dict[str, np.ndarray]:
    """Predictions (n, outputs) for the holdout by each rule's name; `mean`, or for classes `prior`, comes first.

    table: the whole source table, for rules in SQL; the holdout's target is not shown to them.
    Raises TableUnreadable when DuckDB refuses a query, BaselineRefused when its result does not fit.
    """
    name = "mean" if task.kind == "regression" else "prior"
    out = {name: np.tile(_plain(task, split.train), (len(split.holdout), 1))}
    for baseline in task.baselines:
        rule = next(rule for key, rule in _RULES.items() if getattr(baseline, key) is not None)
        found = rule(task, baseline, split, table)
        out[baseline.name] = np.where(np.isfinite(found), found, _middle(task, split.train))
    return out


def _plain(task: Task, rows: Rows) -> np.ndarray:
    """(outputs,) the mean, or each class's share."""
    if task.kind == "regression":
        return np.array([np.average(rows.target, weights=rows.weight)])
    return np.asarray(np.average(_each_class(task, rows), axis=0, weights=rows.weight))


def _middle(task: Task, rows: Rows) -> np.ndarray:
    """(outputs,) what stands in where a rule knows nothing: the median, or each class's share."""
    return np.array([_median(rows.target, rows.weight)]) if task.kind == "regression" else _plain(task, rows)


def _each_class(task: Task, rows: Rows) -> np.ndarray:
    """(n, outputs) 1 for each row's class and else 0; of a binary target for the positive one only."""
    places = np.array([1]) if task.kind == "binary" else np.arange(len(rows.classes))
    return np.asarray(rows.target[:, None] == places, dtype=np.float64)


def _median(values: np.ndarray, weight: np.ndarray | None) -> float:
    if weight is None:
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


# --- by the value of a field --------------------------------------------------------------------------------------


def _median_by(task: Task, baseline: Baseline, split: Split, table: pa.Table) -> np.ndarray:
    """The median target of training rows with the same value; unknown where there is none."""
    rows, (codes, asked) = split.train, _coded(str(baseline.median_by), split)
    out = np.full(len(split.holdout), np.nan)
    for code, places in _together(codes):
        weight = None if rows.weight is None else rows.weight[places]
        out[asked == code] = _median(rows.target[places], weight)
    return out[:, None]


def _rate_by(task: Task, baseline: Baseline, split: Split, table: pa.Table) -> np.ndarray:
    """Each class's share among training rows with the same value, drawn to the prior where they are few.

    The m-estimate, (sum + m * prior) / (n + m): Cestnik 1990, Proc. ECAI, 147-149.
    """
    rows, (codes, asked) = split.train, _coded(str(baseline.rate_by), split)
    weight = np.ones(len(rows)) if rows.weight is None else rows.weight / rows.weight.mean()
    count = int(max(codes.max(), asked.max())) + 2
    total = np.bincount(codes + 1, weight, count)
    sums = np.column_stack([np.bincount(codes + 1, weight * hit, count) for hit in _each_class(task, rows).T])
    rates = (sums + PRIOR_ROWS * _plain(task, rows)) / (total + PRIOR_ROWS)[:, None]
    rates[0] = np.nan  # code -1: unknown
    return np.asarray(rates[asked + 1])


def _coded(field: str, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """(train,) and (holdout,) the same number for the same value of a field; -1 for unknown."""
    codes: dict[Any, int] = {}

    def code(column: np.ndarray) -> np.ndarray:
        values = column.tolist()
        return np.array(
            [-1 if v is None or v != v else codes.setdefault(v, len(codes)) for v in values], dtype=np.int64
        )

    return code(split.train.columns[field]), code(split.holdout.columns[field])


def _together(codes: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Each code but -1 with the places where it stands."""
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    return [(int(code), places) for code, places in zip(found, np.split(order, starts[1:]), strict=True) if code >= 0]


# --- a formula, a query -------------------------------------------------------------------------------------------


def _formula(task: Task, baseline: Baseline, split: Split, table: pa.Table) -> np.ndarray:
    """The formula's value within the target's limits (0 to 1 for a probability)."""
    value = formula.evaluate(str(baseline.formula), split.holdout.columns)
    return np.clip(np.where(np.isfinite(value), value, np.nan), *task.target.limits)[:, None]


def _sql(task: Task, baseline: Baseline, split: Split, table: pa.Table) -> np.ndarray:
    """What a query over the views `train` and `holdout` gives for each row of the holdout; else unknown."""
    if "row_id" in table.column_names:
        raise _refused(task, baseline, "needs the name row_id, which data.sql selects", "Rename that column there")
    found = offline.query(str(baseline.sql), _views(task, split, table), f"baseline {baseline.name} of {task.task}")
    names = list(split.train.classes) if task.kind == "multiclass" else ["value"]
    if missing := [name for name in ("row_id", *names) if found.column_names.count(name) != 1]:
        what = f"gives {', '.join(found.column_names)}, not {', '.join(missing)}"
        raise _refused(task, baseline, what, f"Select {', '.join(('row_id', *names))}, once each")
    try:
        ids = found.column("row_id").cast(pa.int64()).drop_null().to_numpy()
        values = np.column_stack([found.column(name).cast(pa.float64()).to_numpy() for name in names])
    except pa.ArrowException as error:
        first = str(error).split("\n")[0]
        raise _refused(task, baseline, f"gives what is no number: {first}", "CAST to DOUBLE there") from None
    if len(ids) != found.num_rows or len(np.unique(ids)) != len(ids):
        raise _refused(task, baseline, "gives rows without a row_id, or several of the same", "Give each row_id once")
    out = np.full((table.num_rows, len(names)), np.nan)
    inside = (ids >= 0) & (ids < table.num_rows)
    out[ids[inside]] = values[inside].clip(*task.target.limits)
    out = out[split.holdout.number]
    with np.errstate(invalid="ignore"):  # 0 for every class says nothing
        return out / out.sum(axis=1, keepdims=True) if task.kind == "multiclass" else out


def _views(task: Task, split: Split, table: pa.Table) -> dict[str, pa.Table]:
    """`train` and `holdout` with every column of data.sql and `row_id`; the holdout's target is unknown."""
    place = table.column_names.index(task.target.name)
    train, holdout = (table.take(part).append_column("row_id", pa.array(part)) for part in _numbers(split))
    blind = pa.nulls(holdout.num_rows, table.schema.field(place).type)
    return {"train": train, "holdout": holdout.set_column(place, task.target.name, blind)}


def _numbers(split: Split) -> tuple[np.ndarray, np.ndarray]:
    train, holdout = split.train.number, split.holdout.number
    if train is None or holdout is None:
        raise ValueError("These rows don't know their places in the source table; make them with `dataset.labelled`.")
    return train, holdout


def _refused(task: Task, baseline: Baseline, what: str, remedy: str) -> BaselineRefused:
    return BaselineRefused(f"The SQL of baseline {baseline.name} of {task.task} {what}.\n{remedy}.")


_RULES: dict[str, Callable[[Task, Baseline, Split, pa.Table], np.ndarray]] = {
    "median_by": _median_by,
    "rate_by": _rate_by,
    "formula": _formula,
    "sql": _sql,
}
