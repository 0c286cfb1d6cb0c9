"""A small journal with a record of every kind, and what a test asks of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from feature_store.place import Place, Remote
from feature_store.task import Adaptive
from serving import journal_file, journal_store, postgres
from serving.journal import Entry, Journal, Outcome

ANSWER = {
    "value": 3.0,
    "interval": {"level": 0.9, "working_level": 0.9, "low": 1.0, "high": 9.0},
    "events": {},
    "group": "all",
    "warnings": [{"field": "days", "code": "missing_field"}],
}


def entry(prediction_id: str, task: str = "stay") -> Entry:
    row = json.dumps({"age": 40, "ward": '"外科"\n', "id": prediction_id}, ensure_ascii=False)
    return Entry(prediction_id, task, "1", row, json.dumps({"prediction_id": prediction_id, **ANSWER}))


def keep(place: Place, *ids: str, task: str = "stay") -> None:
    """One answer an id, in one transaction."""
    journal = Journal(place)
    asyncio.run(journal.keep([entry(one, task) for one in ids]))
    journal.close()


def tell(place: Place, *outcomes: tuple[str, float], adaptive: bool = False) -> None:
    journal, kept = Journal(place), [Outcome(one, str(value)) for one, value in outcomes]
    asyncio.run(journal.keep_outcomes("stay", kept, Adaptive() if adaptive else None))
    journal.close()


def of_every_kind(place: Place) -> None:
    """Answers of two tasks; outcomes of a, b and c, of which a's was corrected twice at once; moves of a level."""
    keep(place, "a", "b")
    keep(place, "x", task="other")
    tell(place, ("a", 5.0), ("b", 20.0), adaptive=True)
    keep(place, "c")
    keep(place, "d", "e")
    tell(place, ("c", 7.0), ("a", 6.0), ("a", 6.5))
    journal = Journal(place)
    asyncio.run(journal.reset_levels("stay", {"1": 0.9}))
    journal.close()
    for one in "fgh":
        keep(place, one)


def rows(place: Place, sql: str, *given: Any) -> list[tuple[Any, ...]]:
    """What a query gives; what it changes stays, in the file itself."""
    if isinstance(place, Remote):
        with psycopg.connect(place.url, autocommit=True) as remote:
            cursor = remote.execute(postgres.translated(sql), given or None)
            return cursor.fetchall() if cursor.description else []
    with closing(sqlite3.connect(place)) as connection:
        with connection:
            found = connection.execute(sql, given).fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return found


COLUMNS = {**journal_file.COLUMNS, "levels": "task, version, at_us, level, prediction_id, number"}


def all_rows(*places: Place) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the tables of records, of several files together."""
    return {
        table: sorted(row for place in places for row in rows(place, f"SELECT {COLUMNS[table]} FROM {table}"))
        for table in journal_file.NUMBERED
    }


def beside(place: Place, name: str) -> Path:
    """The file of that name where archives lie."""
    return journal_store.file(place).with_name(name)


def slowly(place: Place) -> list[str]:
    """The hashes of a journal that nothing was moved from, made anew from its tables as the docs say."""
    records: dict[int, list[Any]] = {}
    for one, at, task, version, row, answer, number in rows(place, f"SELECT {COLUMNS['answers']} FROM answers"):
        records[number] = ["answer", one, at, task, version, row, answer]
    for task, version, at, level, one, number in rows(place, f"SELECT {COLUMNS['levels']} FROM levels"):
        records[number] = ["level", one or "", task, version, at, level]
    for one, *now, task in rows(place, "SELECT prediction_id, at_us, kept_us, value, NULL, number, task FROM outcomes"):
        before = rows(
            place,
            f"SELECT {COLUMNS['corrected_outcomes']} FROM corrected_outcomes WHERE prediction_id = ? ORDER BY number",
            one,
        )
        versions = [list(version[1:]) for version in before] + [now]
        for nth, (at, kept, value, _, number) in enumerate(versions):
            old = versions[nth - 1] if nth else []
            records[number] = ["correction" if nth else "outcome", one, at, kept, task, value, *old]
    for number, kind, record in rows(place, "SELECT number, kind, record FROM chain"):
        if kind in ("start", "lost", "rotation"):
            records[number] = [kind, record]
    digest, out = bytes(32), []
    for number in range(1, len(records) + 1):
        text = json.dumps([number, *records[number]], ensure_ascii=False, separators=(",", ":"))
        digest = hashlib.sha256(digest + text.encode()).digest()
        out.append(digest.hex())
    return out
