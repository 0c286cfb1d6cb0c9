"""The trial journal of a run: one fsynced line a finished trial, so that a killed search loses none."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from feature_store.errors import RunUnusable
from serving.durable import sync_folder
from training.job import Config


@dataclass(frozen=True)
class Trial:
    """A finished trial. number: its place in the search; loss: None when it failed, and then `failure` says why.

    spread: the loss's standard error over folds; elapsed_s: search time spent when it finished, over all resumptions;
    row_us: what one of its models costs for one row; oof, models: SHA-256 of its predictions' and its models' file.
    """

    number: int
    learner: str
    config: Config
    origin: str
    loss: float | None
    rounds: int
    seconds: float
    elapsed_s: float
    spread: float = 0.0
    row_us: float = 0.0
    oof: str = ""
    models: str = ""
    failure: str = ""


class RunLog:
    """A run's folder: `run.json` (what it is), `journal.jsonl`, `oof/*.npy` and `models/*` a trial."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        """Open a new run, or an old one whose identity must be the same. Raises RunUnusable."""
        self.folder, self.name = folder, folder.name
        self._journal = folder / "journal.jsonl"
        for part in ("oof", "models"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        stated = folder / "run.json"
        if stated.exists():
            _compare(json.loads(stated.read_text(encoding="utf-8")), identity, folder.name)
        else:
            _write_durably(stated, json.dumps(identity, indent=1).encode())
        self._mend()

    def append(self, trial: Trial, oof: np.ndarray | None = None, models: bytes = b"") -> Trial:
        """Keep a trial; when this returns, a `kill -9` or a power cut does not lose it."""
        if oof is not None:
            buffer = io.BytesIO()
            np.save(buffer, oof, allow_pickle=False)
            digests = [
                _keep(path, content)
                for path, content in (
                    (self._oof(trial.number), buffer.getvalue()),
                    (self._models(trial.number), models),
                )
            ]
            trial = replace(trial, oof=digests[0], models=digests[1])
        with self._journal.open("ab") as file:
            file.write(json.dumps(asdict(trial), allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return trial

    def note(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What the run decided once under that name; made the first time, and the same after a resume."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            _write_durably(path, json.dumps(make()).encode())
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def trials(self) -> list[Trial]:
        """All finished trials, in the order in which they finished."""
        return list(self._read())

    def oof(self, trial: Trial) -> np.ndarray:
        """The out-of-fold predictions, (n, outputs), of a trial that did not fail."""
        array: np.ndarray = np.load(self._oof(trial.number), allow_pickle=False)
        return array

    def models(self, trial: Trial) -> bytes:
        """The packed models of a trial that did not fail. Raises RunUnusable when they were altered."""
        content = self._models(trial.number).read_bytes() if self._models(trial.number).exists() else b""
        if hashlib.sha256(content).hexdigest() != trial.models:
            raise RunUnusable(
                f"Run {self.name}: the models of trial {trial.number} are missing or altered.\n"
                "Start again without --resume."
            )
        return content

    def _oof(self, number: int) -> Path:
        return self.folder / "oof" / f"{number:05d}.npy"

    def _models(self, number: int) -> Path:
        return self.folder / "models" / f"{number:05d}.z"

    def _read(self) -> Iterator[Trial]:
        if not self._journal.exists():
            return
        for line in self._journal.read_bytes().splitlines():
            trial = Trial(**json.loads(line))
            if trial.loss is not None:
                content = self._oof(trial.number).read_bytes() if self._oof(trial.number).exists() else b""
                if hashlib.sha256(content).hexdigest() != trial.oof:
                    raise RunUnusable(
                        f"Run {self.name}: the predictions of trial {trial.number} are missing or altered.\n"
                        "Start again without --resume."
                    )
            yield trial

    def _mend(self) -> None:
        """Drop a last line that a kill cut short: its trial was never reported as finished."""
        if not self._journal.exists():
            return
        content = self._journal.read_bytes()
        if content and not content.endswith(b"\n"):
            whole = content[: content.rfind(b"\n") + 1]
            _write_durably(self._journal, whole)


def _keep(path: Path, content: bytes) -> str:
    """Write durably under the final name; the journal's line alone says that it counts. Returns its SHA-256."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def _compare(stated: dict[str, Any], wanted: dict[str, Any], name: str) -> None:
    wanted = json.loads(json.dumps(wanted))
    if changed := [key for key in wanted if stated.get(key) != wanted[key]]:
        raise RunUnusable(
            f"Run {name} can't be resumed: its {', '.join(changed)} is not the same now.\n"
            "Resume it with what it was started with, or start a new run without --resume."
        )


def _write_durably(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(path.suffix + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
