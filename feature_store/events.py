"""The events of a view, read through DuckDB, judged as `feature_store/event.py` says, each one once."""

# ruff: noqa: S608 (the SQL is a View's own, and names that its types have checked)

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from feature_store import fit_sql
from feature_store.errors import TableUnreadable
from feature_store.event import REASONS
from feature_store.offline import attach, located
from feature_store.view import Rows, View

BUCKETS = 64
"""Events are told apart by a hash of their entity into so many buckets, and as many are in memory as have room."""

KEPT_BYTES = 200
"""Of memory that an event takes while features are worked out, about: 8 columns of 8 bytes, and what is made of them.
An estimate; no benchmark holds it yet."""


LEAST_MB = 100
"""What DuckDB works with at the least."""


@dataclass(frozen=True)
class Events:
    """A connection with the table `_events`; no source has a name that begins with an underscore.

    Columns: e0, e1 … (entity), event, known (microseconds; without a `known_time` no known), i0 … (id), v0 … (values,
    as `view.values`), bucket, reason. Rows of reason NULL count. refused: reason -> rows.
    """

    connection: duckdb.DuckDBPyConnection
    view: View
    refused: dict[str, int]

    def groups(self, memory_mb: int) -> Iterator[tuple[int, int]]:
        """Runs of buckets, first and last, whose events have room together; a bucket is not split."""
        sizes = dict(self.connection.execute("SELECT bucket, count(*) FROM _events GROUP BY bucket").fetchall())
        room, first, held = memory_mb * 1_000_000 // KEPT_BYTES, 0, 0
        for bucket in range(BUCKETS):
            if held and held + sizes.get(bucket, 0) > room:
                yield first, bucket - 1
                first, held = bucket, 0
            held += sizes.get(bucket, 0)
        yield first, BUCKETS - 1


@contextmanager
def loaded(view: View, data_dir: Path, memory_mb: int, now: int | None = None) -> Iterator[Events]:
    """The judged events of a view; beyond `memory_mb` they lie in a folder that goes with the block.

    now: microseconds since 1970, by default the clock's; what happens later than `latest` after it is refused.
    Raises TableMissing, or TableUnreadable where DuckDB refuses or a column can't be what it is declared as.
    """
    now = time.time_ns() // 1000 if now is None else now
    with tempfile.TemporaryDirectory(prefix="gancao-events-") as spill, _connect(spill, memory_mb) as connection:
        names = [*view.entity, *view.id, view.event_time, view.known, *view.values]
        raw = _raw(connection, view.view, view.data, names, data_dir)
        try:
            connection.execute(_judged(view, raw, now))
            _refuse_duplicates(connection, view)
        except duckdb.Error as error:
            raise _unreadable(view.view, error) from None
        yield Events(connection, view, _refused(connection, "_events"))


def attributes(view: View, data_dir: Path) -> tuple[pa.Table, dict[str, int]]:
    """One row an entity: e0, e1 … and v0, v1 … as `view.attributes` has them; and what was refused, reason -> rows.

    Of several rows with one entity the first counts, in the order of their values, NULL last.
    """
    if view.attributes is None:
        raise ValueError(f"{view.view} has no attributes")
    declared = view.attributes
    entity, values = _numbered("e", view.entity), _numbered("v", declared.columns)
    with tempfile.TemporaryDirectory(prefix="gancao-events-") as spill, _connect(spill, 1000) as connection:
        raw = _raw(connection, view.view, declared.data, [*view.entity, *declared.columns], data_dir)
        fitted = [("e", view.kind(name), name) for name in view.entity]
        fitted += [("v", kind, name) for name, kind in declared.columns.items()]
        columns, faults = _fitted(view.view, fitted, raw)
        place = f"row_number() OVER (PARTITION BY {', '.join(entity)} ORDER BY {_in_order(values)})"
        try:
            judged = f"SELECT *, {_reason(faults)} AS reason FROM (SELECT *, {columns} FROM {raw.sql})"
            connection.execute(f"CREATE TEMP TABLE _rows AS {judged}")
            placed = f"SELECT *, {place} AS place FROM _rows WHERE reason IS NULL"
            kept = connection.sql(f"SELECT {', '.join([*entity, *values])} FROM ({placed}) WHERE place = 1")
            table, refused = kept.to_arrow_table(), _refused(connection, "_rows")
        except duckdb.Error as error:
            raise _unreadable(view.view, error) from None
        (sound,) = connection.execute("SELECT count(*) FROM _rows WHERE reason IS NULL").fetchall()[0]
    return table, refused | ({"duplicate": sound - table.num_rows} if sound > table.num_rows else {})


