"""The two servers of one and the same version: `gancao serve`, and its rival `mlflow models serve`."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 60


class Peer:
    """A running server, asked over one connection that is kept alive, with next to no work of its own.

    `http.client` needs 0.3 to 0.5 ms a request, most of it for the answer's headers: as much as a server under test.
    """

    def __init__(self, name: str, port: int, path: str, body: bytes) -> None:
        """body: empty for a GET."""
        self.name, self._port = name, port
        head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._request = f"{head}\r\n".encode() + body

    def connect(self) -> None:
        """Open the connection; a server closes one that was idle for 5 s."""
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        """Send the request and read the whole answer. Raises RuntimeError unless its status is 200."""
        self._socket.sendall(self._request)
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._more()
        head, start = got[:end].lower(), end + 4
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(got) < start + length:
            got += self._more()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{self.name} answered {got[:500]!r}")
        return got[start:]

    def _more(self) -> bytes:
        if not (chunk := self._socket.recv(65536)):
            raise RuntimeError(f"{self.name} closed the connection")
        return chunk

    def close(self) -> None:
        """Let the connection go."""
        self._socket.close()


class SlowPeer:
    """The same through the standard library's `http.client`, as a Python application would ask."""

    def __init__(self, name: str, port: int, path: str, body: bytes) -> None:
        self.name, self._path, self._body = name, path, body
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def connect(self) -> None:
        """Open the connection."""
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        """Send the row and read the whole answer. Raises RuntimeError unless its status is 200."""
        self._connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
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
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_S
            while not _answers(port, ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = log.read()[-2000:].decode(errors="replace")
                    raise RuntimeError(f"{' '.join(command)} did not come up. It said:\n{said}")
                time.sleep(0.1)
            yield
        finally:
            end(process)


def _answers(port: int, path: str) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the whole group: `mlflow models serve` leaves its server behind when only the parent is told."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
