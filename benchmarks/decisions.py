"""The figures behind some decisions of docs/design.md, each beside its alternative in the same run.

    GANCAO_DATA=../shared/data .venv/bin/python -m benchmarks.decisions

Writes docs/benchmarks/decisions.md. Unknown values: what hiding 5 % of a field's values in training does for rows
that lack the field, and costs for rows that have it, on the holdouts of three seeds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import timeit
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from experiments import catalog
from feature_store import offline
from feature_store.settings import from_environment
from feature_store.task import Task
from serving import encode, request
from serving.reader import Reader
from training import dataset, learners, splits
from training.baseline import learnt
from training.job import Fit
from training.learn import columns

OUT = Path("docs/benchmarks/decisions.md")
RUNS = 7


def main() -> None:
    """Measure all and write."""
    sections = [loading(), reading(), unknowns()]
    head = f"# Figures behind decisions\n\nMade by `python -m benchmarks.decisions` on {datetime.now(UTC):%Y-%m-%d}.\n"
    OUT.write_text("\n".join([head, *sections]), encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


def loading() -> str:
    """CPU seconds and memory of a fresh process that can predict with LightGBM."""
    ways = {
        "import lightgbm": "import lightgbm",
        "its library by ctypes (serving.trees)": "from serving import trees; trees._library()",
    }
    measure = (  # VmHWM, not ru_maxrss: that one remembers the parent
        "; import os, re; t = os.times(); m = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())"
        "; print(t.user + t.system, int(m[1]) / 1024)"
    )
    lines = ["## Loading LightGBM in a worker\n", "| way | CPU s | MB |", "|---|---|---|"]
    found = {name: [_figures(code + measure) for _ in range(RUNS)] for name, code in ways.items()}
    for name, runs in found.items():
        cpu, memory = (statistics.median(column) for column in zip(*runs, strict=True))
        lines.append(f"| {name} | {cpu:.2f} | {memory:.0f} |")
    return "\n".join([*lines, ""])


def _figures(code: str) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    cpu, memory = map(float, done.stdout.split())
    return cpu, memory


def reading() -> str:
    """Microseconds to read one full row of 4 words and 20 numbers."""
    words = {f"word{n}": ("one", "two") for n in range(4)}
    numbers = [{"name": f"x{n}", "type": "number", "limits": [0, 99]} for n in range(20)]
    task = Task.model_validate({
        "task": "made", "title": "Made", "intended_use": "A benchmark.",
        "fields": [{"name": name, "type": "category", "choices": both} for name, both in words.items()] + numbers,
        "target": {"name": "y", "label": "Y", "unit": "g", "limits": [0, 1]},
        "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
    })  # fmt: skip
    row = {**{name: one for name, (one, _) in words.items()}, **{f"x{n}": n * 1.5 for n in range(20)}}
    body, reader = json.dumps({"rows": [row]}).encode(), Reader(task)
    ways = {
        "standard library with our hooks": lambda: request._decode(body),
        "the same, judged (serving.request)": lambda: request.read(task, body),
        "standard library": lambda: json.loads(body),
        "msgspec": lambda: msgspec.json.decode(body),
        "msgspec, typed and judged (serving.reader)": lambda: reader.read(body),
    }
    lines = ["## Reading a body of 24 fields\n", "| way | us |", "|---|---|"]
    for name, way in ways.items():
        best = [min(timeit.repeat(way, number=2000, repeat=3)) / 2000 * 1e6 for _ in range(3)]
        lines.append(f"| {name} | {statistics.median(best):.1f} |")
    told = "Bare msgspec and the bare standard library do not see keys that stand twice."
    return "\n".join([*lines, "", told, ""])


def unknowns() -> str:
    """RMSE of LightGBM's defaults on birth_weight, with and without hidden values in training."""
    settings = from_environment()
    task = catalog.load("birth_weight", settings)
    rows = dataset.labelled(task, offline.fetch(task, settings.data))
    lacking = ("plurality", "fetal_sex")
    found: dict[str, list[tuple[float, float]]] = {"the commonest value is assumed": [], "unknown is learnt": []}
    for seed in range(3):
        split = splits.split(task, rows, seed)
        for name, train in zip(found, (split.train, dataset.with_unknowns(task, split.train, seed)), strict=True):
            encoder = encode.fit(task, train.columns)
            learner, config = learnt("regression")["lightgbm_defaults"]
            matrix = encoder.columns(train.columns)
            job = Fit(columns(encoder), task.kind, 1, "rmse", seed, matrix, train.target)
            model = learners.fit(learner, config, job).model(100)
            whole = split.holdout.columns
            nothing = np.full(len(split.holdout), None, dtype=object)
            scores = [
                float(np.sqrt(np.mean((model.predict(encoder.columns(c))[:, 0] - split.holdout.target) ** 2)))
                for c in (whole, {**whole, **dict.fromkeys(lacking, nothing)})
            ]
            found[name].append((scores[0], scores[1]))
    lines = ["## Fields that the table always knows\n",
             "RMSE (g), LightGBM defaults, mean of three seeds.\n",
             f"| in training | all fields given | without {' and '.join(lacking)} |", "|---|---|---|"]  # fmt: skip
    for name, scores in found.items():
        given, lacked = np.mean(scores, axis=0)
        lines.append(f"| {name} | {given:.1f} | {lacked:.1f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
