"""The journal's tables: how they are made, and what an older file lacks."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from feature_store.place import Place
from serving import chain, journal_store
from serving.journal_store import FAILURES, Connection
from serving.postgres import Failed

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
    *chain.SCHEMA,
)
ONLY_ADDED_TO = {
    "sqlite": (
        "CREATE TRIGGER IF NOT EXISTS levels_stay BEFORE UPDATE ON levels "
        "BEGIN SELECT RAISE(ABORT, 'only added to'); END",
        "CREATE TRIGGER IF NOT EXISTS levels_last BEFORE DELETE ON levels "
        "BEGIN SELECT RAISE(ABORT, 'only added to'); END",
    ),
    "postgres": (
        "CREATE FUNCTION only_added_to() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RAISE EXCEPTION 'only added to'; END $$",
        "CREATE TRIGGER levels_stay BEFORE UPDATE OR DELETE ON levels FOR EACH ROW EXECUTE FUNCTION only_added_to()",
    ),
}
"""The guard of the working levels."""

NUMBERED = ("answers", "outcomes", "corrected_outcomes", "levels")
"""Tables of records; `chain` counts them all."""

TABLES = frozenset({*NUMBERED, "chain"})
COLUMNS = {
    "answers": "prediction_id, at_us, task, version, row, answer, number",
    "outcomes": "prediction_id, at_us, kept_us, task, value, number",
    "corrected_outcomes": "prediction_id, at_us, kept_us, value, until_us, number",
    "chain": "number, kind, record, hash",
}
"""In the order in which they are written; PostgreSQL's tables have a `rowid` besides."""

NEWEST_LEVEL = "SELECT level FROM levels WHERE task = ? AND version = ? ORDER BY rowid DESC LIMIT 1"


def prepare(place: Place) -> None:
    """Make the journal, or what an older file lacks, and begin its chain.

    Raises JournalFull when it can't be written, JournalAway when it can't be reached.
    """
    try:
        begin(place)
    except FAILURES as error:
        remedy = "Mend the folder or its disk." if isinstance(place, Path) else "Mend the server, or its address."
        raise journal_store.refusal(error)(f"The journal {place} can't be written ({error}). {remedy}") from None


def begin(place: Place) -> None:
    """The same. Raises one of FAILURES."""
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(mode=0o600, exist_ok=True)
    with closing(journal_store.connect(place)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        make(connection)
        chain.begin(connection, time.time_ns() // 1000, NUMBERED)


def make(connection: Connection) -> None:
    """The tables and columns that are not there yet, inside a transaction."""
    dialect = journal_store.dialect(connection)
    if dialect == "postgres" and journal_store.begun(connection):
        return  # even to make what is there, it would wait for who reads
    if dialect == "postgres" and (encoding := connection.execute("SHOW server_encoding").fetchone()[0]) != "UTF8":
        raise Failed(f"the database is in {encoding}, and rows are in UTF8: createdb -E UTF8 makes another")
    for statement in (*SCHEMA, *ONLY_ADDED_TO[dialect]):
        connection.execute(statement)
    if dialect == "sqlite":
        for table in NUMBERED:
            if "number" not in {column[1] for column in connection.execute(f"PRAGMA table_info({table})")}:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN number INTEGER")
