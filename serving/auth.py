"""Who may ask what: in front of each route stands a guard, which knows the route's rule and finds out who asks.

It stands behind the router, so that what it judges is the route that answers, and no second reading of the path.
"""

from __future__ import annotations

import asyncio
import copy
import hmac
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route

from feature_store.errors import ForeignSite, GancaoError, KeyMissing, KeyRefused, NotAllowed, TooLarge, TooOften
from feature_store.settings import Settings
from serving import noted, problems, reach, sessions, signin_page
from serving.keyring import Keyring
from serving.scopes import ANYONE, NOBODY, Caller, Rule, rules_of
from serving.throttle import Throttle
from serving.tokens import Tokens

TOKEN_FIELD = "csrf"  # noqa: S105 - a field's name
_CALLER = "gancao.caller"
_WANTED = {b"authorization", b"cookie", b"host", b"origin", b"sec-fetch-site"}
_SAFE = ("GET", "HEAD")

_App = Callable[[Any, Any, Any], Awaitable[None]]


def caller(scope: Mapping[str, Any]) -> Caller:
    """Who asks, as the guard found out. scope: of a request that it let through."""
    found: Caller = scope[_CALLER]
    return found


def cookie_name(scheme: str) -> str:
    """Over https the browser holds the name to this host and to https."""
    return "__Host-gancao" if scheme == "https" else "gancao"


class Access:
    """What one worker lets in: keys, sessions and tokens, and how often."""

    def __init__(self, settings: Settings) -> None:
        """Raises Usage where settings do not fit together."""
        self.keys = Keyring(settings.keys)
        self.max_body_bytes = settings.max_body_bytes
        self._open, self._always = settings.open, reach.asks_always(settings)
        self.names = reach.Names(settings)
        self._throttle = Throttle(settings.requests_a_minute)
        self._tokens = Tokens(settings) if settings.oidc_issuer and not settings.open else None

    def asks(self) -> bool:
        """Whether keys are asked for. Raises KeysUnreadable."""
        return not self._open and (self._always or self.keys.any())

    async def by_header(self, sent: bytes) -> Caller:
        """Who a header Authorization is of. Raises KeyRefused, KeysUnreadable."""
        kind, _, rest = sent.decode("latin-1").partition(" ")
        words = rest.strip()
        if kind.lower() != "bearer":
            words = ""
        if self._tokens is not None and words.count(".") == 2:
            return await self._tokens.caller(words)
        return self.keys.find(words).caller

    async def by_session(self, session: str) -> Caller:
        """Who a session is of. Raises KeyRefused, KeysUnreadable."""
        key_id = await asyncio.to_thread(sessions.key_of, self.keys.path, session)
        if key_id is None:
            raise KeyRefused("The session is over. Sign in again at /login.", "no session")
        key = self.keys.named(key_id).caller
        return Caller(key.id, key.scopes, key.tasks, sessions.token(session))

    def allow(self, who: Caller, rule: Rule, task: str | None) -> None:
        """Raises NotAllowed, or TooOften."""
        if rule.who != "a key" and not who.may(rule.who):
            raise NotAllowed(
                f"This takes the scope `{rule.who}`, which the key lacks. Ask with one that has it: "
                f"gancao keys create --scopes {rule.who}",
                rule.who,
            )
        if (task is not None and not who.sees(task)) or (rule.all_tasks and who.tasks):
            raise NotAllowed(
                "The key is for some tasks, and this is not of one of them alone. Ask with one that is for it: "
                "gancao keys create --task TASK, or without --task for all."
            )
        wait_s = math.ceil(self._throttle.wait_s(who.id, time.monotonic()))
        if wait_s:
            raise TooOften("The key asks more often than it may. Ask again after Retry-After seconds.", wait_s)


def guarded(routes: Sequence[BaseRoute], access: Access) -> list[BaseRoute]:
    """The routes, each behind its guard. One that is not in the table of rules is refused to everyone."""
    return [_behind(route, access) for route in routes]


def _behind(route: BaseRoute, access: Access) -> BaseRoute:
    if not isinstance(route, Route | Mount):
        raise TypeError(f"{type(route).__name__} has no guard yet")
    own = copy.copy(route)
    methods = (route.methods or ()) if isinstance(route, Route) else _SAFE
    own.app = Guard(route.app, rules_of(route.path, methods), access)
    return own


