"""The clinician's form: a Task becomes a page, and what was typed on it becomes a row."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feature_store.errors import BodyRefused, RowError
from feature_store.field import AnyField, CategoryField, DateField, NumberField
from feature_store.task import Event, Task

Lang = Literal["en", "zh"]

HERE = Path(__file__).parent
STYLESHEET = f"/static/form.css?v={hashlib.sha256((HERE / 'static/form.css').read_bytes()).hexdigest()[:10]}"
"""The address changes with the file, so a browser may keep it forever."""


@dataclass(frozen=True)
class Page:
    """All that one page shows.

    texts: what was typed, by field; answer: one answer of the JSON exchange; errors: of row 0;
    card: `metrics` (mae, rmse, coverage; in target units) and `trained_on` (rows, holdout_rows, synthetic);
    others: (name, title) of further tasks; trouble: why there is no answer, in the page's language.
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
    """The texts of a posted form (application/x-www-form-urlencoded, UTF-8) by field, stripped.

    Keys that are no field of the Task are dropped; of a key that stands twice the first counts.
    Full-width digits become plain ones, save in categories, whose words must match as they are.
    Raises BodyRefused when the body is not UTF-8 or has far more keys than the Task has fields.
    """
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=len(task.fields) + 100
        )
    except ValueError:
        raise BodyRefused(
            "The form could not be read: it is not URL-encoded UTF-8, or has too many fields. Open the form again."
        ) from None
    texts: dict[str, str] = {}
    for name, text in pairs:
        if name in task.by_name and name not in texts:
            free = task.by_name[name].type == "category"
            texts[name] = (text if free else unicodedata.normalize("NFKC", text)).strip()
    return texts


def row(task: Task, texts: dict[str, str]) -> tuple[dict[str, object], list[RowError]]:
    """The row that an application would have sent, and what could not be read. A blank is left out.

    Limits, choices and required fields are not judged here: the row meets the same check as over REST.
    """
    values: dict[str, object] = {}
    errors: list[RowError] = []
    for name, text in texts.items():
        asked = task.by_name[name]
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
        problems.setdefault(error.field, []).append(_explain(page, error))
    return _PAGES.get_template("form.html").render(
        page=page,
        task=page.task,
        lang=page.lang,
        t=_chooser(page.lang),
        stylesheet=STYLESHEET,
        sections=_sections(page),
        problems=problems,
        label=lambda name: _label(page, name),
        synthetic=bool(((page.card or {}).get("trained_on") or {}).get("synthetic")),
        facts=_facts(page),
        events=_events(page),
        cautions=_cautions(page),
        missing=[_label(page, name) for name, code in _warned(page) if code == "missing_field"],
        group=_group(page),
    )


def render_page(name: str, lang: Lang, **shown: Any) -> str:
    """Another page of ours in one language; `shown` is what its template names."""
    return _PAGES.get_template(name).render(lang=lang, t=_chooser(lang), stylesheet=STYLESHEET, **shown)


def _chooser(lang: Lang) -> Callable[[str, str], str]:
    """`t(en, zh)`: the templates hold both wordings side by side."""
    return lambda en, zh: zh if lang == "zh" else en


def _sections(page: Page) -> list[tuple[str, list[AnyField]]]:
    """Title and fields of each section; fields that none names come last."""
    task = page.task
    shown = [(section.title[page.lang], [task.by_name[n] for n in section.fields]) for section in task.form.sections]
    named = {name for section in task.form.sections for name in section.fields}
    if rest := [asked for asked in task.fields if asked.name not in named]:
        other = ("Other", "其他") if shown else ("Findings", "资料")
        shown.append((_chooser(page.lang)(*other), rest))
    return shown


def _label(page: Page, name: str) -> str:
    asked = page.task.by_name.get(name)
    return asked.label[page.lang] if asked else name


