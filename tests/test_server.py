"""The server over a real socket: the exchange, the errors, the documents."""

from __future__ import annotations

import csv
import json
import re
import time

import httpx
import numpy as np
import pytest

from experiments import catalog
from feature_store import offline
from feature_store.settings import Settings
from serving import encode
from tests.conftest import CASE, Home, Server, serving
from training import dataset, splits
from training.track import open_registry

PREDICT = "/v1/birth_weight/predict"


def test_an_answer_holds_all_that_was_agreed(server: Server):
    document = server.post(PREDICT, json={"rows": [CASE, CASE], "explain": False}).json()
    assert (document["task"], document["version"], len(document["answers"])) == ("birth_weight", "1", 2)
    answer = document["answers"][0]
    assert set(answer) == {"prediction_id", "value", "unit", "interval", "events", "group", "decision", "warnings"}
    assert answer["interval"]["low"] < answer["value"] < answer["interval"]["high"]
    assert set(answer["events"]) == {"low_birth_weight", "macrosomia", "macrosomia_4500"}
    assert all(0 < chance < 1 for chance in answer["events"].values())
    assert answer["group"].startswith("plurality=singleton")
    assert document["answers"][1]["prediction_id"] != answer["prediction_id"]
    missing = {w["field"] for w in answer["warnings"] if w["code"] == "missing_field"}
    assert "father_age" in missing
    assert not missing & set(CASE)


def test_a_row_alone_and_among_a_thousand_has_the_same_answer(server: Server):
    rows = [{**CASE, "gestation_weeks": 25 + n % 20, "mother_age": 15 + n % 30} for n in range(1000)]
    many = server.post(PREDICT, json={"rows": rows}).json()["answers"]
    for position in (0, 1, 499, 999):
        alone = server.post(PREDICT, json={"rows": [rows[position]]}).json()["answers"][0]
        assert {**alone, "prediction_id": ""} == {**many[position], "prediction_id": ""}


def test_the_answers_over_http_are_the_predictions_of_the_report_to_the_bit(server: Server, trained: Home):
    settings = Settings(home=trained.home, data=trained.data)
    task = catalog.load("birth_weight", settings)
    split = splits.split(task, dataset.labelled(task, offline.fetch(task, trained.data)), seed=0)
    rows = encode.as_rows(task, split.holdout.columns)
    run = open_registry(settings).versions("birth_weight")[0]["run_id"]
    reported = next(trained.home.glob(f"artifacts/birth_weight/{run}/artifacts/holdout.csv"))
    expected = list(csv.DictReader(reported.open()))
    answers = server.post(PREDICT, json={"rows": rows}).json()["answers"]
    assert len(expected) == len(rows) == len(answers) > 400
    for said, answer in zip(expected, answers, strict=True):
        assert float(said["value"]) == answer["value"]
        assert (float(said["low"]), float(said["high"])) == (answer["interval"]["low"], answer["interval"]["high"])
        assert all(float(said[f"p_{name}"]) == chance for name, chance in answer["events"].items())
    error = np.array([a["value"] for a in answers]) - split.holdout.target
    measured = server.get("/v1/birth_weight").json()["metrics"]
    assert measured["rmse"] == pytest.approx(float(np.sqrt(np.mean(error**2))), rel=1e-12)


def test_a_value_outside_the_training_range_is_answered_with_a_warning(server: Server):
    answer = server.post(PREDICT, json={"rows": [{**CASE, "height_cm": 229}]}).json()["answers"][0]
    assert ("height_cm", "outside_training_range") in {(w["field"], w["code"]) for w in answer["warnings"]}


BAD = [
    (b'{"rows": [{"gestation_weeks": 39, "wieght": 1}]}', 422, "Key 2 is not a field of birth_weight"),
    (b'{"rows": [{"gestation_weeks": "39"}]}', 422, "gestation_weeks"),
    (b'{"rows": [{"gestation_weeks": NaN}]}', 400, "NaN"),
    (b'{"rows": [{"gestation_weeks": 1e400}]}', 400, "64-bit"),
    (b'{"rows": [{"gestation_weeks": 99}]}', 422, "gestation_weeks"),
    (b'{"rows": []}', 400, "1 to 1000"),
    (b'{"rows": ' + json.dumps([CASE] * 1001).encode() + b"}", 413, "1001 rows"),
    (b'{"rows": [', 400, "not JSON"),
    (b'{"rows": [{"gestation_weeks": 39}]}' + b" " * 1_000_001, 413, "larger than"),
]


