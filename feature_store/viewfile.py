"""Reading a View file: YAML to View, or every problem at once with its line, key and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from feature_store import yamlfile
from feature_store.errors import ViewInvalid
from feature_store.view import DURATION, KIND, View
from feature_store.view_coherence import contradictions

_TAGS = {"literal[True]", "constrained-str", "[key]"}
_PATTERNS = {
    DURATION: ("is no duration.", "Write a whole number and one of s, m, h, d, w, such as 7d."),
    KIND: ("is no kind of column.", "Use int, decimal(2) or other digits, float32, float64, flag or text."),
}

VIEW = yamlfile.Declaration(View, "a View", "view: a_name", contradictions, ViewInvalid, frozenset(_TAGS), _PATTERNS)


def read(path: Path) -> View:
    """The View in a YAML file. Raises ViewInvalid with every problem, each with its line and remedy."""
    return yamlfile.read(VIEW, path)


def parse(text: str, source: str = "view") -> View:
    """The View in YAML text. Raises ViewInvalid as `read` does."""
    return yamlfile.parse(VIEW, text, source)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a View file, as editors read it to complete and check YAML."""
    schema = TypeAdapter(View).json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Gancao View"
    whole = schema["$defs"]["Text"]
    schema["$defs"]["Text"] = {"anyOf": [{"type": "string"}, whole], "description": whole.get("description", "")}
    for key in ("entity", "id"):
        several = schema["properties"][key]
        schema["properties"][key] = {
            "anyOf": [several["items"], several],
            "description": several.get("description", ""),
        }
    return schema
