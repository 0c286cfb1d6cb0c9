"""What the shipped tasks reach on the real tables, beside their baselines on the same holdouts.

    GANCAO_DATA=../shared/data .venv/bin/python -m benchmarks.tasks

Trains every task with its stated budget on several seeds (each its own split), one after the other, and writes
docs/benchmarks/tasks.md. Nothing is tuned on these holdouts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from experiments import catalog
from feature_store.settings import from_environment
from training.train import train

RUNS = {"birth_weight": ("120s", 3), "birth_weight_hospital": ("30s", 5)}
"""Task -> budget of the search, seeds."""

OUT = Path("docs/benchmarks/tasks.md")
README = Path("README.md")


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(RUNS))
    names = parser.parse_args().tasks
    sections = [section(name, measure(name)) for name in names]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("lightgbm", "xgboost-cpu", "flaml", "numpy"))
    head = (
        "# What the shipped tasks reach\n\n"
        f"Made by `GANCAO_DATA=../shared/data .venv/bin/python -m benchmarks.tasks` on {datetime.now(UTC):%Y-%m-%d}, "
        f"{os.cpu_count()} cores, {versions}. Mean over seeds (smallest to largest in brackets); each seed is "
        "its own holdout, on which all rows of its table were predicted.\n"
    )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join([head, *sections]), encoding="utf-8")
    show_in_readme()
    print(OUT.read_text(encoding="utf-8"))


def show_in_readme() -> None:
    """Put the leaderboards of docs/benchmarks/tasks.md between the README's result marks."""
    rows = ["| task | | RMSE (g) | MAE (g) | R2 |", "|---|---|---|---|---|"]
    task = ""
    for line in OUT.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            task = line.removeprefix("## ")
        elif line.startswith("| ") and line.count("|") == 5 and "RMSE" not in line:
            rows.append(f"| {task} {line}")
    page = README.read_text(encoding="utf-8")
    before, after = page.split("<!-- results -->")[0], page.split("<!-- /results -->")[1]
    block = "\n".join(["<!-- results -->", *rows, "<!-- /results -->"])
    README.write_text(before + block + after, encoding="utf-8")


def measure(name: str) -> list[dict[str, Any]]:
    """The documents of one training a seed."""
    budget, seeds = RUNS[name]
    out = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as home:
            settings = from_environment(home=Path(home))
            task = catalog.load(name, settings)
            wanted = type(task.search.budget).model_validate(budget)
            out.append(train(task, settings, budget=wanted, seed=seed).to_json())
            print(name, seed, out[-1]["metrics"]["rmse"], out[-1]["metrics"]["mae"], out[-1]["verdict"], flush=True)
    return out


def section(name: str, documents: list[dict[str, Any]]) -> str:
    """One task's tables as markdown."""
    budget, seeds = RUNS[name]
    lines = [
        f"## {name}\n",
        f"{seeds} seeds, {budget} of search each, {_spread([d['seconds'] for d in documents], 0)} s in all.\n",
    ]
    lines += ["| | RMSE | MAE | R2 |", "|---|---|---|---|"]
    rows = {"**gancao**": [d["metrics"] for d in documents]}
    for baseline in documents[0]["baselines"]:
        rows[baseline] = [d["baselines"][baseline] for d in documents]
    for row, found in sorted(rows.items(), key=lambda item: float(np.mean([m["rmse"] for m in item[1]]))):
        cells = [_spread([m[key] for m in found], digits) for key, digits in (("rmse", 1), ("mae", 1), ("r2", 3))]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    lines += ["", "| 90 % interval | coverage | mean width |", "|---|---|---|"]
    lines.append(_interval("all", [d["metrics"] for d in documents]))
    groups = sorted({group for d in documents for group in d["groups"]})
    for group in groups:
        found = [d["groups"][group] for d in documents if group in d["groups"]]
        count = round(float(np.mean([g["n"] for g in found])))
        lines.append(_interval(f"{group} (n = {count})", found))
    verdicts = sorted({f"{d['verdict']['decision']}: {'; '.join(d['verdict']['reasons'])}" for d in documents})
    lines += ["", "Verdicts: " + " / ".join(verdicts) + ".", ""]
    return "\n".join(lines)


def _interval(name: str, found: list[dict[str, float]]) -> str:
    coverage = _spread([100 * m["coverage"] for m in found], 1)
    return f"| {name} | {coverage} % | {_spread([m['mean_width'] for m in found], 0)} |"


def _spread(values: list[float], digits: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


if __name__ == "__main__":
    main()
