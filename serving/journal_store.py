"""Where the journal is kept: SQLite's file or PostgreSQL, behind the few words that the journal's modules need.

Both take the same statements (`serving/postgres.py` says what is read otherwise there). A failure of either is one of
`FAILURES`, and becomes JournalFull, or JournalAway where it is the server that is not there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, Protocol

from feature_store.errors import JournalAway, JournalFull
from feature_store.place import Place
from serving import postgres
from serving.postgres import Away, Failed, Postgres

BUSY_S = 10.0
FAILURES = (sqlite3.Error, OSError, Failed)


class Rows(Protocol):
    """What a statement gave, in its order."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None: ...


class Connection(Protocol):
    """`sqlite3.Connection`, as far as the journal uses it. `with` commits, or rolls back; it does not close."""

    def execute(self, sql: str, given: Any = ..., /) -> Rows: ...

    def executemany(self, sql: str, given: Sequence[Any], /) -> object: ...

    def close(self) -> None: ...

    def __enter__(self) -> object: ...

    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> object: ...


def file(place: Place) -> Path:
    """The journal's file, or what would be it: archives lie beside and take its name."""
    return place if isinstance(place, Path) else place.path


def name(place: Place) -> str:
    """What a person reads of where a record is."""
    return place.name if isinstance(place, Path) else "PostgreSQL"


def exists(place: Place) -> bool:
    """Whether a journal was ever begun there. Raises JournalAway."""
    if isinstance(place, Path):
        return place.is_file()
    with reading(place) as connection:
        return begun(connection)


def begun(connection: Connection) -> bool:
    """Whether a PostgreSQL holds a journal: its tables were all made at once."""
    return bool(connection.execute("SELECT to_regclass('chain') IS NOT NULL").fetchone()[0])


def connect(place: Place, mode: str = "WAL") -> Connection:
    """A connection that writes; what it commits is on disk. mode: SQLite's journal_mode. Raises one of FAILURES."""
    if not isinstance(place, Path):
        return postgres.connect(place.url)
    connection = sqlite3.connect(place, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file: what a rotation frees can be given back
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()  # on a full disk many fail, and each would hold its files until it is collected
        raise
    return connection


@contextmanager
def opened(place: Place) -> Iterator[Connection]:
    """The journal, to be read only. Raises one of FAILURES."""
    if isinstance(place, Path):
        uri = f"{place.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)) as connection:
            yield connection
    else:
        with closing(postgres.connect(place.url, read_only=True)) as remote:
            yield remote


@contextmanager
def reading(place: Place) -> Iterator[Connection]:
    """The same. Raises JournalFull when it can't be read, JournalAway when it can't be reached."""
    try:
        with opened(place) as connection:
            yield connection
    except FAILURES as error:
        remedy = "Mend the file, its folder or disk." if isinstance(place, Path) else "Try again later."
        raise refusal(error)(f"The journal {place} can't be read ({error}). {remedy}") from None


def one_state(connection: Connection) -> None:
    """All that is read from here on is of one moment; of PostgreSQL it is so from the first statement."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("BEGIN")


def stream(connection: Connection, sql: str, given: Any = ()) -> Rows:
    """Rows that come while they are asked for, of a connection that only reads."""
    return connection.stream(sql, given) if isinstance(connection, Postgres) else connection.execute(sql, given)


def piped(connection: Connection) -> AbstractContextManager[None]:
    """Statements inside need not wait for one another's answer on its way; none is read inside before it is needed."""
    return connection.piped() if isinstance(connection, Postgres) else nullcontext()


def dialect(connection: Connection) -> Literal["sqlite", "postgres"]:
    """Whose JSON functions a statement must use: of these alone there are two texts."""
    return "postgres" if isinstance(connection, Postgres) else "sqlite"


def refusal(error: Exception) -> type[JournalFull]:
    """What a failure is to who asked."""
    return JournalAway if isinstance(error, Away) else JournalFull
