"""OpenAPI: one typed schema a task, with units, limits, words and examples, derived from the Tasks being served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from feature_store.field import AnyField
from feature_store.task import Task
from feature_store.view import View
from serving import decision_fields, exact, feature_schema, job_schema, outcome_schema, words
from serving.explain import LIMITS, PROBABILITY
from serving.predictor import Predictor
from serving.problems import MEDIA_TYPE, STATUSES
from serving.request import MAX_EXPLAINED, MAX_ROWS

_JSON = "application/json"


def openapi(served: list[Predictor], version: str, views: Sequence[View] = ()) -> dict[str, Any]:
    """The OpenAPI 3.1 document of everything that answers now; views: whose features may be asked for."""
    paths: dict[str, Any] = {
        "/v1": {"get": _get("List the tasks and their versions", "list_tasks")},
        "/livez": {"get": _get("Whether the process is alive", "livez")},
        "/metrics": {"get": _METRICS},
        "/readyz": {"get": _get("Whether a model is loaded that reproduces its golden rows", "readyz")},
        **feature_schema.paths(views, _problems()),
    }
    schemas: dict[str, Any] = {"Problem": _PROBLEM, "Warning": _WARNING, **job_schema.SCHEMAS}
    for predictor in served:
        task, stem = predictor.task, _stem(predictor.task)
        schemas |= {
            f"{stem}Row": row_schema(task),
            f"{stem}Request": _request(stem, predictor),
            f"{stem}Answer": _answer(predictor, stem),
            f"{stem}Response": _response(task, f"{stem}Answer"),
            f"{stem}Explanation": _explanation(predictor),
            f"{stem}Explanations": _response(task, f"{stem}Explanation"),
            **outcome_schema.schemas(task, stem, _truth(predictor), row_schema(task)["properties"]),
        }
        paths[f"/v1/{task.task}"] = {"get": _get(f"The Task, version and measures of {task.task}", f"get_{task.task}")}
        name = task.title.en.lower()
        paths[f"/v1/{task.task}/predict"] = {"post": _post(f"Predict {name}", task, "predict", f"{stem}Response")}
        paths[f"/v1/{task.task}/explain"] = {"post": _post(f"Explain {name}", task, "explain", f"{stem}Explanations")}
        paths[f"/v1/{task.task}/outcomes"] = {"post": outcome_schema.operation(task, stem, _problems())}
        paths |= job_schema.paths(task, _problems())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gancao",
            "version": version,
            "description": "Predictions with intervals, or chances and sets of classes, from declared Tasks.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": _KEY}},
        "security": [{"key": []}, {}],  # {}: a server without keys asks for none
    }


def row_schema(task: Task) -> dict[str, Any]:
    """JSON Schema of one row of a task: types, limits, words, units (`x-unit`) and codes (`x-code`)."""
    return {
        "type": "object",
        "title": task.title.en,
        "properties": {field.name: field_schema(field) for field in task.fields},
        "required": [field.name for field in task.fields if field.required],
        "additionalProperties": False,
    }


def field_schema(field: AnyField) -> dict[str, Any]:
    """JSON Schema of one field; a field that is not required may be null."""
    out: dict[str, Any] = {"title": f"{field.label.en} / {field.label.zh}"}
    described = [field.help.en] if field.help else []
    if field.type == "number":
        kind = "integer" if field.integer else "number"
        out |= {"minimum": field.limits[0], "maximum": field.limits[1]}
        if field.unit:
            out["x-unit"] = field.unit
            described.append(f"Unit: {field.unit}.")
    elif field.type == "flag":
        kind = "boolean"
    else:
        kind = "string"
    out["type"] = kind if field.required else [kind, "null"]
    if field.type == "category" and field.choices is not None:
        listed = [choice.value for choice in field.choices]
        out["enum"] = listed if field.required else [*listed, None]
        described.append("; ".join(f"{c.value}: {c.label.en} / {c.label.zh}" for c in field.choices) + ".")
    if field.type == "date":
        out["format"] = "date"
    if field.code:
        out["x-code"] = field.code
    if described:
        out["description"] = " ".join(described)
    return out


def example(predictor: Predictor) -> dict[str, Any]:
    """A request that the predictor answers: its first golden row."""
    return {"rows": predictor.bundle.golden["rows"][:1], "explain": False}


def _stem(task: Task) -> str:
    return "".join(part.capitalize() for part in task.task.split("_"))


def _get(summary: str, operation: str) -> dict[str, Any]:
    responses = {"200": {"description": "OK", "content": {_JSON: {"schema": {"type": "object"}}}}}
    return {"summary": summary, "operationId": operation, "responses": responses}


def _request(stem: str, predictor: Predictor) -> dict[str, Any]:
    most = f"At most {MAX_EXPLAINED} where answers are explained."
    rows = {"type": "array", "items": _ref(f"{stem}Row"), "minItems": 1, "maxItems": MAX_ROWS, "description": most}
    wish = "Each answer gains its explanation. At /explain it makes no difference."
    return {
        "type": "object",
        "properties": {"rows": rows, "explain": {"type": "boolean", "default": False, "description": wish}},
        "required": ["rows"],
        "additionalProperties": False,
        "examples": [example(predictor)],
    }


def _post(summary: str, task: Task, verb: str, gives: str) -> dict[str, Any]:
    """An operation that takes rows; gives: the schema of what comes back."""
    responses: dict[str, Any] = {
        "200": {"description": "One answer a row, in order", "content": {_JSON: {"schema": _ref(gives)}}}
    }
    responses |= _problems()
    return {
        "summary": summary,
        "description": task.intended_use.en,
        "operationId": f"{verb}_{task.task}",
        "requestBody": {"required": True, "content": {_JSON: {"schema": _ref(f"{_stem(task)}Request")}}},
        "responses": responses,
    }


def _problems() -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": _ref("Problem")}}
    return {
        str(status): {"description": title, "content": content} for status, title in STATUSES.items() if status != 404
    }


def _answer(predictor: Predictor, stem: str) -> dict[str, Any]:
    task = predictor.task
    own = _value(predictor) if task.kind == "regression" else _classes(task, list(predictor.bundle.encoder.classes))
    properties = {
        "prediction_id": {"type": "string", "description": "Name it when the outcome is known."},
        **own,
        "group": {"type": "string", "description": f"The cases from which the {_MADE_FROM[task.kind]} was calibrated."},
        "decision": decision_fields.schema(task),
        "warnings": {"type": "array", "items": _ref("Warning")},
    }
    required = list(properties)
    properties["explanation"] = {**_ref(f"{stem}Explanation"), "description": "Only where explain is true."}
    return {"type": "object", "title": task.target.label.en, "properties": properties, "required": required}


def _explanation(predictor: Predictor) -> dict[str, Any]:
    task = predictor.task
    number, share = {"type": "number"}, {"type": "number", "minimum": 0, "maximum": 1.000001}
    names = [field.name for field in task.fields]
    item = {
        "field": {"type": ["string", "null"], "enum": [*names, None]},
        "code": {"type": "string", "const": LIMITS, "description": "Of the item without a field."},
        "contribution": {**number, "description": "Signed, in the unit."},
    }
    ways = dict.fromkeys(get_args(exact.Method), share)
    properties: dict[str, Any] = {
        "value": {**number, "description": "As predict answers it; of several classes the label's chance."},
        "unit": {"type": "string", "const": task.target.unit if task.kind == "regression" else PROBABILITY},
        "base": {**number, "description": "The mean answer. The contributions sum to value - base."},
        "contributions": {
            "type": "array",
            "description": "One a field, in the Task's order; then, where the target's limits cut, one without.",
            "items": {"type": "object", "properties": item, "required": ["field", "contribution"]},
        },
        "method": {
            "type": "object",
            "description": "Shares of the ensemble's weight by how they were found.",
            "properties": ways,
            "required": list(ways),
        },
    }
    if task.kind != "regression":
        word = {"type": "string", "enum": list(predictor.bundle.encoder.classes)}
        properties["class"] = {**word, "description": "The class whose chance is explained."}
    return {"type": "object", "properties": properties, "required": list(properties)}


_CHANCE = {"type": "number", "minimum": 0, "maximum": 1}
_MADE_FROM = {"regression": "interval", "binary": "set", "multiclass": "set"}


def _truth(predictor: Predictor) -> dict[str, Any]:
    """What may come true: a number within the target's limits, or one of its classes."""
    task = predictor.task
    if task.kind != "regression":
        return {"type": "string", "enum": list(predictor.bundle.encoder.classes)}
    low, high = task.target.limits
    return {"type": "number", "minimum": low, "maximum": high, "x-unit": task.target.unit}


