"""A server that asks for keys, with a key of every kind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving import keys
from serving.scopes import SCOPES
from tests.conftest import Home, Server, serving


@dataclass(frozen=True)
class Keyed:
    """The server, its home, and words of keys by what they are: a scope, `all`, `expired`, `revoked`, `other_task`."""

    server: Server
    home: Home
    words: dict[str, str]

    @property
    def path(self) -> Path:
        return self.home.home / "keys.db"

    def new(self, *scopes: str) -> tuple[keys.Key, str]:
        """A key of its own for a test that ends it."""
        return keys.create(self.path, scopes=scopes or keys.DEFAULT_SCOPES)


def bearer(words: str) -> dict[str, str]:
    return {"authorization": f"Bearer {words}"}


def make(path: Path) -> dict[str, str]:
    """One key of every kind in the file at `path`."""
    words = {scope: keys.create(path, scopes=[scope])[1] for scope in SCOPES}
    for scope in SCOPES[:3]:
        words[f"all but {scope}"] = keys.create(path, scopes=[other for other in SCOPES[:3] if other != scope])[1]
    words["all"] = keys.create(path, name="Ward 7, desk")[1]
    words["expired"] = keys.create(path, life_s=60, now_s=time.time() - 61)[1]
    gone, words["revoked"] = keys.create(path)
    keys.revoke(path, gone.id)
    words["other_task"] = keys.create(path, tasks=["delivery_time"])[1]
    words["wrong secret"] = words["all"][:-1] + ("A" if words["all"][-1] != "A" else "B")
    words["unknown"] = f"gck_{'0' * 12}_{'A' * 43}"
    words["nonsense"] = "let-me-in"
    return words


@contextmanager
def keyed(home: Home, *options: str) -> Iterator[Keyed]:
    """`gancao serve` over a home with keys."""
    words = make(home.home / "keys.db")
    with serving(home, *options) as server:
        yield Keyed(server, home, words)
