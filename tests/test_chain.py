"""The chain: whatever is edited, deleted or inserted in the journal shows, and what does not show is said."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from feature_store.place import Place, Remote
from serving import journal_store
from serving.verify import Verified, verify
from tests.conftest import ROOT, home_of
from tests.kept import all_rows, entry, keep, of_every_kind, rows, slowly, tell

KEEPER = """
import asyncio, sys
from pathlib import Path
from feature_store.place import Remote
from serving.journal import Journal
from tests.kept import entry
async def ask(journal, name):
    await asyncio.gather(*(journal.keep([entry(f"{name}-{n}")]) for n in range(100)))
path, url = Path(sys.argv[1]), sys.argv[3]
journal = Journal(Remote(url, path) if url else path)
asyncio.run(ask(journal, sys.argv[2]))
journal.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = tmp_path / "journal.db"
    of_every_kind(journal)
    return journal


@pytest.fixture
def journal(place: Place) -> Place:
    """The same in either store."""
    of_every_kind(place)
    return place


def test_a_journal_of_every_kind_of_record_holds(journal):
    path = journal
    found = verify(path)
    assert found.fault is None
    kinds = dict(rows(path, "SELECT kind, count(*) FROM chain GROUP BY kind"))
    assert kinds == {"start": 1, "answer": 9, "outcome": 3, "correction": 2, "level": 3}
    assert (found.records, found.last, found.before) == (18, 18, 0)


def test_the_hashes_are_those_that_anybody_can_make_from_the_tables(journal):
    path = journal
    assert slowly(path) == [digest.hex() for (digest,) in rows(path, "SELECT hash FROM chain ORDER BY number")]


def test_several_processes_share_one_chain(place):
    path, url = place, place.url if isinstance(place, Remote) else ""
    command = [sys.executable, "-c", KEEPER, str(journal_store.file(place))]
    keepers = [subprocess.Popen([*command, name, url], cwd=ROOT) for name in ("one", "two", "three")]
    assert [keeper.wait(60) for keeper in keepers] == [0, 0, 0]
    found = verify(path)
    assert (found.fault, found.records) == (None, 301)


EDITS = {
    "answers": ("at_us", "task", "version", "row", "answer", "number"),
    "outcomes": ("at_us", "kept_us", "task", "value", "number"),
    "corrected_outcomes": ("at_us", "kept_us", "value", "until_us", "number"),
    "levels": ("at_us", "task", "version", "level", "prediction_id", "number"),
    "chain": ("kind", "record", "hash"),
}


@pytest.mark.parametrize(("table", "column"), [(table, column) for table, all_ in EDITS.items() for column in all_])
def test_a_changed_value_is_found_and_the_first_record_it_touches_is_named(path, table, column):
    rows(path, "DROP TRIGGER levels_stay")
    places = [rowid for (rowid,) in rows(path, f"SELECT rowid FROM {table}")]
    for rowid in places:
        copy = path.with_name(f"{rowid}.db")
        shutil.copy(path, copy)
        own = "rowid, record" if table == "chain" else "number, prediction_id"
        ((number, record),) = rows(copy, f"SELECT {own} FROM {table} WHERE rowid = ?", rowid)
        rows(copy, f"UPDATE {table} SET {column} = {changed(column)} WHERE rowid = ?", rowid)
        fault = verify(copy).fault
        assert fault is not None
        assert fault.what in ("edited", "deleted", "inserted")
        assert fault.number == number or fault.record == record, fault


def changed(column: str) -> str:
    if column.endswith("_us") or column == "number":
        return f"{column} + 1000"
    if column == "level":
        return "level + 1e-9"
    if column == "hash":
        last = "CASE substr(hash, 32) WHEN x'00' THEN x'01' ELSE x'00' END"  # another than it is
        return f"CAST(substr(hash, 1, 31) || {last} AS BLOB)"
    return f"coalesce({column}, '') || 'x'"


def test_a_one_byte_edit_of_the_file_is_found(path):
    chance = random.Random(0)
    texts = [text for row in rows(path, "SELECT row, answer FROM answers") for text in row]
    content = path.read_bytes()
    for text in texts:
        place = content.index(text.encode())
        edited = bytearray(content)
        edited[place + chance.randrange(len(text.encode()))] ^= 1 << chance.randrange(8)
        copy = path.with_name("copy.db")
        copy.write_bytes(edited)
        found = verify(copy)
        assert found.fault is not None
        assert (found.fault.kind, found.fault.what) == ("answer", "edited")


