"""A command run under watch: on given cores, its whole process tree's memory followed, ended when it is late.

Descendants are known by a mark in their environment, so that one whose parent has gone (Ray's) counts as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MARK = "BENCHMARK_WATCHED"
LOOKS = 3
OFTEN_S, SELDOM_S, SHARE = 0.25, 2.0, 0.03
"""Memory is looked at as often as OFTEN_S, less where a look takes more than SHARE of the time (30 processes of Ray's:
0.09 s), but not less often than SELDOM_S."""


@dataclass(frozen=True)
class Watched:
    """What became of a command. code: its exit code, or None when it was ended for being late.

    peak_bytes: largest sum, over the tree, of resident memory at one moment; a page that processes share counts
    once in all (`Pss`), so that a pool of forked workers is not counted many times over.
    """

    code: int | None
    seconds: float
    peak_bytes: int
    said: str


def run(command: list[str], cores: list[int], limit_s: float, log: Path, environment: dict[str, str]) -> Watched:
    """Run to the end or to the limit, in the log's folder; nothing of the tree is left when this returns."""
    mark = uuid.uuid4().hex
    started, peak = time.monotonic(), 0
    code: int | None = None
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", ",".join(map(str, cores)), *command],
            env={**environment, MARK: mark},
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=log.parent,
        )
        tree = Tree(mark)
        try:
            while (code := process.poll()) is None and time.monotonic() - started < limit_s:
                before = time.process_time()
                peak = max(peak, tree.bytes())
                pause = min(max(OFTEN_S, (time.process_time() - before) / SHARE), SELDOM_S)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(pause)
        finally:
            tree.end()
            process.wait()
    seconds = time.monotonic() - started
    return Watched(code, seconds, peak, log.read_bytes()[-4000:].decode(errors="replace"))


class Tree:
    """All living processes whose environment holds the mark."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{MARK}={mark}".encode()
        self._ours: dict[tuple[int, str], bool] = {}
        self._looks: Counter[tuple[int, str]] = Counter()

    def pids(self) -> list[int]:
        """Their ids now."""
        return [int(folder.name) for folder in PROC.iterdir() if folder.name.isdigit() and self._is_ours(folder)]

    def bytes(self) -> int:
        """Their resident memory together, each shared page once."""
        return sum(_resident(PROC / str(pid)) for pid in self.pids())

    def end(self) -> None:
        """Kill them, and those that they start meanwhile, until none is left."""
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def _is_ours(self, folder: Path) -> bool:
        """A process that lacks the mark is looked at LOOKS times: it has its parent's until it runs its program."""
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z":
                return False
            birth = (int(folder.name), fields[19])
            if not self._ours.get(birth, False) and self._looks[birth] < LOOKS:
                self._looks[birth] += 1
                self._ours[birth] = self._mark in (folder / "environ").read_bytes()
            return self._ours.get(birth, False)
        except (OSError, IndexError):
            return False


def _resident(folder: Path) -> int:
    try:
        for line in (folder / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0
