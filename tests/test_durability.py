"""What was answered is kept, what was tried is kept, and a new champion costs no request."""

from __future__ import annotations

import concurrent.futures
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from serving.verify import verify
from tests.conftest import CASE, ROOT, Home, Server, serving, until
from training.runlog import RunLog, Trial

PREDICT = "/v1/birth_weight/predict"
FULL = os.environ.get("GANCAO_PROOFS") == "full"


def kept(home: Home) -> set[str]:
    with sqlite3.connect(home.home / "journal.db") as connection:
        found = {row[0] for row in connection.execute("SELECT prediction_id FROM answers")}
    connection.close()
    return found


def test_an_answer_is_in_the_journal_with_its_row_and_version(own_home: Home):
    with serving(own_home) as server:
        answer = server.post(PREDICT, json={"rows": [CASE]}).json()["answers"][0]
        with sqlite3.connect(own_home.home / "journal.db") as connection:
            row = connection.execute("SELECT task, version, row, answer FROM answers").fetchone()
        connection.close()
    assert row[:2] == ("birth_weight", "1")
    assert (json.loads(row[2]), json.loads(row[3])) == (CASE, answer)
    assert (own_home.home / "journal.db").stat().st_mode & 0o077 == 0, "the journal is its owner's only"


@pytest.mark.proof
def test_kill_9_right_after_an_answer_leaves_it_in_the_journal_and_the_chain_holds(own_home: Home):
    """In full: 100 kills. Every answer that a client has read is in the journal, however the worker died."""
    received: set[str] = set()
    with serving(own_home) as server:
        for _ in range(100 if FULL else 3):
            stop = threading.Event()

            def ask(stop: threading.Event = stop) -> None:
                with httpx.Client(base_url=server.base, timeout=5) as client:
                    while not stop.is_set():
                        try:
                            answers = client.post(PREDICT, json={"rows": [CASE, CASE]}).json()["answers"]
                        except (httpx.HTTPError, ValueError, KeyError):
                            return
                        received.update(answer["prediction_id"] for answer in answers)

            askers = [threading.Thread(target=ask) for _ in range(4)]
            for asker in askers:
                asker.start()
            time.sleep(0.4)
            worker = server.children("serving.app")[0]
            os.kill(worker, signal.SIGKILL)
            stop.set()
            for asker in askers:
                asker.join()
            assert received <= kept(own_home)
            assert verify(own_home.home / "journal.db").fault is None
            until(lambda: _answers(server), 30, lambda: f"no new worker: {server.log.read_text()}")
    assert len(received) > 50


def _answers(server: Server) -> bool:
    try:
        return server.post(PREDICT, json={"rows": [CASE]}).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_journal_that_can_not_be_written_stops_the_answer(own_home: Home):
    with serving(own_home) as server:
        with sqlite3.connect(own_home.home / "journal.db") as connection:
            connection.execute("DROP TABLE answers")
        connection.close()
        response = server.post(PREDICT, json={"rows": [CASE]})
        assert response.status_code == 507
        assert "not sent" in response.json()["detail"]
        page = server.post("/form/birth_weight?lang=zh", data={"gestation_weeks": "39"})
        assert page.status_code == 507
        assert "未能写入记录" in page.text


@pytest.mark.proof
def test_a_new_champion_is_served_under_load_within_5_s_with_no_failed_request(own_home: Home):
    second = own_home.json("train", "birth_weight", "--budget", "3trials", "--seed", "1")
    with serving(own_home, "--workers", "2") as server:
        stop = threading.Event()

        def ask() -> list[tuple[float, int, str, float]]:
            out = []
            with httpx.Client(base_url=server.base, timeout=10) as client:
                while not stop.is_set():
                    response = client.post(PREDICT, json={"rows": [CASE]})
                    document = response.json()
                    value = document["answers"][0]["value"] if response.status_code == 200 else 0.0
                    out.append((time.monotonic(), response.status_code, document.get("version", ""), value))
            return out

        def everyone_is_ready() -> bool:  # each connection meets one of the two workers
            return all(server.get("/v1/birth_weight").status_code == 200 for _ in range(20))

        until(everyone_is_ready, 30, server.log.read_text)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            time.sleep(1)
            for words in (("promote", "birth_weight", second["version"]), ("rollback", "birth_weight")) * (
                5 if FULL else 1
            ):
                own_home.run(*words, "--json")
                asked_at, wanted = time.monotonic(), "2" if words[0] == "promote" else "1"
                until(
                    lambda wanted=wanted: (
                        {server.get("/v1/birth_weight").json()["version"] for _ in range(8)} == {wanted}
                    ),
                    5,
                    lambda: f"not served within 5 s: {server.log.read_text()}",
                )
                assert time.monotonic() - asked_at < 5
            stop.set()
            answers = [answer for future in asking for answer in future.result()]
    assert {status for _, status, _, _ in answers} == {200}
    values = {(version, value) for _, _, version, value in answers}
    assert len(values) == 2, "each version has its one value: no answer mixes two versions"
    assert len(answers) > 200


