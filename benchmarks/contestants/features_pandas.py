"""pandas: merge_asof; windows as differences of running sums, one merge an end."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
from features_contract import DAYS, run


def last(folder: Path) -> pa.Table:
    """The latest event of each origin."""
    events = pd.read_parquet(folder / "events.parquet", columns=["who", "at", "units", "price", "deal"])
    found = _joined(_origins(folder), events.sort_values("at"), "as_of")
    return pa.Table.from_pandas(found[["units", "price", "deal"]], preserve_index=False)


def windows(folder: Path) -> pa.Table:
    """Running sums and counts at the end of each window less those at its beginning."""
    events = pd.read_parquet(folder / "events.parquet", columns=["who", "at", "units"]).sort_values("at")
    grouped = events.groupby("who")["units"]
    events["sum"], events["count"] = grouped.cumsum(), grouped.cumcount() + 1
    events = events.drop(columns="units")
    origins = _origins(folder)
    until = _joined(origins, events, "as_of")[["sum", "count"]].fillna(0)
    found = {}
    for days in DAYS:
        origins["from"] = origins["as_of"] - pd.Timedelta(days=days)
        since = _joined(origins, events, "from")[["sum", "count"]].fillna(0)
        for name in ("sum", "count"):
            found[f"{name}_{days}"] = (until[name] - since[name]).astype("int64")
    return pa.Table.from_pandas(pd.DataFrame(found), preserve_index=False)


def _origins(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "origins.parquet").sort_values("as_of")


def _joined(origins: pd.DataFrame, events: pd.DataFrame, on: str) -> pd.DataFrame:
    """In the order in which the origins came."""
    found = pd.merge_asof(origins, events, left_on=on, right_on="at", by="who")
    found.index = origins.index
    return found.sort_index()


if __name__ == "__main__":
    run({"last": last, "windows": windows})
