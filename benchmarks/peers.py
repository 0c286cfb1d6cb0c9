"""The two servers of one and the same version: `gancao serve`, and its rival `mlflow models serve`."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 120


class Peer:
    """A running server and one connection to it that is kept alive."""

    def __init__(self, name: str, port: int, path: str, body: bytes, method: str = "POST") -> None:
        self.name, self._path, self._body, self._method = name, path, body, method
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        """Send the row and read the whole answer."""
        self._connection.request(self._method, self._path, self._body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self.name} answered {answer.status}: {content[:500]!r}")
        return content

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()


@contextmanager
def gancao(home: Path, task: str) -> Iterator[int]:
    """The port of a `gancao serve` over the home, ready to answer the task, until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "experiments.cli", "serve", "--port", str(port)]
    with _running(command, {"GANCAO_HOME": str(home)}, port, f"/v1/{task}"):
        yield port


@contextmanager
def mlflow(tracking_uri: str, task: str) -> Iterator[int]:
    """The port of an `mlflow models serve` of the task's champion, one worker, until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{task}@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # `mlflow models serve` starts `uvicorn` by its name, so that must be found on PATH
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with _running(command, {"MLFLOW_TRACKING_URI": tracking_uri, "PATH": path}, port, "/ping"):
        yield port


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(command: list[str], environment: dict[str, str], port: int, ready: str) -> Iterator[None]:
    """A process group of its own, from the moment it answers 200 at `ready` to its end."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port, ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} did not come up (exit code {process.poll()})")
            time.sleep(0.1)
        yield
    finally:
        _end(process)


def _answers(port: int, path: str) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the whole group: `mlflow models serve` leaves its server behind when only the parent is told."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
