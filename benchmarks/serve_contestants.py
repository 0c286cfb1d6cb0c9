"""The contestants of benchmarks/serve.py: how each server is started and asked, and what its processes use.

A contestant is a process group of its own; all of its processes count, each pinned to the servers' core.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.peers import end, free_port

HERE = Path(__file__).parent / "contestants"
START_S = 600
TICKS = os.sysconf("SC_CLK_TCK")

Rows = list[dict[str, float]]
Values = list[float]


@dataclass(frozen=True)
class Start:
    """What a contestant needs to know. peers: folder of environments; model: benchmarks/serve_model.py made it."""

    peers: Path
    model: Path
    port: int
    workers: int
    scratch: Path


@dataclass(frozen=True)
class Contestant:
    """command: with its environment variables; body: of a request for rows; values: of an answer's document."""

    title: str
    path: str
    command: Callable[[Start], tuple[list[str], dict[str, str]]]
    body: Callable[[Rows], Any]
    values: Callable[[Any], Values]
    environment: str = ""
    """The folder of its environment below the peers; empty for Gancao's own."""
    worker: str = ""
    """What the command line of the process holds that answers, where others stand beside it."""


def _own(script: str, *words: str) -> list[str]:
    return [sys.executable, str(HERE / script), *words]


def _floor(start: Start) -> tuple[list[str], dict[str, str]]:
    return _own("serve_floor.py", str(start.port)), {}


def _raw(start: Start) -> tuple[list[str], dict[str, str]]:
    return _own("serve_raw.py", str(start.port), str(start.model)), {}


def _alone(start: Start) -> tuple[list[str], dict[str, str]]:
    home = _home(start, "alone")
    return [sys.executable, "-m", "benchmarks.contestants.serve_alone", str(start.port), str(home)], {}


def _full(start: Start) -> tuple[list[str], dict[str, str]]:
    words = ["serve", "--port", str(start.port), "--workers", str(start.workers)]
    return [sys.executable, "-m", "experiments.cli", *words], {"GANCAO_HOME": str(_home(start, "full"))}


def _home(start: Start, name: str) -> Path:
    """A new home with the version in its cache and an empty journal."""
    home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=start.scratch))
    subprocess.run(["cp", "-a", str(start.model / name / "cache"), str(home)], check=True)
    return home


def _mlflow(start: Start) -> tuple[list[str], dict[str, str]]:
    binaries = start.peers / "mlflow_serve/bin"
    made = start.scratch / "mlflow_model"
    if not made.exists():
        script = str(HERE / "serve_mlflow_model.py")
        subprocess.run([str(binaries / "python"), script, str(start.model), str(made)], check=True, capture_output=True)
    words = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(start.port)]
    command = [str(binaries / "mlflow"), "models", "serve", "-m", str(made), *words, "--workers", str(start.workers)]
    return command, _path(binaries)


def _bentoml(start: Start) -> tuple[list[str], dict[str, str]]:
    binaries = start.peers / "bentoml/bin"
    words = ["serve", "serve_bentoml:Made", "--host", "127.0.0.1", "--port", str(start.port)]
    variables = {"SERVE_MODEL": str(start.model), "SERVE_WORKERS": str(start.workers), "BENTOML_DO_NOT_TRACK": "True"}
    variables |= {"BENTOML_HOME": str(start.scratch / "bentoml"), **_path(binaries)}
    return [str(binaries / "bentoml"), *words, "--working-dir", str(HERE)], variables


