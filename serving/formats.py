"""The three formats of a file of rows: by their media types, by their suffixes, and what opens them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_store.errors import FormatRefused
from feature_store.task import Task
from serving.rowfile import Column, Sink, Source
from serving.textrows import CsvRows, CsvSink, JsonRows, JsonSink


@dataclass(frozen=True)
class Format:
    """One way to write rows into a file."""

    name: str
    media_type: str
    suffixes: tuple[str, ...]
    source: Callable[[Path, Task], Source]
    sink: Callable[[Path, Source, Task, Sequence[Column]], Sink]


def _needs_arrow() -> None:
    """Raises FormatRefused where pyarrow is not installed. A worker asks this and never imports it."""
    if importlib.util.find_spec("pyarrow") is None:
        raise FormatRefused(
            "Parquet needs pyarrow, which is not installed here. Send CSV or JSON Lines, or have it installed: "
            "pip install pyarrow."
        )


def _arrow() -> Any:
    _needs_arrow()
    return importlib.import_module("serving.arrowrows")


FORMATS = (
    Format("csv", "text/csv", (".csv",), CsvRows, CsvSink),
    Format("jsonl", "application/x-ndjson", (".jsonl", ".ndjson", ".json"), JsonRows, JsonSink),
    Format(
        "parquet",
        "application/vnd.apache.parquet",
        (".parquet",),
        lambda path, task: _arrow().file(path, task),
        lambda path, source, task, columns: _arrow().ArrowSink(path, source, task, columns),
    ),
)
BY_NAME = {one.name: one for one in FORMATS}


def of_media_type(header: str) -> Format:
    """The format that a Content-Type names. Raises FormatRefused for any other, and where it is not read here."""
    kind, _, parameters = header.partition(";")
    found = next((one for one in FORMATS if one.media_type == kind.strip().lower()), None)
    if found is None:
        known = ", ".join(one.media_type for one in FORMATS)
        raise FormatRefused(f"The body is not said to be a format that is read here. Send a Content-Type of {known}.")
    charset = parameters.lower().partition("charset=")[2].split(";")[0].strip(' "')
    if charset not in ("", "utf-8", "utf8"):
        raise FormatRefused("The body is not said to be UTF-8. Save the file in UTF-8 and send it so.")
    if found.name == "parquet":
        _needs_arrow()
    return found


def of_suffix(path: Path) -> Format:
    """The format that a file's name says. Raises FormatRefused."""
    found = next((one for one in FORMATS if path.suffix.lower() in one.suffixes), None)
    if found is None:
        known = ", ".join(one.suffixes[0] for one in FORMATS)
        raise FormatRefused(f"{path}: {path.suffix or 'no'} suffix is not read or written. Use {known}.")
    return found
