"""Where trials run: what the search asks of an `Engine`, whichever it is, and how its functions fail."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Ticket = int


class Put(Protocol):
    """Arrays that all workers share: small itself, so that it travels in the arguments of every submission."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, read-only, in the memory that all processes of the machine share. Cached a process."""


class Engine(Protocol):
    """Runs functions elsewhere. A ticket names one submission; its result is fetched once and then forgotten."""

    @property
    def slots(self) -> int:
        """How many functions run at once, now: a cluster grows and shrinks."""

    def put(self, arrays: dict[str, np.ndarray], folder: Path) -> Put:
        """Share arrays with every worker, once. `folder` (made when absent) is the caller's to delete, after use."""

    def submit(self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None) -> Ticket:
        """Start `function` (importable by name) as soon as a slot is free; kill it `timeout_s` after its start."""

    def wait_any(self, tickets: list[Ticket], timeout_s: float | None = None) -> list[Ticket]:
        """Those that are done, in order of submission; empty when `timeout_s` passed first."""

    def result(self, ticket: Ticket) -> Any:
        """What the function returned (arrays may be read-only), or its exception; waits for it.

        Raises TimeoutError when it was killed for its time, OutOfMemory when it was killed for its memory or asked
        for more than there is, WorkerDied when its process died again and again, KeyError when the ticket was
        cancelled or its result already fetched.
        """

    def cancel(self, ticket: Ticket) -> None:
        """Stop it, even in the middle, and forget it."""

    def close(self) -> None:
        """Stop everything and give the processes back."""


class WorkerDied(Exception):
    """The process of a function died (killed, a crash in native code), also when it was tried again."""


class OutOfMemory(WorkerDied):
    """A function wanted more memory than its share. It is not tried again."""


def call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Run a function in a worker: its exception carries the trace as a note, and asking to exit is an exception."""
    try:
        return function(*arguments)
    except Exception as error:
        error.add_note(traceback.format_exc())
        raise
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"the function raised {error!r}") from None


def too_much(own_bytes: int, share_bytes: int) -> str:
    """The words of a function that was killed for its memory."""
    return (
        f"out of memory: its process held {own_bytes / 1e6:.0f} MB of its own, its share is {share_bytes / 1e6:.0f} MB"
    )


def available_cores() -> int:
    """Cores that this process may use: its affinity, cut to a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, int(int(quota) / int(period)))) if quota != "max" else cores
    except (OSError, ValueError):
        return cores


def memory_share(slots: int) -> int:
    """Bytes that one of `slots` workers of this machine may hold: nine tenths of all memory, in equal parts."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return int(0.9 * total / slots)


def own_memory(pid: int) -> int:
    """Bytes that a process holds for itself: resident, without mapped files and shared memory.

    Those are shared by all workers, so that they would be counted against each. 0 when it has ended, or off Linux.
    """
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
