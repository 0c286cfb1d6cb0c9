"""The short way in for `POST /v1/{task}/predict`: no routes to search, no wrappers around an endpoint.

The last of the middleware, so that whatever stands before it has had its say; the route's guard stands here too. It
answers as the route does, for it calls the same function; every other request goes on to the routes, and so does one
that is odd in any way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from feature_store.errors import GancaoError
from serving import problems
from serving.api import ROUTES, Answering, predicted
from serving.auth import Access, Guard
from serving.scopes import rules_of

_App = Callable[[Any, Any, Any], Awaitable[None]]
ROUTE = next(route for route in ROUTES if route.path == "/v1/{task}/predict")
"""The route whose place it takes, and whose name the log gives."""

_JSON = (b"content-type", b"application/json")


class ShortWay:
    """Middleware that answers predictions itself."""

    def __init__(self, app: _App, answering: Answering, access: Access) -> None:
        self._app, self._answering = app, answering
        self._guarded = Guard(self._answer, rules_of(ROUTE.path, ("POST",)), access)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        task = asked(scope)
        if not task:
            await self._app(scope, receive, send)
            return
        scope["path_params"], scope["route"] = {"task": task}, ROUTE
        try:
            await self._guarded(scope, receive, send)
        except GancaoError as error:
            await problems.response(error)(scope, receive, send)
        except ClientDisconnect:  # nobody reads this
            await Response(status_code=408)(scope, receive, send)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        content = await predicted(self._answering, scope["path_params"]["task"], Request(scope, receive))
        headers = [(b"content-length", b"%d" % len(content)), _JSON]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def asked(scope: Any) -> str:
    """The task that a request asks to predict; empty when it asks for anything else."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope.get("root_path"):
        return ""
    parts = scope["path"].split("/")
    return parts[2] if len(parts) == 4 and (parts[0], parts[1], parts[3]) == ("", "v1", "predict") else ""
