"""How many training rows reach each leaf, written into trees that do not say: TreeSHAP weighs a branch by it.

Translated trees, and those turned back onto categories, come without. The counts change no prediction.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from serving.ensemble import Member, Model
from serving.trees import Trees
from training.thin import evenly

ROWS = 5000
"""Rows that are counted, from all over the table: a leaf's share is known to a few percent of a branch's weight."""

CHUNK = 1000


def counted(members: list[Member], matrix: np.ndarray) -> list[Member]:
    """The members, of whose trees each leaf has its count. matrix: (n, fields) encoded training rows, n at least 1."""
    rows = sample(matrix)
    return [replace(member, models=tuple(count(model, rows) for model in member.models)) for member in members]


def sample(matrix: np.ndarray) -> np.ndarray:
    """(m, fields) the rows that are counted, m at most ROWS."""
    return np.ascontiguousarray(matrix[evenly(np.arange(len(matrix)), ROWS)])


def count(model: Model, rows: np.ndarray) -> Model:
    """The model with counts, if it is of trees and lacks them. A leaf that no row reaches counts as one row."""
    if not isinstance(model, Trees) or np.isfinite(model.contributions(rows[:1])[0]).all():
        return model
    return Trees(with_counts(model.text, _reached(model, rows)), model.width)


def with_counts(text: str, reached: list[np.ndarray]) -> str:
    """LightGBM text with the leaves' and nodes' counts. reached: (leaves,) rows that reach each, tree by tree."""
    head, *trees = text.split("\nTree=")
    kept = "\n".join(line for line in head.split("\n") if not line.startswith("tree_sizes="))
    return "\nTree=".join([kept, *map(_counted, trees, reached)])


def _counted(tree: str, reached: np.ndarray) -> str:
    lines = tree.split("\n")
    of = dict(line.split("=", 1) for line in lines if "=" in line)
    if int(of["num_leaves"]) < 2:
        return tree
    leaves = np.maximum(reached, 1)
    nodes = _sums([int(word) for word in of["left_child"].split()], [int(w) for w in of["right_child"].split()], leaves)
    told = {"leaf_count": leaves.tolist(), "internal_count": nodes}
    return "\n".join(
        f"{name}={' '.join(map(str, told[name]))}" if (name := line.partition("=")[0]) in told else line
        for line in lines
    )


def _sums(left: list[int], right: list[int], leaves: np.ndarray) -> list[int]:
    """Of each node the rows of the leaves below it; children as in `treetext.Tree`."""
    found = [0] * len(left)
    order = [0]
    for node in order:  # parents before children
        order += [child for child in (left[node], right[node]) if child >= 0]
    for node in reversed(order):
        found[node] = sum(found[child] if child >= 0 else int(leaves[~child]) for child in (left[node], right[node]))
    return found


def _reached(model: Trees, rows: np.ndarray) -> list[np.ndarray]:
    lines = (line for line in model.text.split("\n") if line.startswith("num_leaves="))
    found = [np.zeros(int(line.removeprefix("num_leaves=")), dtype=np.int64) for line in lines]
    for start in range(0, len(rows), CHUNK):
        leaves = model.leaves(rows[start : start + CHUNK])
        for tree, own in enumerate(found):
            own += np.bincount(leaves[:, tree], minlength=len(own))
    return found
