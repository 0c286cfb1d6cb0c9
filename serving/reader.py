"""One Task's bodies, decoded and judged by one call of a compiled decoder; the rest is for `request.read`.

msgspec keeps the last of two keys that stand twice and drops keys that a row may not have. Both are seen here by
counting: without a backslash every quotation mark of valid JSON begins or ends a string, so a body whose kept keys and
words are fewer than half its quotation marks held something that was dropped. Such a body, and any that msgspec
refuses, goes to the plain reader, whose errors are the only ones.
"""

from __future__ import annotations

from math import ceil, floor
from types import GenericAlias
from typing import Annotated, Any, Literal, Required, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from feature_store.field import AnyField, DateField, NumberField
from feature_store.task import Task
from serving import request
from serving.request import MAX_EXPLAINED, MAX_ROWS, Asked

_INT64 = 2**63 - 1
"""Limits of whole numbers end here, since msgspec's do; larger ones are for the plain reader."""


class Reader:
    """Reads predict bodies of one Task: the same rows as `request.read`, at a tenth of its cost."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._dates = [field for field in task.fields if isinstance(field, DateField)]
        self._words = [field.name for field in task.fields if field.type in ("category", "date")]
        self._decode = msgspec.json.Decoder(_body(task)).decode

    def read(self, body: bytes, explain: bool = False) -> Asked:
        """As `request.read` of the Task. Raises what that raises."""
        return self._quick(body, explain) or request.read(self._task, body, explain)

    def _quick(self, body: bytes, explain: bool) -> Asked | None:
        """What a body without any fault asks for; None where it may have one."""
        if b"\\" in body:
            return None
        try:
            document: Any = self._decode(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        rows: list[dict[str, Any]] = document.rows
        kept = 1 + sum(map(len, rows)) + (document.explain is not UNSET)
        for name in self._words:
            kept += sum(row.get(name) is not None for row in rows)
        if body.count(b'"') != 2 * kept:
            return None
        explain = explain or document.explain is True
        if not 0 < len(rows) <= (MAX_EXPLAINED if explain else MAX_ROWS):
            return None
        for field in self._dates:
            if any(request.fault(field, row[field.name]) for row in rows if row.get(field.name) is not None):
                return None
        return Asked(rows, explain)


def _body(task: Task) -> type[msgspec.Struct]:
    """The type of a predict body. Of a day it holds the length only."""
    fields = {field.name: Required[_kind(field)] if field.required else _kind(field) | None for field in task.fields}
    made: Any = TypedDict  # of what is known at run time only
    row = made("row", fields, total=False)
    return msgspec.defstruct(
        "Body", [("rows", GenericAlias(list, row)), ("explain", bool | UnsetType, UNSET)], forbid_unknown_fields=True
    )


def _kind(field: AnyField) -> Any:
    if isinstance(field, NumberField):
        low, high = field.limits
        whole = Meta(ge=max(ceil(low), -_INT64), le=min(floor(high), _INT64))
        real = Meta(ge=float(low), le=float(high), multiple_of=1.0 if field.integer else None)
        return Annotated[int, whole] | Annotated[float, real]
    if field.type == "flag":
        return bool
    if field.type == "category" and field.choices is not None:
        return Literal[tuple(choice.value for choice in field.choices)]
    return Annotated[str, Meta(max_length=10 if field.type == "date" else 200)]
