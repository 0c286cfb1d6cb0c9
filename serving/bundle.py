"""The bundle of a model version: its files, their digests, and reading them safely.

    task.json           the Task
    encoder.json        categories, fills, training ranges
    ensemble.json       members: files, learner, weight, link; the scale model
    models/*.txt|.json|.mlp  native LightGBM text, or numbers of an additive model or a perceptron
    distribution.json, scores.npy   the predictive distribution: names, sorted numbers, the correction of classes
    reference.json      how familiar a row is, what each missing field costs, counts, rows to explain beside
    card.json           what was measured: metrics, baselines, groups, training data
    golden.json         rows and the answers that the server must reproduce bit for bit
    digests.json        SHA-256 and size of each of these

Nothing here is a pickle. Digests are checked on the bytes before any parser sees them.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from feature_store.errors import BundleRefused
from feature_store.task import Task, dumps
from serving.additive import Additive
from serving.classes import Classes
from serving.distribution import Distribution
from serving.encode import Encoder
from serving.ensemble import LINKS, Member, Model
from serving.familiar import Familiarity
from serving.mlp import Mlp
from serving.trees import Trees

FORMAT = 3
DIGESTS = "digests.json"
MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_BYTES = 2 * MAX_FILE_BYTES
MAX_FILES = 10_000
MAX_LIST_BYTES = 4 * 1024 * 1024
"""Of one file, of a version, of its files in number, and of digests.json."""

MOST_MODELS = 2000
"""Models of an ensemble: a file may be named many times."""

_NAMES = re.compile(
    r"(task|encoder|ensemble|distribution|reference|card|golden)\.json|scores\.npy|models/[a-z0-9-]{1,40}\.(txt|json|mlp)"
)


@dataclass(frozen=True)
class Reference:
    """What the training rows are like.

    familiarity: None marks no row. costs: by optional field how much wider the interval (of classes: larger the set)
    is without it, on average, in the target's unit. counts: by field the training rows in each of its bins
    (`familiarity.bins`), those where it is unknown last. background: (m, fields) encoded rows that are made up and like
    the training rows, beside which an answer is explained; None explains none.
    """

    familiarity: Familiarity | None = None
    costs: dict[str, float] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)
    background: np.ndarray | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the bundle; a number that is not known is null."""
        known, rows = self.familiarity, self.background
        return {
            "familiarity": None if known is None else known.to_json(),
            "costs": self.costs,
            "counts": self.counts,
            "background": None if rows is None else [[None if x != x else x for x in row] for row in rows.tolist()],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], fields: int) -> Reference:
        """The reference of a bundle. fields: of the Task. Raises ValueError when it does not fit them."""
        known = data["familiarity"]
        costs = {name: float(cost) for name, cost in data["costs"].items()}
        counts = {name: [int(count) for count in row] for name, row in data["counts"].items()}
        rows = None if data["background"] is None else np.array(data["background"], dtype=np.float64)
        if rows is not None and (rows.shape != (len(rows), fields) or not len(rows)):
            raise ValueError(f"background rows of shape {rows.shape}, the Task has {fields} fields")
        return Reference(None if known is None else Familiarity.from_json(known, fields), costs, counts, rows)


@dataclass(frozen=True)
class Bundle:
    """Everything an answer needs.

    scale: of regression the model of the residual's size, or None for scale_floor throughout; classes have none.
    """

    task: Task
    encoder: Encoder
    members: list[Member]
    scale: Model | None
    scale_floor: float
    distribution: Distribution | Classes
    card: dict[str, Any]
    golden: dict[str, Any]
    reference: Reference = field(default_factory=Reference)


