"""Sessions: a key that was pasted once, as a cookie. All workers read them from the file of the keys.

A session is 256 random bits in the cookie and their SHA-256 in the file, with the key's id: it ends at the latest with
its key. The token of its forms is made from the bits, so it is kept nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from pathlib import Path

from serving import keys

LIFE_S = 12 * 3600
"""A shift: who comes back tomorrow pastes the key again."""


def begin(path: Path, key: keys.Key, now_s: float | None = None) -> str:
    """A new session of a key: what its cookie holds. Raises KeysUnreadable."""
    now, session = time.time() if now_s is None else now_s, secrets.token_urlsafe(32)
    with keys.writing(path) as connection:
        connection.execute("DELETE FROM sessions WHERE expires_s <= ?", (int(now),))
        connection.execute("INSERT INTO sessions VALUES (?, ?, ?)", (_digest(session), key.id, int(now) + LIFE_S))
    return session


def key_of(path: Path, session: str, now_s: float | None = None) -> str | None:
    """The id of the key of a session that goes on, None for any other. Raises KeysUnreadable."""
    if not path.exists():
        return None
    with keys.reading(path) as connection:
        found = connection.execute(
            "SELECT key_id FROM sessions WHERE digest = ? AND expires_s > ?",
            (_digest(session), time.time() if now_s is None else now_s),
        ).fetchone()
    return str(found[0]) if found else None


def end(path: Path, session: str) -> None:
    """End a session, in all workers at once. Raises KeysUnreadable."""
    with keys.writing(path) as connection:
        connection.execute("DELETE FROM sessions WHERE digest = ?", (_digest(session),))


def token(session: str) -> str:
    """What forms of the session bring back, and no other site can know."""
    return hmac.new(session.encode(), b"csrf", hashlib.sha256).hexdigest()


def _digest(session: str) -> bytes:
    return hashlib.sha256(session.encode()).digest()
