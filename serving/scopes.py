"""What each route asks of a caller: one table, in which a route must stand to be answered at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["predict", "outcome", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""`admin` implies the others."""


@dataclass(frozen=True)
class Caller:
    """Who asks. id: the key's, for the log; "" where no key is asked for, or none was shown.

    tasks: those that the key is for, empty: all; csrf: what forms of this caller's session must bring back.
    """

    id: str
    scopes: frozenset[str]
    tasks: frozenset[str] = frozenset()
    csrf: str = ""

    def may(self, scope: str) -> bool:
        """Whether the caller has the scope."""
        return scope in self.scopes or "admin" in self.scopes

    def owns(self, owner: str) -> bool:
        """Whether what the key of that id has made is the caller's too. owner: "" where no key was asked for."""
        return self.may("admin") or (owner != "" and owner == self.id)

    def sees(self, task: str) -> bool:
        """Whether the caller may know of a task."""
        return not self.tasks or task in self.tasks


ANYONE = Caller("", frozenset(SCOPES))
"""The caller of a server that asks for no keys."""
NOBODY = Caller("", frozenset())
"""A caller without a key, where none is needed for this route."""


@dataclass(frozen=True)
class Rule:
    """What a route asks for.

    who: a scope; `anyone`; or `a key`, whatever its scopes.
    door: `key`: the header Authorization only; `either`: also a session, for what is only read; `page`: the same for
    a page and its forms, whose refusal is the page to sign in.
    all_tasks: it tells of all tasks at once, so it is not for keys of some.
    """

    who: Scope | Literal["anyone", "a key"]
    door: Literal["key", "either", "page"] = "key"
    all_tasks: bool = False


RULES: dict[str, Rule] = {
    "GET /livez": Rule("anyone"),
    "GET /readyz": Rule("anyone", "either"),  # bare; with `read` it names versions
    "GET /static": Rule("anyone"),
    "GET /login": Rule("anyone"),
    "POST /login": Rule("anyone"),
    "POST /logout": Rule("a key", "page"),
    "POST /v1/{task}/predict": Rule("predict"),
    "POST /v1/{task}/explain": Rule("predict"),
    "POST /v1/{task}/outcomes": Rule("outcome"),
    "POST /v1/{task}/jobs": Rule("predict"),
    "GET /v1/{task}/jobs": Rule("predict", "either"),
    "GET /v1/{task}/jobs/{id}": Rule("predict", "either"),
    "DELETE /v1/{task}/jobs/{id}": Rule("predict"),
    "GET /v1/{task}/jobs/{id}/result": Rule("predict", "either"),
    "GET /v1/features/{view}/{entity:path}": Rule("read", "either", all_tasks=True),
    "GET /v1": Rule("read", "either"),
    "GET /v1/{task}": Rule("read", "either"),
    "GET /openapi.json": Rule("read", "either"),
    "GET /metrics": Rule("read", "either", all_tasks=True),
    "GET /docs": Rule("read", "page"),
    "GET /": Rule("predict", "page"),
    "GET /form/{task}": Rule("predict", "page"),
    "POST /form/{task}": Rule("predict", "page"),
    "GET /form/{task}/outcome": Rule("outcome", "page"),
    "POST /form/{task}/outcome": Rule("outcome", "page"),
    "GET /form/{task}/outcome/{prediction_id}": Rule("outcome", "page"),
    "POST /form/{task}/outcome/{prediction_id}": Rule("outcome", "page"),
}


def rules_of(path: str, methods: Iterable[str]) -> dict[str, Rule]:
    """The rules of one route by method. A method that is not in the table is left out, and so refused."""
    return {method: RULES[line] for method in methods if (line := f"{_asked(method)} {path}") in RULES}


def _asked(method: str) -> str:
    return "GET" if method == "HEAD" else method
