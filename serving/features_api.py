"""The route of features: what a view knows of an entity as of now, from the online store."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feature_store import entity, stores, value, viewfile, viewfolder
from feature_store.errors import InstantRefused, TaskInvalid, UnknownView
from feature_store.online import Online
from feature_store.settings import Settings
from feature_store.vectors import Vectors
from feature_store.view import View
from serving.log import log

LOOK_S = 2.0
"""How old what is known of the folders of views may be."""


class Features:
    """The views of one worker and the online store behind them, on `app.state.features`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.local = not settings.online
        self._store: Online | None = None
        self._files: dict[str, Path] = {}
        self._looked = -LOOK_S
        self._views: dict[Path, tuple[float, View | None]] = {}
        self._vectors: dict[str, Vectors] = {}

    def all(self) -> list[View]:
        """Every view whose file can be read, by name."""
        return [view for name in sorted(self._listed()) if (view := self._view(name)) is not None]

    def of(self, name: str) -> Vectors:
        """What reads the features of a view. Raises UnknownView, OnlineUnreachable."""
        view = self._view(name)
        if view is None:
            raise UnknownView("There is no such view here. Ask for one of GANCAO_VIEWS; /docs lists them.")
        if self._store is None:
            self._store = stores.connect(self._settings)
        if view.digest not in self._vectors:
            self._vectors[view.digest] = Vectors(view, self._store)
        return self._vectors[view.digest]

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            self._store.close()

    def _listed(self) -> dict[str, Path]:
        if time.monotonic() - self._looked >= LOOK_S:
            self._files, self._looked = viewfolder.files(self._settings), time.monotonic()
        return self._files

    def _view(self, name: str) -> View | None:
        """The view of a name, read again when its file has changed; None where there is none that can be read."""
        path = self._listed().get(name)
        try:
            changed = path.stat().st_mtime if path is not None else 0.0
        except OSError:
            return None
        if path is None:
            return None
        if path not in self._views or self._views[path][0] != changed:
            self._views[path] = changed, _read(name, path)
        return self._views[path][1]


def _read(name: str, path: Path) -> View | None:
    try:
        return viewfile.read(path)
    except (TaskInvalid, OSError) as error:
        log("view_unreadable", view=name, kind=type(error).__name__)
        return None


async def get(incoming: Request) -> Response:
    """The features of one entity, as of now or of a moment that is kept."""
    features: Features = incoming.app.state.features
    as_of = _instant(incoming.query_params.get("as_of"))
    asked = (features, incoming.path_params["view"], _entity(incoming), as_of)
    document = _document(*asked) if features.local else await asyncio.to_thread(_document, *asked)
    return Response(msgspec.json.encode(document), media_type="application/json")


def _document(features: Features, view: str, words: str, as_of: int) -> dict[str, Any]:
    vectors = features.of(view)
    who = entity.read(vectors.view, words)
    found = vectors.one(entity.key(who), as_of)
    return {
        "view": view,
        "entity": dict(zip(vectors.view.entity, who, strict=True)),
        "as_of": value.in_words(as_of),
        "features": found,
    }


def _entity(incoming: Request) -> str:
    """The entity as it was written in the address: once it is unescaped, commas and slashes can't be told apart."""
    raw: bytes = incoming.scope.get("raw_path") or incoming.scope["path"].encode()
    return raw.decode("latin-1").split("/", 4)[4]


def _instant(words: str | None) -> int:
    if words is None:
        return time.time_ns() // 1000
    try:
        return value.instant(words)
    except (ValueError, OverflowError):
        raise InstantRefused(
            "as_of is no time. Write it as ISO 8601, such as 2024-03-01T14:30:00Z, or leave it out for now."
        ) from None


ROUTES = [Route("/v1/features/{view}/{entity:path}", get)]
