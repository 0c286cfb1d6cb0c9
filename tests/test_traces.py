"""Traces: spans of requests and their parts arrive at a collector and hold no value; not wanted, they cost nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_store.errors import Usage
from feature_store.settings import Settings
from serving import app as worker
from serving import traces
from serving.admission import Admission
from serving.front import Front
from serving.meter import Meter
from serving.requestlog import RequestLog
from tests.conftest import ROOT, Home, Server, serving, until
from tests.decided import unseen
from tests.test_jobs import made

PREDICT = "/v1/order/predict"
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "canary7"


@dataclass
class Collector:
    """What came in over OTLP/HTTP. spans: newest last; whole: the bytes."""

    url: str = ""
    whole: bytes = b""
    spans: list[dict[str, Any]] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.whole += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource |= plain(group.resource.attributes)
            self.spans += [
                {
                    "name": span.name, "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                    "events": len(span.events),
                    "parent": span.parent_span_id.hex(), "kind": span.kind, "failed": span.status.code == 2,
                    **plain(span.attributes),
                }
                for scope in group.scope_spans
                for span in scope.spans
            ]  # fmt: skip

    def of(self, request_id: str) -> list[dict[str, Any]]:
        """The span of a request, then its parts in the order in which they ended; none until it has come."""
        (own,) = [span for span in self.spans if span.get("gancao.request_id") == request_id] or [None]
        return [] if own is None else [own, *(span for span in self.spans if span["parent"] == own["id"])]


def plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a socket of this machine."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            found.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        found.url = f"http://127.0.0.1:{listening.server_port}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            listening.shutdown()


def ask(server: Server, rows: list[dict[str, Any]], **headers: str) -> httpx.Response:
    return server.post(PREDICT, json={"rows": rows}, headers=headers)


def test_a_request_and_its_parts_are_spans_of_the_callers_trace_and_hold_no_value(tmp_path: Path):
    house, rows = made(tmp_path / "home"), unseen("order", 3)
    with collector() as found:
        more = (("OTEL_EXPORTER_OTLP_ENDPOINT", found.url), ("OTEL_BSP_SCHEDULE_DELAY", "100"))
        with serving(Home(house.home, house.data, more)) as server:
            answered = ask(server, rows, traceparent=CALLER, tracestate=f"x={SECRET}", baggage=f"name={SECRET}")
            alone = ask(server, rows)
            refused = ask(server, [{SECRET: SECRET}], traceparent=f"{SECRET}")
            lost = server.get(f"/{SECRET}")
            unsampled = ask(server, rows, traceparent=CALLER[:-1] + "0")
            explained = server.post("/v1/order/explain", json={"rows": rows})
            server.get("/readyz")
            sent = [answered, alone, refused, lost, explained]
            assert [one.status_code for one in sent] == [200, 200, 422, 404, explained.status_code]
            assert unsampled.status_code == 200
            ids = [one.headers["x-request-id"] for one in sent]
            until(lambda: all(found.of(one) for one in ids), 60, lambda: str(found.spans))
            own, *parts = found.of(ids[0])
            assert own["trace"] == CALLER[3:35]
            assert (own["parent"], own["kind"], own["name"]) == (CALLER[36:52], 2, "POST /v1/{task}/predict")
            assert {name: value for name, value in own.items() if "." in name} == {
                "http.request.method": "POST", "http.route": "/v1/{task}/predict", "http.response.status_code": 200,
                "gancao.request_id": ids[0], "gancao.task": "order", "gancao.version": "1",
            }  # fmt: skip
            assert [part["name"] for part in parts] == ["decode", "predict", "journal"]
            assert not [name for part in parts for name in part if "." in name]
            own, *parts = found.of(ids[1])
            assert (own["parent"], len(parts)) == ("", 3)
            own, *parts = found.of(ids[2])
            assert (own["gancao.problem"], own["http.response.status_code"]) == ("rows-refused", 422)
            assert own["parent"] == "", "no trace can be read from it"
            assert [part["name"] for part in parts] == ["decode"]
            (own,) = found.of(ids[3])
            assert (own["name"], own.get("http.route")) == ("GET", None)
            assert [part["name"] for part in found.of(ids[4])[1:]] == ["decode", "explain"]
            assert not any(span["events"] or span["failed"] for span in found.spans)
            assert unsampled.headers["x-request-id"] not in str(found.spans)
            assert "readyz" not in str(found.spans)
            assert found.resource["service.name"] == "gancao"
            assert SECRET.encode() not in found.whole
            lines = [json.loads(line) for line in server.log.read_text().splitlines() if '"event": "request"' in line]
            logged = {line["request_id"]: line.get("trace_id") for line in lines}
            assert logged[ids[0]] == CALLER[3:35]
            last = ask(server, rows).headers["x-request-id"]
            assert server.stop() == 0
            assert found.of(last), "what is left is sent at the end"


def test_a_collector_that_is_away_holds_up_no_answer_and_no_end(tmp_path: Path):
    house, rows = made(tmp_path / "home"), unseen("order", 1)
    more = (("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_BSP_SCHEDULE_DELAY", "50"))
    with serving(Home(house.home, house.data, more)) as server:
        assert [ask(server, rows).status_code for _ in range(3)] == [200] * 3
        until(lambda: "traces_not_sent" in server.log.read_text(), 60, lambda: server.log.read_text())
        assert ask(server, rows).status_code == 200
        assert server.stop() == 0
        text = server.log.read_text()
        assert "Traceback" not in text
        assert {line for line in text.splitlines() if not line.startswith("{")} <= {"Stopped."}, "all of it is our log"


def test_where_none_are_wanted_a_request_calls_nothing_of_them(tmp_path: Path):
    """Counted, not timed: no function of this module or of OpenTelemetry is called on the way of a request."""
    house = made(tmp_path / "home")
    app = worker.build(Settings(home=house.home))
    front = Front(app, Admission(10), RequestLog(False, Meter()))
    called: list[str] = []

    def seen(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            called.append(frame.f_code.co_filename)

    async def story() -> None:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://localhost")
        async with app.router.lifespan_context(app), client:
            sys.setprofile(seen)
            try:
                response = await client.post(PREDICT, json={"rows": unseen("order", 1)})
            finally:
                sys.setprofile(None)
            assert response.status_code == 200

    asyncio.run(story())
    assert [name for name in called if name.endswith("serving/front.py")], "calls are seen"
    assert not [name for name in called if name.endswith("serving/traces.py") or "opentelemetry" in name]


def test_wishes_that_can_not_be_met_are_refused_at_the_start():
    on = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    traces.refuse_unfit({})
    traces.refuse_unfit(on)
    traces.refuse_unfit({**on, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
    with pytest.raises(Usage, match=r"http/protobuf only"):
        traces.refuse_unfit({**on, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert not traces.wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": ""})
    assert not traces.wanted({**on, "OTEL_SDK_DISABLED": "true"})


@pytest.mark.parametrize("absent", ["opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry"])
def test_a_server_without_the_exporter_names_the_extra(tmp_path: Path, absent: str):
    script = f"import sys; sys.modules[{absent!r}] = None; sys.argv = ['gancao', 'serve', '--port', '0']; "
    done = subprocess.run(
        [sys.executable, "-c", script + "from experiments.cli import main; main()"],
        cwd=ROOT,
        env={**Home(tmp_path, tmp_path).environment, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'gancao[traces]'" in done.stderr
    assert "Traceback" not in done.stderr
