"""The keys as a running worker knows them: made, revoked and expired ones noticed without a restart."""

from __future__ import annotations

import hmac
import sqlite3
import time
from pathlib import Path

from feature_store.errors import KeyRefused
from serving import keys
from serving.keys import Key

LOOK_S = 0.2
"""How old a worker's knowledge may be."""
_REFUSED = (
    "The key is not accepted: it is not one of this server's, has expired or was revoked. "
    "Ask whoever runs the server for another (gancao keys create)."
)
_NO_DIGEST = bytes(32)
"""What the secret of an id that is not there is compared with, so that it takes as long."""


class Keyring:
    """The keys as one process knows them, at most LOOK_S old. For one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys: dict[str, Key] = {}
        self._connection: sqlite3.Connection | None = None
        self._seen = (0, 0)
        self._next_look = 0.0
        self._ever = False

    def find(self, words: str, now_s: float | None = None) -> Key:
        """The live key of these words. Raises KeyRefused, KeysUnreadable."""
        known, shape = self._fresh(), keys.SHAPE.fullmatch(words)
        if shape is None:
            raise KeyRefused(_REFUSED, "no key of ours")
        if shape[1] not in known:  # perhaps it was made a moment ago
            self._next_look = 0.0
            known = self._fresh()
        key = known.get(shape[1])
        same = hmac.compare_digest(keys.digest_of(shape[2]), key.digest if key else _NO_DIGEST)
        if key is None or not same:
            raise KeyRefused(_REFUSED, "unknown" if key is None else "wrong secret", key.id if key else None)
        return self._live(key, now_s)

    def named(self, key_id: str, now_s: float | None = None) -> Key:
        """The live key of an id, of a session that it began. Raises KeyRefused, KeysUnreadable."""
        key = self._fresh().get(key_id)
        if key is None:
            raise KeyRefused(_REFUSED, "unknown")
        return self._live(key, now_s)

    def any(self) -> bool:
        """Whether there is or was a key, live or not, since this process began. Raises KeysUnreadable.

        That the file has gone does not open a server that asked for keys.
        """
        self._ever = bool(self._fresh()) or self._ever
        return self._ever

    def _live(self, key: Key, now_s: float | None) -> Key:
        state = key.state(time.time() if now_s is None else now_s)
        if state != "live":
            raise KeyRefused(_REFUSED, state, key.id)
        return key

    def _fresh(self) -> dict[str, Key]:
        now = time.monotonic()
        if now >= self._next_look:
            try:
                self._look()
            except (OSError, sqlite3.Error) as error:
                self._close()
                raise keys.unreadable(self.path, error) from None
            self._next_look = now + LOOK_S
        return self._keys

    def _look(self) -> None:
        """Read the keys anew where the file is another one, or another process has written into it."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            self._close()
            self._keys = {}
            return
        if self._connection is None or inode != self._seen[0]:
            self._close()
            self._connection = keys.connect(self.path)
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if (inode, version) != self._seen:
            self._keys, self._seen = keys.read_all(self._connection), (inode, version)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._seen = None, (0, 0)
