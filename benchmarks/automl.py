"""Gancao beside other AutoML systems: same tables, splits, seconds and cores, each in its own environment.

    python3 benchmarks/peers_env.py .peers                     # once: the peers' environments
    .venv/bin/python -m benchmarks.automl --seeds 1            # every system on every table, one after the other

Each result is appended at once to a JSON Lines file, and what stands there is not run again: an interrupted run goes
on with the same command. At the end docs/benchmarks/automl.md, the picture and the README's block are written.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import automl_plot, automl_report, automl_results, automl_run
from benchmarks.automl_results import OWN, RIVAL, Board, Record
from benchmarks.automl_run import SYSTEMS, Rules
from benchmarks.automl_sources import MAKERS
from benchmarks.automl_tables import read

PAGE = Path("docs/benchmarks/automl.md")
PICTURE = Path("docs/img/automl.png")
README = Path("README.md")
BUSY = 0.5
"""A load above this before the first run is told: the figures would be another's work too."""

Run = tuple[int, str, str]
"""Seed, table, system."""


def main() -> None:
    """Run what is missing, then write."""
    choice = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; the same command goes on from here"))
    if not choice.write_only:
        run_all(choice)
    records = [
        r for r in automl_results.read(choice.out) if r["budget_s"] == choice.budget and r["seed"] < choice.seeds
    ]
    board = Board(records, choice.systems, choice.tables)
    if not board.tables:
        sys.exit("No table has been run by all these systems yet, so there is nothing to write.")
    write(board, Board(records, list(SYSTEMS), choice.tables))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=_names, default=list(MAKERS), help="commas between; default: all")
    parser.add_argument("--systems", type=_names, default=list(SYSTEMS), help="commas between; default: all")
    parser.add_argument("--seeds", type=int, default=1, help="splits: seeds 0 to this less one")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds that each system is given to learn")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/automl.jsonl"), help="the results' file")
    parser.add_argument("--peers", type=Path, default=Path(".peers"), help="folder that benchmarks/peers_env.py made")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the shared tables")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "gancao-automl")
    parser.add_argument("--write-only", action="store_true", help="run nothing; write the pages from the results")
    choice = parser.parse_args()
    for given, known in ((choice.tables, MAKERS), (choice.systems, SYSTEMS)):
        if unknown := sorted(set(given) - set(known)):
            parser.error(f"{', '.join(unknown)}: not among {', '.join(known)}")
    choice.systems = [name for name in SYSTEMS if name in {*choice.systems, RIVAL}]  # errors are relative to the rival
    return choice


def _names(text: str) -> list[str]:
    return text.split(",")


def run_all(choice: argparse.Namespace) -> None:
    """Every run that the results' file lacks: split by split, table by table, system by system."""
    rules = Rules(choice.budget, choice.peers, choice.scratch)
    for system in choice.systems:
        if not (python := automl_run.python(system, choice.peers)).is_file():
            sys.exit(f"{system} has no environment: {python} is absent. Make it: python3 benchmarks/peers_env.py")
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"This machine is busy (load {load:.1f}): times will be too long, and budgets worth less.", flush=True)
    done = {automl_results.key(record): record for record in automl_results.read(choice.out)}
    missing = [
        (seed, table, system)
        for seed in range(choice.seeds)
        for table in choice.tables
        for system in choice.systems
        if (system, table, seed, choice.budget) not in done
    ]
    choice.out.parent.mkdir(parents=True, exist_ok=True)
    for place, (seed, table, system) in enumerate(missing):
        left = time_left(missing[place:], list(done.values()), choice.budget)
        print(f"[{place + 1}/{len(missing)}, {left}] {table} {system} seed {seed}: ", end="", flush=True)
        record = automl_run.run(system, read(table, choice.data), seed, rules)
        record["at_utc"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with choice.out.open("a", encoding="utf-8") as out:
            out.write(json.dumps(record) + "\n")
            out.flush()
            os.fsync(out.fileno())
        done[automl_results.key(record)] = record
        print(said(record, done.get((RIVAL, table, seed, choice.budget))), flush=True)


def said(record: Record, rival: Record | None) -> str:
    """What became of a run, in a few words."""
    if "failed" in record:
        return f"FAILED after {record['process_s']:.0f} s: {record['failed']}"
    ratio = f" = {record['loss'] / rival['loss']:.3f} of LightGBM's" if rival and "loss" in rival else ""
    times = f"learnt in {record['train_s']:.1f} s, a row {1e3 * record['row_s']:.3g} ms"
    return f"{record['metric']} {record['loss']:.5g}{ratio}, {times}"


def time_left(missing: list[Run], done: list[Record], budget_s: float) -> str:
    """An estimate from each system's runs so far with this budget; without any, the budget and a third."""
    total = 0.0
    for _, _, system in missing:
        spent = [r["process_s"] for r in done if r["system"] == system and r["budget_s"] == budget_s]
        total += statistics.fmean(spent) if spent else 5.0 if system == RIVAL else budget_s * 4 / 3
    return f"{total / 3600:.1f} h left" if total > 5400 else f"{total / 60:.0f} min left"


def write(board: Board, wider: Board) -> None:
    """The page, the picture and, when Gancao itself has run, the README's block. wider: of all systems."""
    titles = {name: system.title for name, system in SYSTEMS.items()}
    words = [word for word in sys.argv[1:] if word != "--write-only"]
    command = " ".join(["python -m benchmarks.automl", *map(shlex.quote, words)])
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(automl_report.page(board, wider, titles, command, machine()), encoding="utf-8")
    automl_plot.draw(board, titles, PICTURE)
    print(f"wrote {PAGE} and {PICTURE}")
    if OWN in board.systems:
        README.write_text(automl_report.readme(README.read_text(encoding="utf-8"), board, titles), encoding="utf-8")
        print(f"wrote the block of {README}")


def machine() -> str:
    """The processor and the Python of this run."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
