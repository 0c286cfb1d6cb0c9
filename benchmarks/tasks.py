"""What the shipped tasks reach on the real tables, beside their baselines on the same holdouts.

    GANCAO_DATA=../shared/data .venv/bin/python -m benchmarks.tasks [TASK ...]

Trains each task with its stated budget on several seeds (each its own split, but of tasks split by time), one after
the other, and writes its section of docs/benchmarks/tasks.md and its row of the README; what is not run stays as it
is, and what was never run is in neither. Nothing is tuned on these holdouts.
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
from feature_store import offline
from feature_store.decision import Promise
from feature_store.settings import Settings, from_environment
from feature_store.task import Task
from training import dataset, rules, splits
from training.measures import HIGHER_IS_BETTER
from training.train import train

RUNS = {
    "birth_weight": ("120s", 3),
    "birth_weight_hospital": ("30s", 5),
    "lead_time": ("60s", 3),
    "yield_fault": ("60s", 5),
    "process_yield": ("60s", 5),
    "customer_response": ("60s", 3),
}
"""Task -> budget of the search, seeds; in this order they stand in the files."""

COLUMNS = {
    "regression": {"rmse": "RMSE", "mae": "MAE", "r2": "R2"},
    "binary": {"auc": "AUC", "log_loss": "log loss", "brier": "Brier score"},
    "multiclass": {"log_loss": "log loss", "accuracy": "accuracy", "macro_f1": "macro F1"},
}
"""By kind, what the tables show: measure -> its heading."""

OUT = Path("docs/benchmarks/tasks.md")
README = Path("README.md")
TITLE = "# What the shipped tasks reach\n"
HEAD = (
    f"{TITLE}\nMade by `GANCAO_DATA=../shared/data .venv/bin/python -m benchmarks.tasks`, each section by itself. Mean "
    "over seeds (smallest to largest in brackets). Each seed is its own holdout, on which all rows of its table were "
    "predicted; a task split by time always has the same one, the latest rows, and there seeds only search anew.\n"
)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(RUNS))
    settings = from_environment()
    for name in parser.parse_args().tasks:
        made = section(catalog.load(name, settings), measure(name), settings)
        write(sections(OUT.read_text(encoding="utf-8")) | {name: made})
        show_in_readme(settings)
        print(made)


def sections(page: str) -> dict[str, str]:
    """The sections of the page by their task, each from its heading on."""
    parts = page.split("\n## ")[1:]
    return {part.split("\n")[0]: f"## {part.strip()}\n" for part in parts}


def write(found: dict[str, str]) -> None:
    """The page, whole."""
    OUT.write_text("\n".join([HEAD, *(found[name] for name in RUNS if name in found)]), encoding="utf-8")


def show_in_readme(settings: Settings) -> None:
    """One row a task of docs/benchmarks/tasks.md between the README's result marks: what its search minimises."""
    rows = ["| task | measure | Gancao | baselines, the best first |", "|---|---|---|---|"]
    found = sections(OUT.read_text(encoding="utf-8"))
    for name in (name for name in RUNS if name in found):
        task = catalog.load(name, settings)
        board = [
            line.strip("| ").split(" | ") for line in found[name].split("\n\n| 90 %")[0].splitlines() if "|" in line
        ]
        place = list(COLUMNS[task.kind]).index(task.search.metric) + 1
        cells = {line[0]: line[place] for line in board[2:]}
        unit = f" ({task.target.unit})" if task.kind == "regression" else ""
        worse = -1.0 if task.search.metric in HIGHER_IS_BETTER else 1.0
        ranked = sorted(cells.items(), key=lambda item: worse * float(item[1].split(" ")[0]))
        others = "; ".join(f"{row} {cell}" for row, cell in ranked if row != "**gancao**")
        heading = COLUMNS[task.kind][task.search.metric]
        rows.append(f"| {name} | {heading}{unit} | **{cells['**gancao**']}** | {others} |")
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
            print(name, seed, out[-1]["metrics"][task.search.metric], out[-1]["verdict"], flush=True)
    return out


