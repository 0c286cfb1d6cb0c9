"""`gancao monitor`: silent on a month of its own population, loud on one of a shifted population; and what it shows."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from experiments import catalog
from experiments import monitor as command
from experiments.moments import moment
from feature_store.errors import Usage
from feature_store.settings import Settings
from feature_store.task import Task, dumps
from serving import bundle as bundles
from serving import cache, drift, monitor, recall
from serving.bundle import Bundle
from serving.journal import Entry, Journal, Outcome
from serving.predictor import Predictor
from tests.conftest import CASE, Home
from tests.made import adaptive, referred, version
from tests.test_report import LANGS, Reader, holes, parts
from training import monitor as over_time
from training import monitor_report
from training.figures.watching import View
from training.monitor_words import FIGURES, WORDS

KINDS = ("regression", "binary", "multiclass")
DAY_US = 86_400_000_000
MONTH = 2000


def truths(bundle: Bundle, kind: str, shift: float = 0.0) -> list[Any]:
    """What came true of the rows that a made version has not seen."""
    target, classes = version(kind).target, bundle.encoder.classes
    if classes:
        return [classes[int(place)] for place in target]
    return [float(one) for one in np.clip(target + shift, *bundle.task.target.limits)]


def residual_sd() -> float:
    """Of the made version's answers."""
    made = version("regression")
    values = [answer["value"] for answer in Predictor(made.bundle).answer(made.rows)]
    return float(np.std(np.array(values) - made.target))


def keep(path: Path, bundle: Bundle, rows: list[dict[str, Any]], outcomes: list[Any], days: float = 0.0) -> None:
    """Answers of version 1 with what came true of them, the last of them today and the first `days` ago."""
    answers, now = Predictor(bundle, "1").answer(rows), time.time_ns() // 1000
    ids = [f"{len(rows)}-{place}-{days}" for place in range(len(rows))]
    entries = [
        Entry(one, bundle.task.task, "1", json.dumps(row), json.dumps({"prediction_id": one, **answer}))
        for one, row, answer in zip(ids, rows, answers, strict=True)
    ]
    at = [now - int((len(rows) - place) / len(rows) * days * DAY_US) for place in range(len(rows))]
    kept = [Outcome(one, json.dumps(value), when) for one, value, when in zip(ids, outcomes, at, strict=False)]
    journal = Journal(path)
    asyncio.run(journal.keep(entries))
    asyncio.run(journal.keep_outcomes(bundle.task.task, kept, bundle.task.answers.adaptive))
    journal.close()


def home_of(folder: Path, bundle: Bundle) -> tuple[Home, str]:
    """A home whose cache holds the bundle as version 1, and the path of its Task file."""
    home = folder / "home"
    (home / "cache").mkdir(parents=True)
    bundles.write(bundle, home / "new")
    cache.publish(home / "cache", bundle.task.task, "1", home / "new", "by hand")
    path = folder / f"{bundle.task.task}.yaml"
    path.write_text(dumps(bundle.task), encoding="utf-8")  # JSON is YAML
    return Home(home, home), str(path)


def found(path: Path, kind: str = "regression", **more: Any) -> monitor.Monitored:
    bundle = referred(kind)
    return monitor.measure(bundle.task, path, {"1": bundle}, **more)


# --- a month, end to end ---------------------------------------------------------------------------------------------


def test_a_month_of_its_own_population_is_silent_and_one_of_a_shifted_population_sounds_the_alarm(tmp_path):
    """2,000 outcomes that lie as far below as births that weigh 150 g less, where residuals are of 430 g."""
    bundle, rows = referred("regression"), version("regression").rows[:MONTH]
    for shift, code in ((0.0, 0), (-150 / 430 * residual_sd(), 1)):
        home, task = home_of(tmp_path / str(code), bundle)
        keep(home.home / "journal.db", bundle, rows, truths(bundle, "regression", shift))
        done = home.run("monitor", task, "--json", code=code)
        document = json.loads(done.stdout)
        assert document["alarm"] is bool(code)
        assert document["answers"] == document["outcomes"] == {"1": MONTH}
        if code:
            (reason, *_) = document["reasons"]
            assert (reason["kind"], reason["side"], reason["version"]) == ("coverage", "below", "1")
            (line,) = [json.loads(one) for one in done.stderr.splitlines() if "monitor_alarm" in one]
            assert (line["task"], line["version"], line["drifted"]) == ("stay", "1", "")
            assert line["coverage"] >= 1
        else:
            assert document["reasons"] == []
            assert "monitor_alarm" not in done.stderr


