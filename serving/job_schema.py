"""What the OpenAPI document says of batch jobs."""

from __future__ import annotations

from typing import Any

from feature_store.task import Task
from serving.formats import FORMATS
from serving.problems import MEDIA_TYPE

_TEXT: dict[str, Any] = {"type": "string"}
_TIME: dict[str, Any] = {"type": ["string", "null"], "format": "date-time"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_FAULT = {
    "type": "object",
    "properties": {"row": {**_COUNT, "description": "From 0."}, "field": _TEXT, "code": _TEXT, "message": _TEXT},
    "required": ["row", "field", "code", "message"],
}
_PROPERTIES: dict[str, Any] = {
    "id": _TEXT,
    "task": _TEXT,
    "version": {**_TEXT, "description": "Which answers every row of the job."},
    "state": {"type": "string", "enum": ["queued", "running", "done", "failed", "cancelled"]},
    "format": {"type": "string", "enum": [one.name for one in FORMATS]},
    "bytes": _COUNT,
    "rows_done": _COUNT,
    "rows_total": {"type": ["integer", "null"], "description": "Null until they are counted."},
    "rows_refused": {**_COUNT, "description": "Rows without an answer: their column `error` says why."},
    "seconds_left": {"type": ["number", "null"], "minimum": 0, "description": "At the pace so far."},
    "errors": {"type": "array", "items": _FAULT, "description": "Of the first rows that were refused; at most 100."},
    "detail": {"type": ["string", "null"], "description": "Why it failed, and what to do."},
    "created_at_utc": _TIME,
    "started_at_utc": _TIME,
    "finished_at_utc": _TIME,
    "deleted_at_utc": {**_TIME, "description": "When a job that has ended is deleted with its result."},
    "links": {
        "type": "object",
        "properties": {"self": {"type": ["string", "null"]}, "result": {"type": ["string", "null"]}},
        "required": ["self", "result"],
    },
}
SCHEMAS: dict[str, Any] = {
    "Job": {"type": "object", "properties": _PROPERTIES, "required": list(_PROPERTIES)},
    "Jobs": {
        "type": "object",
        "properties": {
            "task": _TEXT,
            "jobs": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Job"},
                "description": "Newest first; `errors` are left out.",
            },
        },
        "required": ["task", "jobs"],
    },
}
_FILE: dict[str, Any] = {one.media_type: {"schema": {"type": "string", "format": "binary"}} for one in FORMATS}
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": _TEXT,
    "description": "The same key with the same file is the same job, sent once or often.",
}


def paths(task: Task, problems: dict[str, Any]) -> dict[str, Any]:
    """The paths of a task's jobs. problems: responses of every operation that refuses."""
    title, name = task.title.en.lower(), task.task
    refused = {**problems, "404": {"description": "No such job", "content": _problem()}}
    return {
        f"/v1/{name}/jobs": {
            "post": {
                "summary": f"Answer a file for {title}",
                "operationId": f"create_job_{name}",
                "parameters": [_KEY],
                "requestBody": {"required": True, "content": _FILE},
                "responses": {"202": _job("The file is on disk, and will be answered", located=True), **problems},
            },
            "get": {
                "summary": f"List the jobs of {title}",
                "operationId": f"list_jobs_{name}",
                "responses": {"200": _response("Newest first", "Jobs"), **problems},
            },
        },
        f"/v1/{name}/jobs/{{id}}": {
            "parameters": [_ID],
            "get": {
                "summary": "How far a job is",
                "operationId": f"get_job_{name}",
                "responses": {"200": _job("The job"), **refused},
            },
            "delete": {
                "summary": "Cancel a job, and delete it with its result",
                "operationId": f"delete_job_{name}",
                "responses": {"200": _job("The job as it was; cancelled if it had not ended"), **refused},
            },
        },
        f"/v1/{name}/jobs/{{id}}/result": {
            "parameters": [_ID],
            "get": {
                "summary": "The rows with their answers, in the format that was sent",
                "operationId": f"get_job_result_{name}",
                "responses": {"200": {"description": "The whole file", "content": _FILE}, **refused},
            },
        },
    }


def _job(described: str, located: bool = False) -> dict[str, Any]:
    headers = {"Location": {"schema": _TEXT, "description": "The job's address."}}
    return {**_response(described, "Job"), **({"headers": headers} if located else {})}


def _response(described: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": described, "content": content}


def _problem() -> dict[str, Any]:
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