def section(task: Task, documents: list[dict[str, Any]], settings: Settings) -> str:
    """One task's tables as markdown."""
    name, metric = task.task, task.search.metric
    versions = ", ".join(f"{part} {metadata.version(part)}" for part in ("lightgbm", "xgboost-cpu", "flaml", "numpy"))
    lines = [
        f"## {name}\n",
        f"{len(documents)} seeds, {RUNS[name][0]} of search each, {_spread([d['seconds'] for d in documents], 0)} s in "
        f"all; {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {versions}.\n",
        f"| | {' | '.join(COLUMNS[task.kind].values())} |",
        f"|---|{'---|' * len(COLUMNS[task.kind])}",
    ]
    rows = {"**gancao**": [d["metrics"] for d in documents]}
    for baseline in documents[0]["baselines"]:
        rows[baseline] = [d["baselines"][baseline] for d in documents]
    better = -1.0 if metric in HIGHER_IS_BETTER else 1.0
    for row, found in sorted(rows.items(), key=lambda item: better * float(np.mean([m[metric] for m in item[1]]))):
        cells = [_spread([m[key] for m in found], _digits(task, key)) for key in COLUMNS[task.kind]]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    lines += ["", *_intervals(task, documents)]
    if isinstance(task.answers.decision, Promise):
        lines += ["", promises(task, documents, settings)]
    verdicts = sorted({f"{d['verdict']['decision']}: {'; '.join(d['verdict']['reasons'])}" for d in documents})
    lines += ["", "Verdicts: " + " / ".join(verdicts) + ".", ""]
    return "\n".join(lines)


def _digits(task: Task, metric: str) -> int:
    """One more than people are shown of what is in the target's unit."""
    return task.target.digits + 1 if metric in ("rmse", "mae") else 3


def _intervals(task: Task, documents: list[dict[str, Any]]) -> list[str]:
    """Coverage and width of intervals, or size of sets, in all and by group."""
    classes = task.kind != "regression"
    what, wide = ("set", "classes in it") if classes else ("interval", "mean width")
    keys = ("set_coverage", "mean_set_size") if classes else ("coverage", "mean_width")
    digits = 2 if classes else task.target.digits

    def line(title: str, found: list[dict[str, float]]) -> str:
        shares = _spread([100 * one[keys[0]] for one in found], 1)
        return f"| {title} | {shares} % | {_spread([one[keys[1]] for one in found], digits)} |"

    lines = [f"| {task.answers.interval:.0%} {what} | coverage | {wide} |".replace("% ", " % ", 1), "|---|---|---|"]
    lines.append(line("all", [d["metrics"] for d in documents]))
    for group in sorted({group for d in documents for group in d["groups"]}):
        found = [d["groups"][group] for d in documents if group in d["groups"]]
        count = round(float(np.mean([g["n"] for g in found])))
        lines.append(line(f"{group} (n = {count})", found))
    return lines


def promises(task: Task, documents: list[dict[str, Any]], settings: Settings) -> str:
    """How often the promised day was kept, and how often it would have been with each rule's value as the promise."""
    kept, days = (_spread([100 * d["metrics"]["promise_kept"] for d in documents], 1),
                  _spread([d["metrics"]["promise_days"] for d in documents], 1))  # fmt: skip
    source = offline.fetch(task, settings.data)
    split = splits.split(task, dataset.labelled(task, source), 0)
    found = {
        name: (100 * float(np.mean(split.holdout.target <= value[:, 0])), float(np.mean(value[:, 0])))
        for name, value in rules.predict(task, split, source.table).items()
    }
    others = "; ".join(f"{name} {share:.1f} % with {mean:.1f} on average" for name, (share, mean) in found.items())
    return f"Promises kept: {kept} %, with {days} days promised on average. Were a rule's value promised: {others}."


def _spread(values: list[float], digits: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


if __name__ == "__main__":
    main()