class Guard:
    """Lets through to one route who may ask it."""

    def __init__(self, app: _App, rules: Mapping[str, Rule], access: Access) -> None:
        self._app, self._rules, self._access = app, rules, access

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        method, sent = scope["method"], {name: value for name, value in scope["headers"] if name in _WANTED}
        rule = self._rules.get(method)
        if rule is None:
            raise NotAllowed("Nobody may ask this: no rule says who may. Ask something else; /docs says what there is.")
        try:
            if method not in _SAFE:
                _refuse_foreign(sent)
            scope[_CALLER] = found = await self._who(scope, sent, rule)
            noted.asked_with(found.id or None)
            if found.csrf and method not in _SAFE:
                receive = await self._own_form(scope, receive, found)
        except GancaoError as error:
            if isinstance(error, KeyRefused):
                noted.log("key_refused", why=error.why, key=error.key)
            if rule.door != "page" or b"authorization" in sent:
                raise
            page = signin_page.shown(Request(scope), problems.document(error)["status"], error)
            await page(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _who(self, scope: Any, sent: Mapping[bytes, bytes], rule: Rule) -> Caller:
        """Who asks, and may. Raises KeyMissing, KeyRefused, NotAllowed, StrangeHost, TooOften, KeysUnreadable."""
        if rule.who == "anyone" and rule.door == "key":
            return NOBODY
        if not self._access.asks():
            self._access.names.refuse_strange(sent.get(b"host"))
            return ANYONE
        try:
            found = await self._shown(scope, sent, rule)
        except (KeyMissing, KeyRefused):
            if rule.who == "anyone":
                return NOBODY
            raise
        if rule.who != "anyone":
            self._access.allow(found, rule, scope["path_params"].get("task"))
        return found

    async def _shown(self, scope: Any, sent: Mapping[bytes, bytes], rule: Rule) -> Caller:
        """Who the key is of that was shown, in the header or by a session's cookie."""
        if b"authorization" in sent:
            return await self._access.by_header(sent[b"authorization"])
        if rule.door == "page" or (rule.door == "either" and scope["method"] in _SAFE):
            session = session_in(scope["scheme"], sent.get(b"cookie", b""))
            if session:
                return await self._access.by_session(session)
        raise KeyMissing("This needs a key. Send the header Authorization: Bearer KEY; gancao keys create makes one.")

    async def _own_form(self, scope: Any, receive: Any, who: Caller) -> Any:
        """Read a form, hold its token against the session's, and give what reads it again."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ForeignSite("The form did not arrive whole. Send it again.")
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > self._access.max_body_bytes:
                raise TooLarge(f"The body is larger than {self._access.max_body_bytes} bytes. Send less at once.")
        if not hmac.compare_digest(_token_in(body), who.csrf.encode()):
            raise ForeignSite("The form has not the token of this session. Open its page again.")
        whole: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return whole.pop() if whole else await receive()

        return again


def session_in(scheme: str, cookie: bytes) -> str:
    """What the session's cookie holds, "" where there is none."""
    name = cookie_name(scheme)
    for part in cookie.decode("latin-1").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def _token_in(body: bytes) -> bytes:
    try:
        pairs = parse_qsl(body.decode("latin-1"), max_num_fields=2000)
    except ValueError:
        return b""
    return next((value.encode() for name, value in pairs if name == TOKEN_FIELD), b"")


def _refuse_foreign(sent: Mapping[bytes, bytes]) -> None:
    """Browsers say which site made them send; programs do not. Raises ForeignSite.

    Sec-Fetch-Site is sent to https and to this machine; to others the header Origin is what there is.
    """
    site, origin = sent.get(b"sec-fetch-site"), sent.get(b"origin")
    if site is not None:
        foreign = site not in (b"same-origin", b"none")
    else:
        foreign = origin is not None and origin.partition(b"://")[2].lower() != sent.get(b"host", b"").lower()
    if foreign:
        raise ForeignSite("Another site made this browser ask. Ask from a page of this server, or from a program.")
