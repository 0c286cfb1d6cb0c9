"""What the journal holds, read back: an answer by its id or its key, and outcomes beside what was answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from feature_store.place import Place
from serving import journal_file, journal_store, postgres
from serving.journal_store import reading, stream

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


def joined(place: Place, task: str, since: datetime | int | None = None) -> Iterator[Joined]:
    """Outcomes of a task with their answers, by the time when they came true, ties as they arrived.

    since: from then on; a moment (UTC if it names no zone) or microseconds since 1970. Rows are read while they are
    asked for: a journal of a million answers takes no memory. None where there is no journal. Raises JournalFull when
    it can't be read.
    """
    if not journal_store.exists(place):
        return
    mend(place)
    from_us = microseconds(since) if isinstance(since, datetime) else EVER if since is None else since
    with reading(place) as connection:
        for found in stream(
            connection,
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


def sent(place: Place, task: str, since_us: int) -> Iterator[Sent]:
    """Answers of a task from then on, oldest first; read while they are asked for, as `joined` does."""
    if not journal_store.exists(place):
        return
    with reading(place) as connection:
        for at_us, version, row, answer in stream(
            connection,
            "SELECT at_us, version, row, answer FROM answers WHERE task = ? AND at_us >= ? ORDER BY at_us",
            (task, since_us),
        ):
            yield Sent(at_us, version, _read(row), _read(answer))


def versions(place: Place, task: str, since_us: int) -> list[str]:
    """Versions of which answers were given, or outcomes came true, from then on; by their first answer."""
    if not journal_store.exists(place):
        return []
    mend(place)
    query = (
        "SELECT version, min(at_us) FROM (SELECT version, at_us FROM answers WHERE task = :task AND at_us >= :since "
        "UNION ALL SELECT a.version, a.at_us FROM outcomes AS o CROSS JOIN answers AS a USING (prediction_id) "
        "WHERE o.task = :task AND o.at_us >= :since) AS seen GROUP BY version ORDER BY 2"
    )
    with reading(place) as connection:
        return [version for version, _ in connection.execute(query, {"task": task, "since": since_us})]


def start_of(place: Place, table: Literal["answers", "outcomes"], task: str, most: int) -> int:
    """The time from which on a task has about so many rows; EVER where it has fewer, or there is no journal."""
    if not journal_store.exists(place):
        return EVER
    query = f"SELECT at_us FROM {table} WHERE task = ? ORDER BY at_us DESC LIMIT 1 OFFSET ?"  # noqa: S608
    with reading(place) as connection:
        found = connection.execute(query, (task, most - 1)).fetchone()
    return EVER if found is None else int(found[0])


class Level(NamedTuple):
    """One working level, in force from then on. prediction_id: whose outcome moved it; None: it was set back."""

    version: str
    at_us: int
    level: float
    prediction_id: str | None


def levels(place: Place, task: str) -> list[Level]:
    """All working levels of a task, oldest first."""
    if not journal_store.exists(place):
        return []
    mend(place)
    with reading(place) as connection:
        query = "SELECT version, at_us, level, prediction_id FROM levels WHERE task = ? ORDER BY rowid"
        return [Level(*row) for row in connection.execute(query, (task,))]


def levels_now(place: Place, task: str) -> list[tuple[str, float, int]]:
    """Of each version whose level was ever moved: the working level, and how many moves led to it."""
    if not journal_store.exists(place):
        return []
    mend(place)
    query = (
        "SELECT l.version, l.level, n.moves FROM levels AS l JOIN (SELECT max(rowid) AS newest, count(*) AS moves "
        "FROM levels WHERE task = ? GROUP BY version) AS n ON l.rowid = n.newest ORDER BY l.version"
    )
    with reading(place) as connection:
        return [(version, level, moves) for version, level, moves in connection.execute(query, (task,))]


def newest_levels(place: Place, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """By task and version the working level; those that no outcome has moved are absent.

    Raises JournalFull when the journal can't be read.
    """
    with reading(place) as connection:
        found = {key: connection.execute(journal_file.NEWEST_LEVEL, key).fetchone() for key in wanted}
    return {key: row[0] for key, row in found.items() if row is not None}


def find(place: Place, task: str, prediction_id: str) -> Answered | None:
    """The answer of a task with that id, or None. Raises JournalFull when the journal can't be read."""
    if "\0" in prediction_id:  # PostgreSQL's texts hold none
        return None
    with reading(place) as connection:
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


def match(place: Place, task: str, names: Sequence[str], keys: Sequence[Sequence[Any]]) -> list[Match | None]:
    """For each key the answers of the task that were asked with it; None where there are none.

    names: fields of the Task; keys: one value (not null) a name, each. All answers of the task are read once, in
    the database and without the interpreter's lock: call it off the event loop.
    """
    out: list[Match | None] = [None] * len(keys)
    asked = json.dumps([list(key) for key in keys])
    with reading(place) as connection:
        query = _MATCH[journal_store.dialect(connection)](names)
        for where, prediction_id, cases, _ in connection.execute(query, (asked, task)):
            out[where] = Match(prediction_id, cases)
    return out


def _match_in_sqlite(names: Sequence[str]) -> str:
    """Names are a Task's own and lower-case identifiers. max() makes the bare columns those of the newest answer."""
    told = ", ".join(f"json_extract(value, '$[{place}]') AS f{place}" for place in range(len(names)))
    same = " AND ".join(f"json_extract(a.row, '$.{name}') = w.f{place}" for place, name in enumerate(names))
    return (
        f"WITH wanted AS MATERIALIZED (SELECT key AS place, {told} FROM json_each(?)) "  # noqa: S608
        f"SELECT w.place, a.prediction_id, count(DISTINCT a.row), max(a.at_us) "
        f"FROM answers AS a CROSS JOIN wanted AS w ON {same} WHERE a.task = ? GROUP BY w.place"
    )


def _match_in_postgres(names: Sequence[str]) -> str:
    told, row = (postgres.json_of(text) for text in ("CAST(? AS text)", "a.row"))
    same = " AND ".join(f"{row} -> '{name}' = w.told -> {place}" for place, name in enumerate(names))
    return (
        "WITH wanted AS MATERIALIZED (SELECT place - 1 AS place, told "  # noqa: S608
        f"FROM jsonb_array_elements({told}) WITH ORDINALITY AS each_(told, place)) "
        "SELECT w.place, (array_agg(a.prediction_id ORDER BY a.at_us DESC))[1], count(DISTINCT a.row), max(a.at_us) "
        f"FROM answers AS a JOIN wanted AS w ON {same} WHERE a.task = ? GROUP BY w.place"
    )


_MATCH = {"sqlite": _match_in_sqlite, "postgres": _match_in_postgres}


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of a moment; one without a zone is in UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def mend(place: Place) -> None:
    """Give the file of an older server the tables that it lacks; any other is not written to."""
    if not isinstance(place, Path):
        return
    with reading(place) as connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if journal_file.TABLES - there:
        journal_file.prepare(place)
