"""The Task: what to predict, from what, and how the answer is judged. All else is derived from it."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from feature_store.errors import Problem, TaskInvalid
from feature_store.field import AnyField, DateField, Frozen, Name, Number, Text


class Target(Frozen):
    """What is predicted. `limits` are inclusive; answers are clipped to them."""

    name: Name
    unit: str
    limits: tuple[Number, Number] = Field(strict=False)
    label: Text
    digits: int = Field(default=0, ge=0, le=9, description="Decimals that people are shown.")


class Data(Frozen):
    """Where the rows come from: named files under GANCAO_DATA, and one DuckDB SELECT over them."""

    sources: dict[Name, str] = Field(min_length=1, description="View name -> .parquet, .csv or .jsonl file.")
    sql: str = Field(min_length=1)
    citation: str | None = None


class Event(Frozen):
    """Something that can come true of the target: below, at least, or between two values."""

    name: Name
    label: Text
    below: Number | None = None
    at_least: Number | None = None
    between: tuple[Number, Number] | None = Field(default=None, strict=False)
    source: str | None = None


class Answers(Frozen):
    """What every answer holds besides its value."""

    interval: Number = Field(default=0.9, ge=0.5, le=0.99)
    events: tuple[Event, ...] = Field(default=(), strict=False)


class Group(Frozen):
    """Cases for which error and coverage are reported and coverage is guaranteed.

    A category or flag groups by its value; a number needs `cuts`: (37,) gives `<37` and `>=37`.
    """

    field: Name
    cuts: tuple[Number, ...] = Field(default=(), strict=False)


class Split(Frozen):
    """How rows are held out and folded."""

    kind: Literal["random"] = "random"
    holdout: Number = Field(default=0.2, ge=0.05, le=0.5)
    folds: int = Field(default=5, ge=2, le=20)


class Budget(Frozen):
    """When the search stops: after so many seconds (best effort) or trials (reproducible)."""

    seconds: Number | None = Field(default=None, gt=0)
    trials: int | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _words(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|trials?)\s*", data)
        if match is None:
            raise ValueError("a budget reads like 120s, 5m, 1h or 40trials")
        amount, unit = float(match[1]), match[2]
        if unit.startswith("trial"):
            return {"trials": int(amount)}
        return {"seconds": amount * {"s": 1, "m": 60, "h": 3600}[unit]}

    def __str__(self) -> str:
        return f"{self.trials}trials" if self.trials else f"{self.seconds:g}s"


LEARNERS = ("lightgbm", "xgboost", "linear")
DEFAULT_BUDGET = Budget(seconds=60)


class Search(Frozen):
    """What may be tried, and for how long."""

    metric: Literal["rmse", "mae"] = "rmse"
    budget: Budget = DEFAULT_BUDGET
    learners: tuple[Literal["lightgbm", "xgboost", "linear"], ...] = Field(
        default=LEARNERS, strict=False, min_length=1
    )
    max_members: int = Field(default=4, ge=1, le=20, description="Models in the ensemble: the bound on a row's time.")


class Baseline(Frozen):
    """A rule of the field to beat: the median of the target among training rows with the same field value."""

    name: Name
    median_by: Name


class Gate(Frozen):
    """What a version must not lose to, on the holdout, to be promoted."""

    baselines: tuple[str, ...] = Field(default=("mean", "linear", "lightgbm_defaults"), strict=False)
    confidence: Number = Field(default=0.95, gt=0.5, lt=1)


class Section(Frozen):
    """A group of fields on the form."""

    title: Text
    fields: tuple[Name, ...] = Field(strict=False, min_length=1)


class Form(Frozen):
    """The order of the form. Fields that no section names come last."""

    sections: tuple[Section, ...] = Field(default=(), strict=False)


class Task(Frozen):
    """One prediction task, whole. Read it with `read` (YAML) or `Task.model_validate` (plain data)."""

    task: Name
    title: Text
    intended_use: Text
    kind: Literal["regression"] = "regression"
    target: Target
    data: Data
    fields: tuple[AnyField, ...] = Field(strict=False, min_length=1)
    answers: Answers = Answers()
    groups: tuple[Group, ...] = Field(default=(), strict=False)
    split: Split = Split()
    search: Search = Search()
    baselines: tuple[Baseline, ...] = Field(default=(), strict=False)
    gate: Gate = Gate()
    form: Form = Form()

    @model_validator(mode="after")
    def _holds_together(self) -> Task:
        if problems := list(_contradictions(self.model_dump(mode="json"))):
            raise ValueError("; ".join(str(problem) for problem in problems))
        return self

    @cached_property
    def by_name(self) -> dict[str, AnyField]:
        """The fields by their names, in their order."""
        return {field.name: field for field in self.fields}


def read(path: Path) -> Task:
    """The Task in a YAML file. Raises TaskInvalid with every problem, each with its line and remedy."""
    return parse(path.read_text(encoding="utf-8"), source=str(path))


def parse(text: str, source: str = "task") -> Task:
    """The Task in YAML text. Raises TaskInvalid as `read` does."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        what = getattr(error, "problem", None) or "not readable"
        problem = Problem("", f"this is not YAML: {what}.", "Check indentation, brackets and quotes there.", line)
        raise TaskInvalid(source, [problem]) from None
    if not isinstance(node, yaml.MappingNode):
        problem = Problem("", "a Task is a mapping.", "Start with `task: a_name`; `gancao schema` prints every key.", 1)
        raise TaskInvalid(source, [problem])
    lines: dict[str, int] = {}
    problems = list(_index(node, "", lines))
    raw = yaml.safe_load(text)
    task: Task | None = None
    try:
        task = Task.model_validate(raw)
    except ValidationError as error:
        problems += [_explain(item, raw) for item in error.errors() if item["loc"]]
        problems += _contradictions(raw)
    if problems or task is None:
        located = [Problem(p.where, p.message, p.remedy, p.line or _line(p.where, lines)) for p in problems]
        raise TaskInvalid(source, sorted(dict.fromkeys(located), key=lambda p: p.line))
    return task


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a Task file, as editors read it to complete and check YAML."""
    schema = TypeAdapter(Task).json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Gancao Task"
    return _accept_shorthand(schema)


def _accept_shorthand(schema: dict[str, Any]) -> dict[str, Any]:
    """Text, Choice and Budget may be plain strings; fields and targets may leave their label to us."""
    definitions = schema["$defs"]
    for name in ("Text", "Choice", "Budget"):
        whole = definitions[name]
        definitions[name] = {"anyOf": [{"type": "string"}, whole], "description": whole.get("description", "")}
        whole["required"] = [key for key in whole.get("required", []) if key != "label"]
    for name in ("NumberField", "CategoryField", "FlagField", "DateField"):
        definitions[name]["required"].remove("label")
    return schema


def _index(node: yaml.Node, path: str, lines: dict[str, int]) -> Iterator[Problem]:
    """Fill `lines` with the line of every path; yield keys that stand twice."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            child = f"{path}.{key.value}".lstrip(".")
            if key.value in seen:
                yield Problem(
                    child, f"stands twice (also on line {seen[key.value]}).", "Keep one of them.", key.start_mark.line + 1
                )
            seen[key.value] = key.start_mark.line + 1
            yield from _index(value, child, lines)
            lines[child] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _index(value, f"{path}[{position}]", lines)


