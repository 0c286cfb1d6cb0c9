"""The service: a parent that owns the socket, a fetcher, a job process, and workers; what dies is started again."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import FrameType

from feature_store.errors import Usage
from feature_store.settings import PREFIX, Settings
from serving import door, meter_file, reach, traces
from serving.log import log

RESTART_S = (0.1, 0.5, 2.0, 10.0)
"""Waits before a child that died soon after its start is started again."""


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises Usage when the address is taken, or open to others without a key or a word."""
    reach.refuse_unfit(settings)
    traces.refuse_unfit(os.environ)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise Usage(
            f"{settings.host}:{settings.port} can't be served on ({error.strerror}).\n"
            "Stop what serves there, or choose another with --port."
        ) from None
    listener.listen(2048)
    return listener


@dataclass
class _Child:
    """A process that should be running."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    not_before: float = field(default=0.0)


class Service:
    """Starts and watches the children until SIGTERM or Ctrl-C, then lets the workers end what they began."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings, self._listener = settings, listener
        python = [sys.executable, "-m"]
        self._children = [_Child("fetcher", [*python, "serving.fetch"]), _Child("jobs", [*python, "serving.job_run"])]
        self._handed = [listener.fileno(), meter_file.share(settings.workers)]
        self._children += [
            _Child(f"worker-{number}", [*python, "serving.app", *map(str, [*self._handed, number])])
            for number in range(settings.workers)
        ]
        self._stopping = False

    def run(self) -> None:
        """Blocks until it is told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        host, port = self._listener.getsockname()[:2]
        log("service_started", host=host, port=port, workers=self._settings.workers)
        while not self._stopping:
            for child in self._children:
                self._keep_alive(child)
            time.sleep(0.1)
        self._end()
        log("service_stopped")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        door.shut(self._listener)

    def _keep_alive(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return
            child.deaths = child.deaths + 1 if now - child.started < 30 else 0
            wait = RESTART_S[min(child.deaths, len(RESTART_S) - 1)]
            log("child_died", name=child.name, code=code, restart_in_s=wait)
            child.process, child.not_before = None, now + wait
        if now >= child.not_before:
            child.process = subprocess.Popen(
                child.command,
                env={**os.environ, **variables(self._settings)},
                pass_fds=self._handed if child.name != "fetcher" else [],
                process_group=0,  # Ctrl-C reaches this process only; it tells the children in order
                preexec_fn=_end_with_parent,
            )
            child.started = now

    def _end(self) -> None:
        """SIGTERM to all; those that have not ended when the drain is over are killed."""
        self._listener.close()  # the workers have it too: the last of them that ends closes it indeed
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._settings.drain_s + 2
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def variables(settings: Settings) -> dict[str, str]:
    """The settings as the variables that the children read."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {PREFIX + name.upper(): str(int(v) if isinstance(v, bool) else v) for name, v in values.items()}


def _end_with_parent() -> None:
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises Usage."""
    Service(settings, listen(settings)).run()
