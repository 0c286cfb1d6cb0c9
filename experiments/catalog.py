"""The catalog: Tasks by name or path."""

from __future__ import annotations

import difflib
from pathlib import Path

from feature_store import taskfile
from feature_store.errors import UnknownTask
from feature_store.settings import Settings, from_environment
from feature_store.task import Task

SHIPPED = Path(__file__).parent / "tasks"


def load(name: str, settings: Settings | None = None) -> Task:
    """The Task of a name (`birth_weight`) or a path (`mine/task.yaml`). Raises UnknownTask or TaskInvalid."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UnknownTask(f"There is no Task file {name}. Check the path, or name a shipped task: {_listed()}.")
        return taskfile.read(path)
    found = _files(settings or from_environment())
    if name not in found:
        close = difflib.get_close_matches(name, list(found), n=1)
        hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(found)}."
        raise UnknownTask(f"There is no task {name!r}. {hint} A path to a Task file does too.")
    return taskfile.read(found[name])


def names(settings: Settings) -> list[str]:
    """The names of all Tasks."""
    return list(_files(settings))


def _files(settings: Settings) -> dict[str, Path]:
    """Task files by name: GANCAO_TASKS before the working folder's before the shipped ones."""
    folders = [settings.tasks, Path("experiments/tasks"), SHIPPED]
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")) if folder else ():
            found.setdefault(path.stem, path)
    return found


def _listed() -> str:
    return ", ".join(sorted(path.stem for path in SHIPPED.glob("*.yaml")))
