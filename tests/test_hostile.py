"""Hostile bodies: each is refused in words, at once, without a fault, a path or a value; and no value leaks."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests import hostile
from tests.conftest import CASE, ROOT, Home, Server, need, serving
from tests.wire import told

FULL = os.environ.get("GANCAO_PROOFS") == "full"
ROUTES = [f"/v1/birth_weight/{name}" for name in ("predict", "explain", "outcomes")]
JSON = {"content-type": "application/json"}
INSIDE = re.compile(
    r"Traceback|\bFile \"|\.py\b|site-packages|object at 0x|sqlite|/usr/|/tmp/|/home/|/root/|" + re.escape(str(ROOT))
)
"""What tells of the inside of a server."""


@pytest.fixture(scope="module")
def client(server: Server):
    """In full it waits 5 s at most: what hangs longer fails."""
    with httpx.Client(base_url=server.base, timeout=5 if FULL else 60) as made:
        yield made


def refused_well(response: httpx.Response) -> None:
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == response.status_code
    assert not INSIDE.search(response.text)
    assert hostile.PLANTED not in response.text


@pytest.mark.parametrize("path", ROUTES)
def test_every_body_of_the_list_is_refused_in_words(client: httpx.Client, path: str):
    bodies = hostile.by_hand()
    for body in bodies:
        refused_well(client.post(path, content=body, headers=JSON))
    told(f"{path}: {len(bodies)} bodies by hand, all refused")
    assert len(bodies) > 300


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
             "application/msgpack", "application/jsonp", "canary7", "application/json5"],
)  # fmt: skip
def test_a_body_of_another_kind_is_refused(client: httpx.Client, kind: str):
    refused_well(client.post(ROUTES[0], content=b'{"rows": []}', headers={"content-type": kind}))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "canary7"])
def test_a_body_that_is_packed_is_refused(client: httpx.Client, encoding: str):
    body = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    refused_well(client.post(ROUTES[0], content=body, headers={**JSON, "content-encoding": encoding}))


def test_what_the_document_calls_wrong_is_refused_and_what_it_calls_right_is_answered(client: httpx.Client):
    """The oracle is a validator of JSON Schema over /openapi.json: none is accepted in silence, none turned away."""
    document = client.get("/openapi.json").json()
    components = document["components"]
    oracle = Draft202012Validator({"$ref": "#/components/schemas/BirthWeightRequest", "components": components})
    counted = {"right": 0, "wrong": 0}

    @settings(max_examples=5000 if FULL else 500, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(hostile.near(document, components["schemas"]["BirthWeightRow"]))
    def ask(body: Any) -> None:
        response = client.post(ROUTES[0], content=json.dumps(body), headers=JSON)
        if oracle.is_valid(body):
            counted["right"] += 1
            assert response.status_code == 200, response.text
        else:
            counted["wrong"] += 1
            refused_well(response)

    ask()
    told(f"near the document: {counted}")
    assert min(counted.values()) > 20


CHECKS = """
[checks]
negative_data_rejection.expected-statuses = ["4xx"]

