"""The report and its figures: complete in both languages, readable, and with nothing from elsewhere."""

from __future__ import annotations

import csv
import io
import re
import string
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest

from feature_store.settings import Settings
from serving import bundle as bundles
from serving.bundle import Bundle
from serving.distribution import ALL, Cell, Distribution, GroupNames
from serving.scaling import Method
from tests import holdouts
from tests.holdouts import KINDS
from training import plots, record, report, tables
from training.figures import style
from training.figures.seen import Insight, Scene
from training.figures.words import BASELINES, FIGURES, LABELS, METRICS
from training.gate import Verdict
from training.headline import headline, weaker_groups
from training.headline_words import HEADLINES
from training.record import Evidence
from training.report import SECTIONS, Origin, reason_in_words
from training.report_words import WORDS
from training.track import Registry

LANGS = ("en", "zh")
ORIGIN = Origin("gancao train emergency --budget 60s --seed 0", "emergency-1", {"gancao": "0.1.0", "lightgbm": "4.6.0"})
VERDICT = Verdict("challenger", ["better than linear", "no worse than champion-3"])


@pytest.mark.parametrize(
    "table", [WORDS, HEADLINES, LABELS, METRICS, BASELINES, FIGURES], ids=lambda t: next(iter(t["en"]))
)
def test_both_languages_say_the_same_things_about_the_same_figures(table):
    assert table["en"].keys() == table["zh"].keys()
    for key, english in table["en"].items():
        for one, other in zip(parts(english), parts(table["zh"][key]), strict=True):
            assert holes(one) == holes(other), key


def parts(words: str | tuple[str, ...]) -> tuple[str, ...]:
    return words if isinstance(words, tuple) else (words,)


def holes(words: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(words) if name is not None}


@cache
def page(kind: str, lang: str) -> str:
    seen = holdouts.seen(kind)
    pictures = {name: style.png(figure) for name, figure in plots.all_plots(seen, lang).items()}
    return report.render(seen, VERDICT, ORIGIN, pictures, ["crp: 3 values <above> 400"], lang)


