"""One row's latency: `gancao serve` against `mlflow models serve` of the very same version, interleaved in one run.

    .venv/bin/python -m benchmarks.predict [--home DIR] [--task TASK] [--requests N] [--blocks N]

Both answer over HTTP/1.1 on loopback with one worker, to a thin client that keeps one connection
alive. Gancao's answer is in its journal, fsynced, before it leaves; MLflow keeps nothing.
Writes docs/benchmarks/predict.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import peers
from benchmarks.peers import Peer, SlowPeer
from feature_store.settings import Settings
from serving import bundle as bundles
from serving import cache, request
from serving.journal import Entry, Journal
from serving.predictor import Predictor

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks" / "predict.md"
GOAL = 10
WARM_UP = 600
"""Requests to each peer before the clock runs: by then the journal's write-ahead log has its full length."""
Asked = Peer | SlowPeer
PACKAGES = ("mlflow", "lightgbm", "numpy", "pandas", "fastapi", "uvicorn", "pydantic")


@dataclass
class Timings:
    """Seconds of every request, in blocks."""

    blocks: list[list[float]] = field(default_factory=list)

    @property
    def all_ms(self) -> list[float]:
        return sorted(1000 * s for block in self.blocks for s in block)

    def percentile(self, percent: int) -> float:
        """In ms: the smallest that `percent` of the requests stay at or below."""
        ordered = self.all_ms
        return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]

    @property
    def per_second(self) -> float:
        """Requests a second of the one client."""
        return 1000 * len(self.all_ms) / sum(self.all_ms)


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(description="One row's latency, gancao serve against mlflow models serve.")
    parser.add_argument("--home", type=Path, help="a GANCAO_HOME with a champion; else one is made and trained")
    parser.add_argument("--task", default="birth_weight")
    parser.add_argument("--requests", type=int, default=2000, help="requests to each peer")
    parser.add_argument("--blocks", type=int, default=10, help="pairs of blocks that they are split into")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    given = parser.parse_args()
    with _home(given.home, given.task) as home:
        lines = measure(home, given.task, given.requests, given.blocks)
    print("\n".join(lines))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text("\n".join([*_head(given.home), *lines, ""]), encoding="utf-8")


