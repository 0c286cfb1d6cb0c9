"""Servers of one and the same model side by side: Gancao, MLServer, BentoML, `mlflow models serve`, and two limits.

    python3 benchmarks/peers_env.py .peers mlflow_serve bentoml mlserver      # once: their environments
    .venv/bin/python -m benchmarks.serve                                      # about 10 minutes

One worker each on one core, the client on another; every round asks every server in turn, at 1, 8 and 64 connections.
All answers are compared with the model's own first, to the bit. The limits are an application of constant bytes and
one that does nothing but call the model. CPU a request is what all of a server's processes used, from /proc.
Writes docs/benchmarks/serve.jsonl, a line a measurement, and from it docs/benchmarks/serve.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import load, serve_model, serve_report
from benchmarks.peers import free_port
from benchmarks.serve_contestants import CONTESTANTS, Process, Running, Start, running

OUT = Path("docs/benchmarks/serve.jsonl")
PAGE = Path("docs/benchmarks/serve.md")
BATCH, BATCH_CONNECTIONS, BATCH_WORKERS = 16, 8, 2
IN_BATCHES = ["full", "mlserver", "bentoml", "mlflow"]
"""Who can be told to answer with several workers."""

BUSY = 0.5
"""A load above this before the first round is told: the figures would be another's work too."""

Record = dict[str, Any]


def main() -> None:
    """Measure, then write."""
    choice = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that no server is left behind
    if not choice.write_only:
        measure(choice)
    records = [json.loads(line) for line in choice.out.read_text(encoding="utf-8").splitlines()]
    choice.page.write_text(serve_report.page(records), encoding="utf-8")
    print(choice.page.read_text(encoding="utf-8"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contestants", type=lambda text: text.split(","), default=list(CONTESTANTS))
    parser.add_argument("--connections", type=lambda text: [*map(int, text.split(","))], default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--starts", type=int, default=3, help="cold starts of each")
    parser.add_argument("--peers", type=Path, default=Path(".peers"), help="folder that benchmarks/peers_env.py made")
    parser.add_argument("--out", type=Path, default=OUT, help="the measurements; written anew")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--write-only", action="store_true", help="measure nothing; write the page")
    choice = parser.parse_args()
    if unknown := sorted(set(choice.contestants) - set(CONTESTANTS)):
        parser.error(f"{', '.join(unknown)}: not among {', '.join(CONTESTANTS)}")
    choice.contestants = [name for name in CONTESTANTS if name in choice.contestants]
    return choice


def measure(choice: argparse.Namespace) -> None:
    """Everything, each measurement appended at once."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("Server and client need a core each, and there is one. Run it on a machine with two.")
    server, client = {cores[0]}, {cores[1]}
    if (busy := os.getloadavg()[0]) > BUSY:
        print(f"This machine is busy (load {busy:.1f}): the figures will be another's too.", flush=True)
    with tempfile.TemporaryDirectory(prefix="gancao-serve-") as folder:
        scratch = Path(folder)
        serve_model.make(scratch / "model")
        asked = json.loads((scratch / "model/rows.json").read_text())
        rows = [dict(zip(asked["names"], row, strict=True)) for row in asked["rows"]]
        os.sched_setaffinity(0, client)

        def start(workers: int) -> Start:
            return Start(choice.peers, scratch / "model", free_port(), workers, scratch)

        with choice.out.open("w", encoding="utf-8") as out:

            def tell(**record: Any) -> None:
                line = json.dumps(record)
                print(line, flush=True)
                out.write(f"{line}\n")
                out.flush()

            tell(kind="run", **serve_report.machine(choice.peers), command=sys.argv[1:])
            for turn, name in itertools.product(range(choice.starts), choice.contestants):
                with running(name, start(1), server, rows[:1]) as one:
                    tell(kind="start", name=name, round=turn, seconds=one.cold_s, **_sums(one, one.cold))
            with ExitStack() as stack:
                asking = {
                    name: stack.enter_context(running(name, start(1), server, rows[:1])) for name in choice.contestants
                }
                for name, one in asking.items():
                    check(name, one, rows, asked["values"])
                _rounds(choice, asking, rows, tell)
                for name, one in asking.items():
                    tell(kind="memory", name=name, **_sums(one, one.processes()))
            os.sched_setaffinity(0, server | client)
            for name in [name for name in IN_BATCHES if name in choice.contestants]:
                with running(name, start(BATCH_WORKERS), server | client, rows[:1]) as one:
                    _batches(choice, name, one, rows, tell)


def check(name: str, one: Running, rows: list[dict[str, float]], values: dict[str, list[float]]) -> None:
    """Ends the run when an answer differs by a bit from what the model gives here, for one row or for a batch."""
    expected = values[name if name in values else "model"]
    for part in (slice(0, 1), slice(1, 2), slice(0, BATCH)):
        content = _request(one, rows[part])
        got = one.contestant.values(json.loads(load.once(one.port, content)))
        if name != "floor" and got != expected[part]:
            sys.exit(f"{one.contestant.title} answered {got}, not {expected[part]}. Nothing was measured.")


def _request(one: Running, rows: list[dict[str, float]]) -> bytes:
    return load.request(one.port, one.contestant.path, json.dumps(one.contestant.body(rows)).encode())


def _rounds(choice: argparse.Namespace, asking: dict[str, Running], rows: list[dict[str, float]], tell: Any) -> None:
    """Each server in turn at each number of connections, round by round; before the first, each is warmed."""
    requests = {name: [_request(one, [row]) for row in rows] for name, one in asking.items()}
    for name, one in asking.items():
        load.run(one.port, requests[name], 8, choice.seconds)
    for turn, connections, name in itertools.product(range(choice.rounds), choice.connections, asking):
        figures = _figures(asking[name], requests[name], connections, choice.seconds)
        tell(kind="load", name=name, round=turn, connections=connections, **figures)


def _batches(choice: argparse.Namespace, name: str, one: Running, rows: list[dict[str, float]], tell: Any) -> None:
    """Batches at several workers, server and client on all cores."""
    requests = [_request(one, rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    load.run(one.port, requests, BATCH_CONNECTIONS, choice.seconds)
    for turn in range(choice.rounds):
        figures = _figures(one, requests, BATCH_CONNECTIONS, choice.seconds)
        tell(kind="batch", name=name, round=turn, answers_a_second=BATCH * figures["rps"], **figures)


def _figures(one: Running, requests: list[bytes], connections: int, seconds: float) -> dict[str, float]:
    """What one measurement gives. client: the share of its core that the client used."""
    before = [0.0, 0.0]

    def begin() -> None:
        before[:] = one.cpu_s(), time.process_time()

    done = load.run(one.port, requests, connections, seconds, begin)
    used, own = one.cpu_s() - before[0], time.process_time() - before[1]
    count = len(done.took_s)
    return {
        "requests": count,
        "rps": count / done.seconds,
        "p50_ms": done.percentile_ms(50),
        "p99_ms": done.percentile_ms(99),
        "cpu_us": 1e6 * used / count,
        "client": own / done.seconds,
    }


def _sums(one: Running, processes: list[Process]) -> dict[str, float]:
    """Of all processes, and of those that answer."""
    workers = [process for process in processes if one.contestant.worker in process.words]
    return {
        "cpu_s": sum(process.cpu_s for process in processes),
        "pss_mb": sum(process.pss_mb for process in processes),
        "worker_cpu_s": sum(process.cpu_s for process in workers),
        "worker_pss_mb": sum(process.pss_mb for process in workers),
        "worker_rss_mb": sum(process.rss_mb for process in workers),
    }


if __name__ == "__main__":
    main()
