"""The online store in PostgreSQL: one table of rows and tails, read by its key and written through COPY."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from feature_store.errors import OnlineUnreachable
from feature_store.online import Change, Kept, Served

_LOCK = 0x6F6E6C69
"""Of advisory locks: the first of two numbers; the second is of the view."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS gancao_entities (
    view text COLLATE "C", key text COLLATE "C", row bytea NOT NULL, tail bytea NOT NULL, PRIMARY KEY (view, key)
);
CREATE TABLE IF NOT EXISTS gancao_notes (view text, name text, value text NOT NULL, PRIMARY KEY (view, name));
CREATE TABLE IF NOT EXISTS gancao_served (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view text NOT NULL, key text COLLATE "C" NOT NULL, as_of bigint NOT NULL, row bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS gancao_served_view ON gancao_served (view, key, as_of);
"""
_INCOMING = """
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (view text, key text, row bytea, tail bytea) ON COMMIT DELETE ROWS
"""
_PUT = """
INSERT INTO gancao_entities SELECT * FROM incoming
ON CONFLICT (view, key) DO UPDATE SET row = excluded.row, tail = excluded.tail
"""
_NOTE = "INSERT INTO gancao_notes VALUES (%s, %s, %s) ON CONFLICT (view, name) DO UPDATE SET value = excluded.value"


class PostgresOnline:
    """See `feature_store.online.Online`. One connection, made again when it was lost; one thread at a time uses it."""

    local = False

    def __init__(self, url: str) -> None:
        self._url, self._turn = url, threading.Lock()
        self._open: psycopg.Connection[Any] | None = None
        with self._using() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", (_LOCK,))  # two that make tables at once fail
            connection.execute(_SCHEMA)

    def rows(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        return self._read("row", view, keys)

    def tails(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        return self._read("tail", view, keys)

    def update(self, view: str, keys: Sequence[str], change: Change, notes: Mapping[str, str] | None = None) -> None:
        with self._using() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK, int(view[:7], 16)))
            asked = "SELECT key, row, tail FROM gancao_entities WHERE view = %s AND key = ANY(%s)"
            found = {key: Kept(*kept) for key, *kept in connection.execute(asked, (view, list(keys)), binary=True)}
            connection.execute(_INCOMING)
            with connection.cursor() as cursor, cursor.copy("COPY incoming FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["text", "text", "bytea", "bytea"])
                for key, row, tail in change([found.get(key) for key in keys]):
                    copy.write_row((view, key, row, tail))
            connection.execute(_PUT)
            for name, value in (notes or {}).items():
                connection.execute(_NOTE, (view, name, value))

    def note(self, view: str, name: str) -> str | None:
        with self._using() as connection:
            asked = "SELECT value FROM gancao_notes WHERE view = %s AND name = %s"
            found = connection.execute(asked, (view, name)).fetchone()
        return found[0] if found else None

    def log(self, view: str, served: Iterable[Served]) -> None:
        with self._using() as connection, connection.transaction(), connection.cursor() as cursor:
            asked = "INSERT INTO gancao_served (view, key, as_of, row) VALUES (%s, %s, %s, %s)"
            cursor.executemany(asked, [(view, *one) for one in served])

    def served(self, view: str) -> Iterator[Served]:
        asked = "SELECT key, as_of, row FROM gancao_served WHERE view = %s ORDER BY key, as_of, number"
        with self._using() as connection:
            found = connection.execute(asked, (view,), binary=True).fetchall()
        yield from map(Served._make, found)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()

    def _read(self, part: str, view: str, keys: Sequence[str]) -> list[bytes | None]:
        asked = f"SELECT key, {part} FROM gancao_entities WHERE view = %s AND key = ANY(%s)"  # noqa: S608
        with self._using() as connection:
            found = dict(connection.execute(asked, (view, list(keys)), binary=True).fetchall())
        return [found.get(key) for key in keys]

    @contextmanager
    def _using(self) -> Iterator[psycopg.Connection[Any]]:
        with self._turn:
            try:
                if self._open is None or self._open.closed or self._open.broken:
                    self._open = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
                    self._open.prepare_threshold = 2
                yield self._open
            except psycopg.Error as error:
                raise OnlineUnreachable(
                    f"PostgreSQL of GANCAO_ONLINE does not answer ({type(error).__name__}). "
                    "Look after it, or mend the setting."
                ) from None
