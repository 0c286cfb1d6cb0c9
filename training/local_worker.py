"""A worker of the engine `local`: takes a function from its pipe, runs it, gives back what came of it."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from training.engine import call


def work(pipe: Connection) -> None:
    """Until the other end of the pipe is closed. Answers None when it begins, then (True, value) or (False, error)."""
    _start(pipe)
    while True:
        try:
            function, arguments = pipe.recv()
            pipe.send(None)
            answer: tuple[bool, Any] = (True, call(function, arguments))
        except EOFError:
            return
        except Exception as error:
            answer = (False, error)
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return
        except Exception as error:  # nothing was written yet: it is turned into bytes first
            pipe.send((False, TypeError(f"what the function gave back cannot travel: {error}")))


def _start(pipe: Connection) -> None:
    """Leave Ctrl-C to the parent, end when it ends, however it ends, and be the first to go when memory is short.

    BLAS works with one thread: the others' slots are theirs, and sums in another order would be other bits.
    """
    threadpool_limits(1, user_api="blas")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(pipe.fileno(),), daemon=True).start()
    if sys.platform == "linux":
        parent_death_signal = 1  # the parent is the fork server, which outlives the pool while a worker lives
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _end_with(descriptor: int) -> None:
    """Kill this process once the other end of its pipe is gone, also in the middle of a function."""
    hung_up = select.poll()
    hung_up.register(descriptor, 0)
    hung_up.poll()
    os.kill(os.getpid(), signal.SIGKILL)
