"""What the hash chain costs an answer, and what a durable answer waits for in SQLite and in PostgreSQL.

    .venv/bin/python -m benchmarks.journal [--rounds N] [--postgres URL]

Both write the same answers into SQLite in memory, in turns, through the statements that a worker uses: there is no
disk in these figures. CPU time of this process, the median of the rounds. With a URL (an empty schema of a PostgreSQL
with fsync, on this machine) also both stores on disk: answers a second and the wait of one, asked 1, 16 and 64 at a
time through the journal's writer, in turns. Writes docs/benchmarks/journal.md.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sqlite3
import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from feature_store.place import Place, Remote
from serving import chain, journal_file
from serving.chain import Chain
from serving.journal import Entry, Journal

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "journal.md"
BATCHES = (1, 16, 1000)
ROW = '{"gestation_weeks":39,"plurality":"singleton","fetal_sex":"female","mother_age":31,"height_cm":163}'
ANSWER = '{"prediction_id":"' + "0" * 32 + '","value":3412.0,"unit":"g","warnings":[' + '"' + "w" * 900 + '"]}'
ANSWERS = 4000
AT_ONCE, KEPT = (1, 16, 64), 640


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description="What the hash chain costs an answer.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--postgres", default="", help="URL of an empty schema; left out: SQLite in memory alone.")
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
    if given.postgres:
        lines += stores(given.postgres, given.rounds)
    given.out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def stores(url: str, rounds: int) -> list[str]:
    """The rows of both stores on disk. The file lies in the folder for temporary files."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "journal.db"
        places: dict[str, Place] = {"SQLite": file, "PostgreSQL": Remote(url, file)}
        journals = {name: Journal(place) for name, place in places.items()}
        for _ in range(rounds):
            for at_once in AT_ONCE:
                for name, journal in journals.items():
                    found.setdefault((name, at_once), []).append(asyncio.run(paced(journal, at_once)))
        for journal in journals.values():
            journal.close()
    lines = [
        "## On disk", "",
        f"Answers a second, and the median wait of one in ms, asked so many at a time; medians of {rounds} rounds of "
        f"{KEPT} answers that take turns. PostgreSQL on the same machine.", "",
        "| at a time | SQLite: a second | ms | PostgreSQL: a second | ms |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for at_once in AT_ONCE:
        figures = [statistics.median(one) for name in places for one in zip(*found[name, at_once], strict=True)]
        lines.append(
            f"| {at_once} | " + " | ".join(f"{figure:.{place % 2}f}" for place, figure in enumerate(figures)) + " |"
        )
    return [*lines, ""]


async def paced(journal: Journal, at_once: int) -> tuple[float, float]:
    """Answers a second and the median wait of one, ms."""
    waits: list[float] = []

    async def ask() -> None:
        for _ in range(KEPT // at_once):
            start = time.perf_counter()
            await journal.keep([Entry(uuid.uuid4().hex, "birth_weight", "1", ROW, ANSWER)])
            waits.append(1e3 * (time.perf_counter() - start))

    start = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(at_once)))
    return len(waits) / (time.perf_counter() - start), statistics.median(waits)


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
