"""Scoring from the shell: a file of fields in, the same rows and columns out with their answers appended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from feature_store import offline
from feature_store.errors import RunUnusable, TableMissing, UnknownVersion
from feature_store.settings import Settings
from feature_store.task import Task
from serving import arrowrows, cache, formats, scoring
from serving.predictor import Predictor
from serving.rowfile import Source
from training import rivals
from training.track import open_registry

Bar = Callable[[int, int], None]
"""Called with rows done and rows in all."""


def score(
    task: Task, settings: Settings, source: str, out: Path, version: str | None, progress: Bar, resume: bool = False
) -> dict[str, Any]:
    """Answer every row of `source` (CSV, JSON Lines, Parquet, or the word `task`: the Task's own table) into `out`.

    As a batch job of the server does it: see `serving.scoring.score`. resume: go on with what was killed.
    Gives the task, version, rows, how many of them were refused, and the first of these with row and field.
    Raises TableMissing, TableUnreadable, FormatRefused, Usage; RunUnusable when there is nothing to go on with.
    """
    form = formats.of_suffix(out)
    if not out.parent.is_dir():
        raise TableMissing(f"There is no folder {out.parent}. Make it first.")
    answering = predictor(task, settings, version)
    rows, facts = _source(task, answering, settings, source)
    folder = out.with_name(f".{out.name}.part")
    _begin(folder, facts, resume)
    done = scoring.score(answering, rows, out, form, folder, lambda at: progress(at.done, at.total))
    cache.remove(folder)
    return {
        "task": task.task,
        "version": answering.version,
        "rows": done.total,
        "refused": done.refused,
        "errors": [asdict(error) for error in done.errors],
        "out": str(out),
    }


def predictor(task: Task, settings: Settings, version: str | None) -> Predictor:
    """The predictor of a version, by default the champion. Raises UnknownVersion."""
    registry = open_registry(settings)
    chosen = version or registry.champion(task.task)
    if chosen is None:
        raise UnknownVersion(
            f"{task.task} has no champion. Promote a version (gancao promote {task.task}) or name one."
        )
    return rivals.fetch(registry, task.task, chosen)


def _source(task: Task, answering: Predictor, settings: Settings, source: str) -> tuple[Source, dict[str, Any]]:
    """The rows, and by what a run is known again: the file, and the version by its golden rows."""
    golden = hashlib.sha256(json.dumps(answering.bundle.golden, sort_keys=True).encode()).hexdigest()
    known = {"task": task.task, "version": answering.version, "golden": golden}
    if source == "task":
        fetched = offline.fetch(task, settings.data)
        return arrowrows.table(fetched.table), {**known, "source": fetched.digest}
    path = Path(source)
    if not path.is_file():
        raise TableMissing(f"There is no file {path}. Check the path.")
    found = path.stat()
    own = {"source": str(path.resolve()), "bytes": found.st_size, "changed_ns": found.st_mtime_ns}
    return formats.of_suffix(path).source(path, answering.task), {**known, **own}


def _begin(folder: Path, facts: dict[str, Any], resume: bool) -> None:
    """Make the folder of what is kept on the way. Raises RunUnusable."""
    before = cache.read(folder / "facts.json")
    if resume and before != facts:
        why = "is of another file or version" if before else "is absent"
        raise RunUnusable(f"{folder}, with which --resume goes on, {why}. Leave --resume out to begin anew.")
    if not resume:
        if folder.exists():
            cache.remove(folder)
        folder.mkdir()
        cache.write_atomically(folder / "facts.json", facts)
