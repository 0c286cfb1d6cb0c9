"""Errors as problem documents (RFC 9457): the only place that knows their HTTP status."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from feature_store.errors import (
    BodyRefused,
    ForeignSite,
    FormatRefused,
    GancaoError,
    InstantRefused,
    JobConflict,
    JobNotKept,
    JournalAway,
    JournalFull,
    KeyMissing,
    KeyRefused,
    KeysUnreadable,
    NotAllowed,
    NotExplained,
    OnlineUnreachable,
    RowsRefused,
    StrangeHost,
    TooLarge,
    TooOften,
    UnknownEntity,
    UnknownJob,
    UnknownTask,
    UnknownView,
)
from serving import noted

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "2"


class NotReady(GancaoError):
    """The server has no version that may answer."""


class Busy(GancaoError):
    """As much as may wait is waiting already."""


class WrongMediaType(GancaoError):
    """A body that is not JSON by its own word."""


_KINDS: dict[type[GancaoError], tuple[int, str, str]] = {
    BodyRefused: (400, "body-refused", "The body can't be read"),
    KeyMissing: (401, "key-missing", "A key is needed"),
    KeyRefused: (401, "key-refused", "The key is not accepted"),
    NotAllowed: (403, "not-allowed", "The key is not for this"),
    ForeignSite: (403, "foreign-site", "Sent by another site"),
    UnknownTask: (404, "unknown-task", "No such task"),
    UnknownView: (404, "unknown-view", "No such view"),
    UnknownEntity: (404, "unknown-entity", "No such entity"),
    UnknownJob: (404, "unknown-job", "No such job"),
    JobConflict: (409, "job-conflict", "The job is not so far, or another"),
    NotExplained: (409, "not-explained", "This version explains nothing"),
    TooLarge: (413, "too-large", "Too large"),
    WrongMediaType: (415, "wrong-media-type", "Not JSON"),
    FormatRefused: (415, "format-refused", "This format is not read here"),
    StrangeHost: (421, "strange-host", "Not a name of this server"),
    RowsRefused: (422, "rows-refused", "Some values are refused"),
    InstantRefused: (422, "instant-refused", "Not as of then"),
    TooOften: (429, "too-often", "Too many requests"),
    NotReady: (503, "not-ready", "No model yet"),
    Busy: (503, "busy", "Too busy"),
    KeysUnreadable: (503, "keys-unreadable", "Keys can't be checked"),
    JournalAway: (503, "journal-away", "The journal can't be reached"),
    OnlineUnreachable: (503, "online-unreachable", "The online store does not answer"),
    JournalFull: (507, "journal-full", "It could not be kept"),
    JobNotKept: (507, "job-not-kept", "The file could not be kept"),
}
ITEM_STATUSES = {"unknown_prediction": 404, "no_match": 404, "several_matches": 409}
"""Of one item of a list, by its code; any other that is refused is 422, and one that is not, 200."""

BLANK = "about:blank"
"""The kind of a problem of HTTP itself."""

REFUSALS = (
    *((str(status), kind) for status, kind, _ in _KINDS.values()),
    *((str(status), BLANK) for status in (400, 404, 405, 408, 431, 500, 503)),
)
"""Every problem that is told: status and kind."""

STATUSES: dict[int, str] = {}
for _status, _, _title in _KINDS.values():
    STATUSES[_status] = f"{STATUSES[_status]}, or: {_title.lower()}" if _status in STATUSES else _title


def document(error: GancaoError) -> dict[str, Any]:
    """The problem as plain data: type, title, status, detail and, for rows, errors. Its kind is written down."""
    status, kind, title = _KINDS.get(type(error), (500, "internal", "Something went wrong here"))
    noted.refused_for(kind)
    out: dict[str, Any] = {"type": f"urn:gancao:problem:{kind}", "title": title, "status": status, "detail": str(error)}
    if isinstance(error, RowsRefused):
        out["detail"] = f"{error}; no row was answered. Mend each of `errors` and send the rows again."
        out["errors"] = [{"row": e.row, "field": e.field, "code": e.code, "message": e.message} for e in error.errors]
    return out


def response(error: GancaoError) -> Response:
    """The problem as an answer."""
    problem = document(error)
    return Response(msgspec.json.encode(problem), problem["status"], headers(error, problem["status"]), MEDIA_TYPE)


def headers(error: GancaoError, status: int) -> dict[str, str]:
    """What a client's library reads of a problem: when to ask again, and what key is asked for (RFC 6750)."""
    match error:
        case KeyMissing():
            return {"WWW-Authenticate": 'Bearer realm="gancao"'}
        case KeyRefused():
            return {"WWW-Authenticate": 'Bearer realm="gancao", error="invalid_token"'}
        case NotAllowed(scope=scope) if scope:
            return {"WWW-Authenticate": f'Bearer realm="gancao", error="insufficient_scope", scope="{scope}"'}
        case TooOften(wait_s=wait_s):
            return {"Retry-After": str(wait_s)}
    return {"Retry-After": RETRY_AFTER_S} if status == 503 else {}


def item_status(code: str | None) -> int:
    """The status that an item of a list would have had alone. code: why it was refused, or None."""
    return 200 if code is None else ITEM_STATUSES.get(code, 422)


def plain(status: int, title: str, detail: str) -> Response:
    """A problem of HTTP itself, such as an unknown path or method."""
    return Response(msgspec.json.encode(about(status, title, detail)), status, media_type=MEDIA_TYPE)


def about(status: int, title: str, detail: str) -> dict[str, Any]:
    """The same as plain data."""
    return {"type": BLANK, "title": title, "status": status, "detail": detail}
