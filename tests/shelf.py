"""A registry by hand: real MLflow on SQLite whose versions are folders, and a home over it whose server looks often."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from serving import bundle
from serving.bundle import Bundle
from serving.predictor import Predictor
from tests.conftest import Home
from tests.made import version
from training import golden


class Watched(Home):
    """A home whose fetcher looks at the registry 20 times a second."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "GANCAO_POLL_S": "0.05"}


class Shelf:
    """The registry of a home. Versions are made by `put`, and named champion or challenger by `name`."""

    def __init__(self, folder: Path, empty: Path, more: tuple[tuple[str, str], ...] = ()) -> None:
        """empty: an MLflow database without anything in it, which is copied."""
        self.home = Watched(folder / "home", folder, more)
        self.home.home.mkdir(parents=True)
        shutil.copy(empty, self.home.home / "mlflow.db")
        self._folder, self._count = folder, 0
        self.client = client(self.home.home / "mlflow.db")

    def put(self, task: str, fill: Bundle | Path, spoil: Callable[[Path], None] = lambda bundle: None) -> str:
        """Register a version and return its number. fill: what it holds; spoil: what is done to its bundle's folder."""
        self._count += 1
        place = self._folder / "versions" / str(self._count) / "data" / "bundle"
        if isinstance(fill, Path):
            shutil.copytree(fill, place, symlinks=True)
        else:
            bundle.write(fill, place)
        spoil(place)
        if not self.client.search_registered_models(f"name = '{task}'"):
            self.client.create_registered_model(task, {"gancao.task": task})
        return str(self.client.create_model_version(task, str(place.parents[1])).version)

    def name(self, task: str, alias: str, number: str) -> None:
        self.client.set_registered_model_alias(task, alias, number)

    def champion(self, task: str, fill: Bundle | Path, spoil: Callable[[Path], None] = lambda bundle: None) -> str:
        number = self.put(task, fill, spoil)
        self.name(task, "champion", number)
        return number


def client(database: Path) -> MlflowClient:
    uri = f"sqlite:///{database}"
    return MlflowClient(uri, uri)


@cache
def other(kind: str) -> Bundle:
    """A second version of a kind of target: the first's last member alone, so that it answers otherwise."""
    made = version(kind).bundle
    made = replace(made, members=[replace(made.members[-1], weight=1.0)])
    return replace(made, golden=golden.answered(Predictor(made), made.golden["rows"]))


def sign(folder: Path) -> None:
    """Write digests that fit what is there: what someone with write access to the registry can do."""
    (folder / "digests.json").unlink(missing_ok=True)
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": bundle._sha256(path.read_bytes()),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / "digests.json").write_text(json.dumps({"files": files}))


def change(folder: Path, name: str, how: Callable[[Any], Any]) -> None:
    """Alter a JSON file of a bundle; `how` may change it in place and return None."""
    document = json.loads((folder / name).read_text())
    changed = how(document)
    (folder / name).write_text(json.dumps(document if changed is None else changed))
