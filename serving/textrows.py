"""CSV and JSON Lines, read and written a row at a time by the standard library."""

from __future__ import annotations

import codecs
import csv
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO

from feature_store.errors import BodyRefused, TableUnreadable
from feature_store.field import AnyField
from feature_store.task import Task
from serving import request
from serving.rowfile import CHUNK, MOST_RECORD_BYTES, Chunk, Column, Source, plain, values

DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,15}", re.ASCII)
_FLAGS = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}


class CsvRows:
    """A CSV file in UTF-8, its first row the header. Every value is kept as it is written.

    The delimiter is the one of `,`, `;`, tab and `|` that cuts the header into most fields of the Task.
    """

    def __init__(self, path: Path, task: Task) -> None:
        """Looks through the file once. Raises TableUnreadable naming the first row that can't be read."""
        self._path = path
        with path.open("rb") as file:
            head = file.readline(MOST_RECORD_BYTES)
        self.bom = head.startswith(codecs.BOM_UTF8)
        self.line_end = "\r\n" if head.endswith(b"\r\n") else "\n"
        self.delimiter = _delimiter(head.decode("utf-8-sig", "replace"), task)
        records = self._records()
        self.names = next(records, [])
        if not self.names:
            raise TableUnreadable("The file has no header row. Put the columns' names into its first row.")
        if twice := [place for place, name in enumerate(self.names, 1) if name in self.names[: place - 1]]:
            raise TableUnreadable(f"Column {twice[0]} has the name of one before it. Rename or remove one of them.")
        self.total = sum(1 for _ in records)

    def chunks(self, start: int, names: Sequence[str] | None = None) -> Iterator[Chunk]:
        records = islice(self._records(), 1 + start, None)
        while cells := list(islice(records, CHUNK)):
            yield Chunk([dict(zip(self.names, one, strict=True)) for one in cells])

    def plain(self, field: AnyField, value: Any) -> Any:
        return from_text(field, value)

    def _records(self) -> Iterator[list[str]]:
        """The header and the rows; a line without anything is none."""
        with self._path.open("rb") as file:
            lines, number, width = _Lines(file), -1, 0
            reader = csv.reader(map(bytes.decode, lines), delimiter=self.delimiter, strict=True)
            try:
                for cells in reader:
                    lines.record_ended()
                    if not cells:
                        continue
                    if number >= 0 and len(cells) != width:
                        raise TableUnreadable(
                            f"Row {number} has {len(cells)} cells where the header has {width}. Mend it, or put cells "
                            "that hold the delimiter into quotes."
                        )
                    number, width = number + 1, width or len(cells)
                    yield cells
            except csv.Error as error:
                raise TableUnreadable(f"{_row(number)} is not CSV ({error}). Mend it there.") from None
            except UnicodeDecodeError:
                raise TableUnreadable(f"{_row(number)} is not UTF-8. Save the file as CSV in UTF-8.") from None
            except _TooLong:
                raise TableUnreadable(
                    f"{_row(number)} is longer than {MOST_RECORD_BYTES} bytes. Is a quote open, or a line end missing?"
                ) from None


class JsonRows:
    """A JSON Lines file in UTF-8: an object a line. names: every key, in the order of their first appearance."""

    def __init__(self, path: Path, task: Task) -> None:
        """Looks through the file once. Raises TableUnreadable naming the first row that can't be read."""
        self._path = path
        names: dict[str, None] = {}
        self.total = 0
        for row in self._records():
            self.total += 1
            if len(row) != len(names) or row.keys() != names.keys():
                names.update(dict.fromkeys(row))
        self.names = list(names)

    def chunks(self, start: int, names: Sequence[str] | None = None) -> Iterator[Chunk]:
        records = islice(self._records(), start, None)
        while rows := list(islice(records, CHUNK)):
            yield Chunk(rows)

    def plain(self, field: AnyField, value: Any) -> Any:
        return plain(field, value)

    def _records(self) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as file:
            number, lines = 0, _Lines(file)
            try:
                for line in lines:
                    lines.record_ended()
                    if line.isspace():
                        continue
                    row = request.decode(line)
                    if not isinstance(row, dict):
                        raise BodyRefused("it is not an object. Write {field: value, ...} on one line.")
                    number += 1
                    yield row
            except BodyRefused as error:
                raise TableUnreadable(f"Row {number} can't be read as JSON Lines: {error}") from None
            except _TooLong:
                raise TableUnreadable(
                    f"Row {number} is longer than {MOST_RECORD_BYTES} bytes. Write each object on a line of its own."
                ) from None


