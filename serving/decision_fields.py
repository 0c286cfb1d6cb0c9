"""What a decision holds, kind by kind: from one table come its schema, its columns and its words on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from feature_store.task import Task
from serving import words
from serving.words import Lang


@dataclass(frozen=True)
class Part:
    """One entry of a decision besides its `kind`. said: what it is, for the document; null: whether it may be null.

    amount: in the target's unit; expected: of a shortlist, that unit's or its worth's.
    """

    name: str
    type: Literal["whole", "amount", "expected", "chance", "flag", "day"]
    en: str
    zh: str
    said: str
    null: bool = False


TITLES = {
    "order_quantity": ("Order", "订货量"),
    "headcount": ("People to roster", "排班人数"),
    "promise": ("Promise", "承诺"),
    "shortlist": ("Expected value", "期望值"),
}
"""What the first entry of a decision is headed by."""

PARTS = {
    "order_quantity": (
        Part("quantity", "amount", "Order", "订货量", "What to order, in whole packs."),
        Part("level", "chance", "Critical ratio", "临界比", "understock / (understock + overstock)."),
        Part("demand", "amount", "Demand at that level", "该水平的需求", "The quantile of demand at that level."),
        Part("enough", "chance", "Chance that it is enough", "够用的概率", "P(demand <= what is there and ordered)."),
    ),
    "headcount": (
        Part("people", "whole", "People to roster", "排班人数", "How many to roster."),
        Part("present", "whole", "Of these at work", "其中在岗", "How many of them are at work."),
        Part("level", "chance", "Level of demand", "需求水平", "The level of demand that is staffed for."),
        Part("demand", "amount", "Demand at that level", "该水平的需求", "The quantile of demand at that level."),
        Part(
            "answered",
            "chance",
            "Answered in time",
            "及时应答比例",
            "Share answered within_s at that demand.",
            null=True,
        ),
        Part("occupancy", "chance", "Time that they are busy", "忙碌时间占比", "Share of time busy.", null=True),
    ),
    "promise": (
        Part("date", "day", "By", "最迟日期", "The day that is promised; null without a start.", null=True),
        Part("days", "whole", "Days", "天数", "The duration in whole days, rounded up."),
        Part("level", "chance", "Kept with a chance of", "按时概率", "The chance with which it is kept."),
        Part("duration", "amount", "Duration at that level", "该水平的时长", "The quantile of the duration at it."),
    ),
    "shortlist": (
        Part("expected", "expected", "Expected value", "期望值", "The value, or the chance times its worth."),
        Part("rank", "whole", "Rank", "名次", "The place among the rows of the request, from 1."),
        Part("chosen", "flag", "Within the budget", "预算之内", "Whether the budget reaches to this row."),
    ),
}
"""Kind of decision -> its entries, in their order on the page; the first that is not null heads it."""

_COLUMN: dict[str, type] = {"day": str, "flag": bool}
_SCHEMA: dict[str, dict[str, Any]] = {
    "whole": {"type": "integer", "minimum": 0},
    "amount": {"type": "number"},
    "expected": {"type": "number"},
    "chance": {"type": "number", "minimum": 0, "maximum": 1},
    "flag": {"type": "boolean"},
    "day": {"type": "string", "format": "date"},
}


def schema(task: Task) -> dict[str, Any]:
    """JSON Schema of `decision` in an answer."""
    if task.answers.decision is None:
        return {"type": "null"}
    kind = task.answers.decision.kind
    properties: dict[str, Any] = {"kind": {"type": "string", "const": kind}}
    for part in PARTS[kind]:
        own = _SCHEMA[part.type] | {"title": f"{part.en} / {part.zh}", "description": part.said}
        if part.type == "amount":
            own["x-unit"] = task.target.unit
        properties[part.name] = own | ({"type": [own["type"], "null"]} if part.null else {})
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def columns(task: Task) -> list[tuple[str, type]]:
    """Name and type (float, str or bool) of each column that `flat` gives."""
    if task.answers.decision is None:
        return []
    return [(f"decision_{part.name}", _COLUMN.get(part.type, float)) for part in PARTS[task.answers.decision.kind]]


def flat(decision: dict[str, Any] | None) -> dict[str, Any]:
    """A decision as columns `decision_<entry>`; none where there is no decision."""
    if decision is None:
        return {}
    return {f"decision_{part.name}": decision[part.name] for part in PARTS[decision["kind"]]}


@dataclass(frozen=True)
class Told:
    """A decision as people read it: its title, what is decided (also as plain data), and (name, term, text) of the
    other entries. alone: it compares rows, and this is the only one."""

    title: str
    text: str
    value: str
    others: list[tuple[str, str, str]]
    alone: bool


def told(task: Task, lang: Lang, answer: dict[str, Any]) -> Told | None:
    """What the form says of an answer's decision; None where there is none. One row alone has no rank to tell."""
    decision = answer.get("decision")
    if decision is None:
        return None
    t, kind = words.chooser(lang), decision["kind"]
    first, *others = [part for part in PARTS[kind] if decision[part.name] is not None and part.name != "rank"]
    return Told(
        t(*TITLES[kind]),
        _text(task, lang, first, decision[first.name]),
        str(decision[first.name]),
        [(part.name, t(part.en, part.zh), _text(task, lang, part, decision[part.name])) for part in others],
        kind == "shortlist",
    )


def _text(task: Task, lang: Lang, part: Part, value: Any) -> str:
    t = words.chooser(lang)
    unit = words.unit(task.target.unit, lang)
    if part.type == "flag":
        return t("yes", "是") if value else t("no", "否")
    if part.type == "chance":
        return words.share(value) if part.name == "level" else words.chance(value)
    if part.type == "day":
        return str(value)
    if part.type == "whole":
        counted = {"people": t("people", "人"), "present": t("people", "人"), "days": t("days", "天")}
        return f"{words.amount(value)} {counted.get(part.name, '')}".strip()
    if isinstance(value, int) or part.name == "quantity":
        return f"{words.plain(value)} {unit}".strip()
    digits = task.target.digits if task.kind == "regression" else 3
    return f"{words.amount(value, digits)} {unit}".strip()
