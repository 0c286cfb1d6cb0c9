"""PostgreSQL as the journal's SQL knows it: one connection that reads SQLite's few own words as PostgreSQL's.

The journal's statements are written once, for both. What differs is here: marks of values, names of types, how a
transaction begins, SQLite's `rowid` (an identity column of each table), and what a failure means. psycopg is imported
when a URL is given, and not before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

from feature_store.errors import Usage

if TYPE_CHECKING:
    import psycopg

DEFAULTS = {
    "application_name": "gancao journal",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""Of a connection, unless the URL says otherwise: a server that has vanished is noticed within seconds."""

ITEMS = 500
"""Rows that are fetched at once of a long reading."""

_LOCK = "7161, hashtext(current_schema())"
"""Of the journal in this schema, among PostgreSQL's advisory locks. Rotations take the next number."""

_BEGIN_WRITING = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "  # each statement sees what was committed before the lock
    "SET LOCAL synchronous_commit = on; "  # whatever the server's default is
    "SET LOCAL lock_timeout = '10s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '60s'; "  # a worker that hangs keeps the lock no longer
    f"SELECT pg_advisory_xact_lock({_LOCK})"
)
_WHOLE = {"BEGIN IMMEDIATE": _BEGIN_WRITING}
_TYPES = {
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "BLOB": "BYTEA",
    "TEXT": 'TEXT COLLATE "C"',  # ordered by its bytes, as in SQLite
}
_ROWID = "\n, rowid BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE\n)"

_AWAY = ("08", "25006", "40", "53200", "53300", "55P03", "57")
"""Beginnings of SQLSTATEs that asking again later may mend; so may a connection that failed without one."""

_WORDS = {
    "53100": "the disk of PostgreSQL is full",
    "53300": "PostgreSQL has no connection left",
    "55P03": "the journal is locked",
    "25006": "this PostgreSQL takes no writes",
}


class Failed(Exception):
    """PostgreSQL did not do it. In words for a client, without a value; detail: what the log may know besides."""

    def __init__(self, told: str, detail: str = "", lost: bool = False) -> None:
        super().__init__(told)
        self.detail, self.lost = detail or told, lost


class Away(Failed):
    """It can't be reached, or can't do it now. lost: the connection is of no use any more."""


def connect(url: str, read_only: bool = False) -> Postgres:
    """A connection: one that writes, or one that sees a single state of the database. Raises Away, or Usage."""
    try:
        import psycopg
    except ImportError:
        raise Usage(
            "GANCAO_JOURNAL is a PostgreSQL URL, and psycopg is absent: pip install 'gancao[postgres]'."
        ) from None
    try:
        given = {**DEFAULTS, **psycopg.conninfo.conninfo_to_dict(url), "client_encoding": "UTF8"}
    except psycopg.Error:
        raise Usage("GANCAO_JOURNAL is not a PostgreSQL URL. Write postgresql://USER@HOST:PORT/DATABASE.") from None
    try:
        connection = psycopg.connect("", autocommit=not read_only, **given)  # type: ignore[arg-type]
        if read_only:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
    except psycopg.Error as error:
        raise Away("PostgreSQL can't be reached", " ".join(str(error).split()), lost=True) from None
    return Postgres(connection, psycopg.Error)


class Postgres:
    """A connection as `sqlite3` has them: `with` ends a transaction, `execute` gives rows."""

    def __init__(self, connection: psycopg.Connection[Any], errors: type[Exception]) -> None:
        self._connection, self._errors, self._names = connection, errors, count()

    def execute(self, sql: str, given: Any = None, /) -> Rows:
        """Raises Failed."""
        with self._told():
            return Rows(self._connection.execute(translated(sql), given or None), self._told)

    def executemany(self, sql: str, given: Sequence[Any], /) -> object:
        """Raises Failed."""
        with self._told():
            self._connection.cursor().executemany(translated(sql), given)
        return None

    def stream(self, sql: str, given: Any = ()) -> Rows:
        """As `execute`, of a connection that reads; rows come while they are asked for."""
        with self._told():
            cursor = self._connection.cursor(f"rows{next(self._names)}")
            cursor.itersize = ITEMS
            cursor.execute(translated(sql), given or None)
            return Rows(cursor, self._told)

    @contextmanager
    def piped(self) -> Iterator[None]:
        """Statements inside are sent without waiting for one after the other; all have been done when it ends."""
        with self._told(), self._connection.pipeline():
            yield

    def alone(self) -> bool:
        """Take the lock of rotations, until the connection ends; False where another has it."""
        found = self.execute(f"SELECT pg_try_advisory_lock(1 + {_LOCK})").fetchone()
        return bool(found[0])

    def close(self) -> None:
        with self._told():
            self._connection.close()

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self.execute("COMMIT")
        else:
            with suppress(Failed):  # what went wrong before is what counts
                self.execute("ROLLBACK")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise failed(error, self._connection.closed) from None


class Rows:
    """What a statement gave."""

    def __init__(self, cursor: Any, told: Callable[[], AbstractContextManager[None]]) -> None:
        self._cursor, self._told = cursor, told

    def fetchone(self) -> Any:
        with self._told():
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        with self._told():
            found: list[Any] = self._cursor.fetchall()
            return found

    def __iter__(self) -> Iterator[Any]:
        with self._told():
            yield from self._cursor

    def close(self) -> None:
        with self._told():
            self._cursor.close()


def failed(error: Exception, lost: bool) -> Failed:
    """What psycopg raised, as what it means."""
    state: str = getattr(error, "sqlstate", None) or ""
    if state.startswith(_AWAY) or (lost and not state):
        told = next((words for begin, words in _WORDS.items() if state == begin), "PostgreSQL can't be reached")
        return Away(told, state or " ".join(str(error).split()), lost)
    kind = f"SQLSTATE {state}" if state else type(error).__name__  # its own words may hold a value
    return Failed(_WORDS.get(state, f"PostgreSQL refused it, {kind}"), kind, lost)


def json_of(text: str) -> str:
    """Of a column or value of JSON text, the expression that reads it: PostgreSQL's JSON knows no NUL."""
    return f"replace({text}, '\\u0000', '\\u0001')::jsonb"


@lru_cache(maxsize=256)
def translated(sql: str) -> str:
    """A statement of the journal in PostgreSQL's words, with psycopg's marks."""
    if sql in _WHOLE:
        return _WHOLE[sql]
    if sql.startswith(("CREATE TABLE", "CREATE TEMP TABLE")):
        rowid = "" if "INTEGER PRIMARY KEY" in sql else _ROWID
        sql = re.sub("|".join(_TYPES), lambda found: _TYPES[found[0]], sql)
        return re.sub(r"\n\)$", rowid, sql) if rowid else sql
    sql = sql.replace("%", "%%").replace("?", "%s").replace("CROSS JOIN", "JOIN")  # CROSS: SQLite's word for an order
    return re.sub(r"(?<!:):([a-z]+)", r"%(\1)s", sql)
