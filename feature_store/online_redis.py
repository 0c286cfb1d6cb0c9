"""The online store in Redis: a string for each row and for each tail, so that many rows are one MGET."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from feature_store.errors import OnlineUnreachable
from feature_store.online import Change, Kept, Served

TRIES = 100
"""How often a change is begun again because another one came first."""
_AS_OF = struct.Struct("<q")
_PART = 5_000


class RedisOnline:
    """See `feature_store.online.Online`. What it keeps is as durable as the Redis server is set up to be."""

    local = False

    def __init__(self, url: str) -> None:
        with _reaching():
            self._client: Any = redis.Redis.from_url(url, socket_timeout=30, socket_connect_timeout=5)
            self._client.ping()

    def rows(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        return self._read("row", view, keys)

    def tails(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        return self._read("tail", view, keys)

    def update(self, view: str, keys: Sequence[str], change: Change, notes: Mapping[str, str] | None = None) -> None:
        """Optimistic: what is read is watched, and the change begun again where another wrote it meanwhile."""
        row, tail = _name(view, "row"), _name(view, "tail")
        asked = [row + key for key in keys] + [tail + key for key in keys]
        with _reaching(), self._client.pipeline() as pipe:
            for _ in range(TRIES):
                if asked:
                    pipe.watch(*asked)
                found = pipe.mget(asked) if asked else []
                kept = [
                    Kept(one, other) if one is not None and other is not None else None
                    for one, other in zip(found[: len(keys)], found[len(keys) :], strict=True)
                ]
                put: dict[str, bytes] = {}
                for key, one, other in change(kept):
                    put[row + key], put[tail + key] = one, other
                pipe.multi()
                if put:
                    pipe.mset(put)
                if notes:
                    pipe.hset(_name(view, "notes"), mapping=dict(notes))
                try:
                    pipe.execute()
                    return
                except redis.WatchError:
                    continue
        raise OnlineUnreachable(f"Redis: others wrote the same entities {TRIES} times meanwhile. Try again.")

    def note(self, view: str, name: str) -> str | None:
        with _reaching():
            found = self._client.hget(_name(view, "notes"), name)
        return found.decode() if found is not None else None

    def log(self, view: str, served: Iterable[Served]) -> None:
        packed = [b"%s\0%s%s" % (one.key.encode(), _AS_OF.pack(one.as_of), one.row) for one in served]
        if packed:
            with _reaching():
                self._client.rpush(_name(view, "served"), *packed)

    def served(self, view: str) -> Iterator[Served]:
        found, name = [], _name(view, "served")
        with _reaching():
            for start in range(0, self._client.llen(name), _PART):
                found += self._client.lrange(name, start, start + _PART - 1)
        yield from sorted(map(_served, found), key=lambda one: (one.key, one.as_of))

    def close(self) -> None:
        self._client.close()

    def _read(self, part: str, view: str, keys: Sequence[str]) -> list[bytes | None]:
        name = _name(view, part)
        with _reaching():
            found: list[bytes | None] = self._client.mget([name + key for key in keys])
        return found


def _name(view: str, part: str) -> str:
    """What a key of Redis begins with; 64 bits of the digest tell views apart."""
    return f"gancao:{view[:16]}:{part}:"


def _served(packed: bytes) -> Served:
    key, _, rest = packed.partition(b"\0")
    return Served(key.decode(), _AS_OF.unpack_from(rest)[0], rest[_AS_OF.size :])


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise OnlineUnreachable(
            f"Redis of GANCAO_ONLINE does not answer ({type(error).__name__}). Look after it, or mend the setting."
        ) from None
