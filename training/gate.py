"""The gate: promotion is earned, on the holdout, in a paired test, against the baselines and the reigning champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feature_store.task import Task
from training.paired import Difference, Ground, compare, compare_groups

GROUP_ROWS = 100
"""A declared group of so many rows may stop a promotion; the interval of a smaller one is not to be relied on."""


@dataclass(frozen=True)
class Verdict:
    """`promote`, `challenger` or `reject`, and the reasons in words, as in `better than mean`.

    A reason is `better than`, `no worse than`, `not told apart from` or `worse than` a rival, of a group: `worse than
    champion-3 for plurality=twins`. differences: to each rival; groups: to the champion within each declared group.
    """

    decision: str
    reasons: list[str]
    differences: dict[str, Difference] = field(default_factory=dict)
    groups: dict[str, Difference] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "decision": self.decision,
            "reasons": self.reasons,
            "differences": {name: found.to_json() for name, found in self.differences.items()},
            "groups": {name: found.to_json() for name, found in self.groups.items()},
        }


def judge(
    task: Task,
    ground: Ground,
    predicted: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    champion: Mapping[str, np.ndarray],
    seed: int,
) -> Verdict:
    """What a version has earned. predicted, baselines and the champion (none or one, by its name): (n, outputs) each.

    reject: worse than a baseline of the gate, than the mean or the prior, or than the champion.
    promote: better than the mean or the prior; and better than the champion or surely no worse by `gate.margin` of
    its loss, with no group of GROUP_ROWS that is surely worse, and worse by more than that margin. With `auc` a group
    needs both classes. challenger: all between.
    """
    constant = "mean" if task.kind == "regression" else "prior"
    names = dict.fromkeys([*task.gate.baselines, constant])
    rivals = {name: baselines[name] for name in names} | dict(champion)
    found = {name: compare(task, ground, predicted, rival, seed) for name, rival in rivals.items()}
    reasons = [f"{_finding(task, found[name], name in champion)} {name}" for name in rivals]
    groups: dict[str, Difference] = {}
    held_back = found[constant].word != "better than"
    for name, rival in champion.items():
        groups = compare_groups(task, ground, predicted, rival, seed, shared=True)
        worse = [group for group, difference in groups.items() if _suffers(task, difference)]
        reasons += [f"worse than {name} for {group}" for group in worse]
        held_back |= bool(worse) or _finding(task, found[name], True) == "not told apart from"
    rejected = any(difference.word == "worse than" for difference in found.values())
    decision = "reject" if rejected else "challenger" if held_back else "promote"
    return Verdict(decision, reasons, found, groups)


def _finding(task: Task, difference: Difference, reigning: bool) -> str:
    """The word of a difference; of one to the champion also whether it is surely within the margin."""
    told = difference.word
    return (
        "no worse than" if reigning and told == "not told apart from" and difference.within(task.gate.margin) else told
    )


def _suffers(task: Task, difference: Difference) -> bool:
    """Whether a group is large enough, surely worse, and by more than the margin."""
    worse = difference.word == "worse than" and difference.mean > task.gate.margin * difference.other
    return worse and difference.n >= GROUP_ROWS