class Reader(HTMLParser):
    """What a browser would fetch or run, and whether the tags close."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.fetched, self.open, self.ids, self.links = list[str](), list[str](), set[str](), set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self.fetched += [str(facts[key]) for key in ("src", "href") if key in facts and tag != "a"]
        self.fetched += [tag] if tag in ("script", "iframe", "object") else []
        self.ids |= {str(facts["id"])} if "id" in facts else set()
        self.links |= {str(facts["href"])} if tag == "a" else set()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_report_is_one_whole_page_that_fetches_and_runs_nothing(kind, lang):
    reader = Reader()
    reader.feed(page(kind, lang))
    assert reader.open == []
    assert all(source.startswith("data:") for source in reader.fetched)
    assert reader.links == {f"#{name}" for name in reader.ids}
    assert "@import" not in page(kind, lang)
    assert "url(" not in page(kind, lang)
    assert len(page(kind, lang)) < 3_000_000


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_hole_is_left_in_the_words_of_a_report(kind, lang):
    text = re.sub(r"<style>.*?</style>|<code>\{.*?</code>|<[^>]*>", " ", page(kind, lang), flags=re.DOTALL)
    for odd in ("{", "}", "None", "nan", "inf ", "Undefined"):
        assert odd not in text, text[max(text.find(odd) - 80, 0) : text.find(odd) + 80]


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_has_its_place_and_a_sentence_on_how_to_read_it(kind):
    named = {name for names in SECTIONS.values() for name in names}
    drawn = set(plots.all_plots(holdouts.seen(kind)))
    assert drawn <= named
    assert named == set(FIGURES["en"]) - {"shap_classes"}
    assert page(kind, "en").count("<figure>") == page(kind, "en").count("<figcaption>") == len(drawn)


def test_the_headline_answers_six_questions_with_the_card_s_own_figures():
    seen = holdouts.seen("regression")
    measured = seen.card["metrics"]
    good, compared, sure, data, drives, weaker = (answer for _, answer in headline(Scene(seen, "en"), VERDICT))
    assert f"{measured['rmse']:.1f}\u00a0h" in good
    assert "LightGBM's defaults, the best of the baselines" in compared
    assert "lower" in compared
    assert f"{100 * measured['coverage']:.1f}\u00a0% of 1500 holdout cases" in sure
    assert "twice the rows" in data
    assert drives.startswith("Most of all “Way of arrival”, then “Age”")
    assert "Way of arrival: By helicopter" in weaker


def test_the_headline_says_what_was_not_measured():
    seen = replace(holdouts.seen("binary"), insight=Insight())
    seen = replace(seen, card={**seen.card, "groups": {}, "baselines": {}})
    _, compared, _, data, drives, weaker = (answer for _, answer in headline(Scene(seen, "en"), VERDICT))
    assert compared == "No baseline was measured."
    assert data == drives == "Not measured in this run."
    assert "no groups" in weaker
    assert report.render(seen, VERDICT, ORIGIN, {}, [], "zh")


def test_the_report_says_how_honest_the_chances_are_for_whom_and_how_they_were_corrected():
    row = holdouts.seen("binary").card["groups"]["arrival=ambulance"]
    english, chinese = page("binary", "en"), page("binary", "zh")
    assert f"<td>{row['calibration_slope']:.3f}</td><td>{row['calibration_intercept']:.3f}</td>" in english
    assert "by one slope (temperature): out of fold, the log loss went from 0.612 to 0.601" in english
    assert "概率经单一斜率（温度）校正：折外对数损失由 0.612 变为 0.601" in chinese
    measured = holdouts.seen("regression").card["metrics"]
    assert f"<td>{measured['long_stay_slope']:.3f}</td>" in page("regression", "en")
    assert "Chances were corrected" not in page("regression", "en")


def test_every_correction_has_its_words():
    for method in get_args(Method):
        assert f"by_{method}" in WORDS["en"]


def test_a_group_is_weaker_only_beyond_its_band():
    seen = holdouts.seen("binary", "auc")
    rows = {
        "arrival=walked": {**seen.card["groups"]["arrival=walked"], "auc": 0.6, "low": 0.55, "high": 0.65},
        "arrival=ambulance": {**seen.card["groups"]["arrival=walked"], "auc": 0.7, "low": 0.6, "high": 0.8},
        "arrival=helicopter": {**seen.card["groups"]["arrival=walked"], "auc": 0.5, "low": 0.4, "high": 0.6},
    }
    card = {**seen.card, "groups": rows, "metrics": {**seen.card["metrics"], "auc": 0.75}}
    assert weaker_groups(Scene(replace(seen, card=card), "en")) == ["arrival=helicopter", "arrival=walked"]


def test_reasons_are_told_in_words_also_by_group():
    scene, chinese = (Scene(holdouts.seen("binary"), lang) for lang in LANGS)
    assert reason_in_words(scene, "better than linear") == "better than the linear model"
    told = reason_in_words(scene, "worse than champion-3 for arrival=helicopter")
    assert told == "worse than the champion (version 3) for Way of arrival: By helicopter"
    assert reason_in_words(chinese, "better than prior") == "优于类别比例"
    assert reason_in_words(chinese, "not told apart from champion-3") == "与冠军版本 3 无显著差异"
    assert reason_in_words(chinese, "no worse than champion-3") == "不劣于冠军版本 3"
    assert reason_in_words(scene, "the coverage is 71 %") == "the coverage is 71 %"


def test_a_figure_of_several_classes_is_read_in_another_way():
    assert "one colour a class" in page("multiclass", "en")
    assert "Each dot is one case" in page("binary", "en")


def test_waivers_stand_in_the_report_with_their_reasons_and_nothing_is_taken_for_html():
    assert "The sample is taken on arrival, before the decision." in page("binary", "en")
    assert "3 values &lt;above&gt; 400" in page("binary", "en")
    seen = holdouts.seen("binary")
    without = replace(seen, card={key: value for key, value in seen.card.items() if key != "leakage"})
    assert "none was waived" in report.render(without, VERDICT, ORIGIN, {}, [], "en")


def test_without_a_chinese_font_the_figures_are_english_and_the_report_says_why(monkeypatch):
    monkeypatch.setattr(style, "CJK_FONTS", ())
    style.cjk_font.cache_clear()
    try:
        assert style.drawn_in("zh") == "en"
        text = report.render(holdouts.seen("binary"), VERDICT, ORIGIN, {}, [], "zh")
        assert WORDS["zh"]["no_figure"] in text
    finally:
        monkeypatch.undo()
        style.cjk_font.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_the_tables_behind_the_figures_hold_every_digit(kind):
    seen = holdouts.seen(kind, weighted=kind == "binary")
    found = {name: list(csv.DictReader(io.StringIO(text))) for name, text in tables.tables(seen).items()}
    assert set(found) == {
        "trials.csv", "holdout.csv", "deciles.csv", "importance.csv", "groups.csv", "shap.csv", "learning_curve.csv",
    }  # fmt: skip
    first = found["holdout.csv"][0]
    if kind == "multiclass":
        assert float(first["p_ward"]) == seen.holdout.predicted[0, 1]
    else:
        assert float(first["value"]) == seen.holdout.value[0]
    if kind != "regression":
        assert first[seen.task.target.name] in holdouts.CLASSES[kind]
        assert set(first["set"].split("|")) == set(seen.holdout.answers[0]["set"])
    assert ("weight" in first) == (kind == "binary")
    assert found["trials.csv"][-1]["failure"] == "linear failed: ValueError: bad_alloc"


def test_a_record_holds_the_report_the_tables_and_the_best_loss_over_time(tmp_path, settings):
    seen, described = holdouts.seen("regression"), holdouts.task("regression")
    folder = tmp_path / "bundle"
    bundles.write(made_bundle(described), folder)
    made = record.record(Evidence(seen, described.search.budget, VERDICT, ["a finding"]), "emergency-1", folder)
    assert {"report.html", "report.zh.html", "plots/shap.png", "learning_curve.csv", "task.json"} <= set(made.artifacts)
    losses = [loss for _, loss in made.curves["best_loss"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == min(trial.loss for trial in seen.trials if trial.loss is not None)
    run, version = Registry(settings).record(replace(made, trials=made.trials[:2]))
    assert version == "1"
    history = Registry(settings)._client.get_metric_history(run, "best_loss")
    assert [point.value for point in history] == losses
    assert [point.step for point in history] == list(range(len(losses)))
    assert all(one.timestamp <= other.timestamp for one, other in pairwise(history))


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


def made_bundle(described) -> Bundle:
    columns, target = holdouts.rows("regression", 400, 0)
    encoder = holdouts.encode.fit(described, columns)
    member = holdouts.fit_trees(encoder.columns(columns), target, None, 0, "regression")
    scores = np.sort(np.random.default_rng(0).normal(size=300))
    distribution = Distribution(described, {ALL: Cell(ALL, scores)}, GroupNames(encoder))
    return Bundle(described, encoder, [member], None, 15.0, distribution, {}, {"rows": [], "answers": []})
