"""The offline half of benchmarks/features.py: CPU and memory of the point-in-time join, its rivals, and its growth.

Generated events (to the microsecond, so that no two of an entity coincide) and origins; every contestant gets the same
files in a process of its own, in turns, and what it gives is compared with Gancao's, value by value. A rival that is
not installed is told and left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HERE = Path(__file__).parent / "contestants"
JOBS = {"last": "the latest value of 3 columns", "windows": "sum and count over 7, 28 and 90 days"}
CONTESTANTS = {
    "gancao": ("Gancao `as_of`", "", ("last", "windows")),
    "polars": ("Polars `join_asof`", "features_polars", ("last", "windows")),
    "pandas": ("pandas `merge_asof`", "", ("last", "windows")),
    "duckdb": ("DuckDB, `ASOF` and range join", "", ("last", "windows")),
    "feast": ("Feast, duckdb store", "features_feast", ("last",)),
}
"""Name -> title, its environment below the peers (empty: ours), its jobs."""

DAY_US = 86_400_000_000
START_US = 1_704_067_200_000_000  # 2024-01-01
EVENTS_AN_ENTITY = 50
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
FROM = 100_000
"""The exponent is of sizes from here on: below, most of the time is starting DuckDB."""

Record = dict[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of this half."""
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000, help="origins")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestants", type=lambda text: text.split(","), default=list(CONTESTANTS))
    parser.add_argument("--sizes", type=lambda text: [*map(int, text.split(","))], default=list(SIZES))


