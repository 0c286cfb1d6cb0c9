"""What a contestant of benchmarks/features_offline.py is: one job on one folder, its cost on standard output.

    python features_X.py JOB FOLDER OUT

FOLDER has events.parquet (who, bill, at, units, price, deal) and origins.parquet (who, as_of). OUT is written as
Parquet, a row an origin in their order: of the job `last` units, price and deal of the latest event up to as_of, NULL
without one; of `windows` sum_D and count_D of units over (as_of - D days, as_of], 0 without an event.
Costs are of the job alone, from the files to the finished table; memory is the whole process's.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DAYS = (7, 28, 90)

Job = Callable[[Path], pa.Table]


def run(jobs: dict[str, Job]) -> None:
    """Do the job that is asked, print its cost as JSON, write its result."""
    job, folder, out = sys.argv[1:]
    started, before = time.monotonic(), _cpu_s()
    result = jobs[job](Path(folder))
    cost = {"cpu_s": _cpu_s() - before, "seconds": time.monotonic() - started, "peak_mb": _peak_mb()}
    pq.write_table(result, out)
    print(json.dumps(cost))


def _peak_mb() -> float:
    """Of this program alone: what getrusage says begins with the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def _cpu_s() -> float:
    """Of this process, all its threads, and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
