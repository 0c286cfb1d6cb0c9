"""Slow, obvious second versions of hard code."""

from __future__ import annotations

import json
from typing import Any

import numpy as np


def xgboost_by_hand(raw_json: bytes, row: np.ndarray) -> float:
    """Walk an XGBoost model node by node for one row, inputs rounded to float32, leaves summed in float64."""
    learner = json.loads(raw_json)["learner"]
    total = float(learner["learner_model_param"]["base_score"])
    for tree in learner["gradient_booster"]["model"]["trees"]:
        total += float(np.float32(tree["split_conditions"][_leaf(tree, row)]))
    return total


def _leaf(tree: dict[str, Any], row: np.ndarray) -> int:
    sets = {
        node: tree["categories"][start : start + size]
        for node, start, size in zip(
            tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
        )
    }
    node = 0
    while tree["left_children"][node] != -1:
        value = np.float32(row[tree["split_indices"][node]])
        if np.isnan(value):
            left = bool(tree["default_left"][node])
        elif node in sets:
            left = int(value) not in sets[node]
        else:
            left = bool(value < np.float32(tree["split_conditions"][node]))
        node = tree["left_children"][node] if left else tree["right_children"][node]
    return node


def below_by_counting(scores: list[float], score: float) -> float:
    """P(new score < score) of a conformal predictive system: how many lie below, plus a half, of n + 1 places."""
    return (sum(one < score for one in scores) + 0.5) / (len(scores) + 1)