def _line(where: str, lines: dict[str, int]) -> int:
    """The line of a path, or of its nearest parent that is in the file."""
    while where and where not in lines:
        where = re.sub(r"(\.[^.\[\]]+|\[\d+\]|^[^.\[\]]+)$", "", where)
    return lines.get(where, 1)


_TAGS = {"number", "category", "flag", "date"}


def _explain(error: Any, raw: Any) -> Problem:
    """A pydantic error in our three parts."""
    steps = [step for step in error["loc"] if step not in _TAGS]
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    kind, context, message = error["type"], error.get("ctx", {}), error["msg"]
    last = str(steps[-1])
    if kind == "missing":
        return Problem(where, "is missing.", f"Add `{last}:` here; `gancao schema` says what it holds.")
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(last, _known_keys(), n=1, cutoff=0.6)
        return Problem(where, "is not a key of a Task.", f"Did you mean `{close[0]}`?" if close else "Remove it.")
    if kind == "union_tag_not_found":
        return Problem(f"{where}.type", "is missing.", "Add `type: number`, `category`, `flag` or `date`.")
    if kind == "union_tag_invalid":
        tag = context.get("tag", "")
        return Problem(f"{where}.type", f"{tag!r} is not a type of field.", "Use number, category, flag or date.")
    if kind == "string_type" and isinstance(error["input"], bool):
        return Problem(where, f"YAML reads this word as {error['input']}.", "Put it in quotes, as in 'yes'.")
    if kind == "string_pattern_mismatch":
        return Problem(where, f"{error['input']!r} is not a name.", "Use a-z, 0-9 and _, beginning with a letter.")
    if kind == "literal_error":
        return Problem(where, f"{error['input']!r} is not one of them.", f"Use {context['expected']}.")
    if kind == "value_error":
        return Problem(where, f"{message.removeprefix('Value error, ')}.", "")
    shown = repr(error["input"])
    return Problem(where, f"{shown[:60]} does not fit: {message[0].lower()}{message[1:]}.", "")


