"""What the journal holds, read back: an answer by its id or its key, and outcomes beside what was answered."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from feature_store.errors import JournalFull
from serving import journal_file

_read = msgspec.json.decode  # a long journal is mostly this

EVER = -(2**62)
"""Before any answer, in microseconds."""


class Joined(NamedTuple):
    """One answer with what came true of it. Times: microseconds since 1970, UTC.

    row: as it was asked; answer: as it was sent; outcome: in the target's unit, or the class's word.
    """

    prediction_id: str
    at_us: int
    version: str
    row: dict[str, Any]
    answer: dict[str, Any]
    outcome: float | str
    outcome_at_us: int


class Answered(NamedTuple):
    """One answer, and what is known of its outcome: None when nothing is."""

    at_us: int
    answer: dict[str, Any]
    outcome: float | str | None


def joined(path: Path, task: str, since: datetime | int | None = None) -> Iterator[Joined]:
    """Outcomes of a task with their answers, by the time when they came true, ties as they arrived.

    since: from then on; a moment (UTC if it names no zone) or microseconds since 1970. Rows are read while they are
    asked for: a journal of a million answers takes no memory. None where there is no journal. Raises JournalFull when
    it can't be read.
    """
    if not path.is_file():
        return
    mend(path)
    from_us = microseconds(since) if isinstance(since, datetime) else EVER if since is None else since
    with reading(path) as connection:
        for found in connection.execute(
            "SELECT prediction_id, a.at_us, a.version, a.row, a.answer, o.value, o.at_us "
            "FROM outcomes AS o CROSS JOIN answers AS a USING (prediction_id) "  # CROSS: the outcomes lead
            "WHERE o.task = ? AND o.at_us >= ? ORDER BY o.at_us, o.rowid",
            (task, from_us),
        ):
            prediction_id, at_us, version, row, answer, outcome, outcome_at_us = found
            yield Joined(prediction_id, at_us, version, _read(row), _read(answer), _read(outcome), outcome_at_us)


class Sent(NamedTuple):
    """One answer as it was sent, with its row as it was asked."""

    at_us: int
    version: str
    row: dict[str, Any]
    answer: dict[str, Any]


def sent(path: Path, task: str, since_us: int) -> Iterator[Sent]:
    """Answers of a task from then on, oldest first; read while they are asked for, as `joined` does."""
    if not path.is_file():
        return
    with reading(path) as connection:
        for at_us, version, row, answer in connection.execute(
            "SELECT at_us, version, row, answer FROM answers WHERE task = ? AND at_us >= ? ORDER BY at_us",
            (task, since_us),
        ):
            yield Sent(at_us, version, _read(row), _read(answer))


def versions(path: Path, task: str, since_us: int) -> list[str]:
    """Versions of which answers were given, or outcomes came true, from then on; by their first answer."""
    if not path.is_file():
        return []
    mend(path)
    query = (
        "SELECT version, min(at_us) FROM (SELECT version, at_us FROM answers WHERE task = :task AND at_us >= :since "
        "UNION ALL SELECT a.version, a.at_us FROM outcomes AS o CROSS JOIN answers AS a USING (prediction_id) "
        "WHERE o.task = :task AND o.at_us >= :since) GROUP BY version ORDER BY 2"
    )
    with reading(path) as connection:
        return [version for version, _ in connection.execute(query, {"task": task, "since": since_us})]


def start_of(path: Path, table: Literal["answers", "outcomes"], task: str, most: int) -> int:
    """The time from which on a task has about so many rows; EVER where it has fewer, or there is no journal."""
    if not path.is_file():
        return EVER
    query = f"SELECT at_us FROM {table} WHERE task = ? ORDER BY at_us DESC LIMIT 1 OFFSET ?"  # noqa: S608
    with reading(path) as connection:
        found = connection.execute(query, (task, most - 1)).fetchone()
    return EVER if found is None else int(found[0])


class Level(NamedTuple):
    """One working level, in force from then on. prediction_id: whose outcome moved it; None: it was set back."""

    version: str
    at_us: int
    level: float
    prediction_id: str | None


def levels(path: Path, task: str) -> list[Level]:
    """All working levels of a task, oldest first."""
    if not path.is_file():
        return []
    mend(path)
    with reading(path) as connection:
        query = "SELECT version, at_us, level, prediction_id FROM levels WHERE task = ? ORDER BY rowid"
        return [Level(*row) for row in connection.execute(query, (task,))]


def levels_now(path: Path, task: str) -> list[tuple[str, float, int]]:
    """Of each version whose level was ever moved: the working level, and how many moves led to it."""
    if not path.is_file():
        return []
    mend(path)
    # max() makes the bare column that of the newest row
    query = "SELECT version, level, count(*), max(rowid) FROM levels WHERE task = ? GROUP BY version"
    with reading(path) as connection:
        return [(version, level, moves) for version, level, moves, _ in connection.execute(query, (task,))]


def newest_levels(path: Path, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """By task and version the working level; those that no outcome has moved are absent.

    Raises JournalFull when the journal can't be read.
    """
    with reading(path) as connection:
        found = {key: connection.execute(journal_file.NEWEST_LEVEL, key).fetchone() for key in wanted}
    return {key: row[0] for key, row in found.items() if row is not None}


def find(path: Path, task: str, prediction_id: str) -> Answered | None:
    """The answer of a task with that id, or None. Raises JournalFull when the journal can't be read."""
    with reading(path) as connection:
        found = connection.execute(
            "SELECT a.at_us, a.answer, o.value FROM answers AS a LEFT JOIN outcomes AS o USING (prediction_id) "
            "WHERE prediction_id = ? AND a.task = ?",
            (prediction_id, task),
        ).fetchone()
    if found is None:
        return None
    return Answered(found[0], _read(found[1]), None if found[2] is None else _read(found[2]))


