"""The reasons on the form: the largest contributions to an answer as signed bars, the others together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from feature_store.field import AnyField
from feature_store.task import Task
from serving import words
from serving.words import Lang

SHOWN = 8
"""Contributions that are shown one by one; the others are told together, unless that is a single one."""


@dataclass(frozen=True)
class Reason:
    """One contribution. name: `Weeks of gestation: 41 weeks`; amount: `+120 g`; left, width: its bar in a hundred
    either side of the middle."""

    name: str
    amount: str
    left: float
    width: float


@dataclass(frozen=True)
class Reasons:
    """base, value: the mean answer and this one, with their unit; of: the class whose chance it is, "" of a number;
    others: how many are told together, and their amount."""

    base: str
    value: str
    difference: str
    of: str
    first: list[Reason]
    others: tuple[int, str]


def reasons(task: Task, lang: Lang, row: Mapping[str, object], explanation: Mapping[str, Any] | None) -> Reasons | None:
    """What an explanation (`serving.explain`) comes to on the page; row: as it was read from the form."""
    if explanation is None:
        return None
    t, plain, signed = words.chooser(lang), *_amounts(task, lang)
    items = sorted(explanation["contributions"], key=lambda item: -abs(item["contribution"]))
    cut = SHOWN if len(items) > SHOWN + 1 else len(items)
    longest = max((abs(item["contribution"]) for item in items), default=0.0) or 1.0
    first = []
    for item in items[:cut]:
        amount = item["contribution"]
        width = round(100 * abs(amount) / longest, 2)
        asked = task.by_name.get(item["field"] or "")
        name = _named(asked, lang, row) if asked else t("Limits of the answer", "结果的上下限")
        first.append(Reason(name, signed(amount), round(100 - width, 2) if amount < 0 else 100, width))
    rest = sum(item["contribution"] for item in items[cut:])
    base, value = explanation["base"], explanation["value"]
    of = words.of_class(task, lang, explanation["class"]) if "class" in explanation else ""
    return Reasons(plain(base), plain(value), signed(value - base), of, first, (len(items) - cut, signed(rest)))


def _amounts(task: Task, lang: Lang) -> tuple[Callable[[float], str], Callable[[float], str]]:
    """How an answer and a difference of answers are written: `3 412 g`, `+120 g`; `61.2 %`, `+3.1 points`."""
    if task.kind == "regression":
        digits, unit = task.target.digits, words.unit(task.target.unit, lang)
        return (
            lambda x: f"{words.amount(x, digits)} {unit}".strip(),
            lambda x: f"{words.signed(x, digits)} {unit}".strip(),
        )
    points = words.chooser(lang)("points", "个百分点")
    return words.chance, lambda x: f"{words.signed(100 * x, 1)} {points}"


def _named(asked: AnyField, lang: Lang, row: Mapping[str, object]) -> str:
    """The field with the value that was given: `Weeks of gestation: 41 weeks`."""
    t, value = words.chooser(lang), row.get(asked.name)
    if value is None:
        told = t("not given", "未填写")
    elif asked.type == "flag":
        told = t("yes", "是") if value else t("no", "否")
    elif asked.type == "number" and isinstance(value, int | float):
        told = f"{words.plain(value)} {words.unit(asked.unit, lang)}".strip()
    else:
        choices = (asked.choices or ()) if asked.type == "category" else ()
        told = next((choice.label[lang] for choice in choices if choice.value == value), str(value))
    return f"{asked.label[lang]}{t(': ', '：')}{told}"
