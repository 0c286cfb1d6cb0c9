"""What a model costs for one row: an estimate from what it holds, so that the same search chooses the same again.

The figures are measured by `benchmarks/cost.py` beside the models' real times (docs/benchmarks/cost.md).
"""

from __future__ import annotations

import math
import re

from serving.additive import Additive
from serving.ensemble import Model
from serving.mlp import Mlp
from serving.sound import ADDITIVE_US, COLUMN_US, LEVEL_US, MLP_US, MULTIPLY_US, TREES_US
from serving.trees import Trees


def row_us(model: Model) -> float:
    """Microseconds that the model takes for one row, about."""
    if isinstance(model, Trees):
        leaves = [int(number) for number in re.findall(r"^num_leaves=(\d+)$", model.text, re.MULTILINE)]
        return TREES_US + LEVEL_US * sum(math.log2(max(count, 2)) for count in leaves)
    if isinstance(model, Mlp):
        return MLP_US + MULTIPLY_US * model.cost
    assert isinstance(model, Additive)
    return ADDITIVE_US + COLUMN_US * model.cost * (0.7 + 0.3 * len(model.intercept))
