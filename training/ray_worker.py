"""The guard beside a function in a worker of a cluster: ends the process when its time or its memory is up."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from training.engine import available_cores, memory_share, own_memory, too_much

LOOK_S = 0.1
"""Seconds between looks."""
GRACE_S = 2.0
"""Seconds after which the kernel ends a process whose guard could not run, as native code held Python's lock."""


@dataclass(frozen=True)
class Limits:
    """What one function may take. memory_bytes: None for an equal share of the worker's machine."""

    timeout_s: float | None
    memory_bytes: int | None


@contextmanager
def guarded(limits: Limits, report: Callable[[str, str], None]) -> Iterator[None]:
    """Run the block within its limits.

    report: told `time` or `memory`, and the words for the user, just before the process is killed.
    """
    lock, ended = threading.Lock(), threading.Event()
    share = limits.memory_bytes or memory_share(available_cores())
    deadline = float("inf") if limits.timeout_s is None else time.monotonic() + limits.timeout_s

    def watch() -> None:
        while not ended.wait(min(LOOK_S, max(0.0, deadline - time.monotonic()))):
            late, own = time.monotonic() >= deadline, own_memory(os.getpid())
            if not late and own <= share:
                continue
            with lock:  # held to the end, so that the block cannot end and another function begin meanwhile
                if ended.is_set():
                    return
                words = f"killed after {limits.timeout_s:g} s" if late else too_much(own, share)
                report("time" if late else "memory", words)
                os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="guard").start()
    try:
        with _alarm(limits.timeout_s):
            yield
    finally:
        with lock:
            ended.set()


@contextmanager
def _alarm(timeout_s: float | None) -> Iterator[None]:
    if timeout_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, timeout_s + GRACE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
