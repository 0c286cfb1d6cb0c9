"""What the OpenAPI document says of the features of views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feature_store.view import View
from serving.problems import MEDIA_TYPE

_TYPES = {"int": "integer", "text": "string", "flag": "boolean"}
_AS_OF = {
    "name": "as_of",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "format": "date-time"},
    "description": "UTC where it names no zone; now if left out. It reaches back a day, further where windows allow.",
}


def paths(views: Sequence[View], problems: dict[str, Any]) -> dict[str, Any]:
    """The path of each view. problems: responses of every operation that refuses."""
    return {f"/v1/features/{view.view}/{{entity}}": {"get": _get(view, problems)} for view in views}


def _get(view: View, problems: dict[str, Any]) -> dict[str, Any]:
    named = {
        "name": "entity",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": f"{', '.join(view.entity)}; of several columns with commas between, each escaped.",
    }
    missing = {"404": {"description": "No such view or entity", "content": _problem()}}
    return {
        "summary": f"What is known: {view.title.en}",
        "operationId": f"get_features_{view.view}",
        "parameters": [named, _AS_OF],
        "responses": {"200": {"description": "As of the instant", "content": _content(view)}, **problems, **missing},
    }


def _content(view: View) -> dict[str, Any]:
    features = {name: {"type": [_type(kind), "null"]} for name, kind in view.outputs.items()}
    properties: dict[str, Any] = {
        "view": {"type": "string", "const": view.view},
        "entity": _object({name: {"type": _type(view.kind(name))} for name in view.entity}),
        "as_of": {"type": "string", "format": "date-time"},
        "features": _object(features),
    }
    return {"application/json": {"schema": _object(properties)}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _type(kind: str) -> str:
    return _TYPES.get(kind, "number")


def _problem() -> dict[str, Any]:
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
