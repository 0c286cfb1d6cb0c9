"""The cache: the one folder between the fetcher, who fills it, and the workers, who only read it.

    {task}/versions/{version}-{digest}/   bundles that were checked and reproduced their golden rows
    {task}/champion                       JSON naming the one that answers; replaced atomically
    {task}/refused.json                   the version that should be champion but was not let in, and why
    registry.json                         whether the registry answered when last asked

A server that starts without a registry serves what lies here.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import bundle as bundles

KEPT = 3
"""Versions of a task that stay in the cache."""


@dataclass(frozen=True)
class Published:
    """The version that answers for a task. identity: what the registry called it when it was fetched."""

    task: str
    version: str
    folder: Path
    identity: str


def published(root: Path) -> dict[str, Published]:
    """The champion of every task in the cache."""
    out = {}
    for pointer in sorted(root.glob("*/champion")):
        try:
            facts = json.loads(pointer.read_text(encoding="utf-8"))
            folder = pointer.parent / "versions" / facts["folder"]
            out[pointer.parent.name] = Published(pointer.parent.name, facts["version"], folder, facts["identity"])
        except (OSError, ValueError, KeyError):
            continue
    return out


def folder(root: Path, task: str, version: str) -> Path | None:
    """The bundle of a version of a task, the newest where a number was given twice; None where it is not kept."""
    kept = [path for path in (root / task / "versions").glob("*") if path.name.rpartition("-")[0] == version]
    return max(kept, key=lambda path: path.stat().st_mtime, default=None)


def publish(root: Path, task: str, version: str, bundle: Path, identity: str) -> Published:
    """Move a checked bundle (same file system) into its place and make it the champion, atomically."""
    versions = root / task / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    name = f"{version}-{bundles.digest(bundle)[:12]}"
    folder = versions / name
    if folder.exists():  # perhaps altered since: the fresh copy takes its place
        folder.rename(root / f".old-{secrets.token_hex(4)}")
    bundle.rename(folder)
    write_atomically(root / task / "champion", {"version": version, "folder": name, "identity": identity})
    os.utime(folder)
    for old in sorted(versions.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        remove(old)
    for old in root.glob(".old-*"):
        remove(old)
    return Published(task, version, folder, identity)


def refused(root: Path) -> dict[str, dict[str, str]]:
    """By task, the version that should be champion but was not let in, and why."""
    found = {path.parent.name: read(path) for path in sorted(root.glob("*/refused.json"))}
    return {task: reasons for task, reasons in found.items() if reasons}


def refuse(root: Path, task: str, reasons: dict[str, str]) -> None:
    """Say which version was not let in and why; nothing when all is well."""
    (root / task).mkdir(parents=True, exist_ok=True)
    if read(root / task / "refused.json") != reasons:
        write_atomically(root / task / "refused.json", dict(reasons))


def read(path: Path) -> dict[str, Any]:
    """A JSON object of the cache; empty when it is absent or cut short."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_atomically(path: Path, document: dict[str, Any]) -> None:
    """Replace a JSON file; a reader sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    temporary.replace(path)


def remove(folder: Path) -> None:
    """Delete a folder and what is in it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    folder.rmdir()
