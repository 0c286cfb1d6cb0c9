"""The offline store: a Task's table, read through DuckDB and typed as its fields say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_store.errors import TableMissing, TableUnreadable
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


def fetch(task: Task, data_dir: Path) -> Source:
    """Run the Task's SQL over its sources below `data_dir`.

    Raises TableMissing when a file is absent and TableUnreadable when DuckDB refuses.
    """
    paths = {name: _locate(task, data_dir, relative) for name, relative in task.data.sources.items()}
    # One thread: with several, GROUP BY and JOIN give the same rows in another order each time, and then the digest,
    # the split and with them the whole training would not be the same again.
    with duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": 1}) as connection:
        try:
            for name, path in paths.items():
                literal = str(path).replace("'", "''")
                view = f"CREATE VIEW {name} AS SELECT * FROM {_READERS[path.suffix]}('{literal}')"  # noqa: S608
                connection.execute(view)
            table = connection.sql(task.data.sql).to_arrow_table().combine_chunks()
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


_WRITERS = {".parquet": "FORMAT parquet", ".csv": "FORMAT csv, HEADER", ".jsonl": "FORMAT json", ".json": "FORMAT json"}


def writer(path: Path) -> Callable[[pa.Table], None]:
    """Writes a table to `path` in the format of its suffix, whole or not at all. Raises TableUnreadable at once."""
    if path.suffix not in _WRITERS:
        raise TableUnreadable(f"{path}: {path.suffix or 'no'} suffix is not written. Use {', '.join(_WRITERS)}.")
    if not path.parent.is_dir():
        raise TableMissing(f"There is no folder {path.parent}. Make it first.")

    def write(table: pa.Table) -> None:
        part = path.with_name(f".{path.name}.part")
        literal = str(part).replace("'", "''")
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.register("answered", table)
            connection.execute(f"COPY answered TO '{literal}' ({_WRITERS[path.suffix]})")
        part.replace(path)

    return write


def _locate(task: Task, data_dir: Path, relative: str) -> Path:
    path = data_dir / relative
    if path.suffix not in _READERS:
        raise TableUnreadable(f"{relative}: {path.suffix or 'no'} suffix is not read. Use {', '.join(_READERS)}.")
    if not path.is_file():
        raise TableMissing(
            f"{task.task} needs {relative}, which is not under {data_dir}.\n"
            f"Put the file there (or set GANCAO_DATA), or make a synthetic stand-in: gancao sample {task.task}"
        )
    return path


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
    out: dict[str, np.ndarray] = {}
    for field in task.fields:
        column = table.column(field.name)
        if field.type == "category":
            out[field.name] = np.asarray(column.cast(pa.string()).to_pylist(), dtype=object)
        elif field.type == "date":
            out[field.name] = _floats(pc.cast(column.cast(pa.date32()), pa.int32()))
        else:
            out[field.name] = _floats(column)
    return out


def target(task: Task, table: pa.Table) -> np.ndarray:
    """The target, float64 of shape (n,), in its unit; NaN where it is unknown."""
    return _floats(table.column(task.target.name))


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_decimal(column.type):  # through text: a decimal 198.1 must become the float 198.1
        column = column.cast(pa.string())
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(values, dtype=np.float64)
