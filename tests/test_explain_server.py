"""Explanations over a real socket: what comes back, beside predictions, in turns, and when too many ask."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from serving import bundle, cache, recall
from serving.bundle import Bundle, Reference
from serving.explain import Explainer
from serving.explaining import MOST_AT_ONCE
from serving.predictor import Predictor
from tests.conftest import Home, Server, serving
from tests.decided import decided, unseen
from tests.made import version
from tests.test_explain import mixed
from training import golden

KINDS = {"stay": "regression", "readmission": "binary", "destination": "multiclass"}
EVERY = pytest.mark.parametrize("task", KINDS)
CASE: dict[str, Any] = {"age": 71, "days": 9, "ward": "medical", "alone": True}
ROWS = version("regression").rows[:50]


def heavy() -> Bundle:
    """The mixed version with a bag of 60 perceptrons: an explanation takes long enough to be overtaken."""
    made = mixed()
    members = [
        replace(member, models=member.models * 60) if member.learner == "mlp" else member for member in made.members
    ]
    made = replace(made, members=members)
    return replace(made, golden=golden.answered(Predictor(made), made.golden["rows"]))


def publish(home: Path, task: str, number: str, made: Bundle) -> None:
    bundle.write(made, home / f"new-{task}-{number}")
    (home / "cache").mkdir(exist_ok=True)
    cache.publish(home / "cache", task, number, home / f"new-{task}-{number}", number)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of three kinds; its registry is empty."""
    home = tmp_path_factory.mktemp("clinic")
    for task, kind in KINDS.items():
        publish(home, task, "1", version(kind).bundle)
    with serving(Home(home, home)) as running:
        yield running


