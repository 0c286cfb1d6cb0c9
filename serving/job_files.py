"""Batch jobs as folders: what one is, how far it is and what came of it lies in its own.

    {task}/{id}/job.json     what was asked; written before the folder gets this name
    {task}/{id}/state.json   how far it is; written by the job process alone
    {task}/{id}/input        the file that was sent, and
    {task}/{id}/bundle/      the version that answers it: both until the job has ended
    {task}/{id}/work/        answers that are kept already
    {task}/{id}/result       the file of answers, once it is whole
    .new-*, .gone-*          uploads on their way in, deleted jobs on their way out

A rename makes a job and a rename deletes it, so workers and the job process need no lock between them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feature_store.errors import JobConflict, UnknownJob
from serving import cache
from serving.durable import sync_folder

STALE_S = 3600.0
"""An upload into which nothing was written for so long has lost its worker."""

ENDED = ("done", "failed")
_TASK, _ID = re.compile(r"[a-z][a-z0-9_]{0,62}"), re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Job:
    """What was asked. digest: SHA-256 of the file; created: seconds since 1970, UTC; format: a name of `formats`.

    owner: id of the key that it came with, "" where none was asked for.
    """

    id: str
    task: str
    version: str
    format: str
    bytes: int
    digest: str
    created: float
    owner: str = ""

    def folder(self, root: Path) -> Path:
        """Where it lies."""
        return root / self.task / self.id


@dataclass(frozen=True)
class State:
    """How far a job is. errors: row, field, code and message of the first rows that were refused.

    detail: why it failed; starts: how often it was begun since a chunk of it was kept; times in seconds since 1970.
    """

    state: str = "queued"
    rows_done: int = 0
    rows_total: int | None = None
    rows_refused: int = 0
    seconds_left: float | None = None
    errors: tuple[dict[str, Any], ...] = ()
    detail: str | None = None
    starts: int = 0
    started: float | None = None
    finished: float | None = None


def name(task: str, owner: str, key: str) -> str:
    """The id of a job: drawn, or the same for the same owner and Idempotency-Key; key: "" where none was sent."""
    named = f"{task}\0{owner}\0{key}" if owner else f"{task}\0{key}"  # as they were named before they had owners
    return hashlib.sha256(named.encode()).hexdigest()[:32] if key else secrets.token_hex(16)


def upload(root: Path) -> Path:
    """A folder for a job that is on its way in. Raises OSError when the disk does not take it."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = root / f".new-{secrets.token_hex(8)}"
    folder.mkdir(mode=0o700)
    return folder


def pin(folder: Path, bundle: Path) -> None:
    """Keep the version beside the upload, so that a later promotion changes nothing in the job."""
    try:
        shutil.copytree(bundle, folder / "bundle", copy_function=os.link)
    except OSError:  # another disk, or one without links
        shutil.rmtree(folder / "bundle", ignore_errors=True)
        shutil.copytree(bundle, folder / "bundle")


def place(root: Path, folder: Path, job: Job) -> Job:
    """Make an upload a job, durably; the one that is there already if its key brought the same file before.

    Raises JobConflict when its key brought another.
    """
    cache.write_atomically(folder / "job.json", asdict(job))
    sync_folder(folder)
    (root / job.task).mkdir(exist_ok=True, mode=0o700)
    try:
        folder.rename(job.folder(root))
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        before = find(root, job.task, job.id)
        if (before.digest, before.format) != (job.digest, job.format):
            raise JobConflict(
                "This Idempotency-Key has brought another file. Send a new key with a new file, or the same file again."
            ) from None
        return before
    sync_folder(root / job.task)
    return job


def find(root: Path, task: str, identity: str) -> Job:
    """Raises UnknownJob."""
    if _TASK.fullmatch(task) and _ID.fullmatch(identity):
        facts = cache.read(root / task / identity / "job.json")
        if facts:
            return Job(**facts)
    raise unknown()


def unknown() -> UnknownJob:
    """What is said of a job that is not there, or not for who asks."""
    return UnknownJob("There is no job of that id. It was deleted, its days are over, or it never was; send it again.")


def every(root: Path, task: str = "*") -> list[Job]:
    """All jobs, or those of a task, oldest first."""
    if task != "*" and not _TASK.fullmatch(task):
        return []
    found = (cache.read(path) for path in root.glob(f"{task}/*/job.json"))
    return sorted((Job(**facts) for facts in found if facts), key=lambda job: (job.created, job.id))


def count(root: Path) -> int:
    """Jobs that are kept, and uploads on their way in."""
    return sum(1 for _ in root.glob("*/*/job.json")) + sum(1 for _ in root.glob(".new-*"))


def state(root: Path, job: Job) -> State:
    """How far it is."""
    facts = cache.read(job.folder(root) / "state.json")
    return State(**facts) if facts else State()


def keep(root: Path, job: Job, state: State) -> None:
    """Say how far it is. Raises FileNotFoundError when it was deleted meanwhile."""
    cache.write_atomically(job.folder(root) / "state.json", asdict(state))


def end(root: Path, job: Job, state: State) -> None:
    """Say what came of it and let go of all but its result."""
    keep(root, job, state)
    _let_go(job.folder(root))


def _let_go(folder: Path) -> None:
    (folder / "input").unlink(missing_ok=True)
    for part in ("bundle", "work"):
        shutil.rmtree(folder / part, ignore_errors=True)


def delete(root: Path, job: Job) -> None:
    """Delete it; one that runs stops at its next chunk. Raises UnknownJob when another was faster."""
    gone = root / f".gone-{secrets.token_hex(8)}"
    try:
        job.folder(root).rename(gone)
    except OSError:
        raise UnknownJob("There is no job of that id any more. Nothing is left to delete.") from None
    shutil.rmtree(gone, ignore_errors=True)


def sweep(root: Path, days: float, now: float | None = None) -> None:
    """Delete jobs that ended more than `days` ago, what others have left, and uploads without a worker."""
    now = time.time() if now is None else now
    for job in every(root):
        finished = state(root, job).finished
        if finished is None:
            continue
        _let_go(job.folder(root))  # where the process was killed at the end of a job
        if finished + days * 86_400 < now:
            with suppress(UnknownJob):  # a client was faster
                delete(root, job)
    for gone in root.glob(".gone-*"):
        shutil.rmtree(gone, ignore_errors=True)
    for new in root.glob(".new-*"):
        if all(path.stat().st_mtime + STALE_S < now for path in (new, *new.glob("input"))):
            shutil.rmtree(new, ignore_errors=True)


def document(root: Path, job: Job, days: float) -> dict[str, Any]:
    """The job as plain data, for people and programs."""
    at = state(root, job)
    address = f"/v1/{job.task}/jobs/{job.id}"
    return {
        "id": job.id,
        "task": job.task,
        "version": job.version,
        "state": at.state,
        "format": job.format,
        "bytes": job.bytes,
        "rows_done": at.rows_done,
        "rows_total": at.rows_total,
        "rows_refused": at.rows_refused,
        "seconds_left": at.seconds_left,
        "errors": list(at.errors),
        "detail": at.detail,
        "created_at_utc": _utc(job.created),
        "started_at_utc": _utc(at.started),
        "finished_at_utc": _utc(at.finished),
        "deleted_at_utc": _utc(at.finished, timedelta(days=days)),
        "links": {"self": address, "result": f"{address}/result" if at.state == "done" else None},
    }


def _utc(seconds: float | None, later: timedelta = timedelta()) -> str | None:
    return None if seconds is None else (datetime.fromtimestamp(seconds, UTC) + later).isoformat(timespec="seconds")
