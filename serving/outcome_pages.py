"""The page where a clinician types what came true of an answer: by its number, without JavaScript."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from feature_store.errors import JournalFull, RowError
from feature_store.field import AnyField, CategoryField, Text
from feature_store.task import Task
from serving import auth, form, outcomes, panel, recall, words
from serving.api import answering
from serving.pages import form_body, page_language
from serving.predictor import Predictor
from serving.recall import Answered
from serving.words import Lang

_ID = CategoryField(
    type="category", name="prediction_id", required=True, label=Text(en="Answer no.", zh="结果编号"),
    help=Text(en="It stands below the answer, on the page and in print.", zh="见结果下方，页面和打印件上均有。"),
)  # fmt: skip

_NOT_KEPT = {
    "en": "It could not be kept in the journal. Please send it again later; sent twice it is stored once.",
    "zh": "未能写入记录。请稍后重新提交；重复提交只保存一次。",
}


async def empty(incoming: Request) -> Response:
    """The page, with the answer that its address names."""
    here = answering(incoming)
    predictor = here.champions.get(incoming.path_params["task"])
    named = incoming.path_params.get("prediction_id", "")
    if not named:
        return _page(incoming, predictor, {})
    found = await asyncio.to_thread(recall.find, here.journal.place, predictor.task.task, named)
    errors = [] if found else [RowError(0, _ID.name, "unknown_prediction", "")]
    return _page(incoming, predictor, {_ID.name: named[: outcomes.MAX_ID]}, errors=errors, found=found)


async def typed(incoming: Request) -> Response:
    """What was typed, kept in the journal before the page says so; or what is wrong with it."""
    here = answering(incoming)
    predictor = here.champions.get(incoming.path_params["task"])
    task = predictor.task
    target = outcomes.asked(task, predictor.bundle.encoder.classes)
    fields: dict[str, AnyField] = {_ID.name: _ID, target.name: target}
    texts = form.read_fields(fields, await form_body(incoming))
    row, errors = form.row_of(fields, texts)
    unread = {error.field for error in errors}
    errors += [RowError(0, name, "required", "") for name in fields if name not in row and name not in unread]
    if errors:
        return _page(incoming, predictor, texts, errors=errors)
    item = {"prediction_id": row[_ID.name], "value": row[target.name]}
    try:
        found = await asyncio.to_thread(recall.find, here.journal.place, task.task, str(item["prediction_id"]))
        if found is None:
            return _page(incoming, predictor, texts, errors=[RowError(0, _ID.name, "unknown_prediction", "")])
        (result,) = await here.keep_outcomes(predictor, [item])
    except JournalFull:
        return _page(incoming, predictor, texts, trouble=_NOT_KEPT[page_language(incoming)])
    if result.code is not None:
        errors = [RowError(0, target.name, result.code, result.message or "")]
        return _page(incoming, predictor, texts, errors=errors, found=found)
    return _page(incoming, predictor, texts, found=found, status=result.status, value=item["value"])


def _page(
    incoming: Request, predictor: Predictor, texts: dict[str, str], *, errors: list[RowError] | None = None,
    found: Answered | None = None, trouble: str = "", status: str = "", value: Any = None,
) -> Response:  # fmt: skip
    """found: the answer that is named; status, value: what was kept, and how."""
    lang, task = page_language(incoming), predictor.task
    fields = (_ID, outcomes.asked(task, predictor.bundle.encoder.classes))
    problems: dict[str, list[str]] = {}
    for error in errors or []:
        asked = next(one for one in fields if one.name == error.field)
        problems.setdefault(error.field, []).append(words.explain_of(asked, lang, error))
    shown = form.render_page(
        "outcome.html",
        lang,
        auth.caller(incoming.scope).csrf,
        task=task,
        fields=fields,
        page={"texts": texts},
        problems=problems,
        trouble=trouble,
        status=status,
        kept=_in_words(task, lang, value),
        before=_in_words(task, lang, found.outcome if found else None),
        estimate=panel.estimate(task, lang, found.answer) if found else "",
        number=texts.get(_ID.name, ""),
    )
    return HTMLResponse(shown, 507 if trouble else _status(errors or []))


def _status(errors: list[RowError]) -> int:
    if not errors:
        return 200
    return 404 if errors[0].code == "unknown_prediction" else 422


def _in_words(task: Task, lang: Lang, value: Any) -> str:
    """What came true as people read it: with its unit, or by the class's label; "" for nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        return words.of_class(task, lang, value)
    return f"{words.plain(value)} {words.unit(task.target.unit, lang)}".strip()


ROUTES = [
    Route("/form/{task}/outcome", empty, methods=["GET"]),
    Route("/form/{task}/outcome", typed, methods=["POST"]),
    Route("/form/{task}/outcome/{prediction_id}", empty, methods=["GET"]),
    Route("/form/{task}/outcome/{prediction_id}", typed, methods=["POST"]),
]