@pytest.fixture(scope="module")
def laden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose explanations take long."""
    home = tmp_path_factory.mktemp("laden")
    publish(home, "stay", "1", heavy())
    with serving(Home(home, home)) as running:
        yield running


def explained(server: Server, task: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    response = httpx.post(f"{server.base}/v1/{task}/explain", json={"rows": rows}, timeout=300)
    assert response.status_code == 200, response.text
    answers: list[dict[str, Any]] = response.json()["answers"]
    return answers


@EVERY
def test_an_explanation_is_the_explainers_to_the_bit_and_fits_its_schema(clinic, task):
    rows = version(KINDS[task]).rows[:50]
    whole = clinic.post(f"/v1/{task}/explain", json={"rows": rows}).json()
    assert (whole["task"], whole["version"]) == (task, "1")
    explainer = Explainer(Predictor(version(KINDS[task]).bundle))
    assert whole["answers"] == [explainer.explain(row) for row in rows]
    document = clinic.get("/openapi.json").json()
    schema = {"$ref": f"#/components/schemas/{task.capitalize()}Explanations", "components": document["components"]}
    Draft202012Validator(schema).validate(whole)
    operation = document["paths"][f"/v1/{task}/explain"]["post"]
    assert {"200", "409", "413", "422", "503"} <= set(operation["responses"])


@EVERY
def test_a_prediction_carries_its_explanation_when_that_is_asked(clinic, task):
    rows = version(KINDS[task]).rows[:5]
    whole = clinic.post(f"/v1/{task}/predict", json={"rows": rows, "explain": True}).json()
    document = clinic.get("/openapi.json").json()
    schema = {"$ref": f"#/components/schemas/{task.capitalize()}Response", "components": document["components"]}
    Draft202012Validator(schema).validate(whole)
    assert [answer["explanation"] for answer in whole["answers"]] == explained(clinic, task, rows)
    plain = clinic.post(f"/v1/{task}/predict", json={"rows": rows}).json()["answers"]
    for answer, bare in zip(whole["answers"], plain, strict=True):
        assert {**answer, "prediction_id": "", "explanation": ""} == {**bare, "prediction_id": "", "explanation": ""}


@pytest.mark.parametrize(
    ("sent", "status", "named"),
    [
        ({"rows": [CASE] * 51}, 413, "at most 50 are explained"),
        ({"rows": []}, 400, "Send 1 to 50 rows"),
        ({"rows": [{**CASE, "age": 7}]}, 422, "below_limit"),
        ({"rows": [CASE], "why": True}, 400, "Key 2 of the body"),
    ],
)
def test_a_body_is_judged_as_that_of_a_prediction(clinic, sent, status, named):
    response = clinic.post("/v1/stay/explain", json=sent)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert named in json.dumps(response.json())


def test_a_wrong_address_or_kind_of_body_is_a_problem(clinic):
    assert clinic.post("/v1/nothing/explain", json={"rows": [CASE]}).status_code == 404
    assert clinic.get("/v1/stay/explain").status_code == 405
    assert clinic.post("/v1/stay/explain", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415


def test_a_version_that_explains_nothing_says_so_and_its_form_still_answers(tmp_path):
    publish(tmp_path, "stay", "1", replace(version("regression").bundle, reference=Reference()))
    with serving(Home(tmp_path, tmp_path)) as bare:
        response = bare.post("/v1/stay/explain", json={"rows": [CASE]})
        assert response.status_code == 409
        assert "Train it again" in response.json()["detail"]
        page = bare.post("/form/stay?lang=en", data={"age": "71"})
        assert page.status_code == 200
        assert 'id="reasons"' not in page.text
        assert 'id="silence"' not in page.text


def test_an_explained_answer_carries_its_decision_and_is_kept_as_any_other(tmp_path):
    made, rows = decided("order"), unseen("order", 16)
    publish(tmp_path, "order", "1", replace(made, reference=Reference(background=made.encoder.rows(rows))))
    with serving(Home(tmp_path, tmp_path)) as shop:
        answers = shop.post("/v1/order/predict", json={"rows": rows, "explain": True}).json()["answers"]
        assert [one["decision"] for one in answers] == [one["decision"] for one in Predictor(made).answer(rows)]
        assert [one["explanation"] for one in answers] == explained(shop, "order", rows)
        for answer in answers:
            kept = recall.find(tmp_path / "journal.db", "order", answer["prediction_id"])
            assert kept is not None
            assert kept.answer == {key: value for key, value in answer.items() if key != "explanation"}
        true = {"prediction_id": answers[0]["prediction_id"], "value": 30}
        assert shop.post("/v1/order/outcomes", json={"outcomes": [true]}).json()["stored"] == 1
        page = shop.post("/form/order?lang=en", data={"size": "40", "stock": "0", "price": "1"}).text
        for place in ("decision", "reasons", "outcome-link"):
            assert f'id="{place}"' in page


def test_predictions_go_on_while_fifty_rows_are_explained(laden):
    explained(laden, "stay", ROWS[:1])  # the version is loaded
    expected = Predictor(heavy()).answer(ROWS)
    with ThreadPoolExecutor(1) as pool, httpx.Client(timeout=30) as client:
        began = time.monotonic()
        running = pool.submit(explained, laden, "stay", ROWS)
        took = []
        while not running.done():
            place = len(took) % 50
            start = time.monotonic()
            whole = client.post(f"{laden.base}/v1/stay/predict", json={"rows": [ROWS[place]]}).json()
            took.append(time.monotonic() - start)
            assert {**whole["answers"][0], "prediction_id": ""} == {"prediction_id": "", **expected[place]}
        whole_s = time.monotonic() - began
    assert len(running.result()) == 50
    assert len(took) > 20
    assert np.median(took) < whole_s / 20


def test_one_row_is_explained_before_the_fifty_that_were_asked_earlier(laden):
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(explained, laden, "stay", ROWS)
        time.sleep(0.1)
        assert len(explained(laden, "stay", [CASE])) == 1
        assert not running.done()
        assert len(running.result()) == 50


def test_beyond_what_may_wait_requests_are_told_when_to_come_back(laden):
    def ask() -> httpx.Response:
        return httpx.post(f"{laden.base}/v1/stay/explain", json={"rows": ROWS[:20]}, timeout=300)

    with ThreadPoolExecutor(MOST_AT_ONCE + 1) as pool:
        running = [pool.submit(ask) for _ in range(MOST_AT_ONCE + 1)]
        refused = wait(running, return_when=FIRST_COMPLETED).done.pop()
        page = laden.post("/form/stay?lang=en", data={"age": "71"})
        assert sum(one.done() for one in running) == 1
    assert refused.result().status_code == 503
    assert refused.result().json()["type"].endswith("busy")
    assert int(refused.result().headers["retry-after"]) > 0
    assert 'id="answer-value"' in page.text
    assert "too much else is being explained" in page.text
    told = {one.result().text for one in running if one is not refused}
    assert len(told) == 1
    assert len(json.loads(told.pop())["answers"]) == 20
    assert len(explained(laden, "stay", [CASE])) == 1


def test_a_new_champion_explains_its_own_answers(tmp_path):
    publish(tmp_path, "stay", "1", version("regression").bundle)
    with serving(Home(tmp_path, tmp_path)) as own:
        assert explained(own, "stay", ROWS) == [
            Explainer(Predictor(version("regression").bundle)).explain(r) for r in ROWS
        ]
        publish(tmp_path, "stay", "2", mixed())
        deadline = time.monotonic() + 30
        while (whole := own.post("/v1/stay/explain", json={"rows": ROWS}).json())["version"] == "1":
            assert time.monotonic() < deadline
        explainer = Explainer(Predictor(mixed()))
        assert whole["answers"] == [explainer.explain(row) for row in ROWS]


def test_a_server_ends_while_it_explains(tmp_path):
    publish(tmp_path, "stay", "1", heavy())
    with serving(Home(tmp_path, tmp_path, (("GANCAO_DRAIN_S", "1"),))) as own, ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(httpx.post, f"{own.base}/v1/stay/explain", json={"rows": ROWS}, timeout=60)
        time.sleep(0.5)
        assert own.stop() == 0
