"""The engine `ray`: warm tasks on a cluster. The only file that imports ray, and only Ray Core."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import (
    AuthenticationError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.experimental import internal_kv

from feature_store.errors import Usage
from training.engine import OutOfMemory, Ticket, WorkerDied, available_cores, call
from training.ray_worker import Limits, guarded

DEATHS = (WorkerCrashedError, NodeDiedError, ObjectLostError, LocalRayletDiedError, OutOfMemoryError)
"""What Ray says when a process or a machine went away under a function, or took its result with it."""
SPACE = b"gancao"
VERDICTS: dict[str, type[Exception]] = {"time": TimeoutError, "memory": OutOfMemory}
FOLDERS = "gancao-ray-"


@dataclass(frozen=True)
class RayPut:
    """Arrays in the object store: one copy a machine, mapped by its workers."""

    reference: Any

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, read-only."""
        return _fetched(self.reference)


@lru_cache(maxsize=1)
def _fetched(reference: Any) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = ray.get(reference)
    return found


@dataclass
class _Job:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    timeout_s: float | None
    reference: Any = None
    deaths: int = 0
    again_at: float | None = None
    outcome: tuple[bool, Any] | None = None


class RayEngine:
    """Functions as Ray tasks of one core each, in processes that Ray keeps warm.

    slots, memory_bytes, address: see `training.engines.open_engine`. A function whose process or machine dies is
    submitted again, up to `tries` runs in all; by us and not by Ray, which cannot tell one that was killed from
    outside from one that we ended for its time or its memory.
    Raises Usage when no cluster answers at `address`, or this process already speaks to one.
    """

    def __init__(self, slots: int | None, memory_bytes: int | None, address: str, tries: int = 4) -> None:
        self._memory_bytes, self._tries = memory_bytes, tries
        self._name = uuid.uuid4().hex[:8]
        self._numbers = itertools.count()
        self._jobs: dict[Ticket, _Job] = {}
        self._slots, self._counted = 0, -float("inf")
        if ray.is_initialized():
            raise Usage("This process already speaks to a Ray cluster. Close that engine, or call ray.shutdown().")
        self._folder = None if address else _own_folder()
        if self._folder:
            alone = {"address": "local", "num_cpus": slots or available_cores(), "include_dashboard": False}
            _initialise(**alone, _temp_dir=str(self._folder))
        else:
            _connect(address)
        atexit.register(self.close)  # before Ray's own, which leaves the folder
        self._call = ray.remote(num_cpus=1, max_retries=0)(_run)

    @property
    def slots(self) -> int:
        if time.monotonic() > self._counted + 2.0:
            self._slots, self._counted = int(ray.cluster_resources().get("CPU", 0)), time.monotonic()
        return max(1, self._slots)

    def put(self, arrays: dict[str, np.ndarray], folder: Path) -> RayPut:
        return RayPut(ray.put(arrays))

    def submit(self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None) -> Ticket:
        ticket = next(self._numbers)
        self._jobs[ticket] = _Job(function, arguments, timeout_s)
        self._start(ticket)
        return ticket

    def wait_any(self, tickets: list[Ticket], timeout_s: float | None = None) -> list[Ticket]:
        if unknown := set(tickets) - set(self._jobs):
            raise KeyError(f"tickets {sorted(unknown)} were cancelled or fetched, so they are not waited for")
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            waiting = [t for t in tickets if self._restarted_later(t)]
            running = {
                self._jobs[t].reference: t for t in tickets if self._jobs[t].outcome is None and t not in waiting
            }
            fetched = len(running) + len(waiting) < len(tickets)
            left = 0.0 if fetched else min(0.5 if waiting else 1.0, max(0.0, deadline - time.monotonic()))
            if waiting and not running:
                time.sleep(left)
            ready = ray.wait(list(running), num_returns=1, timeout=left)[0] if running else []
            if ready and len(running) > 1:  # others may be done as well
                ready = ray.wait(list(running), num_returns=len(running), timeout=0)[0]
            for reference in ready:
                self._take_in(running[reference])
            done = sorted(t for t in tickets if self._jobs[t].outcome is not None)
            if done or not tickets or time.monotonic() >= deadline:
                return done

    def result(self, ticket: Ticket) -> Any:
        self.wait_any([ticket])
        succeeded, value = self._jobs.pop(ticket).outcome or (False, KeyError(ticket))
        if succeeded:
            return value
        if isinstance(value, MemoryError):
            raise OutOfMemory(f"out of memory: {value}") from value
        raise value

    def cancel(self, ticket: Ticket) -> None:
        if (job := self._jobs.pop(ticket, None)) and job.outcome is None and job.again_at is None:
            ray.cancel(job.reference, force=True)

    def close(self) -> None:
        """Stop what runs, leave the cluster, and end it when it is our own.

        Without it, Ray's reaper ends a cluster of our own when this process ends, also by kill -9; two idle agents of
        Ray may then stay for a minute, and the folder until the next start.
        """
        atexit.unregister(self.close)
        if not ray.is_initialized():
            return
        for ticket in list(self._jobs):
            self.cancel(ticket)
        _fetched.cache_clear()
        ray.shutdown(wait_for_processes=True)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, ticket: Ticket) -> None:
        job = self._jobs[ticket]
        limits = Limits(job.timeout_s, self._memory_bytes)
        try:
            job.reference = self._call.remote(self._key(ticket), limits, job.function, job.arguments)
        except Exception as error:  # what does not travel: a lock
            job.outcome = (False, error)

    def _take_in(self, ticket: Ticket) -> None:
        """Fetch what came of it, at once: its machine may be gone later. What died is started again."""
        job = self._jobs[ticket]
        try:
            job.outcome = (True, ray.get(job.reference))
        except RayTaskError as error:
            job.outcome = (False, error.cause if isinstance(error.cause, Exception) else RuntimeError(str(error)))
        except DEATHS as error:
            self._again(ticket, error)
        except RayError as error:
            job.outcome = (False, WorkerDied(f"Ray could not run it: {type(error).__name__}: {error}"))

    def _again(self, ticket: Ticket, error: RayError) -> None:
        job = self._jobs[ticket]
        verdict = internal_kv._internal_kv_get(self._key(ticket), namespace=SPACE)
        if verdict is not None:  # its guard ended it, and said why
            internal_kv._internal_kv_del(self._key(ticket), namespace=SPACE)
            kind, _, words = verdict.decode().partition(" ")
            job.outcome = (False, VERDICTS[kind](words))
            return
        job.deaths += 1
        if job.deaths < self._tries:  # later each time: of a machine that went, the cluster knows only after seconds
            job.again_at = time.monotonic() + 0.5 * 4 ** (job.deaths - 1)
        elif isinstance(error, OutOfMemoryError):
            job.outcome = (False, OutOfMemory(f"out of memory: its machine had none left, {job.deaths} times"))
        else:
            words = f"its process died {job.deaths} times, at last with {type(error).__name__}"
            job.outcome = (False, WorkerDied(words))

    def _restarted_later(self, ticket: Ticket) -> bool:
        """Whether it died and its time has not come; starts it when it has."""
        job = self._jobs[ticket]
        if job.again_at is None:
            return False
        if time.monotonic() < job.again_at:
            return True
        job.again_at = None
        self._start(ticket)
        return False

    def _key(self, ticket: Ticket) -> bytes:
        return f"{self._name}:{ticket}".encode()


