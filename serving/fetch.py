"""The fetcher: brings champions and challengers from the registry into the cache. The server's only door to mlflow.

A version is copied, its digests are checked before any parser sees it, and it is loaded once in a child process
that may die of it (`serving/probe.py`); only then do the workers learn of it. What is in the cache is looked at too:
a bundle that was damaged on disk is fetched again. It never loads a pyfunc: whoever may write into the registry must
not thereby run code here.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.entities.model_registry import ModelVersion, RegisteredModel

from feature_store.errors import BundleRefused
from feature_store.settings import Settings, from_environment
from serving import bundle as bundles
from serving import cache
from serving.cache import CHALLENGER, CHAMPION
from serving.log import log
from serving.probe import probe

AGAIN_S, NOT_COPIED_AGAIN_S = 60, 5
"""A refused version is tried again after so long: perhaps only its copy was damaged; one that could not be copied
sooner."""

VERIFY_S = 600
"""A bundle in the cache whose files look untouched is read through again after so long: disks forget."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Of a Task; the registry's names become folders."""


@dataclass
class Fetcher:
    """Looks at the registry and keeps the cache like it."""

    settings: Settings
    _reachable: bool | None = None
    _refused: dict[str, tuple[float, str]] = field(default_factory=dict)
    _seals: dict[Path, tuple[float, frozenset[Any], bool]] = field(default_factory=dict)

    def run(self) -> None:
        """Look, wait, look again, until SIGTERM."""
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # of MLflow's own 7 the last waits for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        while True:
            try:
                self.look()
            except OSError as error:  # the cache's disk, perhaps full: what is served goes on
                log("cache_not_written", error=type(error).__name__)
            time.sleep(self.settings.poll_s)

    def look(self) -> None:
        """Bring every champion and challenger that is new. A registry that does not answer changes no version here."""
        try:
            wanted = self._wanted()
        except Exception as error:
            self._registry(False, type(error).__name__)
            return
        self._registry(True, "")
        for task, aliases in wanted.items():
            reasons = {}
            for alias in (CHAMPION, CHALLENGER):
                reason = self._follow(task, alias, aliases.get(alias))
                if reason:
                    reasons[str(aliases[alias].version)] = reason
            cache.refuse(self.settings.cache, task, reasons)

    def _wanted(self) -> dict[str, dict[str, ModelVersion]]:
        """By task, the versions that the registry's aliases name. A challenger that is the champion is none."""
        uri = self.settings.tracking_uri
        if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
            raise FileNotFoundError(uri)  # MLflow would make an empty one
        client, out = self._client(), {}
        for model in _models(client):
            if model.tags.get("gancao.task") == model.name and _NAME.fullmatch(model.name):
                named = {**(model.aliases or {})}
                if named.get(CHALLENGER) == named.get(CHAMPION):
                    named.pop(CHALLENGER, None)
                aliases = [alias for alias in (CHAMPION, CHALLENGER) if alias in named]
                out[str(model.name)] = {a: client.get_model_version(model.name, named[a]) for a in aliases}
        return out

    def _client(self) -> MlflowClient:
        return MlflowClient(self.settings.tracking_uri, self.settings.tracking_uri)

    def _follow(self, task: str, alias: str, found: ModelVersion | None) -> str:
        """Have the alias's version answer; why it may not, or "". Without an alias a champion stays: nobody is to lose
        the service by a click, while a challenger goes."""
        reason = "" if found is None else self._bring(task, alias, found)
        if alias == CHALLENGER and (found is None or reason) and cache.withdraw(self.settings.cache, task, alias):
            log("challenger_withdrawn", task=task)
        return reason

    def _bring(self, task: str, alias: str, found: ModelVersion) -> str:
        version, root = str(found.version), self.settings.cache
        identity = f"{version} {found.creation_timestamp} {found.source}"
        now = cache.published(root, alias).get(task)
        if now is not None and now.identity == identity and self._whole(now.folder, task):
            return ""
        not_before, known = self._refused.get(identity, (0.0, ""))
        if time.monotonic() < not_before:
            return known
        try:
            self._publish(task, alias, version, identity)
        except BundleRefused as error:
            reason, wait = str(error), AGAIN_S
        except Exception as error:  # one that can't be copied now must not keep the others out
            reason, wait = f"It could not be copied ({type(error).__name__}). It is tried again.", NOT_COPIED_AGAIN_S
        else:
            self._refused.pop(identity, None)
            log("version_published", task=task, version=version, alias=alias)
            return ""
        if reason != known:
            log("version_refused", task=task, version=version, alias=alias, reason=reason)
        self._refused[identity] = (time.monotonic() + wait, reason)
        return reason

    def _publish(self, task: str, alias: str, version: str, identity: str) -> None:
        """From the copy that is here, or else from the registry. Raises BundleRefused, or what the copying raises."""
        root = self.settings.cache
        if not version.isdigit():
            raise BundleRefused("Its number is none. Register it anew.")
        (root / task).mkdir(parents=True, exist_ok=True)
        here = cache.kept(root, task, identity)
        if here is not None and self._whole(here, task):
            probe(here, task)
            cache.point(root, task, version, here, identity, alias)
            return
        with tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as folder:
            bundle = copy_bundle(self._client(), task, version, Path(folder))
            bundles.verified(bundle)
            probe(bundle, task)
            self._whole(cache.publish(root, task, version, bundle, identity, alias).folder, task)

    def _whole(self, folder: Path, task: str) -> bool:
        """Whether a bundle of the cache still has its digests; read through when it looks touched, or after long."""
        seal = cache.seal(folder)
        at, known, whole = self._seals.get(folder, (float("-inf"), None, False))
        if seal == known and time.monotonic() < at + VERIFY_S:
            return whole
        try:
            bundles.verified(folder)
            whole = True
        except (BundleRefused, OSError) as error:
            whole = False
            log("cache_damaged", task=task, folder=folder.name, reason=str(error))
        self._seals = {path: kept for path, kept in self._seals.items() if path.is_dir()}
        self._seals[folder] = (time.monotonic(), seal, whole)
        return whole

    def _registry(self, reachable: bool, error: str) -> None:
        self.settings.cache.mkdir(parents=True, exist_ok=True)
        cache.looked(self.settings.cache, reachable, error)
        if reachable != self._reachable:
            self._reachable = reachable
            log("registry_reachable" if reachable else "registry_unreachable", error=error)


