"""The bundle of a model version: its files, their digests, and reading them safely.

    task.json           the Task
    encoder.json        categories, fills, training ranges
    ensemble.json       members: file, learner, weight; the scale model
    models/*.txt|.json  native LightGBM text, or numbers of a linear model
    distribution.json, scores.npy   the predictive distribution: names and sorted numbers
    card.json           what was measured: metrics, baselines, groups, training data
    golden.json         rows and the answers that the server must reproduce bit for bit
    digests.json        SHA-256 and size of each of these

Nothing here is a pickle. Digests are checked on the bytes before any parser sees them.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feature_store.errors import BundleRefused
from feature_store.task import Task, dumps
from serving.distribution import Distribution
from serving.encode import Encoder
from serving.linear import Linear
from serving.trees import Trees

FORMAT = 1
DIGESTS = "digests.json"
MAX_FILE_BYTES = 512 * 1024 * 1024

Model = Trees | Linear


@dataclass(frozen=True)
class Member:
    """One model of the ensemble. weight: its share; all shares sum to 1."""

    learner: str
    weight: float
    model: Model


@dataclass(frozen=True)
class Bundle:
    """Everything an answer needs. scale: the model of the residual's size, or None for scale_floor throughout."""

    task: Task
    encoder: Encoder
    members: list[Member]
    scale: Model | None
    scale_floor: float
    distribution: Distribution
    card: dict[str, Any]
    golden: dict[str, Any]


def write(bundle: Bundle, folder: Path) -> str:
    """Write the files and their digests into a new folder; returns the bundle's digest."""
    (folder / "models").mkdir(parents=True)
    members = [
        {"file": _write_model(folder, str(index), member.model), "learner": member.learner, "weight": member.weight}
        for index, member in enumerate(bundle.members)
    ]
    scale = _write_model(folder, "scale", bundle.scale) if bundle.scale is not None else None
    layout, scores = bundle.distribution.numbers()
    np.save(folder / "scores.npy", scores, allow_pickle=False)
    (folder / "task.json").write_text(dumps(bundle.task), encoding="utf-8")
    ensemble = {"format": FORMAT, "members": members, "scale": {"file": scale, "floor": bundle.scale_floor}}
    documents = {
        "encoder": bundle.encoder.to_json(),
        "ensemble": ensemble,
        "distribution": layout,
        "card": bundle.card,
        "golden": bundle.golden,
    }
    for name, document in documents.items():
        text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    files = {
        path.relative_to(folder).as_posix(): {"sha256": _sha256(path.read_bytes()), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / DIGESTS).write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    return digest(folder)


def digest(folder: Path) -> str:
    """The bundle's own digest: SHA-256 of digests.json."""
    return _sha256((folder / DIGESTS).read_bytes())


def read(folder: Path) -> Bundle:
    """Check every digest, then parse. Raises BundleRefused naming the file, or ValueError and its like on nonsense
    whose digests fit; `predictor.load` makes one of both."""
    files = verified(folder)
    task = Task.model_validate_json(files["task.json"])
    encoder = Encoder.from_json(task, json.loads(files["encoder.json"]))
    ensemble = json.loads(files["ensemble.json"])
    if ensemble["format"] != FORMAT:
        raise BundleRefused(f"{folder}: bundle format {ensemble['format']}, this server reads {FORMAT}. Update it.")
    members = [
        Member(m["learner"], float(m["weight"]), _read_model(m["file"], files, encoder)) for m in ensemble["members"]
    ]
    scale = ensemble["scale"]
    return Bundle(
        task=task,
        encoder=encoder,
        members=members,
        scale=_read_model(scale["file"], files, encoder) if scale["file"] else None,
        scale_floor=float(scale["floor"]),
        distribution=Distribution.from_numbers(
            encoder,
            json.loads(files["distribution.json"]),
            np.load(io.BytesIO(files["scores.npy"]), allow_pickle=False),
        ),
        card=json.loads(files["card.json"]),
        golden=json.loads(files["golden.json"]),
    )


def verified(folder: Path) -> Mapping[str, bytes]:
    """All files of the bundle as bytes, each with the size and SHA-256 that digests.json states, and no others."""
    try:
        listed: dict[str, dict[str, Any]] = json.loads((folder / DIGESTS).read_bytes())["files"]
        named = set(listed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleRefused(f"{folder} has no readable {DIGESTS}. Fetch the version again.") from error
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != DIGESTS}
    if present != named:
        odd = sorted(present ^ named)[0]
        raise BundleRefused(f"{folder}: {odd} is {'missing' if odd in named else 'not listed'}. Fetch it again.")
    out = {}
    for name, facts in listed.items():
        path = folder / name
        size = path.stat().st_size
        if size != facts["bytes"] or size > MAX_FILE_BYTES:
            raise BundleRefused(f"{path} has {size} bytes, not {facts['bytes']}. Fetch the version again.")
        content = path.read_bytes()
        if _sha256(content) != facts["sha256"]:
            raise BundleRefused(f"{path} was altered: its SHA-256 is not the recorded one. Fetch the version again.")
        out[name] = content
    return out


def _write_model(folder: Path, name: str, model: Model) -> str:
    if isinstance(model, Trees):
        relative = f"models/{name}.txt"
        (folder / relative).write_text(model.text, encoding="utf-8")
    else:
        relative = f"models/{name}.json"
        (folder / relative).write_text(json.dumps(model.to_json(), allow_nan=False), encoding="utf-8")
    return relative


def _read_model(name: str, files: Mapping[str, bytes], encoder: Encoder) -> Model:
    if name.endswith(".txt"):
        return Trees(files[name].decode(), len(encoder.task.fields))
    return Linear.from_json(json.loads(files[name]))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