def write(bundle: Bundle, folder: Path) -> str:
    """Write the files and their digests into a new folder; returns the bundle's digest."""
    (folder / "models").mkdir(parents=True)
    members = [
        {
            "files": [_write_model(folder, f"{index}-{bag}", model) for bag, model in enumerate(member.models)],
            "learner": member.learner,
            "weight": member.weight,
            "link": member.link,
        }
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
        "reference": bundle.reference.to_json(),
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
        raise BundleRefused(f"It has bundle format {ensemble['format']}, this server reads {FORMAT}. Update it.")
    if sum(len(member["files"]) for member in ensemble["members"]) > MOST_MODELS:
        raise BundleRefused(f"Its ensemble has more than {MOST_MODELS} models. Train the task again.")
    members = [_read_member(member, files, encoder) for member in ensemble["members"]]
    scale = ensemble["scale"]
    return Bundle(
        task=task,
        encoder=encoder,
        members=members,
        scale=_read_model(scale["file"], files, encoder) if scale["file"] else None,
        scale_floor=float(scale["floor"]),
        distribution=_read_distribution(files, encoder),
        card=json.loads(files["card.json"]),
        golden=json.loads(files["golden.json"]),
        reference=Reference.from_json(json.loads(files["reference.json"]), len(task.fields)),
    )


def verified(folder: Path) -> Mapping[str, bytes]:
    """All files of the bundle as bytes, each with the size and SHA-256 that digests.json states, and no others.

    No file is opened before its name, kind and size are known to be in order; links are not followed.
    Raises BundleRefused naming the file.
    """
    listed, present = _listed(folder), _present(folder)
    if set(present) != set(listed):
        odd = sorted(set(present) ^ set(listed))[0]
        raise BundleRefused(f"{odd} is {'missing' if odd in listed else 'not listed'}. Fetch the version again.")
    for name, (size, _) in listed.items():
        if present[name] != size or size > MAX_FILE_BYTES:
            raise BundleRefused(f"{name} has {present[name]} bytes, not {size}. Fetch the version again.")
    if sum(present.values()) > MAX_BYTES:
        raise BundleRefused(f"Its files have more than {MAX_BYTES} bytes together. Train the task again.")
    out = {}
    for name, (_, sha256) in listed.items():
        out[name] = (folder / name).read_bytes()
        if _sha256(out[name]) != sha256:
            raise BundleRefused(f"{name} was altered: its SHA-256 is not the recorded one. Fetch the version again.")
    return out


def _listed(folder: Path) -> dict[str, tuple[int, str]]:
    """Sizes and SHA-256 by name, as digests.json states them; names are compared with those that are there, never
    opened."""
    try:
        if (size := (folder / DIGESTS).stat(follow_symlinks=False).st_size) > MAX_LIST_BYTES:
            raise BundleRefused(f"{DIGESTS} has {size} bytes; at most {MAX_LIST_BYTES} are read. Train the task again.")
        files = json.loads((folder / DIGESTS).read_bytes())["files"]
        out = {name: (facts["bytes"], facts["sha256"]) for name, facts in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleRefused(f"There is no readable {DIGESTS}. Fetch the version again.") from error
    if any(type(size) is not int or not isinstance(sha256, str) for size, sha256 in out.values()):
        raise BundleRefused(f"{DIGESTS} states a size or SHA-256 that is none. Fetch the version again.")
    if any(not _NAMES.fullmatch(name) for name in out):
        raise BundleRefused(f"{DIGESTS} names a file that no version has. Train the task again.")
    return out


def _present(folder: Path) -> dict[str, int]:
    """Sizes by name of all files but digests.json."""
    out: dict[str, int] = {}
    for path in folder.rglob("*"):
        found, name = path.stat(follow_symlinks=False), path.relative_to(folder).as_posix()
        if stat.S_ISREG(found.st_mode):
            out[name] = found.st_size
        elif not stat.S_ISDIR(found.st_mode):
            raise BundleRefused(f"{name} is no plain file. A version holds files and folders only: train it again.")
        if len(out) > MAX_FILES:
            raise BundleRefused(f"It has more than {MAX_FILES} files. Train the task again.")
    if stat.S_ISLNK(folder.stat(follow_symlinks=False).st_mode):
        raise BundleRefused("It is a link. Fetch the version again.")
    out.pop(DIGESTS, None)
    return out


def _read_member(facts: dict[str, Any], files: Mapping[str, bytes], encoder: Encoder) -> Member:
    if facts["link"] not in LINKS:
        raise BundleRefused(f"A member has the link {facts['link']!r}, which this server does not know. Update it.")
    models = tuple(_read_model(name, files, encoder) for name in facts["files"])
    return Member(facts["learner"], float(facts["weight"]), models, facts["link"])


def _read_distribution(files: Mapping[str, bytes], encoder: Encoder) -> Distribution | Classes:
    layout = json.loads(files["distribution.json"])
    scores = np.load(io.BytesIO(files["scores.npy"]), allow_pickle=False)
    if encoder.task.kind == "regression":
        return Distribution.from_numbers(encoder, layout, scores)
    return Classes.from_numbers(encoder, layout, scores)


def _write_model(folder: Path, name: str, model: Model) -> str:
    suffix, text = as_text(model)
    (folder / f"models/{name}{suffix}").write_text(text, encoding="utf-8")
    return f"models/{name}{suffix}"


def _read_model(name: str, files: Mapping[str, bytes], encoder: Encoder) -> Model:
    return from_text(Path(name).suffix, files[name].decode(), len(encoder.task.fields))


def as_text(model: Model) -> tuple[str, str]:
    """The suffix of the model's file and its text: what a bundle holds and a worker hands back."""
    if isinstance(model, Trees):
        return ".txt", model.text
    assert isinstance(model, Additive | Mlp)
    suffix = ".mlp" if isinstance(model, Mlp) else ".json"
    return suffix, json.dumps(model.to_json(), allow_nan=False)


def from_text(suffix: str, text: str, width: int) -> Model:
    """The model again. width: number of columns. Raises BundleRefused, or ValueError and its like on nonsense."""
    if suffix == ".txt":
        return Trees(text, width)
    return (Mlp if suffix == ".mlp" else Additive).from_json(json.loads(text))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
