"""Reading a Task file: YAML to Task, or every problem at once with its line, field and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from feature_store import yamlfile
from feature_store.coherence import contradictions
from feature_store.errors import TaskInvalid
from feature_store.task import Task

_TAGS = {"number", "category", "flag", "date", "order_quantity", "headcount", "promise", "shortlist"}
"""Types of fields and kinds of decisions."""

TASK = yamlfile.Declaration(Task, "a Task", "task: a_name", contradictions, TaskInvalid, frozenset(_TAGS))


def read(path: Path) -> Task:
    """The Task in a YAML file. Raises TaskInvalid with every problem, each with its line and remedy."""
    return yamlfile.read(TASK, path)


def parse(text: str, source: str = "task") -> Task:
    """The Task in YAML text. Raises TaskInvalid as `read` does."""
    return yamlfile.parse(TASK, text, source)


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
