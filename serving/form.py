"""The clinician's form: a Task becomes a page, and what was typed on it becomes a row."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feature_store.errors import BodyRefused, RowError
from feature_store.field import AnyField, NumberField
from feature_store.task import Task
from serving import decision_fields, panel, reasons, words
from serving.words import Lang

HERE = Path(__file__).parent
STYLESHEET = f"/static/form.css?v={hashlib.sha256((HERE / 'static/form.css').read_bytes()).hexdigest()[:10]}"
"""The address changes with the file, so a browser may keep it forever."""


@dataclass(frozen=True)
class Page:
    """All that one page shows.

    texts: what was typed, by field; answer: one answer of the JSON exchange; errors: of row 0;
    card: `metrics` (mae, rmse, coverage; in target units; of classes accuracy, auc, log_loss, set_coverage) and
    `trained_on` (rows, holdout_rows, synthetic); classes: the encoder's, () for regression;
    others: (name, title) of further tasks; trouble: why there is no answer, in the page's language.
    explanation: of the answer, as /explain gives it; row: what it is of; silence: why there is none, in the language.
    csrf: the token of the session, "" where there is none.
    """

    task: Task
    lang: Lang
    version: str | None = None
    card: dict[str, Any] | None = None
    texts: dict[str, str] = field(default_factory=dict)
    answer: dict[str, Any] | None = None
    errors: list[RowError] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    trouble: str | None = None
    classes: tuple[str, ...] = ()
    explanation: dict[str, Any] | None = None
    row: dict[str, object] = field(default_factory=dict)
    silence: str | None = None
    csrf: str = ""


def language(query: str | None, accept_language: str | None) -> Lang:
    """The page's language: `?lang=`, else the browser's first choice that we speak, else English."""
    wishes = []
    for part in (accept_language or "").split(","):
        tag, _, weight = part.partition(";")
        q = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", weight) if weight else None
        wishes.append((-float(q[1]) if q else -1.0, tag))
    by_weight = [tag for weight, tag in sorted(wishes, key=lambda wish: wish[0]) if weight < 0]
    for tag in [query or "", *by_weight]:
        match tag.strip().lower().replace("_", "-").partition("-")[0]:
            case "zh":
                return "zh"
            case "en":
                return "en"
    return "en"


def read(task: Task, body: bytes) -> dict[str, str]:
    """The texts of a posted form by field of the Task; see `read_fields`."""
    return read_fields(task.by_name, body)


def read_fields(fields: Mapping[str, AnyField], body: bytes) -> dict[str, str]:
    """The texts of a posted form (application/x-www-form-urlencoded, UTF-8) by field, stripped.

    Keys that are none of the fields are dropped; of a key that stands twice the first counts.
    Full-width digits become plain ones, save in categories, whose words must match as they are.
    Raises BodyRefused when the body is not UTF-8 or has far more keys than there are fields.
    """
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=len(fields) + 100
        )
    except ValueError:
        raise BodyRefused(
            "The form could not be read: it is not URL-encoded UTF-8, or has too many fields. Open the form again."
        ) from None
    texts: dict[str, str] = {}
    for name, text in pairs:
        if name in fields and name not in texts:
            free = fields[name].type == "category"
            texts[name] = (text if free else unicodedata.normalize("NFKC", text)).strip()
    return texts


def row(task: Task, texts: dict[str, str]) -> tuple[dict[str, object], list[RowError]]:
    """The row of the Task's fields; see `row_of`."""
    return row_of(task.by_name, texts)


def row_of(fields: Mapping[str, AnyField], texts: dict[str, str]) -> tuple[dict[str, object], list[RowError]]:
    """The row that an application would have sent, and what could not be read. A blank is left out.

    Limits, choices and required fields are not judged here: the row meets the same check as over REST.
    """
    values: dict[str, object] = {}
    errors: list[RowError] = []
    for name, text in texts.items():
        asked = fields[name]
        if not text:
            continue
        if isinstance(asked, NumberField):
            number = _number(text, asked.integer)
            if number is None:
                errors.append(RowError(0, name, "not_a_number", f"{name} is not a number. Send digits such as 38.5."))
            else:
                values[name] = number
        elif asked.type == "flag":
            if text in ("yes", "no"):
                values[name] = text == "yes"
            else:
                errors.append(RowError(0, name, "not_a_flag", f"{name} is not yes or no. Send yes, no or nothing."))
        else:
            values[name] = text
    return values, errors


