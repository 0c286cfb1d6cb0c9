"""One worker: the application, what it opens and closes, and the process around it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from feature_store.errors import GancaoError
from feature_store.settings import Settings, from_environment
from serving import api, auth, features_api, job_api, noted, outcome_pages, pages, problems, protocol, signin, traces
from serving.admission import Admission
from serving.api import Answering
from serving.champions import Champions
from serving.front import Front
from serving.journal import Journal
from serving.meter import Meter
from serving.requestlog import RequestLog
from serving.shadow import Shadow
from serving.short_way import ShortWay
from serving.traces import Traces

SWITCH_S = 0.0005
"""How long the event loop may wait for Python's lock while an explanation holds it. A request takes it several times on
its way; at Python's own 5 ms each."""

_HEADERS = [
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
                                 b"base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # none at all would hide from ourselves that a form is our own
]  # fmt: skip
_NO_STORE = (b"cache-control", b"no-store")
_STATIC = (b"cache-control", b"public, max-age=31536000, immutable")

_App = Callable[[Any, Any, Any], Awaitable[None]]


def build(settings: Settings, meter: Meter | None = None) -> Starlette:
    """The application of one worker. meter: what it counts in, None for one of its own."""
    meter = meter or Meter()
    access = auth.Access(settings)
    shadow = Shadow(settings.cache, settings.shadows, settings.shadow)
    champions = Champions(settings.cache, settings.journal_place, settings.shadows)
    journal = Journal(settings.journal_place, meter)
    answering = Answering(champions, journal, shadow, settings.max_body_bytes)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        await answering.champions.look()
        following = asyncio.create_task(answering.champions.follow())
        answering.journal.log_head()
        yield
        following.cancel()
        app.state.features.close()
        answering.close()
        answering.journal.log_head()

    static = Mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app = Starlette(
        routes=auth.guarded(
            [
                *features_api.ROUTES,
                *api.ROUTES,
                *job_api.ROUTES,
                *pages.ROUTES,
                *outcome_pages.ROUTES,
                *signin.ROUTES,
                static,
            ],
            access,
        ),
        middleware=[Middleware(SecurityHeaders), Middleware(ShortWay, answering, access)],  # the short way stays last
        exception_handlers={GancaoError: _refuse, HTTPException: _plain, ClientDisconnect: _gone, Exception: _crash},
        lifespan=life,
    )
    app.state.answering, app.state.access, app.state.settings = answering, access, settings
    app.state.meter = meter
    app.state.features = features_api.Features(settings)
    return app


class SecurityHeaders:
    """Puts the headers on every answer: nothing is framed, sniffed, stored or loaded from elsewhere."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                cached = scope["path"].startswith("/static/") and message["status"] == 200
                message["headers"] = [*message["headers"], *_HEADERS, _STATIC if cached else _NO_STORE]
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def _refuse(incoming: Request, error: Exception) -> Response:
    assert isinstance(error, GancaoError)
    return problems.response(error)


async def _plain(incoming: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    remedies = {
        404: "Nothing answers at this address. /v1 lists the tasks, /docs the interface.",
        405: "This address does not take that method. /docs says which it takes.",
    }
    out = problems.plain(error.status_code, str(error.detail), remedies.get(error.status_code, str(error.detail)))
    out.headers.update(error.headers or {})
    return out


async def _gone(incoming: Request, error: Exception) -> Response:
    """The client left, or was sent away, before its body had come; nobody reads this."""
    return Response(status_code=408)


async def _crash(incoming: Request, error: Exception) -> Response:
    """A bug of ours. The log gets its place, never a value; the client gets no detail."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last is not None else ""
    noted.log("internal_error", kind=type(error).__name__, place=place)
    return problems.plain(500, "Something went wrong here", "This is a fault of the server, not of the request.")


def main() -> None:
    """`python -m serving.app FD METER NUMBER`: the worker of that number, on an inherited socket and with the memory
    of the meter; settings come from GANCAO_* variables."""
    settings = from_environment()
    listener, shared, number = map(int, sys.argv[1:])
    meter = Meter(shared, number, settings.workers)
    sys.setswitchinterval(SWITCH_S)
    told = RequestLog(settings.log_requests, meter)
    app, tracing = build(settings, meter), Traces() if traces.wanted(os.environ) else None
    if tracing is not None:
        tracing.watch(app.state.answering)
    limits = protocol.Limits(**{name: getattr(settings, name) for name in protocol.Limits._fields})
    config = uvicorn.Config(
        Front(app, Admission(settings.max_in_flight, meter), told, tracing),
        loop="uvloop",
        http=protocol.within(limits, told),
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=max(1, round(settings.idle_timeout_s)),
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    protocol.Server(config).run(sockets=[socket.socket(fileno=listener)])
    if tracing is not None:
        tracing.close()


if __name__ == "__main__":
    main()
