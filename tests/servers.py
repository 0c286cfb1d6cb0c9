"""Real PostgreSQL and Redis servers for tests, each in a folder of its own, gone when the tests end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.needed import need

READY_S = 60.0


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL on a loopback port, without fsync; gives its URL (database `gancao`, user `gancao`)."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    need(binaries, "PostgreSQL is not installed: `make tools` as root installs it")
    folder, port = Path(tempfile.mkdtemp(prefix="gancao-pg-")), _free_port()
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres", "postgres")
    tools = binaries[-1].parent
    making = [*user, str(tools / "initdb"), "-D", str(folder / "data"), "-U", "gancao", "-A", "trust", "-N"]
    subprocess.run(making, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
    process = subprocess.Popen(
        [*user, str(tools / "postgres"), "-D", str(folder / "data"), *options],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )
    try:
        url = f"postgresql://gancao@127.0.0.1:{port}/gancao"
        creating = [str(tools / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "gancao", "gancao"]
        _until(lambda: subprocess.run(creating, check=False, capture_output=True).returncode == 0, "PostgreSQL")
        yield url
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis() -> Iterator[str]:
    """A Redis on a loopback port that keeps nothing on disk; gives its URL."""
    binary = shutil.which("redis-server")
    need(binary, "Redis is not installed: `make tools` as root installs it")
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="gancao-redis-") as folder:
        words = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            _until(lambda: _listens(port), "Redis")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(30)


def _until(ready: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + READY_S
    while not ready():
        if time.monotonic() > end:
            pytest.fail(f"{name} was not ready within {READY_S:g} s")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
