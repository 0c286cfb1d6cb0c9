"""The online store's speed: a read of 30 features for 1 and for 100 entities, and entities materialized a second.

    .venv/bin/python -m benchmarks.features_online [--entities N] [--reads N] [--stores sqlite,redis,postgres]

Entities have 5 events each over 30 days, in a Parquet file. A read is `Vectors.get` as of an instant at which the rows
hold, of entities drawn at random, values unpacked; `worked out` is the same as of a day later, when every row has run
out and is made from its events. Redis and PostgreSQL are started here, on loopback, without a disk to wait for. Wall
time and CPU time of this process; the median of rounds. Writes docs/benchmarks/features_online.md.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store import stores
from feature_store.materialize import materialize
from feature_store.settings import Settings
from feature_store.vectors import Vectors
from feature_store.view import View
from tests import servers

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "features_online.md"
DAY = 86_400_000_000
NOW = 19_800 * DAY + 1
EVENTS = 5
ROUNDS = 5


def view() -> View:
    """Ten aggregates over three windows each: 30 features."""
    kinds = [
        ("sum", "units"), ("count", True), ("mean", "units"), ("min", "units"), ("max", "units"),
        ("sum", "paid"), ("mean", "paid"), ("last", "price"), ("max", "price"), ("distinct", "shop"),
    ]  # fmt: skip
    features = {
        f"f{number}_{days}d": {aggregate: column, "window": f"{days}d"}
        for number, (aggregate, column) in enumerate(kinds)
        for days in (7, 14, 28)
    }
    return View.model_validate({
        "view": "bench",
        "title": "Bench",
        "entity": "customer",
        "data": {"sources": {"events": "events.parquet"}, "sql": "SELECT * FROM events"},
        "id": "number",
        "event_time": "at",
        "columns": {
            "customer": "int", "number": "int", "units": "int", "paid": "decimal(2)", "price": "float32", "shop": "int",
        },
        "features": features,
    })  # fmt: skip


def source(folder: Path, entities: int) -> None:
    """The events, in no order."""
    draw = np.random.default_rng(0)
    many = entities * EVENTS
    table = pa.table({
        "customer": draw.permutation(np.repeat(np.arange(entities), EVENTS)),
        "number": np.arange(many),
        "at": pa.array(NOW - draw.integers(0, 30 * 86_400, many) * 1_000_000, pa.timestamp("us")),
        "units": draw.integers(0, 20, many),
        "paid": draw.integers(0, 100_000, many) / 100,
        "price": draw.random(many).astype(np.float32),
        "shop": draw.integers(0, 9, many),
    })  # fmt: skip
    pq.write_table(table, folder / "events.parquet")


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description="The online store's speed.")
    parser.add_argument("--entities", type=int, default=200_000)
    parser.add_argument("--reads", type=int, default=2_000)
    parser.add_argument("--stores", default="sqlite,redis,postgres")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    lines = [
        "# The online store",
        "",
        f"`python -m benchmarks.features_online --entities {given.entities} --reads {given.reads}`, "
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {platform.machine()}. 30 features, "
        f"{given.entities} entities of {EVENTS} events. µs a read, wall time (CPU time of this process); the median of "
        f"{ROUNDS} rounds.",
        "",
        "| store | 1 entity | 100 entities | worked out, 1 entity | materialized, entities a second |",
        "|---|---|---|---|---|",
    ]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source(folder, given.entities)
        urls = {"sqlite": lambda: "", "redis": servers.redis, "postgres": servers.postgres}
        for name in given.stores.split(","):
            url = "" if name == "sqlite" else stack.enter_context(urls[name]())
            lines.append(f"| {name} | {' | '.join(measured(Settings(home=folder, online=url), folder, given))} |")
    text = "\n".join([*lines, ""])
    given.out.write_text(text, encoding="utf-8")
    print(text)


def measured(settings: Settings, folder: Path, given: argparse.Namespace) -> list[str]:
    """The cells of one store."""
    a_view, store = view(), stores.connect(settings)
    wall, cpu = time.perf_counter(), time.process_time()
    done = materialize(a_view, store, folder, NOW, lambda come, total: None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert done.written == given.entities
    vectors, rng = Vectors(a_view, store), random.Random(0)

    def keys(many: int) -> list[str]:
        return [str(rng.randrange(given.entities)) for _ in range(many)]

    one, hundred = [keys(1) for _ in range(given.reads)], [keys(100) for _ in range(max(1, given.reads // 50))]
    cells = [cost(lambda some: vectors.get(some, NOW), asked) for asked in (one, hundred)]
    assert vectors.stale == 0
    cells.append(cost(lambda some: vectors.get(some, NOW + DAY), one[: max(1, given.reads // 10)]))
    store.close()
    return [*cells, f"{given.entities / wall:.0f} ({given.entities / cpu:.0f})"]


def cost(read: Callable[[list[str]], object], asked: list[list[str]]) -> str:
    """µs a read."""
    walls, cpus = [], []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        for some in asked:
            read(some)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    wall, cpu = (1e6 * statistics.median(found) / len(asked) for found in (walls, cpus))
    return f"{wall:.1f} ({cpu:.1f})"


if __name__ == "__main__":
    main()
