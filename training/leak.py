"""A leak: what was found, its figure, and the two ways on."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.field import Text
from feature_store.task import Check

LABELS: dict[Check, Text] = {
    "single_field": Text(en="one field tells nearly all", zh="单一字段几乎决定结果"),
    "after_the_event": Text(en="recorded after the event", zh="事后才记录"),
    "target_derived": Text(en="made from the target", zh="由目标推算而来"),
    "duplicates_across_split": Text(en="the same rows in training and holdout", zh="训练集与留出集有相同的行"),
    "entity_overlap": Text(en="the same entity in training and holdout", zh="训练集与留出集有相同的对象"),
    "future_timestamps": Text(en="dates that lie ahead", zh="晚于当时的日期"),
}
"""The checks in words, for reports and cards."""


@dataclass(frozen=True)
class Leak:
    """One leak. field: "" for the whole table; waived: the reason in the Task, or None when it stops the run."""

    field: str
    check: Check
    figure: float
    threshold: float
    message: str
    remedy: str
    waived: str | None = None

    def __str__(self) -> str:
        return f"{self.field or 'the table'}: {self.check}: {self.message}\n  {self.remedy}"


def leak(field: str, check: Check, figure: float, threshold: float, message: str, way: str = "") -> Leak:
    """A leak with its two ways on: `way` (by default to remove the field), or the waiver, ready to paste."""
    way = way or f"Remove {field} from the Task's fields"
    name = f"field: {field}, " if field else ""
    waiver = f'leakage: {{waivers: [{{{name}check: {check}, reason: "why it is known in time"}}]}}'
    remedy = f"{way}, or, if this is right as it is, write the reason into the Task: {waiver}"
    return Leak(field, check, figure, threshold, message, remedy)
