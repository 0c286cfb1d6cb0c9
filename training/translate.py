"""XGBoost trees as LightGBM text, decision for decision, so that one small library answers for both.

Splits are exact, also for the rounding of inputs to float32 that XGBoost does. Leaves are summed in float64
where XGBoost sums in float32: the answers differ from `xgboost.Booster.predict` by its rounding, about 1e-6
of the value, and the translated model is the one that is judged and served.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

_LEAF = -1
_NAN_GOES_RIGHT, _NAN_GOES_LEFT, _CATEGORICAL = 8, 10, 1


def to_lightgbm(raw_json: bytes) -> str:
    """LightGBM text of an XGBoost model, as `Booster.save_raw("json")` gives it (gbtree, one output)."""
    learner = json.loads(raw_json)["learner"]
    width = int(learner["learner_model_param"]["num_feature"])
    base = float(learner["learner_model_param"]["base_score"])
    trees = learner["gradient_booster"]["model"]["trees"]
    texts = [_constant(base), *(_tree(tree) for tree in trees)]
    head = [
        "tree",
        "version=v4",
        "num_class=1",
        "num_tree_per_iteration=1",
        "label_index=0",
        f"max_feature_idx={width - 1}",
        "objective=regression",
        f"feature_names={' '.join(f'Column_{i}' for i in range(width))}",
        f"feature_infos={' '.join(['none'] * width)}",
    ]
    body = [f"Tree={index}\n{text}\n\n" for index, text in enumerate(texts)]
    sizes = f"tree_sizes={' '.join(str(len(text)) for text in body)}"
    return "\n".join([*head, sizes, "", ""]) + "".join(body) + "end of trees\n"


def _constant(value: float) -> str:
    return f"num_leaves=1\nnum_cat=0\nleaf_value={value!r}\nis_linear=0\nshrinkage=1\n"


def _tree(tree: dict[str, Any]) -> str:
    left, right = tree["left_children"], tree["right_children"]
    if left[0] == _LEAF:
        return _constant(float(np.float32(tree["split_conditions"][0])))
    inner = [node for node in range(len(left)) if left[node] != _LEAF]
    leaves = [node for node in range(len(left)) if left[node] == _LEAF]
    place = {node: index for index, node in enumerate(inner)} | {node: ~index for index, node in enumerate(leaves)}
    sets = _category_sets(tree)
    thresholds, decisions, lefts, rights = [], [], [], []
    boundaries, words = [0], []
    for node in inner:
        if node in sets:  # XGBoost sends listed categories right, LightGBM left
            bits = _bitset(sets[node])
            thresholds.append(str(len(boundaries) - 1))
            boundaries.append(boundaries[-1] + len(bits))
            words += bits
            decisions.append(_CATEGORICAL)
            lefts.append(place[right[node]])
            rights.append(place[left[node]])
        else:
            thresholds.append(repr(_largest_that_goes_left(tree["split_conditions"][node])))
            decisions.append(_NAN_GOES_LEFT if tree["default_left"][node] else _NAN_GOES_RIGHT)
            lefts.append(place[left[node]])
            rights.append(place[right[node]])
    lines = {
        "num_leaves": [len(leaves)],
        "num_cat": [len(sets)],
        "split_feature": [tree["split_indices"][node] for node in inner],
        "split_gain": [tree["loss_changes"][node] for node in inner],
        "threshold": thresholds,
        "decision_type": decisions,
        "left_child": lefts,
        "right_child": rights,
        "leaf_value": [repr(float(np.float32(tree["split_conditions"][node]))) for node in leaves],
        "leaf_weight": [tree["sum_hessian"][node] for node in leaves],
        "leaf_count": [round(tree["sum_hessian"][node]) for node in leaves],
        "internal_value": [tree["base_weights"][node] for node in inner],
        "internal_weight": [tree["sum_hessian"][node] for node in inner],
        "internal_count": [round(tree["sum_hessian"][node]) for node in inner],
        **({"cat_boundaries": boundaries, "cat_threshold": words} if sets else {}),
        "is_linear": [0],
        "shrinkage": [1],
    }
    return "".join(f"{key}={' '.join(map(str, values))}\n" for key, values in lines.items())


def _largest_that_goes_left(threshold: float) -> float:
    """The largest float64 x whose float32 rounding is below `threshold`: XGBoost's x < t as LightGBM's x <= this."""
    above = np.float32(threshold)
    below = np.nextafter(above, np.float32(-np.inf))
    middle = (float(below) + float(above)) / 2.0  # exact: both have 24-bit mantissas
    return middle if np.float32(middle) < above else float(np.nextafter(middle, -np.inf))


def _category_sets(tree: dict[str, Any]) -> dict[int, list[int]]:
    starts, sizes = tree["categories_segments"], tree["categories_sizes"]
    return {
        node: tree["categories"][start : start + size]
        for node, start, size in zip(tree["categories_nodes"], starts, sizes, strict=True)
    }


def _bitset(codes: list[int]) -> list[int]:
    words = [0] * (max(codes) // 32 + 1)
    for code in codes:
        words[code // 32] |= 1 << (code % 32)
    return words
