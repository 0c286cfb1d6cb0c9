"""What must be true of the column that rows are split by: the group, or the time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from feature_store.finding import Finding, place, several
from feature_store.task import Task


def find_split(task: Task, table: pa.Table) -> Iterator[Finding]:
    """The column of `split.by` must be known in every row, and order the rows where it is a time."""
    by, kind = task.split.by, task.split.kind
    if by is None or table.column_names.count(by) != 1:
        return  # a name that is absent or stands twice has its finding
    column = table.column(by)
    if kind == "time" and not _orders(column.type):
        message = f"holds {str(column.type)[:60]}, where the split needs a date, a timestamp or a number."
        remedy = f"Write `CAST({by} AS TIMESTAMP) AS {by}` in data.sql; where rows are in order: row_number() OVER ()."
        yield Finding(by, "wrong_type", "error", table.num_rows, (), message, remedy)
        return
    unknown = column.is_null(nan_is_null=True).to_numpy()
    if pa.types.is_floating(column.type) and kind == "time":
        unknown |= np.isinf(column.cast(pa.float64()).to_numpy())
    places = np.flatnonzero(unknown)
    if places.size:
        rows = tuple(places[:5].tolist())
        message = f"unknown in {several(places.size, 'row')} ({place(rows, places.size)}), but rows are split by it."
        remedy = f"Leave them out in data.sql: WHERE {by} IS NOT NULL; or say where they belong."
        yield Finding(by, "missing_key", "error", places.size, rows, message, remedy)


def _orders(kind: pa.DataType) -> bool:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(number or pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_null(kind))
