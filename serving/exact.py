"""What each field adds to the raw scores of trees (TreeSHAP) and of additive models, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from serving.additive import Additive
from serving.ensemble import Member, Model
from serving.trees import Trees

Method = Literal["treeshap", "additive", "sampled"]

Means = dict[int, np.ndarray]
"""By id of an additive model, (fields, outputs) the mean of each column's function."""


def method(member: Member, row: np.ndarray) -> Method:
    """How a member's raw scores are taken apart: `sampled` where nothing exact is known.

    row: (1, fields) any encoded row. TreeSHAP needs counts of training rows, which translated trees may lack.
    """
    if all(isinstance(model, Additive) for model in member.models):
        return "additive"
    trees = [model for model in member.models if isinstance(model, Trees)]
    exact = len(trees) == len(member.models) and all(np.isfinite(tree.contributions(row)[0]).all() for tree in trees)
    return "treeshap" if exact else "sampled"


def means(members: Sequence[Member], matrix: np.ndarray) -> Means:
    """Of the members' additive models, over a (n, fields) matrix."""
    return {id(m): m.parts(matrix).mean(axis=0) for one in members for m in one.models if isinstance(m, Additive)}


def contributions(member: Member, matrix: np.ndarray, known: Means) -> tuple[np.ndarray, np.ndarray]:
    """(n, fields, outputs) on the raw scale, and (outputs,) what they are added to; a bag's mean.

    member: one with an exact method. Of trees the base is the mean over training rows, of additive models over the
    rows of `known`.
    """
    parts = [_of_model(model, matrix, known) for model in member.models]
    values = np.mean([value for value, _ in parts], axis=0)
    return np.asarray(values), np.asarray(np.mean([base for _, base in parts], axis=0))


def _of_model(model: Model, matrix: np.ndarray, known: Means) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(model, Trees):
        return model.contributions(matrix)
    assert isinstance(model, Additive)
    mean = known[id(model)]
    return model.parts(matrix) - mean, np.array(model.intercept) + mean.sum(axis=0)
