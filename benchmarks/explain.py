"""What an explanation costs beside the prediction of the same row, and what predictions feel of it.

    .venv/bin/python -m benchmarks.explain

Makes versions on a generated table of 18 fields: trees alone, a bag of them, an additive model, trees with a
perceptron, translated trees. Times one row at a time, answer and explanation in turn, and then a real server's
predictions with and without an explanation of 50 rows beside them. Writes docs/benchmarks/explain.md, in a minute.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.cost import ROWS, job
from feature_store.task import Task
from serving import bundle as bundles
from serving import cache, encode
from serving.bundle import Bundle, Reference
from serving.ensemble import Member, combine
from serving.explain import Explainer
from serving.predictor import Predictor
from tests.conftest import Home, Server, serving
from training import background, conformal, familiar, golden, learners
from training.dataset import Rows
from training.job import Fit

OUT = Path("docs/benchmarks/explain.md")
CALLS = 60
ASKED = 300
"""Predictions that a server is asked alone."""

TREES = ("lightgbm", {"n_estimators": 150, "num_leaves": 31, "learning_rate": 0.08})
PERCEPTRON = ("mlp", {"width": 64, "epochs": 4})
ENSEMBLES: dict[str, list[tuple[str, dict[str, Any], int]]] = {
    "LightGBM, 150 trees": [(*TREES, 1)],
    "LightGBM, a bag of five": [(*TREES, 5)],
    "additive (splines)": [("linear", {"numbers": "splines", "knots": 5, "alpha": 1.0}, 1)],
    "LightGBM and a perceptron": [(*TREES, 1), (*PERCEPTRON, 1)],
    "LightGBM and a bag of five perceptrons": [(*TREES, 1), (*PERCEPTRON, 5)],
    "XGBoost, 150 trees, translated": [("xgboost", {"n_estimators": 150, "max_leaves": 31, "learning_rate": 0.08}, 1)],
}
"""By name, learners with their settings and how many models are in the bag."""

SERVED = "LightGBM and a bag of five perceptrons"


def main() -> None:
    """Make, time, write."""
    lines = []
    for name, wanted in ENSEMBLES.items():
        made = version(wanted)
        answers, explanations = times(made)
        shares = Explainer(Predictor(made)).explain(made.golden["rows"][0])["method"]
        told = ", ".join(f"{way} {share:.0%}" for way, share in shares.items() if share)
        ratio = np.median(explanations) / np.median(answers)
        lines.append(f"| {name} | {told} | {spread(answers)} | {spread(explanations)} | {ratio:.0f} |")
        sys.stderr.write(lines[-1] + "\n")
        if name == SERVED:
            alone, beside = served(made)
    OUT.write_text("\n".join([
        "# What an explanation costs\n",
        f"Made by `python -m benchmarks.explain` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores with a load "
        f"of {os.getloadavg()[0]:.1f}: versions learnt on {ROWS:,} generated rows of 18 fields, {CALLS} rows one by "
        "one, answered and explained in turn; milliseconds, median (5 to 95 %).\n",
        "| ensemble | explained by | answer | explanation | ratio of medians |",
        "|---|---|---|---|---|",
        *lines,
        f"\nPredictions of one row over HTTP, {SERVED}, one at a time: {spread(alone)} ms alone ({len(alone)} "
        f"requests); {spread(beside)} ms while 50 rows are explained ({len(beside)} requests).\n",
        "TreeSHAP walks every path of every tree; a sampled explanation asks the models up to 30 times for each field "
        "that differs from a background row. Both are far dearer than an answer, so they run on a thread of their own.",
    ]) + "\n", encoding="utf-8")  # fmt: skip
    sys.stdout.write(OUT.read_text(encoding="utf-8"))


def spread(seconds: np.ndarray) -> str:
    low, middle, high = 1000 * np.quantile(seconds, [0.05, 0.5, 0.95])
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def version(wanted: list[tuple[str, dict[str, Any], int]]) -> Bundle:
    """A version of members of equal weight on the generated table."""
    given = job("regression")
    columns = _columns(given)
    task = _task(given)
    encoder = encode.fit(task, columns)
    matrix = encoder.columns(columns)
    members = []
    for learner, config, bag in wanted:
        fitted = [learners.fit(learner, config, replace(given, seed=seed)) for seed in range(bag)]
        models = tuple(one.model(max(len(one.curve), 1)) for one in fitted)
        members.append(Member(learner, 1 / len(wanted), models, fitted[0].link))
    predict = partial(combine, members)
    found = conformal.calibrate(task, encoder, matrix, given.target, predict(matrix)[:, 0], np.ones(len(matrix)))
    beside = background.make(encoder, familiar.fit(encoder, matrix, 0), matrix, predict, 0)
    empty: dict[str, Any] = {"rows": [], "answers": []}
    reference = Reference(background=beside)
    made = Bundle(task, encoder, members, None, found.floor, found.distribution, {}, empty, reference)
    rows = golden.make(encoder, Rows(columns, given.target, None, ()), 0)
    return replace(made, golden=golden.answered(Predictor(made), rows))


def _columns(given: Fit) -> dict[str, np.ndarray]:
    return {
        f"x{place}": np.array([f"w{code:.0f}" for code in column], dtype=object)
        if place in given.columns.categories
        else column
        for place, column in enumerate(given.matrix.T)
    }


def _task(given: Fit) -> Task:
    fields = [
        {"name": f"x{place}", "type": "category"}
        if place in given.columns.categories
        else {"name": f"x{place}", "type": "number", "limits": [-9, 9]}
        for place in range(given.matrix.shape[1])
    ]
    return Task.model_validate({
        "task": "made", "title": "Made", "intended_use": "A benchmark.", "fields": fields,
        "target": {"name": "y", "label": "Y", "unit": "g", "limits": [-100, 100]},
        "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
    })  # fmt: skip


def times(made: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of CALLS answers and of as many explanations, row by row."""
    explainer, predictor = Explainer(Predictor(made)), Predictor(made)
    rows = encode.as_rows(made.task, _columns(job("regression")))[:CALLS]
    took: list[tuple[float, float]] = []
    for row in rows:
        begun = time.perf_counter()
        predictor.answer([row])
        between = time.perf_counter()
        explainer.explain(row)
        took.append((between - begun, time.perf_counter() - between))
    return np.array([one for one, _ in took]), np.array([other for _, other in took])


