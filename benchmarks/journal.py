"""What the hash chain costs an answer: CPU time and bytes of the journal's tables, with it and without.

    .venv/bin/python -m benchmarks.journal [--rounds N]

Both write the same answers into SQLite in memory, in turns, through the statements that a worker uses: there is no
disk in these figures. CPU time of this process, the median of the rounds. Writes docs/benchmarks/journal.md.
"""

from __future__ import annotations

import argparse
import platform
import sqlite3
import statistics
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from serving import chain, journal_file
from serving.chain import Chain

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "journal.md"
BATCHES = (1, 16, 1000)
ROW = '{"gestation_weeks":39,"plurality":"singleton","fetal_sex":"female","mother_age":31,"height_cm":163}'
ANSWER = '{"prediction_id":"' + "0" * 32 + '","value":3412.0,"unit":"g","warnings":[' + '"' + "w" * 900 + '"]}'
ANSWERS = 4000


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description="What the hash chain costs an answer.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    lines = [
        "# What the hash chain costs",
        "",
        f"`python -m benchmarks.journal`, {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}, {platform.machine()}. {ANSWERS} answers of {len(ROW) + len(ANSWER)} bytes into "
        f"SQLite in memory, no disk; µs of CPU an answer, median of {given.rounds} rounds that take turns.",
        "",
        "| answers a transaction | without | with the chain | more |",
        "|---|---|---|---|",
    ]
    for batch in BATCHES:
        without, chained = [], []
        for _ in range(given.rounds):
            without.append(cost(batch, False)[0])
            chained.append(cost(batch, True)[0])
        before, after = statistics.median(without), statistics.median(chained)
        lines.append(f"| {batch} | {before:.1f} | {after:.1f} | {after - before:.1f} |")
    bytes_ = [cost(1000, chained)[1] for chained in (False, True)]
    lines += ["", f"Bytes an answer: {bytes_[0]:.0f} without, {bytes_[1]:.0f} with the chain.", ""]
    given.out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def cost(batch: int, chained: bool) -> tuple[float, float]:
    """µs of CPU and bytes of the file, an answer."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    journal_file.make(connection)
    chain.begin(connection, 0, journal_file.NUMBERED)
    rows = [(uuid.uuid4().hex, at, "birth_weight", "1", ROW, ANSWER) for at in range(ANSWERS)]
    start = time.process_time()
    for first in range(0, ANSWERS, batch):
        part = rows[first : first + batch]
        connection.execute("BEGIN IMMEDIATE")
        numbers: list[int | None] = [None] * len(part)
        if chained:
            numbers = list(Chain(connection).add("answer", part))
        connection.executemany(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(*row, number) for row, number in zip(part, numbers, strict=True)],
        )
        connection.execute("COMMIT")
    spent = time.process_time() - start
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    connection.close()
    return 1e6 * spent / ANSWERS, pages * size / ANSWERS


if __name__ == "__main__":
    main()
