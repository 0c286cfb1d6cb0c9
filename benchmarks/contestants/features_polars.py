"""Polars: join_asof; windows as differences of running sums, one join an end."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
from features_contract import DAYS, run


def last(folder: Path) -> pa.Table:
    """The latest event of each origin."""
    events = pl.read_parquet(folder / "events.parquet", columns=["who", "at", "units", "price", "deal"]).sort("at")
    return _joined(_origins(folder), events, "as_of").select("units", "price", "deal").to_arrow()


def windows(folder: Path) -> pa.Table:
    """Running sums and counts at the end of each window less those at its beginning."""
    events = pl.read_parquet(folder / "events.parquet", columns=["who", "at", "units"]).sort("at")
    running = {"sum": pl.col("units").cum_sum(), "count": pl.col("units").cum_count().cast(pl.Int64)}
    events = events.select("who", "at", *(column.over("who").alias(name) for name, column in running.items()))
    origins = _origins(folder)
    until = _joined(origins, events, "as_of").select(pl.col("sum", "count").fill_null(0))
    found = []
    for days in DAYS:
        earlier = origins.with_columns((pl.col("as_of") - pl.duration(days=days)).alias("from")).sort("from")
        since = _joined(earlier, events, "from").select(pl.col("sum", "count").fill_null(0))
        found += [(until[name] - since[name]).alias(f"{name}_{days}") for name in ("sum", "count")]
    return pl.DataFrame(found).to_arrow()


def _origins(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "origins.parquet").with_row_index("row").sort("as_of")


def _joined(origins: pl.DataFrame, events: pl.DataFrame, on: str) -> pl.DataFrame:
    """In the order in which the origins came."""
    return origins.join_asof(events, left_on=on, right_on="at", by="who", check_sortedness=False).sort("row")


if __name__ == "__main__":
    run({"last": last, "windows": windows})