def served(made: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of predictions of a real server, alone, and while it explains 50 rows."""
    rows = encode.as_rows(made.task, _columns(job("regression")))[:50]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        bundles.write(made, home / "bundle")
        (home / "cache").mkdir()
        cache.publish(home / "cache", "made", "1", home / "bundle", "1")
        with serving(Home(home, home)) as server, ThreadPoolExecutor(1) as pool:
            _explain(server, rows[:1])
            _ask(server, rows, lambda count: count >= 50)
            alone = _ask(server, rows, lambda count: count >= ASKED)
            running: Future[None] = pool.submit(_explain, server, rows)
            beside = _ask(server, rows, lambda count: running.done())
            running.result()
    return alone, beside


def _explain(server: Server, rows: list[dict[str, Any]]) -> None:
    httpx.post(f"{server.base}/v1/made/explain", json={"rows": rows}, timeout=300).raise_for_status()


def _ask(server: Server, rows: list[dict[str, Any]], enough: Callable[[int], bool]) -> np.ndarray:
    took: list[float] = []
    with httpx.Client(timeout=60) as client:
        while not enough(len(took)):
            begun = time.perf_counter()
            client.post(f"{server.base}/v1/made/predict", json={"rows": [rows[len(took) % 50]]}).raise_for_status()
            took.append(time.perf_counter() - begun)
    return np.array(took)


if __name__ == "__main__":
    main()
