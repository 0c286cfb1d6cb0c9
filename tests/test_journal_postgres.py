"""The journal in PostgreSQL: what was answered is there, whatever is killed, restarted, away or full meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from experiments import journal as shell
from experiments import monitor as monitoring
from feature_store.errors import JournalAway, JournalBusy, JournalFull, Usage
from feature_store.place import Remote
from feature_store.settings import Settings, from_environment
from feature_store.task import dumps
from serving import archives, counts, journal_store, outcomes, postgres, recall, rotate
from serving.journal import Journal
from serving.look_up import look_up
from serving.verify import verify
from tests import servers
from tests.conftest import Server, need, schema, serving, until
from tests.kept import all_rows, beside, entry, of_every_kind, rows
from tests.made import STAYED
from tests.test_journal import CASE, MAX, answers, fill, made

FULL = os.environ.get("GANCAO_PROOFS") == "full"


@pytest.fixture
def remote(postgres_url: str, tmp_path: Path) -> Iterator[Remote]:
    """Where a journal may be, in PostgreSQL."""
    with schema(postgres_url) as url:
        yield Remote(url, tmp_path / "journal.db")


# --- what is written, and what is read back ------------------------------------------------------------------------


def test_the_words_of_a_place_and_of_its_errors_tell_no_password(tmp_path):
    place = Remote(
        "postgresql://ward:s3cret@db.example:5432/journal?password=s3cret&sslmode=require", tmp_path / "j.db"
    )
    assert str(place) == "postgresql://ward@db.example:5432/journal"
    assert "s3cret" not in repr(place)
    nobody = Remote("postgresql://ward:s3cret@127.0.0.1:1/journal", tmp_path / "j.db")
    with pytest.raises(JournalAway) as told:
        recall.find(nobody, "stay", "a")
    assert "s3cret" not in str(told.value)
    assert "can't be reached" in str(told.value)


def test_a_setting_that_is_no_url_is_refused_without_its_words():
    with pytest.raises(Usage, match="GANCAO_JOURNAL") as told:
        from_environment({"GANCAO_JOURNAL": "mysql://ward:s3cret@db/journal"})
    assert "s3cret" not in str(told.value)
    assert Settings().journal_place == Path(".gancao/journal.db")


def test_a_commit_waits_for_the_disk_whatever_the_database_says(remote):
    with psycopg.connect(remote.url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE gancao SET synchronous_commit = off")
    try:
        with closing(journal_store.connect(remote)) as writing, writing:
            writing.execute("BEGIN IMMEDIATE")
            assert writing.execute("SHOW synchronous_commit").fetchone() == ("on",)
    finally:
        with psycopg.connect(remote.url, autocommit=True) as connection:
            connection.execute("ALTER DATABASE gancao RESET synchronous_commit")


EDITS = {
    "answers": ("at_us", "task", "version", "row", "answer", "number"),
    "outcomes": ("at_us", "kept_us", "task", "value", "number"),
    "corrected_outcomes": ("at_us", "kept_us", "value", "until_us", "number"),
    "levels": ("at_us", "task", "version", "level", "prediction_id", "number"),
    "chain": ("kind", "record", "hash"),
}


@pytest.mark.parametrize("table", EDITS)
def test_a_changed_value_is_found(remote, table):
    of_every_kind(remote)
    if table == "levels":
        with pytest.raises(psycopg.Error, match="only added to"):
            rows(remote, "UPDATE levels SET level = 0.5")
        rows(remote, "DROP TRIGGER levels_stay ON levels")
    ((most,),) = rows(remote, f"SELECT max(number) FROM {table}")
    for column in EDITS[table]:
        changed = (
            f"{column} + 1000" if column.endswith("_us") or column == "number" else f"coalesce({column}, '') || 'x'"
        )
        changed = {"level": "level + 1e-9", "hash": "set_bit(hash, 3, 1 - get_bit(hash, 3))"}.get(column, changed)
        ((before,),) = rows(remote, f"SELECT {column} FROM {table} WHERE number = ?", most)
        ((rowid,),) = rows(remote, f"UPDATE {table} SET {column} = {changed} WHERE number = ? RETURNING ctid", most)
        assert verify(remote).fault is not None, column
        rows(remote, f"UPDATE {table} SET {column} = ? WHERE ctid = ?", before, rowid)
    assert verify(remote).fault is None


def test_what_is_read_back_is_what_sqlite_reads_back(remote, tmp_path):
    file = tmp_path / "file.db"
    for place in (remote, file):
        of_every_kind(place)
    names, keys = ["age", "id"], [[40, "a"], [40.0, "h"], [41, "a"]]
    for place in (remote, file):
        joined = list(recall.joined(place, "stay"))
        assert [one.prediction_id for one in joined] == sorted("abc", key=[one.prediction_id for one in joined].index)
        assert [len(list(recall.sent(place, "stay", recall.EVER))), recall.versions(place, "stay", 0)] == [8, ["1"]]
        assert recall.start_of(place, "answers", "stay", 100) == recall.EVER
        assert recall.start_of(place, "answers", "stay", 8) <= recall.start_of(place, "answers", "stay", 1)
        ((version, level, moves),) = recall.levels_now(place, "stay")
        assert (version, level, moves, len(recall.levels(place, "stay"))) == ("1", 0.9, 3, 3)
        assert recall.newest_levels(place, [("stay", "1"), ("stay", "2")]) == {("stay", "1"): 0.9}
        assert recall.match(place, "stay", names, keys) == [recall.Match("a", 1), recall.Match("h", 1), None]
        many = recall.match(place, "stay", ["age"], [[40]])
        assert many == [recall.Match("h", 8)], "the newest, and how many"
        found = recall.find(place, "stay", "a")
        assert found is not None
        assert (found.outcome, recall.find(place, "other", "a"), recall.find(place, "stay", "a\0")) == (6.5, None, None)
        counted = counts.Counts(place)
        counted.look(2**62)
        assert counted.answers == {("stay", "1"): 8, ("other", "1"): 1}
        assert counted.outcomes == {("stay", "1"): 3}
        assert counted.warnings == {("stay", "missing_field", "days"): 8, ("other", "missing_field", "days"): 1}


def test_a_text_with_a_nul_or_with_any_sign_harms_nobody(remote):
    odd = replace(
        entry("odd"), row='{"age": 40, "ward": "a\\u0000b\\\\u0000外科%s?:x"}', answer='{"warnings": ["\\u0000"]}'
    )
    journal = Journal(remote)
    asyncio.run(journal.keep([odd, entry("plain")]))
    assert recall.match(remote, "stay", ["ward"], [["a\0b\\u0000外科%s?:x"], ['"外科"\n']]) == [
        recall.Match("odd", 1), recall.Match("plain", 1)
    ]  # fmt: skip
    counts.Counts(remote).look(2**62)
    items = [{"prediction_id": "a\0b", "value": 1}, {"prediction_id": "plain", "value": 1}]
    kept = asyncio.run(outcomes.keep(journal, STAYED, (), items))
    journal.close()
    assert [one.status for one in kept] == ["refused", "stored"]
    assert verify(remote).fault is None


def test_a_database_that_could_not_hold_every_sign_is_refused(postgres_url, tmp_path):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        with pytest.raises(JournalFull, match="LATIN1"):
            Journal(Remote(postgres_url.rpartition("/")[0] + "/latin", tmp_path / "journal.db"))
        connection.execute("DROP DATABASE latin")


def test_nothing_is_read_where_no_journal_was_begun_and_none_is_made(remote):
    assert list(recall.joined(remote, "stay")) == list(look_up(remote, "stay", recall.EVER, 2**62)) == []
    assert archives.archives(remote) == recall.levels(remote, "stay") == []
    with pytest.raises(JournalFull, match="There is no journal postgresql://"):
        verify(remote)
    assert rows(remote, "SELECT to_regclass('chain')") == [(None,)]


def test_a_rotation_elsewhere_is_waited_for_and_one_that_was_cut_off_goes_on_where_its_file_is(remote, monkeypatch):
    of_every_kind(remote)
    monkeypatch.setattr(rotate, "ROUND", 2)
    monkeypatch.setattr(rotate, "PAUSE_S", 0.0)
    later = time.time_ns() // 1000
    with closing(journal_store.connect(remote)) as other:
        assert isinstance(other, postgres.Postgres)
        assert other.alone()
        with pytest.raises(JournalBusy, match="Wait for it"):
            rotate.rotate(remote, later)
    before = all_rows(remote)

    def cut(moved: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate.rotate(remote, later, cut)
    elsewhere = Remote(remote.url, remote.path.parent / "other" / "journal.db")
    with pytest.raises(JournalFull, match="Rotate where it is"):
        rotate.rotate(elsewhere, later)
    assert rotate.rotate(remote, later).answers == 7
    assert verify(remote).fault is None
    assert all_rows(remote, beside(remote, "journal-0001.db")) == before
    assert verify(elsewhere).absent == ["journal-0001.db"]


# --- a server over it ----------------------------------------------------------------------------------------------


@contextmanager
def restartable(url: str) -> Iterator[tuple[Any, Any]]:
    """Two functions that stop the server of a URL at once, as a crash does, and start it anew with fsync."""
    with psycopg.connect(url) as connection:
        ((folder,),) = connection.execute("SHOW data_directory").fetchall()
    first = int((Path(folder) / "postmaster.pid").read_text().split("\n")[0])
    words = (Path("/proc") / str(first) / "cmdline").read_bytes().decode().split("\0")[:-1]
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    running: list[subprocess.Popen[bytes]] = []

    def stop() -> None:
        os.kill(running[-1].pid if running else first, signal.SIGQUIT)
        if running:
            running.pop().wait(30)
        until(lambda: not (Path(folder) / "postmaster.pid").exists() or _gone(first), 30, lambda: "it did not stop")

    def start() -> None:
        command = [*user, *(word for word in words if word != "-F")]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder))

    yield stop, start
    if running:
        running[-1].send_signal(signal.SIGQUIT)
        running[-1].wait(30)


def _gone(pid: int) -> bool:
    """Ended, though its parent has not asked yet."""
    try:
        return "\nState:\tZ" in (Path("/proc") / str(pid) / "status").read_text()
    except OSError:
        return True


@pytest.fixture
def own_url() -> Iterator[str]:
    """A PostgreSQL that a test may stop."""
    with servers.postgres() as url:
        yield url


class Asking:
    """Threads that ask for answers and tell outcomes; what was acknowledged, and what was refused and how."""

    def __init__(self, server: Server) -> None:
        self.ids: set[str] = set()
        self.told: set[str] = set()
        self.refused: list[tuple[int, str, bool]] = []
        self._server, self._stop = server, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                with httpx.Client(base_url=self._server.base, timeout=30) as client:
                    while not self._stop.is_set():
                        self._once(client)
            except httpx.HTTPError:
                time.sleep(0.05)  # its worker was killed

    def _once(self, client: httpx.Client) -> None:
        response = client.post("/v1/stay/predict", json={"rows": [CASE, CASE]})
        if response.status_code != 200:
            kind = response.json()["type"].rpartition(":")[2]
            self.refused.append((response.status_code, kind, "retry-after" in response.headers))
            time.sleep(0.05)
            return
        first, second = (answer["prediction_id"] for answer in response.json()["answers"])
        self.ids |= {first, second}
        told = client.post("/v1/stay/outcomes", json={"outcomes": [{"prediction_id": first, "value": 3}] * 2})
        if told.status_code == 200:
            self.told.add(first)


def holds(place: Remote, asking: Asking) -> None:
    """All that was acknowledged is there, each once, and the chain holds."""
    kept_ids = [one for (one,) in rows(place, "SELECT prediction_id FROM answers")]
    assert asking.ids <= set(kept_ids), "0 acknowledged answers are missing"
    outcomes_ = [one for (one,) in rows(place, "SELECT prediction_id FROM outcomes")]
    assert asking.told <= set(outcomes_), "0 acknowledged outcomes are missing"
    assert len(outcomes_) == len(set(outcomes_))
    assert rows(place, "SELECT count(*) FROM corrected_outcomes") == [(0,)]
    found = verify(place)
    assert found.fault is None, found.fault
    assert found.records == 1 + len(kept_ids) + len(outcomes_)


@pytest.mark.proof
def test_kill_9_of_workers_and_crashes_of_postgresql_under_load_lose_no_acknowledged_answer(own_url, tmp_path):
    """In full: 100 kills of a worker and 30 crashes of the server; two workers go on with one chain, by themselves."""
    place = Remote(own_url, tmp_path / "home" / "journal.db")
    home, chance = replace(made(tmp_path / "home"), more=(("GANCAO_JOURNAL", own_url),)), random.Random(0)
    with restartable(own_url) as (stop, start), serving(home, "--workers", "2") as server:
        asking = Asking(server)
        for crash in range(30 if FULL else 1):
            for _ in range(100 // 30 + (crash < 10) if FULL else 2):
                had = len(asking.ids)
                until(lambda: len(asking.ids) > had + 20, 60, server.log.read_text)  # noqa: B023
                os.kill(chance.choice(server.children("serving.app")), signal.SIGKILL)
            had = len(asking.ids)
            until(lambda: len(asking.ids) > had + 20, 60, server.log.read_text)  # noqa: B023
            stop()
            refused = len(asking.refused)
            until(lambda: len(asking.refused) > refused, 60, server.log.read_text)  # noqa: B023
            start()
            had = len(asking.ids)
            until(lambda: len(asking.ids) > had + 20, 60, lambda: f"it does not go on: {server.log.read_text()}")  # noqa: B023
        asking.end()
        assert set(asking.refused) == {(503, "journal-away", True)}
        assert server.stop() == 0
        log = server.log.read_text()
        assert log.count('"journal_failed"') and log.count('"journal_back"')
        holds(place, asking)
    assert len(asking.ids) > 60
    assert not (tmp_path / "home" / "journal.db").exists(), "nothing is written beside"


def test_a_worker_that_starts_while_postgresql_is_away_waits_for_it_and_a_restart_costs_no_answer(own_url, tmp_path):
    place = Remote(own_url, tmp_path / "journal.db")
    with restartable(own_url) as (stop, start):
        stop()
        journal = Journal(place)

        async def ask(name: str) -> None:
            await journal.keep([entry(name)])

        with pytest.raises(JournalAway, match="so it is not sent"):
            asyncio.run(ask("away"))
        journal.keep_later("stay", [entry("lost")])
        until(journal.lost, 60, lambda: "it still waits")
        start()
        until(lambda: _reached(own_url), 60, lambda: "PostgreSQL did not come back")
        asyncio.run(ask("first"))
        stop()
        start()
        until(lambda: _reached(own_url), 60, lambda: "PostgreSQL did not come back")
        asyncio.run(ask("second"))
        journal.close()
        assert journal.lost() == {}
        assert rows(place, "SELECT prediction_id FROM answers ORDER BY number") == [("first",), ("second",)]
        assert rows(place, "SELECT count(*) FROM chain WHERE kind = 'lost'") == [(1,)]
        assert verify(place).fault is None


def _reached(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.Error:
        return False
    return True


def test_a_full_disk_of_postgresql_gives_507_and_with_space_all_goes_on(postgres_url, tmp_path):
    disk = Path(tempfile.mkdtemp(prefix="gancao-full-"))
    need(os.geteuid() == 0 and shutil.which("mount"), "mounting a small file system needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)], capture_output=True, check=False
    )
    need(done.returncode == 0, "no tmpfs can be mounted here")
    try:
        shutil.chown(disk, "postgres", "postgres")
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            connection.execute("CREATE DATABASE small TABLESPACE small")
        place = Remote(postgres_url.rpartition("/")[0] + "/small", tmp_path / "home" / "journal.db")
        home = replace(made(tmp_path / "home"), more=(("GANCAO_JOURNAL", place.url),))
        with serving(home) as server:
            (first,) = server.post("/v1/stay/predict", json={"rows": [CASE]}).json()["answers"]
            filler = fill(disk)
            response = until(
                lambda: (r := server.post("/v1/stay/predict", json=MAX)).status_code != 200 and r,
                60,
                lambda: "never full",
            )
            assert (response.status_code, response.json()["type"]) == (507, "urn:gancao:problem:journal-full")
            assert "the disk of PostgreSQL is full" in response.json()["detail"]
            filler.unlink()
            until(lambda: answers(server), 30, lambda: "it does not go on")
        assert rows(place, "SELECT 1 FROM answers WHERE prediction_id = ?", first["prediction_id"]) == [(1,)]
        assert verify(place).fault is None
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("DROP DATABASE small")
            connection.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        shutil.rmtree(disk, ignore_errors=True)


def test_the_commands_and_metrics_read_it(remote, tmp_path):
    home = replace(made(remote.path.parent / "home"), more=(("GANCAO_JOURNAL", remote.url),))
    task = tmp_path / "stay.yaml"
    task.write_text(dumps(STAYED), encoding="utf-8")
    with serving(home) as server:
        found = server.post("/v1/stay/predict", json={"rows": [CASE] * 3}).json()["answers"]
        sent = [{"prediction_id": found[0]["prediction_id"], "value": 31}, {"key": {"age": CASE["age"]}, "value": 30}]
        told = server.post("/v1/stay/outcomes", json={"outcomes": sent})
        assert [one["status"] for one in told.json()["results"]] == ["stored", "stored"]
        page = server.get(f"/form/stay/outcome/{found[0]['prediction_id']}")
        assert page.status_code == 200
        assert server.get("/metrics").status_code == 200
        text = server.get("/metrics").text
        assert "gancao_working_level" in text or "gancao_level" in text
    settings = Settings(home=home.home, journal=remote.url)
    document, _ = monitoring.monitor(str(task), settings, "30d", None)
    assert (document["answers"], sum(document["outcomes"].values())) == ({"1": 3}, 2)
    shown, _ = shell.show("stay", settings, None, None, None, 10)
    assert {one["prediction_id"] for one in shown["answers"]} == {one["prediction_id"] for one in found}
    checked, _ = shell.check(settings, None)
    assert checked["holds"]
    assert checked["files"] == ["PostgreSQL"]
