"""The offline store: a Task's table, read through DuckDB and typed as its fields say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_store.errors import TableMissing, TableUnreadable
from feature_store.field import AnyField
from feature_store.labels import texts
from feature_store.task import Task

SYNTHETIC_KEY = b"gancao.synthetic"
"""Parquet metadata key that marks a stand-in made by `gancao sample`."""

_READERS = {".parquet": "read_parquet", ".csv": "read_csv", ".jsonl": "read_json_auto", ".json": "read_json_auto"}


@dataclass(frozen=True)
class Source:
    """A Task's raw table. digest: SHA-256 over its SQL and its values; synthetic: any source is a stand-in."""

    table: pa.Table
    digest: str
    synthetic: bool

    def emptied(self) -> Source:
        """The same without its rows, which take memory."""
        return replace(self, table=self.table.schema.empty_table())


def fetch(task: Task, data_dir: Path) -> Source:
    """Run the Task's SQL over its sources below `data_dir`.

    Raises TableMissing when a file is absent and TableUnreadable when DuckDB refuses.
    """
    stand_in = f"or make a synthetic stand-in: gancao sample {task.task}"
    paths = located(task.data.sources, data_dir, task.task, f"Put the file there (or set GANCAO_DATA), {stand_in}")
    # One thread: with several, GROUP BY and JOIN give the same rows in another order each time, and then the digest,
    # the split and with them the whole training would not be the same again.
    with duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": 1}) as connection:
        try:
            attach(connection, paths)
            table = connection.sql(task.data.sql).to_arrow_table()
        except (duckdb.Error, AttributeError) as error:
            first = str(error).split("\n")[0]
            raise TableUnreadable(
                f"DuckDB could not run data.sql of {task.task}: {first}\n"
                f"Sources: {', '.join(f'{n} = {p}' for n, p in paths.items())}. Mend the SQL in the Task."
            ) from None
    return Source(table, _digest(task, table), any(_is_synthetic(path) for path in paths.values()))


def read_file(path: Path) -> pa.Table:
    """A CSV, JSON Lines or Parquet file as it stands. Raises TableMissing or TableUnreadable."""
    if not path.is_file():
        raise TableMissing(f"There is no file {path}. Check the path.")
    if path.suffix not in _READERS:
        raise TableUnreadable(f"{path}: {path.suffix or 'no'} suffix is not read. Use {', '.join(_READERS)}.")
    with duckdb.connect(config={"threads": 1}) as connection:
        try:
            return connection.execute(f"SELECT * FROM {_READERS[path.suffix]}(?)", [str(path)]).to_arrow_table()  # noqa: S608
        except duckdb.Error as error:
            first = str(error).split("\n")[0]
            raise TableUnreadable(f"{path} could not be read: {first}\nMend it there.") from None


def query(sql: str, views: Mapping[str, pa.Table], what: str) -> pa.Table:
    """What a SELECT over these tables gives; it sees nothing else, no file and no network.

    what: whose SQL it is, for the error. Raises TableUnreadable when DuckDB refuses.
    """
    with duckdb.connect(config={"enable_external_access": "false", "threads": 1}) as connection:
        try:
            for name, table in views.items():
                connection.register(name, table)
            return connection.sql(sql).to_arrow_table().combine_chunks()
        except (duckdb.Error, AttributeError) as error:
            first = str(error).split("\n")[0]
            there = "; ".join(f"{name} ({', '.join(table.column_names)})" for name, table in views.items())
            raise TableUnreadable(f"DuckDB could not run the SQL of {what}: {first}\nThere are {there}.") from None


def located(sources: Mapping[str, str], data_dir: Path, whose: str, remedy: str) -> dict[str, Path]:
    """Name -> path of the sources of a Task or View. Raises TableMissing, with the remedy, or TableUnreadable."""
    paths = {name: data_dir / relative for name, relative in sources.items()}
    for name, path in paths.items():
        if path.suffix not in _READERS:
            suffix = path.suffix or "no"
            raise TableUnreadable(f"{sources[name]}: {suffix} suffix is not read. Use {', '.join(_READERS)}.")
        if not path.is_file():
            raise TableMissing(f"{whose} needs {sources[name]}, which is not under {data_dir}.\n{remedy}")
    return paths


