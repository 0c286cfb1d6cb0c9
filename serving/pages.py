"""The pages that people open: the list of tasks, the form of each, and the description of the interface."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from feature_store.errors import BodyRefused, JournalFull, NotExplained, RowError
from serving import auth, form, schema
from serving.api import answering, shown
from serving.form import Page
from serving.predictor import Predictor
from serving.problems import Busy, NotReady
from serving.request import check
from serving.words import Lang

_NOT_KEPT = {
    "en": "The answer could not be kept in the journal, so it is not shown. Please try again later.",
    "zh": "结果未能写入记录，因此不予显示。请稍后再试。",
}


_NOT_EXPLAINED = {
    "en": "The reasons are not shown, for too much else is being explained now. Estimate again to see them.",
    "zh": "当前需要解释的结果过多，暂不显示影响因素。请稍后重新估计。",
}
EXPLAINED_WITHIN_S = 5.0


async def empty_form(incoming: Request) -> Response:
    """The form, empty."""
    predictor = answering(incoming).champions.get(incoming.path_params["task"])
    return _page(incoming, predictor)


async def answered_form(incoming: Request) -> Response:
    """The form with what was typed and its answer, or what is wrong with it. Works without JavaScript."""
    here = answering(incoming)
    published, predictor = here.champions.served(incoming.path_params["task"])
    texts = form.read(predictor.task, await form_body(incoming))
    row, unread = form.row(predictor.task, texts)
    errors = _all_errors(predictor, row, unread)
    if errors:
        return _page(incoming, predictor, texts=texts, errors=errors, status=422)
    try:
        answers = await here.answer(predictor, [row])
    except JournalFull:
        return _page(incoming, predictor, texts=texts, trouble=_NOT_KEPT[page_language(incoming)], status=507)
    told: dict[str, Any] = {"texts": texts, "answer": answers[0], "row": row}
    try:
        explained = await asyncio.wait_for(here.explaining.explain(published, [row]), EXPLAINED_WITHIN_S)
    except NotExplained:
        return _page(incoming, predictor, **told)
    except (Busy, NotReady, TimeoutError):  # the answer does not wait for its reasons
        return _page(incoming, predictor, **told, silence=_NOT_EXPLAINED[page_language(incoming)])
    return _page(incoming, predictor, **told, explanation=explained[0])


async def index(incoming: Request) -> Response:
    """Every task with its form."""
    tasks, caller = [(p.task, p.version) for p in shown(incoming)], auth.caller(incoming.scope)
    return HTMLResponse(form.render_page("index.html", page_language(incoming), caller.csrf, tasks=tasks))


async def docs(incoming: Request) -> Response:
    """The interface as a page: each task's fields, an example, and the OpenAPI document's address."""
    caller = auth.caller(incoming.scope)
    tasks = [
        {
            "task": predictor.task,
            "version": predictor.version,
            "rows": [(field, schema.field_schema(field)) for field in predictor.task.fields],
            "example": json.dumps(schema.example(predictor), ensure_ascii=False).replace("'", "'\\''"),
        }
        for predictor in shown(incoming)
    ]
    base = str(incoming.base_url).rstrip("/")
    facts = {"tasks": tasks, "base": base, "keyed": bool(caller.id)}
    return HTMLResponse(form.render_page("docs.html", page_language(incoming), caller.csrf, **facts))


async def form_body(incoming: Request) -> bytes:
    """The body of a posted form. Raises BodyRefused when it is none, and TooLarge."""
    kind = incoming.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BodyRefused("The form sends application/x-www-form-urlencoded. Applications send JSON to /v1/{task}.")
    return await answering(incoming).body(incoming)


def page_language(incoming: Request) -> Lang:
    """The language that a page is asked for in."""
    return form.language(incoming.query_params.get("lang"), incoming.headers.get("accept-language"))


def _all_errors(predictor: Predictor, row: dict[str, Any], unread: list[RowError]) -> list[RowError]:
    """What could not be read, and what breaks the Task's limits, in the order of the form."""
    named = {error.field for error in unread}
    found = unread + [error for error in check(predictor.task, [row]) if error.field not in named]
    order = {field.name: position for position, field in enumerate(predictor.task.fields)}
    return sorted(found, key=lambda error: order.get(error.field, len(order)))


def _page(incoming: Request, predictor: Predictor, status: int = 200, **told: Any) -> Response:
    lang = page_language(incoming)
    others = [
        (other.task.task, other.task.title[lang]) for other in shown(incoming) if other.task.task != predictor.task.task
    ]
    bundle = predictor.bundle
    classes = bundle.encoder.classes
    csrf = auth.caller(incoming.scope).csrf
    page = Page(predictor.task, lang, predictor.version, bundle.card, others=others, classes=classes, csrf=csrf, **told)
    return HTMLResponse(form.render(page), status)


ROUTES = [
    Route("/", index),
    Route("/docs", docs),
    Route("/form/{task}", empty_form, methods=["GET"]),
    Route("/form/{task}", answered_form, methods=["POST"]),
]
