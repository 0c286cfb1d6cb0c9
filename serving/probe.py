"""The sacrificial child: loads one bundle within limits and shows that it may answer; it may die of it.

In its process, before any worker learns of the version: digests, then the parsers, then `serving/sound.py`, then golden
rows bit for bit, then rows at the ends of every field, whose answers must be finite numbers.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from feature_store.errors import BundleRefused
from feature_store.field import AnyField
from serving import bundle as bundles
from serving import predictor, sound
from serving.bundle import Bundle
from serving.predictor import Predictor
from serving.request import check

MEGABYTE = 1024 * 1024
MOST_WORDS = 20
"""Words of a category that are asked one by one."""

MOST_REASON = 400
"""Letters of a reason: what LightGBM says of a model may repeat the model."""


@dataclass(frozen=True)
class Limits:
    """Of the child. cpu_s: of processor time; wall_s: altogether, for a machine may be busy; memory_mb: beside
    `TIMES` the size of the bundle; said_mb: what it may print; row_us: what a row may cost (`serving/sound.py`)."""

    cpu_s: int = 60
    wall_s: float = 300.0
    memory_mb: int = 2048
    said_mb: int = 1
    row_us: float = sound.MOST_ROW_US


TIMES = 8
LIMITS = Limits()


def probe(bundle: Path, task: str, limits: Limits = LIMITS) -> None:
    """Load a bundle and try it in a child process. Raises BundleRefused however the child fails."""
    command = [sys.executable, "-m", "serving.probe", str(bundle.resolve()), task, json.dumps(asdict(limits))]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as said:  # a file has a limit, a pipe would fill our memory
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL, env=alone)
        try:
            code = child.wait(limits.wall_s)
        except subprocess.TimeoutExpired:
            raise BundleRefused(f"It did not load within {limits.wall_s:g} s. It is tried again.") from None
        finally:
            child.kill()
            child.wait()
        said.seek(0)
        # What LightGBM prints of a poisoned model need not be UTF-8.
        lines = said.read(limits.said_mb * MEGABYTE).decode(errors="replace").strip().splitlines()
    if code != 0:
        raise BundleRefused(_reason(code, lines, limits)[:MOST_REASON])


def _reason(code: int, lines: list[str], limits: Limits) -> str:
    if code == -signal.SIGXCPU:
        return f"Loading it took more than {limits.cpu_s} s of processor time. Train the task again."
    if code < 0:
        return f"Loading it killed the process ({signal.Signals(-code).name}). Train the task again."
    return lines[-1] if lines else f"Loading it ended the process (code {code}). Train the task again."


def main() -> int:
    """`python -m serving.probe FOLDER TASK LIMITS`; 0 if it may answer, else the reason is the last line printed."""
    folder, task, limits = Path(sys.argv[1]), sys.argv[2], Limits(**json.loads(sys.argv[3]))
    try:
        _limit(limits, folder)
        _try(bundles.read(folder), task, limits)
    except BundleRefused as error:
        reason = str(error)
    except MemoryError:
        reason = "Loading it takes more memory than a version may. Train the task again."
    except Exception as error:
        reason = f"It is not a version that this server can ask ({type(error).__name__}). Train the task again."
    else:
        return 0
    sys.stdout.write("\n" + reason.replace("\n", " ") + "\n")
    return 1


def _limit(limits: Limits, folder: Path) -> None:
    """Bound what this process may take, and let others go before it."""
    size = sum(path.stat(follow_symlinks=False).st_size for path in folder.rglob("*"))
    most = limits.memory_mb * MEGABYTE + TIMES * size
    for what, limit in (
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_FSIZE, limits.said_mb * MEGABYTE),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (limit, limit if what != resource.RLIMIT_CPU else hard))
    os.nice(10)
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
    badness = Path("/proc/self/oom_score_adj")
    if badness.exists():
        badness.write_text("1000")  # where memory runs out all the same, this process goes first


def _try(bundle: Bundle, task: str, limits: Limits) -> None:
    """Raises BundleRefused unless the version answers whatever its Task allows, and in time."""
    if bundle.task.task != task:
        raise BundleRefused(f"It is registered as {task} but its Task is {bundle.task.task}. Register it anew.")
    sound.judge(bundle, limits.row_us)
    loaded = Predictor(bundle)
    loaded.check_golden()
    rows = bundle.golden["rows"]
    quickest = min(_cpu_us(loaded, row) for row in rows)
    if quickest > limits.row_us:
        raise BundleRefused(
            f"A row takes {quickest:.0f} us of processor time at the least; at most {limits.row_us:.0f} may answer."
        )
    ends = [row for row in at_the_ends(loaded, rows[0]) if not check(loaded.task, [row])]
    for row, answer in zip(ends, loaded.answer(ends), strict=True):
        if not predictor.finite(answer):
            odd = [name for name in row if row[name] != rows[0].get(name)]
            raise BundleRefused(f"At the ends of {', '.join(odd[:5])} it answers no number. Train the task again.")


def _cpu_us(loaded: Predictor, row: dict[str, Any]) -> float:
    began = time.thread_time_ns()
    loaded.answer([row])
    return (time.thread_time_ns() - began) / 1000


def at_the_ends(loaded: Predictor, typical: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The typical row with each field in turn at its ends, at each of its words, and unknown; all at once too."""
    fields = loaded.task.fields
    ends = {field.name: list(_ends(field, loaded.bundle.encoder.categories.get(field.name, []))) for field in fields}
    for name, values in ends.items():
        yield from ({**typical, name: value} for value in values)
        yield {key: value for key, value in typical.items() if key != name}
    for place in (0, -1):
        yield {name: values[place] for name, values in ends.items() if values}
    yield {field.name: typical[field.name] for field in fields if field.required and field.name in typical}


def _ends(field: AnyField, words: list[str]) -> Iterator[Any]:
    if field.type == "flag":
        yield from (False, True)
    elif field.type == "category":
        yield from words[:MOST_WORDS]
    elif field.limits is not None:
        low, high = field.limits
        whole = field.type == "number" and field.integer
        yield from (int(low), int(high)) if whole else (low, high)


if __name__ == "__main__":
    sys.exit(main())
