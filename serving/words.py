"""Words that people read, in English and Chinese: errors, warnings, groups, units, amounts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from feature_store.errors import RowError
from feature_store.field import AnyField, CategoryField, DateField, NumberField, Text
from feature_store.task import Event, Task

Lang = Literal["en", "zh"]


def chooser(lang: Lang) -> Callable[[str, str], str]:
    """`t(en, zh)`: the templates hold both wordings side by side."""
    return lambda en, zh: zh if lang == "zh" else en


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
    "unknown_prediction": (
        "No answer of this task has this number. Check it against the answer, letter for letter.",
        "没有此编号的结果。请与原结果逐字核对。",
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
    "unfamiliar": (
        "hardly any case the model has learnt from is like this one, above all in this item. Check it for a slip.",
        "训练数据中几乎没有与此相似的个案，此项尤为少见。请核对是否填错。",
    ),
}


def caution(lang: Lang, warning: dict[str, str]) -> str:
    """What a warning of an answer means, in the language; its own message if the code is new."""
    return chooser(lang)(*_WARNINGS.get(warning["code"], (warning["message"], warning["message"])))


def explain(task: Task, lang: Lang, error: RowError) -> str:
    """An error in the page's language, with the Task's limits and choices; its own message if the code is new."""
    return explain_of(task.by_name.get(error.field), lang, error)


def explain_of(asked: AnyField | None, lang: Lang, error: RowError) -> str:
    """The same of a field that is at hand; None where there is none of that name."""
    words: dict[str, str] = {}
    if isinstance(asked, CategoryField) and asked.choices:
        words["choices"] = chooser(lang)(", ", "、").join(choice.label[lang] for choice in asked.choices)
    if isinstance(asked, NumberField | DateField) and asked.limits:
        measure = unit(asked.unit, lang) if isinstance(asked, NumberField) else ""
        words["low"], words["high"] = (f"{plain(limit)} {measure}".strip() for limit in asked.limits)
    wording = _ERRORS.get(f"{error.code} of a {asked.type}" if asked else "") or _ERRORS.get(error.code)
    if wording is None:
        return error.message
    try:
        return chooser(lang)(*wording).format(**words)
    except KeyError:
        return error.message


def bounds(event: Event) -> str:
    """An event's definition without its unit: `< 2500`, `≥ 4000`, `2500–4000`."""
    if event.below is not None:
        return f"< {plain(event.below)}"
    if event.at_least is not None:
        return f"≥ {plain(event.at_least)}"
    return "–".join(plain(bound) for bound in event.between or ())


def group(task: Task, lang: Lang, told: str) -> str:
    """The group of an answer, `plurality=twins,gestation_weeks<37`, in words; an unknown spelling as it is."""
    t = chooser(lang)
    if told == "all":
        return t("all cases", "全部个案")
    begins = rf"(?:{'|'.join(declared.field for declared in task.groups)})(?:=|<|>=)"
    parts = re.split(rf",(?={begins})", told)
    if not all(re.match(begins, part) for part in parts):
        return told
    return t("; ", "；").join(_membership(task, lang, part) for part in parts)


def _membership(task: Task, lang: Lang, part: str) -> str:
    """`diabetes=no` as `Diabetes: no`, and `gestation_weeks<37` as `Weeks of gestation: < 37`."""
    t = chooser(lang)
    name, sign, value = re.split(r"(>=|<|=)", part, maxsplit=1)
    asked = task.by_name[name]
    words = {"yes": t("yes", "是"), "no": t("no", "否"), "unknown": t("unknown", "未知")}
    if isinstance(asked, CategoryField):
        words |= {choice.value: choice.label[lang] for choice in asked.choices or ()}
    bound = {"=": "", "<": "< ", ">=": "≥ "}[sign]
    return f"{asked.label[lang]}{t(': ', '：')}{bound}{words.get(value, value)}"


_PLAIN_CLASSES = {"true": ("yes", "是"), "false": ("no", "否"), "yes": ("yes", "是"), "no": ("no", "否")}
"""Classes that a table gives for yes and no, where the Task has no words of its own for them."""


def of_class(task: Task, lang: Lang, word: str) -> str:
    """A class of the target as people read it: the Task's label for it, or the table's word."""
    label = next((choice.label[lang] for choice in task.target.classes or () if choice.value == word), word)
    return chooser(lang)(*_PLAIN_CLASSES.get(word, (word, word))) if label == word else label


def of_class_in_both(task: Task, word: str) -> Text:
    """The same in both languages."""
    return Text(en=of_class(task, "en", word), zh=of_class(task, "zh", word))


def amount(value: float, digits: int = 0) -> str:
    """3412.4 as `3 412`, with a narrow no-break space between thousands."""
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "\u2212")


def signed(value: float, digits: int = 0) -> str:
    """A difference: `+120`, `−8`, and 0 without a sign where it rounds to it."""
    told = amount(value, digits)
    if not told.strip("\u22120."):
        return amount(0.0, digits)
    return told if value < 0 else f"+{told}"


def plain(value: float | str) -> str:
    """A limit or threshold as guidelines print it: 2500, 37.5."""
    return value if isinstance(value, str) else f"{value:.12g}".replace("-", "\u2212")


def chance(p: float) -> str:
    """A probability in per cent. No model knows the ends better than to a thousandth."""
    if p < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if p > 0.999 else f"{p * 100:.1f} %"


def share(p: float) -> str:
    """A level that was declared, in per cent: 90 %, 97.5 %."""
    return f"{p * 100:.4g} %"


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


def unit(code: str | None, lang: Lang) -> str:
    """A unit as people read it."""
    return chooser(lang)(*_UNITS.get(code or "", (code or "", code or "")))