def test_a_person_reads_a_verdict_a_table_and_where_the_reports_are(tmp_path):
    bundle = referred("regression")
    home, task = home_of(tmp_path, bundle)
    rows = [{**row, "days": min(row.get("days", 3) + 40, 200)} for row in version("regression").rows[:500]]
    keep(home.home / "journal.db", bundle, rows, truths(bundle, "regression")[:100])
    page = tmp_path / "watched.html"
    done = home.run("monitor", task, "--since", "7d", "--html", str(page), code=1)
    assert "Alarm." in done.stdout
    assert "Days in hospital has drifted" in " ".join(done.stdout.split())
    assert "500 answers, 100 outcomes" in done.stdout
    for one in (page, tmp_path / "watched.zh.html"):
        assert one.exists()
        assert one.name in done.stdout.replace("\n", "")


def test_no_outcomes_are_no_alarm_and_are_said(tmp_path):
    bundle, path = referred("regression"), tmp_path / "journal.db"
    keep(path, bundle, version("regression").rows[:300], [])
    one = found(path)
    assert (one.reasons, one.realised.overall, one.delay_days) == ([], None, None)
    assert monitor_report.sentences(View(one, [], "en")) == [WORDS["en"]["no_outcomes"]]
    nothing = found(tmp_path / "nothing.db")
    assert (nothing.now, nothing.answers, nothing.reasons) == (None, {}, [])
    assert monitor_report.sentences(View(nothing, [], "en")) == [WORDS["en"]["no_answers"]]
    assert len(monitor_report.pages(nothing, [])) == 2


def test_a_trained_version_is_found_in_the_registry_and_has_counts_of_every_field(own_home):
    rows = [{**CASE, "mother_age": 20 + n % 20} for n in range(200)]
    task = catalog.load("birth_weight", Settings(home=own_home.home))
    journal = Journal(own_home.home / "journal.db")
    answers = [{"value": 3400.0, "interval": {"level": 0.9, "low": 2700.0, "high": 4100.0}, "events": {},
                "group": "all", "warnings": []}] * len(rows)  # fmt: skip
    asyncio.run(journal.keep([
        Entry(str(n), task.task, "1", json.dumps(row), json.dumps(answer))
        for n, (row, answer) in enumerate(zip(rows, answers, strict=True))
    ]))  # fmt: skip
    journal.close()
    document = own_home.json("monitor", "birth_weight", code=1)
    assert not (own_home.home / "cache").exists()
    assert document["drift_unknown"] == []
    assert {one["field"] for one in document["drift"]["1"]} == set(task.by_name)
    assert {reason["kind"] for reason in document["reasons"]} == {"drift"}
    assert "gestation_weeks" in {reason["field"] for reason in document["reasons"]}, "all at 39 weeks"


# --- what is measured ------------------------------------------------------------------------------------------------


def test_a_field_that_has_moved_is_an_alarm_and_the_others_are_not_named(tmp_path):
    bundle, path = referred("regression"), tmp_path / "journal.db"
    rows = [{**row, "ward": "surgical"} for row in version("regression").rows[:400]]
    keep(path, bundle, rows, [])
    (reason,) = found(path).reasons
    assert (reason.kind, reason.field, reason.version) == ("drift", "ward", "1")
    assert found(path).drift["1"][0].field == "ward"