def measure(choice: argparse.Namespace, tell: Callable[..., None]) -> None:
    """Every contestant in turn, round by round; then Gancao at growing sizes."""
    there = [name for name in choice.contestants if _python(choice.peers, name).is_file()]
    for name in sorted(set(choice.contestants) - set(there)):
        tell(kind="absent", name=name)
    with tempfile.TemporaryDirectory(prefix="gancao-features-") as scratch:
        folder = make(Path(scratch) / "compared", choice.events, choice.rows)
        for turn, job, name in itertools.product(range(choice.rounds), JOBS, there):
            if job in CONTESTANTS[name][2]:
                figures = _run(choice.peers, name, job, folder)
                tell(kind="cost", name=name, job=job, round=turn, events=choice.events, rows=choice.rows, **figures)
                if name != "gancao" and turn == 0:
                    _same(folder, job, name)
        for size in choice.sizes:
            folder = make(Path(scratch) / "growing", size, size // 5)
            for job in JOBS:
                tell(kind="growth", job=job, events=size, rows=size // 5, **_run(choice.peers, "gancao", job, folder))


def make(folder: Path, events: int, rows: int) -> Path:
    """events.parquet and origins.parquet as benchmarks/contestants/features_contract.py describes them."""
    folder.mkdir(exist_ok=True)
    dice, entities = np.random.default_rng(0), max(events // EVENTS_AN_ENTITY, 1)
    who, at = dice.integers(0, entities, events), START_US + dice.integers(0, 365 * DAY_US, events)
    order = np.lexsort((at, who))
    twice = np.flatnonzero((np.diff(who[order]) == 0) & (np.diff(at[order]) == 0))
    kept = np.setdiff1d(np.arange(events), order[twice])
    n = len(kept)
    table = {"who": who[kept], "bill": np.arange(n), "at": pa.array(at[kept], pa.timestamp("us")),
             "units": dice.integers(1, 20, n), "price": dice.random(n, dtype=np.float32),
             "deal": dice.random(n) < 0.2}  # fmt: skip
    pq.write_table(pa.table(table), folder / "events.parquet")
    asked = pa.array(START_US + dice.integers(90 * DAY_US, 365 * DAY_US, rows), pa.timestamp("us"))
    pq.write_table(pa.table({"who": dice.integers(0, entities, rows), "as_of": asked}), folder / "origins.parquet")
    return folder


def _python(peers: Path, name: str) -> Path:
    environment = CONTESTANTS[name][1]
    return peers / environment / "bin/python" if environment else Path(sys.executable)


def _run(peers: Path, name: str, job: str, folder: Path) -> dict[str, float]:
    out = folder / f"{job}_{name}.parquet"
    command = [str(_python(peers, name)), str(HERE / f"features_{name}.py"), job, str(folder), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{name} failed at {job}:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _same(folder: Path, job: str, name: str) -> None:
    """Ends the run when a value differs from Gancao's; a sum of nothing, NULL with us, counts as 0."""
    ours, theirs = (pq.read_table(folder / f"{job}_{one}.parquet") for one in ("gancao", name))
    for column in ours.column_names:
        one, other = ours.column(column), theirs.column(column)
        kind = pa.float64() if column == "price" else pa.int64()
        one, other = one.cast(kind), _nulls(other).cast(kind, safe=False)
        if job == "windows":
            one = pc.fill_null(one, 0)
        if not pa.concat_arrays(one.chunks).equals(pa.concat_arrays(other.chunks)):
            sys.exit(f"{name} gives another {column} than Gancao at {job}. Nothing more was measured.")


def _nulls(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """pandas has NaN, or objects, where there is nothing."""
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), None, column)
    return column


def section(records: list[Record]) -> list[str]:
    """The page's lines."""
    run = records[0]
    costs = [record for record in records if record["kind"] == "cost"]
    absent = [CONTESTANTS[record["name"]][0] for record in records if record["kind"] == "absent"]
    first = costs[0]
    lines = [
        "## The past",
        "",
        f"`python -m benchmarks.features {' '.join(run['command'])}`, {run['day']}, Python {run['python']}, "
        f"{run['cores']} cores, load {run['load']:.1f}. {first['events']:,} events of "
        f"{first['events'] // EVENTS_AN_ENTITY:,} entities, {first['rows']:,} origins; from Parquet files to the "
        "table, in a process each; the same values from all. Median of the rounds, and of each round's ratio to "
        "Gancao's CPU (least to most). Gancao also judges every event and looks for duplicates.",
        "",
    ]
    if absent:
        lines += [f"Not installed, so not measured: {', '.join(absent)}.", ""]
    for job, words in JOBS.items():
        lines += [f"**{words[0].upper()}{words[1:]}**", ""]
        lines += ["| | CPU s | CPU, of Gancao's | seconds | peak memory, MB |", "|---|---|---|---|---|"]
        ours = {one["round"]: one["cpu_s"] for one in costs if one["name"] == "gancao" and one["job"] == job}
        for name, (title, _, _) in CONTESTANTS.items():
            if mine := [one for one in costs if one["name"] == name and one["job"] == job]:
                lines.append(_row(title, mine, ours))
        lines.append("")
    return [*lines, *_growth([record for record in records if record["kind"] == "growth"])]


def _row(title: str, mine: list[Record], ours: dict[int, float]) -> str:
    cpu, seconds, peak = (statistics.median(one[key] for one in mine) for key in ("cpu_s", "seconds", "peak_mb"))
    ratios = sorted(one["cpu_s"] / ours[one["round"]] for one in mine if one["round"] in ours)
    told = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if ratios else ""
    return f"| {title} | {cpu:.2f} | {told} | {seconds:.1f} | {peak:.0f} |"


def _growth(records: list[Record]) -> list[str]:
    if not records:
        return []
    lines = ["**Growth**, a fifth as many origins as events", ""]
    lines += ["| events | " + " | ".join(f"CPU s, {job} | MB, {job}" for job in JOBS) + " |", "|---" * 5 + "|"]
    for size in dict.fromkeys(record["events"] for record in records):
        cells = [f"{one['cpu_s']:.2f} | {one['peak_mb']:.0f}" for one in records if one["events"] == size]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    for job in JOBS:
        big = [(one["events"], one["cpu_s"]) for one in records if one["job"] == job and one["events"] >= FROM]
        if len(big) > 1:
            exponent = float(np.polyfit(*np.log(np.array(big, dtype=float).T), 1)[0])
            lines += ["", f"CPU of `{job}` grows as events to the power of {exponent:.2f} from {big[0][0]:,} on."]
    return [*lines, ""]
