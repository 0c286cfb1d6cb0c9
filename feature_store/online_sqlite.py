"""The online store in one SQLite file: rows and tails in the order of their keys, readers beside one writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from feature_store.errors import OnlineUnreachable
from feature_store.online import Change, Kept, Served

MOST_NAMED = 1000
"""Keys that one statement names; more, which come in order from a source, are read as the range they span."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entities (
    view TEXT NOT NULL, key TEXT NOT NULL, row BLOB NOT NULL, tail BLOB NOT NULL, PRIMARY KEY (view, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (
    view TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (view, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS served (view TEXT NOT NULL, key TEXT NOT NULL, as_of INTEGER NOT NULL, row BLOB NOT NULL);
"""
_ONE = {part: f"SELECT {part} FROM entities WHERE view = ? AND key = ?" for part in ("row", "tail")}  # noqa: S608
_PUT = "INSERT OR REPLACE INTO entities VALUES (?, ?, ?, ?)"
_NOTE = "INSERT OR REPLACE INTO notes VALUES (?, ?, ?)"


class SqliteOnline:
    """See `feature_store.online.Online`. Whoever writes first makes the file; until then it holds nothing."""

    local = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: sqlite3.Connection | None = None

    def rows(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        return self._read("row", view, keys)

    def tails(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        return self._read("tail", view, keys)

    def update(self, view: str, keys: Sequence[str], change: Change, notes: Mapping[str, str] | None = None) -> None:
        with self._writing() as connection:
            found = self._kept(connection, view, keys)
            connection.executemany(_PUT, ((view, *one) for one in change([found.get(key) for key in keys])))
            connection.executemany(_NOTE, [(view, name, value) for name, value in (notes or {}).items()])

    def note(self, view: str, name: str) -> str | None:
        with self._reading() as connection:
            asked = "SELECT value FROM notes WHERE view = ? AND name = ?"
            found = connection.execute(asked, (view, name)).fetchone() if connection else None
        return found[0] if found else None

    def log(self, view: str, served: Iterable[Served]) -> None:
        with self._writing() as connection:
            connection.executemany("INSERT INTO served VALUES (?, ?, ?, ?)", ((view, *one) for one in served))

    def served(self, view: str) -> Iterator[Served]:
        with self._reading() as connection:
            if connection is not None:
                asked = "SELECT key, as_of, row FROM served WHERE view = ? ORDER BY key, as_of, rowid"
                yield from map(Served._make, connection.execute(asked, (view,)))

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _read(self, part: str, view: str, keys: Sequence[str]) -> list[bytes | None]:
        with self._reading() as connection:
            if connection is None:
                return [None] * len(keys)
            if len(keys) == 1:
                one = connection.execute(_ONE[part], (view, keys[0])).fetchone()
                return [one[0] if one else None]
            found: dict[str, bytes] = {}
            for start in range(0, len(keys), MOST_NAMED):
                some = keys[start : start + MOST_NAMED]
                found.update(connection.execute(_several(f"key, {part}", len(some)), (view, *some)).fetchall())
        return [found.get(key) for key in keys]

    def _kept(self, connection: sqlite3.Connection, view: str, keys: Sequence[str]) -> dict[str, Kept]:
        if len(keys) <= MOST_NAMED:
            rows = connection.execute(_several("key, row, tail", len(keys)), (view, *keys))
        else:
            asked = "SELECT key, row, tail FROM entities WHERE view = ? AND key BETWEEN ? AND ?"
            rows = connection.execute(asked, (view, min(keys), max(keys)))
        return {key: Kept(row, tail) for key, row, tail in rows}

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The connection, None while there is no file."""
        try:
            if self._open is None and self._path.exists():
                self._open = self._connect("rw")
            yield self._open
        except sqlite3.Error as error:
            raise _unreachable(self._path, error) from None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer comes into."""
        try:
            if self._open is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._open = self._connect("rwc")
                self._open.execute("PRAGMA journal_mode = WAL")
                self._open.executescript(_SCHEMA)
            self._open.execute("BEGIN IMMEDIATE")
            try:
                yield self._open
                self._open.execute("COMMIT")
            finally:
                if self._open.in_transaction:
                    self._open.execute("ROLLBACK")
        except (OSError, sqlite3.Error) as error:
            raise _unreachable(self._path, error) from None

    def _connect(self, mode: str) -> sqlite3.Connection:
        address = f"{self._path.resolve().as_uri()}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, timeout=60, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA cache_size = -65536")  # 64 MB at most: a transaction of a source stays in memory
        connection.execute("PRAGMA synchronous = FULL")  # what a push has confirmed stays, also without power
        return connection


def _several(columns: str, many: int) -> str:
    return f"SELECT {columns} FROM entities WHERE view = ? AND key IN ({', '.join('?' * many)})"  # noqa: S608


def _unreachable(path: Path, error: Exception) -> OnlineUnreachable:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return OnlineUnreachable(f"{path.name} below GANCAO_HOME can't be used ({reason}). Mend the file or its disk.")
