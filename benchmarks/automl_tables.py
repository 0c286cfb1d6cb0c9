"""The tables of the AutoML comparison: read, sampled, split, and declared as a Task."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks.automl_sources import BUNDLED, MAKERS, POSITIVE
from feature_store.task import Task

MAX_ROWS = 20_000
"""Larger tables are sampled, by a fixed seed, so that a minute means the same to all."""

TEST_SHARE = 0.25
ROOM = 10.0
"""Limits of a Task's numbers lie so many ranges of the table beyond it: they refuse nothing and tell nothing."""


@dataclass(frozen=True)
class Table:
    """One table. x: numbers are float64 (NaN unknown), categories str or None; y: (n,) float64, or words of classes.

    metric: what is measured and what every system is told to minimise: `rmse`, `mae`, `auc` (as 1 - AUC) or
    `log_loss`. classes: the words of y, the positive one last; () for regression.
    """

    name: str
    kind: str
    metric: str
    x: pd.DataFrame
    y: pd.Series
    classes: tuple[str, ...]

    @property
    def categories(self) -> list[str]:
        """The columns that hold words."""
        return [name for name in self.x if self.x[name].dtype == object]


@dataclass(frozen=True)
class Parts:
    """The rows to learn from and those to be judged on, as places in the table."""

    train: np.ndarray
    test: np.ndarray


def read(name: str, data: Path) -> Table:
    """The table of that name; `data` is the folder of the shared tables, unused by scikit-learn's own.

    Raises KeyError for an unknown name and FileNotFoundError where the folder is needed and absent.
    """
    kind, metric, make = MAKERS[name]
    if name not in BUNDLED and not data.is_dir():
        raise FileNotFoundError(f"{name} needs the shared tables, and {data} is no folder. Give theirs with --data.")
    frame = make(data)
    if len(frame) > MAX_ROWS:
        frame = frame.sample(MAX_ROWS, random_state=0)
    frame = frame.reset_index(drop=True).rename(columns=_identifier)
    x = pd.DataFrame({column: _plain(frame[column]) for column in frame.columns.drop("target")})
    if kind == "regression":
        return Table(name, kind, metric, x, frame["target"].astype("float64"), ())
    y = frame["target"].astype(str).astype(object)
    positive = POSITIVE.get(name)
    classes = (*sorted(set(y) - {positive}), *([positive] if positive else []))
    return Table(name, kind, metric, x, y, classes)


def split(table: Table, seed: int) -> Parts:
    """Three quarters to learn from and one to be judged on, at random; each class with its share in both."""
    train, test = train_test_split(
        np.arange(len(table.y)),
        test_size=TEST_SHARE,
        random_state=seed,
        stratify=table.y if table.classes else None,
    )
    return Parts(train, test)


def places(table: Table) -> np.ndarray:
    """The target as the losses take it, (n,) float64: values, or places of `classes`."""
    if not table.classes:
        return np.asarray(table.y, dtype="float64")
    code = {word: float(place) for place, word in enumerate(table.classes)}
    return np.array([code[word] for word in table.y])


def task(table: Table) -> Task:
    """The table as Gancao is told of it: no more than every other system is.

    A field is required where the table never lacks it. The source is `train.parquet`, whose column `target` holds
    values or words.
    """
    fields = []
    for name in table.x:
        column = table.x[name]
        field: dict[str, Any] = {"name": name, "required": not column.isna().any()}
        if column.dtype == object:
            fields.append({**field, "type": "category"})
        else:
            fields.append({**field, "type": "number", "limits": _limits(column)})
    target: dict[str, Any] = {"name": "target", "label": table.name}
    if table.kind == "regression":
        target |= {"unit": "1", "limits": _limits(table.y), "digits": 6}
    else:
        target |= {"classes": list(table.classes)}
    if table.kind == "binary":
        target |= {"positive": table.classes[-1]}
    return Task.model_validate(
        {
            "task": table.name,
            "title": table.name,
            "intended_use": "A table of benchmarks/automl.py.",
            "kind": table.kind,
            "target": target,
            "data": {"sources": {"rows": "train.parquet"}, "sql": "SELECT * FROM rows"},
            "fields": fields,
            "search": {"metric": table.metric},
        }
    )


def _limits(column: pd.Series) -> list[float]:
    low, high = float(column.min()), float(column.max())
    room = ROOM * (high - low) + 1.0
    return [low - room, high + room]


def _identifier(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", str(name).lower()).strip("_")


def _plain(column: pd.Series) -> pd.Series:
    """A column as every system gets it: float64 with NaN, or words with None; true and false are words too."""
    if pd.api.types.is_bool_dtype(column.dropna().infer_objects()):
        column = column.map({True: "yes", False: "no"})
    if pd.api.types.is_numeric_dtype(column):
        return column.astype("float64")
    return pd.Series([None if pd.isna(v) else str(v) for v in column], dtype=object, index=column.index)
