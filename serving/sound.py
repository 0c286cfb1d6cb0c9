"""Whether a version may be let in: its models can neither read beyond a row nor loop, and a row's work is bounded.

Golden rows show what a version does with rows like theirs. A tree that goes in a circle, or looks at a column that is
not there, shows it only to the row that gets that far, and LightGBM follows it there: it checks neither. So what the
child reads is also walked once, branch by branch, and what a row may cost at the worst is counted. A worker does
neither again: its copy has the same digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from feature_store.errors import BundleRefused
from serving.additive import Additive
from serving.bundle import Bundle
from serving.distribution import ALL, Distribution
from serving.ensemble import Model
from serving.familiar import Bins, Familiarity
from serving.mlp import Mlp
from serving.trees import Trees

MOST_ROW_US = 50_000.0
"""What a version's models may take for one row at the worst, by count: a hundred times what a Task allows by default
(`search.max_row_us`)."""

TREES_US, LEVEL_US = 5.0, 0.025
"""A tree model's call, and one level of one tree; these and the next are measured by `benchmarks/cost.py`."""

ADDITIVE_US, COLUMN_US = 3.0, 0.45
"""An additive model's call, and one column for one output."""

MLP_US, MULTIPLY_US = 17.0, 0.0003
"""A perceptron's call, and one multiplication."""


def judge(bundle: Bundle, most_us: float = MOST_ROW_US) -> float:
    """The microseconds that the models take for one row at the worst, about.

    Raises BundleRefused naming what is wrong or that it is more than most_us, or ValueError and its like on nonsense.
    """
    width, total = len(bundle.task.fields), 0.0
    models = [model for member in bundle.members for model in member.models]
    for model in [*models, *([bundle.scale] if bundle.scale is not None else [])]:
        total += worst_us(model, width)
    if not models or not np.isfinite([member.weight for member in bundle.members]).all():
        raise BundleRefused("Its ensemble has no members, or weights that are no numbers. Train the task again.")
    if not total <= most_us:
        raise BundleRefused(
            f"Its models take about {total:.0f} us a row at the worst; at most {most_us:.0f} may answer. "
            "Train the task again with a smaller search.max_row_us."
        )
    _cells(bundle)
    if bundle.reference.familiarity is not None:
        words = {n: len(bundle.encoder.categories.get(f.name, ())) for n, f in enumerate(bundle.task.fields)}
        _familiar(bundle.reference.familiarity, words)
    return total


def worst_us(model: Model, width: int) -> float:
    """The longest way of a row through a model, in microseconds. width: columns. Raises as `judge` does."""
    if isinstance(model, Trees):
        return TREES_US + LEVEL_US * sum(_depth(tree, width) for tree in _trees(model.text))
    if isinstance(model, Mlp):
        inputs = model.inputs
        numbers = [one.column for one in (*inputs.smooth, *inputs.plain)]
        _columns([*numbers, *inputs.missing, *(one.column for one in inputs.categories)], width)
        return MLP_US + MULTIPLY_US * model.cost
    assert isinstance(model, Additive)
    outputs = len(model.intercept)
    _columns([*(curve.column for curve in model.curves), *(table.column for table in model.tables)], width)
    _numbers(model.intercept, (outputs,))
    for curve in model.curves:
        pieces = len(curve.knots) - 1
        if pieces < 1 or np.any(np.diff(_numbers(curve.knots, (pieces + 1,))) < 0):
            raise _wrong("a curve whose knots don't ascend")
        _numbers(curve.base, (pieces, outputs))
        _numbers(curve.slope, (pieces, outputs))
        _numbers(curve.missing, (outputs,))
    for table in model.tables:
        _numbers(table.values, (max(len(table.values), 1), outputs))
    return ADDITIVE_US + COLUMN_US * model.cost * max(outputs, 1)


def _trees(text: str) -> Iterator[dict[str, str]]:
    """The trees of a LightGBM model as LightGBM itself would read them: by `tree_sizes` where they are stated."""
    head, *parts = text.encode().partition(b"\nend of trees")[0].split(b"\nTree=")
    sizes = re.findall(rb"^tree_sizes=(.*)$", head, re.MULTILINE)
    if b"\r" in text.encode() or len(sizes) > 1:
        raise _wrong("lines that are read in two ways")
    if sizes:
        stated = [int(size) for size in sizes[0].split()]
        found = [len(b"Tree=") + len(part) + 1 for part in parts]
        if stated != found:
            raise _wrong("tree_sizes that are not those of its trees")
    for part in parts:
        pairs = [line.split("=", 1) for line in part.decode().split("\n")[1:] if "=" in line]
        tree = dict(pairs)
        if len(tree) != len(pairs):
            raise _wrong("a tree that states something twice")
        yield tree