_ERRORS: dict[str, tuple[str, str]] = {
    "missing_field": ("Needed for an answer. Please fill it in.", "此项必填，请填写。"),
    "required": ("Needed for an answer. Please fill it in.", "此项必填，请填写。"),
    "not_a_number": (
        "Not a number that can be read. Type digits, and a point for decimals, as in 38.5.",
        "无法读作数字。请只输入数字，小数用点，如 38.5。",
    ),
    "not_an_integer": ("Not a whole number. Leave out the decimals.", "不是整数。请去掉小数部分。"),
    "not_a_choice": ("Not one of the choices. Choose from: {choices}.", "不在选项之内。可选：{choices}。"),
    "not_a_flag": ("Neither yes nor no. Choose yes, no or unknown.", "请选择“是”“否”或“未知”。"),
    "not_a_date": ("Not a calendar day. Write it as 2024-03-01.", "不是有效日期。请按 2024-03-01 的格式填写。"),
    "below_limit": (
        "Below {low}, the lowest value accepted. Check the value and its unit.",
        "低于可接受的最小值 {low}。请核对数值和单位。",
    ),
    "above_limit": (
        "Above {high}, the highest value accepted. Check the value and its unit.",
        "高于可接受的最大值 {high}。请核对数值和单位。",
    ),
    "below_limit of a date": (
        "Before {low}, the first day accepted. Check the day.",
        "早于可接受的最早日期 {low}。请核对。",
    ),
    "above_limit of a date": (
        "After {high}, the last day accepted. Check the day.",
        "晚于可接受的最晚日期 {high}。请核对。",
    ),
    "wrong_type": ("Not the kind of value that is asked for. Type it again.", "填写的内容类型不符。请重新填写。"),
    "unknown_field": ("Not a field of this form. Open the form again.", "本表单没有此项。请重新打开表单。"),
}

_WARNINGS: dict[str, tuple[str, str]] = {
    "outside_training_range": (
        "outside the range the model has learnt from; the answer may be unreliable.",
        "超出模型训练数据的范围，结果可能不可靠。",
    ),
    "unseen_category": (
        "never seen in training, so it counts as unknown.",
        "训练数据中没有此取值，按未知处理。",
    ),
}


def _explain(page: Page, error: RowError) -> str:
    """An error in the page's language, with the Task's limits and choices; its own message if the code is new."""
    asked = page.task.by_name.get(error.field)
    words: dict[str, str] = {}
    if isinstance(asked, CategoryField) and asked.choices:
        words["choices"] = _chooser(page.lang)(", ", "、").join(choice.label[page.lang] for choice in asked.choices)
    if isinstance(asked, NumberField | DateField) and asked.limits:
        unit = _unit(asked.unit, page.lang) if isinstance(asked, NumberField) else ""
        words["low"], words["high"] = (f"{_plain(limit)} {unit}".strip() for limit in asked.limits)
    wording = _ERRORS.get(f"{error.code} of a {asked.type}" if asked else "") or _ERRORS.get(error.code)
    if wording is None:
        return error.message
    try:
        return _chooser(page.lang)(*wording).format(**words)
    except KeyError:
        return error.message


def _warned(page: Page) -> list[tuple[str, str]]:
    """(field, code) of each warning of the answer."""
    return [(warning["field"], warning["code"]) for warning in (page.answer or {}).get("warnings", [])]


def _cautions(page: Page) -> list[tuple[str, str]]:
    """(label, sentence) of each warning other than a missing field."""
    return [
        (_label(page, warning["field"]), _chooser(page.lang)(*_WARNINGS.get(warning["code"], [warning["message"]] * 2)))
        for warning in (page.answer or {}).get("warnings", [])
        if warning["code"] != "missing_field"
    ]


def _events(page: Page) -> list[tuple[Event, str, str]]:
    """(event, its definition such as `< 2500 g`, its chance such as `6.1 %`), in the Task's order."""
    chances = (page.answer or {}).get("events") or {}
    unit = _unit(page.task.target.unit, page.lang)
    return [
        (event, f"{_bounds(event)} {unit}".strip(), _chance(chances[event.name]))
        for event in page.task.answers.events
        if event.name in chances
    ]


def _bounds(event: Event) -> str:
    if event.below is not None:
        return f"< {_plain(event.below)}"
    if event.at_least is not None:
        return f"≥ {_plain(event.at_least)}"
    return "–".join(_plain(bound) for bound in event.between or ())


