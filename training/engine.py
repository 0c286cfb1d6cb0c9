"""Where trials run: the `Engine` that the search speaks to, and `local`, a pool of fresh processes."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Protocol

from pebble import ProcessExpired, ProcessPool

Ticket = int


class Engine(Protocol):
    """Runs functions elsewhere. A ticket names one submission."""

    @property
    def slots(self) -> int:
        """How many functions run at once."""

    def submit(self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None) -> Ticket:
        """Start `function` (importable by name) as soon as a slot is free; kill it after `timeout_s`."""

    def wait_any(self, tickets: list[Ticket], timeout_s: float | None = None) -> list[Ticket]:
        """Those that are done, in order of submission; empty when `timeout_s` passed first."""

    def result(self, ticket: Ticket) -> Any:
        """What the function returned, or its exception: TimeoutError when it was killed for its time,
        WorkerDied when its process died twice."""

    def cancel(self, ticket: Ticket) -> None:
        """Stop it, even in the middle."""

    def close(self) -> None:
        """Stop everything and give the processes back."""


class WorkerDied(Exception):
    """The process of a trial died (out of memory, a crash in native code), also at its second try."""


class LocalEngine:
    """A pool of processes on this machine.

    Processes come from a fork server that never ran LightGBM: a fork after OpenMP has started hangs.
    """

    def __init__(self, slots: int | None = None) -> None:
        self._slots = slots or available_cores()
        self._pool = self._fresh_pool()
        self._futures: dict[Ticket, Future[Any]] = {}
        self._again: dict[Ticket, Callable[[], Future[Any]]] = {}

    def _fresh_pool(self) -> ProcessPool:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["training.trial"])
        return ProcessPool(max_workers=self._slots, initializer=_start_worker, context=context)

    @property
    def slots(self) -> int:
        return self._slots

    def submit(self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None) -> Ticket:
        def schedule() -> Future[Any]:
            try:
                future: Future[Any] = self._pool.schedule(function, args=arguments, timeout=timeout_s)
            except RuntimeError:  # the pool broke, for its workers could not start: a new one may
                self._pool = self._fresh_pool()
                future = self._pool.schedule(function, args=arguments, timeout=timeout_s)
            return future

        ticket = len(self._futures)
        self._futures[ticket], self._again[ticket] = schedule(), schedule
        return ticket

    def wait_any(self, tickets: list[Ticket], timeout_s: float | None = None) -> list[Ticket]:
        wait([self._futures[ticket] for ticket in tickets], timeout_s, FIRST_COMPLETED)
        done = []
        for ticket in sorted(tickets):
            future = self._futures[ticket]
            if not future.done():
                continue
            died = not future.cancelled() and isinstance(future.exception(), ProcessExpired)
            if died and ticket in self._again:
                self._futures[ticket] = self._again.pop(ticket)()  # once more: it may have been killed from outside
                continue
            done.append(ticket)
        return done

    def result(self, ticket: Ticket) -> Any:
        try:
            return self._futures[ticket].result()
        except ProcessExpired as error:
            raise WorkerDied(f"its process ended with code {error.exitcode}") from None

    def cancel(self, ticket: Ticket) -> None:
        self._again.pop(ticket, None)
        self._futures[ticket].cancel()

    def close(self) -> None:
        self._pool.stop()
        self._pool.join()


def available_cores() -> int:
    """Cores that this process may use: its affinity, cut to a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:  # noqa: PTH123
            quota, period = file.read().split()
        return max(1, min(cores, int(int(quota) / int(period)))) if quota != "max" else cores
    except (OSError, ValueError):
        return cores


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
