"""The routes of batch jobs: a file is streamed to disk and answered by the job process."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from feature_store.errors import BodyRefused, FormatRefused, JobConflict, JobNotKept, TooLarge, UnknownJob
from feature_store.settings import Settings
from serving import auth, formats, job_files, noted
from serving.api import answering
from serving.job_files import ENDED, Job
from serving.problems import Busy

PIECE_BYTES = 1 << 20
"""Of an upload that are gathered before they are written."""


def settings(incoming: Request) -> Settings:
    """The worker's own."""
    found: Settings = incoming.app.state.settings
    return found


async def create(incoming: Request) -> Response:
    """Take a file of rows: 202 when it is on disk."""
    mine = settings(incoming)
    published, predictor = answering(incoming).champions.served(incoming.path_params["task"])
    form = formats.of_media_type(incoming.headers.get("content-type", ""))
    if incoming.headers.get("content-encoding", "identity").lower() != "identity":
        raise FormatRefused("The body is compressed. Send it as it is, without Content-Encoding.")
    announced = incoming.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > mine.max_job_bytes:
        raise _too_large(mine)
    owner = auth.caller(incoming.scope).id
    key = job_files.name(predictor.task.task, owner, incoming.headers.get("idempotency-key", ""))
    await asyncio.to_thread(_room, mine, predictor.task.task, key)
    folder = None
    try:
        folder = await asyncio.to_thread(job_files.upload, mine.jobs)
        size, digest = await _stream(incoming, folder / "input", mine)
        await asyncio.to_thread(job_files.pin, folder, published.folder)
        task, version = predictor.task.task, predictor.version
        asked = Job(key, task, version, form.name, size, digest, time.time(), owner)
        job = await asyncio.to_thread(job_files.place, mine.jobs, folder, asked)
    except OSError as error:
        raise JobNotKept(f"The file could not be kept ({error.strerror}). Send it again later.") from None
    except ClientDisconnect:
        raise BodyRefused("The upload ended before the file did. Send it again.") from None
    finally:
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    document = await asyncio.to_thread(job_files.document, mine.jobs, job, mine.job_days)
    return _answer(document, 202, {"Location": document["links"]["self"]})


async def get(incoming: Request) -> Response:
    """How far a job is."""
    mine = settings(incoming)
    job = await _found(incoming)
    return _answer(await asyncio.to_thread(job_files.document, mine.jobs, job, mine.job_days))


async def every(incoming: Request) -> Response:
    """The caller's jobs of a task, newest first, without their errors."""
    mine, task, caller = settings(incoming), incoming.path_params["task"], auth.caller(incoming.scope)

    def listed() -> list[dict[str, Any]]:
        jobs = [job for job in reversed(job_files.every(mine.jobs, task)) if caller.owns(job.owner)]
        return [{**job_files.document(mine.jobs, job, mine.job_days), "errors": []} for job in jobs]

    jobs = await asyncio.to_thread(listed)
    if not jobs:
        answering(incoming).champions.get(task)  # no such task, or none of its jobs
    return _answer({"task": task, "jobs": jobs})


async def result(incoming: Request) -> Response:
    """The file of answers, once the job is done."""
    mine = settings(incoming)
    job = await _found(incoming)
    state = await asyncio.to_thread(job_files.state, mine.jobs, job)
    if state.state == "failed":
        raise JobConflict(f"The job has failed, so there is no result. {state.detail}")
    if state.state != "done":
        raise JobConflict(f"The job is {state.state}. Ask for its result when its state is done.")
    form = formats.BY_NAME[job.format]
    name = f"{job.task}-{job.id}{form.suffixes[0]}"
    path = job.folder(mine.jobs) / "result"
    if not await asyncio.to_thread(path.is_file):
        raise UnknownJob("The job was deleted just now, and its result with it.")
    return FileResponse(path, media_type=form.media_type, filename=name)


async def delete(incoming: Request) -> Response:
    """Cancel a job that has not ended, and delete it with its file and result."""
    mine = settings(incoming)
    job = await _found(incoming)
    document = await asyncio.to_thread(job_files.document, mine.jobs, job, mine.job_days)
    await asyncio.to_thread(job_files.delete, mine.jobs, job)
    state = document["state"] if document["state"] in ENDED else "cancelled"
    return _answer({**document, "state": state, "seconds_left": None, "links": {"self": None, "result": None}})


async def _stream(incoming: Request, path: Path, mine: Settings) -> tuple[int, str]:
    """Bytes and SHA-256 of the body, which is on disk when this returns; no more than a piece of it is in memory."""
    total, size, piece = hashlib.sha256(), 0, bytearray()
    with path.open("xb", buffering=0) as file:

        def write(taken: bytes) -> None:
            total.update(taken)
            file.write(taken)

        async for chunk in incoming.stream():
            size += len(chunk)
            if size > mine.max_job_bytes:
                raise _too_large(mine)
            piece += chunk
            if len(piece) >= PIECE_BYTES:
                await asyncio.to_thread(write, bytes(piece))
                piece.clear()
        await asyncio.to_thread(write, bytes(piece))
        await asyncio.to_thread(os.fsync, file.fileno())
    if not size:
        raise BodyRefused("The body is empty. Send a file with a header or a row in it.")
    return size, total.hexdigest()


def _room(mine: Settings, task: str, identity: str) -> None:
    """Raises Busy when no further job may come; one whose key was here before is none."""
    if job_files.count(mine.jobs) >= mine.max_jobs:
        with suppress(UnknownJob):
            job_files.find(mine.jobs, task, identity)
            return
        raise Busy(
            f"{mine.max_jobs} jobs are kept here, as many as may be. Delete those that you need no more, or wait: "
            f"they are deleted {mine.job_days:g} days after their end."
        )


async def _found(incoming: Request) -> Job:
    """The job that is asked for. One of another key is none: Raises UnknownJob."""
    task, identity = incoming.path_params["task"], incoming.path_params["id"]
    job = await asyncio.to_thread(job_files.find, settings(incoming).jobs, task, identity)
    if not auth.caller(incoming.scope).owns(job.owner):
        raise job_files.unknown()
    noted.answered_by(job.task, job.version)
    return job


def _too_large(mine: Settings) -> TooLarge:
    return TooLarge(f"The file is larger than {mine.max_job_bytes} bytes. Cut it and send its parts.")


def _answer(document: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, headers, "application/json")


ROUTES = [
    Route("/v1/{task}/jobs", create, methods=["POST"]),
    Route("/v1/{task}/jobs", every),
    Route("/v1/{task}/jobs/{id}", get),
    Route("/v1/{task}/jobs/{id}", delete, methods=["DELETE"]),
    Route("/v1/{task}/jobs/{id}/result", result),
]