def _known_keys() -> list[str]:
    """Every key that a Task file may hold anywhere."""
    schema = TypeAdapter(Task).json_schema()
    objects = [schema, *schema["$defs"].values()]
    return sorted({key for item in objects for key in item.get("properties", {})})


def _contradictions(raw: Any) -> Iterator[Problem]:
    """What no single field can show. `raw` may be half wrong: only what can be read is judged."""
    if not isinstance(raw, dict):
        return
    fields = [field for field in _items(raw, "fields")]
    names = [field.get("name") for _, field in fields]
    known = {name: field for name, (_, field) in zip(names, fields, strict=True) if isinstance(name, str)}
    target = raw.get("target") if isinstance(raw.get("target"), dict) else {}
    yield from _twice("fields", names)
    if target.get("name") in known:
        yield Problem(
            f"fields[{names.index(target['name'])}].name",
            f"{target['name']!r} is the target: it would predict itself.",
            "Remove the field.",
        )
    yield from _order("target.limits", target.get("limits"))
    for where, field in fields:
        yield from _order(f"{where}.limits", field.get("limits"), dates=field.get("type") == "date")
        choices = field.get("choices") or []
        values = [c.get("value") if isinstance(c, dict) else c for c in choices] if isinstance(choices, list) else []
        yield from _twice(f"{where}.choices", values)
    yield from _unknown_references(raw, known)
    yield from _events(raw, target.get("limits"))


def _unknown_references(raw: dict[str, Any], known: dict[str, Any]) -> Iterator[Problem]:
    """Groups, baselines, form sections and the gate name things that must exist."""
    for where, group in _items(raw, "groups"):
        yield from _reference(f"{where}.field", group.get("field"), known)
        kind = known.get(group.get("field"), {}).get("type")
        if kind == "number" and not group.get("cuts"):
            yield Problem(where, "groups by a number without cuts.", "Add `cuts: [37]`, say.")
        if kind in ("category", "flag") and group.get("cuts"):
            yield Problem(f"{where}.cuts", f"cuts do not apply to a {kind}.", "Remove them.")
        if kind == "date":
            yield Problem(where, "groups by a date.", "Group by a category, a flag or a number with cuts.")
        cuts = group.get("cuts") or []
        if cuts != sorted(set(cuts)):
            yield Problem(f"{where}.cuts", "the cuts do not increase.", "Write them from small to large, each once.")
    for where, baseline in _items(raw, "baselines"):
        yield from _reference(f"{where}.median_by", baseline.get("median_by"), known)
    standard = {"mean", "linear", "lightgbm_defaults"}
    declared = {baseline.get("name") for _, baseline in _items(raw, "baselines")}
    gate = raw.get("gate") if isinstance(raw.get("gate"), dict) else {}
    for position, name in enumerate(gate.get("baselines") or ()):
        if name not in standard | declared:
            options = ", ".join(sorted(standard | {str(d) for d in declared}))
            yield Problem(f"gate.baselines[{position}]", f"{name!r} is no baseline.", f"There are: {options}.")
    form = raw.get("form") if isinstance(raw.get("form"), dict) else {}
    shown: list[str] = []
    for where, section in _items(form, "sections", "form.sections"):
        for position, name in enumerate(section.get("fields") or ()):
            yield from _reference(f"{where}.fields[{position}]", name, known)
            shown.append(name)
    yield from _twice("form.sections", shown)


