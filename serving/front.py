"""What stands before the application: a number for every request, admission, and a line of the log at the end."""

from __future__ import annotations

from typing import Any

import msgspec

from serving import noted, problems
from serving.admission import Admission
from serving.noted import Note
from serving.requestlog import RequestLog
from serving.traces import Traces

NEVER_TURNED_AWAY = frozenset({"/livez", "/readyz", "/metrics"})
"""Whoever watches must be answered above all when there is too much to do."""

_QUIET = (*NEVER_TURNED_AWAY, "/static/")
"""Asked so often that a line for each would hide the others."""


class Front:
    """ASGI around ASGI. A request counts as open from its last byte to the first of its answer: whoever sends or
    reads slowly takes nobody's place."""

    def __init__(self, app: Any, admission: Admission, told: RequestLog, traces: Traces | None = None) -> None:
        self._app, self._admission, self._told, self._traces = app, admission, told, traces
        body = msgspec.json.encode(problems.document(problems.Busy(admission.refusal)))
        self._refused_body = {"type": "http.response.body", "body": body}
        self._refused_headers = [
            (b"content-type", problems.MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", problems.RETRY_AFTER_S.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            try:
                await self._app(scope, receive, send)
            finally:
                self._told.write()
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        note = noted.begin(scope["method"], given)
        path = scope["path"]
        free = path in NEVER_TURNED_AWAY or path.endswith("/jobs")  # jobs are limited by their own queue
        if not free and self._admission.full:
            await self._turn_away(note, send)
            return
        quiet = path.startswith(_QUIET)
        if self._traces is None or quiet:
            await self._answer(note, free, scope, receive, send)
        else:
            parent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
            with self._traces.request(note, parent):
                await self._answer(note, free, scope, receive, send)
        self._told.ended(note, quiet)

    async def _answer(self, note: Note, free: bool, scope: Any, receive: Any, send: Any) -> None:
        admission, inside, request_id = self._admission, False, (b"x-request-id", note.request_id.encode())

        async def receive_and_enter() -> Any:
            nonlocal inside
            message = await receive()
            if not inside and message["type"] == "http.request" and not message.get("more_body", False):
                admission.enter()
                inside = True
                await admission.turn()
            return message

        async def send_and_leave(message: Any) -> None:
            nonlocal inside
            if message["type"] == "http.response.start":
                note.status = message["status"]
                message["headers"] = [*message["headers"], request_id]
                if inside:
                    admission.leave()
                    inside = False
            await send(message)

        try:
            if not free and scope["method"] in ("GET", "HEAD"):
                admission.enter()
                inside = True
                await admission.turn()
            await self._app(scope, receive if free or inside else receive_and_enter, send_and_leave)
        except Exception:  # noqa: S110  # told by the application already; uvicorn would print it, values and all
            pass
        finally:
            note.route = getattr(scope.get("route"), "path", None)  # the pattern: in an address may stand anything
            if inside:
                admission.leave()

    async def _turn_away(self, note: Note, send: Any) -> None:
        self._admission.turned_away()
        self._told.refused(503)
        headers = [*self._refused_headers, (b"x-request-id", note.request_id.encode())]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send(self._refused_body)