def measure(home: Path, task: str, requests: int, blocks: int) -> list[str]:
    """The whole comparison as lines of Markdown. Both servers run all the while; only one is asked at a time."""
    settings = Settings(home=home)
    with peers.gancao(home, task) as gancao_port, peers.mlflow(settings.tracking_uri, task) as mlflow_port:
        found = cache.published(settings.cache)[task]
        predictor = Predictor(bundles.read(found.folder), found.version)
        row = predictor.bundle.golden["rows"][0]
        body = json.dumps({"rows": [row]}).encode()
        calls = {"gancao serve": (gancao_port, f"/v1/{task}/predict", body),
                 "mlflow models serve": (mlflow_port, "/invocations", _records(row))}  # fmt: skip
        asked: list[Asked] = [Peer(name, *call) for name, call in calls.items()]
        asked += [SlowPeer(f"{name}, asked by http.client", *call) for name, call in calls.items()]
        asked += [Peer("gancao serve, GET /livez", gancao_port, "/livez", b"")]
        same = _check_same(*asked[:2])
        timings = interleaved(asked, max(1, requests // blocks), blocks)
    parts = profile(predictor, body, home)
    return [*_facts(predictor, row, same), *_table(asked, timings), _ratio(*timings[:2]), "",
            f"By `http.client`, whose own time counts for both: {_ratio(*timings[2:4])}", "",
            *_parts(parts, timings[0])]  # fmt: skip


def interleaved(asked: list[Asked], size: int, blocks: int) -> list[Timings]:
    """Blocks of `size` requests to each peer in turn, A B A B ..., after a warm-up of each."""
    for peer in asked:
        _block(peer, WARM_UP)
    out = [Timings() for _ in asked]
    for _ in range(blocks):
        for peer, timings in zip(asked, out, strict=True):
            timings.blocks.append(_block(peer, size))
    return out


def _block(peer: Asked, size: int) -> list[float]:
    """Seconds of each request, over one connection, opened and used a few times before the clock runs."""
    out = []
    peer.connect()
    for _ in range(5):
        peer.ask()
    for _ in range(size):
        start = time.perf_counter()
        peer.ask()
        out.append(time.perf_counter() - start)
    peer.close()
    return out


def _check_same(ours: Asked, theirs: Asked) -> dict[str, Any]:
    """The answer that both gave; ends the run when a bit differs."""
    (one,), (other,) = _once(ours)["answers"], _once(theirs)["predictions"]
    mine = {"value": one["value"], **{k: one["interval"][k] for k in ("low", "high")}}
    mine |= {f"p_{event}": chance for event, chance in one["events"].items()}
    if differing := [name for name in mine if mine[name] != other[name]]:
        raise SystemExit(f"The peers differ in {differing}: {mine} against {other}. Nothing was measured.")
    return mine


def _once(peer: Asked) -> Any:
    peer.connect()
    try:
        return json.loads(peer.ask())
    finally:
        peer.close()


def _records(row: dict[str, Any]) -> bytes:
    return json.dumps({"dataframe_records": [row]}).encode()


def profile(predictor: Predictor, body: bytes, home: Path) -> dict[str, float]:
    """Microseconds of each part of one row, in this process, best of 20; of journal and disk the median."""
    rows = request.read(predictor.task, body).rows
    encoder, distribution = predictor.bundle.encoder, predictor.bundle.distribution
    matrix = encoder.rows(rows)
    centre, scale = (float(part[0]) for part in predictor.centre_and_scale(matrix))
    answer = {"prediction_id": uuid.uuid4().hex, **predictor.answer(rows)[0]}
    document = {"task": predictor.task.task, "version": predictor.version, "answers": [answer]}
    models = {
        f"model {n}.{bag}: {member.learner}": model
        for n, member in enumerate(predictor.bundle.members)
        for bag, model in enumerate(member.models)
    }
    if predictor.bundle.scale is not None:
        models["model of the error's size"] = predictor.bundle.scale
    inside: dict[str, Callable[[], object]] = {
        "encode": lambda: encoder.rows(rows),
        **{name: partial(model.predict, matrix) for name, model in models.items()},
        "distribution": lambda: distribution.answer(matrix[0], centre, scale),
    }
    around: dict[str, Callable[[], object]] = {
        "decode and check": lambda: request.read(predictor.task, body),
        "prediction id": lambda: uuid.uuid4().hex,
        "journal entry as JSON": lambda: (msgspec.json.encode(rows[0]).decode(), msgspec.json.encode(answer).decode()),
        "answer as JSON": lambda: msgspec.json.encode(document),
    }
    parts = {name: _best_us(step) for name, step in inside.items()}
    rest = _best_us(lambda: predictor.answer(rows)) - sum(parts.values())
    parts |= {"sums, warnings and the rest of predictor.answer": rest}
    parts |= {name: _best_us(step) for name, step in around.items()}
    with tempfile.TemporaryDirectory(dir=home, prefix=".bench-") as folder:
        journal, disk = asyncio.run(_journal_us(Path(folder), answer)), _disk_us(Path(folder))
    parts["journal: thread and commit, without the disk"] = max(0.0, journal - disk)
    parts["journal: the disk, one fdatasync"] = disk
    return parts


def _best_us(step: Callable[[], object]) -> float:
    return 1e6 * min(timeit.repeat(step, number=100, repeat=20)) / 100


async def _journal_us(folder: Path, answer: dict[str, Any]) -> float:
    """Median until one answer is durable, on the home's disk, once the write-ahead log has its full length."""
    journal, seconds = Journal(folder / "journal.db"), []
    text = msgspec.json.encode(answer).decode()
    for _ in range(1500):
        entry = Entry(uuid.uuid4().hex, "bench", "1", text, text)
        start = time.perf_counter()
        await journal.keep([entry])
        seconds.append(time.perf_counter() - start)
    journal.close()
    return 1e6 * statistics.median(seconds[1000:])


def _disk_us(folder: Path) -> float:
    """Median of writing three pages and waiting for the disk: what no journal can go below."""
    seconds = []
    with (folder / "pages").open("wb", buffering=0) as file:
        file.write(bytes(400 * 12288))
        os.fsync(file.fileno())
        for position in range(400):
            start = time.perf_counter()
            file.seek(position * 12288)
            file.write(b"x" * 12288)
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - start)
    return 1e6 * statistics.median(seconds)


def _facts(predictor: Predictor, row: dict[str, Any], same: dict[str, Any]) -> list[str]:
    members = ", ".join(f"{member.learner} {member.weight:.2f}" for member in predictor.bundle.members)
    texts = [model.text for m in predictor.bundle.members for model in m.models if hasattr(model, "text")]
    trees = [f"{text.count('Tree=')}" for text in texts]
    return [
        f"Task {predictor.task.task}, version {predictor.version}; members: {members} "
        f"({', '.join(trees) or 'no'} trees); a golden row with {len(row)} of {len(predictor.task.fields)} fields.",
        f"Both peers gave {', '.join(f'{name} {value!r}' for name, value in same.items())}: the same to the bit.",
        "",
    ]


def _table(asked: list[Asked], timings: list[Timings]) -> list[str]:
    lines = ["| peer | p50 ms | p95 ms | p99 ms | requests/s | requests |", "|---|---:|---:|---:|---:|---:|"]
    for peer, t in zip(asked, timings, strict=True):
        cells = [f"{t.percentile(p):.3f}" for p in (50, 95, 99)] + [f"{t.per_second:.0f}", str(len(t.all_ms))]
        lines.append(f"| {peer.name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _ratio(ours: Timings, theirs: Timings) -> str:
    """Pair by pair: the medians of two neighbouring blocks, so that a slow minute of the machine hits both."""
    pairs = zip(ours.blocks, theirs.blocks, strict=True)
    ratios = [statistics.median(other) / statistics.median(own) for own, other in pairs]
    middle = statistics.median(ratios)
    return (
        f"**ratio, pair by pair: median {middle:.1f}, min {min(ratios):.1f}, max {max(ratios):.1f}** "
        f"({len(ratios)} pairs of blocks); the goal of {GOAL} is {'reached' if middle >= GOAL else 'missed'}."
    )


def _parts(parts: dict[str, float], ours: Timings) -> list[str]:
    whole = 1000 * ours.percentile(50)
    known = sum(parts.values())
    lines = ["Where one row's time goes (one process, no socket, best of 20; journal and disk are medians):", ""]
    lines += ["| part | µs |", "|---|---:|", *(f"| {name} | {value:.1f} |" for name, value in parts.items())]
    lines += [f"| sum of the parts | {known:.1f} |", f"| p50 over the socket | {whole:.1f} |"]
    return [*lines, f"| HTTP, routing, client: the difference | {whole - known:.1f} |"]


def _head(home: Path | None) -> list[str]:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    command = " ".join(["python -m benchmarks.predict", *sys.argv[1:]])
    return [
        "# One row's latency",
        "",
        "Generated by `benchmarks/predict.py`, which says what is compared. Do not edit.",
        "",
        f"- command: `{command}` on {datetime.now(UTC):%Y-%m-%d}",
        f"- machine: {os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}; {versions}",
        f"- load average at the end: {os.getloadavg()[0]:.1f}; above 2 it is other people's work on these cores",
        f"- home: {home or 'made for this run: gancao sample, gancao train --budget 8trials (seed 0)'}",
        "",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@contextmanager
def _home(given: Path | None, task: str) -> Iterator[Path]:
    """The home that was given, or a new one with a champion trained on synthetic rows."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="gancao-bench-") as folder:
        home = Path(folder) / "home"
        variables = {**os.environ, "GANCAO_HOME": str(home), "GANCAO_DATA": str(Path(folder) / "data")}
        for words in (["sample", task], ["train", task, "--budget", "8trials", "--promote"]):
            command = [sys.executable, "-m", "experiments.cli", *words]
            subprocess.run(command, cwd=ROOT, env=variables, check=True, stdout=subprocess.DEVNULL)
        yield home


if __name__ == "__main__":
    main()
