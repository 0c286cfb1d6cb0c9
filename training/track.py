"""The record: runs, models and aliases in MLflow. With `serving/fetch.py` its only door."""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import re
import tempfile
import time
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import AnyType

from feature_store.errors import RegistryUnreachable, UnknownVersion
from feature_store.settings import Settings
from feature_store.task import Task
from serving.cache import CHALLENGER, CHAMPION
from serving.fetch import copy_bundle
from serving.pyfunc import columns
from training.runlog import Trial

HISTORY = "gancao.champions"
"""Tag of a registered model: its past champions, newest last, as JSON."""

MOST_METRICS = 500
"""Metrics that are sent at once; MLflow takes up to 1000."""

_PACKAGES = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Record:
    """All that a run leaves behind. artifacts: text or bytes by file name; bundle: its folder.

    curves: metrics over time, by name: (seconds since the start of the search, value), in order.
    """

    task: Task
    name: str
    params: dict[str, Any]
    metrics: dict[str, float]
    tags: dict[str, str]
    trials: list[Trial]
    artifacts: dict[str, str | bytes]
    bundle: Path
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


class Registry:
    """MLflow's tracking and registry for one set of settings."""

    def __init__(self, settings: Settings) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # standard output is the document's
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        settings.home.mkdir(parents=True, exist_ok=True)
        self._uri, self._artifacts = settings.tracking_uri, settings.artifact_root
        mlflow.set_tracking_uri(self._uri)
        mlflow.set_registry_uri(self._uri)
        self._client = MlflowClient(self._uri, self._uri)

    def record(self, record: Record) -> tuple[str, str]:
        """Log the run with its trials as child runs and register the model; returns (run id, version)."""
        experiment = self._experiment(record.task.task)
        run = self._client.create_run(experiment, run_name=record.name, tags=record.tags)
        run_id = run.info.run_id
        self._log(run_id, record.params, record.metrics)
        self._curves(run_id, record.curves)
        for trial in record.trials:
            self._child(experiment, run_id, trial)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in record.artifacts.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            self._client.log_artifacts(run_id, folder)
        version = self._register(record, run_id)
        self._client.set_terminated(run_id)
        return run_id, version

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = f"{self._artifacts.rstrip('/')}/{name}" if self._artifacts else None
        return str(self._client.create_experiment(name, artifact_location=place))

    def _log(self, run_id: str, params: dict[str, Any], metrics: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        rows = [Metric(key, value, now, 0) for key, value in _names(metrics).items()]
        self._client.log_batch(run_id, params=[Param(key, str(value)[:500]) for key, value in params.items()])
        for start in range(0, len(rows), MOST_METRICS):
            self._client.log_batch(run_id, metrics=rows[start : start + MOST_METRICS])

    def _curves(self, run_id: str, curves: dict[str, list[tuple[float, float]]]) -> None:
        """Each curve as a metric with a step a point, at the moment when it was reached."""
        for name, points in curves.items():
            start = time.time() - max((seconds for seconds, _ in points), default=0.0)
            rows = [
                Metric(name, value, int((start + seconds) * 1000), step) for step, (seconds, value) in enumerate(points)
            ]
            for first in range(0, len(rows), MOST_METRICS):
                self._client.log_batch(run_id, metrics=rows[first : first + MOST_METRICS])

    def _child(self, experiment: str, parent: str, trial: Trial) -> None:
        tags = {"mlflow.parentRunId": parent, "mlflow.runName": f"{trial.number:03d} {trial.learner}"}
        child = self._client.create_run(experiment, tags=tags).info.run_id
        params = {"learner": trial.learner, "origin": trial.origin, **trial.config}
        metrics = {"seconds": trial.seconds, "rounds": float(trial.rounds), "elapsed_s": trial.elapsed_s}
        self._log(child, params, metrics | ({"loss": trial.loss} if trial.loss is not None else {}))
        if trial.failure:
            self._client.log_batch(child, tags=[RunTag("failure", trial.failure)])
        self._client.set_terminated(child, "FINISHED" if trial.loss is not None else "FAILED")

    def _register(self, record: Record, run_id: str) -> str:
        os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # no uv.lock of whatever folder we happen to be in
        with redirect_stderr(io.StringIO()), mlflow.start_run(run_id=run_id):  # it prints where progress goes
            info = mlflow.pyfunc.log_model(
                name="model",
                loader_module="serving.pyfunc",
                data_path=str(record.bundle),
                code_paths=[str(_PACKAGES / "serving"), str(_PACKAGES / "feature_store")],
                signature=_signature(record.task, json.loads((record.bundle / "encoder.json").read_bytes())["classes"]),
                pip_requirements=[f"{name}=={metadata.version(name)}" for name in ("lightgbm", "numpy", "pydantic")],
                registered_model_name=record.task.task,
            )
        version = str(info.registered_model_version)
        for key, value in {"gancao.task": record.task.task, **record.tags}.items():
            self._client.set_model_version_tag(record.task.task, version, key, value)
        self._client.set_registered_model_tag(record.task.task, "gancao.task", record.task.task)
        return version

    def versions(self, task: str) -> list[dict[str, Any]]:
        """All versions, newest first: version, run_id, champion, created_at_utc (ms), and their tags."""
        found = self._client.search_model_versions(f"name = '{task}'")
        champion = self.champion(task)
        rows = [
            {
                "version": str(v.version),
                "run_id": v.run_id,
                "champion": str(v.version) == champion,
                "created_ms": v.creation_timestamp,
                "tags": dict(v.tags),
            }
            for v in found
        ]
        return sorted(rows, key=lambda row: int(row["version"]), reverse=True)

    def champion(self, task: str) -> str | None:
        """The version that answers, or None."""
        return self._aliased(task, CHAMPION)

    def _aliased(self, task: str, alias: str) -> str | None:
        try:
            return str(self._client.get_model_version_by_alias(task, alias).version)
        except MlflowException:
            return None

    def download(self, task: str, version: str, folder: Path) -> Path:
        """The bundle of a version, copied into `folder`. Raises UnknownVersion."""
        try:
            return copy_bundle(self._client, task, version, folder)
        except MlflowException:
            raise UnknownVersion(f"{task} has no version {version}. gancao versions {task} lists them.") from None

    def promote(self, task: str, version: str) -> str | None:
        """Make a version the champion; returns the one before. Raises UnknownVersion."""
        self._known(task, version)
        before = self.champion(task)
        if before != version:
            self._client.set_registered_model_alias(task, CHAMPION, version)
            self._remember(task, [*self._past(task), *([before] if before else [])])
        if self._aliased(task, CHALLENGER) == version:
            self._client.delete_registered_model_alias(task, CHALLENGER)
        return before

    def _known(self, task: str, version: str | None) -> None:
        known = [row["version"] for row in self.versions(task)]
        if version is not None and version not in known:
            there = ", ".join(known) or "none yet: gancao train"
            raise UnknownVersion(
                f"{task} has no version {version}. There are: {there} {task}.".replace(f" {task}.", ".")
            )

    def challenge(self, task: str, version: str | None) -> str | None:
        """Make a version the challenger, None: no one; returns the one before. Raises UnknownVersion."""
        self._known(task, version)
        before = self._aliased(task, CHALLENGER)
        if version is not None:
            self._client.set_registered_model_alias(task, CHALLENGER, version)
        elif before is not None:
            self._client.delete_registered_model_alias(task, CHALLENGER)
        return before

    def rollback(self, task: str) -> tuple[str, str]:
        """Make the champion before this one the champion again; returns (version now, version before)."""
        before, past = self.champion(task), self._past(task)
        if before is None or not past:
            raise UnknownVersion(f"{task} has no earlier champion to go back to. Promote one: gancao promote {task} N")
        self._client.set_registered_model_alias(task, CHAMPION, past[-1])
        self._remember(task, past[:-1])
        return past[-1], before

    def _past(self, task: str) -> list[str]:
        past: list[str] = json.loads(self._client.get_registered_model(task).tags.get(HISTORY, "[]"))
        return past

    def _remember(self, task: str, past: list[str]) -> None:
        self._client.set_registered_model_tag(task, HISTORY, json.dumps(past))


def _names(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics under names that MLflow takes: `price<50` becomes `price below 50`; no two become one."""
    out: dict[str, float] = {}
    for key, value in metrics.items():
        words = key.replace(">=", " from ").replace("<", " below ").replace("=", "_")
        name = base = re.sub(r"[^\w.\- :/]", "_", words)[:240]
        count = 1
        while name in out:
            count += 1
            name = f"{base} {count}"
        out[name] = value
    return out


def open_registry(settings: Settings) -> Registry:
    """The registry, reachable. Raises RegistryUnreachable with its URI and the way on."""
    try:
        registry = Registry(settings)
        registry._client.search_experiments(max_results=1)
    except Exception as error:
        first = str(error).split("\n")[0][:200]
        raise RegistryUnreachable(
            f"MLflow at {settings.tracking_uri} did not answer: {first}\nStart it, or mend GANCAO_MLFLOW_URI."
        ) from error
    return registry


def environment() -> str:
    """Every installed distribution with its version, a line each: the run's environment."""
    found = {f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions()}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def versions() -> dict[str, str]:
    """The versions that an answer depends on, by name."""
    names = ("gancao", "lightgbm", "xgboost-cpu", "catboost", "scikit-learn", "flaml", "numpy")
    there = {d.metadata["Name"].lower(): d.version for d in metadata.distributions() if d.metadata["Name"]}
    return {"python": platform.python_version(), **{name: there[name] for name in names if name in there}}


def _signature(task: Task, classes: list[str]) -> ModelSignature:
    """Fields by name, of any type: the Task's own check judges values.

    A type here would make MLflow refuse whole numbers and all-null columns, and read a flag's null as false.
    """
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(AnyType(), field.name, required=field.required)  # type: ignore[no-untyped-call]
        for field in task.fields
    ]
    types = {float: DataType.double, str: DataType.string, bool: DataType.boolean}
    outputs: list[ColSpec | TensorSpec] = [ColSpec(types[kind], name) for name, kind in columns(task, classes)]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))
