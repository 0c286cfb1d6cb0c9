"""What stands beside the form: events or classes with their chances, and the measures of the model, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from feature_store.task import Event, Task
from serving import words
from serving.words import Lang

SHOWN = 8
"""Classes that are shown at once; further ones are folded away, unless the set reaches that far."""

_Fact = tuple[str, Any, Callable[[Any], str]]


@dataclass(frozen=True)
class ClassChance:
    """One class on the page. per_cent: the length of its bar; inside: whether it is in the set."""

    word: str
    name: str
    chance: str
    per_cent: float
    inside: bool


@dataclass(frozen=True)
class Ranking:
    """The classes of an answer, likeliest first (of a binary target, the positive one first).

    first: those that are shown; others: those that are folded away, with `together` their chance;
    only: the name of the one class in the set, "" where there are several; count: classes in the set.
    """

    first: list[ClassChance]
    others: list[ClassChance]
    together: str
    only: str
    count: int


def events(task: Task, lang: Lang, answer: dict[str, Any]) -> list[tuple[Event, str, str]]:
    """(event, its definition such as `< 2500 g`, its chance such as `6.1 %`), in the Task's order."""
    chances = answer.get("events") or {}
    unit = words.unit(task.target.unit, lang)
    return [
        (event, f"{words.bounds(event)} {unit}".strip(), words.chance(chances[event.name]))
        for event in task.answers.events
        if event.name in chances
    ]


def ranking(task: Task, lang: Lang, answer: dict[str, Any], classes: tuple[str, ...]) -> Ranking | None:
    """The classes of an answer, None for one that has none. classes: the encoder's."""
    if task.kind == "regression" or not answer:
        return None
    if task.kind == "binary":
        chances = {task.target.positive or "": answer["value"]}
        chances |= {word: 1.0 - answer["value"] for word in classes if word != task.target.positive}
    else:
        chances = dict(sorted(answer["probabilities"].items(), key=lambda item: -item[1]))
    inside = answer["set"]
    rows = [
        ClassChance(word, words.of_class(task, lang, word), words.chance(p), round(100 * p, 2), word in inside)
        for word, p in chances.items()
    ]
    cut = max(SHOWN, len(inside)) if len(rows) > SHOWN + 1 else len(rows)
    together = words.chance(sum(list(chances.values())[cut:]))
    only = words.of_class(task, lang, inside[0]) if len(inside) == 1 else ""
    return Ranking(rows[:cut], rows[cut:], together, only, len(inside))


def facts(task: Task, lang: Lang, card: dict[str, Any]) -> list[tuple[str, str]]:
    """(term, value) of what the model was learnt from and how far off it was; what a card lacks is left out."""
    t = words.chooser(lang)
    trained, metrics = (card.get(key) or {} for key in ("trained_on", "metrics"))
    table: list[_Fact] = [
        (t("Trained on", "训练样本"), trained.get("rows"), lambda n: words.amount(n) + t(" cases", " 例")),
        (t("Tested on", "检验样本"), trained.get("holdout_rows"), lambda n: words.amount(n) + t(" others", " 例")),
        *(_of_values if task.kind == "regression" else _of_classes)(task, lang, metrics),
    ]
    return [(term, shown(value)) for term, value, shown in table if value is not None]


def _of_values(task: Task, lang: Lang, metrics: dict[str, Any]) -> list[_Fact]:
    t, digits, unit = words.chooser(lang), task.target.digits, words.unit(task.target.unit, lang)
    level = f"{task.answers.interval * 100:g} %"
    return [
        (t("Mean error", "平均绝对误差"), metrics.get("mae"), lambda x: f"{words.amount(x, digits)} {unit}"),
        (t("RMSE", "均方根误差"), metrics.get("rmse"), lambda x: f"{words.amount(x, digits)} {unit}"),
        (t(f"Inside the {level} interval", f"落在 {level} 区间内"), metrics.get("coverage"), words.chance),
    ]


def _of_classes(task: Task, lang: Lang, metrics: dict[str, Any]) -> list[_Fact]:
    t, level = words.chooser(lang), f"{task.answers.interval * 100:g} %"
    inside = t(f"Truth not ruled out ({level})", f"真实类别未被排除（{level}）")
    return [
        (t("Right class", "判对比例"), metrics.get("accuracy"), words.chance),
        (t("AUC", "AUC（曲线下面积）"), metrics.get("auc"), lambda x: words.amount(x, 3)),
        (t("Log loss", "对数损失"), metrics.get("log_loss"), lambda x: words.amount(x, 3)),
        (inside, metrics.get("set_coverage"), words.chance),
    ]


def estimate(task: Task, lang: Lang, answer: dict[str, Any]) -> str:
    """An answer in one line: `3 412 g (2 811 to 4 020)`, or the likeliest class."""
    t, digits = words.chooser(lang), task.target.digits
    if task.kind != "regression":
        return words.of_class(task, lang, answer["label"])
    ends = t(" to ", " 至 ").join(words.amount(answer["interval"][end], digits) for end in ("low", "high"))
    value = f"{words.amount(answer['value'], digits)} {words.unit(task.target.unit, lang)}".strip()
    return value + t(f" ({ends})", f"（{ends}）")
