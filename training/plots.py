"""Plots where people would rather look than read: which figures a version has, by its kind of target."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from training.figures import classes, errors, groups, insight, race, style
from training.figures.seen import Scene, Seen


def _always(seen: Seen) -> bool:
    return True


def _is_regression(seen: Seen) -> bool:
    return seen.task.kind == "regression"


def _is_multiclass(seen: Seen) -> bool:
    return seen.task.kind == "multiclass"


def _has_classes(seen: Seen) -> bool:
    return seen.task.kind != "regression"


def _tells_classes_apart(seen: Seen) -> bool:
    """Where the holdout has but one class, no curve says how well two are told apart."""
    return _has_classes(seen) and len(set(seen.holdout.target.tolist())) > 1


def _tells_two_apart(seen: Seen) -> bool:
    return seen.task.kind == "binary" and _tells_classes_apart(seen)


def _has_groups_of_classes(seen: Seen) -> bool:
    return _has_classes(seen) and any(group["n"] >= classes.LEAST_ROWS for group in seen.card["groups"].values())


_FIGURES: tuple[tuple[str, Callable[[Scene], Figure], Callable[[Seen], bool]], ...] = (
    ("leaderboard", race.leaderboard, _always),
    ("predicted_and_true", errors.predicted_and_true, _is_regression),
    ("residuals", errors.residuals, _is_regression),
    ("confusion", classes.confusion, _is_multiclass),
    ("roc", classes.roc, _tells_classes_apart),
    ("precision_recall", classes.precision_recall, _tells_two_apart),
    ("calibration", classes.calibration, _has_classes),
    ("error_by_decile", errors.error_by_decile, lambda seen: bool(seen.card["deciles"])),
    ("events", errors.events, lambda seen: bool(seen.task.answers.events)),
    ("error_by_group", groups.error_by_group, lambda seen: any("low" in g for g in seen.card["groups"].values())),
    ("calibration_by_group", classes.calibration_by_group, _has_groups_of_classes),
    ("coverage_by_group", groups.coverage_by_group, lambda seen: bool(seen.card["groups"])),
    ("importance", insight.importance, lambda seen: bool(seen.insight.importance)),
    ("shap", insight.shap, lambda seen: seen.insight.shap is not None),
    ("learning_curve", insight.learning_curve, lambda seen: seen.insight.curve is not None),
    ("search", race.search, lambda seen: any(trial.loss is not None for trial in seen.trials)),
    ("weights", race.weights, lambda seen: bool(seen.chosen)),
)
"""Name of the file, what draws it, and whether there is something to draw; in the order of the report."""


def all_plots(seen: Seen, lang: str = "en") -> dict[str, Figure]:
    """Every plot of a version by the name of its file, in the order of the report.

    lang: `en` or `zh`; without a Chinese font zh comes in English (see `training.figures.style`).
    """
    scene = Scene(seen, style.drawn_in(lang))
    with style.quiet():
        return {name: draw(scene) for name, draw, worth in _FIGURES if worth(seen)}