def _events(raw: dict[str, Any], limits: Any) -> Iterator[Problem]:
    answers = raw.get("answers") if isinstance(raw.get("answers"), dict) else {}
    events = list(_items(answers, "events", "answers.events"))
    yield from _twice("answers.events", [event.get("name") for _, event in events])
    for where, event in events:
        given = [key for key in ("below", "at_least", "between") if event.get(key) is not None]
        if len(given) != 1:
            yield Problem(where, f"gives {', '.join(given) or 'no bound'}.", "Give one of below, at_least, between.")
            continue
        bounds = event[given[0]] if given == ["between"] else [event[given[0]]]
        yield from _order(f"{where}.between", bounds if given == ["between"] else None)
        if _is_pair(limits):
            for bound in bounds if isinstance(bounds, list | tuple) else ():
                if isinstance(bound, int | float) and not limits[0] <= bound <= limits[1]:
                    yield Problem(
                        f"{where}.{given[0]}", f"{bound:g} is beyond the target's limits.", "Mend it or the limits."
                    )


def _items(raw: dict[str, Any], key: str, path: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    values = raw.get(key)
    for position, item in enumerate(values if isinstance(values, list | tuple) else ()):
        if isinstance(item, dict):
            yield f"{path or key}[{position}]", item


def _twice(where: str, names: list[Any]) -> Iterator[Problem]:
    for name, count in Counter(name for name in names if isinstance(name, str)).items():
        if count > 1:
            yield Problem(where, f"{name!r} stands {count} times.", "Keep one.")


def _reference(where: str, name: Any, known: dict[str, Any]) -> Iterator[Problem]:
    if isinstance(name, str) and name not in known:
        close = difflib.get_close_matches(name, list(known), n=1)
        remedy = f"Did you mean {close[0]!r}?" if close else "Name one of the fields."
        yield Problem(where, f"there is no field {name!r}.", remedy)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value)


def _order(where: str, limits: Any, dates: bool = False) -> Iterator[Problem]:
    if dates and isinstance(limits, list | tuple):
        for day in limits:
            try:
                date.fromisoformat(str(day))
            except ValueError:
                yield Problem(where, f"{str(day)!r} is not a day.", "Write 'YYYY-MM-DD' in quotes.")
                return
    pair = [str(v) for v in limits] if dates and isinstance(limits, list | tuple) and len(limits) == 2 else limits
    if (_is_pair(pair) or dates) and pair and pair[0] >= pair[1]:
        yield Problem(where, f"{pair[0]} is not below {pair[1]}.", "Write the smaller one first.")


def dumps(task: Task) -> str:
    """The Task as JSON text: what travels inside a model version."""
    return json.dumps(task.model_dump(mode="json"), ensure_ascii=False, indent=1)


def days(day: str) -> float:
    """Days since 1970-01-01 of an ISO date."""
    return float((date.fromisoformat(day) - date(1970, 1, 1)).days)


__all__ = ["Budget", "DateField", "Task", "days", "dumps", "json_schema", "parse", "read"]
