"""Words that name what is recorded only after the event: the one place where leakage is read from names.

A name proves nothing, so each hit can be waived; but for `apgar5` or `profit` no figure tells (both are weaker than
honest fields of their tables), and a person must say that they are known in time.
"""

from __future__ import annotations

import re

from feature_store.field import AnyField

AFTER: dict[str, str] = {
    r"apgar|loinc 927[124] \d|阿普加|新生儿评分": "a score of the newborn",
    r"nicu|newborn|neonatal|新生儿": "the state of the newborn",
    r"(placenta|cord) (ph|blood)|脐血": "measured after delivery",
    r"induction of labou?r|labou?r induction|(in|during|at|course of) labou?r|breech|ca?esarean|c section|forceps"
    r"|laceration|ruptured uterus|route of delivery|fetal presentation"
    r"|引产|临产|臀位|剖宫产|剖腹产|产钳|分娩方式|胎先露": "the course of labour",
    r"discharged?|length of stay|出院|住院天数|住院时长": "the end of the stay",
    r"died|dead|death|deceased|mortality|survived|survival|living at report|死亡|存活": "the end of the case",
    r"delivered|returned|refunded|cancell?ed|shipped|签收|妥投|退货|退款|已发货": "the end of the order",
    r"review (score|(creation |answer )?(date|timestamp))|reviewed|rating given|评价|评论": "the customer's review",
    r"(call|contact|talk|session|visit) (duration|length|seconds|minutes)"
    r"|(duration|length) of (the |last )*(call|contact|talk|session|visit)|通话时[长间]": "how long it took",
    r"profit|gross margin|利润|毛利": "an account that is settled afterwards",
    r"actual|realised|realized|实际": "what came true",
    r"outcome|结局|转归": "how it came out",
    r"charge ?offs?|recover(y|ies) (amount|fee)|核销|回收金额": "the end of the loan",
}
"""Pattern over whole words -> what it speaks of. Taken from the leaks of SOURCES.md (obstetrics, Olist, Dominick's,
bank marketing) and from the cases of Kaufman et al. 2012, Leakage in Data Mining, ACM TKDD 6(4) (accounts, hospital
stays, loans). Bare `duration` is not here: the duration of a loan is known when it is asked for."""

BEFORE = (
    r"previous|prior|earlier|last (year|month|week|time|campaign)|past|former|history|historical|lag|lagged|before"
    r"|planned|expected|estimated|promised|scheduled|target|due|forecast|budget(ed)?"
    r"|上次|既往|以前|此前|过去|历史|往年|现存|已故|其他终止|计划|预计|预期|承诺|预约"
)
"""Words of the past or of a plan: with one of them the field is held to be known in time."""


def after(field: AnyField) -> tuple[str, str] | None:
    """The word of a field's name, label or code that names a later time, and what it speaks of; None without one."""
    text = " ; ".join([field.name.replace("_", " "), field.label.en, field.label.zh, field.code or ""]).lower()
    text = re.sub(r"[_\-/]+", " ", re.sub(r"([a-z])(\d)", r"\1 \2", text))
    if _word(BEFORE, text):
        return None
    for pattern, meaning in AFTER.items():
        if found := _word(pattern, text):
            return found, meaning
    return None


def is_plan(field: AnyField) -> bool:
    """Whether a date is a plan's: it may lie in the future and yet be known."""
    text = " ; ".join([field.name.replace("_", " "), field.label.en, field.label.zh]).lower()
    return _word(BEFORE, text) is not None


def is_key(field: AnyField) -> bool:
    """Whether a field names entities: any category, or a whole number that is called an id, a key or a code."""
    words = f"{field.name.replace('_', ' ')} ; {field.label.en} ; {field.label.zh}".lower()
    return field.type == "category" or (
        field.type == "number" and field.integer and _word(r"id|key|code|编号|序号|工号", words) is not None
    )


def _word(pattern: str, text: str) -> str | None:
    """The match of `pattern` as whole English words; Chinese has no spaces, so there any place counts."""
    match = re.search(rf"(?<![a-z])(?:{pattern})(?![a-z])", text)
    return match[0] if match else None
