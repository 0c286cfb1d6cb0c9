"""Versions of a registry asked again: the reigning champion on a new version's holdout, or any two on their own."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from feature_store import offline
from feature_store.errors import BundleRefused, NotComparable
from feature_store.settings import Settings
from feature_store.task import Task
from serving import bundle as bundles
from serving import encode, predictor
from serving.fetch import probe
from serving.predictor import Predictor
from training import dataset, evaluate, gate
from training.gate import Difference
from training.track import Registry, open_registry


def holdout_id(task: Task, digest: str, seed: int) -> str:
    """Names a holdout: the same table, split and seed hold out the same rows."""
    facts = json.dumps([digest, task.split.model_dump(mode="json"), seed], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def champion(registry: Registry, task: Task, holdout: str, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The reigning champion's values (n,) for these rows as `{"champion-3": values}`.

    Empty when there is none that can be compared: one that held out other rows may have learnt from these, and would
    seem better than it is; one that asks for fields which the rows lack would seem worse.
    """
    version = registry.champion(task.task)
    if version is None:
        return {}
    facts = next((row for row in registry.versions(task.task) if row["version"] == version), None)
    if facts is None or facts["tags"].get("gancao.holdout") != holdout:
        return {}
    try:
        answering = fetch(registry, task.task, version)
    except BundleRefused:
        return {}
    if not set(answering.task.by_name) <= set(task.by_name):
        return {}
    return {f"champion-{version}": np.array([answer["value"] for answer in answering.answer(rows)])}


def fetch(registry: Registry, task: str, version: str) -> Predictor:
    """A version of the registry, let in as the server lets it in: loaded first in a child that may die of it.

    Raises BundleRefused or UnknownVersion.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = registry.download(task, version, Path(folder))
        bundles.verified(bundle)
        probe(bundle, task)
        return predictor.load(bundle, version)


def compare(task: Task, settings: Settings, one: str | None, other: str | None) -> dict[str, Any]:
    """Two versions on the holdout that they share; by default the newest and the champion.

    Raises NotComparable when they held out different rows or the table has changed since.
    """
    registry = open_registry(settings)
    rows = {row["version"]: row for row in registry.versions(task.task)}
    one = one or next(iter(rows), None)
    other = other or registry.champion(task.task)
    if one is None or other is None or one == other:
        raise NotComparable(
            f"{task.task} has no two versions to compare: the newest is {one}, the champion is {other}.\n"
            f"Name two: gancao compare {task.task} 1 2"
        )
    first, second = fetch(registry, task.task, one), fetch(registry, task.task, other)
    seed = _shared_seed(task, first, second)
    split = _same_split(first, settings, seed)
    asked = encode.as_rows(first.task, split.holdout.columns)
    answers = [[answer["value"] for answer in version.answer(asked)] for version in (first, second)]
    groups = evaluate.group_names(first.bundle.encoder, first.bundle.encoder.columns(split.holdout.columns))
    target, values = split.holdout.target, [np.array(answer) for answer in answers]
    found = gate.compare_groups(first.task, target, values[0], values[1], groups, seed)
    return {
        "task": task.task,
        "versions": [one, other],
        "metric": first.task.search.metric,
        "metrics": {
            version: evaluate.point_metrics(target, value) for version, value in zip((one, other), values, strict=True)
        },
        "verdict": f"{one} is {found['all'].word} {other}",
        "differences": {name: _plain(difference) for name, difference in found.items()},
    }


def _shared_seed(task: Task, first: Predictor, second: Predictor) -> int:
    facts = [version.bundle.card["trained_on"] for version in (first, second)]
    names = [holdout_id(v.task, f["digest"], f["seed"]) for v, f in zip((first, second), facts, strict=True)]
    if names[0] != names[1]:
        raise NotComparable(
            f"Versions {first.version} and {second.version} of {task.task} held out different rows: each may have "
            "learnt from the other's.\nTrain both on the same table with the same --seed."
        )
    return int(facts[0]["seed"])


def _same_split(version: Predictor, settings: Settings, seed: int) -> dataset.Split:
    source = offline.fetch(version.task, settings.data)
    if source.digest != version.bundle.card["trained_on"]["digest"]:
        raise NotComparable(
            f"The table of {version.task.task} under {settings.data} is not the one that version {version.version} was "
            "trained on, so its holdout is not known.\nSet GANCAO_DATA to that table."
        )
    return dataset.split(version.task, dataset.labelled(version.task, source), seed)


def _plain(difference: Difference) -> dict[str, Any]:
    return {
        "n": difference.n,
        "mean": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "word": difference.word,
    }
