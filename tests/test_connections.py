"""A connection is kept within limits: what trickles, grows or stays silent is told so and let go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving import protocol
from tests.conftest import CASE, Home, Server, serving
from tests.wire import Gone, Reply, Wire, get, post, told

PREDICT = "/v1/birth_weight/predict"
ROWS = {"rows": [CASE]}
JSON = {"content-type": "application/json"}
LIMITS = {
    "GANCAO_HEADER_TIMEOUT_S": "1",
    "GANCAO_BODY_TIMEOUT_S": "1",
    "GANCAO_IDLE_TIMEOUT_S": "2",
    "GANCAO_MAX_CONNECTIONS": "20",
    "GANCAO_MAX_HEADER_BYTES": "8000",
}


@pytest.fixture(scope="module")
def strict(trained: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits a second at most."""
    home = trained.copy(tmp_path_factory.mktemp("strict") / "home")
    with serving(Home(home.home, home.data, tuple(LIMITS.items()))) as running:
        yield running


async def trickled(base: str, first: bytes, again: bytes, seconds: float = 60) -> Reply | None:
    """What a client reads that sends `first`, and then `again` ever anew; None when it is let go without a word."""
    wire, ends = await Wire.to(base), time.monotonic() + seconds
    wire.writer.write(first)
    reading = asyncio.create_task(wire.reply())
    while not reading.done():
        assert time.monotonic() < ends, "it was not let go"
        await asyncio.sleep(0.2)
        with contextlib.suppress(ConnectionError):
            wire.writer.write(again)
    try:
        return await reading
    except Gone:
        return None
    finally:
        wire.close()


HEAD = b"POST /v1/birth_weight/predict HTTP/1.1\r\nhost: localhost\r\n"


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"P", b"O"),
        (HEAD, b"a: b\r\n"),
        (HEAD + b"slow: ", b"x"),
        (HEAD + b"content-length: 100\r\n\r\n", b" "),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n", b""),
        (HEAD + b"content-length: 100\r\nexpect: 100-continue\r\n\r\n", b""),
    ],
    ids=["a method", "headers", "one header", "a body", "chunks", "silence", "100-continue"],
)
def test_headers_and_bodies_that_trickle_are_closed_with_408(strict: Server, first, again):
    async def story() -> Reply | None:
        if b"100-continue" in first:
            wire = await Wire.to(strict.base)
            wire.writer.write(first)
            assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            return await wire.reply()
        return await trickled(strict.base, first, again)

    reply = asyncio.run(story())
    if reply is None:
        assert first == b"P", "PO is followed by an O, which is no method: 400 may come first"
        return
    assert reply.status in ((400, 408) if first == b"P" else (408,))
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["connection"] == "close"
    assert reply.json()["status"] == reply.status


@pytest.mark.parametrize("first", [b"", get("/livez")], ids=["nothing asked", "after an answer"])
@pytest.mark.parametrize("again", [b"", b"\r\n"], ids=["silence", "empty lines"])
def test_a_silent_connection_is_let_go(strict: Server, first, again):
    async def story() -> Reply | None:
        reply = await trickled(strict.base, first, again)
        if first:
            assert reply is not None
            wire = await Wire.to(strict.base)
            assert (await wire.ask(first)).status == 200
            ends = time.monotonic() + 60
            while not (reading := asyncio.create_task(wire.ended())).done() and time.monotonic() < ends:
                wire.writer.write(again)
                await asyncio.wait([reading], timeout=0.3)
                if reading.done():
                    return None
                reading.cancel()
        return reply

    assert asyncio.run(story()) is None


@pytest.mark.parametrize(
    "headers",
    [b"".join(b"h%d: x\r\n" % n for n in range(protocol.MOST_HEADERS)), b"big: " + b"x" * 9000 + b"\r\n",
     b"".join(b"h%d: %s\r\n" % (n, b"x" * 200) for n in range(60)), b"endless: " + b"x" * 3_000_000],
    ids=["too many", "one too large", "too large together", "one that does not end"],
)  # fmt: skip
def test_too_many_or_too_large_headers_are_431(strict: Server, headers):
    async def story() -> Reply:
        return await (await Wire.to(strict.base)).ask(b"GET /v1 HTTP/1.1\r\nhost: localhost\r\n" + headers + b"\r\n")

    reply = asyncio.run(story())
    assert (reply.status, reply.headers["content-type"]) == (431, "application/problem+json")


def test_a_long_address_is_as_large_as_a_header(strict: Server):
    assert strict.get("/v1/" + "a" * 9000).status_code == 431


@pytest.mark.parametrize(
    "tail",
    [b"1;" + b"x" * 3_000_000, b"0\r\n" + b"a: b\r\n" * 300_000],
    ids=["an extension that does not end", "trailers that do not end"],
)
def test_a_body_that_is_mostly_wrapping_is_refused(strict: Server, tail):
    async def story() -> Reply:
        wire = await Wire.to(strict.base)
        return await wire.ask(HEAD + b"transfer-encoding: chunked\r\n\r\n", tail)

    assert asyncio.run(story()).status in (400, 431)


