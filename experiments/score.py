"""Scoring from the shell: a file of fields in, the same rows and columns out with their answers appended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_store import offline
from feature_store.decision import Shortlist
from feature_store.errors import RowsRefused, UnknownVersion, Usage
from feature_store.settings import Settings
from feature_store.task import Task
from serving import decisions
from serving.predictor import Predictor
from serving.pyfunc import flatten
from serving.request import check
from training import rivals
from training.track import open_registry

CHUNK = 5000
"""Rows that are answered between two reports of progress."""


def score(
    task: Task, settings: Settings, source: str, out: Path, version: str | None, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Answer every row of `source` (CSV, JSON Lines, Parquet, or the word `task`: the Task's own table) into `out`.

    Columns that are no field are kept and not looked at. A shortlist is made of the whole file.
    progress: called with rows done and rows in all.
    Raises RowsRefused with row numbers when a value breaks the Task's limits; nothing is written then.
    """
    writer = offline.writer(out)
    answering = predictor(task, settings, version)
    table = offline.fetch(task, settings.data).table if source == "task" else offline.read_file(Path(source))
    names = [field.name for field in answering.task.fields if field.name in table.column_names]
    if missing := [f.name for f in answering.task.fields if f.required and f.name not in names]:
        raise Usage(f"{source} has no column {', '.join(missing)}, which {task.task} requires. Add it.")
    columns: dict[str, list[Any]] = {}
    costs: list[float] = []
    shortlist = answering.task.answers.decision
    for start, rows in _chunks(answering.task, table.select(names)):
        if errors := check(answering.task, rows):
            raise RowsRefused([type(e)(e.row + start, e.field, e.code, e.message) for e in errors])
        for answer in answering.answer(rows):
            for name, value in flatten(answer).items():
                columns.setdefault(name, []).append(value)
        if isinstance(shortlist, Shortlist):
            costs += [decisions.cost(shortlist, row) for row in rows]
        progress(start + len(rows), table.num_rows)
    if isinstance(shortlist, Shortlist) and columns:  # the file is one request, not one a chunk
        places = decisions.choose(columns["decision_expected"], costs, shortlist)
        columns["decision_rank"], columns["decision_chosen"] = map(list, zip(*places, strict=True))
    for name, values in columns.items():
        table = table.append_column(name if name not in table.column_names else f"{name}_answer", pa.array(values))
    writer(table)
    return {"task": task.task, "version": answering.version, "rows": table.num_rows, "out": str(out)}


def predictor(task: Task, settings: Settings, version: str | None) -> Predictor:
    """The predictor of a version, by default the champion. Raises UnknownVersion."""
    registry = open_registry(settings)
    chosen = version or registry.champion(task.task)
    if chosen is None:
        raise UnknownVersion(
            f"{task.task} has no champion. Promote a version (gancao promote {task.task}) or name one."
        )
    return rivals.fetch(registry, task.task, chosen)


def _chunks(task: Task, table: pa.Table) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Rows as an application would send them, with the place of the first of each chunk."""
    for start in range(0, table.num_rows, CHUNK):
        rows = table.slice(start, CHUNK).to_pylist()
        yield start, [{name: _plain(task, name, value) for name, value in row.items()} for row in rows]


def _plain(task: Task, name: str, value: Any) -> Any:
    """A value of a table as JSON would hold it: unknown is None, a flag may be 0 or 1."""
    if value is None or value != value:
        return None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if task.by_name[name].type == "flag" and not isinstance(value, bool) and value in (0, 1):
        return bool(value)
    return value
