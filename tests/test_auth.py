"""Closed by default: every route, whoever asks, and what a key is for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from feature_store.errors import GancaoError
from feature_store.settings import Settings
from serving import keys, problems
from serving.app import build
from serving.auth import Access, guarded
from serving.scopes import RULES, SCOPES, Rule
from tests.conftest import CASE, Home, serving, until
from tests.keyed import Keyed, bearer, make

PREDICT = "/v1/birth_weight/predict"
ROWS = {"rows": [CASE]}
REFUSED = ("wrong secret", "unknown", "nonsense", "expired", "revoked")


def routes(home: Path) -> list[tuple[str, str]]:
    """(method, path) of every route of the application."""
    app = build(Settings(home=home))
    app.state.answering.close()
    found = []
    for route in app.routes:
        assert isinstance(route, Route | Mount)
        methods = route.methods or set() if isinstance(route, Route) else {"GET"}
        found += [(method, route.path) for method in sorted(methods)]
    return found


def rule(method: str, path: str) -> Rule:
    return RULES[f"{'GET' if method == 'HEAD' else method} {path}"]


def ask(keyed: Keyed, method: str, path: str, headers: Mapping[str, str]) -> httpx.Response:
    """The route at `path`, of birth_weight, with what its kind of body is."""
    address = path.replace("{task}", "birth_weight").replace("{prediction_id}", "0")
    address = address.replace("/static", "/static/form.css")
    more: dict[str, Any] = {}
    if method == "POST":
        more = {"json": ROWS} if path.startswith("/v1") else {"data": {"gestation_weeks": "39"}}
    return httpx.request(method, keyed.server.base + address, headers=dict(headers), timeout=30, **more)


def test_every_route_has_a_rule_and_every_rule_a_route(tmp_path):
    told = {f"{method} {path}" for method, path in routes(tmp_path) if method != "HEAD"}
    assert told == set(RULES)


def test_only_what_must_be_is_open_to_anyone():
    assert {line for line, rule in RULES.items() if rule.who == "anyone"} == {
        "GET /livez", "GET /readyz", "GET /static", "GET /login", "POST /login",
    }  # fmt: skip


def test_every_route_refuses_who_has_no_key_a_wrong_one_or_one_for_something_else(keyed_server: Keyed, tmp_path):
    asked = 0
    for method, path in routes(tmp_path):
        needed = rule(method, path)
        if needed.who == "anyone":
            continue
        senders: dict[str, tuple[Mapping[str, str], int]] = {"no key": ({}, 401)}
        senders |= {kind: (bearer(keyed_server.words[kind]), 401) for kind in REFUSED}
        senders |= {f"{kind} in a cookie": ({"cookie": f"gancao={keyed_server.words[kind]}"}, 401)
                    for kind in ("all", "expired")}  # fmt: skip
        senders["basic"] = ({"authorization": "Basic YTpi"}, 401)
        if needed.who != "a key":
            senders["wrong scope"] = (bearer(keyed_server.words[f"all but {needed.who}"]), 403)
        if "{task}" in path or needed.all_tasks:
            senders["other task"] = (bearer(keyed_server.words["other_task"]), 403)
        for kind, (headers, status) in senders.items():
            response = ask(keyed_server, method, path, headers)
            assert response.status_code == status, (method, path, kind, response.text)
            assert response.headers.get("www-authenticate", "").startswith("Bearer") or kind == "other task"
            page = needed.door == "page" and "authorization" not in headers
            kinds = "text/html; charset=utf-8" if page else "application/problem+json"
            assert response.headers["content-type"] == kinds
            asked += 1
    assert asked > 150


def test_a_key_with_its_one_scope_opens_its_routes(keyed_server: Keyed, tmp_path):
    for method, path in routes(tmp_path):
        needed = rule(method, path).who
        for scope in (needed if needed in SCOPES else "read", "admin"):
            response = ask(keyed_server, method, path, bearer(keyed_server.words[scope]))
            assert response.status_code not in (401, 403) or path == "/login", (method, path, scope)


def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(keyed_server: Keyed):
    told = {keyed_server.server.post(PREDICT, json=ROWS, headers=bearer(keyed_server.words[k])).text for k in REFUSED}
    assert len(told) == 1
    problem = json.loads(told.pop())
    assert problem["status"] == 401
    assert "gancao keys create" in problem["detail"]


def test_what_a_key_lacks_is_told(keyed_server: Keyed):
    response = keyed_server.server.post(PREDICT, json=ROWS, headers=bearer(keyed_server.words["read"]))
    assert response.status_code == 403
    assert 'scope="predict"' in response.headers["www-authenticate"]
    assert "--scopes predict" in response.json()["detail"]


def test_without_a_key_readiness_is_bare(keyed_server: Keyed):
    server = keyed_server.server
    assert server.get("/readyz").json() == {"ready": True}
    assert server.get("/readyz", headers=bearer("nonsense")).json() == {"ready": True}
    assert server.get("/readyz", headers=bearer(keyed_server.words["predict"])).json() == {"ready": True}
    assert "tasks" in server.get("/readyz", headers=bearer(keyed_server.words["read"])).json()


def test_a_key_of_other_tasks_sees_none_of_this_one(keyed_server: Keyed):
    server, headers = keyed_server.server, bearer(keyed_server.words["other_task"])
    for path in ("/v1", "/openapi.json", "/", "/docs"):
        response = server.get(path, headers=headers)
        assert response.status_code == 200
        assert "birth_weight" not in response.text
    same = {server.post(f"/v1/{task}/predict", json=ROWS, headers=headers).text for task in ("birth_weight", "no_such")}
    assert len(same) == 1, "whether a task is there is not told"


def test_a_revoked_key_is_refused_by_every_worker_within_seconds(keyed_server: Keyed):
    key, words = keyed_server.new()
    accepted = [status(keyed_server, words) for _ in range(10)]
    keys.revoke(keyed_server.path, key.id)
    until(lambda: status(keyed_server, words) == 401, 5, lambda: "the key is still accepted")
    until(lambda: {status(keyed_server, words) for _ in range(40)} == {401}, 5, lambda: "one worker still accepts it")
    assert accepted == [200] * 10


def status(keyed: Keyed, words: str) -> int:
    """Of one request on a connection of its own, so that any worker may get it."""
    return keyed.server.get("/v1", headers=bearer(words)).status_code


def _keys_of_requests(keyed_server: Keyed) -> set[str | None]:
    lines = keyed_server.server.log.read_text().splitlines()
    return {json.loads(line)["key"] for line in lines if '"event": "request"' in line and line.endswith("}")}


def test_the_log_names_keys_by_their_id_alone(keyed_server: Keyed):
    words = keyed_server.words
    ids = {kind: word.split("_")[1] for kind, word in words.items() if word.startswith("gck_")}
    for kind in (*REFUSED, "predict"):
        keyed_server.server.post(PREDICT, json=ROWS, headers=bearer(words[kind]))
    until(lambda: _keys_of_requests(keyed_server) >= {ids["predict"]}, 10, keyed_server.server.log.read_text)
    assert ids["revoked"] not in _keys_of_requests(keyed_server), "a request is of a key that was accepted"
    log = keyed_server.server.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if '"key_refused"' in line]
    told = {(line["why"], line["key"]) for line in lines}
    assert {("expired", ids["expired"]), ("revoked", ids["revoked"]), ("wrong secret", ids["all"]),
            ("unknown", None), ("no key of ours", None)} <= told  # fmt: skip
    assert not any(word.split("_", 2)[-1] in log for word in words.values())
    assert "Ward 7" not in log


def test_the_first_key_closes_a_running_server_and_open_asks_nobody(own_home: Home):
    with serving(own_home) as server:
        assert server.post(PREDICT, json=ROWS).status_code == 200
        words = make(own_home.home / "keys.db")
        until(lambda: server.post(PREDICT, json=ROWS).status_code == 401, 5, lambda: "it is still open")
        assert server.post(PREDICT, json=ROWS, headers=bearer(words["predict"])).status_code == 200
    with serving(own_home, "--open") as server:
        for headers in ({}, bearer(words["expired"])):
            assert server.post(PREDICT, json=ROWS, headers=headers).status_code == 200
            assert server.get("/metrics", headers=headers).status_code == 200


def test_others_than_this_machine_are_served_when_there_is_a_live_key_and_only_with_it(own_home: Home):
    path = own_home.home / "keys.db"
    keys.create(path, life_s=60, now_s=1000)
    done = own_home.run("serve", "--host", "0.0.0.0", "--port", "0", code=2)
    assert "gancao keys create" in done.stderr
    assert "--open" in done.stderr
    key, words = keys.create(path, scopes=["predict"])
    with serving(own_home, "--host", "0.0.0.0") as server:
        assert server.post(PREDICT, json=ROWS).status_code == 401
        assert server.post(PREDICT, json=ROWS, headers=bearer(words)).status_code == 200
        for file in own_home.home.glob("keys.db*"):
            file.unlink()
        until(lambda: server.post(PREDICT, json=ROWS, headers=bearer(words)).status_code == 401, 5, lambda: key.id)
        assert server.post(PREDICT, json=ROWS).status_code == 401, "it does not open when its keys are gone"


def test_a_key_that_asks_too_often_waits_and_others_do_not(own_home: Home):
    words = make(own_home.home / "keys.db")
    home = Home(own_home.home, own_home.data, (("GANCAO_REQUESTS_A_MINUTE", "30"),))
    with serving(home) as server:
        answers = [server.get("/v1", headers=bearer(words["read"])) for _ in range(30)]
        held = [answer for answer in answers if answer.status_code == 429]
        assert answers[0].status_code == 200
        assert held
        assert all(1 <= int(answer.headers["retry-after"]) <= 2 for answer in held)
        assert held[0].json()["type"] == "urn:gancao:problem:too-often"
        assert server.get("/v1", headers=bearer(words["admin"])).status_code == 200
        assert server.get("/livez").status_code == 200


FOREIGN = [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"},
           {"origin": "null"}, {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:1"}]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_cannot_make_a_browser_write_even_without_keys(server, headers):
    for path, body in ((PREDICT, {"json": ROWS}), ("/v1/birth_weight/outcomes", {"json": {"outcomes": [1]}}),
                       ("/form/birth_weight", {"data": {"gestation_weeks": "39"}}),
                       ("/form/birth_weight/outcome", {"data": {"prediction_id": "0"}})):  # fmt: skip
        response = server.post(path, headers=headers, **body)
        assert response.status_code == 403
    assert server.get("/form/birth_weight", headers=headers).status_code == 200, "a link from elsewhere may be followed"


def test_our_own_pages_and_programs_may_write(server):
    host = server.base.removeprefix("http://")
    for headers in ({}, {"sec-fetch-site": "same-origin", "origin": "null"}, {"sec-fetch-site": "none"},
                    {"origin": server.base}, {"origin": f"https://{host}"}):  # fmt: skip
        assert server.post("/form/birth_weight", data={"gestation_weeks": "39"}, headers=headers).status_code == 200


def test_a_route_that_nobody_made_a_rule_for_is_refused_to_all(tmp_path):
    async def endpoint(incoming: Request) -> Response:
        return Response("secret")

    async def refuse(incoming: Request, error: Exception) -> Response:
        assert isinstance(error, GancaoError)
        return problems.response(error)

    words = make(tmp_path / "keys.db")
    for settings in (Settings(home=tmp_path), Settings(home=tmp_path, open=True)):
        own = guarded([Route("/new", endpoint), Route("/v1", endpoint, methods=["DELETE"])], Access(settings))
        app = Starlette(routes=own, exception_handlers={GancaoError: refuse})

        async def all_asked(app: Starlette = app) -> list[int]:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost", headers=bearer(words["admin"])
            ) as c:
                return [(await c.get("/new")).status_code, (await c.delete("/v1")).status_code]

        assert asyncio.run(all_asked()) == [403, 403]


def test_the_openapi_document_and_the_page_say_how_a_key_is_sent(keyed_server: Keyed):
    headers = bearer(keyed_server.words["read"])
    document = keyed_server.server.get("/openapi.json", headers=headers).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert {"401", "403", "429"} <= set(document["paths"][PREDICT]["post"]["responses"])
    assert "Authorization: Bearer $GANCAO_KEY" in keyed_server.server.get("/docs", headers=headers).text
