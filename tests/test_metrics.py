"""`/metrics`: Prometheus's text format, right numbers, counters that only grow, and no value of a field."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import bundle as bundles
from serving import cache, exposition
from serving.counts import Counts
from serving.exposition import Family
from serving.journal import Entry, Journal, Outcome
from serving.meter import METRICS
from tests.conftest import Home, Server, serving
from tests.made import adaptive, referred, version
from tests.test_monitor import keep, residual_sd, truths

Sample = tuple[str, tuple[tuple[str, str], ...]]
_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,|$)')


def read(text: str) -> tuple[dict[str, str], dict[Sample, float]]:
    """Types by metric, and samples; fails where the text is not of the format."""
    types: dict[str, str] = {}
    samples: dict[Sample, float] = {}
    helped, current = set(), ""
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# "):
            _, word, name, told = line.split(" ", 3)
            if word == "HELP":
                assert name not in helped, "one HELP a metric, before its samples"
                helped.add(name)
                current = name
            else:
                assert (word, name) == ("TYPE", current)
                assert told in ("counter", "gauge", "histogram")
                types[name] = told
            continue
        found = _LINE.fullmatch(line)
        assert found, line
        name, labels, value = found.groups()
        whole = name.removesuffix(found_suffix(name)) if types[current] == "histogram" else name
        assert whole == current, "all lines of a metric are one group"
        pairs = [(key, unescaped(one)) for key, one in _LABEL.findall(labels or "")]
        assert _LABEL.sub("", labels or "") == "", line
        key = (name, tuple(sorted(pairs)))
        assert key not in samples, key
        samples[key] = float(value)
    return types, samples


def found_suffix(name: str) -> str:
    return next(suffix for suffix in ("_bucket", "_sum", "_count") if name.endswith(suffix))


def unescaped(text: str) -> str:
    return re.sub(r'\\(["\\n])', lambda found: "\n" if found[1] == "n" else found[1], text)


LABELS = st.text(st.sampled_from('a"\\\n{},= é中#'), max_size=8)


@given(st.lists(st.tuples(LABELS, st.floats(allow_nan=False)), unique_by=lambda pair: pair[0], max_size=5), LABELS)
def test_whatever_stands_in_a_label_is_read_back(pairs, told):
    family = Family("x_total", "counter", told, ("label",), [((label,), value) for label, value in pairs])
    text = exposition.text([family, Family("y", "gauge", "Empty.")]).decode()
    if not pairs:
        assert text == ""
        return
    types, samples = read(text)
    assert types == {"x_total": "counter"}
    assert samples == {("x_total", (("label", label),)): value for label, value in pairs}


# --- counters --------------------------------------------------------------------------------------------------------


def write(path: Path, ids: list[str], outcomes: bool = False) -> None:
    answer = json.dumps(
        {"warnings": [{"field": "days", "code": "missing_field"}, {"field": "age", "code": "unfamiliar"}]}
    )
    journal = Journal(path)
    if outcomes:
        asyncio.run(journal.keep_outcomes("stay", [Outcome(one, str(time.time())) for one in ids]))
    else:
        asyncio.run(journal.keep([Entry(one, "stay", "1", "{}", answer) for one in ids]))
    journal.close()


def now_us() -> int:
    return time.time_ns() // 1000


def test_a_row_is_counted_once_and_a_correction_not_again(tmp_path):
    path = tmp_path / "journal.db"
    counts = Counts(path)
    write(path, ["a", "b"])
    between = now_us()
    time.sleep(0.01)
    write(path, ["c"])
    write(path, ["a", "c"], outcomes=True)
    counts.look(between)
    assert (counts.answers, counts.outcomes) == ({("stay", "1"): 2}, {})
    counts.look(between)
    assert counts.answers == {("stay", "1"): 2}
    counts.look(now_us() + 1)
    assert (counts.answers["stay", "1"], counts.outcomes["stay", "1"]) == (3, 2)
    assert counts.warnings == {("stay", "missing_field", "days"): 3, ("stay", "unfamiliar", "age"): 3}
    before = now_us() + 1
    time.sleep(0.01)
    write(path, ["a", "c"], outcomes=True)
    counts.look(now_us() + 1)
    assert counts.outcomes["stay", "1"] == 2
    late = Counts(path)
    late.look(before)
    assert late.outcomes["stay", "1"] == 2, "a worker that starts after the correction says no less"


def test_two_workers_that_look_until_the_same_moment_say_the_same(tmp_path):
    path = tmp_path / "journal.db"
    often, once = Counts(path), Counts(path)
    for place in range(8):
        write(path, [f"{place}-{one}" for one in range(place)])
        often.look(now_us() - 2000)
    until = now_us()
    often.look(until)
    once.look(until)
    assert often.answers == once.answers == {("stay", "1"): 28}


# --- a server --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A served version whose answers, of a shifted population, lie in the journal with their outcomes."""
    home = tmp_path_factory.mktemp("watched") / "home"
    (home / "cache").mkdir(parents=True)
    bundle = adaptive(referred("regression"))
    bundles.write(bundle, home / "new")
    cache.publish(home / "cache", "stay", "1", home / "new", "by hand")
    rows = version("regression").rows[:2000]
    keep(home / "journal.db", bundle, rows, truths(bundle, "regression", -0.6 * residual_sd()))
    older = time.time_ns() // 1000 - 120_000_000  # as if it had been two minutes ago: counters lag behind by one
    with closing(sqlite3.connect(home / "journal.db")) as connection, connection:
        connection.execute("UPDATE answers SET at_us = ?", (older,))
        connection.execute("UPDATE outcomes SET kept_us = ?", (older,))
    return Home(home, home)


