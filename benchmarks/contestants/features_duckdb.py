"""DuckDB's SQL: ASOF for the latest event, a range join with FILTER for windows."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
from features_contract import DAYS, run


def last(folder: Path) -> pa.Table:
    """The latest event of each origin."""
    return _made(
        folder,
        "SELECT units, price, deal FROM origins ASOF LEFT JOIN events "
        "ON origins.who = events.who AND events.at <= origins.as_of ORDER BY origins.row",
    )


def windows(folder: Path) -> pa.Table:
    """Every event of the longest window beside its origin."""
    sums = ", ".join(
        f"coalesce(sum(units) FILTER (WHERE events.at > as_of - INTERVAL {days} DAY), 0)::BIGINT AS sum_{days}, "
        f"count(units) FILTER (WHERE events.at > as_of - INTERVAL {days} DAY) AS count_{days}"
        for days in DAYS
    )
    return _made(
        folder,
        f"SELECT * EXCLUDE (row) FROM (SELECT row, {sums} FROM origins LEFT JOIN events ON origins.who = events.who "
        f"AND events.at <= as_of AND events.at > as_of - INTERVAL {max(DAYS)} DAY GROUP BY row) ORDER BY row",
    )


def _made(folder: Path, sql: str) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW events AS FROM '{folder / 'events.parquet'}'")
        connection.execute(f"CREATE VIEW origins AS SELECT *, file_row_number AS row FROM "
                           f"read_parquet('{folder / 'origins.parquet'}', file_row_number = true)")  # fmt: skip
        return connection.sql(sql).to_arrow_table()


if __name__ == "__main__":
    run({"last": last, "windows": windows})
