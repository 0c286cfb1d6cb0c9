"""The engines: what `local` and `ray` both promise to the search, shown on each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest

from feature_store.errors import Usage
from tests.conftest import ROOT, need, until
from training import engines
from training.engine import Engine, OutOfMemory, WorkerDied, own_memory

MB = 1_000_000
SHARE = 600 * MB
NAMES = ["local", "ray"]


# What an engine runs must be importable by name, so these stand at the top.
def double(number: int) -> int:
    return 2 * number


def die_once(marker: str) -> str:
    if not Path(marker).exists():
        Path(marker).touch()
        os._exit(9)
    return "alive"


def die(number: int) -> None:
    os._exit(number)


def fail(words: str) -> None:
    raise ValueError(words)


def leave() -> None:
    sys.exit("enough")


def sleep(seconds: float, value: int = 0) -> int:
    time.sleep(seconds)
    return value


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def hoard(size: int) -> int:
    held = np.ones(size // 8)
    time.sleep(30)
    return len(held)


def ask_for_more_than_there_is() -> None:
    np.ones(1 << 50)


def process(marker: str = "") -> tuple[int, str]:
    """Its pid and OMP_NUM_THREADS; waits a little, so that another slot is asked too."""
    time.sleep(0.3)
    return os.getpid(), os.environ.get("OMP_NUM_THREADS", "")


def look_at(put) -> tuple[float, bool, int, int]:
    """The sum, whether it may be written to, what this process holds for itself after reading it, and its pid."""
    matrix = put.arrays()["matrix"]
    again = put.arrays()["matrix"]
    assert np.shares_memory(matrix, again)
    return float(matrix.sum()), matrix.flags.writeable, own_memory(os.getpid()), os.getpid()


def shapes(put) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (array.shape, str(array.dtype)) for name, array in put.arrays().items()}


def block(megabytes: int) -> np.ndarray:
    return np.arange(megabytes * MB // 8, dtype=np.float64)


@pytest.fixture(scope="module", params=NAMES)
def engine(request):
    if request.param == "ray":
        need(_ray_is_there(), "ray is not installed (extra `scale`)")
    engine = engines.open_engine(request.param, slots=2, memory_bytes=SHARE)
    yield engine
    engine.close()


def _ray_is_there() -> bool:
    return subprocess.run([sys.executable, "-c", "import ray"], capture_output=True, check=False).returncode == 0


def outcome(engine: Engine, *submission, **more):
    return engine.result(engine.submit(*submission, **more))


def test_an_engine_gives_back_what_its_functions_return(engine):
    tickets = [engine.submit(double, n) for n in range(6)]
    pending = set(tickets)
    while pending:
        pending -= set(engine.wait_any(sorted(pending), 5.0))
    assert [engine.result(ticket) for ticket in tickets] == [0, 2, 4, 6, 8, 10]


def test_there_are_as_many_slots_as_were_asked_for_and_processes_stay_warm(engine):
    assert engine.slots == 2
    tickets = [engine.submit(process, "") for _ in range(8)]
    pids = {engine.result(ticket)[0] for ticket in tickets}
    assert len(pids) <= 2
    assert os.getpid() not in pids


def test_an_exception_in_a_worker_is_the_callers(engine):
    with pytest.raises(ValueError, match="so it is") as caught:
        outcome(engine, fail, "so it is")
    assert "in fail" in "".join(caught.value.__notes__)


def test_a_function_that_exits_fails_and_ends_nobody(engine):
    with pytest.raises(RuntimeError, match="enough"):
        outcome(engine, leave)
    assert outcome(engine, double, 2) == 4


def test_a_function_that_cannot_travel_is_refused(engine):
    lock = threading.Lock()
    with pytest.raises(Exception, match=r"pickle|serialize"):
        outcome(engine, double, lock)
    assert outcome(engine, double, 2) == 4


def test_a_worker_that_dies_is_tried_once_more(engine, tmp_path):
    assert outcome(engine, die_once, str(tmp_path / "marker")) == "alive"


def test_a_worker_that_dies_each_time_costs_its_own_function_only(engine):
    ours = engine.submit(die, 7)
    others = [engine.submit(sleep, 0.05, n) for n in range(10)]
    with pytest.raises(WorkerDied, match=r"died \d times"):
        engine.result(ours)
    assert [engine.result(ticket) for ticket in others] == list(range(10))


@pytest.mark.parametrize("function", [sleep, spin])
def test_a_function_is_killed_after_its_time(engine, function):
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"0\.5 s"):
        outcome(engine, function, 60.0, timeout_s=0.5)
    assert time.monotonic() - start < 20


def test_time_in_the_queue_does_not_count(engine):
    tickets = [engine.submit(sleep, 0.6, n, timeout_s=2.0) for n in range(8)]
    assert [engine.result(ticket) for ticket in tickets] == list(range(8))


def test_a_function_that_eats_memory_costs_itself_only(engine):
    other = engine.submit(sleep, 1.0, 5)
    with pytest.raises(OutOfMemory, match=r"out of memory: its process held \d+ MB .* 600 MB"):
        outcome(engine, hoard, 3 * SHARE)
    assert engine.result(other) == 5


def test_a_request_for_more_memory_than_there_is_is_named(engine):
    with pytest.raises(OutOfMemory, match="out of memory: Unable to allocate"):
        outcome(engine, ask_for_more_than_there_is)


def test_a_cancelled_function_stops_and_gives_its_slot_back(engine, tmp_path):
    tickets = [engine.submit(tell_and_sleep, str(tmp_path), n, 60.0) for n in range(4)]
    until(lambda: len(running(tmp_path)) == 2, 30, lambda: "nothing runs")
    start = time.monotonic()
    for ticket in tickets:
        engine.cancel(ticket)
    assert outcome(engine, double, 3) == 6
    until(lambda: not running(tmp_path), 15, lambda: f"still running: {running(tmp_path)}")
    assert time.monotonic() - start < 30
    with pytest.raises(KeyError):
        engine.wait_any(tickets)


def test_ctrl_c_is_left_to_the_parent(engine, tmp_path):
    ticket = engine.submit(tell_and_sleep, str(tmp_path), 3, 1.5)
    until(lambda: running(tmp_path), 30, lambda: "nothing runs")
    pid = running(tmp_path)[3]
    os.kill(pid, signal.SIGINT)
    assert engine.result(ticket) == 3


def test_a_result_is_fetched_once_and_forgotten(engine):
    ticket = engine.submit(double, 1)
    assert engine.result(ticket) == 2
    with pytest.raises(KeyError):
        engine.result(ticket)
    engine.cancel(ticket)


def test_results_come_in_the_order_of_submission(engine):
    tickets = [engine.submit(sleep, seconds) for seconds in (0.4, 0.2, 0.0)]
    for ticket in tickets:
        engine.wait_any([ticket])
    assert engine.wait_any(tickets[::-1]) == sorted(tickets)
    for ticket in tickets:
        engine.result(ticket)


def test_waiting_gives_up_after_its_time_and_at_once_when_something_is_done(engine):
    slow, fast = engine.submit(sleep, 3.0), engine.submit(sleep, 0.0)
    assert engine.wait_any([slow, fast], 2.5) == [fast]
    start = time.monotonic()
    assert engine.wait_any([slow], 0.2) == []
    assert 0.15 < time.monotonic() - start < 1.5
    assert engine.wait_any([slow, fast], 0.0) == [fast]
    assert engine.wait_any([]) == []
    engine.cancel(slow)
    engine.result(fast)


def test_a_big_result_arrives_whole(engine):
    back = outcome(engine, block, 80)
    assert back.nbytes == 80 * MB
    assert back[-1] == len(back) - 1


def test_many_small_functions(engine):
    tickets = [engine.submit(double, n) for n in range(1000)]
    assert [engine.result(ticket) for ticket in tickets] == [2 * n for n in range(1000)]


def test_a_put_is_shared_read_only_and_copied_by_no_worker(engine, tmp_path):
    matrix = np.arange(25_000_000, dtype=np.float64).reshape(-1, 10)
    put = engine.put({"matrix": matrix}, tmp_path / "shared")
    tickets = [engine.submit(look_at, put) for _ in range(6)]
    for total, writeable, own, _ in map(engine.result, tickets):
        assert total == matrix.sum()
        assert not writeable
        assert own < 190 * MB, "the array has 200 MB, so a copy of it is in there"


def test_a_put_takes_every_plain_array_and_two_puts_do_not_meet(engine, tmp_path):
    first = {"x": np.zeros((0, 3)), "names": np.array(["a", "bc"]), "flags": np.array([True])}
    second = {"x": np.ones((2, 3), order="F")}
    puts = [engine.put(arrays, tmp_path / "shared") for arrays in (first, second)]
    for put, arrays in zip(puts, (first, second), strict=True):
        expected = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
        assert outcome(engine, shapes, put) == expected


def test_functions_are_killed_from_outside_and_every_one_has_one_result(engine, tmp_path):
    tickets = [engine.submit(tell_and_sleep, str(tmp_path), n, 0.3) for n in range(12)]
    killed: set[int] = set()
    for _ in range(2):  # never the same function twice: `local` would give it up
        found = until(lambda: set(running(tmp_path)) - killed, 30, lambda: "nothing runs")
        os.kill(running(tmp_path)[max(found)], 9)
        killed.add(max(found))
        time.sleep(0.5)
    assert [engine.result(ticket) for ticket in tickets] == list(range(12))


def tell_and_sleep(folder: str, number: int, seconds: float) -> int:
    """Leave a file named by the pid while it runs."""
    mark = Path(folder) / f"{os.getpid()}.{number}.running"
    mark.touch()
    time.sleep(seconds)
    mark.unlink(missing_ok=True)
    return number


def running(folder: Path) -> dict[int, int]:
    """The numbers that `tell_and_sleep` works on now, each with its process."""
    marks = [path.name.split(".")[:2] for path in folder.glob("*.running")]
    return {int(number): int(pid) for pid, number in marks if Path(f"/proc/{pid}").exists()}


SCRIPT = """
import os, sys, time
from tests.test_engine import process, sleep
from training import engines
name, end = sys.argv[1:]
if __name__ == "__main__":
    engine = engines.open_engine(name, slots=2)
    tickets = [engine.submit(process) for _ in range(4)]
    found = [engine.result(ticket) for ticket in tickets]
    print(*sorted({pid for pid, _ in found}), flush=True)
    print(*{threads for _, threads in found}, flush=True)
    engine.submit(sleep, 600.0)
    time.sleep(0.5)
    if end == "close":
        engine.close()
    elif end == "kill":
        os.kill(os.getpid(), 9)
