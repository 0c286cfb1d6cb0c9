"""Which online store there is: by the setting GANCAO_ONLINE."""

from __future__ import annotations

import importlib

from feature_store.errors import Usage
from feature_store.online import Online
from feature_store.online_sqlite import SqliteOnline
from feature_store.settings import Settings

_BY_SCHEME = {
    "redis": ("feature_store.online_redis", "RedisOnline", "redis"),
    "rediss": ("feature_store.online_redis", "RedisOnline", "redis"),
    "postgresql": ("feature_store.online_postgres", "PostgresOnline", "postgres"),
    "postgres": ("feature_store.online_postgres", "PostgresOnline", "postgres"),
}


def connect(settings: Settings) -> Online:
    """The store that GANCAO_ONLINE names; without it SQLite in the home. Raises Usage, OnlineUnreachable."""
    if not settings.online:
        return SqliteOnline(settings.home / "online.db")
    scheme = settings.online.partition("://")[0]
    if scheme not in _BY_SCHEME:
        raise Usage("GANCAO_ONLINE is neither redis:// nor postgresql://. Mend it, or leave it empty for SQLite.")
    module, name, extra = _BY_SCHEME[scheme]
    try:
        kind = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise Usage(f"GANCAO_ONLINE needs {error.name}. Install it with: pip install 'gancao[{extra}]'") from None
    store: Online = kind(settings.online)
    return store
