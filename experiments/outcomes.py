"""Outcomes from the shell: a file of what came true, kept in the journal as the server would keep it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from experiments.score import predictor
from feature_store import offline
from feature_store.errors import Usage
from feature_store.labels import texts
from feature_store.settings import Settings
from feature_store.task import Task
from serving import outcomes
from serving.journal import Journal
from serving.outcomes import Result
from serving.request import MAX_ROWS


def keep(task: Task, settings: Settings, source: Path, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Keep every outcome of a file (CSV, JSON Lines or Parquet); those that are refused don't touch the others.

    Its columns: `prediction_id`, `value` (or the target's name) and, if you like, `at_utc`; others are not looked at.
    progress: called with rows done and rows in all. The server need not run, and may.
    Gives the task, counts, and of each refused row its number from 0, code and message.
    Raises Usage when a column is missing, JournalFull when nothing more can be kept.
    """
    items = _items(task, offline.read_file(source), source)
    classes = _classes(task, settings)
    journal = Journal(settings.journal_place)
    try:
        results = asyncio.run(_in_parts(journal, task, classes, items, progress))
    finally:
        journal.close()
    refused = [asdict(result) for result in results if result.code is not None]
    return {"task": task.task, "rows": len(results), **outcomes.counts(results), "refusals": refused}


async def _in_parts(
    journal: Journal, task: Task, classes: tuple[str, ...], items: list[Any], progress: Callable[[int, int], None]
) -> list[Result]:
    """As many at once as a request may hold, so that a server beside us waits for no long transaction."""
    out: list[Result] = []
    for start in range(0, len(items), MAX_ROWS):
        part = await outcomes.keep(journal, task, classes, items[start : start + MAX_ROWS])
        out += [replace(result, row=start + result.row) for result in part]
        progress(len(out), len(items))
    return out


def _items(task: Task, table: pa.Table, source: Path) -> list[dict[str, Any]]:
    value = next((name for name in ("value", task.target.name) if name in table.column_names), None)
    if value is None or "prediction_id" not in table.column_names:
        raise Usage(
            f"{source} has the columns {', '.join(table.column_names)}; outcomes need prediction_id, and value or "
            f"{task.target.name}. Rename or add them."
        )
    ids = texts(table.column("prediction_id")).to_pylist()
    column = table.column(value)
    values = map(_number, column.to_pylist()) if task.kind == "regression" else texts(column).to_pylist()
    times = table.column("at_utc").to_pylist() if "at_utc" in table.column_names else [None] * len(ids)
    return [
        {"prediction_id": one, "value": _plain(said), "at_utc": _plain(at)}
        for one, said, at in zip(ids, values, times, strict=True)
    ]


def _number(value: Any) -> Any:
    """One cell that is no number makes a whole CSV column text: the others are numbers all the same."""
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return value if number != number else number


def _plain(value: Any) -> Any:
    """A value of a table as JSON would hold it; unknown is None."""
    if value is None or value != value:
        return None
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime | date) else value


def _classes(task: Task, settings: Settings) -> tuple[str, ...]:
    """The words of a class target: as declared, else as the champion learnt them."""
    if task.kind == "regression":
        return ()
    if task.target.classes is not None:
        return tuple(choice.value for choice in task.target.classes)
    return predictor(task, settings, None).bundle.encoder.classes