def attach(connection: duckdb.DuckDBPyConnection, paths: Mapping[str, Path]) -> None:
    """Make each file a view of its name."""
    for name, path in paths.items():
        literal = str(path).replace("'", "''")
        view = f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM {_READERS[path.suffix]}('{literal}')"  # noqa: S608
        connection.execute(view)


def _is_synthetic(path: Path) -> bool:
    return path.suffix == ".parquet" and SYNTHETIC_KEY in (pq.read_metadata(path).metadata or {})


def _digest(task: Task, table: pa.Table) -> str:
    """SHA-256 of the SQL and of every value in order; the same table gives the same digest on any machine."""
    total = hashlib.sha256(task.data.sql.encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        array = column.combine_chunks()
        total.update(f"{name}:{array.type}".encode())
        total.update(array.is_valid().to_numpy(zero_copy_only=False).tobytes())
        if pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
            total.update(array.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy(zero_copy_only=False).tobytes())
        else:
            for value in array.to_pylist():
                total.update(f"{value!r}\0".encode())
    return total.hexdigest()


def columns(task: Task, table: pa.Table) -> dict[str, np.ndarray]:
    """The fields as the encoder takes them, in the Task's order, each of shape (n,).

    number: float64, NaN unknown. flag: 0.0, 1.0 or NaN. date: days since 1970-01-01 or NaN.
    category: object array of str or None. `gancao check` says beforehand what can't be converted.
    """
    return {field.name: values(field, table) for field in task.fields}


def values(field: AnyField, table: pa.Table) -> np.ndarray:
    """(n,) one field of `columns`."""
    column = table.column(field.name)
    if field.type == "category":
        return np.asarray(column.cast(pa.string()).to_pylist(), dtype=object)
    if field.type == "date":
        return _floats(pc.cast(column.cast(pa.date32()), pa.int32()))
    return _floats(column)


def target(task: Task, table: pa.Table) -> np.ndarray:
    """The target, float64 of shape (n,); NaN where it is unknown.

    regression: in its unit. Classes: the place of each row's class in `classes(task, table)`; a word that is not
    among them counts as unknown (`gancao check` tells).
    """
    column = table.column(task.target.name)
    if task.kind == "regression":
        return _floats(column)
    places = pc.index_in(texts(column), value_set=pa.array(classes(task, table), pa.large_string()))
    return _floats(places)


def classes(task: Task, table: pa.Table) -> list[str]:
    """The words of a class target, the positive one last; empty for regression.

    As they are declared; else as they are learnt, whole numbers by size and then words.
    """
    if task.kind == "regression":
        return []
    if task.target.classes is not None:
        words = [choice.value for choice in task.target.classes]
    else:
        words = sorted(pc.unique(texts(table.column(task.target.name))).drop_null().to_pylist(), key=_in_order)
    if task.kind == "binary":
        words = [word for word in words if word != task.target.positive] + [task.target.positive or ""]
    return words


def _in_order(word: str) -> tuple[bool, int, str]:
    number = word.removeprefix("-").isdecimal() and len(word) < 20
    return not number, int(word) if number else 0, word


def weight(task: Task, table: pa.Table) -> np.ndarray | None:
    """How much each row counts, (n,) float64, or None where the Task names no weight."""
    return _floats(table.column(task.data.weight)) if task.data.weight else None


def split_by(task: Task, table: pa.Table) -> np.ndarray | None:
    """What rows are split by, (n,), or None for a random split.

    grouped: object array of each group's text, None unknown. time: float64, NaN unknown: days since 1970-01-01 of a
    date or timestamp (a zone's instants in UTC), a number as it is.
    """
    if task.split.by is None:
        return None
    column = table.column(task.split.by)
    if task.split.kind == "grouped":
        texts = [None if value is None or value != value else str(value) for value in column.to_pylist()]
        return np.asarray(texts, dtype=object)
    if pa.types.is_timestamp(column.type):
        return _floats(pc.cast(column.cast(pa.timestamp("us", column.type.tz), safe=False), pa.int64())) / 86_400e6
    if pa.types.is_date(column.type):
        return _floats(pc.cast(column.cast(pa.date32()), pa.int32()))
    return _floats(column)


def _floats(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    if pa.types.is_decimal(column.type):  # through text: a decimal 198.1 must become the float 198.1
        column = column.cast(pa.string())
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(values, dtype=np.float64)