def _group(page: Page) -> str:
    """The group of an answer, `plurality=twins,gestation_weeks<37`, in words; an unknown spelling as it is."""
    told, t = str((page.answer or {}).get("group") or ""), _chooser(page.lang)
    if told == "all":
        return t("all cases", "全部病例")
    begins = rf"(?:{'|'.join(group.field for group in page.task.groups)})(?:=|<|>=)"
    parts = re.split(rf",(?={begins})", told)
    if not all(re.match(begins, part) for part in parts):
        return told
    return t("; ", "；").join(_membership(page, part) for part in parts)


def _membership(page: Page, part: str) -> str:
    """`diabetes=no` as `Diabetes: no`, and `gestation_weeks<37` as `Weeks of gestation: < 37`."""
    t = _chooser(page.lang)
    name, sign, value = re.split(r"(>=|<|=)", part, maxsplit=1)
    asked = page.task.by_name[name]
    words = {"yes": t("yes", "是"), "no": t("no", "否"), "unknown": t("unknown", "未知")}
    if isinstance(asked, CategoryField):
        words |= {choice.value: choice.label[page.lang] for choice in asked.choices or ()}
    bound = {"=": "", "<": "< ", ">=": "≥ "}[sign]
    return f"{asked.label[page.lang]}{t(': ', '：')}{bound}{words.get(value, value)}"


def _facts(page: Page) -> list[tuple[str, str]]:
    """(term, value) of what the model was learnt from and how far off it was; what a card lacks is left out."""
    t, target = _chooser(page.lang), page.task.target
    trained, metrics = ((page.card or {}).get(key) or {} for key in ("trained_on", "metrics"))
    unit, level = _unit(target.unit, page.lang), f"{page.task.answers.interval * 100:g} %"
    table: list[tuple[str, Any, Callable[[Any], str]]] = [
        (t("Trained on", "训练样本"), trained.get("rows"), lambda n: _amount(n) + t(" cases", " 例")),
        (t("Tested on", "检验样本"), trained.get("holdout_rows"), lambda n: _amount(n) + t(" others", " 例")),
        (t("Mean error", "平均绝对误差"), metrics.get("mae"), lambda x: f"{_amount(x, target.digits)} {unit}"),
        (t("RMSE", "均方根误差"), metrics.get("rmse"), lambda x: f"{_amount(x, target.digits)} {unit}"),
        (t(f"Inside the {level} interval", f"落在 {level} 区间内"), metrics.get("coverage"), _chance),
    ]
    return [(term, shown(value)) for term, value, shown in table if value is not None]


def _amount(value: float, digits: int = 0) -> str:
    """3412.4 as `3 412`, with a narrow no-break space between thousands."""
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "\u2212")


def _plain(value: float | str) -> str:
    """A limit or threshold as guidelines print it: 2500, 37.5."""
    return value if isinstance(value, str) else f"{value:.12g}".replace("-", "\u2212")


def _chance(p: float) -> str:
    """A probability in per cent. No model knows the ends better than to a thousandth."""
    if p < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if p > 0.999 else f"{p * 100:.1f} %"


_UNITS: dict[str, tuple[str, str]] = {
    "a": ("years", "岁"),  # on a clinical form years are nearly always an age
    "mo": ("months", "月"),
    "wk": ("weeks", "周"),
    "d": ("days", "天"),
    "h": ("hours", "小时"),
    "min": ("minutes", "分钟"),
    "/d": ("per day", "每日"),
    "/wk": ("per week", "每周"),
    "/min": ("per minute", "每分钟"),
    "mm[Hg]": ("mmHg", "mmHg"),
    "Cel": ("°C", "°C"),
    "[lb_av]": ("lb", "磅"),
    "[in_i]": ("in", "英寸"),
    "1": ("", ""),
}
"""UCUM codes that people don't read as they stand; all others (kg, cm, g/dL) they do."""


def _unit(code: str | None, lang: Lang) -> str:
    return _chooser(lang)(*_UNITS.get(code or "", (code or "", code or "")))


def _pages() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    pages.filters.update(amount=_amount, plain=_plain, unit=_unit)
    return pages


_PAGES = _pages()
