"""Feast's historical features, duckdb offline store. It has no windows on one machine, so only the job `last`."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Bool, Float32, Int64
from feast.value_type import ValueType
from features_contract import run


def last(folder: Path) -> pa.Table:
    """The latest event of each origin, through a registry of its own."""
    with tempfile.TemporaryDirectory() as repository:
        config = RepoConfig(
            project="features",
            provider="local",
            registry=str(Path(repository) / "registry.db"),
            offline_store={"type": "duckdb"},
            online_store=None,
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        who = Entity(name="who", join_keys=["who"], value_type=ValueType.INT64)
        view = FeatureView(
            name="sales",
            entities=[who],
            ttl=timedelta(days=10_000),
            schema=[
                Field(name="units", dtype=Int64),
                Field(name="price", dtype=Float32),
                Field(name="deal", dtype=Bool),
            ],
            source=FileSource(path=str(folder / "events.parquet"), timestamp_field="at"),
            online=False,
        )
        store.apply([who, view])
        origins = pd.read_parquet(folder / "origins.parquet").rename(columns={"as_of": "event_timestamp"})
        origins["row"] = range(len(origins))
        names = [f"sales:{name}" for name in ("units", "price", "deal")]
        found = store.get_historical_features(entity_df=origins, features=names).to_df()
    return pa.Table.from_pandas(found.sort_values("row")[["units", "price", "deal"]], preserve_index=False)


if __name__ == "__main__":
    run({"last": last})