def test_a_flipped_bit_anywhere_in_the_file_changes_no_record_unseen(path):
    chance, before = random.Random(1), all_rows(path)
    content = path.read_bytes()
    seen = 0
    for _ in range(60):
        edited = bytearray(content)
        edited[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        copy = path.with_name("copy.db")
        copy.write_bytes(edited)
        if verify(copy).fault is None:
            assert all_rows(copy) == before, "it was free space, or a comment of the file's own"
        else:
            seen += 1
    assert seen


@pytest.mark.parametrize("one", ["a", "d", "h"])
def test_a_deleted_answer_is_named_also_where_its_link_was_deleted_too(journal, one):
    path = journal
    ((number,),) = rows(path, "SELECT number FROM answers WHERE prediction_id = ?", one)
    rows(path, "DELETE FROM answers WHERE prediction_id = ?", one)
    fault = verify(path).fault
    assert fault is not None
    assert (fault.number, fault.record, fault.what) == (number, one, "deleted")
    rows(path, "DELETE FROM chain WHERE number = ?", number)
    fault = verify(path).fault
    if one == "h":
        assert fault is None, "the last one: only a head that was kept elsewhere shows it"
    else:
        assert fault is not None
        assert (fault.number, fault.what) == (number, "deleted")


def test_a_head_that_was_kept_elsewhere_shows_that_the_last_record_is_gone_or_the_chain_was_made_anew(journal):
    path = journal
    before = verify(path)
    head = (before.last, before.head)
    keep(path, "later")
    assert verify(path, head).fault is None, "what comes later is no fault"
    rows(path, "DELETE FROM answers WHERE prediction_id IN ('h', 'later')")
    rows(path, "DELETE FROM chain WHERE number >= ?", before.last)
    assert verify(path).fault is None
    fault = verify(path, head).fault
    assert fault is not None
    assert (fault.number, fault.what) == (before.last, "deleted")
    keep(path, "forged")
    assert verify(path).fault is None
    fault = verify(path, head).fault
    assert fault is not None
    assert (fault.number, fault.what) == (before.last, "edited")


@pytest.mark.parametrize("number", ["NULL", "3", "99"])
@pytest.mark.parametrize("values", [
    "answers VALUES ('z', 1, 'stay', '1', '{}', '{}', %s)",
    "outcomes VALUES ('d', 1, 1, 'stay', '1', %s)",
    "corrected_outcomes VALUES ('b', 1, 1, '1', 2, %s)",
    "levels VALUES ('stay', '1', 1, 0.5, NULL, %s)",
])  # fmt: skip
def test_an_inserted_row_is_found(journal, values, number):
    path = journal
    rows(path, f"INSERT INTO {values % number}")
    fault = verify(path).fault
    assert fault is not None
    assert fault.what in ("inserted", "edited", "deleted")
    if number == "NULL":
        assert fault.what == "inserted"


def test_a_link_that_was_forged_at_the_end_is_found(journal):
    path = journal
    row = entry("z")
    rows(path, "INSERT INTO answers VALUES ('z', 1, 'stay', '1', ?, ?, 19)", row.row, row.answer)
    rows(path, "INSERT INTO chain VALUES (19, 'answer', 'z', ?)", random.Random(2).randbytes(32))
    fault = verify(path).fault
    assert fault is not None
    assert (fault.number, fault.record) == (19, "z")


OLDER = """
CREATE TABLE answers (prediction_id TEXT PRIMARY KEY, at_us INTEGER NOT NULL, task TEXT NOT NULL,
    version TEXT NOT NULL, row TEXT NOT NULL, answer TEXT NOT NULL);
CREATE TABLE outcomes (prediction_id TEXT PRIMARY KEY, at_us INTEGER NOT NULL, kept_us INTEGER NOT NULL,
    task TEXT NOT NULL, value TEXT NOT NULL);
INSERT INTO answers VALUES ('old', 5, 'stay', '1', '{}', '{}'), ('older', 4, 'stay', '1', '{}', '{}');
INSERT INTO outcomes VALUES ('old', 5, 5, 'stay', '4.0');
"""


def older(path: Path) -> Verified:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLDER)
    keep(path, "new")
    tell(path, ("old", 6.0), ("older", 3.0))
    return verify(path)


def test_the_chain_of_an_older_journal_begins_with_its_first_new_record(tmp_path):
    path = tmp_path / "journal.db"
    found = older(path)
    assert (found.fault, found.records, found.before) == (None, 4, 3)
    assert rows(path, "SELECT value FROM corrected_outcomes") == [("4.0",)]
    rows(path, "UPDATE answers SET row = 'edited' WHERE prediction_id = 'old'")
    assert verify(path).fault is None, "what was written before is not covered"
    rows(path, "UPDATE corrected_outcomes SET value = '5.0'")
    fault = verify(path).fault
    assert fault is not None, "but for an outcome that was corrected since"
    assert (fault.kind, fault.record) == ("correction", "old")


@pytest.mark.parametrize("change", [
    "DELETE FROM answers WHERE prediction_id = 'older'",
    "INSERT INTO answers VALUES ('oldest', 3, 'stay', '1', '{}', '{}', NULL)",
])  # fmt: skip
def test_of_an_older_journal_the_number_of_rows_is_covered(tmp_path, change):
    path = tmp_path / "journal.db"
    older(path)
    rows(path, change)
    fault = verify(path).fault
    assert fault is not None
    assert fault.what == ("deleted" if change.startswith("DELETE") else "inserted")


def test_a_file_that_is_no_journal_is_told_to_be_damaged(path):
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 3] = b"\0" * 8192
    path.write_bytes(content)
    fault = verify(path).fault
    assert fault is not None
    assert fault.what in ("damaged", "edited", "deleted")


def test_the_command_verifies_and_looks_answers_up(journal):
    path, home = journal, home_of(journal)
    document = home.json("journal", "verify")
    assert document["holds"] is True
    shown = home.json("journal", "show", "stay", "--limit", "3")["answers"]
    assert [one["prediction_id"] for one in shown] == ["h", "g", "f"], "the newest first"
    (one,) = home.json("journal", "show", "stay", "--id", "a")["answers"]
    assert (one["outcome"], one["row"]["age"], one["answer"]["value"]) == (6.5, 40, 3.0)
    assert home.json("journal", "show", "stay", "--until", "2024-03-01", code=1)["answers"] == []
    assert "other, stay" in home.run("journal", "show", "nothing", code=1).stdout
    assert "6.5" in home.run("journal", "show", "stay").stdout
    rows(path, "DELETE FROM answers WHERE prediction_id = 'h'")
    assert home.json("journal", "verify", "--head", document["head"], code=1)["fault"]["record"] == "h"
    assert "Record 18 (answer h)" in home.run("journal", "verify", code=1).stdout
    home.run("journal", "verify", "--head", "18", code=2)
