"""Reading a declaration: YAML to frozen types, or every problem at once with its line, key and remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from feature_store.errors import Problem, TaskInvalid

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Declaration(Generic[Model]):
    """What is declared: `a Task` that begins with `task: a_name`.

    contradictions: of plain data that may be half wrong. patterns: of text -> what is said of a text that does not
    match, and the remedy. tags: words that pydantic puts into the path of an error, where no file has them.
    """

    model: type[Model]
    noun: str
    start: str
    contradictions: Callable[[Any], Iterable[Problem]]
    invalid: type[TaskInvalid]
    tags: frozenset[str] = frozenset()
    patterns: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def read(declaration: Declaration[Model], path: Path) -> Model:
    """What a YAML file declares. Raises `declaration.invalid` with every problem, each with its line and remedy."""
    return parse(declaration, path.read_text(encoding="utf-8"), str(path))


def parse(declaration: Declaration[Model], text: str, source: str) -> Model:
    """What YAML text declares. Raises as `read` does."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        what = getattr(error, "problem", None) or "not readable"
        problem = Problem("", f"this is not YAML: {what}.", "Check indentation, brackets and quotes there.", line)
        raise declaration.invalid(source, [problem]) from None
    if not isinstance(node, yaml.MappingNode):
        remedy = f"Start with `{declaration.start}`; `gancao schema` prints every key."
        raise declaration.invalid(source, [Problem("", f"{declaration.noun} is a mapping.", remedy, 1)])
    lines: dict[str, int] = {}
    problems = list(_index(node, "", lines))
    raw = yaml.safe_load(text)
    found: Model | None = None
    try:
        found = declaration.model.model_validate(raw)
    except ValidationError as error:
        problems += [_explain(item, declaration) for item in error.errors() if item["loc"]]
        problems += declaration.contradictions(raw)
    if problems or found is None:
        located = [Problem(p.where, p.message, p.remedy, p.line or _line(p.where, lines)) for p in problems]
        raise declaration.invalid(source, sorted(dict.fromkeys(located), key=lambda p: p.line))
    return found


def _index(node: yaml.Node, path: str, lines: dict[str, int]) -> Iterator[Problem]:
    """Fill `lines` with the line of every path; yield keys that stand twice."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            child = f"{path}.{key.value}".lstrip(".")
            if key.value in seen:
                again = f"stands twice (also on line {seen[key.value]})."
                yield Problem(child, again, "Keep one of them.", key.start_mark.line + 1)
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


def _explain(error: Any, declaration: Declaration[Model]) -> Problem:
    """A pydantic error in our three parts."""
    steps = [step for step in error["loc"] if step not in declaration.tags]
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    kind, context, message = error["type"], error.get("ctx", {}), error["msg"]
    last = str(steps[-1])
    if kind == "missing":
        return Problem(where, "is missing.", f"Add `{last}:` here; `gancao schema` says what it holds.")
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(last, _known_keys(declaration.model), n=1, cutoff=0.6)
        return Problem(
            where, f"is not a key of {declaration.noun}.", f"Did you mean `{close[0]}`?" if close else "Remove it."
        )
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _untold(where, context)
    if kind in ("string_type", "model_type", "model_attributes_type") and isinstance(error["input"], bool):
        return Problem(where, f"YAML reads this word as {error['input']}.", "Put it in quotes, as in 'yes'.")
    if kind in ("string_type", "model_type", "model_attributes_type") and isinstance(error["input"], int | float):
        return Problem(
            where, f"YAML reads this as the number {error['input']}.", f"Put it in quotes: '{error['input']}'."
        )
    if kind == "string_pattern_mismatch":
        said, remedy = declaration.patterns.get(context["pattern"], _NO_NAME)
        return Problem(where, f"{error['input']!r} {said}", remedy)
    if kind == "literal_error":
        return Problem(where, f"{error['input']!r} is not one of them.", f"Use {context['expected']}.")
    if kind == "value_error":
        return Problem(where, f"{message.removeprefix('Value error, ')}.", "")
    shown = repr(error["input"])
    return Problem(where, f"{shown[:60]} does not fit: {message[0].lower()}{message[1:]}.", "")


_NO_NAME = ("is not a name.", "Use a-z, 0-9 and _, beginning with a letter.")


def _untold(where: str, context: dict[str, Any]) -> Problem:
    """A field without its type, or a decision without its kind; or one that there is not."""
    if context["discriminator"] == "'kind'":
        key, noun, several = "kind", "kind of decision", ("order_quantity", "headcount", "promise", "shortlist")
    else:
        key, noun, several = "type", "type of field", ("number", "category", "flag", "date")
    if "tag" in context:
        listed = f"{', '.join(several[:-1])} or {several[-1]}"
        return Problem(f"{where}.{key}", f"{context['tag']!r} is not a {noun}.", f"Use {listed}.")
    listed = f"{', '.join(f'`{word}`' for word in several[1:-1])} or `{several[-1]}`"
    return Problem(f"{where}.{key}", "is missing.", f"Add `{key}: {several[0]}`, {listed}.")


@cache
def _known_keys(model: type[BaseModel]) -> list[str]:
    """Every key that such a file may hold anywhere."""
    schema = TypeAdapter(model).json_schema()
    objects = [schema, *schema["$defs"].values()]
    return sorted({key for item in objects for key in item.get("properties", {})})
