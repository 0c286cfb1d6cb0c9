"""The meter: what workers count while they answer, told alike by each of them, and never less than before."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving import bundle as bundles
from serving import cache, job_metrics, keys, meter_file, metrics, problems, version_metrics
from serving.counts import Counts
from serving.exposition import Family, Histogram
from serving.journal import Entry, Journal
from serving.meter import FAILURES, IN_FLIGHT, METRICS, RECORDS, REFUSALS, REQUEST_S, REQUESTS, STARTS, UNNOTED, Meter
from serving.scopes import RULES
from tests.conftest import ROOT, Home, Server, serving, until
from tests.keyed import bearer
from tests.made import referred
from tests.test_metrics import Sample, now_us, of, read

PREDICT = "/v1/{task}/predict"
ROW = {"age": 70, "days": 12}


def told(one: Meter) -> dict[str, Any]:
    """By metric, what the meter tells: samples by labels, of histograms with their buckets and sum."""
    return {family.name: {sample[0]: sample[1:] for sample in family.samples} for family in one.families()}


def test_every_series_has_a_place_of_its_own():
    one = Meter()
    before = told(one)
    for metric in METRICS:
        for labels in metric.series:
            if metric.kind == "histogram":
                one.observe(metric, 0.0, labels)
            elif metric.kind == "gauge":
                one.put(metric, 7)
            else:
                one.add(metric, labels)
    after = told(one)
    for metric in METRICS:
        for labels in metric.series:
            if metric.kind == "gauge":
                assert after[metric.name]["0",] == (7,)
            elif metric.kind == "counter":
                assert after[metric.name][labels][0] == before[metric.name].get(labels, (0,))[0] + 1
            else:
                assert after[metric.name][labels] == ([1] * (len(metric.bounds) + 1), 0)


def test_workers_tell_the_sum_and_one_that_takes_a_dead_ones_place_counts_on():
    shared = meter_file.share(2)
    first, second = Meter(shared, 0, 2), Meter(shared, 1, 2)
    first.add(RECORDS, n=3)
    second.add(RECORDS, n=4)
    second.put(IN_FLIGHT, 5)
    second.observe(REQUESTS, 0.3, ("POST", PREDICT, "2xx"))
    for one in (first, second):
        assert told(one)[RECORDS.name] == {(): (7,)}
        assert told(one)[IN_FLIGHT.name] == {("0",): (0,), ("1",): (5,)}
    again = Meter(shared, 1, 2)
    again.add(RECORDS)
    assert told(first)[RECORDS.name] == {(): (8,)}
    assert told(first)[STARTS.name] == {(): (3,)}
    assert told(first)[IN_FLIGHT.name] == {("0",): (0,), ("1",): (0,)}, "what it answered is answered by nobody now"
    counts, total = told(first)[REQUESTS.name]["POST", PREDICT, "2xx"]
    assert (counts, total) == ([float(bound >= 0.3) for bound in (*REQUEST_S, 10)], 0.3)
    os.close(shared)


def test_what_a_client_sends_names_no_series():
    one = Meter()
    one.answered("BREW", None, 404, None, 0.1)
    one.answered("GET", "/Smith", 418, "Smith", 0.1)
    one.answered("HEAD", "/v1", 200, None, 0.1)
    one.answered("POST", PREDICT, 422, "rows-refused", 0.1)
    one.answered("POST", PREDICT, 408, None, 0.1)
    one.answered("POST", PREDICT, 0, None, 0.1)
    requests = {labels: counts[-1] for labels, (counts, _) in told(one)[REQUESTS.name].items()}
    assert requests == {("other", "other", "4xx"): 2, ("GET", "/v1", "2xx"): 1, ("POST", PREDICT, "4xx"): 1}
    assert told(one)[REFUSALS.name] == {
        ("404", "about:blank"): (1,), ("other", "other"): (1,), ("422", "rows-refused"): (1,),
    }  # fmt: skip


def test_every_kind_of_problem_is_counted_by_its_status():
    statuses = {int(status) for status, _ in problems.REFUSALS}
    assert {400, 401, 403, 404, 408, 413, 415, 422, 429, 431, 500, 503, 507} <= statuses
    assert len(set(problems.REFUSALS)) == len(problems.REFUSALS)


def test_answers_that_were_lost_are_counted_when_the_journal_tells_of_them(tmp_path: Path):
    one, path = Meter(), tmp_path / "journal.db"
    journal = Journal(path, one)
    journal.keep_later("stay", [Entry("lost", "stay", "1", "{}", '{"warnings": []}')] * 20_001)
    path.rename(tmp_path / "away.db")
    path.mkdir()  # now nothing can be written
    journal.keep_later("stay", [Entry("b", "stay", "1", "{}", '{"warnings": []}')])
    until(lambda: told(one)[UNNOTED.name] == {("0",): (20_002,)}, 30, lambda: str(told(one)))
    assert told(one)[FAILURES.name] == {(): (1,)}
    path.rmdir()
    (tmp_path / "away.db").rename(path)
    asyncio.run(journal.keep([Entry("c", "stay", "1", "{}", '{"warnings": []}')]))
    journal.close()
    assert told(one)[UNNOTED.name] == {("0",): (0,)}
    assert told(one)[RECORDS.name] == {(): (2,)}, "the note and an answer"
    counts = Counts(path)
    counts.look(now_us() + 1)
    (lost,) = [family for family in metrics.counters(counts) if family.name == "gancao_answers_lost_total"]
    assert lost.samples == [(("stay",), 20_002)]


# --- a server --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """Two workers that ask for keys, and words of keys by their scope."""
    home = tmp_path_factory.mktemp("watched") / "home"
    (home / "cache").mkdir(parents=True)
    bundles.write(referred("regression"), home / "new")
    cache.publish(home / "cache", "stay", "1", home / "new", "by hand")
    words = {scope: keys.create(home / "keys.db", scopes=[scope])[1] for scope in ("read", "predict", "outcome")}
    words["revoked"] = (found := keys.create(home / "keys.db"))[1]
    keys.revoke(home / "keys.db", found[0].id)
    with serving(Home(home, home, (("GANCAO_MAX_BODY_BYTES", "2000"),)), "--workers", "2") as running:
        yield running, words


def scraped(server: Server, words: dict[str, str]) -> dict[Sample, float]:
    """What a worker tells, on a connection of its own."""
    response = server.get("/metrics", headers=bearer(words["read"]))
    assert response.status_code == 200, response.text
    types, samples = read(response.text)
    assert types[REQUESTS.name] == "histogram"
    return samples


def ask(server: Server, word: str, body: Any = None, path: str = "/v1/stay/predict", **more: Any) -> httpx.Response:
    return server.post(path, json=body or {"rows": [ROW]}, headers={**(bearer(word) if word else {}), **more})


def test_refusals_are_counted_by_kind_and_requests_by_route(watched):
    server, words = watched
    before = scraped(server, words)
    sent = [ask(server, words["predict"]) for _ in range(5)]
    sent.append(ask(server, ""))
    sent.append(ask(server, words["revoked"]))
    sent.append(ask(server, words["outcome"]))
    sent.append(ask(server, words["predict"], {"rows": [{"age": 7000}]}))
    sent.append(ask(server, words["predict"], {"rows": [ROW] * 1000}))
    sent.append(ask(server, words["predict"], path="/v1/Smith/predict"))
    sent.append(ask(server, "", path="/Smith"))
    assert [one.status_code for one in sent] == [200] * 5 + [401, 401, 403, 422, 413, 404, 404]
    kinds = {
        ("401", "key-missing"), ("401", "key-refused"), ("403", "not-allowed"), ("422", "rows-refused"),
        ("413", "too-large"), ("404", "unknown-task"), ("404", "about:blank"),
    }  # fmt: skip

    def more(samples: dict[Sample, float], name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return samples.get(key, 0) - before.get(key, 0)

    def arrived() -> dict[Sample, float] | None:
        samples = scraped(server, words)  # a request is counted just after its answer has left
        labels = {"method": "other", "route": "other", "status": "4xx"}
        return samples if more(samples, "gancao_request_seconds_count", **labels) else None

    samples = until(arrived, 30, lambda: "it was not counted")
    for status, problem in kinds:
        assert more(samples, "gancao_refusals_total", status=status, problem=problem) == 1, problem
    route = {"method": "POST", "route": PREDICT}
    assert more(samples, "gancao_request_seconds_count", **route, status="2xx") == 5
    assert more(samples, "gancao_request_seconds_bucket", **route, status="2xx", le="+Inf") == 5
    assert more(samples, "gancao_request_seconds_sum", **route, status="2xx") > 0
    assert more(samples, "gancao_request_seconds_count", **route, status="4xx") == 6
    assert more(samples, "gancao_journal_records_total") == 5
    assert 1 <= more(samples, "gancao_journal_commit_seconds_count") <= 5
    assert of(samples, "gancao_worker_starts_total") == 2
    assert {labels for name, labels in samples if name == "gancao_connections"} == {
        (("worker", "0"),), (("worker", "1"),),
    }  # fmt: skip
    assert "Smith" not in str(samples)


def test_jobs_are_counted_by_state(watched):
    server, words = watched
    sent = server.post(
        "/v1/stay/jobs", content=b"age\n70\n", headers={**bearer(words["predict"]), "content-type": "text/csv"}
    )
    assert sent.status_code == 202, sent.text
    done = ("gancao_jobs", (("state", "done"), ("task", "stay")))
    until(lambda: scraped(server, words).get(done) == 1, 60, lambda: server.log.read_text())


def test_no_counter_goes_back_whichever_worker_is_asked_and_whichever_dies(watched):
    server, words = watched
    counted = re.compile(r"_(total|count|bucket|sum)$")
    last: dict[Sample, float] = {}

    def look() -> dict[Sample, float]:
        nonlocal last
        samples = scraped(server, words)
        for key, value in last.items():
            if counted.search(key[0]):
                assert samples.get(key, -1) >= value, key
        last = {key: value for key, value in samples.items() if counted.search(key[0])}
        return samples

    for _ in range(10):
        assert ask(server, words["predict"]).status_code == 200
        look()
    os.kill(server.children("serving.app")[0], signal.SIGKILL)

    def restarted() -> bool:
        try:
            return of(look(), "gancao_worker_starts_total") == 3
        except httpx.HTTPError:  # the connection was the dead worker's
            return False

    until(restarted, 60, lambda: server.log.read_text())
    for _ in range(10):
        assert ask(server, words["predict"]).status_code == 200
        look()


# --- the docs --------------------------------------------------------------------------------------------------------


def test_every_metric_is_in_the_docs_with_its_labels_and_its_sentence(tmp_path: Path):
    families: list[Family | Histogram] = [
        *Meter().families(), *job_metrics.families(tmp_path), *version_metrics.families(tmp_path, tmp_path / "no", []),
        *metrics.counters(Counts(tmp_path / "no")), *metrics.gauges([]),
    ]  # fmt: skip
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    told_of = re.findall(r"^\| `(gancao_[a-z_]+)` \| (\w+) \| ([a-z, ]*) \| (.+) \|$", page, re.MULTILINE)
    made = [(family.name, family.kind, ", ".join(family.labels), family.help) for family in families]
    assert sorted(told_of) == sorted((*one[:2], one[2], one[3]) for one in made)
    named = set(re.findall(r"gancao_[a-z_]+[a-z]", page))
    parts = {f"{family.name}{end}" for family in families for end in ("", "_bucket", "_sum", "_count")}
    assert named <= parts


def test_no_route_is_missing_from_the_meter():
    assert {(method, route) for method, route, _ in REQUESTS.series} >= {tuple(line.split(" ")) for line in RULES}
