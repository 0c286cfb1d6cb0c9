"""Versions of a registry asked again: the reigning champion on a new version's holdout, or any two on their own."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feature_store import offline
from feature_store.errors import BundleRefused, NotComparable
from feature_store.settings import Settings
from feature_store.task import METRICS, Task
from serving import bundle as bundles
from serving import encode, predictor
from serving.predictor import Predictor
from serving.probe import probe
from training import evaluate, losses, paired, splits
from training.dataset import Rows
from training.paired import Ground
from training.track import Registry, open_registry


def holdout_id(task: Task, digest: str, seed: int) -> str:
    """Names a holdout: the same table, split and seed hold out the same rows."""
    facts = json.dumps([digest, task.split.model_dump(mode="json"), seed], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def champion(
    registry: Registry, task: Task, holdout: str, rows: Sequence[Mapping[str, Any]], classes: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The reigning champion's predictions (n, outputs) for these rows as `{"champion-3": predictions}`.

    holdout: as `holdout_id`; classes: the words of a class target in the order of outputs. Empty when there is none
    that can be compared: one that held out other rows may have learnt from these, and would seem better than it is;
    one that asks for fields which the rows lack would seem worse; one of other classes answers another question.
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
    asks_more = not set(answering.task.by_name) <= set(task.by_name)
    if asks_more or answering.task.kind != task.kind or list(answering.bundle.encoder.classes) != list(classes):
        return {}
    return {f"champion-{version}": evaluate.predictions(tuple(classes), answering.answer(rows))}


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
    return beside(first, second, split.holdout, seed)


def beside(first: Predictor, second: Predictor, rows: Rows, seed: int) -> dict[str, Any]:
    """Two versions on the same labelled rows, which neither has learnt from; the first's Task says what is asked."""
    task, encoder = first.task, first.bundle.encoder
    asked = encode.as_rows(task, rows.columns)
    one, other = (evaluate.predictions(rows.classes, version.answer(asked)) for version in (first, second))
    groups = evaluate.group_names(encoder, encoder.columns(rows.columns))
    ground = Ground(rows.target, rows.weight, groups, paired.units(task, rows))
    found = {"all": paired.compare(task, ground, one, other, seed)}
    found |= paired.compare_groups(task, ground, one, other, seed)
    return {
        "task": task.task,
        "versions": [first.version, second.version],
        "metric": task.search.metric,
        "unit": task.target.unit if task.kind == "regression" else "",
        "margin": task.gate.margin,
        "metrics": {
            version.version: _metrics(task, ground, predicted) for version, predicted in ((first, one), (second, other))
        },
        "verdict": f"{first.version} is {found['all'].word} {second.version}",
        "differences": {name: difference.to_json() for name, difference in found.items()},
    }


def _metrics(task: Task, ground: Ground, predicted: np.ndarray) -> dict[str, float]:
    """Every metric of the Task's kind; `auc` as such, not as a loss."""
    found = {name: losses.loss(name, ground.target, predicted, ground.weight) for name in METRICS[task.kind]}
    return {name: 1 - value if name == "auc" else value for name, value in found.items()}


def _shared_seed(task: Task, first: Predictor, second: Predictor) -> int:
    facts = [version.bundle.card["trained_on"] for version in (first, second)]
    names = [holdout_id(v.task, f["digest"], f["seed"]) for v, f in zip((first, second), facts, strict=True)]
    if names[0] != names[1]:
        raise NotComparable(
            f"Versions {first.version} and {second.version} of {task.task} held out different rows: each may have "
            "learnt from the other's.\nTrain both on the same table with the same --seed."
        )
    return int(facts[0]["seed"])


def _same_split(version: Predictor, settings: Settings, seed: int) -> splits.Split:
    source = offline.fetch(version.task, settings.data)
    if source.digest != version.bundle.card["trained_on"]["digest"]:
        raise NotComparable(
            f"The table of {version.task.task} under {settings.data} is not the one that version {version.version} was "
            "trained on, so its holdout is not known.\nSet GANCAO_DATA to that table."
        )
    return splits.of(version.task, source, seed)
