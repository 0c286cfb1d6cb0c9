"""Answers that wait for the journal and answers that don't, and what a full disk does to either."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from feature_store.errors import JournalFull
from feature_store.task import Task
from serving import bundle, cache, lost
from serving.journal import Journal
from serving.verify import verify
from tests.conftest import Home, Server, need, serving, until
from tests.kept import entry, rows
from tests.made import STAYED, of_task, version

CASE: dict[str, Any] = {"age": 71, "days": 9, "ward": "medical", "alone": True}
MAX = {"rows": [CASE] * 200}
SPACE = "6m"


def made(home: Path) -> Home:
    """A home that serves `stay`, whose answers wait for the journal, and `stay_later`, whose answers don't."""
    (home / "cache").mkdir(parents=True)
    later = STAYED.model_copy(update={"task": "stay_later", "journal": "async"})
    for task in (STAYED, later):
        bundle.write(of_task(version("regression").bundle, task), home / f"new-{task.task}")
        cache.publish(home / "cache", task.task, "1", home / f"new-{task.task}", "by hand")
    return Home(home, home)


def asked(server: Server, task: str, body: dict[str, Any]) -> list[str]:
    response = server.post(f"/v1/{task}/predict", json=body)
    assert response.status_code == 200, response.text
    return [answer["prediction_id"] for answer in response.json()["answers"]]


def kept(home: Home, task: str) -> list[str]:
    return [one for (one,) in rows(home.home / "journal.db", "SELECT prediction_id FROM answers WHERE task = ?", task)]


def test_a_task_is_durable_unless_it_says_async():
    assert STAYED.journal == "durable"
    with pytest.raises(ValidationError):
        Task.model_validate({**STAYED.model_dump(mode="json"), "journal": "never"})


def test_answers_that_do_not_wait_are_all_written_when_the_server_ends(tmp_path):
    home = made(tmp_path / "home")
    ids: list[str] = []
    with serving(home, "--workers", "2") as server:
        for _ in range(20):
            ids += asked(server, "stay_later", {"rows": [CASE] * 10})
        ids += asked(server, "stay_later", {"rows": [CASE] * 1000})
        assert server.stop() == 0
        assert server.log.read_text().count('"journal_head"') == 4, "each worker told where the chain began and ended"
    assert sorted(kept(home, "stay_later")) == sorted(ids)
    assert verify(home.home / "journal.db").fault is None


def test_what_can_not_be_written_of_a_task_that_does_not_wait_is_counted_and_noted_in_the_chain(tmp_path, capfd):
    path = tmp_path / "journal.db"
    journal = Journal(path)
    rows(path, "ALTER TABLE answers RENAME TO away")
    journal.keep_later("stay", [entry("a"), entry("b")])
    journal.keep_later("other", [entry("c", "other")])
    until(lambda: journal.lost() == {"stay": 2, "other": 1}, 20, lambda: str(journal.lost()))
    rows(path, "ALTER TABLE away RENAME TO answers")
    journal.keep_later("stay", [entry("d")])
    journal.close()
    told = capfd.readouterr().err
    assert told.count('"answers_lost"') == 1, "one line in ten seconds"
    assert told.count('"answers_lost_noted"') == 2
    assert rows(path, "SELECT prediction_id FROM answers") == [("d",)]
    assert verify(path).fault is None
    ((first,), (second,)) = rows(path, "SELECT record FROM chain WHERE kind = 'lost' ORDER BY number")
    assert '"task": "stay", "answers": 2' in first
    assert '"task": "other", "answers": 1' in second


def test_answers_beyond_what_may_wait_in_memory_are_lost_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(lost, "MOST_WAITING", 3)
    journal = Journal(tmp_path / "journal.db")
    journal.keep_later("stay", [entry(str(n)) for n in range(4)])
    assert journal.lost() == {"stay": 4}
    journal.keep_later("stay", [entry(str(n)) for n in range(3)])
    journal.close()
    assert len(rows(tmp_path / "journal.db", "SELECT 1 FROM answers")) == 3
    assert journal.lost() == {}, "it stands in the journal now"


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    need(os.geteuid() == 0 and shutil.which("mount"), "mounting a small file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SPACE}", "none", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    need(done.returncode == 0, f"no tmpfs can be mounted here: {done.stderr}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)  # also where a failed test left a file open


def fill(place: Path) -> Path:
    """A file that takes all space that is left."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as sink:
        try:
            while sink.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    return filler


def test_on_a_full_disk_durable_answers_stop_others_go_on_and_with_space_all_go_on_without_a_restart(small_disk):
    home = made(small_disk / "home")
    journal, noted = home.home / "journal.db", 0
    with serving(home) as server:
        ids = asked(server, "stay", {"rows": [CASE]})
        for _ in range(2):
            filler, refused = fill(small_disk), 0
            for _ in range(60):  # the write-ahead log may have room left
                response = server.post("/v1/stay/predict", json=MAX)
                if response.status_code == 200:
                    ids += [answer["prediction_id"] for answer in response.json()["answers"]]
                else:
                    assert response.status_code == 507
                    assert response.json()["type"].endswith("journal-full")
                    refused += 1
            assert refused
            for _ in range(20):
                assert server.post("/v1/stay_later/predict", json=MAX).status_code == 200
            filler.unlink()
            until(lambda: answers(server), 30, lambda: "it does not go on")
            asked(server, "stay_later", {"rows": [CASE]})
            noted += 1
            until(lambda: len(lost_notes(journal)) >= noted, 30, lambda: str(lost_notes(journal)))  # noqa: B023
        assert server.stop() == 0
    assert set(ids) <= set(kept(home, "stay")), "what was answered is there"
    found = verify(journal)
    assert found.fault is None
    given = 2 * (20 * 200 + 1)
    assert len(kept(home, "stay_later")) + sum(n for _, n in lost_notes(journal)) == given, "what is lost is counted"


def answers(server: Server) -> bool:
    return server.post("/v1/stay/predict", json={"rows": [CASE]}).status_code == 200


def lost_notes(journal: Path) -> list[tuple[int, int]]:
    found = rows(journal, "SELECT number, json_extract(record, '$.answers') FROM chain WHERE kind = 'lost'")
    return [(number, n) for number, n in found]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_disk_that_is_full_at_once_gives_a_reason_and_no_file_that_can_not_be_read(small_disk):
    path = small_disk / "journal.db"
    journal = Journal(path)
    asyncio.run(journal.keep([entry("first")]))
    filler = fill(small_disk)

    async def until_full() -> tuple[int, int]:
        for number in range(10_000):
            try:
                await journal.keep([entry(f"{number}-{one}") for one in range(100)])
            except Exception as error:
                assert "so it is not sent" in str(error)
                return number, open_files()
        pytest.fail("it was never full")

    async def still_full() -> None:
        for _ in range(20):
            fill(small_disk)  # what a failure gave back: a write-ahead log ends with its last connection
            with pytest.raises(JournalFull):
                await journal.keep([entry(f"one-{one}") for one in range(1000)])

    whole, files = asyncio.run(until_full())
    asyncio.run(still_full())
    assert open_files() <= files + 3, "failing again and again holds no files"
    filler.unlink()
    asyncio.run(journal.keep([entry("after")]))
    journal.close()
    found = verify(path)
    assert (found.fault, found.records) == (None, 2 + 100 * whole + 1)