@pytest.fixture(scope="module")
def clinic(home: Home) -> Iterator[Server]:
    with serving(home) as running:
        yield running


def told(clinic: Server) -> tuple[dict[str, str], dict[Sample, float]]:
    response = clinic.get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(response.text)


def of(samples: dict[Sample, float], name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def test_metrics_tell_what_the_command_tells(clinic, home, tmp_path):
    types, samples = told(clinic)
    assert types["gancao_answers_total"] == "counter"
    assert of(samples, "gancao_answers_total", task="stay", version="1") == 2000
    assert of(samples, "gancao_outcomes_total", task="stay", version="1") == 2000
    assert of(samples, "gancao_alarm", task="stay") == 1
    task = tmp_path / "stay.yaml"
    task.write_text(json.dumps(adaptive(referred("regression")).task.model_dump(mode="json")), encoding="utf-8")
    document = home.json("monitor", str(task), code=1)
    overall: dict[str, Any] = document["realised"]["overall"]
    whole = {"task": "stay", "version": "all", "group": "all"}
    for name, key in (("gancao_coverage", "value"), ("gancao_coverage_low", "low"), ("gancao_coverage_high", "high")):
        assert of(samples, name, **whole) == overall["coverage"][key]
    for name in ("rmse", "mae", "bias"):
        assert of(samples, f"gancao_{name}", **whole) == overall[name]["value"]
    assert of(samples, "gancao_event_rate", task="stay", event="long") == overall["events"]["long"]["rate"]["value"]
    assert of(samples, "gancao_event_chance", task="stay", event="long") == overall["events"]["long"]["mean_chance"]
    for group, measured in document["realised"]["groups"].items():
        labels = whole | {"group": group}
        assert of(samples, "gancao_coverage", **labels) == measured["coverage"]["value"]
    for field in document["drift"]["1"]:
        assert of(samples, "gancao_drift_psi", task="stay", field=field["field"]) == field["psi"]
    assert of(samples, "gancao_working_level", task="stay", version="1") == document["levels"]["1"]["working"] > 0.9
    assert of(samples, "gancao_level", task="stay") == 0.9
    missing = next(one for one in document["warnings"] if one["code"] == "missing_field")
    assert of(samples, "gancao_warnings_total", task="stay", code="missing_field", field="days") == missing["n"]


def meters() -> tuple[str, ...]:
    """What `tests/test_meter.py` is about."""
    return tuple(metric.name for metric in METRICS)


def test_no_value_of_a_field_is_in_them_and_they_are_made_once_a_minute(clinic):
    before, after = clinic.get("/metrics").text, clinic.get("/metrics").text
    of_journal = "".join(line for line in after.splitlines(True) if not line.startswith(meters()))
    values = set(re.findall(r'="((?:[^"\\]|\\.)*)"', of_journal))
    names = {"stay", "1", "all", "long", "age", "days", "ward", "alone", "alone=yes", "alone=no"}
    assert values <= names | {"missing_field", "outside_training_range", "unfamiliar", "unseen_category"}
    names = {name for name, _ in read(before)[1] if not name.startswith(meters())}
    assert names == {name for name, _ in read(after)[1] if not name.startswith(meters())}
