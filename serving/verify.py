"""The chain walked: each record of the journal against its hash, through the archives that lie beside it."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from feature_store.errors import JournalAway, JournalFull
from feature_store.place import Place
from serving import archives, chain, journal_store, recall
from serving.archives import Archived
from serving.chain import ELSEWHERE, FIRST, NOTES
from serving.journal_file import NUMBERED
from serving.journal_store import Connection, opened, stream
from serving.postgres import Away, Failed

EVERY = 2000
"""Records between two calls of `progress`."""


@dataclass(frozen=True)
class Fault:
    """The first record that does not hold. number: its place in the chain, None of a row that stands in none;
    kind: answer, outcome, correction, level, or a note; what: edited, deleted, inserted or damaged."""

    number: int | None
    kind: str
    record: str
    what: str
    file: str
    message: str


@dataclass
class Verified:
    """What was found. last, head: number and hash (hex) of the last record; absent: archives that are not beside."""

    records: int = 0
    last: int = 0
    head: str = FIRST.hex()
    files: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    before: int = 0
    """Rows that were written before the chain began: not covered."""
    fault: Fault | None = None


class _Broken(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


class _Link(NamedTuple):
    """One row of `chain` in a file, beside the answer that it names."""

    number: int
    own: bool
    shelf: _Shelf
    kind: str
    record: str
    hash: bytes
    answer: tuple[Any, ...]


class _Shelf:
    """One file of the journal while it is walked."""

    def __init__(self, place: Place, connection: Connection) -> None:
        self.name, self.connection = journal_store.name(place), connection
        if isinstance(connection, sqlite3.Connection):
            connection.text_factory = _text
        self._levels = stream(
            connection,
            "SELECT number, prediction_id, task, version, at_us, level FROM levels WHERE number IS NOT NULL "
            "ORDER BY rowid",
        )

    def close(self) -> None:
        """Let go of the file at once, not when the cursor is collected."""
        self._levels.close()

    def links(self) -> Iterator[_Link]:
        rows = stream(
            self.connection,
            "SELECT c.number, c.kind, c.record, c.hash, a.number, a.prediction_id, a.at_us, a.task, a.version, a.row, "
            "a.answer FROM chain AS c LEFT JOIN answers AS a ON c.kind = 'answer' AND a.prediction_id = c.record "
            "ORDER BY c.number",
        )
        for number, kind, record, digest, *answer in rows:
            mended = digest if isinstance(digest, bytes) else b""
            yield _Link(number, kind != ELSEWHERE, self, kind, record, mended, tuple(answer))

    def content(self, link: _Link) -> Sequence[Any] | None:
        """What the tables hold of a record, as it was hashed; None where it is not there."""
        if link.kind in NOTES:
            return (link.record,)
        if link.kind == "answer":
            return link.answer[1:] if link.answer[0] == link.number else None
        if link.kind == "level":
            row = self._levels.fetchone()
            return (row[1] or "", *row[2:]) if row is not None and row[0] == link.number else None
        return self._outcome(link)

    def _outcome(self, link: _Link) -> Sequence[Any] | None:
        now = self.connection.execute(
            "SELECT at_us, kept_us, value, NULL, number, task FROM outcomes WHERE prediction_id = ?", (link.record,)
        ).fetchone()
        versions = self.connection.execute(
            "SELECT at_us, kept_us, value, until_us, number FROM corrected_outcomes WHERE prediction_id = ? "
            "ORDER BY rowid", (link.record,)
        ).fetchall()  # fmt: skip
        if now is None:
            return None
        versions.append(now[:-1])
        place = next((place for place, one in enumerate(versions) if one[4] == link.number), None)
        if place is None or (link.kind == "correction" and place == 0):
            return None
        at, kept, value, *_ = versions[place]
        content = (link.record, at, kept, now[-1], value)
        return content if link.kind == "outcome" else (*content, *versions[place - 1])

    def strangers(self) -> Iterator[tuple[str, str]]:
        """Rows, by kind and id, that say they are in the chain and are not."""
        for kind, table, kinds in (
            ("answer", "answers", "'answer'"),
            ("outcome", "outcomes", "'outcome', 'correction'"),
            ("outcome", "corrected_outcomes", "'outcome', 'correction'"),
            ("level", "levels", "'level'"),
        ):
            query = (
                f"SELECT coalesce(t.prediction_id, '') FROM {table} AS t LEFT JOIN chain AS c ON c.number = t.number "  # noqa: S608
                f"AND c.record = coalesce(t.prediction_id, '') AND c.kind IN ({kinds}) "
                "WHERE t.number IS NOT NULL AND c.number IS NULL ORDER BY t.rowid LIMIT 1"
            )
            for (record,) in self.connection.execute(query):
                yield kind, record
        twice = (
            "SELECT min(prediction_id) FROM (SELECT prediction_id, number FROM outcomes UNION ALL "
            "SELECT prediction_id, number FROM corrected_outcomes) AS told WHERE number IS NOT NULL "
            "GROUP BY number HAVING count(*) > 1 LIMIT 1"
        )
        for (record,) in self.connection.execute(twice):
            yield "outcome", record
        for number, record, *_ in self._levels:
            yield "level", f"{record or ''} (number {number})"

    def unnumbered(self) -> dict[str, int]:
        """By table, the rows from before the chain."""
        return {
            table: self.connection.execute(f"SELECT count(*) FROM {table} WHERE number IS NULL").fetchone()[0]  # noqa: S608
            for table in NUMBERED
        }


def verify(
    place: Place, head: tuple[int, str] | None = None, progress: Callable[[int, int], None] = lambda done, total: None,
    beside: bool = True,
) -> Verified:  # fmt: skip
    """Walk the chain to its end or to the first record that does not hold.

    head: number and hash (hex) that were written down elsewhere: only with them is it seen that the last records are
    gone, or that the chain was made anew. progress: called with records done and records in all. beside: walk the
    archives that lie beside it too. Raises JournalFull when there is no journal that can be opened, JournalAway when it
    can't be reached.
    """
    if not journal_store.exists(place):
        where = (
            "GANCAO_HOME to the folder in which" if isinstance(place, Path) else "GANCAO_JOURNAL to the URL at which"
        )
        raise JournalFull(f"There is no journal {place}. Set {where} it is.")
    found, path = Verified(files=[journal_store.name(place)]), journal_store.file(place)
    try:
        recall.mend(place)
        with ExitStack() as stack:
            shelves = [stack.enter_context(_opened(place))]
            named = archives.of(shelves[0].connection)
            for archive in named:
                if beside and (path.parent / archive.file).is_file():
                    found.files.append(archive.file)
                    archives.settle(path.parent / archive.file)
                    shelves.append(stack.enter_context(_opened(path.parent / archive.file)))
                else:
                    found.absent.append(archive.file)
            _walk(shelves, found, head, progress)
            _loose(shelves, named, found)
            _moved(named, found)
            for shelf in shelves:
                _sound(shelf)
    except _Broken as broken:
        found.fault = broken.fault
    except Away as error:
        raise JournalAway(f"The journal {place} went away ({error}). Verify it again later.") from None
    except (sqlite3.DatabaseError, Failed, JournalFull) as error:
        told = f"After record {found.last} a file can't be read: {error}"
        found.fault = Fault(found.last + 1, "", "", "damaged", "", told)
    return found


@contextmanager
def _opened(place: Place) -> Iterator[_Shelf]:
    with opened(place) as connection:
        journal_store.one_state(connection)
        with closing(_Shelf(place, connection)) as shelf:
            yield shelf


def _walk(
    shelves: list[_Shelf], found: Verified, head: tuple[int, str] | None, progress: Callable[[int, int], None]
) -> None:
    total = chain.head(shelves[0].connection)[0]
    before = FIRST
    links = heapq.merge(*(shelf.links() for shelf in shelves), key=lambda link: (link.number, not link.own))
    for number, group in groupby(links, key=lambda link: link.number):
        same = list(group)
        first = same[0]
        if number != found.last + 1 and (first.own or not found.absent):
            missing = f"Record {found.last + 1} is not in the chain, though record {number} is: it was deleted."
            raise _Broken(Fault(found.last + 1, "", "", "deleted", first.shelf.name, missing))
        if any(link.hash != first.hash for link in same):
            raise _broken(first, "edited", "its hash is not the same in two files")
        if first.own:
            _check(first, before)
            found.records += 1
        elif not found.absent:
            raise _broken(first, "deleted", f"it should be in {first.record or 'another file'} and is not")
        found.last, before = number, first.hash
        if head is not None and number == head[0] and first.hash.hex() != head[1]:
            raise _broken(first, "edited", "its hash is not the one of --head: the chain was made anew up to here")
        if number % EVERY == 0:
            progress(number, total)
    if not found.last:
        raise _Broken(Fault(1, "start", "", "deleted", shelves[0].name, "The chain is empty: its start was deleted."))
    found.head = before.hex()
    progress(found.last, total)
    if head is not None and found.last < head[0]:
        gone = f"The chain ends at record {found.last}, and --head names record {head[0]}: the last ones were deleted."
        raise _Broken(Fault(found.last + 1, "", "", "deleted", shelves[0].name, gone))


def _check(link: _Link, before: bytes) -> None:
    content = link.shelf.content(link)
    if content is None:
        raise _broken(link, "deleted", "its row is gone, or bears another number")
    if chain.digest(before, (link.number, link.kind, *content)) != link.hash:
        raise _broken(link, "edited", "it is not what was hashed")


def _broken(link: _Link, what: str, why: str) -> _Broken:
    note, file = link.kind in NOTES, link.shelf.name
    name = link.kind if note else f"{link.kind} {link.record}"
    message = f"Record {link.number} ({name}) in {file} was {what}: {why}."
    return _Broken(Fault(link.number, link.kind, "" if note else link.record, what, file, message))


_COUNTED = {"answers": ("answers",), "outcomes": ("outcomes", "corrected_outcomes"), "levels": ("levels",)}
"""Tables whose rows from before the chain are counted together: a correction moves an outcome to the other table."""


def _loose(shelves: list[_Shelf], named: list[Archived], found: Verified) -> None:
    """Rows that stand in no chain: those from before it are counted, others were inserted."""
    for shelf in shelves:
        for kind, record in shelf.strangers():
            message = f"A row of {shelf.name} ({kind} {record}) is in no chain: it was inserted."
            raise _Broken(Fault(None, kind, record, "inserted", shelf.name, message))
    due = {archive.file: archive.unchained for archive in named}
    due[shelves[0].name] = archives.unchained(shelves[0].connection, named)
    unfinished = {archive.file for archive in named if not archive.finished}
    for shelf in shelves:
        there = shelf.unnumbered()
        for table, tables in _COUNTED.items():
            n, expected = (sum(some.get(one, 0) for one in tables) for some in (there, due[shelf.name]))
            if n < expected or (n > expected and shelf.name not in unfinished):
                what = "inserted" if n > expected else "deleted"
                told = f"{shelf.name} has {n} rows of {table} from before the chain, where {expected} were noted"
                raise _Broken(Fault(None, table, "", what, shelf.name, f"{told}: {abs(n - expected)} {what}."))
            found.before += expected


def _moved(named: list[Archived], found: Verified) -> None:
    """As many records are elsewhere as the rotations say."""
    away = sum(archive.records for archive in named if archive.file in found.absent)
    if found.records + away != found.last:
        message = f"{found.last - found.records} records are not here, and rotations moved {away} to absent archives."
        raise _Broken(Fault(None, "", "", "deleted", "", message))


def _sound(shelf: _Shelf) -> None:
    """SQLite's own look at the file: what no record shows, such as an index from which a row is missing."""
    if not isinstance(shelf.connection, sqlite3.Connection):
        return
    told = shelf.connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if told != "ok":
        raise _Broken(Fault(None, "", "", "damaged", shelf.name, f"{shelf.name} is damaged: {told}"))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")  # what was edited may be no text any more: its hash tells
