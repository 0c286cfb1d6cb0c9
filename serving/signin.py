"""Signing in with a key, once, so that a browser may open pages; and out."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from feature_store.errors import KeyRefused
from serving import auth, noted, sessions, signin_page
from serving.auth import Access
from serving.pages import form_body, page_language

_OWN_ADDRESS = re.compile(r"/(?![/\\])[\x21-\x7e]*")
"""A path of this server; `//elsewhere` would be another's."""


async def empty(incoming: Request) -> Response:
    """The page; where no keys are asked for, there is nothing to sign in to."""
    start = f"/?lang={page_language(incoming)}"
    if not _access(incoming).asks():
        return RedirectResponse(start, 303)
    return signin_page.shown(incoming, goes_to=start)


async def sign_in(incoming: Request) -> Response:
    """A session for the key that was typed, as a cookie, and on to the page that was asked for."""
    access, typed = _access(incoming), _typed(await form_body(incoming))
    goes_to = typed.get("goes_to", "")
    if not _OWN_ADDRESS.fullmatch(goes_to) or goes_to.startswith("/log"):
        goes_to = f"/?lang={page_language(incoming)}"
    if not access.asks():
        return RedirectResponse(goes_to, 303)
    try:
        key = access.keys.find(typed.get("key", "").strip())
    except KeyRefused as error:
        noted.log("key_refused", why=error.why, key=error.key)
        return signin_page.shown(incoming, 401, error, goes_to)
    session = await asyncio.to_thread(sessions.begin, access.keys.path, key)
    noted.log("signed_in", key=key.id)
    response = RedirectResponse(goes_to, 303)
    https = incoming.url.scheme == "https"
    name = auth.cookie_name(incoming.url.scheme)
    response.set_cookie(name, session, sessions.LIFE_S, path="/", secure=https, httponly=True, samesite="strict")
    return response


async def sign_out(incoming: Request) -> Response:
    """The session ends, in all workers, and the browser forgets it."""
    scheme = incoming.url.scheme
    if session := auth.session_in(scheme, incoming.headers.get("cookie", "").encode("latin-1")):
        await asyncio.to_thread(sessions.end, _access(incoming).keys.path, session)
        noted.log("signed_out", key=auth.caller(incoming.scope).id)
    response = RedirectResponse(f"/login?lang={page_language(incoming)}", 303)
    response.delete_cookie(
        auth.cookie_name(scheme), path="/", secure=scheme == "https", httponly=True, samesite="strict"
    )
    return response


def _access(incoming: Request) -> Access:
    found: Access = incoming.app.state.access
    return found


def _typed(body: bytes) -> dict[str, str]:
    """What was typed; nothing where it can't be read, which is no key."""
    try:
        return dict(parse_qsl(body.decode("utf-8"), max_num_fields=20))
    except ValueError:
        return {}


ROUTES = [
    Route("/login", empty, methods=["GET"]),
    Route("/login", sign_in, methods=["POST"]),
    Route("/logout", sign_out, methods=["POST"]),
]
