"""What the holdout and the training rows tell beside the version's own measures: importance, more rows."""

from __future__ import annotations

import numpy as np

from serving.ensemble import combine
from serving.predictor import Predictor
from training import curve, explain
from training.evaluate import Holdout
from training.figures.seen import Insight
from training.learn import Learnt, Workshop


def insight(answering: Predictor, shop: Workshop, learnt: Learnt, holdout: Holdout, matrix: np.ndarray) -> Insight:
    """What the version's figures show of its fields and of more rows. matrix: the encoded holdout."""
    task, members = shop.task, answering.bundle.members
    grown = curve.learning_curve(shop.engine, learnt.shared)
    shap = explain.shap(members, matrix, shop.seed)
    order = np.argsort(-shap.strength).tolist() if shap is not None else []
    importance = explain.importance(
        lambda rows: combine(members, rows),
        [field.name for field in task.fields],
        explain.Judged(task.search.metric, matrix, holdout.target, holdout.weight),
        shop.seed,
        order,
    )
    return Insight(importance, shap, grown)
