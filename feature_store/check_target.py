"""What a class target and the weight of rows must be, before anything is learnt from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from feature_store.column import Column, is_number
from feature_store.finding import Finding, several
from feature_store.task import Task

MOST_CLASSES = 100
"""More classes than this are an amount or a name, not an answer that a person chooses from."""

LEAST_ROWS = 2
"""Rows of a class: one to learn from and one to judge by."""


def find_classes(task: Task, column: Column) -> Iterator[Finding]:
    """Classes that do not occur, that are not declared, that are too many or too rare, or that are no classes."""
    assert column.words is not None
    words = [column.word(place) for place in range(len(column.words))]
    counts = np.bincount(column.known.astype(np.int64), minlength=len(words))
    broken = [_is_broken(word) for word in words] if _of_numbers(column) else [word == "" for word in words]
    name = column.spec.name
    remedy = f"Make classes of them in data.sql (CAST(round({name}) AS BIGINT), say), or write `kind: regression`."
    if not _of_numbers(column):
        remedy = f"Make them unknown in data.sql: nullif({name}, '')."
    yield from column.find("not_a_class", "error", _rows(column, broken), "that is no class", remedy)
    yield from _declared(task, column, words)
    if not len(column.known):
        return
    yield from _occurring(task, name, words, len(column.values))
    if len(words) > MOST_CLASSES:
        message = f"{len(words):,} classes; at most {MOST_CLASSES} are told apart."
        remedy = "If they are amounts, write `kind: regression`; if not, group them in data.sql."
        yield Finding(name, "too_many_classes", "error", len(column.known), (), message, remedy)
        return
    yield from _rare(task, column, counts)


def _of_numbers(column: Column) -> bool:
    return is_number(column.stored)


def _is_broken(word: str) -> bool:
    """Whether a number is not whole: a whole one below 2^53 has neither a point nor an exponent."""
    return not word.removeprefix("-").isdigit()


def _rows(column: Column, of_word: list[bool]) -> np.ndarray:
    """(n,) whether the row's word is one of those."""
    out: np.ndarray = np.isfinite(column.values)
    out[out] = np.array(of_word, dtype=bool)[column.known.astype(np.int64)]
    return out


def _declared(task: Task, column: Column, words: list[str]) -> Iterator[Finding]:
    """Words outside the declared classes; of a binary target, more than two."""
    name, declared = column.spec.name, task.target.classes
    if declared is not None:
        listed = [choice.value for choice in declared]
        remedy = f"Spell them in data.sql as one of {', '.join(listed)}; or add them to target.classes."
        unlisted = _rows(column, [word not in listed for word in words])
        yield from column.find("not_a_choice", "error", unlisted, "not among the declared classes", remedy)
    elif task.kind == "binary" and len(words) > 2:
        message = f"{len(words):,} classes where a binary target has 2: {_some(words)}."
        remedy = f"Write `{name} = '{task.target.positive}' AS {name}` in data.sql, or `kind: multiclass`."
        yield Finding(name, "too_many_classes", "error", len(column.known), (), message, remedy)


def _occurring(task: Task, name: str, words: list[str], n: int) -> Iterator[Finding]:
    """The positive class and the declared ones must be there."""
    asked = [choice.value for choice in task.target.classes or ()]
    if task.target.positive is not None and task.target.positive not in words:
        message = f"no row is {task.target.positive!r}, the positive class; there are {_some(words)}."
        remedy = "Name one of these as target.positive, or mend data.sql."
        yield Finding(name, "absent_class", "error", n, (), message, remedy)
    if absent := [word for word in asked if word not in words and word != task.target.positive]:
        message = f"no row is {_some(absent)}, which target.classes declares; there are {_some(words)}."
        remedy = "Remove it from target.classes, or mend data.sql."
        yield Finding(name, "absent_class", "error", n, (), message, remedy)


def _rare(task: Task, column: Column, counts: np.ndarray) -> Iterator[Finding]:
    folds = task.split.folds_of(int(counts.sum()))
    single = _rows(column, (counts < LEAST_ROWS).tolist())
    remedy = f"Bring {LEAST_ROWS} rows of each class or more, or group rare classes in data.sql."
    yield from column.find("rare_class", "error", single, f"of a class with fewer than {LEAST_ROWS} rows", remedy)
    few = _rows(column, ((counts >= LEAST_ROWS) & (counts < folds)).tolist())
    remedy = "Some folds learn without it: bring more rows of it, or group rare classes in data.sql."
    yield from column.find("rare_class", "warning", few, f"of a class with fewer rows than the {folds} folds", remedy)


def _some(words: list[str]) -> str:
    shown = ", ".join(repr(word[:40]) for word in sorted(words)[:10])
    return f"{shown}, ..." if len(words) > 10 else shown


def find_leaks(target: Column, columns: list[Column]) -> Iterator[Finding]:
    """Numbers, flags and dates that stand for the classes one to one in every row whose target is known."""
    known = np.flatnonzero(np.isfinite(target.values))
    codes = target.values[known]
    classes = len(np.unique(codes))
    if not 2 <= classes <= len(known) / 2:
        return
    for column in columns:
        if column.words is not None or np.array_equal(column.values, target.values):
            continue  # equal columns are found as such
        values = np.where(np.isfinite(column.values), column.values, np.inf)[known]
        if len(np.unique(values[:1000])) <= classes and _one_to_one(codes, values, classes):
            message = (
                f"has one value for each class of the target {target.spec.name} in all {several(len(known), 'row')}."
            )
            remedy = "It would predict itself: remove the field."
            yield Finding(column.spec.name, "duplicate_columns", "error", len(known), (), message, remedy)


def _one_to_one(codes: np.ndarray, values: np.ndarray, classes: int) -> bool:
    pairs = np.unique(np.column_stack([codes, values]), axis=0)
    return bool(len(pairs) == classes == len(np.unique(values)))


def find_weights(task: Task, table: pa.Table) -> Iterator[Finding]:
    """The column of `data.weight` must be there once, and hold a number above 0 in every row."""
    name = task.data.weight
    if name is None or table.column_names.count(name) > 1:  # that it stands twice is told already
        return
    if name not in table.column_names:
        message, remedy = (
            "the Task's data.weight, but data.sql does not select it.",
            "Select it, or remove data.weight.",
        )
        yield Finding(name, "missing_column", "error", table.num_rows, (), message, remedy)
        return
    column = table.column(name)
    if not is_number(column.type):
        message = f"holds {str(column.type)[:60]}, where the weight of each row is expected."
        remedy = f"Write `CAST({name} AS DOUBLE) AS {name}` in data.sql, or remove data.weight."
        yield Finding(name, "wrong_type", "error", table.num_rows, (), message, remedy)
        return
    text = column.cast(pa.string()) if pa.types.is_decimal(column.type) else column
    values = text.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    read = Column(task.target, "number", np.asarray(values, dtype=np.float64), column.type)
    remedy = f"Give every row a weight above 0, or leave rows out in data.sql: WHERE {name} > 0."
    bad = ~np.isfinite(read.values) | (read.values <= 0)
    for found in read.find("bad_weight", "error", bad, "that is no weight above 0", remedy):
        yield Finding(name, found.code, found.severity, found.count, found.rows, found.message, found.remedy)
