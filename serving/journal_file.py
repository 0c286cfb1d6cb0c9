"""The journal's file: its tables, how it is opened to be written, and what an older one lacks."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from feature_store.errors import JournalFull
from serving import chain

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS answers (
    prediction_id TEXT PRIMARY KEY,
    at_us INTEGER NOT NULL,      -- microseconds since 1970, UTC
    task TEXT NOT NULL,
    version TEXT NOT NULL,
    row TEXT NOT NULL,           -- the row as it was asked, JSON
    answer TEXT NOT NULL,        -- the answer as it was sent, JSON
    number INTEGER               -- of its record in `chain`, here as below; NULL: written before there was one
)""",
    "CREATE INDEX IF NOT EXISTS answers_by_task ON answers (task, at_us)",
    """CREATE TABLE IF NOT EXISTS outcomes (
    prediction_id TEXT PRIMARY KEY,
    at_us INTEGER NOT NULL,      -- when it came true
    kept_us INTEGER NOT NULL,    -- when it was written here
    task TEXT NOT NULL,
    value TEXT NOT NULL,         -- what came true, JSON: a number, or the class's word
    number INTEGER
)""",
    "CREATE INDEX IF NOT EXISTS outcomes_by_task ON outcomes (task, at_us)",
    """CREATE TABLE IF NOT EXISTS corrected_outcomes (  -- what stood in `outcomes` before a correction
    prediction_id TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    kept_us INTEGER NOT NULL,
    value TEXT NOT NULL,
    until_us INTEGER NOT NULL,   -- when it was corrected
    number INTEGER
)""",
    "CREATE INDEX IF NOT EXISTS corrected_by_id ON corrected_outcomes (prediction_id)",
    """CREATE TABLE IF NOT EXISTS levels (  -- the working levels, each in force until the next of its task and version
    task TEXT NOT NULL,
    version TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    level REAL NOT NULL,
    prediction_id TEXT,          -- whose outcome moved it; NULL where a person set it back
    number INTEGER
)""",
    "CREATE INDEX IF NOT EXISTS levels_by_version ON levels (task, version)",
    "CREATE TRIGGER IF NOT EXISTS levels_stay BEFORE UPDATE ON levels BEGIN SELECT RAISE(ABORT, 'only added to'); END",
    "CREATE TRIGGER IF NOT EXISTS levels_last BEFORE DELETE ON levels BEGIN SELECT RAISE(ABORT, 'only added to'); END",
    *chain.SCHEMA,
)
NUMBERED = ("answers", "outcomes", "corrected_outcomes", "levels")
"""Tables of records; `chain` counts them all."""

TABLES = frozenset({*NUMBERED, "chain"})
BUSY_S = 10.0
NEWEST_LEVEL = "SELECT level FROM levels WHERE task = ? AND version = ? ORDER BY rowid DESC LIMIT 1"


def prepare(path: Path) -> None:
    """Make the file, or what an older one lacks, and begin its chain. Raises JournalFull when it can't be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        with closing(connect(path)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            make(connection)
            chain.begin(connection, time.time_ns() // 1000, NUMBERED)
    except (OSError, sqlite3.Error) as error:
        raise JournalFull(f"The journal {path} can't be written ({error}). Mend the folder or its disk.") from None


def make(connection: sqlite3.Connection) -> None:
    """The tables and columns that are not there yet, inside a transaction."""
    for statement in SCHEMA:
        connection.execute(statement)
    for table in NUMBERED:
        if "number" not in {column[1] for column in connection.execute(f"PRAGMA table_info({table})")}:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN number INTEGER")


def connect(path: Path, mode: str = "WAL") -> sqlite3.Connection:
    """A connection that writes; what it commits is on disk. mode: SQLite's journal_mode."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file: what a rotation frees can be given back
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()  # on a full disk many fail, and each would hold its files until it is collected
        raise
    return connection