def _value(predictor: Predictor) -> dict[str, Any]:
    task, value = predictor.task, _truth(predictor)
    events = {e.name: {**_CHANCE, "title": f"{e.label.en} / {e.label.zh}"} for e in task.answers.events}
    interval = {"level": {"type": "number", "const": task.answers.interval}, "low": value, "high": value}
    interval |= _working_level(task)
    return {
        "value": value,
        "unit": {"type": "string", "const": task.target.unit},
        "interval": {"type": "object", "properties": interval, "required": list(interval)},
        "events": {"type": "object", "properties": events, "required": list(events)},
    }


def _classes(task: Task, classes: list[str]) -> dict[str, Any]:
    """Of a binary task the chance of its positive class, of others one of each; the likeliest class, and the set."""
    word = {"type": "string", "enum": classes}
    if task.kind == "binary":
        positive = task.target.positive
        label = f"The likelier class: {positive!r} from a value of 0.5 on."
        chances: dict[str, Any] = {"value": {**_CHANCE, "description": f"The chance of {positive!r}."}}
    else:
        label = "The likeliest class."
        each = {name: {**_CHANCE, "title": " / ".join(_titles(task, name))} for name in classes}
        chances = {
            "probabilities": {
                "type": "object",
                "properties": each,
                "required": classes,
                "additionalProperties": False,
                "description": "One chance a class; they sum to 1.",
            }
        }
    share = f"{task.answers.interval * 100:g} %"
    described = f"The classes that {share} of such cases do not go beyond, likeliest first; the label is among them."
    inside = {"type": "array", "items": word, "minItems": 1, "uniqueItems": True, "description": described}
    level = {"level": {"type": "number", "const": task.answers.interval}, **_working_level(task)}
    told = level if task.answers.adaptive is not None else {}
    return {**chances, "label": {**word, "description": label}, "set": inside, **told}


