"""Parquet, read and written a batch at a time by pyarrow, which the base install lacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.errors import TableUnreadable
from feature_store.field import AnyField
from feature_store.task import Task
from serving.rowfile import CHUNK, Chunk, Column, Source, plain, values
from serving.textrows import as_text

_KINDS: dict[type, Any] = {float: pa.float64(), str: pa.string(), bool: pa.bool_()}
_GROUP = 25
"""Chunks that make a row group of what is written."""

_UNREADABLE = "The file can't be read as Parquet: it is cut short, damaged or another format. Write it again."


class ArrowRows:
    """A Parquet file, or a table in memory. Rows keep Arrow's types in their batch."""

    def __init__(self, schema: pa.Schema, total: int, batches: Callable[[Sequence[str] | None], Iterator[Any]]) -> None:
        """batches: record batches of up to CHUNK rows, of these columns or of all."""
        self.schema, self.total, self._batches = schema, total, batches
        self.names: list[str] = list(schema.names)
        if twice := {name for name in self.names if self.names.count(name) > 1}:
            raise TableUnreadable(f"The file has {len(twice)} columns whose name stands twice. Rename them.")

    def chunks(self, start: int, names: Sequence[str] | None = None) -> Iterator[Chunk]:
        done = 0
        try:
            for batch in self._batches(names):
                if (skipped := max(start - done, 0)) < batch.num_rows:
                    kept = batch.slice(skipped)
                    yield Chunk(kept.to_pylist() if names is not None else _Rows(kept), kept)
                done += batch.num_rows
        except (pa.ArrowException, OSError, ValueError):
            raise TableUnreadable(_UNREADABLE) from None

    def plain(self, field: AnyField, value: Any) -> Any:
        return plain(field, value)


class _Rows(Sequence[dict[str, Any]]):
    """A batch's rows as Python holds them, made when they are looked at: to Parquet they go as a batch."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def __getitem__(self, place: Any) -> Any:
        return self._batch.slice(place, 1).to_pylist()[0]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._batch.to_pylist())


def file(path: Path, task: Task) -> ArrowRows:
    """A Parquet file. Raises TableUnreadable when its footer is not whole; damage further up shows while it is read."""
    try:
        # Buffered: else a whole column of a row group is read at once.
        opened = pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError):
        raise TableUnreadable(_UNREADABLE) from None

    def batches(names: Sequence[str] | None) -> Iterator[Any]:
        columns = None if names is None else list(names)
        return iter(opened.iter_batches(batch_size=CHUNK, columns=columns, use_threads=False))

    return ArrowRows(opened.schema_arrow, opened.metadata.num_rows, batches)


def table(whole: pa.Table) -> ArrowRows:
    """A table in memory."""

    def batches(names: Sequence[str] | None) -> Iterator[Any]:
        part = whole if names is None else whole.select(list(names))
        return iter(part.combine_chunks().to_batches(max_chunksize=CHUNK))

    return ArrowRows(whole.schema, whole.num_rows, batches)


class ArrowSink:
    """Rows as Parquet: Arrow's own columns as they are; of a text file as its values allow."""

    def __init__(self, path: Path, source: Source, task: Task, columns: Sequence[Column]) -> None:
        self._source, self._task, self._columns = source, task, columns
        self._own = source.schema if isinstance(source, ArrowRows) else _inferred(source, task)
        added = [pa.field(column.name, _KINDS[column.kind]) for column in columns]
        self._schema = pa.schema([*self._own, *added], metadata=self._own.metadata)
        self._path = path
        self._writer = pq.ParquetWriter(path, self._schema)
        self._waiting: list[Any] = []

    def write(self, chunk: Chunk, answers: Sequence[Sequence[Any]]) -> None:
        batch = self._typed(chunk) if chunk.batch is None else chunk.batch
        added = [
            pa.array([answer[place] for answer in answers], _KINDS[column.kind])
            for place, column in enumerate(self._columns)
        ]
        self._waiting.append(pa.record_batch([*batch.columns, *added], schema=self._schema))
        if len(self._waiting) == _GROUP:
            self._write()

    def close(self) -> None:
        self._write()
        self._writer.close()
        with self._path.open("rb+") as written:
            os.fsync(written.fileno())

    def _write(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting = []

    def _typed(self, chunk: Chunk) -> Any:
        rows = [values(self._task, self._source, row) for row in chunk.rows]
        columns = []
        for field in self._own:
            cells = [row.get(field.name) for row in rows]
            text = pa.types.is_string(field.type)
            columns.append(pa.array([as_text(cell) for cell in cells] if text else cells, field.type))
        return pa.record_batch(columns, schema=self._own)


def _inferred(source: Source, task: Task) -> pa.Schema:
    """What a text file's columns hold: flags, whole numbers, numbers; text where anything else is among them."""
    kinds: dict[str, set[type]] = {name: set() for name in source.names}
    for chunk in source.chunks(0):
        for row in chunk.rows:
            for name, value in values(task, source, row).items():
                large = isinstance(value, int) and abs(value) >= 2**63
                kinds[name].add(str if large else type(value))
    return pa.schema([(name, _arrow(found - {type(None)})) for name, found in kinds.items()])


def _arrow(found: set[type]) -> Any:
    if found == {bool}:
        return pa.bool_()
    if found == {int}:
        return pa.int64()
    return pa.float64() if found and found <= {int, float} else pa.string()
