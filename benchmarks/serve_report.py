"""The page of benchmarks/serve.py, made from its measurements: tables, ratios round by round, goals."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.serve_contestants import CONTESTANTS
from benchmarks.serve_model import FIELDS, LEAVES, TREES

Record = dict[str, Any]

GOAL_CONNECTIONS = 8
GOALS = [
    ("alone", "mlflow", 20.0),
    ("alone", "bentoml", 8.0),
    ("alone", "mlserver", 3.0),
    ("full", "mlflow", 12.0),
]
"""(Gancao, peer, how many times its CPU a request the peer uses at least), at GOAL_CONNECTIONS connections."""

MOST_OF_RAW, MOST_COLD_CPU_S, MOST_WORKER_MB = 1.6, 2.5, 120.0
LEAST_ANSWERS_A_SECOND, MOST_BATCH_P99_MS = 3009.0, 50.0
PACKAGES = {"mlserver": "mlserver", "bentoml": "bentoml", "mlflow_serve": "mlflow"}


def machine(peers: Path) -> Record:
    """Processor, load and releases of this run."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    versions = {name: metadata.version(name) for name in ("lightgbm", "uvicorn", "starlette", "msgspec")}
    for folder, package in PACKAGES.items():
        for facts in peers.glob(f"{folder}/lib/python*/site-packages/{package}-*.dist-info"):
            versions[package] = facts.name.removesuffix(".dist-info").rpartition("-")[2]
    return {
        "on": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": found[1] if found else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "versions": versions,
    }


def page(records: list[Record]) -> str:
    """The whole page."""
    run = next(record for record in records if record["kind"] == "run")
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    command = " ".join(["python -m benchmarks.serve", *run["command"]])
    rounds = 1 + max(record["round"] for record in records if record["kind"] == "load")
    return "\n".join([
        "# Servers of one model, side by side\n",
        f"Made by `{command}` on {run['on']}: {run['processor']}, {run['cores']} cores with a load of {run['load']} "
        f"before the first round, Python {run['python']}; {versions}. Do not edit.\n",
        f"LightGBM, {TREES} trees of {LEAVES} leaves on {FIELDS} numbers; one worker on one core, the client on "
        f"another, connections kept alive, {rounds} rounds in which every server is asked in turn. "
        "All but the HTTP floor, which answers nothing, gave to the bit the value of the model, or of Gancao's own "
        "predictor. CPU is that of all processes of a server. A figure is the median of the rounds, in brackets the "
        "least and the most.\n",
        *_loads(records), *_ratios(records), *_starts(records), *_batches(records), *_goals(records),
    ])  # fmt: skip


def _of(records: Iterable[Record], kind: str, name: str, **more: Any) -> list[Record]:
    wanted = {"kind": kind, "name": name, **more}
    return [record for record in records if all(record.get(key) == value for key, value in wanted.items())]


def _names(records: list[Record], kind: str) -> list[str]:
    return [name for name in CONTESTANTS if _of(records, kind, name)]