def _depth(tree: dict[str, str], width: int) -> int:
    """The levels of a tree, 0 of a constant."""
    leaves = int(tree["num_leaves"])
    if leaves < 1 or int(tree.get("is_linear", "0")) != 0:
        raise _wrong("a tree without leaves, or with models in its leaves")
    if not np.isfinite(_array(tree, "leaf_value", leaves)).all():
        raise _wrong("a leaf that is no number")
    if leaves == 1:
        return 0
    left, right = (_whole(tree, name, leaves - 1) for name in ("left_child", "right_child"))
    children = np.concatenate([left, right])
    inner, ends = np.sort(children[children >= 0]), np.sort(~children[children < 0])
    if not (np.array_equal(inner, np.arange(1, leaves - 1)) and np.array_equal(ends, np.arange(leaves))):
        raise _wrong("a tree that does not branch")
    features = _whole(tree, "split_feature", leaves - 1)
    _columns([int(features.min()), int(features.max())], width)
    _sets(tree, leaves - 1)
    sides, deepest, ways = (left.tolist(), right.tolist()), 0, [(0, 1)]
    while ways:
        node, depth = ways.pop()
        deepest = max(deepest, depth)
        ways += [(side[node], depth + 1) for side in sides if side[node] >= 0]
    return deepest


def _sets(tree: dict[str, str], nodes: int) -> None:
    """Raises BundleRefused where a node splits on a set of categories that is not there."""
    count = int(tree.get("num_cat", "0"))
    thresholds = _array(tree, "threshold", nodes)
    named = thresholds[_whole(tree, "decision_type", nodes) % 2 == 1]
    if count < 0 or np.any(~((named >= 0) & (named < count))):  # True for NaN
        raise _wrong("a split on a set that is not there")
    if count:
        ends = _whole(tree, "cat_boundaries", count + 1)
        if ends[0] != 0 or np.any(np.diff(ends) < 0) or len(tree["cat_threshold"].split()) != ends[-1]:
            raise _wrong("sets of categories that are cut short")


def _array(tree: dict[str, str], name: str, length: int) -> np.ndarray:
    found = np.array(tree[name].split(), dtype=np.float64)
    if len(found) != length:
        raise _wrong(f"{len(found)} numbers in {name} where it needs {length}")
    return found


def _whole(tree: dict[str, str], name: str, length: int) -> np.ndarray:
    found = np.array(tree[name].split(), dtype=np.int64)
    if len(found) != length:
        raise _wrong(f"{len(found)} numbers in {name} where it needs {length}")
    return found


def _columns(columns: list[int], width: int) -> None:
    for column in columns:
        if not 0 <= column < width:
            raise _wrong(f"the column {column} where the Task has {width}")


def _numbers(part: Any, shape: tuple[int, ...]) -> np.ndarray:
    found = np.array(part, dtype=np.float64)
    if found.shape != shape or not np.isfinite(found).all():
        raise _wrong(f"numbers of shape {found.shape} where {shape} finite ones are needed")
    return found


def _cells(bundle: Bundle) -> None:
    """Every row finds a cell, and a cell has scores in order."""
    cells = bundle.distribution.cells
    for cell in cells.values():
        if not len(cell.scores) or not np.isfinite(cell.scores).all() or np.any(np.diff(cell.scores) < 0):
            raise _wrong("a cell whose scores are no ascending numbers")
    scaled = isinstance(bundle.distribution, Distribution)  # chances have none
    if ALL not in cells or (scaled and not (np.isfinite(bundle.scale_floor) and bundle.scale_floor > 0)):
        raise _wrong("no cell for all rows, or no scale above 0")


def _familiar(known: Familiarity, words: dict[int, int]) -> None:
    """Every value finds its bin, and every bin its surprise. words: by field the number of its known words."""
    sizes = [_bins(bins) for bins in known.bins]
    for place, (bins, parent, table) in enumerate(zip(known.bins, known.parents, known.tables, strict=True)):
        if bins.words is not None and len(bins.words) <= words[place]:
            raise _wrong("a word without a bin")
        needed = sizes[parent] + 1 if 0 <= parent < len(sizes) else 1
        if parent >= len(sizes) or len(table) < needed or min(len(row) for row in table) < sizes[place]:
            raise _wrong("a bin without its surprise")


def _bins(bins: Bins) -> int:
    return len(bins.edges) + 1 if bins.words is None else max([-1, *bins.words]) + 1


def _wrong(what: str) -> BundleRefused:
    return BundleRefused(f"A model of it has {what}, so it might not answer every row. Train the task again.")
