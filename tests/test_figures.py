"""The figures: every text whole and with its signs, and something to see also where there is little to draw."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests import holdouts
from tests.conftest import need
from tests.holdouts import KINDS
from training import evaluate, plots
from training.evaluate import Holdout
from training.figures import style
from training.figures.seen import Insight, Seen
from training.runlog import Trial

LANGS = ("en", "zh")


def look(seen: Seen, lang: str) -> list[str]:
    """Draw every figure; fails at a text that is cut off, a sign without a glyph, or any other warning."""
    drawn = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, figure in plots.all_plots(seen, lang).items():
            canvas = FigureCanvasAgg(figure)
            with style.quiet():
                canvas.draw()
            whole, hidden = figure.bbox, not_drawn(figure)
            for text in figure.findobj(lambda artist: hasattr(artist, "get_text")):
                if not text.get_visible() or not text.get_text().strip() or text in hidden:
                    continue
                box = text.get_window_extent(canvas.get_renderer())
                inside = box.x0 > -1 and box.y0 > -1 and box.x1 < whole.x1 + 1 and box.y1 < whole.y1 + 1
                assert inside, (name, text.get_text(), box)
            drawn.append(name)
    return drawn


def not_drawn(figure: Figure) -> list[Artist]:
    """Labels of ticks outside their axis: they exist, but matplotlib does not draw them."""
    out: list[Artist] = []
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        margin = 1e-9 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low - margin <= tick.get_loc() <= high + margin:
                out += [tick.label1, tick.label2]
    return out


def with_holdout(seen: Seen, holdout: Holdout) -> Seen:
    """The same training with another holdout, measured anew."""
    measured = evaluate.metrics(seen.task, holdout)
    return replace(seen, holdout=holdout, card=holdouts.card(seen.task, holdout, measured))


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize(
    ("kind", "metric"), [("regression", None), ("binary", None), ("binary", "auc"), ("multiclass", None)]
)
def test_no_text_of_a_figure_is_cut_off_or_without_a_glyph(kind, metric, lang):
    need(style.cjk_font(), "no Chinese font is installed")
    assert len(look(holdouts.seen(kind, metric), lang)) >= 11


@pytest.mark.parametrize("kind", KINDS)
def test_a_dozen_holdout_rows_can_be_drawn(kind):
    seen = holdouts.seen(kind)
    assert look(with_holdout(seen, seen.holdout.take(np.arange(12))), "en")


def test_a_holdout_of_one_class_has_no_roc_curve_but_all_else():
    seen = holdouts.seen("binary")
    drawn = look(with_holdout(seen, seen.holdout.take(seen.holdout.target == 0)), "en")
    assert "roc" not in drawn
    assert "precision_recall" not in drawn
    assert "calibration" in drawn


def test_answers_that_are_all_the_same_can_be_drawn():
    plain, chance = holdouts.seen("regression"), holdouts.seen("binary")
    same = [{**answer, "value": 30.0} for answer in plain.holdout.answers]
    assert look(with_holdout(plain, replace(plain.holdout, answers=same)), "en")
    same = [{**answer, "value": 0.4} for answer in chance.holdout.answers]
    assert look(with_holdout(chance, replace(chance.holdout, answers=same)), "en")


def test_many_classes_with_long_names_are_drawn_the_rarest_as_one():
    seen, random, count, n = holdouts.seen("multiclass"), np.random.default_rng(0), 15, 900
    words = tuple(f"A rather long name of class {k}" for k in range(count))
    truth = random.integers(0, count, n)
    chances = 0.5 * random.dirichlet(np.ones(count), n) + 0.5 * np.eye(count)[truth]
    answers = [
        {
            "probabilities": dict(zip(words, row.tolist(), strict=True)),
            "label": words[row.argmax()],
            "set": [words[k] for k in range(count) if row[k] > 0.1],
        }
        for row in chances
    ]
    task = seen.task.model_copy(update={"target": seen.task.target.model_copy(update={"classes": None})})
    holdout = Holdout(seen.holdout.rows[:n], truth.astype(float), answers, seen.holdout.groups[:n], None, words)
    shown = seen.insight.shap
    assert shown is not None
    wide = replace(shown, values=np.tile(shown.values, (1, 1, 4))[:, :, :count])
    many = with_holdout(replace(seen, task=task, insight=replace(seen.insight, shap=wide)), holdout)
    assert "confusion" in look(many, "en")


def test_one_trial_and_no_insight_can_be_drawn():
    seen = holdouts.seen("regression")
    only = Trial(0, "stacked", {}, "journal", 15.0, 0, 0.1, 0.1)
    drawn = look(replace(seen, trials=[only], chosen=[(only, 1.0)], insight=Insight()), "zh")
    assert {"search", "weights"} <= set(drawn)
    assert not {"shap", "importance", "learning_curve"} & set(drawn)


def test_a_share_that_is_not_explained_is_told_without_touching_the_title():
    seen = holdouts.seen("regression")
    part = replace(seen.insight, shap=replace(seen.insight.shap, share=0.78))
    figure = plots.all_plots(replace(seen, insight=part))["shap"]
    assert figure.axes[0].get_xlabel() == "adds to the answer (h)\nexplains 78% of the ensemble"
    assert "shap" in look(replace(seen, insight=part), "zh")


def test_large_targets_and_many_fields_keep_their_labels():
    seen = holdouts.seen("regression")
    target = seen.task.target.model_copy(update={"limits": (0.0, 1e9), "unit": "CNY"})
    answers = [
        {
            **answer,
            "value": 1e6 * answer["value"],
            "interval": {"low": 1e6 * answer["interval"]["low"], "high": 1e6 * answer["interval"]["high"]},
        }
        for answer in seen.holdout.answers
    ]
    large = replace(seen.holdout, answers=answers, target=1e6 * seen.holdout.target)
    assert look(with_holdout(replace(seen, task=seen.task.model_copy(update={"target": target})), large), "zh")
