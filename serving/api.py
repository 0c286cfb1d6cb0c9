"""The REST interface: thin doors over champions, predictor and journal."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feature_store.errors import TooLarge
from serving import auth, exposition, job_metrics, outcomes, problems, request, schema
from serving.champions import Champions
from serving.explaining import Explaining
from serving.journal import Entry, Journal
from serving.metrics import Metrics
from serving.predictor import Predictor
from serving.problems import WrongMediaType
from serving.shadow import Shadow


class Answering:
    """What answers: champions, the journal, the shadow and the explaining thread, and the largest body. One a worker,
    on `app.state.answering`."""

    def __init__(self, champions: Champions, journal: Journal, shadow: Shadow, max_body_bytes: int) -> None:
        self.champions, self.journal, self._max_body_bytes = champions, journal, max_body_bytes
        self.shadow, self.explaining = shadow, Explaining()
        self.metrics = Metrics(journal.place)

    async def body(self, incoming: Request) -> bytes:
        """The body, counted while it arrives. Raises TooLarge."""
        chunks, size = [], 0
        announced = incoming.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self._max_body_bytes:
            raise self._too_large()
        async for chunk in incoming.stream():
            size += len(chunk)
            if size > self._max_body_bytes:
                raise self._too_large()
            chunks.append(chunk)
        return b"".join(chunks)

    async def json_body(self, incoming: Request) -> bytes:
        """The body, which must be said to be JSON if its kind is said. Raises WrongMediaType or TooLarge."""
        kind = incoming.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise WrongMediaType("The body is not said to be JSON. Send the header Content-Type: application/json.")
        return await self.body(incoming)

    def close(self) -> None:
        """Write what the journal has waiting, and stop explaining."""
        self.explaining.close()
        self.shadow.close()
        self.journal.close()

    def decode(self, predictor: Predictor, body: bytes, explain: bool = False) -> request.Asked:
        """What a body asks for (`Reader.read`)."""
        return predictor.reader.read(body, explain)

    def predict(self, predictor: Predictor, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers at the level of today. rows: validated."""
        return predictor.answer(rows, self.champions.level(predictor))

    async def answer(self, predictor: Predictor, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers with their `prediction_id`s, already in the journal unless the Task is async. rows: validated."""
        answered = self.predict(predictor, rows)
        answers = [{"prediction_id": uuid.uuid4().hex, **answer} for answer in answered]
        task, version = predictor.task.task, predictor.version
        entries = [
            Entry(answer["prediction_id"], task, version, _json(row).decode(), _json(answer).decode())
            for row, answer in zip(rows, answers, strict=True)
        ]
        if predictor.task.journal == "async":
            self.journal.keep_later(task, entries)
        else:
            await self.journal.keep(entries)
        self.shadow.offer(predictor, rows, answers)
        return answers

    async def keep_outcomes(self, predictor: Predictor, items: Sequence[Any]) -> list[outcomes.Result]:
        """What became of each outcome, durable. items: as they were sent."""
        return await outcomes.keep(self.journal, predictor.task, predictor.bundle.encoder.classes, items)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than {self._max_body_bytes} bytes. Send fewer rows at once.")


def answering(incoming: Request) -> Answering:
    """The worker's own."""
    found: Answering = incoming.app.state.answering
    return found


def shown(incoming: Request) -> list[Predictor]:
    """The champions of the tasks that the caller may know of."""
    caller = auth.caller(incoming.scope)
    return [found for found in answering(incoming).champions.all() if caller.sees(found.task.task)]


async def predict(incoming: Request) -> Response:
    """Answer 1 to 1000 rows; with `explain`, 1 to 50. Most requests are answered before, by `serving/short_way.py`."""
    content = await predicted(answering(incoming), incoming.path_params["task"], incoming)
    return Response(content, media_type="application/json")


async def predicted(here: Answering, task: str, incoming: Request) -> bytes:
    """The document of answers to the rows of a body. Raises what the predict route turns into problems."""
    published, predictor = here.champions.served(task)
    asked = here.decode(predictor, await here.json_body(incoming))
    reasons = await here.explaining.explain(published, asked.rows) if asked.explain else []
    answers = await here.answer(predictor, asked.rows)
    for answer, explanation in zip(answers, reasons, strict=False):
        answer["explanation"] = explanation
    return _json({"task": predictor.task.task, "version": predictor.version, "answers": answers})


async def explain(incoming: Request) -> Response:
    """What each field adds to the answers of 1 to 50 rows. Nothing is journaled: no answer is given."""
    here = answering(incoming)
    published, predictor = here.champions.served(incoming.path_params["task"])
    asked = here.decode(predictor, await here.json_body(incoming), explain=True)
    answers = await here.explaining.explain(published, asked.rows)
    return _answer({"task": predictor.task.task, "version": predictor.version, "answers": answers})


async def keep_outcomes(incoming: Request) -> Response:
    """Keep what came true of 1 to 1000 answers: 200, or 207 when an item of them was refused."""
    here = answering(incoming)
    predictor = here.champions.get(incoming.path_params["task"])
    items = request.listed(await here.json_body(incoming), "outcomes")
    results = await here.keep_outcomes(predictor, items)
    told = [{**asdict(result), "http_status": problems.item_status(result.code)} for result in results]
    counted = outcomes.counts(results)
    return _answer({"task": predictor.task.task, **counted, "results": told}, 207 if counted["refused"] else 200)


async def list_tasks(incoming: Request) -> Response:
    """Every task with the version that answers."""
    tasks = [
        {
            "task": predictor.task.task,
            "version": predictor.version,
            "title": predictor.task.title.model_dump(),
            "links": {
                "task": f"/v1/{predictor.task.task}",
                "predict": f"/v1/{predictor.task.task}/predict",
                "explain": f"/v1/{predictor.task.task}/explain",
                "outcomes": f"/v1/{predictor.task.task}/outcomes",
                "jobs": f"/v1/{predictor.task.task}/jobs",
                "form": f"/form/{predictor.task.task}",
            },
        }
        for predictor in shown(incoming)
    ]
    return _answer({"tasks": tasks})


async def get_task(incoming: Request) -> Response:
    """The Task with its fields, and what is known of the version that answers."""
    predictor = answering(incoming).champions.get(incoming.path_params["task"])
    card = predictor.bundle.card
    return _answer(
        {
            "task": predictor.task.model_dump(mode="json"),
            "version": predictor.version,
            **{key: card.get(key) for key in ("metrics", "baselines", "groups", "verdict", "members", "trained_on")},
        }
    )


async def livez(incoming: Request) -> Response:
    """The process answers."""
    return _answer({"alive": True})


async def readyz(incoming: Request) -> Response:
    """200 when a version is loaded that reproduced its golden rows bit for bit, else 503. Who may read sees which."""
    state = answering(incoming).champions.state()
    told = state if auth.caller(incoming.scope).may("read") else {"ready": state["ready"]}
    return _answer(told, 200 if state["ready"] else 503)


async def metrics(incoming: Request) -> Response:
    """What is watched, in Prometheus's text format: of answers at most a minute old, of all else as it is now."""
    here, state = answering(incoming), incoming.app.state
    watched = await here.metrics.text(here.champions.all())
    jobs = await asyncio.to_thread(job_metrics.families, state.settings.jobs)
    now = [*await asyncio.to_thread(here.champions.metrics), *jobs, *state.meter.families()]
    return Response(watched + exposition.text(now), media_type=exposition.MEDIA_TYPE)


async def openapi(incoming: Request) -> Response:
    """The OpenAPI document of what answers now."""
    caller, views = auth.caller(incoming.scope), incoming.app.state.features.all
    listed = await asyncio.to_thread(views) if not caller.tasks else []
    return _answer(schema.openapi(shown(incoming), metadata.version("gancao"), listed))


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _answer(value: Any, status: int = 200) -> Response:
    return Response(_json(value), status, media_type="application/json")


ROUTES = [
    Route("/v1/{task}/predict", predict, methods=["POST"]),
    Route("/v1/{task}/explain", explain, methods=["POST"]),
    Route("/v1/{task}/outcomes", keep_outcomes, methods=["POST"]),
    Route("/v1", list_tasks),
    Route("/v1/{task}", get_task),
    Route("/livez", livez),
    Route("/readyz", readyz),
    Route("/metrics", metrics),
    Route("/openapi.json", openapi),
]
