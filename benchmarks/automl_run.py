"""One contestant on one table and one split: laid out, run under watch, and judged; a failure is a result too."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import watch
from benchmarks.automl_tables import Table, places, split, task
from feature_store.task import dumps
from training.losses import loss

SCRIPTS = Path(__file__).absolute().parent / "contestants"
RESAMPLES = 200
"""Bootstrap samples of the test rows; the same rows for every system, so that their losses are paired."""

CORES = 2


@dataclass(frozen=True)
class System:
    """A contestant. environment: folder below the peers' one, or "" for Gancao's own Python; options: its script's."""

    title: str
    script: str
    environment: str
    options: dict[str, Any] = field(default_factory=dict)


SYSTEMS = {
    "gancao": System("Gancao", "with_gancao.py", ""),
    "lightgbm": System("LightGBM defaults", "with_lightgbm.py", "lightgbm"),
    "flaml": System("FLAML", "with_flaml.py", "flaml"),
    "lightautoml": System("LightAutoML", "with_lightautoml.py", "lightautoml"),
    "autogluon_medium": System("AutoGluon medium", "with_autogluon.py", "autogluon", {"preset": "medium_quality"}),
    "autogluon_good": System("AutoGluon good", "with_autogluon.py", "autogluon", {"preset": "good_quality"}),
    "autogluon_best": System("AutoGluon best", "with_autogluon.py", "autogluon", {"preset": "best_quality"}),
}


@dataclass(frozen=True)
class Rules:
    """What is the same for all. scratch: a folder for tables and models, emptied after each run."""

    budget_s: float
    peers: Path
    scratch: Path

    @property
    def limit_s(self) -> float:
        """When a contestant is ended, imports and the timing of its answers included."""
        return 3 * self.budget_s + 60


def run(system: str, table: Table, seed: int, rules: Rules) -> dict[str, Any]:
    """The result as one plain document: `loss`, `resampled`, times, sizes; or `failed` with the reason."""
    parts = split(table, seed)
    folder = rules.scratch.absolute() / f"{table.name}-{system}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _lay_out(table, parts.train, parts.test, folder)
    _write_meta(SYSTEMS[system], table, seed, rules.budget_s, folder)
    command = [str(python(system, rules.peers)), str(SCRIPTS / SYSTEMS[system].script), str(folder)]
    with tempfile.TemporaryDirectory(prefix="g", ignore_cleanup_errors=True) as temporary:
        watched = watch.run(command, _cores(), rules.limit_s, folder / "log.txt", _environment(temporary))
    head = {
        "system": system,
        "table": table.name,
        "kind": table.kind,
        "metric": table.metric,
        "seed": seed,
        "budget_s": rules.budget_s,
        "train_rows": len(parts.train),
        "test_rows": len(parts.test),
        "columns": table.x.shape[1],
        "process_s": watched.seconds,
        "peak_bytes": watched.peak_bytes,
    }
    try:
        return head | _judged(table, seed, parts.test, folder, watched, rules.limit_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def python(system: str, peers: Path) -> Path:
    """The interpreter of a system's environment."""
    name = SYSTEMS[system].environment
    return (peers / name / "bin/python").absolute() if name else Path(sys.executable)


def _lay_out(table: Table, train: np.ndarray, test: np.ndarray, folder: Path) -> None:
    target = table.y.iloc[train]
    table.x.iloc[train].assign(target=target).reset_index(drop=True).to_parquet(folder / "train.parquet")
    table.x.iloc[test].reset_index(drop=True).to_parquet(folder / "test.parquet")
    (folder / "task.json").write_text(dumps(task(table)), encoding="utf-8")


def _write_meta(system: System, table: Table, seed: int, budget_s: float, folder: Path) -> None:
    meta = {
        "kind": table.kind,
        "metric": table.metric,
        "seconds": budget_s,
        "cores": CORES,
        "seed": seed,
        "categories": table.categories,
        "classes": list(table.classes),
        "options": system.options,
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))[:CORES]


def _environment(temporary: str) -> dict[str, str]:
    """What a contestant sees: as many threads as cores, no network for model weights, a folder for what it leaves.

    temporary: a short path, since Ray's sockets lie deep below it and a socket's path has 107 characters at most.
    """
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "LC_ALL") if key in os.environ}
    quiet = {"PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1", "TMPDIR": temporary}
    return {**keep, **dict.fromkeys(threads, str(CORES)), **quiet}


def _judged(
    table: Table, seed: int, test: np.ndarray, folder: Path, watched: watch.Watched, limit_s: float
) -> dict[str, Any]:
    learnt = (folder / "result.json").is_file()
    if watched.code is None and not learnt:
        return {"failed": f"not done after {limit_s:.0f} s", "said": watched.said}
    if watched.code not in (0, None) or not learnt:
        return {"failed": _reason(watched), "said": watched.said}
    predicted = np.load(folder / "predictions.npy", allow_pickle=False)
    outputs = len(table.classes) if table.kind == "multiclass" else 1
    if predicted.shape != (len(test), outputs) or not np.isfinite(predicted).all():
        return {"failed": f"predictions of shape {predicted.shape}, or not finite", "said": watched.said}
    measured: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {**measured, **losses(table.metric, places(table)[test], predicted, seed)}


def losses(metric: str, target: np.ndarray, predicted: np.ndarray, seed: int) -> dict[str, Any]:
    """`loss` on the test rows, and `resampled`: on RESAMPLES bootstrap samples of them, drawn by the seed."""
    random = np.random.default_rng([seed, len(target)])
    samples = (random.integers(0, len(target), len(target)) for _ in range(RESAMPLES))
    resampled = [float(f"{loss(metric, target[rows], predicted[rows]):.7g}") for rows in samples]
    return {"loss": loss(metric, target, predicted), "resampled": resampled}


def _reason(watched: watch.Watched) -> str:
    """The last line that a contestant said: of a Python traceback, the error."""
    lines = [line.strip() for line in watched.said.splitlines() if line.strip()]
    return f"exit code {watched.code}: {lines[-1][:200] if lines else 'it said nothing'}"
