"""The chain: every record of the journal is hashed over the one before it, so that an edit shows.

Answers, outcomes, corrections, moves of a level and notes of the journal itself are numbered in the order in which
they were written. The hash of a record is SHA-256 over the hash before it (32 zero bytes before the first) and the
JSON array [number, kind, record, ...content]. It is made inside the transaction that writes, which one process at a
time has, so all workers share one chain. A record that a rotation has moved leaves its hash where the next one needs
it: a row of kind `elsewhere`, in each of the two files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from serving.journal_store import Connection

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS chain (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,          -- answer, outcome, correction, level; start, lost, rotation; elsewhere
    record TEXT NOT NULL,        -- its prediction_id; of start, lost and rotation the record itself, JSON
    hash BLOB NOT NULL
)""",
    "CREATE INDEX IF NOT EXISTS chain_notes ON chain (kind) WHERE kind IN ('start', 'lost', 'rotation')",
)
NOTES = ("start", "lost", "rotation")
ELSEWHERE = "elsewhere"
FIRST = bytes(32)


def digest(before: bytes, record: Sequence[Any]) -> bytes:
    """The hash of a record. record: number, kind, record and content, as they stand in the tables."""
    return hashlib.sha256(before + msgspec.json.encode(record)).digest()


class Chain:
    """The end of the chain, within a transaction that holds the write lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.number, self.hash = head(connection)

    def add(self, kind: str, records: Sequence[tuple[Any, ...]]) -> list[int]:
        """Append records of a kind; their numbers. records: of each `record` and then its content."""
        links = []
        for record in records:
            self.number += 1
            self.hash = digest(self.hash, (self.number, kind, *record))
            links.append((self.number, kind, record[0], self.hash))
        self._connection.executemany("INSERT INTO chain VALUES (?, ?, ?, ?)", links)
        return [link[0] for link in links]

    def note(self, kind: str, facts: dict[str, Any]) -> None:
        """Append a note of the journal itself: start, lost or rotation."""
        self.add(kind, [(json.dumps(facts, ensure_ascii=False),)])


def head(connection: Connection) -> tuple[int, bytes]:
    """Number and hash of the last record."""
    found: tuple[int, bytes] | None = connection.execute(
        "SELECT number, hash FROM chain ORDER BY number DESC LIMIT 1"
    ).fetchone()
    return found or (0, FIRST)


def begin(connection: Connection, now: int, tables: Sequence[str]) -> None:
    """The first record, where there is none: how many rows each table had before the chain. They are not covered."""
    if head(connection)[0] == 0:
        rows = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}  # noqa: S608
        Chain(connection).note("start", {"at_us": now, "before": rows})


def notes(connection: Connection, kind: str) -> list[tuple[int, dict[str, Any]]]:
    """The notes of a kind with their numbers, oldest first."""
    found = connection.execute(
        "SELECT number, record FROM chain WHERE kind = ? AND kind IN ('start', 'lost', 'rotation') ORDER BY number",
        (kind,),
    )
    return [(number, json.loads(record)) for number, record in found]
