"""The cache: the one folder between the fetcher, who fills it, and the workers, who only read it.

    {task}/versions/{version}-{digest}/   bundles that were checked and reproduced their golden rows
    {task}/champion                       JSON naming the one that answers; replaced atomically
    {task}/challenger                     the same of the one that answers in the shadow
    {task}/kept.json                      what the registry called each of the bundles
    {task}/refused.json                   versions that should be one of them but were not let in, and why
    registry.json                         whether the registry answered when last asked, and when that was

A server that starts without a registry serves what lies here.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import bundle as bundles

CHAMPION, CHALLENGER = "champion", "challenger"
"""The registry's aliases that are followed, and the pointers here."""

SILENT_S = 150.0
"""A registry that was not looked at for so long counts as unreachable: the fetcher looks every minute or more often."""


@dataclass(frozen=True)
class Published:
    """A version that answers for a task.

    identity: what the registry called it when it was fetched; flip: a new one each time that it is published.
    """

    task: str
    version: str
    folder: Path
    identity: str
    flip: str = ""


def published(root: Path, alias: str = CHAMPION) -> dict[str, Published]:
    """The champion (or the challenger) of every task in the cache."""
    out = {}
    for pointer in sorted(root.glob(f"*/{alias}")):
        facts, task = read(pointer), pointer.parent.name
        try:
            folder = pointer.parent / "versions" / facts["folder"]
            out[task] = Published(task, facts["version"], folder, facts["identity"], facts.get("flip", ""))
        except (KeyError, TypeError):
            continue
    return out


def folder(root: Path, task: str, version: str) -> Path | None:
    """The bundle of a version of a task, the newest where a number was given twice; None where it is not kept."""
    kept = [path for path in (root / task / "versions").glob("*") if path.name.rpartition("-")[0] == version]
    return max(kept, key=lambda path: path.stat().st_mtime, default=None)


def kept(root: Path, task: str, identity: str) -> Path | None:
    """The bundle here of what the registry calls so, or None; it may have been damaged since."""
    names = [name for name, known in read(root / task / "kept.json").items() if known == identity]
    folders = [root / task / "versions" / name for name in names]
    return next((folder for folder in folders if folder.is_dir()), None)


def publish(root: Path, task: str, version: str, bundle: Path, identity: str, alias: str = CHAMPION) -> Published:
    """Move a checked bundle (same file system) into its place and make it the champion (or the challenger)."""
    versions = root / task / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    folder = versions / f"{version}-{bundles.digest(bundle)[:12]}"
    if folder.exists():  # perhaps altered since: the fresh copy takes its place
        folder.rename(root / f".old-{secrets.token_hex(4)}")
    bundle.rename(folder)
    os.utime(folder)
    write_atomically(root / task / "kept.json", {**read(root / task / "kept.json"), folder.name: identity})
    return point(root, task, version, folder, identity, alias)


def point(root: Path, task: str, version: str, folder: Path, identity: str, alias: str = CHAMPION) -> Published:
    """Make a bundle that is here the champion (or the challenger), atomically; those that none needs go."""
    place = root / task / alias
    before = read(place)
    previous = before.get("previous") if before.get("folder") == folder.name else before.get("folder")
    facts = {"version": version, "folder": folder.name, "identity": identity, "flip": secrets.token_hex(8)}
    write_atomically(place, {**facts, "previous": previous if alias == CHAMPION else None})
    prune(root, task)
    return Published(task, version, folder, identity, facts["flip"])


def withdraw(root: Path, task: str, alias: str) -> bool:
    """Nothing answers under that alias any more; whether something did."""
    if not (root / task / alias).exists():
        return False
    (root / task / alias).unlink()
    prune(root, task)
    return True


def prune(root: Path, task: str) -> None:
    """Delete bundles other than the champion's, the one before it (a rollback needs no registry's copy) and the
    challenger's; and what a fetcher that was killed left behind."""
    champion, challenger = (read(root / task / alias) for alias in (CHAMPION, CHALLENGER))
    needed = {champion.get("folder"), champion.get("previous"), challenger.get("folder")}
    for old in (root / task / "versions").glob("*"):
        if old.name not in needed:
            shutil.rmtree(old, ignore_errors=True)
    names = read(root / task / "kept.json")
    if left := {name: known for name, known in names.items() if name not in needed}:
        write_atomically(root / task / "kept.json", {n: known for n, known in names.items() if n not in left})
    sweep(root)


def sweep(root: Path) -> None:
    """Delete bundles that were replaced, and copies and pointers that were begun over an hour ago and never ended."""
    for old in root.glob(".old-*"):
        shutil.rmtree(old, ignore_errors=True)
    for begun in (*root.glob(".fetch-*"), *root.glob(".*.*"), *root.glob("*/.*.*")):
        try:
            stale = begun.stat().st_mtime < time.time() - 3600
        except OSError:  # it has ended meanwhile
            continue
        if stale:
            shutil.rmtree(begun, ignore_errors=True) if begun.is_dir() else begun.unlink(missing_ok=True)


def seal(folder: Path) -> frozenset[tuple[str, int, int]]:
    """Names, sizes and times of a bundle's files: while they are the same, nobody has written to it."""
    found = [(path, path.stat(follow_symlinks=False)) for path in folder.rglob("*")]
    return frozenset((path.relative_to(folder).as_posix(), at.st_size, at.st_mtime_ns) for path, at in found)


def refused(root: Path) -> dict[str, dict[str, str]]:
    """By task, versions that should be champion or challenger but were not let in, and why."""
    found = {path.parent.name: read(path) for path in sorted(root.glob("*/refused.json"))}
    return {task: reasons for task, reasons in found.items() if reasons}


def refuse(root: Path, task: str, reasons: dict[str, str]) -> None:
    """Say which versions were not let in and why; nothing when all is well."""
    if read(root / task / "refused.json") != reasons:
        (root / task).mkdir(parents=True, exist_ok=True)
        write_atomically(root / task / "refused.json", dict(reasons))


def looked(root: Path, reachable: bool, error: str) -> None:
    """Note that the registry was asked just now."""
    write_atomically(root / "registry.json", {"reachable": reachable, "error": error, "at": time.time()})


def registry(root: Path) -> dict[str, Any]:
    """`reachable` (None: never asked), `error` and `asked_s_ago`; an answer older than SILENT_S is none."""
    found = read(root / "registry.json")
    at = found.get("at")
    ago = max(0.0, time.time() - at) if isinstance(at, float) else None
    told = {"reachable": found.get("reachable"), "error": found.get("error", ""), "asked_s_ago": ago and round(ago, 1)}
    if ago is not None and ago > SILENT_S:
        told |= {"reachable": False, "error": "the fetcher is silent"}
    return told


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