"""


@pytest.fixture
def folder():
    """A folder for TMPDIR: the paths of Ray's sockets must stay below 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="g", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


LONG = ("ray", "kill")
"""Up to two minutes of waiting for Ray's own agents: among the proofs only."""

ENDS = [(name, end) for end in ("close", "forget", "kill") for name in NAMES if (name, end) != LONG]
if os.environ.get("GANCAO_PROOFS") == "full":
    ENDS.append(LONG)


@pytest.mark.proof
@pytest.mark.parametrize(("name", "end"), ENDS)
def test_no_process_outlives_its_engine_and_nothing_else_is_printed(name, end, tmp_path, folder):
    if name == "ray":
        need(_ray_is_there(), "ray is not installed (extra `scale`)")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"TMPDIR": str(folder)}
    (work := tmp_path / "work").mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, str(script), name, end]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (-9 if end == "kill" else 0), done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert name == "local" or done.stdout.splitlines()[1] == "1", "OMP_NUM_THREADS of a task"
    assert done.stderr == ""
    # after kill -9 two idle agents of Ray may try for a minute (a constant of its own) to tell their dead head
    until(lambda: not at_work_in(work), 120 if end == "kill" else 30, lambda: f"these are left: {at_work_in(work)}")
    left = list(folder.iterdir())
    assert end == "kill" or not left


def at_work_in(folder: Path) -> dict[int, str]:
    """Processes whose working folder it is (Ray's overwrite their environment with a title), and their titles."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cwd").readlink() == folder:
                found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()[:120]
        except OSError:
            continue
    return found


def test_the_local_pool_outlives_its_fork_server(tmp_path):
    engine = engines.open_engine("local", slots=2)
    tickets = [engine.submit(tell_and_sleep, str(tmp_path), n, 1.0) for n in range(3)]
    until(lambda: len(running(tmp_path)) == 2, 30, lambda: "nothing runs")
    os.kill(forkserver._forkserver._forkserver_pid, 9)
    assert [engine.result(ticket) for ticket in tickets] == [0, 1, 2]
    engine.close()


def test_an_engine_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(Usage, match="Use --engine local or ray"):
        engines.open_engine("spark")


def test_ray_that_is_not_installed_is_named_with_its_extra():
    script = (
        "import sys; sys.modules['ray'] = None\n"
        "from feature_store.errors import Usage; from training import engines\n"
        "try: engines.open_engine('ray')\n"
        "except Usage as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Install gancao[scale], or use --engine local." in done.stdout