class CsvSink:
    """Rows as CSV: a CSV's own cells, delimiter, line ends and byte order mark; else as Python and JSON write them."""

    def __init__(self, path: Path, source: Source, task: Task, columns: Sequence[Column]) -> None:
        self._source = source
        same = source if isinstance(source, CsvRows) else None
        self._file = path.open("w", encoding="utf-8-sig" if same and same.bom else "utf-8", newline="")
        delimiter, end = (same.delimiter, same.line_end) if same else (",", "\n")
        self._writer = csv.writer(self._file, delimiter=delimiter, lineterminator=end)
        self._writer.writerow([*source.names, *(column.name for column in columns)])

    def write(self, chunk: Chunk, answers: Sequence[Sequence[Any]]) -> None:
        names = self._source.names
        for row, answer in zip(chunk.rows, answers, strict=True):
            self._writer.writerow([as_text(value) for value in (*(row.get(name) for name in names), *answer)])

    def close(self) -> None:
        _close(self._file)


class JsonSink:
    """Rows as JSON Lines, a CSV's cells as their fields say."""

    def __init__(self, path: Path, source: Source, task: Task, columns: Sequence[Column]) -> None:
        self._source, self._task = source, task
        self._names = [column.name for column in columns]
        self._file = path.open("w", encoding="utf-8", newline="")

    def write(self, chunk: Chunk, answers: Sequence[Sequence[Any]]) -> None:
        as_is = isinstance(self._source, JsonRows)
        for row, answer in zip(chunk.rows, answers, strict=True):
            own = row if as_is else {k: _known(v) for k, v in values(self._task, self._source, row).items()}
            line = {**own, **dict(zip(self._names, answer, strict=True))}
            self._file.write(_json(line) + "\n")

    def close(self) -> None:
        _close(self._file)


def from_text(field: AnyField, text: str | None) -> Any:
    """A cell as JSON would hold it: nothing is None, a number and a flag by their looks, a time's day.

    What does not look like its field comes back as it is, to be refused.
    """
    if text is None or not (stripped := text.strip()):
        return None
    if field.type == "number":
        if _WHOLE.fullmatch(stripped):
            return int(stripped)
        if stripped.lower() == "nan":
            return None
        return float(stripped) if _NUMBER.fullmatch(stripped) else text
    if field.type == "flag":
        return _FLAGS.get(stripped.lower(), text)
    if field.type == "date" and stripped[10:11] in ("T", " "):
        return stripped[:10]
    return stripped if field.type == "date" else text


def as_text(value: Any) -> str | None:
    """A value as text: words as they are, None and NaN as None, the rest as JSON writes it."""
    known = value if isinstance(value, str) else _known(value)
    return known if known is None or isinstance(known, str) else _json(known)


class _TooLong(Exception):
    """A record beyond MOST_RECORD_BYTES."""


class _Lines:
    """The lines of a file as bytes, the byte order mark left out, each record bounded."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._first, self._size = file, True, 0

    def record_ended(self) -> None:
        self._size = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> bytes:
        line = self._file.readline(MOST_RECORD_BYTES)
        if not line:
            raise StopIteration
        self._size += len(line)
        if self._size >= MOST_RECORD_BYTES:
            raise _TooLong
        if self._first:
            self._first, line = False, line.removeprefix(codecs.BOM_UTF8)
        return line


def _row(number: int) -> str:
    return "The header" if number < 0 else f"Row {number}"


def _delimiter(head: str, task: Task) -> str:
    def fields(delimiter: str) -> int:
        cells = head.rstrip("\r\n").split(delimiter)
        return sum(cell.strip().strip('"') in task.by_name for cell in cells)

    return max(DELIMITERS, key=fields)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _known(value: Any) -> Any:
    """A value with a type as JSON may hold it, for what no field speaks of: NaN is None, other kinds are text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if value != value else str(value)
    if isinstance(value, Mapping):
        return {str(name): _known(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_known(one) for one in value]
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _close(file: IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
