"""HTTP as uvicorn reads it, within limits: what trickles, grows or stays silent is told so and let go.

uvicorn's own protocol has a time limit for a silent connection after an answer, and none for headers or a body that
never end; it counts neither headers nor their bytes. Each connection looks at itself once a second, so a request
costs no timer. It also knows how to end: requests that have begun are answered, the last one of a connection with
`Connection: close`, and a silent connection is kept for a moment, for a request that may be on its way.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from serving import problems
from serving.meter import CONNECTIONS
from serving.requestlog import RequestLog

LOOK_S = 1.0
SLOWEST_BYTES_S = 5000
"""What a body, or an answer on its way out, gets in time beyond its limit: a second for so many bytes."""

LAST_S = 1.0
"""How long a silent connection stays open when the service ends."""

ACCEPT_S = 0.1
"""How long a worker that is to end still lets in who has connected already."""

MOST_HEADERS = 100


class Limits(NamedTuple):
    """What one worker takes of its connections: the settings of the same names."""

    max_connections: int
    max_header_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    idle_timeout_s: float


class State(ServerState):
    """What the connections of a worker share; draining: it ends."""

    draining = False


class Server(uvicorn.Server):
    """uvicorn's server, which when told to end first lets in those who wait at the door."""

    server_state: State

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state = State()

    async def shutdown(self, sockets: Any = None) -> None:
        """Answer what has begun, then end."""
        self.server_state.draining = True
        await asyncio.sleep(ACCEPT_S)
        await super().shutdown(sockets)


class Guarded(HttpToolsProtocol):
    """One connection."""

    limits: Limits
    told: RequestLog
    server_state: State

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._stage = "new"  # then, message after message: headers, body, read; refused at the end
        self._since = 0.0  # the stage's begin, or the last answer's end
        self._messages = self._bytes = self._payload = self._chunk = 0
        self._refusal = (400, "Not HTTP", "The request can't be read as HTTP/1.1. Mend it and send it again.")

    # What uvicorn calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = time.monotonic()
        self._look = self.loop.call_later(LOOK_S, self._watch)
        self._stall: asyncio.TimerHandle | None = None
        self.told.meter.put(CONNECTIONS, len(self.connections))
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, "Too busy", "Too many connections are open already. Ask again after a few seconds.")
        elif self.server_state.draining:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        self.resume_writing()
        super().connection_lost(exc)
        self.told.meter.put(CONNECTIONS, len(self.connections))

    def data_received(self, data: bytes) -> None:
        if self._stage == "refused":
            return
        before, self._chunk = self._messages, len(data)
        super().data_received(data)
        if self._messages == before and self._stage in ("headers", "body"):
            self._bytes += len(data)
            self._count()

    def send_400_response(self, msg: str) -> None:
        self._refuse(*self._refusal)

    def shutdown(self) -> None:
        if self._answered:
            self.loop.call_later(LAST_S, self._close_if_silent)
        else:
            self.cycle.keep_alive = False  # the newest: those before it in the pipeline are answered first

    def pause_writing(self) -> None:
        super().pause_writing()
        seconds = self.limits.body_timeout_s + self.transport.get_write_buffer_size() / SLOWEST_BYTES_S
        self._stall = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    # What the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage, self._since, self._bytes, self._payload = "headers", time.monotonic(), 0, 0
        self._messages += 1

    def on_headers_complete(self) -> None:
        if len(self.headers) > MOST_HEADERS or (
            self._bytes + self._chunk > self.limits.max_header_bytes
            and len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            > self.limits.max_header_bytes
        ):
            self._refusal = self._too_many
            raise ValueError  # the parser stops, and send_400_response is called
        super().on_headers_complete()
        self._stage, self._since, self._bytes = "body", time.monotonic(), 0
        if self.server_state.draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._payload += len(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stage = "read"

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._since = time.monotonic()

    # Its own

    @property
    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _silent(self) -> bool:
        return self._stage in ("new", "read") and self._answered

    @property
    def _too_many(self) -> tuple[int, str, str]:
        text = f"The headers are more than {MOST_HEADERS} or larger than {self.limits.max_header_bytes} bytes."
        return 431, "Headers too large", f"{text} Send fewer."

    def _count(self) -> None:
        """Headers that never end, and bodies that are mostly chunk sizes, extensions or trailers."""
        if self._stage == "headers" and self._bytes > self.limits.max_header_bytes:
            self._refuse(*self._too_many)
        elif self._bytes > 16 * self._payload + 2 * self.limits.max_header_bytes:
            self._refuse(*self._refusal)

    def _watch(self) -> None:
        self._look = self.loop.call_later(LOOK_S, self._watch)
        now = time.monotonic()
        if self.flow.read_paused:  # it is we who are slow
            self._since = now
        waited, limits = now - self._since, self.limits
        if self._stage == "refused":
            if self._answered:
                self.transport.abort()
        elif self._silent:
            if waited > (limits.header_timeout_s if self._stage == "new" else limits.idle_timeout_s):
                self._close()
        elif self._stage == "headers" and self._answered and waited > limits.header_timeout_s:
            self._refuse(408, "Too slow", f"The headers took longer than {limits.header_timeout_s:g} s.")
        elif self._stage == "body" and self._answered:
            if waited > limits.body_timeout_s:  # till then it is thrown away: closing would reset the answer
                self._close()
        elif self._stage == "body" and waited > limits.body_timeout_s + self._payload / SLOWEST_BYTES_S:
            self._refuse(408, "Too slow", f"The body took longer than {limits.body_timeout_s:g} s and its size allow.")

    def _close_if_silent(self) -> None:
        if self._answered and self._stage != "headers":
            self._close()

    def _close(self) -> None:
        if self.transport.get_write_buffer_size():  # it reads nothing either
            self.transport.abort()
        else:
            self.transport.close()

    def _refuse(self, status: int, title: str, detail: str) -> None:
        """Say why in place of an answer, and go on reading for a moment, lest what was said be lost."""
        self.told.refused(status)
        self.told.meter.refused(status)
        reading_body, self._stage = self._stage == "body", "refused"
        if not self._answered:
            if not reading_body:  # what came before is answered yet, and is the last
                self.cycle.keep_alive = False
                return
            self.cycle.disconnected, self.cycle.response_complete = True, True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        body = msgspec.json.encode(problems.about(status, title, detail))
        head = f"content-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
        if status == 503:
            head += f"retry-after: {problems.RETRY_AFTER_S}\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + b"x-content-type-options: nosniff\r\n\r\n" + body)
        self.transport.write_eof()


def within(limits: Limits, told: RequestLog) -> type[HttpToolsProtocol]:
    """The protocol with its limits and its log, as uvicorn takes it."""
    return type("Limited", (Guarded,), {"limits": limits, "told": told})
