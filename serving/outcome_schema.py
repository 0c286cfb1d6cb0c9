"""OpenAPI of outcomes: what is sent and what comes back, item by item, derived from a Task."""

from __future__ import annotations

from typing import Any

from feature_store.task import Task
from serving.request import MAX_ROWS

CODES = (
    "unknown_prediction", "no_match", "several_matches", "other_key", "required", "wrong_type", "unknown_field",
    "below_limit", "above_limit", "not_a_choice", "not_an_integer", "not_a_date", "not_a_time", "in_the_future",
)  # fmt: skip
"""Why an item may be refused."""

_COUNT = {"type": "integer", "minimum": 0}


def schemas(task: Task, stem: str, value: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """The request and the reply, by their names. value: schema of the target; fields: of each field of the Task."""
    described = "Fields with their values as they were asked; the one case among the answers that has them is meant."
    item = {
        "type": "object",
        "properties": {
            "prediction_id": {"type": "string", "description": "As it came with the answer."},
            "key": {"type": "object", "properties": fields, "additionalProperties": False, "minProperties": 1,
                    "description": described},
            "value": {**value, "title": f"{task.target.label.en} / {task.target.label.zh}"},
            "at_utc": {"type": ["string", "null"], "description": "ISO 8601: when it came true; now if left out."},
        },
        "oneOf": [{"required": ["prediction_id"]}, {"required": ["key"]}],
        "required": ["value"],
        "additionalProperties": False,
    }  # fmt: skip
    listed = {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_ROWS}
    counts = dict.fromkeys(("stored", "unchanged", "corrected", "refused"), _COUNT)
    reply = {
        "task": {"type": "string", "const": task.task},
        **counts,
        "results": {"type": "array", "items": _RESULT},
    }
    return {
        f"{stem}Outcomes": {
            "type": "object", "properties": {"outcomes": listed}, "required": ["outcomes"],
            "additionalProperties": False,
        },
        f"{stem}Kept": {"type": "object", "properties": reply, "required": list(reply)},
    }  # fmt: skip


def operation(task: Task, stem: str, problems: dict[str, Any]) -> dict[str, Any]:
    """`POST /v1/{task}/outcomes`. problems: the responses that are problem documents, by status."""

    def content(name: str) -> dict[str, Any]:
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{stem}{name}"}}}

    kept = {
        "200": {"description": "All are kept", "content": content("Kept")},
        "207": {"description": "Some were refused, the others are kept", "content": content("Kept")},
    }
    return {
        "summary": f"Tell what came true: {task.title.en.lower()}",
        "description": "Sent twice it is stored once; another value is a correction, and the old one is kept aside.",
        "operationId": f"keep_outcomes_{task.task}",
        "requestBody": {"required": True, "content": content("Outcomes")},
        "responses": {**kept, **{status: said for status, said in problems.items() if status not in ("409", "422")}},
    }


_NULLABLE_TEXT = {"type": ["string", "null"]}
_RESULT = {
    "type": "object",
    "properties": {
        "row": _COUNT,
        "prediction_id": {
            **_NULLABLE_TEXT,
            "description": "Of the answer that the outcome is of; null where it is refused.",
        },
        "status": {"type": "string", "enum": ["stored", "unchanged", "corrected", "refused"]},
        "code": {"type": ["string", "null"], "enum": [*CODES, None]},
        "message": _NULLABLE_TEXT,
        "http_status": {"type": "integer", "enum": [200, 404, 409, 422]},
    },
    "required": ["row", "prediction_id", "status", "code", "message", "http_status"],
}
