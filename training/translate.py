"""XGBoost's and CatBoost's trees as LightGBM's, decision for decision.

Splits are exact, also for the rounding of inputs to float32 that both do. Leaves are summed in float64 where XGBoost
sums in float32: the answers differ from `xgboost.Booster.predict` by its rounding, about 1e-6 of the value, and the
translated model is the one that is judged and served. LightGBM takes a number nearer to 0 than 1e-35 for 0.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from training.treetext import CATEGORICAL, NAN_GOES_LEFT, NAN_GOES_RIGHT, Tree

_LEAF = -1


def from_xgboost(raw_json: bytes) -> tuple[list[Tree], int]:
    """Trees and outputs of an XGBoost model, as `Booster.save_raw("json")` gives it (gbtree)."""
    learner = json.loads(raw_json)["learner"]
    outputs = max(int(learner["learner_model_param"]["num_class"]), 1)
    base = float(learner["learner_model_param"]["base_score"])
    if learner["objective"]["name"] == "binary:logistic":  # kept as a probability, added as log-odds
        base = math.log(base / (1.0 - base))
    trees = learner["gradient_booster"]["model"]["trees"]
    return [*[Tree([base]) for _ in range(outputs)], *map(_xgboost_tree, trees)], outputs


def _xgboost_tree(tree: dict[str, Any]) -> Tree:
    left, right = tree["left_children"], tree["right_children"]
    if left[0] == _LEAF:
        return Tree([float(np.float32(tree["split_conditions"][0]))])
    inner = [node for node in range(len(left)) if left[node] != _LEAF]
    leaves = [node for node in range(len(left)) if left[node] == _LEAF]
    place = {node: index for index, node in enumerate(inner)} | {node: ~index for index, node in enumerate(leaves)}
    listed = _category_sets(tree)
    out = Tree([float(np.float32(tree["split_conditions"][node])) for node in leaves])
    for index, node in enumerate(inner):
        out.feature.append(tree["split_indices"][node])
        if node in listed:  # XGBoost sends listed categories right, LightGBM left
            out.sets[index] = listed[node]
            out.threshold.append(0.0)
            out.decision.append(CATEGORICAL)
            out.left.append(place[right[node]])
            out.right.append(place[left[node]])
        else:
            out.threshold.append(largest_below(tree["split_conditions"][node]))
            out.decision.append(NAN_GOES_LEFT if tree["default_left"][node] else NAN_GOES_RIGHT)
            out.left.append(place[left[node]])
            out.right.append(place[right[node]])
    return out


def _category_sets(tree: dict[str, Any]) -> dict[int, list[int]]:
    starts, sizes = tree["categories_segments"], tree["categories_sizes"]
    return {
        node: tree["categories"][start : start + size]
        for node, start, size in zip(tree["categories_nodes"], starts, sizes, strict=True)
    }


def from_catboost(model_json: bytes) -> tuple[list[Tree], int]:
    """Trees and outputs of a CatBoost model, as `save_model(..., format="json")` writes it; number features only."""
    model = json.loads(model_json)
    scale, biases = model["scale_and_bias"]
    outputs = len(biases)
    features = model["features_info"].get("float_features", [])
    trees = [Tree([float(bias)]) for bias in biases]
    for tree in model["oblivious_trees"]:
        splits = [(features[split["float_feature_index"]], split["border"]) for split in tree["splits"]]
        values = np.array(tree["leaf_values"], dtype=np.float64).reshape(-1, outputs) * scale
        trees += [_oblivious(splits, values[:, output].tolist()) for output in range(outputs)]
    return trees, outputs


def _oblivious(splits: list[tuple[dict[str, Any], float]], values: list[float]) -> Tree:
    """A full binary tree of an oblivious one: all nodes of a level ask the same; split i is bit i of the leaf."""
    depth, out = len(splits), Tree(values)
    for level in range(depth):
        feature, border = splits[depth - 1 - level]
        at = largest_below(float(np.nextafter(np.float32(border), np.float32(np.inf))))  # x > border goes right
        nan = NAN_GOES_RIGHT if feature["nan_value_treatment"] == "AsTrue" else NAN_GOES_LEFT
        for place in range(2**level):
            out.feature.append(feature["flat_feature_index"])
            out.threshold.append(at)
            out.decision.append(nan)
            last = level == depth - 1
            below = 2 ** (level + 1) - 1
            out.left.append(~(2 * place) if last else below + 2 * place)
            out.right.append(~(2 * place + 1) if last else below + 2 * place + 1)
    return out


def largest_below(threshold: float) -> float:
    """The largest float64 x whose float32 rounding is below `threshold`: x < t in float32 as x <= this in float64."""
    above = np.float32(threshold)
    below = np.nextafter(above, np.float32(-np.inf))
    middle = (float(below) + float(above)) / 2.0  # exact: both have 24-bit mantissas
    return middle if np.float32(middle) < above else float(np.nextafter(middle, -np.inf))
