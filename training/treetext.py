"""Trees as LightGBM text: one small library answers for every learner that grows trees.

A tree that was grown on a category's *statistic* (its mean target, say) is turned back into one that splits on the
category itself: `statistic <= t` is the set of categories whose statistic is at most t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

CATEGORICAL, NAN_GOES_RIGHT, NAN_GOES_LEFT = 1, 8, 10
"""LightGBM's decision types that are written here."""


@dataclass
class Tree:
    """One binary tree. Node i: `feature[i]`, `threshold[i]` (x <= threshold goes left), `decision[i]`.

    left, right: a node's children, inner nodes from 0 on, leaf j as ~j. sets: of a categorical node, the codes that
    go left. leaf: the leaves' values. A tree without nodes is the constant leaf[0].
    """

    leaf: list[float]
    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    decision: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    sets: dict[int, list[int]] = field(default_factory=dict)


def write(trees: Sequence[Tree], width: int, outputs: int = 1) -> str:
    """LightGBM text. trees: round by round, `outputs` trees a round; width: number of columns."""
    head = [
        "tree",
        "version=v4",
        f"num_class={outputs}",
        f"num_tree_per_iteration={outputs}",
        "label_index=0",
        f"max_feature_idx={width - 1}",
        "objective=regression" if outputs == 1 else f"objective=multiclass num_class:{outputs}",
        f"feature_names={' '.join(f'Column_{i}' for i in range(width))}",
        f"feature_infos={' '.join(['none'] * width)}",
    ]
    body = [f"Tree={index}\n{_text(tree)}\n\n" for index, tree in enumerate(trees)]
    sizes = f"tree_sizes={' '.join(str(len(text)) for text in body)}"
    return "\n".join([*head, sizes, "", ""]) + "".join(body) + "end of trees\n"


def _text(tree: Tree) -> str:
    if not tree.feature:
        return f"num_leaves=1\nnum_cat=0\nleaf_value={tree.leaf[0]!r}\nis_linear=0\nshrinkage=1\n"
    thresholds, boundaries, words = [], [0], list[int]()
    for node, threshold in enumerate(tree.threshold):
        if node in tree.sets:
            thresholds.append(str(len(boundaries) - 1))
            bits = _bitset(tree.sets[node])
            boundaries.append(boundaries[-1] + len(bits))
            words += bits
        else:
            thresholds.append(repr(threshold))
    nodes = len(tree.feature)
    lines: dict[str, Sequence[object]] = {
        "num_leaves": [len(tree.leaf)],
        "num_cat": [len(tree.sets)],
        "split_feature": tree.feature,
        "split_gain": [0] * nodes,
        "threshold": thresholds,
        "decision_type": tree.decision,
        "left_child": tree.left,
        "right_child": tree.right,
        "leaf_value": [repr(value) for value in tree.leaf],
        "leaf_weight": [0] * len(tree.leaf),
        "leaf_count": [0] * len(tree.leaf),
        "internal_value": [0] * nodes,
        "internal_weight": [0] * nodes,
        "internal_count": [0] * nodes,
        **({"cat_boundaries": boundaries, "cat_threshold": words} if tree.sets else {}),
        "is_linear": [0],
        "shrinkage": [1],
    }
    return "".join(f"{key}={' '.join(map(str, values))}\n" for key, values in lines.items())


def _bitset(codes: Sequence[int]) -> list[int]:
    words = [0] * (max(codes, default=0) // 32 + 1)
    for code in codes:
        words[code // 32] |= 1 << (code % 32)
    return words


def on_sources(trees: Sequence[Tree], sources: Sequence[int | tuple[int, np.ndarray]]) -> list[Tree]:
    """The trees, grown on expanded columns, on the columns that these come from (`statistics.expand`).

    A split on a statistic becomes one on its category: the codes whose statistic is at most the threshold go left.
    """
    return [_on_sources(tree, sources) for tree in trees]


def _on_sources(tree: Tree, sources: Sequence[int | tuple[int, np.ndarray]]) -> Tree:
    out = replace(tree, feature=list(tree.feature), decision=list(tree.decision), sets={})
    for node, column in enumerate(tree.feature):
        source = sources[column]
        if isinstance(source, int):
            out.feature[node] = source
        else:
            out.feature[node], values = source
            out.sets[node] = np.flatnonzero(values <= tree.threshold[node]).tolist()
            out.decision[node] = CATEGORICAL
    return out


def read(text: str) -> list[Tree]:
    """The trees of LightGBM text that split on numbers only."""
    trees = []
    for part in text.split("\nTree=")[1:]:
        lines = dict(line.split("=", 1) for line in part.split("\n\n")[0].split("\n")[1:] if "=" in line)
        tree = Tree([float(value) for value in lines["leaf_value"].split()])
        if int(lines["num_leaves"]) > 1:
            tree.feature, tree.decision, tree.left, tree.right = (
                [int(value) for value in lines[key].split()]
                for key in ("split_feature", "decision_type", "left_child", "right_child")
            )
            tree.threshold = [float(value) for value in lines["threshold"].split()]
        trees.append(tree)
    return trees


def averaged(text: str, rounds: int) -> str:
    """A forest's text, whose trees are averaged, as one whose trees are summed: raw scores are sums."""
    lines = []
    for line in text.split("\n"):
        if line.startswith("leaf_value="):
            values = [float(value) / rounds for value in line.removeprefix("leaf_value=").split()]
            lines.append(f"leaf_value={' '.join(map(repr, values))}")
        elif line != "average_output" and not line.startswith("tree_sizes="):
            lines.append(line)
    return "\n".join(lines)