class Match(NamedTuple):
    """Answers whose row holds a key: the newest one's id, and how many different rows there are among them."""

    prediction_id: str
    cases: int


def match(path: Path, task: str, names: Sequence[str], keys: Sequence[Sequence[Any]]) -> list[Match | None]:
    """For each key the answers of the task that were asked with it; None where there are none.

    names: fields of the Task; keys: one value (not null) a name, each. All answers of the task are read once, in
    SQLite and without the interpreter's lock: call it off the event loop.
    """
    told = ", ".join(f"json_extract(value, '$[{place}]') AS f{place}" for place in range(len(names)))
    same = " AND ".join(f"json_extract(a.row, '$.{name}') = w.f{place}" for place, name in enumerate(names))
    # Names are a Task's own and lower-case identifiers. max() makes the bare columns those of the newest answer.
    query = (
        f"WITH wanted AS MATERIALIZED (SELECT key AS place, {told} FROM json_each(?)) "  # noqa: S608
        f"SELECT w.place, a.prediction_id, count(DISTINCT a.row), max(a.at_us) "
        f"FROM answers AS a CROSS JOIN wanted AS w ON {same} WHERE a.task = ? GROUP BY w.place"
    )
    out: list[Match | None] = [None] * len(keys)
    with reading(path) as connection:
        for place, prediction_id, cases, _ in connection.execute(query, (json.dumps([list(k) for k in keys]), task)):
            out[place] = Match(prediction_id, cases)
    return out


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of a moment; one without a zone is in UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def mend(path: Path) -> None:
    """Give a journal of an older server the tables that it lacks; any other is not written to."""
    with reading(path) as connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if journal_file.TABLES - there:
        journal_file.prepare(path)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The journal, to be read only."""
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=journal_file.BUSY_S)
        ) as connection:
            yield connection
    except sqlite3.Error as error:
        raise JournalFull(f"The journal {path} can't be read ({error}). Mend the file, its folder or disk.") from None