def _run(key: bytes, limits: Limits, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What a worker of the cluster runs."""

    def report(kind: str, words: str) -> None:
        internal_kv._internal_kv_put(key, f"{kind} {words}".encode(), namespace=SPACE)

    with guarded(limits, report):
        return call(function, arguments)


def _connect(address: str) -> None:
    """Join a running cluster. Asked first by a plain socket: Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    place = "the file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token"
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        remedy = "Start one with `RAY_AUTH_MODE=token ray start --head`, or correct GANCAO_RAY_ADDRESS (host:port)."
        raise Usage(f"No Ray cluster answers at {address!r}: {error}. {remedy}") from None
    try:
        _initialise(address=address)
    except AuthenticationError:
        raise Usage(f"The Ray cluster at {address} asks for its token, and there is none. Put it in {place}.") from None
    except (ConnectionError, RuntimeError, RayError) as error:
        remedy = f"See that its token is in {place}, and that its versions of Ray and Python are ours."
        raise Usage(f"The Ray cluster at {address} lets nobody in: {str(error).splitlines()[0]}. {remedy}") from None


def _initialise(**how: Any) -> None:
    """ray.init without a word on stdout or stderr, without its handler of SIGTERM, and within reach of Ctrl-C.

    It makes this process the leader of a new process group, so that its reaper can end the others; the terminal would
    not send us Ctrl-C there. We go back; they stay.
    """
    before, group = signal.getsignal(signal.SIGTERM), os.getpgrp()
    try:
        ray.init(**how, log_to_driver=False, logging_level=logging.CRITICAL)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
        if os.getpgrp() != group:
            os.setpgid(0, group)
    # Ray prints the death of every worker on stdout, whatever log_to_driver says; stdout is ours, and we name deaths
    ray._private.worker.print_to_stdstream = lambda data, ignore_prefix: None


def _own_folder() -> Path:
    """A fresh folder for the files of a cluster of our own; those of programs that were killed are removed."""
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{FOLDERS}*"):
        owner = old.name.removeprefix(FOLDERS).partition("-")[0]
        if not Path(f"/proc/{owner}").exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-", dir=root))
