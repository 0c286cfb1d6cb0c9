"""Rotation: older answers move to a file beside, and nothing is lost, doubled or unfindable by it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import subprocess
import sys
import time

import pytest

from experiments import monitor as command
from feature_store.errors import JournalBusy
from feature_store.place import Place, Remote
from feature_store.settings import Settings
from feature_store.task import dumps
from serving import archives, journal_store, outcomes, recall, rotate
from serving.counts import Counts
from serving.journal import Journal
from serving.look_up import look_up
from serving.verify import verify
from tests.conftest import ROOT, home_of
from tests.kept import all_rows, beside, keep, of_every_kind, rows, tell
from tests.made import STAYED
from tests.test_chain import older

FULL = os.environ.get("GANCAO_PROOFS") == "full"


@pytest.fixture(autouse=True)
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate, "ROUND", 2)
    monkeypatch.setattr(rotate, "PAUSE_S", 0.0)


@pytest.fixture
def path(place: Place) -> Place:
    of_every_kind(place)
    return place


def given(path: Place, one: str) -> int:
    """When an answer was given."""
    ((at_us,),) = rows(path, "SELECT at_us FROM answers WHERE prediction_id = ?", one)
    return int(at_us)


def ids(path: Place) -> str:
    return "".join(one for (one,) in rows(path, "SELECT prediction_id FROM answers ORDER BY prediction_id"))


def test_older_answers_move_with_their_outcomes_and_every_row_is_in_one_file(path):
    before = all_rows(path)
    moved = rotate.rotate(path, given(path, "f"))
    archive = beside(path, "journal-0001.db")
    assert (moved.file, moved.answers, moved.outcomes) == (archive.name, 6, 3)
    assert (ids(path), ids(archive)) == ("fgh", "abcdex")
    assert all_rows(path, archive) == before, "to the bit"
    assert archive.stat().st_mode & 0o077 == 0, "its owner's only"
    assert [file.name for file in archive.parent.iterdir() if file.name.startswith("journal-")] == [archive.name]
    found = verify(path)
    assert (found.fault, found.files) == (None, [journal_store.name(path), "journal-0001.db"])
    assert rows(path, "SELECT count(*) FROM levels") == [(3,)], "the working levels stay"


def test_an_answer_whose_outcome_came_or_was_corrected_since_stays(path):
    rotate.rotate(path, given(path, "c"))
    assert ids(path) == "acdefgh", "a was corrected later"
    assert ids(beside(path, "journal-0001.db")) == "bx"
    assert verify(path).fault is None
    rotate.rotate(path, given(path, "h"))
    assert (ids(path), ids(beside(path, "journal-0002.db"))) == ("h", "acdefg")
    assert verify(path).fault is None
    keep(path, "i")
    tell(path, ("h", 3.0))
    assert verify(path).fault is None
    assert rotate.rotate(path, 5) == rotate.Rotated(), "nothing to move makes no file"


def test_an_edit_in_an_archive_is_found_and_an_absent_archive_is_told(path):
    rotate.rotate(path, given(path, "f"))
    archive = beside(path, "journal-0001.db")
    aside = archive.rename(beside(path, "elsewhere.db"))
    found = verify(path)
    assert (found.fault, found.absent) == (None, [archive.name])
    rows(path, "DELETE FROM answers WHERE prediction_id = 'f'")
    rows(path, "UPDATE chain SET kind = 'elsewhere', record = 'journal-0001.db' WHERE record = 'f'")
    fault = verify(path).fault
    assert fault is not None, "a record that was deleted does not pass for one that was moved"
    aside.rename(archive)
    assert verify(path).fault is not None
    keep(path, "z")
    rows(archive, "UPDATE outcomes SET value = '4.5' WHERE prediction_id = 'c'")
    fault = verify(path).fault
    assert fault is not None
    assert (fault.record, fault.file) == ("c", archive.name)


def test_rows_from_before_the_chain_move_and_are_counted_where_they_went(tmp_path):
    path = tmp_path / "journal.db"
    older(path)
    keep(path, "last")
    rotate.rotate(path, given(path, "last"))
    found = verify(path)
    assert (found.fault, found.before) == (None, 3)
    rows(beside(path, "journal-0001.db"), "DELETE FROM answers WHERE prediction_id = 'older'")
    assert verify(path).fault is not None


def test_counters_say_the_same_before_and_after_and_in_every_worker(path):
    later = time.time_ns() // 1000 + 1
    long_there = Counts(path)
    long_there.look(later)
    before = (dict(long_there.answers), dict(long_there.outcomes), dict(long_there.warnings))
    rotate.rotate(path, given(path, "f"))
    started = Counts(path)
    for counts in (long_there, started):
        counts.look(later)
        assert (dict(counts.answers), dict(counts.outcomes), dict(counts.warnings)) == before
    keep(path, "i")
    for counts in (long_there, started):
        counts.look(time.time_ns() // 1000 + 1)
        assert counts.answers["stay", "1"] == before[0]["stay", "1"] + 1


def test_who_looks_for_an_answer_that_moved_is_told_where_it_is(path, tmp_path):
    rotate.rotate(path, given(path, "f"))
    journal = Journal(path)
    items = [{"prediction_id": "b", "value": 9}, {"key": {"age": 41}, "value": 9}, {"prediction_id": "f", "value": 9}]
    found = asyncio.run(outcomes.keep(journal, STAYED, (), items))
    journal.close()
    assert [one.code for one in found] == ["unknown_prediction", "no_match", None]
    for one in found[:2]:
        assert one.message is not None
        assert one.message.endswith("are in journal-0001.db.")
    assert [one.prediction_id for one in look_up(path, "stay", recall.EVER, 2**62)] == list("hgfdecab")
    assert [one.outcome for one in look_up(path, "stay", recall.EVER, 2**62, "a")] == [6.5]
    task = tmp_path / "stay.yaml"
    task.write_text(dumps(STAYED), encoding="utf-8")
    settings = Settings(home=tmp_path, journal=path.url if isinstance(path, Remote) else "")
    document, _ = command.monitor(str(task), settings, "30d", None)
    assert [one["file"] for one in document["archives"]] == ["journal-0001.db"]
    assert sum(document["answers"].values()) == 3


def test_the_command_moves_nothing_of_a_journal_whose_chain_is_broken_or_that_is_too_young(path):
    home = home_of(path)
    home.run("journal", "rotate", "--keep", "0d", code=2)
    home.run("journal", "rotate", code=2)
    assert home.json("journal", "rotate", "--keep", "400d")["file"] == ""
    rows(path, "UPDATE answers SET row = '{}' WHERE prediction_id = 'd'")
    assert "Nothing was moved" in home.run("journal", "rotate", "--before", "2024-03-01", code=1).stdout


def test_one_rotation_at_a_time(path):
    with beside(path, "journal.db-rotating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(JournalBusy, match="Wait for it"):
            rotate.rotate(path, given(path, "f"))


def test_a_file_that_the_journal_knows_nothing_of_is_left_alone(path):
    beside(path, "journal-0001.db").write_text("someone's")
    assert rotate.rotate(path, given(path, "f")).file == "journal-0002.db"
    assert beside(path, "journal-0001.db").read_text() == "someone's"


ROTATE = """
import sys
from pathlib import Path
from feature_store.place import Remote
from serving import rotate
rotate.ROUND, rotate.PAUSE_S = 3, 0.0
print("begins", flush=True)
path, url = Path(sys.argv[1]), sys.argv[2]
rotate.rotate(Remote(url, path) if url else path, int(sys.argv[3]), lambda moved: print(moved, flush=True))
"""


@pytest.mark.proof
def test_kill_9_in_the_middle_of_a_rotation_loses_and_doubles_nothing(place):
    """In full: 50 kills. After each the journal holds, and what is looked up is what was given."""
    path, chance, names = place, random.Random(0), []
    words = [str(journal_store.file(place)), place.url if isinstance(place, Remote) else ""]
    landed, longest_s = 0, 0.3
    for number in range(50 if FULL else 3 if words[1] else 8):
        names += [f"{number:02d}-{one:02d}" for one in range(60)]
        keep(path, *names[-60:])
        tell(path, *((one, 3.0) for one in names[-60::7]), *((one, 4.0) for one in names[-60::21]))
        until = time.time_ns() // 1000
        process = subprocess.Popen(
            [sys.executable, "-c", ROTATE, *words, str(until)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        if words[1]:  # there it takes a while to begin
            process.stdout.readline()
        time.sleep(chance.uniform(0.0, longest_s))
        process.kill()
        process.wait()
        process.stdout.close()
        within = any(not one.finished for one in archives.archives(path))
        landed, longest_s = landed + within, longest_s if within else longest_s / 2  # a fast machine is done before
        assert verify(path).fault is None
        shown = [one.prediction_id for one in look_up(path, "stay", recall.EVER, 2**62)]
        assert sorted(shown) == names, "each once"
    rotate.rotate(path, time.time_ns() // 1000)
    files = [path, *(beside(path, one.file) for one in archives.archives(path))]
    assert [row[0] for row in all_rows(*files)["answers"]] == names, "in one file each"
    outcomes_ = all_rows(*files)["outcomes"]
    assert len(outcomes_) == len({row[0] for row in outcomes_}) == sum(len(names[at : at + 60 : 7]) for at in
                                                                       range(0, len(names), 60))  # fmt: skip
    assert verify(path).fault is None
    assert landed, "some kills fell within a rotation"
