"""How time and memory grow with the table: 10,000 to 1,000,000 rows of 30 columns, the same number of trials.

    .venv/bin/python -m benchmarks.scale

Trains a generated table of each size in a process of its own (`gancao train`, 3 trials of LightGBM and linear) and
writes docs/benchmarks/scale.md: seconds, and the peak memory of all its processes beside the table's size as float64
and beside what a training of 1,000 rows takes, which is mostly libraries.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import watch

OUT = Path("docs/benchmarks/scale.md")
ROOT = Path(__file__).resolve().parents[1]
SIZES = (1_000, 10_000, 100_000, 1_000_000)
COLUMNS = 30

TASK = {
    "task": "scale",
    "title": "Scale",
    "intended_use": "A benchmark.",
    "target": {"name": "y", "label": "Y", "unit": "1", "limits": [-1e6, 1e6]},
    "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
    "search": {"learners": ["lightgbm", "linear"], "budget": "3trials"},
    "fields": [{"name": f"x{n}", "type": "number", "limits": [-1e6, 1e6], "required": True} for n in range(COLUMNS)],
}


def main() -> None:
    """Measure and write."""
    rows = [(size, *measure(size)) for size in SIZES]
    base = rows[0][2]
    big = [(size, seconds) for size, seconds, _ in rows if size >= 10_000]
    exponent = float(np.polyfit(*np.log(np.array(big, dtype=float).T), 1)[0])
    lines = [
        "# How time and memory grow with the table\n",
        f"Made by `python -m benchmarks.scale` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores: {COLUMNS} "
        "columns, 3 trials, everything from reading the table to the record in MLflow.\n",
        "| rows | seconds | peak memory, MB | table, MB | (peak - that of 1,000 rows) / table |",
        "|---|---|---|---|---|",
    ]
    for size, seconds, peak in rows:
        table = size * (COLUMNS + 1) * 8
        ratio = f"{(peak - base) / table:.1f}" if size > SIZES[0] else ""
        lines.append(f"| {size:,} | {seconds:.0f} | {peak / 1e6:.0f} | {table / 1e6:.1f} | {ratio} |")
    lines.append(f"\nTime grows as rows to the power of {exponent:.2f} from 10,000 to 1,000,000 rows.")
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


def measure(size: int) -> tuple[float, int]:
    """Seconds and peak bytes of one training."""
    with tempfile.TemporaryDirectory() as name:
        folder, random = Path(name), np.random.default_rng(0)
        matrix = random.normal(size=(size, COLUMNS))
        target = matrix[:, 0] + np.sin(2 * matrix[:, 1]) + matrix[:, 2] * matrix[:, 3] + random.normal(size=size)
        pq.write_table(pa.table({f"x{n}": matrix[:, n] for n in range(COLUMNS)} | {"y": target}), folder / "t.parquet")
        (folder / "scale.yaml").write_text(json.dumps(TASK), encoding="utf-8")
        environment = {**os.environ, "GANCAO_HOME": str(folder / "home"), "GANCAO_DATA": str(folder),
                       "PYTHONPATH": str(ROOT)}  # fmt: skip
        command = [sys.executable, "-m", "experiments.cli", "train", str(folder / "scale.yaml"), "--json"]
        done = watch.run(command, sorted(os.sched_getaffinity(0)), 3600, folder / "log.txt", environment)
        if done.code != 0:
            raise SystemExit((folder / "log.txt").read_text(encoding="utf-8")[-3000:])
        sys.stderr.write(f"{size} rows: {done.seconds:.0f} s, {done.peak_bytes / 1e6:.0f} MB\n")
        return done.seconds, done.peak_bytes


if __name__ == "__main__":
    main()
