"""The engine `local`: a pool of fresh processes on this machine, each behind a pipe of its own.

Processes come from a fork server that never ran LightGBM: a fork after OpenMP has started hangs. One pipe a worker,
and one thread that owns them all: pools whose workers share a pipe hang, or break whole, when a worker is killed
while it writes.
"""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from training import local_worker
from training.engine import OutOfMemory, Ticket, WorkerDied, available_cores, memory_share, own_memory, too_much
from training.local_put import FolderPut, lay_out

LOOK_S = 0.1
"""Seconds between looks at time and memory. A process fills some 200 MB meanwhile."""
START_S = 60.0
"""Seconds that a fresh process gets to start, beside the time of its first function."""


@dataclass
class _Job:
    ticket: Ticket
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    timeout_s: float | None
    deaths: int = 0


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: _Job | None = None
    started: float = 0.0

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class LocalEngine:
    """A pool of processes on this machine.

    slots: workers, by default one a core. memory_bytes: what a worker may hold for itself (mapped files not counted),
    by default an equal share of the machine. A function whose process dies is run `tries` times at most, in case it
    was killed from outside.
    """

    def __init__(self, slots: int | None = None, memory_bytes: int | None = None, tries: int = 2) -> None:
        self._slots = slots or available_cores()
        self._memory_bytes = memory_bytes or memory_share(self._slots)
        self._tries = tries
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["training.trial"])
        self._numbers = itertools.count()
        self._queue: deque[_Job] = deque()
        self._workers: list[_Worker] = []
        self._outcomes: dict[Ticket, tuple[bool, Any]] = {}
        self._known: set[Ticket] = set()
        self._changed = threading.Condition()
        self._closing = self._ended = False
        self._bell, self._ring = self._context.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._run, name="local-engine", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # who forgets it may end while a worker is being started, which would be told

    @property
    def slots(self) -> int:
        return self._slots

    def put(self, arrays: dict[str, np.ndarray], folder: Path) -> FolderPut:
        return lay_out(arrays, folder)

    def submit(self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None) -> Ticket:
        with self._changed:
            ticket = next(self._numbers)
            self._known.add(ticket)
            self._queue.append(_Job(ticket, function, arguments, timeout_s))
        self._ring.send(None)
        return ticket

    def wait_any(self, tickets: list[Ticket], timeout_s: float | None = None) -> list[Ticket]:
        def done() -> list[Ticket]:
            if self._ended:
                raise RuntimeError("the thread of the engine has ended: it was closed, or failed as stderr says")
            return sorted(ticket for ticket in tickets if ticket in self._outcomes)

        with self._changed:
            if unknown := set(tickets) - self._known:
                raise KeyError(f"tickets {sorted(unknown)} were cancelled or fetched, so they are not waited for")
            self._changed.wait_for(lambda: done() or not tickets, timeout_s)
            return done()

    def result(self, ticket: Ticket) -> Any:
        self.wait_any([ticket])
        with self._changed:
            self._known.discard(ticket)
            succeeded, value = self._outcomes.pop(ticket)
        if succeeded:
            return value
        if isinstance(value, MemoryError):
            raise OutOfMemory(f"out of memory: {value}") from value
        raise value

    def cancel(self, ticket: Ticket) -> None:
        with self._changed:
            self._known.discard(ticket)  # the thread kills what is not known any more
            self._outcomes.pop(ticket, None)
        self._ring.send(None)

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        atexit.unregister(self.close)
        self._ring.send(None)
        self._thread.join()
        for worker in list(self._workers):
            self._discard(worker)
        self._ring.close()
        self._bell.close()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _turn(self) -> None:
        """One turn of the thread: hand out jobs, take in results, bury the dead, look at time and memory."""
        with self._changed:
            self._hand_out()
            pipes = {worker.pipe: worker for worker in self._workers}
            ends = {worker.process.sentinel: worker for worker in self._workers}
            busy = any(worker.job for worker in self._workers)
        ready = connection.wait([self._bell, *pipes, *ends], LOOK_S if busy else None)
        with self._changed:
            while self._bell.poll():
                self._bell.recv()
            for end in ready:  # a result that arrived goes before the news that its worker ended
                while end in pipes and pipes[end] in self._workers and pipes[end].pipe.poll():
                    self._take_in(pipes[end])
            for end in ready:
                if end in ends and ends[end] in self._workers:
                    self._bury(ends[end])
            self._watch()

    def _hand_out(self) -> None:
        while self._queue and sum(worker.job is not None for worker in self._workers) < self._slots:
            job = self._queue.popleft()
            if job.ticket not in self._known:
                continue
            try:
                worker = next((w for w in self._workers if w.job is None), None) or self._fresh_worker()
            except (OSError, EOFError) as error:  # no process to be had
                self._again(job, f"no process could be started: {error}")
                continue
            worker.job, worker.started = job, time.monotonic() + START_S
            try:
                worker.pipe.send((job.function, job.arguments))
            except OSError:  # it ended while it was idle
                self._bury(worker)
            except Exception as error:  # what does not travel: a lambda, a lock
                worker.job = None
                self._settle(job, False, error)

    def _fresh_worker(self) -> _Worker:
        ours, its = self._context.Pipe()
        for attempt in itertools.count(1):
            process = self._context.Process(target=local_worker.work, args=(its,), daemon=True, name="gancao-trials")
            try:
                process.start()
                break
            except (OSError, EOFError):  # the fork server is being killed: another starts once it is gone
                if attempt == 20:
                    raise
                time.sleep(0.1)
        its.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _take_in(self, worker: _Worker) -> None:
        try:
            outcome = worker.pipe.recv()
        except (EOFError, OSError):  # it died, perhaps while it wrote
            self._bury(worker)
            return
        except Exception as error:  # an exception of a class that does not travel
            outcome = (False, RuntimeError(f"what the function gave back could not be read: {error}"))
        if outcome is None:
            worker.started = time.monotonic()
            return
        job, worker.job = worker.job, None
        if job:
            self._settle(job, *outcome)

    def _bury(self, worker: _Worker) -> None:
        """A worker ended by itself."""
        self._discard(worker)
        if worker.job:
            self._again(worker.job, f"code {worker.process.exitcode}")

    def _again(self, job: _Job, why: str) -> None:
        """Put it at the head of the queue once more, or let it fail."""
        job.deaths += 1
        if job.deaths < self._tries:
            self._queue.appendleft(job)
        else:
            self._settle(job, False, WorkerDied(f"its process died {job.deaths} times, at last with {why}"))

    def _watch(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            job = worker.job
            if job is None:
                continue
            if job.ticket not in self._known:
                self._discard(worker)
            elif job.timeout_s is not None and now - worker.started > job.timeout_s:
                self._discard(worker)
                self._settle(job, False, TimeoutError(f"killed after {job.timeout_s:g} s"))
            elif (own := own_memory(worker.process.pid)) > self._memory_bytes:
                self._discard(worker)
                self._settle(job, False, OutOfMemory(too_much(own, self._memory_bytes)))

    def _settle(self, job: _Job, succeeded: bool, value: Any) -> None:
        if job.ticket in self._known:
            self._outcomes[job.ticket] = (succeeded, value)
            self._changed.notify_all()

    def _discard(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        with suppress(OSError):
            worker.kill()