@pytest.mark.parametrize(("sent", "status", "named"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_is_a_problem_that_names_what_to_do(server: Server, sent, status, named):
    response = server.post(PREDICT, content=sent, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert named in json.dumps(problem)
    assert {"type", "title", "detail"} <= set(problem)


def test_a_body_that_is_not_said_to_be_json_is_refused(server: Server):
    response = server.post(PREDICT, content=b"{}", headers={"content-type": "text/plain"})
    assert response.status_code == 415
    assert "Content-Type: application/json" in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("POST", "/v1/nothing/predict", 404), ("GET", "/nope", 404), ("PUT", "/v1", 405),
     ("GET", PREDICT, 405), ("GET", "/form/nothing", 404), ("GET", "/static/../app.py", 404)],
)  # fmt: skip
def test_a_wrong_address_is_a_problem_too(server: Server, method, path, status):
    response = httpx.request(method, server.base + path, json={"rows": [CASE]} if method == "POST" else None)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_the_tasks_and_the_version_are_told(server: Server):
    assert [task["task"] for task in server.get("/v1").json()["tasks"]] == ["birth_weight"]
    facts = server.get("/v1/birth_weight").json()
    assert facts["task"]["fields"][0]["name"] == "gestation_weeks"
    assert facts["version"] == "1"
    assert facts["trained_on"]["synthetic"] is True
    assert {"rmse", "mae", "coverage"} <= set(facts["metrics"])
    assert facts["groups"]["plurality=singleton"]["n"] > 0


def test_ready_means_that_the_golden_rows_came_out(server: Server):
    response = server.get("/readyz")
    assert response.status_code == 200
    assert response.json()["tasks"]["birth_weight"]["golden"] == "reproduced"
    assert server.get("/livez").json() == {"alive": True}


def test_the_openapi_document_has_a_typed_schema_of_the_task(server: Server):
    document = server.get("/openapi.json").json()
    row = document["components"]["schemas"]["BirthWeightRow"]
    assert row["required"] == ["gestation_weeks"]
    assert row["additionalProperties"] is False
    weeks, sex = row["properties"]["gestation_weeks"], row["properties"]["fetal_sex"]
    assert (weeks["type"], weeks["minimum"], weeks["maximum"], weeks["x-unit"]) == ("number", 20, 45, "wk")
    assert "出生" in document["components"]["schemas"]["BirthWeightAnswer"]["properties"]["events"]["properties"][
        "low_birth_weight"]["title"]  # fmt: skip
    assert sex["enum"] == ["female", "male", None]
    assert "女" in sex["description"]
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
    example = document["components"]["schemas"]["BirthWeightRequest"]["examples"][0]
    assert server.post(PREDICT, json=example).status_code == 200


def test_every_answer_carries_the_safety_headers(server: Server):
    for path in ("/form/birth_weight", "/v1", "/nope", "/static/form.css"):
        headers = server.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert server.get("/form/birth_weight").headers["cache-control"] == "no-store"


def test_no_value_of_a_field_is_in_the_log(trained: Home, tmp_path):
    home = trained.copy(tmp_path / "home")
    with serving(home) as own:
        own.post(PREDICT, json={"rows": [{**CASE, "height_cm": 187.654321}]})
        own.post(PREDICT, json={"rows": [{**CASE, "height_cm": 87654321.5}]})
        own.post(PREDICT, content=b'{"rows": [{"height_cm": 1876543', headers={"content-type": "application/json"})
        own.post("/form/birth_weight", data={"gestation_weeks": "39", "height_cm": "187.654321"})
        assert "87654" not in own.log.read_text()


def test_other_machines_are_kept_out_unless_it_is_said(own_home: Home):
    done = own_home.run("serve", "--host", "0.0.0.0", "--port", "0", code=2)
    assert "--open" in done.stderr


def test_a_taken_port_is_told_in_words(server: Server, own_home: Home):
    done = own_home.run("serve", "--port", server.base.rsplit(":", 1)[1], code=2)
    assert "choose another with --port" in done.stderr


def test_without_a_model_the_server_says_how_to_get_one(tmp_path):
    with serving(Home(tmp_path / "home", tmp_path), wait_ready=False) as own:
        deadline = time.monotonic() + 20
        while True:
            try:
                response = own.post(PREDICT, json={"rows": [CASE]})
                break
            except Exception:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "2"
        assert "gancao train" in response.json()["detail"]
        assert own.get("/readyz").status_code == 503
        assert own.get("/livez").status_code == 200
