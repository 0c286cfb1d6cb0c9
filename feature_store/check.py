"""Every problem of a table against its Task, all at once: column, rows, values and remedy."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.check_split import find_split
from feature_store.check_target import find_classes, find_leaks, find_weights
from feature_store.codes import CODES, missing_codes
from feature_store.column import Column, Kind, read
from feature_store.field import AnyField, NumberField
from feature_store.finding import Finding, Severity, place, several
from feature_store.task import Target, Task, days

HIGH_MISSING = 0.95
"""From this share of unknown values on, a field is called nearly empty."""


def check(task: Task, table: pa.Table) -> list[Finding]:
    """The problems of `table`, the result of the Task's SQL: errors first, then in the Task's order.

    Never raises for what a table holds. A column of a wrong type gets that one finding and is judged no further.
    """
    findings, columns = list(_check_names(task, table)), []
    places = {name: place for place, name in enumerate(table.column_names)}
    count = Counter(table.column_names)
    for spec in (task.target, *task.fields):
        if count[spec.name] == 1:
            column = read(spec, _kind(task, spec), table.column(places[spec.name]))
            if isinstance(column, Finding):
                findings.append(column)
            else:
                columns.append(column)
                findings += [finding for judge in _COLUMN_CHECKS for finding in judge(column)]
                findings += find_classes(task, column) if column.kind == "class" else ()
    findings += find_weights(task, table)
    findings += find_split(task, table)
    findings += _check_size(task, table, columns)
    findings += _find_twins(task, columns)
    if columns and columns[0].kind == "class":
        findings += find_leaks(columns[0], columns[1:])
    if table.num_rows and len(columns) == 1 + len(task.fields):
        findings += _find_repeated_rows(columns)
    return sorted(findings, key=lambda finding: finding.severity)


def _kind(task: Task, spec: AnyField | Target) -> Kind:
    if isinstance(spec, Target):
        return "number" if task.kind == "regression" else "class"
    return spec.type


# --- names ------------------------------------------------------------------------------------------------------


def _check_names(task: Task, table: pa.Table) -> Iterator[Finding]:
    further = [task.split.by] if task.split.by and task.split.by not in task.by_name else []
    there, n = Counter(table.column_names), table.num_rows
    declared = dict.fromkeys([task.target.name, *task.by_name, *further])
    for name in declared:
        if name not in there:
            close = difflib.get_close_matches(name, [column for column in there if column not in declared], n=1)
            hint = f" It does select {close[0]!r}: write `{close[0]} AS {name}`." if close else ""
            message = "declared in the Task, but data.sql does not select it."
            yield Finding(name, "missing_column", "error", n, (), message, f"Select it, or remove the field.{hint}")
    for name, count in there.items():
        if count > 1:
            message = f"data.sql selects {count} columns of this name."
            yield Finding(name, "ambiguous_column", "error", n, (), message, "Keep one, or rename with AS.")
        if name not in declared and name != task.data.weight:
            message = "selected by data.sql, but no field: it is not learnt from."
            yield Finding(name, "extra_column", "warning", n, (), message, "Declare a field, or do not select it.")


# --- values -----------------------------------------------------------------------------------------------------


def _find_unknown(column: Column) -> Iterator[Finding]:
    unknown, name, n = np.isnan(column.values), column.spec.name, len(column.values)
    count = int(unknown.sum())
    if isinstance(column.spec, Target):
        severity: Severity = "error" if count == n else "warning"
        remedy = f"They are left out; say so in data.sql: WHERE {name} IS NOT NULL."
        yield from column.find("missing_target", severity, unknown, "of the target unknown", remedy)
    elif n and count == n:
        severity = "error" if column.spec.required else "warning"
        message = f"unknown in {several(n, 'row')}: in all of them."
        yield Finding(name, "all_missing", severity, n, (), message, "Mend its line in data.sql, or remove the field.")
    elif n and count >= HIGH_MISSING * n:
        remedy = "Mend its line in data.sql, or remove the field if so little is worth no question."
        yield from column.find("high_missing", "warning", unknown, f"of {n:,} unknown", remedy)


def _find_constant(column: Column) -> Iterator[Finding]:
    known, name = column.known, column.spec.name
    if known.size > 1 and known.min() == known.max():
        target = isinstance(column.spec, Target)
        message = f"always {column.show(known[0])} where known ({several(known.size, 'row')})."
        remedy = "There is nothing to learn: mend data.sql." if target else "Remove the field, or mend data.sql."
        yield Finding(name, "constant", "error" if target else "warning", known.size, (), message, remedy)


def _find_infinite(column: Column) -> Iterator[Finding]:
    name = column.spec.name
    remedy = f"Make them unknown in data.sql: CASE WHEN isfinite({name}) THEN {name} END; look for a division by 0."
    yield from column.find("not_finite", "error", np.isinf(column.values), "not finite", remedy)


def _find_broken(column: Column) -> Iterator[Finding]:
    """Numbers that are no whole number, or neither yes nor no."""
    values, name = column.values, column.spec.name
    if isinstance(column.spec, NumberField) and column.spec.integer:
        broken = np.isfinite(values) & (values != np.floor(values))
        remedy = f"Round them in data.sql: round({name}), or drop `integer: true`."
        yield from column.find("wrong_type", "error", broken, "not whole", remedy)
    if column.kind == "flag":
        broken = np.isfinite(values) & (values != 0) & (values != 1)
        remedy = f"Say in data.sql which value means yes: {name} = 1 AS {name}."
        yield from column.find("wrong_type", "error", broken, "neither 0 nor 1", remedy)


def _find_beyond(column: Column) -> Iterator[Finding]:
    limits = getattr(column.spec, "limits", None)
    if limits is None or column.kind == "class":
        return
    low, high = (days(limit) if isinstance(limit, str) else limit for limit in limits)
    beyond = np.isfinite(column.values) & ((column.values < low) | (column.values > high))
    name, quote = column.spec.name, "'" if column.kind == "date" else ""
    between = f"{name} BETWEEN {quote}{column.show(low)}{quote} AND {quote}{column.show(high)}{quote}"
    unit = getattr(column.spec, "unit", None) or ""
    leave = f"WHERE {between} leaves the rows out" if isinstance(column.spec, Target) else ""
    mend = leave or f"CASE WHEN {between} THEN {name} END makes them unknown"
    remedy = f"Mend them in data.sql ({mend}), or widen the limits."
    what = f"beyond {column.show(low)} to {column.show(high)} {unit}".rstrip()
    yield from column.find("beyond_limits", "error", beyond, what, remedy)


def _find_unlisted(column: Column) -> Iterator[Finding]:
    choices = getattr(column.spec, "choices", None)
    if choices is None or column.words is None:
        return
    listed = [choice.value for choice in choices]
    allowed = pc.is_in(column.words, value_set=pa.array(listed, pa.large_string())).to_numpy(zero_copy_only=False)
    unlisted = ~np.isnan(column.values)
    unlisted[unlisted] = ~allowed[column.values[unlisted].astype(np.int64)]
    remedy = f"Spell them in data.sql as one of {', '.join(listed)}; or add them to the choices."
    yield from column.find("not_a_choice", "error", unlisted, "not among the choices", remedy)


# --- codes for "unknown" ----------------------------------------------------------------------------------------


def _find_codes(column: Column) -> Iterator[Finding]:
    """Codes for unknown that look like numbers; see `feature_store.codes`."""
    known = column.known
    if column.kind != "number" or not known.size or not np.isin([known.min(), known.max()], CODES).any():
        return
    suspects, low, high = missing_codes(known)
    listed, name = ", ".join(column.show(code) for code in suspects), column.spec.name
    what = f"of {listed}, far from the others ({column.show(low)} to {column.show(high)})"
    remedy = f"If this is a code for unknown, write nullif({name}, {listed.split(', ')[0]}) in data.sql."
    yield from column.find("missing_code", "warning", np.isin(column.values, suspects), what, remedy)


_COLUMN_CHECKS: tuple[Callable[[Column], Iterator[Finding]], ...] = (
    _find_unknown,
    _find_constant,
    _find_infinite,
    _find_broken,
    _find_beyond,
    _find_unlisted,
    _find_codes,
)


# --- the table --------------------------------------------------------------------------------------------------


def _check_size(task: Task, table: pa.Table, columns: list[Column]) -> Iterator[Finding]:
    """Outside the holdout there must be two rows a fold, and c / (1 - c) rows for a conformal interval of level c.

    The latter is where the ceil((n + 1) c)-th of n residuals exists: Lei et al. 2018, JASA 113(523), section 2.2.
    """
    target = [column for column in columns if isinstance(column.spec, Target)]
    rows = target[0].known.size if target else table.num_rows
    level, folds, holdout = task.answers.interval, task.split.folds_of(rows), task.split.held_of(rows)
    needed = math.ceil(max(2 * folds, level / (1 - level)) / (1 - holdout) - 1e-9)
    if rows < needed:
        message = (
            f"{several(rows, 'row')} with a known target; {needed} are the least for {folds} folds, "
            f"a holdout of {holdout:g} and intervals of {level:g}."
        )
        yield Finding("", "too_few_rows", "error", rows, (), message, "Bring more rows, or ask for fewer folds.")


def _find_twins(task: Task, columns: list[Column]) -> Iterator[Finding]:
    """Columns that tell the same in every row; a one-to-one respelling of a category does too."""
    seen: dict[bytes, str] = {}
    for column in columns:
        if not column.known.size or column.known.min() == column.known.max():
            continue
        name, digest = column.spec.name, hashlib.blake2b(column.values.tobytes()).digest()
        first = seen.setdefault(digest, name)
        if first == task.target.name != name:
            message = f"has the values of the target {first} in all {several(len(column.values), 'row')}."
            remedy = "It would predict itself: remove the field."
            yield Finding(name, "duplicate_columns", "error", len(column.values), (), message, remedy)
        elif first != name:
            message = f"tells the same as {first} in all {several(len(column.values), 'row')}."
            remedy = "Keep one of the two fields, or mend data.sql."
            yield Finding(name, "duplicate_columns", "warning", len(column.values), (), message, remedy)


def _find_repeated_rows(columns: list[Column]) -> Iterator[Finding]:
    """Rows equal to an earlier one, by a 64-bit hash: one table in 37 million of 1 M rows has a false one."""
    mixed = np.zeros(len(columns[0].values), np.uint64)
    for column in columns:
        mixed = (mixed ^ column.values.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    repeated = np.ones(len(mixed), bool)
    repeated[np.unique(mixed, return_index=True)[1]] = False
    places = np.flatnonzero(repeated)
    if places.size:
        rows = tuple(places[:5].tolist())
        same = f"{several(places.size, 'row')} equal to an earlier one in every column ({place(rows, places.size)})."
        remedy = "If they are copies, write SELECT DISTINCT in data.sql: a copy in the holdout flatters the model."
        yield Finding("", "duplicate_rows", "warning", places.size, rows, same, remedy)