def _models(client: MlflowClient) -> list[RegisteredModel]:
    """All registered models; MLflow gives them by pages."""
    found = client.search_registered_models()
    out = list(found)
    while found.token:
        found = client.search_registered_models(page_token=found.token)
        out += found
    return out


def copy_bundle(client: MlflowClient, task: str, version: str, folder: Path) -> Path:
    """Copy the bundle of a registered version into `folder`; its files are not checked yet.

    Raises BundleRefused where it is larger than any version may be, before a byte is copied.
    """
    uri = client.get_model_version_download_uri(task, version)
    place = f"{uri.rstrip('/')}/data/bundle"
    _bounded(place, client.tracking_uri)
    return Path(download_artifacts(artifact_uri=place, dst_path=str(folder), tracking_uri=client.tracking_uri))


def _bounded(place: str, tracking_uri: str) -> None:
    folders, files, size = [place], 0, 0
    while folders:
        here = folders.pop()
        for entry in list_artifacts(artifact_uri=here, tracking_uri=tracking_uri):
            files, size = files + 1, size + int(entry.file_size or 0)
            if entry.is_dir:
                folders.append(f"{here}/{PurePosixPath(entry.path).name}")
            if files > bundles.MAX_FILES or size > bundles.MAX_BYTES:
                raise BundleRefused(
                    f"It has more than {bundles.MAX_FILES} files or {bundles.MAX_BYTES} bytes. Train the task again."
                )


def main() -> None:
    """`python -m serving.fetch`: settings come from GANCAO_* variables."""

    def stop(signal_number: int, frame: FrameType | None) -> None:
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    Fetcher(from_environment()).run()


if __name__ == "__main__":
    main()
