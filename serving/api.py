"""The REST interface: thin doors over champions, predictor and journal."""

from __future__ import annotations

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
from serving import exposition, outcomes, problems, request, schema
from serving.champions import Champions
from serving.explaining import Explaining
from serving.journal import Entry, Journal
from serving.metrics import Metrics
from serving.predictor import Predictor
from serving.problems import WrongMediaType


class Answering:
    """What answers: champions, the journal, the explaining thread, and the largest body. One a worker, on
    `app.state.answering`."""

    def __init__(self, champions: Champions, journal: Journal, max_body_bytes: int) -> None:
        self.champions, self.journal, self._max_body_bytes = champions, journal, max_body_bytes
        self.explaining = Explaining()
        self.metrics = Metrics(journal.path)

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

    def close(self) -> None:
        """Write what the journal has waiting, and stop explaining."""
        self.explaining.close()
        self.journal.close()

    async def answer(self, predictor: Predictor, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers with their `prediction_id`s, already in the journal. rows: validated."""
        answered = predictor.answer(rows, self.champions.level(predictor))
        answers = [{"prediction_id": uuid.uuid4().hex, **answer} for answer in answered]
        task, version = predictor.task.task, predictor.version
        await self.journal.keep(
            [
                Entry(answer["prediction_id"], task, version, _json(row).decode(), _json(answer).decode())
                for row, answer in zip(rows, answers, strict=True)
            ]
        )
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


async def predict(incoming: Request) -> Response:
    """Answer 1 to 1000 rows; with `explain`, 1 to 50."""
    here = answering(incoming)
    published, predictor = here.champions.served(incoming.path_params["task"])
    asked = request.read(predictor.task, await _json_body(incoming))
    reasons = await here.explaining.explain(published, asked.rows) if asked.explain else []
    answers = await here.answer(predictor, asked.rows)
    for answer, explanation in zip(answers, reasons, strict=False):
        answer["explanation"] = explanation
    return _answer({"task": predictor.task.task, "version": predictor.version, "answers": answers})


async def explain(incoming: Request) -> Response:
    """What each field adds to the answers of 1 to 50 rows. Nothing is journaled: no answer is given."""
    here = answering(incoming)
    published, predictor = here.champions.served(incoming.path_params["task"])
    asked = request.read(predictor.task, await _json_body(incoming), explain=True)
    answers = await here.explaining.explain(published, asked.rows)
    return _answer({"task": predictor.task.task, "version": predictor.version, "answers": answers})


async def keep_outcomes(incoming: Request) -> Response:
    """Keep what came true of 1 to 1000 answers: 200, or 207 when an item of them was refused."""
    here = answering(incoming)
    predictor = here.champions.get(incoming.path_params["task"])
    items = request.listed(await _json_body(incoming), "outcomes")
    results = await here.keep_outcomes(predictor, items)
    told = [{**asdict(result), "http_status": problems.item_status(result.code)} for result in results]
    counted = outcomes.counts(results)
    return _answer({"task": predictor.task.task, **counted, "results": told}, 207 if counted["refused"] else 200)


async def _json_body(incoming: Request) -> bytes:
    kind = incoming.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise WrongMediaType("The body is not said to be JSON. Send the header Content-Type: application/json.")
    return await answering(incoming).body(incoming)


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
        for predictor in answering(incoming).champions.all()
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
    """200 when a version is loaded that reproduced its golden rows bit for bit, else 503."""
    state = answering(incoming).champions.state()
    return _answer(state, 200 if state["ready"] else 503)


async def metrics(incoming: Request) -> Response:
    """What is watched, in Prometheus's text format; at most a minute old."""
    here = answering(incoming)
    return Response(await here.metrics.text(here.champions.all()), media_type=exposition.MEDIA_TYPE)


async def openapi(incoming: Request) -> Response:
    """The OpenAPI document of what answers now."""
    return _answer(schema.openapi(answering(incoming).champions.all(), metadata.version("gancao")))


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