@pytest.mark.parametrize(
    "request_",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
     b"GET /v1 HTTP/1.1\r\nbad header\r\n\r\n", b"CONNECT here:80 HTTP/1.1\r\nhost: localhost\r\n\r\n",
     b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
     HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n{}", HEAD + b"content-length: -1\r\n\r\n",
     HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
     HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
def test_what_is_not_http_is_a_problem_in_words(strict: Server, request_):
    async def story() -> Reply:
        return await (await Wire.to(strict.base)).ask(request_)

    reply = asyncio.run(story())
    assert (reply.status, reply.headers["content-type"]) == (400, "application/problem+json")
    assert strict.get("/livez").status_code == 200


def test_more_connections_than_may_be_open_are_told_so(strict: Server):
    async def story() -> None:
        open_ = [await Wire.to(strict.base) for _ in range(30)]
        replies = await asyncio.gather(*(wire.ask(get("/livez")) for wire in open_))
        assert sorted({reply.status for reply in replies}) == [200, 503]
        assert sum(reply.status == 200 for reply in replies) == 20
        assert all(reply.headers["retry-after"] == "2" for reply in replies if reply.status == 503)
        for wire in open_:
            wire.close()

    asyncio.run(story())


def test_an_upgrade_is_declined_and_requests_in_a_row_are_answered_in_order(server: Server):
    async def story() -> None:
        wire = await Wire.to(server.base)
        upgrade = b"GET /v1 HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
        assert (await wire.ask(upgrade)).status == 200
        wire = await Wire.to(server.base)
        first = await wire.ask(get("/livez"), post(PREDICT, ROWS), get("/nope"), get("/livez"))
        rest = [await wire.reply() for _ in range(3)]
        assert [reply.status for reply in (first, *rest)] == [200, 200, 404, 200]

    asyncio.run(story())


def test_what_came_before_nonsense_is_answered(server: Server):
    async def story() -> None:
        wire = await Wire.to(server.base)
        assert (await wire.ask(post(PREDICT, ROWS), b"\x00\x00\r\n\r\n")).status == 200
        assert await wire.ended()

    asyncio.run(story())


def memory_kb(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name + ":")).split()[1])


@pytest.mark.parametrize("announced", [True, False], ids=["content-length", "chunked"])
def test_fifty_megabytes_are_413_and_are_not_kept(own_home: Home, announced):
    with serving(own_home) as server:
        worker = server.children("serving.app")[0]
        big = b'{"rows": [' + b" " * 50_000_000 + b"]}"
        pieces = (big[at : at + 65_536] for at in range(0, len(big), 65_536))
        server.post(PREDICT, json=ROWS)
        Path(f"/proc/{worker}/clear_refs").write_text("5")  # its peak begins anew
        before, began = memory_kb(worker, "VmRSS"), time.monotonic()
        response = server.post(
            PREDICT, content=big if announced else pieces, headers={"content-type": "application/json"}
        )
        seconds, grown = time.monotonic() - began, memory_kb(worker, "VmHWM") - before
        told(f"50 MB: {response.status_code} in {seconds:.2f} s, {grown} kB more at the peak")
        assert response.status_code == 413
        assert grown < 20_000
        assert server.post(PREDICT, json=ROWS).status_code == 200


def test_a_depth_of_100_000_is_400(server: Server):
    deep = 100_000
    for rows in (b"[" * deep, b"[" + b'{"a":' * deep, b"[" * deep + b"]" * deep + b"}"):
        response = server.post(PREDICT, content=b'{"rows": ' + rows, headers=JSON)
        assert response.status_code == 400
        assert "nested too deeply" in response.json()["detail"]


def test_every_request_has_a_number_and_a_line_in_the_log(own_home: Home):
    given = "4bf92f3577b34da6a3ce929d0e0e4736"
    with serving(own_home) as server:
        answered = server.post(PREDICT, json=ROWS, headers={"x-request-id": given})
        refused = server.post(PREDICT + "?name=Smith", json={"rows": [{}]}, headers={"x-request-id": "Smith, 39 weeks"})
        lost = server.get("/v1/Smith/nothing")
        server.get("/livez")
        numbers = [response.headers["x-request-id"] for response in (answered, refused, lost)]
        assert server.stop() == 0
        text = server.log.read_text()
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    told = {line["request_id"]: line for line in lines if line["event"] == "request"}
    assert numbers[0] == given
    assert len(set(numbers)) == 3
    first, second, third = (told[number] for number in numbers)
    assert (first["method"], first["route"], first["status"]) == ("POST", "/v1/{task}/predict", 200)
    assert (first["task"], first["version"]) == ("birth_weight", "1")
    assert first["duration_ms"] > 0
    assert (second["status"], second["version"]) == (422, "1")
    assert (third["status"], third["route"], third["task"]) == (404, None, None)
    assert "Smith" not in text
    assert "livez" not in text


def test_no_lines_for_requests_where_none_are_wanted(own_home: Home):
    with serving(Home(own_home.home, own_home.data, (("GANCAO_LOG_REQUESTS", "0"),))) as server:
        assert len(server.post(PREDICT, json=ROWS).headers["x-request-id"]) == 24
        server.stop()
        assert '"request"' not in server.log.read_text()


def test_a_client_that_leaves_before_its_body_has_come_is_no_fault(own_home: Home):
    async def story(base: str) -> None:
        wire = await Wire.to(base)
        wire.writer.write(HEAD + b"content-length: 100\r\n\r\n{")
        await wire.writer.drain()
        await asyncio.sleep(0.3)
        wire.close()

    with serving(own_home) as server:
        asyncio.run(story(server.base))
        assert httpx.get(server.base + "/livez").status_code == 200
        server.stop()
        text = server.log.read_text()
    assert "internal_error" not in text
    assert "Traceback" not in text