def _loads(records: list[Record]) -> list[str]:
    lines = ["## One row a request\n", "| server | connections | requests/s | p50 ms | p99 ms | CPU us a request |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name in _names(records, "load"):
        for connections in sorted({record["connections"] for record in _of(records, "load", name)}):
            found = _of(records, "load", name, connections=connections)
            cells = [_middle(found, "rps", ".0f"), _middle(found, "p50_ms", ".3g"), _middle(found, "p99_ms", ".3g")]
            cells.append(_spread([record["cpu_us"] for record in found], ".0f"))
            lines.append(f"| {CONTESTANTS[name].title} | {connections} | {' | '.join(cells)} |")
    busiest = max(record["client"] for record in records if record["kind"] == "load")
    return [*lines, f"\nThe client used at most {busiest:.0%} of its core.\n"]


def _ratios(records: list[Record]) -> list[str]:
    owns = [name for name in ("alone", "full") if _of(records, "load", name)]
    lines = ["## CPU a request, as a multiple of Gancao's in the same round\n"]
    lines += [f"| server | connections | {' | '.join(CONTESTANTS[own].title for own in owns)} |"]
    lines.append(f"|---|---:|{'---:|' * len(owns)}")
    for name in _names(records, "load"):
        for connections in sorted({record["connections"] for record in _of(records, "load", name)}):
            cells = [_spread(ratios(records, own, name, connections), ".2f") for own in owns if own != name]
            if name not in owns:
                lines.append(f"| {CONTESTANTS[name].title} | {connections} | {' | '.join(cells)} |")
    return [*lines, ""]


def ratios(records: list[Record], own: str, other: str, connections: int) -> list[float]:
    """Round by round, the other's CPU a request over Gancao's."""
    mine, theirs = (
        {record["round"]: record["cpu_us"] for record in _of(records, "load", name, connections=connections)}
        for name in (own, other)
    )
    return [theirs[turn] / mine[turn] for turn in sorted(set(mine) & set(theirs)) if mine[turn]]


def _starts(records: list[Record]) -> list[str]:
    lines = ["## Cold start and memory\n", "CPU until the first answer; memory after all rounds, by share (PSS).\n"]
    lines.append("| server | CPU s, all processes | CPU s, those that answer | s | MB, all | MB, those that answer |")
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name in _names(records, "start"):
        found, memory = _of(records, "start", name), _of(records, "memory", name)
        cells = [_spread([record[key] for record in found], ".2f") for key in ("cpu_s", "worker_cpu_s", "seconds")]
        cells += [_middle(memory, key, ".0f") for key in ("pss_mb", "worker_pss_mb")]
        lines.append(f"| {CONTESTANTS[name].title} | {' | '.join(cells)} |")
    return [*lines, ""]


def _batches(records: list[Record]) -> list[str]:
    lines = ["## Batches of 16 rows, two workers, 8 connections\n", "Servers and client share all cores.\n"]
    lines += ["| server | answers/s | p50 ms | p99 ms | CPU us an answer |", "|---|---:|---:|---:|---:|"]
    for name in _names(records, "batch"):
        found = _of(records, "batch", name)
        cells = [_spread([record["answers_a_second"] for record in found], ".0f"), _middle(found, "p50_ms", ".3g")]
        cells.append(_spread([record["p99_ms"] for record in found], ".3g"))
        cells.append(_spread([record["cpu_us"] / 16 for record in found], ".0f"))
        lines.append(f"| {CONTESTANTS[name].title} | {' | '.join(cells)} |")
    return [*lines, ""]


def _goals(records: list[Record]) -> list[str]:
    """Of issue 5; a goal is reached where the median is."""
    lines = [f"## Goals, at {GOAL_CONNECTIONS} connections\n", "| goal | reached | |", "|---|---:|---|"]
    for own, peer, least in GOALS:
        found = ratios(records, own, peer, GOAL_CONNECTIONS)
        title = f"{CONTESTANTS[peer].title} / {CONTESTANTS[own].title} ≥ {least:g}"
        lines.append(_goal(title, found, ".1f", lambda value, least=least: value >= least))
    raw = ratios(records, "raw", "alone", GOAL_CONNECTIONS)
    lines.append(_goal(f"Gancao, the model alone / raw ASGI ≤ {MOST_OF_RAW:g}", raw, ".2f", _at_most(MOST_OF_RAW)))
    starts, memory, batch = (_of(records, kind, "full") for kind in ("start", "memory", "batch"))
    cold, size = [record["worker_cpu_s"] for record in starts], [record["worker_pss_mb"] for record in memory]
    lines.append(_goal(f"a worker's cold start ≤ {MOST_COLD_CPU_S:g} CPU s", cold, ".2f", _at_most(MOST_COLD_CPU_S)))
    lines.append(_goal(f"a worker's memory ≤ {MOST_WORKER_MB:g} MB", size, ".0f", _at_most(MOST_WORKER_MB)))
    answers, p99 = [record["answers_a_second"] for record in batch], [record["p99_ms"] for record in batch]
    title = f"answers a second in batches of 16, two workers ≥ {LEAST_ANSWERS_A_SECOND:g}"
    lines.append(_goal(title, answers, ".0f", lambda value: value >= LEAST_ANSWERS_A_SECOND))
    lines.append(_goal(f"their p99 < {MOST_BATCH_P99_MS:g} ms", p99, ".1f", lambda value: value < MOST_BATCH_P99_MS))
    return [*lines, ""]


def _at_most(most: float) -> Callable[[float], bool]:
    return lambda value: value <= most


def _goal(title: str, found: list[float], form: str, holds: Callable[[float], bool]) -> str:
    if not found:
        return f"| {title} | not measured | |"
    return f"| {title} | {_spread(found, form)} | {'yes' if holds(statistics.median(found)) else 'no'} |"


def _middle(records: list[Record], key: str, form: str) -> str:
    return f"{statistics.median(record[key] for record in records):{form}}" if records else "-"


def _spread(values: list[float], form: str) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
