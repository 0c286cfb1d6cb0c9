"""Answers as a person looks them up: newest first, by time or by id, through the archives too."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from feature_store.place import Place
from serving import archives, journal_store, recall
from serving.journal_store import Connection, reading, stream


class Found(NamedTuple):
    """One answer. Times: microseconds since 1970, UTC; outcome: None where nothing is known; file: where it stands."""

    prediction_id: str
    at_us: int
    version: str
    row: dict[str, Any]
    answer: dict[str, Any]
    outcome: float | str | None
    outcome_at_us: int | None
    file: str


def look_up(place: Place, task: str, since_us: int, until_us: int, prediction_id: str | None = None) -> Iterator[Found]:
    """Answers of a task in [since_us, until_us), newest first, read while they are asked for.

    prediction_id: only that one. Archives that are not beside the journal are left out. Raises JournalFull when a file
    can't be read.
    """
    if not journal_store.exists(place):
        return
    recall.mend(place)
    path = journal_store.file(place)
    with ExitStack() as stack:
        journal = stack.enter_context(reading(place))
        journal_store.one_state(journal)  # a rotation that runs may then show an answer twice, but never hide one
        files = [(journal_store.name(place), journal)]
        for each in archives.of(journal):
            if (archive := path.parent / each.file).is_file() and each.before_us > since_us:
                archives.settle(archive)
                files += [(each.file, stack.enter_context(reading(archive)))]
        parts = [_of_file(name, file, task, since_us, until_us, prediction_id) for name, file in files]
        last = ""
        for one in heapq.merge(*parts, key=lambda found: (-found.at_us, found.prediction_id)):
            if one.prediction_id != last:
                last = one.prediction_id
                yield one


def tasks(place: Place) -> list[str]:
    """Tasks of which the journal holds an answer."""
    if not journal_store.exists(place):
        return []
    with reading(place) as connection:
        return [task for (task,) in connection.execute("SELECT DISTINCT task FROM answers ORDER BY task")]


def _of_file(
    name: str, file: Connection, task: str, since_us: int, until_us: int, prediction_id: str | None
) -> Iterator[Found]:
    one = "" if prediction_id is None else "AND a.prediction_id = :id "
    rows = stream(
        file,
        "SELECT a.prediction_id, a.at_us, a.version, a.row, a.answer, o.value, o.at_us "  # noqa: S608
        "FROM answers AS a LEFT JOIN outcomes AS o USING (prediction_id) "
        f"WHERE a.task = :task AND a.at_us >= :since AND a.at_us < :until {one}"
        "ORDER BY a.at_us DESC, a.prediction_id",
        {"task": task, "since": since_us, "until": until_us, "id": prediction_id},
    )
    for found, at_us, version, row, answer, outcome, outcome_at_us in rows:
        told = None if outcome is None else json.loads(outcome)
        yield Found(found, at_us, version, json.loads(row), json.loads(answer), told, outcome_at_us, name)
