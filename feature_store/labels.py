"""Classes of a target as words: one spelling for each, whatever type the column has."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WHOLE = 2.0**53
"""From here on not every whole number is a float."""


def texts(column: pa.ChunkedArray) -> pa.Array:
    """(n,) text: `yes`, `true`, `1`; null where unknown, which NaN is too.

    A whole number has no point, also where the column is of floats or decimals; others keep their digits (`1.5`).
    """
    if pa.types.is_dictionary(column.type):  # DuckDB's ENUM
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string()).cast(pa.float64())
    if pa.types.is_floating(column.type):
        return _of_floats(column.cast(pa.float64()).combine_chunks())
    return column.cast(pa.large_string()).combine_chunks()


def _of_floats(column: pa.Array) -> pa.Array:
    values = column.to_numpy(zero_copy_only=False)
    known = ~np.isnan(values)
    whole = known & (np.abs(values) < _WHOLE) & (values == np.floor(np.where(known, values, 0.0)))
    integers = pa.array(np.where(whole, values, 0.0).astype(np.int64)).cast(pa.large_string())
    floats = pa.array(values).cast(pa.large_string())
    return pc.if_else(
        pa.array(known), pc.if_else(pa.array(whole), integers, floats), pa.scalar(None, pa.large_string())
    )