def _mlserver(start: Start) -> tuple[list[str], dict[str, str]]:
    """One worker answers in the server's own process, which costs MLServer least; two are processes beside it."""
    folder = Path(tempfile.mkdtemp(prefix="mlserver-", dir=start.scratch))
    settings = {"host": "127.0.0.1", "http_port": start.port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings |= {"parallel_workers": start.workers if start.workers > 1 else 0, "debug": False}
    model = {"name": "made", "implementation": "mlserver_lightgbm.LightGBMModel"}
    (folder / "settings.json").write_text(json.dumps(settings))
    uri = str((start.model / "model.txt").resolve())
    (folder / "model-settings.json").write_text(json.dumps({**model, "parameters": {"uri": uri, "version": "1"}}))
    binaries = start.peers / "mlserver/bin"
    return [str(binaries / "mlserver"), "start", str(folder)], _path(binaries)


def _path(binaries: Path) -> dict[str, str]:
    return {"PATH": f"{binaries.resolve()}{os.pathsep}{os.environ.get('PATH', '')}"}


def _tensor(rows: Rows) -> Any:
    flat = [value for row in rows for value in row.values()]
    one = {"name": "rows", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": flat}
    return {"inputs": [one]}


def _plain(rows: Rows) -> Any:
    return {"rows": rows}


def _answers(document: Any) -> Values:
    return [answer["value"] for answer in document["answers"]]


CONTESTANTS = {
    "floor": Contestant("HTTP floor (ASGI, constant bytes)", "/v1/made/predict", _floor, _plain, lambda document: []),
    "raw": Contestant("raw ASGI, LightGBM's C call", "/v1/made/predict", _raw, _plain, lambda found: found["values"]),
    "alone": Contestant("Gancao, the model alone", "/v1/made/predict", _alone, _plain, _answers),
    "full": Contestant(
        "Gancao: interval, events, durable journal", "/v1/made/predict", _full, _plain, _answers, worker="serving.app"
    ),
    "mlserver": Contestant(
        "MLServer", "/v2/models/made/infer", _mlserver, _tensor, lambda found: found["outputs"][0]["data"], "mlserver"
    ),
    "bentoml": Contestant("BentoML", "/predict", _bentoml, _plain, lambda found: found, "bentoml"),
    "mlflow": Contestant(
        "mlflow models serve",
        "/invocations",
        _mlflow,
        lambda rows: {"dataframe_records": rows},
        lambda found: found["predictions"],
        "mlflow_serve",
    ),
}
"""From the least work to the most."""


@dataclass(frozen=True)
class Process:
    """One process of a contestant. cpu_s: used so far, in ticks of 10 ms; bytes of memory by share and in whole."""

    words: str
    cpu_s: float
    pss_mb: float
    rss_mb: float


@dataclass
class Running:
    """A contestant that runs. cold: its processes at its first answer, cold_s seconds after its start."""

    contestant: Contestant
    port: int
    leader: int
    cold_s: float
    cold: list[Process]

    def cpu_s(self) -> float:
        """What its processes have used so far, and those that they have waited for."""
        return sum(_cpu_s(process) for process in _members(self.leader))

    def workers(self) -> list[Process]:
        """Those of its processes that answer."""
        return [process for process in self.processes() if self.contestant.worker in process.words]

    def processes(self) -> list[Process]:
        """Each with its memory now."""
        return [Process(_words(one), _cpu_s(one), *_memory_mb(one)) for one in _members(self.leader)]


@contextmanager
def running(name: str, start: Start, core: set[int], rows: Rows) -> Iterator[Running]:
    """The contestant, from its first answer to its end. core: of all its processes. Raises RuntimeError."""
    contestant = CONTESTANTS[name]
    command, variables = contestant.command(start)
    first = load.request(start.port, contestant.path, json.dumps(contestant.body(rows)).encode())
    with tempfile.TemporaryFile() as log:
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )
        try:
            while not _answers_to(start.port, first):
                if process.poll() is not None or time.monotonic() - begun > START_S:
                    log.seek(0)
                    raise RuntimeError(f"{contestant.title} did not come up: {log.read()[-3000:].decode()}")
                time.sleep(0.02)
            found = Running(contestant, start.port, process.pid, time.monotonic() - begun, [])
            found.cold = found.processes()
            yield found
        finally:
            end(process)


def _answers_to(port: int, content: bytes) -> bool:
    try:
        load.once(port, content)
    except (OSError, RuntimeError):
        return False
    return True


def _members(leader: int) -> list[Path]:
    """A process and all that descend from it, as folders of /proc."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):  # it has just ended
            parents[int(folder.name)] = int(_stat(folder)[1])
    found, grown = {leader}, True
    while grown:
        more = {process for process, parent in parents.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return [Path("/proc") / str(process) for process in sorted(found)]


def _stat(folder: Path) -> list[str]:
    """The words of /proc/PID/stat behind the command's name: state, parent, group, session, ..."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _cpu_s(folder: Path) -> float:
    try:
        return sum(int(ticks) for ticks in _stat(folder)[11:15]) / TICKS  # its own, and of children that have ended
    except (OSError, IndexError):
        return 0.0


def _words(folder: Path) -> str:
    try:
        return " ".join((folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:6])
    except OSError:
        return ""


def _memory_mb(folder: Path) -> tuple[float, float]:
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    kilobytes = {line.split(":")[0]: float(line.split()[1]) for line in lines[1:]}
    return kilobytes["Pss"] / 1024, kilobytes["Rss"] / 1024
