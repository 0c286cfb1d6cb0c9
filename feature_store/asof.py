"""The features of entities as they were known at instants of the past: the point-in-time join.

Events are judged and kept by DuckDB (`feature_store/events.py`), in its memory or on disk, and taken from it some
buckets of entities at a time; what they come to is counted with numpy (`feature_store/cover.py`).
"""

# ruff: noqa: S608 (the SQL is of names that are ours)

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_store.cover import Asked
from feature_store.errors import OriginsUnfit
from feature_store.events import BUCKETS, Events, attributes, loaded
from feature_store.history import Column, History, column
from feature_store.view import MONDAY_US, View, microseconds

REFUSED = b"gancao.refused"
"""Key of the result's metadata: what was refused of the events and attributes, reason -> rows, as JSON."""


def as_of(
    view: View,
    data_dir: Path,
    origins: pa.Table,
    *,
    now: int | None = None,
    memory_mb: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """The origins, in their order, with the view's features and attributes as further columns.

    origins: the entity's columns and `as_of`, a timestamp (without a zone: UTC) or a day. NULL: see `View`; an entity
    without events has counts of 0 and else NULL. now: as in `events.loaded`. memory_mb: for events, half of it
    DuckDB's; origins and result come on top, and one bucket of entities (a 64th) is not split.
    progress: called with buckets done and all of them.
    Raises OriginsUnfit, SumTooLarge, and what `events.loaded` raises.
    """
    keys, times = _keys(view, origins), _times(view, origins)
    with loaded(view, data_dir, memory_mb // 2, now) as events:
        codes, bucket_first = _coded(events, keys)
        questions = _questions(codes, times, int(bucket_first[-1]))
        parts = []
        for low, high in events.groups(memory_mb // 2):
            parts.append(_part(events, questions, low, high, bucket_first))
            if progress:
                progress(high + 1, BUCKETS)
        refused = {"events": events.refused}
        described: dict[str, pa.Array] = {}
        if view.attributes is not None:
            described, refused["attributes"] = _described(events, codes, data_dir)
    found = pa.concat_tables(parts).take(pa.array(questions.place))
    for name, values in [*zip(found.column_names, found.columns, strict=True), *described.items()]:
        origins = origins.append_column(name, values)
    return origins.replace_schema_metadata({REFUSED: json.dumps(refused)})


def refused(result: pa.Table) -> dict[str, dict[str, int]]:
    """What `as_of` refused: of `events` and of `attributes`, reason (see `event.REASONS`) -> rows."""
    return dict(json.loads(result.schema.metadata[REFUSED]))


@dataclass(frozen=True)
class _Questions:
    """Each different (entity, instant) once, sorted. first: (entities + 1,); place: (origins,) the row of each."""

    times: np.ndarray
    first: np.ndarray
    place: np.ndarray


def _keys(view: View, origins: pa.Table) -> pa.Table:
    """e0, e1 …: the entity's columns as they are kept."""
    wanted = [*view.entity, "as_of"]
    if missing := [name for name in wanted if name not in origins.column_names]:
        raise OriginsUnfit(
            f"The origins have no column {', '.join(missing)}. {view.view} asks for {', '.join(wanted)}."
        )
    if taken := [name for name in view.outputs if name in origins.column_names]:
        raise OriginsUnfit(f"The origins have columns {', '.join(taken)} already. Rename them.")
    kept = {}
    for number, name in enumerate(view.entity):
        whole = view.kind(name) == "int"
        kept[f"e{number}"] = _cast(origins, name, pa.int64() if whole else pa.string())
    return pa.table(kept)


def _times(view: View, origins: pa.Table) -> np.ndarray:
    """(n,) microseconds, on the view's grid."""
    given = origins.schema.field("as_of").type
    zone = given.tz if pa.types.is_timestamp(given) else None
    times = np.asarray(_cast(origins, "as_of", pa.timestamp("us", zone)).cast(pa.int64()).to_numpy())
    if view.every is None:
        return times
    return np.asarray(times - (times - MONDAY_US) % microseconds(view.every))


def _cast(origins: pa.Table, name: str, wanted: pa.DataType) -> pa.ChunkedArray:
    found = origins.column(name)
    if found.null_count:
        raise OriginsUnfit(f"Column {name} of the origins has {found.null_count} NULLs. Leave these rows out.")
    try:
        return found.cast(wanted, safe=not pa.types.is_timestamp(wanted))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        first = str(error).split("\n")[0]
        raise OriginsUnfit(f"Column {name} of the origins is no {wanted}: {first}. Cast it.") from None


def _coded(events: Events, keys: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(n,) a number for each entity, bucket by bucket, and (BUCKETS + 1,) where each bucket's numbers begin.

    Leaves the table `_asked` with e0, e1 … and code.
    """
    codes = np.zeros(keys.num_rows, dtype=np.int64)
    for values in keys.columns:
        encoded = pa.concat_arrays([pa.array([], values.type), *values.chunks]).dictionary_encode()
        codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
        _, codes = np.unique(codes, return_inverse=True)
    _, rows = np.unique(codes, return_index=True)
    connection, names = events.connection, ", ".join(keys.column_names)
    connection.register("_given", keys.take(pa.array(rows)).append_column("code", pa.array(np.arange(len(rows)))))
    hashed = f"SELECT hash({names}) % {BUCKETS} AS bucket FROM _given ORDER BY code"
    buckets = connection.sql(hashed).fetchnumpy()["bucket"].astype(np.int64)
    order = np.argsort(buckets, kind="stable")
    moved = np.empty(len(order), dtype=np.int64)
    moved[order] = np.arange(len(order))
    connection.register("_moved", pa.table({"code": np.arange(len(order)), "to": moved}))
    connection.execute(
        f"CREATE TEMP TABLE _asked AS SELECT {names}, _moved.to AS code FROM _given JOIN _moved USING (code)"
    )
    return moved[codes], np.searchsorted(buckets[order], np.arange(BUCKETS + 1))


def _questions(codes: np.ndarray, times: np.ndarray, entities: int) -> _Questions:
    order = np.lexsort((times, codes))
    code, instant = codes[order], times[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (code[1:] != code[:-1]) | (instant[1:] != instant[:-1])
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.cumsum(new) - 1
    return _Questions(instant[new], np.searchsorted(code[new], np.arange(entities + 1)), place)


def _part(events: Events, questions: _Questions, low: int, high: int, bucket_first: np.ndarray) -> pa.Table:
    """The features of the questions of some buckets, one row each."""
    view = events.view
    begin, end = bucket_first[low], bucket_first[high + 1]
    first = questions.first[begin : end + 1]
    rows = slice(first[0], first[-1])
    wanted = ["code", "event"] + (["known"] if view.known != view.event_time else [])
    wanted += [f"v{number}" for number in range(len(view.values))]
    if any(feature.last for feature in view.features.values()):
        wanted += [f"i{number}" for number in range(len(view.id))]
    keys = ", ".join(f"e{number}" for number in range(len(view.entity)))
    chosen = f"reason IS NULL AND bucket BETWEEN {low} AND {high}"
    sql = f"SELECT {', '.join(wanted)} FROM _events JOIN _asked USING ({keys}) WHERE {chosen}"
    table = events.connection.sql(sql).to_arrow_table()
    event = _numbers(table, "event")
    known = _numbers(table, "known") if view.known != view.event_time else event
    asked = Asked(questions.times[rows], first - first[0])
    found = History(view, asked, _numbers(table, "code") - begin, event, known, table).features()
    return pa.table({name: values.arrow() for name, values in found.items()})


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return np.ascontiguousarray(table.column(name).to_numpy())


def _described(events: Events, codes: np.ndarray, data_dir: Path) -> tuple[dict[str, pa.Array], dict[str, int]]:
    """The attributes of each origin's entity; and what was refused of them."""
    view = events.view
    table, refused = attributes(view, data_dir)
    keys = ", ".join(f"e{number}" for number in range(len(view.entity)))
    events.connection.register("_described", table.append_column("row", pa.array(np.arange(table.num_rows))))
    joined = events.connection.sql(f"SELECT code, row FROM _asked JOIN _described USING ({keys})").fetchnumpy()
    rows = np.full(int(codes.max(initial=-1)) + 1, -1, dtype=np.int64)
    rows[joined["code"]] = joined["row"]
    declared = view.attributes.columns if view.attributes else {}
    columns: list[tuple[str, Column]] = [
        (name, column(kind, table.column(f"v{number}"))) for number, (name, kind) in enumerate(declared.items())
    ]
    return {name: values.take(rows[codes]).arrow() for name, values in columns}, refused