def _connect(spill: str, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """One thread, as in `feature_store/offline.py`: a SELECT of a view gives the same rows each time."""
    limit = f"{max(memory_mb, LEAST_MB)}MB"
    config = {"autoinstall_known_extensions": "false", "memory_limit": limit, "temp_directory": spill, "threads": "1"}
    return duckdb.connect(config=dict(config))


def _refused(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, int]:
    counts = f"SELECT reason, count(*) FROM {table} WHERE reason IS NOT NULL GROUP BY reason ORDER BY reason"
    return dict(connection.execute(counts).fetchall())


@dataclass(frozen=True)
class _Raw:
    """The columns of a SELECT that are needed, under names that are ours: name -> (alias, DuckDB's type)."""

    sql: str
    columns: dict[str, tuple[str, str]]


def _raw(connection: duckdb.DuckDBPyConnection, whose: str, rows: Rows, names: Sequence[str], data_dir: Path) -> _Raw:
    attach(connection, located(rows.sources, data_dir, whose, "Put the file there, or set GANCAO_DATA."))
    try:
        relation = connection.sql(rows.sql)
        types = {name.lower(): str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
    except (duckdb.Error, AttributeError) as error:
        raise _unreadable(whose, error) from None
    if missing := [name for name in dict.fromkeys(names) if name not in types]:
        there = ", ".join(types)
        raise TableUnreadable(f"data.sql of {whose} gives no column {', '.join(missing)}.\nThere are: {there}.")
    columns = {name: (f"r{number}", types[name]) for number, name in enumerate(dict.fromkeys(names))}
    chosen = ", ".join(f'"{name}" AS {alias}' for name, (alias, _) in columns.items())
    return _Raw(f"(SELECT {chosen} FROM (\n{rows.sql.strip().rstrip(';')}\n))", columns)


def _unreadable(whose: str, error: Exception) -> TableUnreadable:
    first = str(error).split("\n")[0]
    return TableUnreadable(f"DuckDB could not run data.sql of {whose}: {first}\nMend the SQL in the View.")


def _judged(view: View, raw: _Raw, now: int) -> str:
    """CREATE TABLE _events."""
    keys = [("e", view.kind(name), name) for name in view.entity] + [("i", view.kind(name), name) for name in view.id]
    columns, faults = _fitted(view.view, keys, raw)
    late = view.known != view.event_time
    for alias, name in [("event", view.event_time)] + [("known", view.known)] * late:
        column, source = raw.columns[name]
        if (found := fit_sql.instant(column, source)) is None:
            raise _unfit(view.view, name, source, "a time", "TIMESTAMP")
        columns += f", {found} AS {alias}"
        faults += [(f"{column} IS NULL", "null_time"), (f"{alias} IS NULL", "unreadable_time")]
    faults.append((f"event > least({'known' if late else 'event'}, {now}) + {view.latest_us}", "far_future"))
    values, more = _fitted(view.view, [("v", view.kind(name), name) for name in view.values], raw)
    entity, ids = _numbered("e", view.entity), _numbered("i", view.id)
    kept = [*entity, *ids, "event", *["known"] * late, *_numbered("v", view.values)]
    kept += [
        f"CAST(hash({', '.join(entity)}) % {BUCKETS} AS UTINYINT) AS bucket",
        f"{_reason(faults + more)} AS reason",
    ]
    fitted = ", ".join(["*", columns, *[values] * bool(values)])
    return f"CREATE TEMP TABLE _events AS SELECT {', '.join(kept)} FROM (SELECT {fitted} FROM {raw.sql})"


Fault = tuple[str, str]
"""What is true of a row that is refused, and the reason."""


def _fitted(whose: str, wanted: Sequence[tuple[str, str, str]], raw: _Raw) -> tuple[str, list[Fault]]:
    """The kept values of (letter, kind, name), called by letter and number, and their faults in order."""
    columns: list[str] = []
    faults: list[Fault] = []
    numbers = dict.fromkeys("eiv", 0)
    for letter, kind, name in wanted:
        alias, (column, source) = f"{letter}{numbers[letter]}", raw.columns[name]
        numbers[letter] += 1
        if (found := fit_sql.value(kind, column, source)) is None:
            raise _unfit(whose, name, source, kind, "VARCHAR" if kind == "text" else "DOUBLE")
        columns.append(f"{found} AS {alias}")
        empty = fit_sql.absent(column, source)
        if letter in "ei":
            faults.append((empty, "null_key"))
        faults.append((f"{alias} IS NULL AND NOT {empty}", "wrong_type"))
    return ", ".join(columns), faults


def _unfit(whose: str, name: str, source: str, kind: str, other: str) -> TableUnreadable:
    remedy = f"CAST it in the SQL of the View (to {other}, say), or declare what it is."
    return TableUnreadable(f"{whose}: column {name} is {source}, of which nothing is {kind}.\n{remedy}")


def _reason(faults: list[Fault]) -> str:
    """As ENUM, of which a row takes a byte."""
    reasons = ", ".join(f"'{reason}'" for reason in REASONS)
    cases = " ".join(f"WHEN {true} THEN '{reason}'" for true, reason in faults)
    return f"CAST(CASE {cases} END AS ENUM({reasons}))"


def _numbered(letter: str, names: Sequence[str] | dict[str, str]) -> list[str]:
    return [f"{letter}{number}" for number in range(len(names))]


def _in_order(values: Sequence[str]) -> str:
    return ", ".join(f"{name} NULLS LAST" for name in values)


def _refuse_duplicates(connection: duckdb.DuckDBPyConnection, view: View) -> None:
    """Of the events with one id the one of least precedence stays. Only ids whose hash stands twice are looked at."""
    key = ", ".join([*_numbered("e", view.entity), *_numbered("i", view.id)])
    twice = f"SELECT hash({key}) FROM _events WHERE reason IS NULL GROUP BY 1 HAVING count(*) > 1"
    connection.execute(f"CREATE TEMP TABLE _twice AS {twice}")
    if not connection.execute("SELECT count(*) FROM _twice").fetchall()[0][0]:
        return
    order = _in_order([*["known"] * (view.known != view.event_time), "event", *_numbered("v", view.values)])
    place = f"row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS place"
    seen = f"SELECT rowid AS row, {place} FROM _events WHERE reason IS NULL AND hash({key}) IN (FROM _twice)"
    later = f"SELECT row FROM ({seen}) WHERE place > 1"
    connection.execute(f"UPDATE _events SET reason = 'duplicate' WHERE rowid IN ({later})")