[[operations]]
include-path-regex = "/outcomes$"
checks.negative_data_rejection.expected-statuses = ["4xx", 207]  # each item has a status of its own
"""


@pytest.mark.proof
def test_schemathesis_finds_no_answer_beside_the_document(server: Server, tmp_path: Path):
    """In full: 400 bodies an address and phase. It reads /openapi.json and knows nothing else of us."""
    tool = shutil.which("schemathesis", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    need(tool, "schemathesis is not installed")
    (tmp_path / "schemathesis.toml").write_text(CHECKS)
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    words = ["--config-file", str(tmp_path / "schemathesis.toml"), "run", server.base + "/openapi.json"]
    words += ["--phases", "examples,coverage,fuzzing", "--checks", f"{checks},negative_data_rejection"]
    words += ["--max-examples", "400" if FULL else "10", "--request-timeout", "5" if FULL else "60"]
    words += ["--suppress-health-check", "all", "--no-color"]
    done = subprocess.run([str(tool), *words], capture_output=True, text=True, cwd=tmp_path, timeout=3000, check=False)
    told(done.stdout[-600:])
    assert done.returncode == 0, done.stdout + done.stderr


@settings(max_examples=5000 if FULL else 300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    path=st.sampled_from(ROUTES), body=st.binary(max_size=300) | hostile.ANYTHING.map(lambda x: json.dumps(x).encode())
)
def test_noise_is_refused(client: httpx.Client, path: str, body: bytes):
    refused_well(client.post(path, content=body, headers=JSON))


@pytest.mark.parametrize(
    "path", ["/nope", "/v1/{}", "/v1/{}/predict", "/form/{}", "/v1/birth_weight/{}", "/static/{}", "/{}"]
)
@pytest.mark.parametrize(
    "word",
    ["canary7", "..%2f..%2fetc%2fpasswd", "%00", "%ff", "%f0%9f%92%a9", "a" * 4000, "%0d%0aset-cookie:x", "{{7*7}}"],
)
def test_a_strange_address_is_refused_in_words(client: httpx.Client, path: str, word: str):
    for method in ("GET", "POST"):
        refused_well(client.request(method, path.format(word), content=b"{}", headers=JSON))


@pytest.mark.proof
def test_no_value_that_was_sent_is_in_a_log_a_metric_or_an_error(own_home: Home):
    """In full: 500 planted values, right and wrong ones, in every place where a value may stand."""
    moment, planted = random.Random(7), []
    refusals: list[str] = []
    with serving(own_home) as server, httpx.Client(base_url=server.base, timeout=30) as client:
        for number in range(500 if FULL else 40):
            digits = str(moment.randrange(10**11, 10**12))
            planted.append(digits)
            response = _PLACES[number % len(_PLACES)](client, digits)
            if response.status_code >= 400 and "html" not in response.headers["content-type"]:
                refusals.append(response.text)
            refusals.append(json.dumps(dict(response.headers)))
        seen = {"errors": "\n".join(refusals), "metrics": client.get("/metrics").text, "tasks": client.get("/v1").text}
        server.stop()
        seen["log"] = server.log.read_text()
    found = [(name, digits) for name, text in seen.items() for digits in planted if digits in text]
    told(f"{len(planted)} planted values, found: {len(found)}; log of {len(seen['log'])} signs")
    assert len(refusals) > len(planted)
    assert not found


def _row(name: str, value: Any):
    return lambda client, digits: client.post(ROUTES[0], json={"rows": [{**CASE, name: value(digits)}]})


def _key(place: str):
    """A planted value where the name of a field stands."""
    body = json.dumps({"rows": [CASE]}).replace(place, f'"Smith @": 1, {place}', 1)
    return _raw(body)


def _raw(body: str):
    return lambda client, digits: client.post(ROUTES[0], content=body.replace("@", digits), headers=JSON)


def _outcome(item: dict[str, Any]):
    def ask(client: httpx.Client, digits: str) -> httpx.Response:
        sent = json.loads(json.dumps({"outcomes": [item]}).replace("@", digits))
        return client.post(ROUTES[2], json=sent)

    return ask


def _form(value: Any):
    return lambda client, digits: client.post(
        "/form/birth_weight", data={"gestation_weeks": "39", "height_cm": value(digits)}
    )


def _header(name: str):
    return lambda client, digits: client.post(ROUTES[0], json={"rows": [{}]}, headers={name: f"Smith {digits}"})


_PLACES = [
    _row("height_cm", lambda digits: float(f"163.{digits}")),  # a right one: answered, and in no log
    _row("height_cm", lambda digits: float(digits)),
    _row("height_cm", lambda digits: digits),
    _row("height_cm", lambda digits: [digits]),
    _row("fetal_sex", lambda digits: f"female{digits}"),
    _row("fetal_sex", lambda digits: {digits: digits}),
    _row("diabetes", lambda digits: digits),
    _row("mother_age", lambda digits: float(f"31.{digits}")),
    _key('"height_cm"'),
    _key('"rows"'),
    _raw('{"rows": [{"Smith @": 1, "Smith @": 1}]}'),
    _raw('{"rows": [{"height_cm": @'),
    _raw('{"rows": [{"height_cm": @@@x}]}'),
    _raw('{"rows": "@"}'),
    _raw('{"rows": [@]}'),
    _raw('{"rows": [{"height_cm": "\\ud800@"}]}'),
    _raw('{"rows": [{}], "explain": "@"}'),
    _outcome({"prediction_id": "0" * 32, "value": "@"}),
    _outcome({"prediction_id": "0" * 32, "value": 3400, "at_utc": "@"}),
    _outcome({"prediction_id": "@", "value": 3400}),
    _outcome({"prediction_id": "@", "value": -1}),
    _outcome({"prediction_id": "0" * 32, "value": 3400, "Smith @": 1}),
    _outcome({"key": {"Smith @": 1}, "value": 3400}),
    _outcome({"key": {"height_cm": "@"}, "value": 3400}),
    _outcome({"key": {"fetal_sex": "@"}, "value": 3400}),
    _header("user-agent"),
    _header("x-request-id"),
    _header("referer"),
    _header("content-type"),
    _header("cookie"),
    lambda client, digits: client.post(f"{ROUTES[0]}?name={digits}", json={"rows": [CASE]}),
    lambda client, digits: client.get(f"/v1/{digits}"),
    lambda client, digits: client.get(f"/static/{digits}"),
    lambda client, digits: client.post(f"/v1/{digits}/predict", json={"rows": [CASE]}),
    _form(lambda digits: digits),
    _form(lambda digits: f"163.{digits}"),
    lambda client, digits: client.post("/form/birth_weight/outcome", data={"prediction_id": "0" * 32, "value": digits}),
]  # fmt: skip
