"""What the holdout and the training rows tell beside the version's own measures: baselines, importance, more rows."""

from __future__ import annotations

import numpy as np

from feature_store.offline import Source
from serving.ensemble import combine
from serving.predictor import Predictor
from training import baseline, curve, explain
from training.evaluate import Holdout
from training.figures.seen import Insight
from training.learn import Learnt, Workshop
from training.splits import Split


def baselines(shop: Workshop, split: Split, source: Source, holdout: np.ndarray) -> dict[str, np.ndarray]:
    """Each baseline's predictions (n, outputs) for the encoded holdout, `mean` or `prior` first.

    They learn from the table as it is, without the values that `with_unknowns` hides from the search.
    """
    shared = shop.share("plain", split.train, shop.encoder.columns(split.train.columns), split.folds)
    return baseline.predict(shop.task, split, source.table, holdout, shared, shop.engine)


def insight(answering: Predictor, shop: Workshop, learnt: Learnt, holdout: Holdout, matrix: np.ndarray) -> Insight:
    """What the version's figures show of its fields and of more rows. matrix: the encoded holdout."""
    task, members = shop.task, answering.bundle.members
    grown = curve.learning_curve(shop.engine, learnt.shared)
    shap = explain.shap(members, matrix, shop.seed)
    order = np.argsort(-shap.strength).tolist() if shap is not None else []
    importance = explain.importance(
        lambda rows: combine(members, rows),
        task.search.metric,
        [field.name for field in task.fields],
        matrix,
        holdout.target,
        holdout.weight,
        shop.seed,
        order,
    )
    return Insight(importance, shap, grown)
