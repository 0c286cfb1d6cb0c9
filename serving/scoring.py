"""A file of rows answered: chunk by chunk into a durable file of answers, then beside the rows into the result.

Killed at any moment it goes on after the last chunk that was kept, and the result has the same bytes: a row's answer
does not depend on the rows beside it, and what does (a shortlist) is made when all are there.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from feature_store.decision import Shortlist
from feature_store.errors import RowError, TooLarge, Usage
from serving import cache, decisions, pyfunc
from serving.formats import Format
from serving.predictor import Predictor
from serving.request import MAX_ERRORS, check
from serving.rowfile import Chunk, Column, Source, named

MOST_RANKED = 1_000_000
"""Rows of a file of which a shortlist is made: they are ranked in memory."""

ERROR = "error"
"""The last column: `field:code` of what was refused, comma-separated; nothing where the row was answered."""


@dataclass(frozen=True)
class Progress:
    """How far a file is. done: rows that were answered or refused, of total; errors: the first MAX_ERRORS.

    kept_bytes: of the file of answers.
    """

    total: int
    done: int = 0
    refused: int = 0
    errors: tuple[RowError, ...] = ()
    kept_bytes: int = 0


Told = Callable[[Progress], None]
"""Called after every chunk that was kept, and every one that was written; may raise to stop."""


def score(predictor: Predictor, source: Source, out: Path, form: Format, folder: Path, told: Told) -> Progress:
    """Answer every row of `source` into `out`, which appears whole or not at all. Answers are at the promised level.

    A row that breaks the Task's limits gets no answer, and its fields and codes in the column `error`; the others are
    answered. Columns that are no field are kept and not looked at. A shortlist is made of the whole file.
    folder: where it works, on the same disk as `out`; what an earlier call has kept there is gone on from.
    Raises Usage when a required column is missing, TableUnreadable, TooLarge.
    """
    task = predictor.task
    missing = [field.name for field in task.fields if field.required and field.name not in source.names]
    if missing and (source.total or source.names):
        raise Usage(f"The file has no column {', '.join(missing)}, which {task.task} requires. Add it.")
    if isinstance(task.answers.decision, Shortlist) and source.total > MOST_RANKED:
        raise TooLarge(f"The file has {source.total} rows; a shortlist is made of {MOST_RANKED} at most. Cut it.")
    progress = _answer(predictor, source, folder, told)
    _write(predictor, source, out, form, folder, lambda: told(progress))
    return progress


def columns(predictor: Predictor) -> list[Column]:
    """What is appended: the columns of `pyfunc.flatten`, and `error`."""
    listed = pyfunc.columns(predictor.task, predictor.bundle.encoder.classes)
    return [*(Column(name, kind) for name, kind in listed), Column(ERROR, str)]


def _answer(predictor: Predictor, source: Source, folder: Path, told: Told) -> Progress:
    """Keep an answer of each row: a JSON line a row, a list of values, or the text of its `error`."""
    folder.mkdir(exist_ok=True)
    progress = _kept(folder, source.total)
    names = [field.name for field in predictor.task.fields if field.name in source.names]
    with (folder / "answers").open("ab") as file:
        file.truncate(progress.kept_bytes)
        for chunk in source.chunks(progress.done, names):
            lines, errors = _answered(predictor, source, names, chunk, progress.done)
            progress = Progress(
                source.total,
                progress.done + len(lines),
                progress.refused + len({error.row for error in errors}),
                (*progress.errors, *errors)[:MAX_ERRORS],
                progress.kept_bytes + sum(map(len, lines)),
            )
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
            cache.write_atomically(folder / "kept.json", msgspec.to_builtins(progress))
            told(progress)
    return progress


def _kept(folder: Path, total: int) -> Progress:
    """Where an earlier call had come to."""
    found = cache.read(folder / "kept.json")
    return replace(msgspec.convert(found, Progress), total=total) if found else Progress(total)


def _answered(
    predictor: Predictor, source: Source, names: Sequence[str], chunk: Chunk, start: int
) -> tuple[list[bytes], list[RowError]]:
    """The lines to keep of a chunk, and what was refused; start: the place of its first row."""
    fields = [predictor.task.by_name[name] for name in names]
    rows = [{field.name: source.plain(field, row.get(field.name)) for field in fields} for row in chunk.rows]
    faults = [check(predictor.task, [row]) for row in rows]
    good = [row for row, found in zip(rows, faults, strict=True) if not found]
    answers = iter(zip(good, predictor.answer(good) if good else [], strict=True))
    lines = []
    for found in faults:
        line = ",".join(f"{e.field}:{e.code}" for e in found) if found else _values(predictor, *next(answers))
        lines.append(msgspec.json.encode(line) + b"\n")
    errors = [replace(error, row=start + place) for place, found in enumerate(faults) for error in found]
    return lines, errors


def _values(predictor: Predictor, row: Mapping[str, Any], answer: dict[str, Any]) -> list[Any]:
    """The values of `columns` but for `error`; of a shortlist then what the row costs."""
    shortlist = predictor.task.answers.decision
    costs = [decisions.cost(shortlist, row)] if isinstance(shortlist, Shortlist) else []
    return [*pyfunc.flatten(answer).values(), *costs]


def _write(
    predictor: Predictor, source: Source, out: Path, form: Format, folder: Path, told: Callable[[], None]
) -> None:
    listed = columns(predictor)
    refused = [None] * (len(listed) - 1)
    part = folder / "result"
    sink = form.sink(part, source, predictor.task, named(source.names, listed))
    answers = _ranked(predictor, folder, [column.name for column in listed])
    for chunk in source.chunks(0):
        found = [next(answers) for _ in range(len(chunk.rows))]
        sink.write(chunk, [[*refused, one] if isinstance(one, str) else [*one, None] for one in found])
        told()
    sink.close()
    part.replace(out)


def _ranked(predictor: Predictor, folder: Path, names: list[str]) -> Iterator[Any]:
    """What was kept of each row; where a shortlist is asked for, with ranks among the whole file."""
    shortlist = predictor.task.answers.decision
    if not isinstance(shortlist, Shortlist):
        yield from _lines(folder)
        return
    places = {name: names.index(f"decision_{name}") for name in ("expected", "rank", "chosen")}
    expected, costs = array("d"), array("d")
    for line in _lines(folder):
        if not isinstance(line, str):
            expected.append(line[places["expected"]])
            costs.append(line[-1])
    chosen = iter(decisions.choose(expected, costs, shortlist))
    for line in _lines(folder):
        if not isinstance(line, str):
            line.pop()
            line[places["rank"]], line[places["chosen"]] = next(chosen)
        yield line


def _lines(folder: Path) -> Iterator[Any]:
    with (folder / "answers").open("rb") as file:
        for line in file:
            yield msgspec.json.decode(line)
