"""The page to sign in, which is also what a page shows to who may not see it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse

from feature_store.errors import ForeignSite, GancaoError, KeyMissing, KeyRefused, NotAllowed, StrangeHost, TooOften
from serving import form, problems
from serving.words import Lang

_TROUBLES: dict[type[GancaoError], dict[Lang, str]] = {
    KeyRefused: {
        "en": "The key or the sign-in is not accepted any more, or never was. Please sign in again.",
        "zh": "密钥或登录无效，或已失效。请重新登录。",
    },
    NotAllowed: {
        "en": "The key that you signed in with is not for this page. Sign in with another.",
        "zh": "当前登录所用的密钥无权访问此页面。请使用其他密钥登录。",
    },
    ForeignSite: {
        "en": "This did not come from a page of yours, or you have signed in anew since. Please open the page again.",
        "zh": "该请求并非来自您当前登录的页面，或您此后已重新登录。请重新打开页面。",
    },
    StrangeHost: {
        "en": "This server does not know the name in the address. Please open it as localhost or 127.0.0.1.",
        "zh": "本服务器不认识地址中的主机名。请用 localhost 或 127.0.0.1 打开。",
    },
    TooOften: {
        "en": "Too many requests with this key. Please wait a little.",
        "zh": "该密钥的请求过于频繁，请稍候。",
    },
}


_OTHERWISE: dict[Lang, str] = {
    "en": "This can't be shown now. Please try again later.",
    "zh": "暂时无法显示，请稍后再试。",
}


def shown(incoming: Request, status: int = 200, error: GancaoError | None = None, goes_to: str = "") -> HTMLResponse:
    """The page. error: why it is shown, None or KeyMissing where nothing was wrong; goes_to: where to after it,
    "" for the address that was asked for."""
    lang = form.language(incoming.query_params.get("lang"), incoming.headers.get("accept-language"))
    trouble = "" if error is None or isinstance(error, KeyMissing) else _TROUBLES.get(type(error), _OTHERWISE)[lang]
    body = form.render_page(
        "signin.html",
        lang,
        trouble=trouble,
        asks=error is None or isinstance(error, KeyMissing | KeyRefused | NotAllowed),
        goes_to=goes_to or _address(incoming),
    )
    return HTMLResponse(body, status, problems.headers(error, status) if error else None)


def _address(incoming: Request) -> str:
    query = incoming.scope["query_string"].decode("latin-1")
    return str(incoming.scope["raw_path"].decode("latin-1")) + (f"?{query}" if query else "")
