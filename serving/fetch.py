"""The fetcher: brings champions from the MLflow registry into the cache. The server's only door to mlflow.

A version is copied, its digests are checked before any parser sees it, and it is loaded once in a child process
that may die of it; only then do the workers learn of it. It never loads a pyfunc: whoever may write into the
registry must not thereby run code here.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion

from feature_store.errors import BundleRefused
from feature_store.settings import Settings, from_environment
from serving import bundle as bundles
from serving import cache
from serving.log import log

CHAMPION = "champion"
PROBE_S = 120
AGAIN_S = 60
"""A refused version is tried again after so long: perhaps only its copy was damaged."""


@dataclass
class Fetcher:
    """Looks at the registry and keeps the cache like it."""

    settings: Settings
    _reachable: bool | None = None
    _told: dict[str, tuple[str, str]] = field(default_factory=dict)
    _refused: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Look, wait, look again, until SIGTERM."""
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        while True:
            self.look()
            time.sleep(self.settings.poll_s)

    def look(self) -> None:
        """Bring every champion that is new. A registry that does not answer changes nothing in the cache."""
        try:
            champions = self._champions()
        except Exception as error:
            self._registry(False, type(error).__name__)
            return
        self._registry(True, "")
        for version in champions:
            try:
                self._bring(version)
            except Exception as error:  # one that can't be copied now must not keep the others out; it is tried again
                self._tell_once(str(version.name), str(version.version), type(error).__name__)

    def _champions(self) -> list[ModelVersion]:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        client = self._client()
        models = [model for model in client.search_registered_models() if model.tags.get("gancao.task") == model.name]
        return [
            client.get_model_version(model.name, model.aliases[CHAMPION])
            for model in models
            if CHAMPION in (model.aliases or {})
        ]

    def _client(self) -> MlflowClient:
        return MlflowClient(self.settings.tracking_uri, self.settings.tracking_uri)

    def _bring(self, found: ModelVersion) -> None:
        task, version, root = str(found.name), str(found.version), self.settings.cache
        identity = f"{version} {found.creation_timestamp} {found.source}"
        now = cache.published(root).get(task)
        if now is not None and now.identity == identity:
            cache.refuse(root, task, {})
            return
        if time.monotonic() < self._refused.get(identity, 0.0):
            return
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as folder:
            try:
                bundle = self._checked(found, Path(folder))
            except BundleRefused as error:
                if identity not in self._refused:
                    log("version_refused", task=task, version=version, reason=str(error))
                self._refused[identity] = time.monotonic() + AGAIN_S
                cache.refuse(root, task, {version: str(error)})
                return
            cache.publish(root, task, version, bundle, identity)
            cache.refuse(root, task, {})
        log("version_published", task=task, version=version)

    def _checked(self, found: ModelVersion, folder: Path) -> Path:
        bundle = copy_bundle(self._client(), str(found.name), str(found.version), folder)
        bundles.verified(bundle)
        probe(bundle, str(found.name))
        return bundle

    def _tell_once(self, task: str, version: str, error: str) -> None:
        if self._told.get(task) != (version, error):
            self._told[task] = (version, error)
            log("version_not_copied", task=task, version=version, error=error)

    def _registry(self, reachable: bool, error: str) -> None:
        self.settings.cache.mkdir(parents=True, exist_ok=True)
        if reachable != self._reachable:
            self._reachable = reachable
            log("registry_reachable" if reachable else "registry_unreachable", error=error)
            cache.write_atomically(self.settings.cache / "registry.json", {"reachable": reachable, "error": error})


def copy_bundle(client: MlflowClient, task: str, version: str, folder: Path) -> Path:
    """Copy the bundle of a registered version into `folder`; its files are not checked yet."""
    uri = client.get_model_version_download_uri(task, version)
    place = f"{uri.rstrip('/')}/data/bundle"
    return Path(download_artifacts(artifact_uri=place, dst_path=str(folder), tracking_uri=client.tracking_uri))


def probe(bundle: Path, task: str) -> None:
    """Load a bundle and its golden rows in a child process. Raises BundleRefused however the child fails."""
    command = [sys.executable, "-m", "serving.probe", str(bundle), task]
    try:
        # What LightGBM prints of a poisoned model need not be UTF-8.
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PROBE_S, check=False)
    except subprocess.TimeoutExpired:
        raise BundleRefused(f"it did not load within {PROBE_S} s.") from None
    if done.returncode != 0:
        said = done.stdout.strip().splitlines()
        reason = said[-1] if said else f"loading it killed the process (code {done.returncode})"
        raise BundleRefused(reason)


def main() -> None:
    """`python -m serving.fetch`: settings come from GANCAO_* variables."""

    def stop(signal_number: int, frame: FrameType | None) -> None:
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    Fetcher(from_environment()).run()


if __name__ == "__main__":
    main()
