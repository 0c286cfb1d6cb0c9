"""What a field that is not given costs: how much wider the interval, or larger the set, is without it."""

from __future__ import annotations

import numpy as np

from serving.classes import Classes
from serving.encode import UNKNOWN
from serving.ensemble import ensembles
from serving.predictor import Predictor

ROWS, TOTAL, LEAST = 300, 9000, 25
"""Rows that are asked with and without a field; of all fields together; and the fewest that say something."""


def costs(predictor: Predictor, matrix: np.ndarray, seed: int) -> dict[str, float]:
    """By optional field: the mean width of the interval (of classes: size of the set) without it, less that with it.

    In the target's unit, below 0 where its absence narrows; of training rows that have it (matrix: (n, fields)
    encoded). Fields that too few rows have, or that there are too many of to ask about, are absent.
    """
    order, out = np.random.default_rng([seed, 6]).permutation(len(matrix)), {}
    optional = [(place, f) for place, f in enumerate(predictor.task.fields) if not f.required]
    rows = max(min(ROWS, TOTAL // max(len(optional), 1)), LEAST)
    for place, field in optional[: TOTAL // LEAST]:
        missing = UNKNOWN if field.type == "category" else np.nan
        column = matrix[order, place]
        known = order[(column != UNKNOWN) if field.type == "category" else ~np.isnan(column)][:rows]
        if len(known) < LEAST:
            continue
        given = matrix[known]
        without = given.copy()
        without[:, place] = predictor.bundle.encoder.fill.get(field.name, missing)
        out[field.name] = float(np.mean(_widths(predictor, without)) - np.mean(_widths(predictor, given)))
    return out


def _widths(predictor: Predictor, matrix: np.ndarray) -> list[float]:
    distribution = predictor.bundle.distribution
    if isinstance(distribution, Classes):
        chances = ensembles(predictor.bundle.members, matrix).tolist()
        return [float(len(distribution.answer(row, own).set)) for row, own in zip(matrix, chances, strict=True)]
    centres, scales = (part.tolist() for part in predictor.centre_and_scale(matrix))
    answers = [distribution.answer(*case) for case in zip(matrix, centres, scales, strict=True)]
    return [answer.high - answer.low for answer in answers]