_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:[.,][0-9]{1,30})?")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
"""3,412 is 3412 to some and 3.412 to others: it is refused."""


def _number(text: str, integer: bool) -> float | int | None:
    """The number of a text, None when it is none. A Chinese keyboard gives 。 for the decimal point."""
    plain = text.replace("。", ".").replace("\u2212", "-")
    if not _NUMBER.fullmatch(plain) or _GROUPED.fullmatch(plain):
        return None
    value = float(plain.replace(",", "."))
    return int(value) if integer and value.is_integer() else value


def render(page: Page) -> str:
    """The page as HTML. It loads its stylesheet from /static/ and nothing else."""
    problems: dict[str, list[str]] = {}
    for error in page.errors:
        problems.setdefault(error.field, []).append(words.explain(page.task, page.lang, error))
    return _PAGES.get_template("form.html").render(
        page=page,
        task=page.task,
        lang=page.lang,
        csrf=page.csrf,
        t=words.chooser(page.lang),
        stylesheet=STYLESHEET,
        sections=_sections(page),
        problems=problems,
        label=lambda name: _label(page, name),
        synthetic=bool(((page.card or {}).get("trained_on") or {}).get("synthetic")),
        facts=panel.facts(page.task, page.lang, page.card or {}),
        events=panel.events(page.task, page.lang, page.answer or {}),
        decision=decision_fields.told(page.task, page.lang, page.answer or {}),
        ranking=panel.ranking(page.task, page.lang, page.answer or {}, page.classes),
        classes=[words.of_class(page.task, page.lang, word) for word in page.classes],
        reasons=reasons.reasons(page.task, page.lang, page.row, page.explanation),
        cautions=_cautions(page),
        missing=_missing(page),
        group=words.group(page.task, page.lang, str((page.answer or {}).get("group") or "")),
    )


def render_page(name: str, lang: Lang, csrf: str = "", **shown: Any) -> str:
    """Another page of ours in one language; `shown` is what its template names, csrf as in Page."""
    return _PAGES.get_template(name).render(lang=lang, csrf=csrf, t=words.chooser(lang), stylesheet=STYLESHEET, **shown)


def _sections(page: Page) -> list[tuple[str, list[AnyField]]]:
    """Title and fields of each section; fields that none names come last."""
    task = page.task
    shown = [(section.title[page.lang], [task.by_name[n] for n in section.fields]) for section in task.form.sections]
    named = {name for section in task.form.sections for name in section.fields}
    if rest := [asked for asked in task.fields if asked.name not in named]:
        other = ("Other", "其他") if shown else ("Findings", "资料")
        shown.append((words.chooser(page.lang)(*other), rest))
    return shown


def _label(page: Page, name: str) -> str:
    asked = page.task.by_name.get(name)
    return asked.label[page.lang] if asked else name


def _missing(page: Page) -> list[tuple[str, str]]:
    """(label, what knowing it would narrow the interval by, such as `60 g`, or "") of each missing field."""
    target, found = page.task.target, []
    for warning in (page.answer or {}).get("warnings", []):
        if warning["code"] == "missing_field":
            cost = warning.get("cost", 0.0) if page.task.kind == "regression" else 0.0
            told = words.amount(cost, target.digits)
            worth = (
                f"{told} {words.unit(target.unit, page.lang)}".strip()
                if cost > 0 and float(cost) >= 0.5 * 10.0**-target.digits
                else ""
            )
            found.append((cost, _label(page, warning["field"]), worth))
    return [(label, worth) for _, label, worth in sorted(found, key=lambda one: -one[0])]


def _cautions(page: Page) -> list[tuple[str, str]]:
    """(label, sentence) of each warning other than a missing field."""
    return [
        (_label(page, warning["field"]), words.caution(page.lang, warning))
        for warning in (page.answer or {}).get("warnings", [])
        if warning["code"] != "missing_field"
    ]


def _pages() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    pages.filters.update(amount=words.amount, plain=words.plain, unit=words.unit)
    return pages


_PAGES = _pages()