def test_an_altered_version_in_the_registry_is_refused_and_the_old_one_stays(own_home: Home):
    second = own_home.json("train", "birth_weight", "--budget", "2trials", "--seed", "2")
    stored = sorted(own_home.home.glob("artifacts/birth_weight/models/*/artifacts/data/bundle"), key=os.path.getmtime)
    model = next((stored[-1] / "models").iterdir())
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(bytes(content))
    with serving(own_home) as server:
        own_home.run("promote", "birth_weight", second["version"], "--force")
        state = until(lambda: (s := server.get("/readyz").json())["refused"] and s, 20, lambda: server.log.read_text())
        assert "was altered" in state["refused"]["birth_weight"][second["version"]]
        assert (state["ready"], state["tasks"]["birth_weight"]["version"]) == (True, "1")
        assert server.post(PREDICT, json={"rows": [CASE]}).json()["version"] == "1"
        own_home.run("rollback", "birth_weight")
        until(lambda: not server.get("/readyz").json()["refused"], 20, lambda: server.log.read_text())


def test_a_server_restarts_without_its_registry(own_home: Home):
    with serving(own_home) as server:
        before = server.post(PREDICT, json={"rows": [CASE]}).json()["answers"][0]["value"]
    (own_home.home / "mlflow.db").write_bytes(b"not a database")
    with serving(own_home) as server:
        assert server.post(PREDICT, json={"rows": [CASE]}).json()["answers"][0]["value"] == before
        until(lambda: server.get("/readyz").json()["registry"].get("reachable") is False, 20, server.log.read_text)


def test_a_worker_that_dies_is_replaced_and_the_service_ends_when_told(own_home: Home):
    with serving(own_home) as server:
        os.kill(server.children("serving.app")[0], signal.SIGKILL)
        os.kill(server.children("serving.fetch")[0], signal.SIGKILL)
        until(lambda: len(server.children("serving.")) == 3, 20, server.log.read_text)
        until(lambda: _answers(server), 30, server.log.read_text)
        assert server.stop() == 0
        assert not server.children("serving.")


def test_sigterm_lets_requests_in_flight_end(own_home: Home):
    rows = [CASE] * 1000
    with serving(own_home) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.post, PREDICT, json={"rows": rows}) for _ in range(4)]
        until(lambda: kept(own_home), 20, server.log.read_text)
        server.process.send_signal(signal.SIGTERM)
        assert [future.result().status_code for future in asked] == [200] * 4
        assert server.process.wait(20) == 0


@pytest.mark.proof
def test_kill_9_at_random_moments_loses_no_finished_trial_and_gives_the_champion_of_an_undisturbed_run(
    trained: Home, tmp_path
):
    """In full: 50 kills, 40 trials, three undisturbed runs. Every other kill follows one more finished trial."""
    kills, runs, budget = (50, 3, "40trials") if FULL else (2, 1, "9trials")
    home, moment = Home(tmp_path / "home", trained.data), random.Random(0)
    command = [sys.executable, "-m", "experiments.cli", "train", "birth_weight", "--json", "--budget", budget]
    finished: list[str] = []
    for number in range(kills):
        resume = ["--resume", "last"] if list(home.home.glob("runs/*/run.json")) else []
        log = tmp_path / f"train-{number}.log"
        with log.open("w") as sink:
            process = subprocess.Popen(
                [*command, *resume], cwd=ROOT, env=home.environment, stderr=sink, stdout=subprocess.DEVNULL
            )
        if number % 2 == 0:
            until(lambda: len(_journal(home)) > len(finished) or process.poll() is not None, 90, log.read_text)  # noqa: B023
        time.sleep(moment.uniform(0.0, 1.0 if number % 2 == 0 else 10.0))
        process.kill()
        process.wait()
        lines = _journal(home)
        assert lines[: len(finished)] == finished, "what was finished before is still there, byte for byte"
        finished = lines
    document = home.json("train", "birth_weight", "--budget", budget, "--resume", "last")
    assert _journal(home)[: len(finished)] == finished
    for number in range(runs):
        whole = Home(tmp_path / f"undisturbed-{number}", trained.data)
        expected = whole.json("train", "birth_weight", "--budget", budget)
        assert sorted(_outcomes(home)) == sorted(_outcomes(whole)), "the same configurations with the same losses"
        assert document["metrics"] == expected["metrics"], "and the same champion"
        assert document["digest"] == expected["digest"], "to the bit"


def _journal(home: Home) -> list[str]:
    found = sorted(home.home.glob("runs/*/journal.jsonl"))
    return found[-1].read_text().split("\n")[:-1] if found else []


def _outcomes(home: Home) -> list[tuple[int, str, str, float]]:
    trials = [json.loads(line) for line in _journal(home)]
    return [(t["number"], t["learner"], json.dumps(t["config"], sort_keys=True), t["loss"]) for t in trials]


def test_a_last_line_that_was_cut_short_is_dropped(trained: Home, tmp_path):
    log = RunLog(tmp_path / "run", {"task": "t"})
    log.append(Trial(0, "linear", {}, "portfolio", None, 0, 0.1, 0.1, failure="why"), None)
    path = Path(tmp_path / "run" / "journal.jsonl")
    path.write_bytes(path.read_bytes() + b'{"number": 1, "lea')
    again = RunLog(tmp_path / "run", {"task": "t"})
    assert [trial.number for trial in again.trials()] == [0]
    assert path.read_bytes().endswith(b"\n")


def test_a_run_of_other_data_is_not_resumed(own_home: Home):
    done = own_home.run("train", "birth_weight", "--budget", "1trials", "--seed", "5", "--resume", "last", code=1)
    assert "its seed is not the same now" in done.stderr
    done = own_home.run("train", "birth_weight", "--resume", "nothing", code=1)
    assert "There is no run 'nothing'" in done.stderr