def test_drift_of_an_older_version_is_history(tmp_path):
    bundle, path = referred("regression"), tmp_path / "journal.db"
    keep(path, bundle, [{**row, "ward": "surgical"} for row in version("regression").rows[:400]], [])
    journal = Journal(path)
    rows = version("regression").rows[:400]
    answers = Predictor(bundle, "2").answer(rows)
    asyncio.run(journal.keep([
        Entry(f"new-{n}", "stay", "2", json.dumps(row), json.dumps(answer))
        for n, (row, answer) in enumerate(zip(rows, answers, strict=True))
    ]))  # fmt: skip
    journal.close()
    one = monitor.measure(bundle.task, path, {"1": bundle, "2": bundle})
    assert (one.now, one.reasons) == ("2", [])
    assert one.drift["1"][0].drifted
    assert monitor.measure(bundle.task, path, {"1": bundle}).unknown == ["2"]


def test_warnings_are_counted_beside_what_training_had(tmp_path):
    bundle, path = referred("regression"), tmp_path / "journal.db"
    rows: list[dict[str, Any]] = [{"age": 40, "days": 5, "ward": "medical", "alone": False} for _ in range(90)]
    rows += [{"age": 40, "ward": "medical", "alone": True} for _ in range(10)]
    rows += [{"age": 110, "days": 200, "ward": "surgical", "alone": True} for _ in range(100)]
    keep(path, bundle, rows, [])
    told = {(one.code, one.field): one for one in found(path).warnings}
    missing = told["missing_field", "days"]
    assert (missing.n, missing.share) == (10, 0.05)
    assert missing.before == pytest.approx(0.1, abs=0.02)
    assert told["outside_training_range", "days"].n == 100
    assert told["outside_training_range", "days"].before == 0.0
    assert told["unfamiliar", ""].n == 100


def test_a_typed_word_that_no_version_knows_names_no_group(tmp_path):
    made = referred("regression")
    fields = [f.model_copy(update={"choices": None}) if f.name == "ward" else f for f in made.task.fields]
    group = made.task.groups[0].model_copy(update={"field": "ward"})
    task: Task = made.task.model_copy(update={"fields": tuple(fields), "groups": (group,)})
    path, rows = tmp_path / "journal.db", [{"age": 40, "ward": word} for word in ("medical", "Mrs Smith", "surgical")]
    open_ended = replace(made, task=task, encoder=replace(made.encoder, task=task))
    keep(path, open_ended, rows, [30.0, 30.0, 30.0])
    one = monitor.measure(task, path, {"1": open_ended})
    assert set(one.realised.groups) == {"ward=medical", "ward=surgical", "ward=unknown"}
    assert "Smith" not in json.dumps(one.to_json())


def test_since_counts_what_is_new_but_the_watch_adds_up_all_evidence(tmp_path):
    bundle, path = referred("regression"), tmp_path / "journal.db"
    shifted = truths(bundle, "regression", -0.35 * residual_sd())
    keep(path, bundle, version("regression").rows[:MONTH], shifted, days=300.0)
    now = time.time_ns() // 1000
    one = found(path, since_us=now - 365 * DAY_US)
    assert sum(one.outcomes.values()) == MONTH
    assert one.reasons
    recent = found(path, since_us=now - 30 * DAY_US)
    assert 150 < sum(recent.outcomes.values()) < 250
    assert recent.realised.overall is not None
    assert recent.realised.overall["n"] == sum(recent.outcomes.values())
    assert len(recent.realised.alarms) == len(one.realised.alarms)
    assert all((reason.at_us or 0) >= recent.since_us for reason in recent.reasons)
    newest = found(path, most=500)
    assert sum(newest.outcomes.values()) == 500


