"""Gancao: as_of, which also judges every event and looks for those that stand twice."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from features_contract import DAYS, run

from feature_store.asof import as_of
from feature_store.view import View

VIEW: dict[str, Any] = {
    "view": "sales",
    "title": "Sales",
    "entity": "who",
    "data": {"sources": {"events": "events.parquet"}, "sql": "FROM events"},
    "id": "bill",
    "event_time": "at",
    "columns": {"who": "int", "bill": "int", "units": "int", "price": "float32", "deal": "flag"},
}
LAST = {name: {"last": name} for name in ("units", "price", "deal")}
WINDOWS = {f"{one}_{days}": {one: "units", "window": f"{days}d"} for days in DAYS for one in ("sum", "count")}


def last(folder: Path) -> pa.Table:
    """The latest event of each origin."""
    return _made(folder, LAST)


def windows(folder: Path) -> pa.Table:
    """A sum of nothing is NULL here, and 0 for the others."""
    return _made(folder, WINDOWS)


def _made(folder: Path, features: dict[str, Any]) -> pa.Table:
    view = View.model_validate(VIEW | {"features": features})
    return as_of(view, folder, pq.read_table(folder / "origins.parquet")).select(list(features))


if __name__ == "__main__":
    run({"last": last, "windows": windows})