def _working_level(task: Task) -> dict[str, Any]:
    if task.answers.adaptive is None:
        return {}
    low, high = task.answers.adaptive.bounds(task.answers.interval)
    described = "The level that outcomes have moved the promised one to, so that it is kept."
    return {"working_level": {"type": "number", "minimum": low, "maximum": high, "description": described}}


def _titles(task: Task, word: str) -> list[str]:
    """A class in English and Chinese, once where both are the same."""
    return list(dict.fromkeys((words.of_class(task, "en", word), words.of_class(task, "zh", word))))


def _response(task: Task, answer: str) -> dict[str, Any]:
    properties = {
        "task": {"type": "string", "const": task.task},
        "version": {"type": "string"},
        "answers": {"type": "array", "items": _ref(answer)},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT = {"type": "string"}
_KEY = {"type": "http", "scheme": "bearer", "description": "A key of `gancao keys create`, or a token where it is set."}
_METRICS = {
    "summary": "What is watched, in Prometheus's text format",
    "operationId": "metrics",
    "responses": {"200": {"description": "OK", "content": {"text/plain": {"schema": _TEXT}}}},
}
_WARNING = {
    "type": "object",
    "properties": {
        "field": _TEXT,
        "code": {
            "type": "string",
            "enum": ["missing_field", "outside_training_range", "unseen_category", "unfamiliar"],
        },
        "message": _TEXT,
        "cost": {
            "type": "number",
            "description": "Of missing_field: how much narrower the interval, or smaller the set, is with it.",
        },
    },
    "required": ["field", "code", "message"],
}
_PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457). No value that was sent is repeated in it.",
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"row": {"type": "integer"}, "field": _TEXT, "code": _TEXT, "message": _TEXT},
                "required": ["row", "field", "code", "message"],
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}