def test_months_and_days_add_up_to_the_whole(tmp_path):
    bundle, path = referred("regression"), tmp_path / "journal.db"
    keep(path, bundle, version("regression").rows[:MONTH], truths(bundle, "regression"), days=100.0)
    one = found(path)
    months = over_time.months(one.realised)
    overall = one.realised.overall
    assert overall is not None
    assert sum(month.n for month in months) == overall["n"] == MONTH
    assert [month.when for month in months] == sorted({month.when for month in months})
    assert len(months) in (4, 5)
    covered = sum(month.n * (month.coverage["value"] or 0) for month in months) / MONTH
    assert covered == pytest.approx(overall["coverage"]["value"])
    squares = sum(month.n * (month.error["value"] or 0) ** 2 for month in months) / MONTH
    assert np.sqrt(squares) == pytest.approx(overall["rmse"]["value"])
    days = over_time.rolling(one.realised)
    assert days[0].n < 40
    assert days[-1].n == pytest.approx(MONTH * 30 / 100, rel=0.1)
    assert datetime.fromisoformat(days[-1].when).date() >= (datetime.now(UTC) - timedelta(days=2)).date()


@pytest.mark.parametrize("kind", KINDS)
def test_bins_of_chances_hold_every_outcome_once(kind, tmp_path):
    bundle, path = referred(kind), tmp_path / "journal.db"
    keep(path, bundle, version(kind).rows, truths(bundle, kind))
    overall = found(path, kind).realised.overall
    assert overall is not None
    for event in overall["events"].values():
        bins = event["bins"]
        assert sum(one["n"] for one in bins) == event["n"]
        true = sum(one["n"] * one["rate"]["value"] for one in bins) / event["n"]
        assert true == pytest.approx(event["rate"]["value"])
        assert sum(one["n"] * one["mean_chance"] for one in bins) / event["n"] == pytest.approx(event["mean_chance"])
        assert [one["mean_chance"] for one in bins] == sorted(one["mean_chance"] for one in bins)


def test_the_tail_of_chi_squared_is_scipys():
    for freedom in range(1, 14):
        for statistic in (0.0, 0.1, 1.0, 5.0, 20.0, 90.0, 400.0):
            assert drift.tail(statistic, freedom) == pytest.approx(chi2.sf(statistic, freedom), rel=1e-10)


# --- the report ------------------------------------------------------------------------------------------------------


def test_both_languages_of_the_monitoring_report_say_the_same_things():
    for table in (FIGURES, WORDS):
        assert table["en"].keys() == table["zh"].keys()
        for key, english in table["en"].items():
            for one, other in zip(parts(english), parts(table["zh"][key]), strict=True):
                assert holes(one) == holes(other), key


@pytest.mark.parametrize("kind", KINDS)
def test_a_monitoring_report_is_one_whole_page_with_its_figures(kind, tmp_path):
    bundle, path = adaptive(referred(kind)), tmp_path / "journal.db"
    keep(path, bundle, version(kind).rows[:800], truths(bundle, kind)[:600], days=200.0)
    one = monitor.measure(bundle.task, path, {"1": bundle})
    pages = monitor_report.pages(one, recall.levels(path, bundle.task.task))
    assert set(pages) == set(LANGS)
    for text in pages.values():
        reader = Reader()
        reader.feed(text)
        assert reader.open == []
        assert all(source.startswith("data:") for source in reader.fetched)
        assert reader.links == {f"#{name}" for name in reader.ids}
        assert text.count("<figure>") == 7
        for odd in ("None", "nan", "Undefined", "{{"):
            assert odd not in re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL), odd


def test_a_time_that_is_none_and_a_report_that_is_no_page_are_wrong_usage(tmp_path):
    assert moment("2024-03-01", "--since") == 1_709_251_200_000_000
    assert time.time_ns() // 1000 - moment("30d", "--since") == pytest.approx(30 * DAY_US, rel=1e-6)
    with pytest.raises(Usage, match="30d"):
        moment("lately", "--since")
    _, task = home_of(tmp_path, referred("regression"))
    with pytest.raises(Usage, match=r"\.html"):
        command.monitor(task, Settings(home=tmp_path / "home"), "30d", tmp_path / "page.pdf")
