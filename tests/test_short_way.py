"""The short way in answers as the route does, header for header, and lets everything else through."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from feature_store.settings import Settings
from serving import app as worker
from serving import bundle as bundles
from serving import cache
from serving.short_way import ShortWay, asked
from tests import made

PATH = "/v1/readmission/predict"
ROW = {"age": 71, "days": 4.0, "ward": "medical", "alone": True}
JSON = [(b"content-type", b"application/json")]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    bundles.write(made.version("binary").bundle, tmp_path / "bundle")
    (tmp_path / "cache").mkdir()
    cache.publish(tmp_path / "cache", "readmission", "1", tmp_path / "bundle", "1")
    return tmp_path


def ask(home: Path, short: bool, requests: list[tuple[dict[str, Any], bytes]]) -> list[Any]:
    """What the application sends for each request, with or without the door; ids of answers made alike."""
    app = worker.build(Settings(home=home, max_body_bytes=20_000))
    assert app.user_middleware[-1].cls is ShortWay
    if not short:
        app.user_middleware.pop()
    out: list[Any] = []

    async def one(scope: dict[str, Any], body: bytes) -> None:
        parts = [body[:7], body[7:]]
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        (start, *rest) = sent
        content = b"".join(message["body"] for message in rest)
        out.append((start["status"], start["headers"], re.sub(rb'"prediction_id":"\w{32}"', b"", content)))

    async def all_of_them() -> None:
        await app.state.answering.champions.look()
        for scope, body in requests:
            await one(scope, body)
        app.state.answering.close()

    asyncio.run(all_of_them())
    return out


def request(body: Any, path: str = PATH, method: str = "POST", headers: Any = JSON) -> tuple[dict[str, Any], bytes]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "headers": [*headers, (b"content-length", b"%d" % len(content))],
    }  # fmt: skip
    return scope, content


def test_the_door_answers_and_refuses_as_the_route_does(home: Path):
    requests = [
        request({"rows": [ROW]}),
        request({"rows": [ROW] * 40}),
        request({"rows": [ROW], "explain": True}),
        request({"rows": [ROW]}, headers=[]),
        request({"rows": [ROW]}, headers=[(b"content-type", b"Application/JSON; charset=utf-8")]),
        request({"rows": [ROW]}, headers=[(b"content-type", b"text/plain")]),
        request({"rows": [{**ROW, "age": 7}]}),
        request(b'{"rows": [{"age": 71, "age": 72}]}'),
        request(b""),
        request({"rows": [ROW] * 1001}),
        request(b" " * 20_001),
        request({"rows": [ROW]}, path="/v1/nothing/predict"),
        request({"rows": [ROW]}, path="/v1//predict"),
        request({"rows": [ROW]}, path="/v1/readmission/predict/"),
        request({"rows": [ROW]}, path="/v1/readmission/x/predict"),
        request({"rows": [ROW]}, path="/v1/readmission/explain"),
        request(b"", method="GET"),
        request(b"", method="OPTIONS"),
        request({"rows": [ROW]}, method="PUT"),
    ]
    at_the_door, at_the_route = ask(home, True, requests), ask(home, False, requests)
    for (scope, _), one, other in zip(requests, at_the_door, at_the_route, strict=True):
        assert one == other, (scope["method"], scope["path"])
    assert [status for status, _, _ in at_the_door[:6]] == [200, 200, 200, 200, 200, 415]


@pytest.mark.parametrize(
    ("changed", "task"),
    [
        ({}, "readmission"),
        ({"method": "GET"}, ""),
        ({"type": "websocket"}, ""),
        ({"root_path": "/behind"}, ""),
        ({"path": "/v1//predict"}, ""),
        ({"path": "/v1/a/b/predict"}, ""),
        ({"path": "/v2/readmission/predict"}, ""),
    ],
)
def test_only_a_prediction_takes_the_short_way(changed, task):
    scope, _ = request({})
    assert asked({**scope, **changed}) == task
