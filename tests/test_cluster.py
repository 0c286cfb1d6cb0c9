"""A cluster: functions survive the death of workers and of a machine, and strangers are kept out."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_store.errors import Usage
from tests.cluster_work import chain
from tests.conftest import ROOT, need, until
from tests.test_search import searching, trace
from training import engines
from training.local_engine import LocalEngine

FULL = os.environ.get("GANCAO_PROOFS") == "full"
FUNCTIONS, KILLS = (60, 10) if FULL else (24, 4)


def running(folder: Path) -> dict[int, int]:
    """Processes that run `chain` now, and the number each works on."""
    marks = [path.name.split(".")[:2] for path in folder.glob("*.running")]
    return {int(pid): int(number) for number, pid in marks if Path(f"/proc/{pid}").exists()}


@dataclass
class Machines:
    """Three raylets on this machine, of one core each; the first is the head, to which we connect."""

    cluster: Any

    @property
    def address(self) -> str:
        address: str = self.cluster.address
        return address

    def kill_one(self) -> None:
        """kill -9 of a raylet that is not the head. Its workers end with it."""
        victim = next(iter(self.cluster.worker_nodes))
        victim.all_processes["raylet"][0].process.kill()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    need(_ray_is_there(), "ray is not installed (extra `scale`)")
    engines.prepare_ray(os.environ, "")
    from ray.cluster_utils import Cluster

    folder = Path(tempfile.mkdtemp(prefix="gancao-test-", dir="/tmp"))
    (folder / "ray").mkdir()  # where Cluster notes its address
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = str(folder)
    kind = {"num_cpus": 1, "include_dashboard": False, "temp_dir": str(folder)}
    cluster = Cluster(initialize_head=True, head_node_args=kind)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        yield Machines(cluster)
    finally:
        cluster.shutdown()
        os.environ.pop("RAY_TMPDIR") if before is None else os.environ.update(RAY_TMPDIR=before)
        shutil.rmtree(folder, ignore_errors=True)


def _ray_is_there() -> bool:
    return subprocess.run([sys.executable, "-c", "import ray"], capture_output=True, check=False).returncode == 0


def test_a_cluster_that_does_not_answer_is_named_at_once():
    need(_ray_is_there(), "ray is not installed (extra `scale`)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(Usage, match=f"No Ray cluster answers at '{address}'.*GANCAO_RAY_ADDRESS"):
        engines.open_engine("ray", address=address)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_a_cluster_is_closed_to_who_has_no_token_or_another(machines, token, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
    environment |= {"HOME": str(tmp_path), **({"RAY_AUTH_TOKEN": token} if token else {})}
    script = (
        "import sys; from training import engines; from feature_store.errors import Usage\n"
        "try: engines.open_engine('ray', address=sys.argv[1])\n"
        "except Usage as error: print(error); sys.exit(2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, machines.address],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, (done.stdout[-2000:], done.stderr[-2000:])
    assert "token" in done.stdout
    assert "RAY_AUTH_TOKEN_PATH" in done.stdout


@pytest.mark.proof
def test_nothing_is_lost_or_doubled_when_workers_and_a_machine_are_killed(machines, tmp_path):
    engine = engines.open_engine("ray", address=machines.address)
    try:
        until(lambda: engine.slots == 3, 30, lambda: f"{engine.slots} slots")
        matrix = np.random.default_rng(0).normal(size=(FUNCTIONS, 100_000))
        put = engine.put({"matrix": matrix}, tmp_path / "shared")
        expected = [hashlib.sha256(row.tobytes()).hexdigest() for row in matrix]
        tickets = [engine.submit(chain, str(tmp_path), put, n, 1.0, timeout_s=60.0) for n in range(FUNCTIONS)]
        pending, results, killed, struck = set(tickets), [], 0, Counter[int]()
        while pending:
            for ticket in engine.wait_any(sorted(pending), 0.7):
                pending.remove(ticket)
                results.append((ticket, *engine.result(ticket)))
            victims = running(tmp_path)
            if killed < KILLS and victims:
                pid = min(victims, key=lambda pid: struck[victims[pid]])  # one that is hit each time is given up
                struck[victims[pid]] += 1
                os.kill(pid, 9)
                killed += 1
                if killed == KILLS // 2:
                    machines.kill_one()
        assert killed == KILLS
        assert sorted(ticket for ticket, *_ in results) == tickets
        for ticket, number, digest, block in results:
            assert number == ticket
            assert digest == expected[number]
            assert (block == number).all()
        until(lambda: engine.slots == 2, 60, lambda: f"{engine.slots} slots")  # its death is noticed after seconds
    finally:
        engine.close()
    until(lambda: not running(tmp_path), 30, lambda: f"still running: {running(tmp_path)}")


@pytest.mark.proof
def test_a_search_on_a_cluster_whose_workers_are_killed_is_the_search_of_this_machine(machines, tmp_path):
    """Every trial exactly once, with the loss, rounds and models that the local engine gives."""
    count, kills = (60, 10) if FULL else (16, 3)
    local = LocalEngine(2)
    try:
        here = searching(tmp_path / "here", local, f"{count}trials")
        expected = here.run()
    finally:
        local.close()
    engine = engines.open_engine("ray", address=machines.address)
    killed = list[int]()
    stop = threading.Event()
    try:
        killer = threading.Thread(target=_kill_workers, args=(stop, killed, kills))
        there = searching(tmp_path / "there", engine, f"{count}trials")
        killer.start()
        found = there.run()
        stop.set()
        killer.join()
    finally:
        stop.set()
        engine.close()
    assert len(killed) >= (kills if FULL else 1)
    assert [t.number for t in sorted(found, key=lambda t: t.number)] == list(range(count))
    assert trace(found) == trace(expected)
    digests = [{t.number: (t.oof, t.models) for t in trials} for trials in (found, expected)]
    assert digests[0] == digests[1]


def _kill_workers(stop: threading.Event, killed: list[int], most: int) -> None:
    """kill -9 of whichever worker process of Ray runs a trial, again and again."""
    while not stop.is_set() and len(killed) < most:
        time.sleep(0.25)
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                title = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if title.startswith("ray::") and "IDLE" not in title and "Agent" not in title:
                os.kill(int(folder.name), 9)
                killed.append(int(folder.name))
                break
