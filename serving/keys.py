"""Keys: who may ask. Each has 256 random bits, which are shown once; kept is their hash, with scopes and an expiry.

The hash is one SHA-256. Slow hashes (bcrypt, Argon2) are for words that people choose, which can be guessed; nobody
tries 2^256 secrets, however fast one try is, and a slow hash would cost every request tens of milliseconds.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feature_store.errors import KeysUnreadable, UnknownKey
from serving.scopes import SCOPES, Caller, Scope

DEFAULT_SCOPES: tuple[Scope, ...] = ("predict", "outcome", "read")
DEFAULT_LIFE_S = 90 * 86400
SHAPE = re.compile(r"gck_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_SCHEMA = """
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,          -- for people; never logged
    digest BLOB NOT NULL,        -- SHA-256 of the secret
    scopes TEXT NOT NULL,        -- words, with spaces between
    tasks TEXT NOT NULL,         -- the same; empty: all
    created_s INTEGER NOT NULL,  -- seconds since 1970, UTC
    expires_s INTEGER NOT NULL,
    revoked_s INTEGER
);
CREATE TABLE sessions (
    digest BLOB PRIMARY KEY,     -- SHA-256 of what the cookie holds
    key_id TEXT NOT NULL,
    expires_s INTEGER NOT NULL
);
"""


@dataclass(frozen=True)
class Key:
    """One key without its secret. Times are seconds since 1970, UTC; revoked_s: None while it is not."""

    id: str
    name: str
    digest: bytes
    scopes: frozenset[str]
    tasks: frozenset[str]
    created_s: int
    expires_s: int
    revoked_s: int | None

    def state(self, now_s: float) -> str:
        """`live`, `expired` or `revoked`."""
        if self.revoked_s is not None:
            return "revoked"
        return "live" if now_s < self.expires_s else "expired"

    @property
    def caller(self) -> Caller:
        """Who asks with it."""
        return Caller(self.id, self.scopes, self.tasks)

    def to_json(self, now_s: float) -> dict[str, Any]:
        """What may be told of it."""
        return {
            "id": self.id,
            "name": self.name,
            "scopes": [scope for scope in SCOPES if scope in self.scopes],
            "tasks": sorted(self.tasks),
            "state": self.state(now_s),
            "created_at_utc": in_utc(self.created_s),
            "expires_at_utc": in_utc(self.expires_s),
            "revoked_at_utc": in_utc(self.revoked_s),
        }


def in_utc(at_s: int | None) -> str | None:
    """Seconds since 1970 as a time in words."""
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")


def create(
    path: Path, *, name: str = "", scopes: Collection[str] = DEFAULT_SCOPES, tasks: Collection[str] = (),
    life_s: int = DEFAULT_LIFE_S, now_s: float | None = None,
) -> tuple[Key, str]:  # fmt: skip
    """A new key in the file at `path`, and its words, which are kept nowhere. Raises KeysUnreadable."""
    at = int(time.time() if now_s is None else now_s)
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = Key(key_id, name, digest_of(secret), frozenset(scopes), frozenset(tasks), at, at + life_s, None)
    with writing(path) as connection:
        connection.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
            (key.id, name, key.digest, " ".join(sorted(scopes)), " ".join(sorted(tasks)), at, key.expires_s),
        )
    return key, f"gck_{key_id}_{secret}"


def revoke(path: Path, words: str, now_s: float | None = None) -> Key:
    """Revoke for good the key of an id, or the whole key. Raises UnknownKey, KeysUnreadable."""
    shape = SHAPE.fullmatch(words)
    key_id = shape[1] if shape else words
    with writing(path) as connection:
        connection.execute(
            "UPDATE keys SET revoked_s = ? WHERE id = ? AND revoked_s IS NULL",
            (int(time.time() if now_s is None else now_s), key_id),
        )
        connection.execute("DELETE FROM sessions WHERE key_id = ?", (key_id,))
        key = read_all(connection).get(key_id)
    if key is None:
        raise UnknownKey("No key has that id. gancao keys list shows the ids.")
    return key


def listed(path: Path) -> list[Key]:
    """All keys, oldest first; none where there is no file. Raises KeysUnreadable."""
    if not path.exists():
        return []
    with reading(path) as connection:
        return list(read_all(connection).values())


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction on the file, which is made where it is not there. Raises KeysUnreadable."""
    _make(path)
    with reading(path) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the file, closed afterwards. Raises KeysUnreadable, also when the file is not there."""
    try:
        with closing(connect(path)) as connection:
            yield connection
    except (OSError, sqlite3.Error) as error:
        raise unreadable(path, error) from None


def _make(path: Path) -> None:
    """The file with its tables at once, so that no worker finds it half made; readable by its owner only."""
    if path.exists():
        return
    try:
        _make_once(path)
    except (OSError, sqlite3.Error) as error:
        raise unreadable(path, error) from None


def _make_once(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".keys-") as folder:
        made = Path(folder) / "keys.db"
        made.touch(mode=0o600)
        connection = sqlite3.connect(made)
        connection.execute("PRAGMA journal_mode = WAL")  # workers read while another process writes
        connection.executescript(_SCHEMA)
        connection.close()
        with suppress(FileExistsError):  # two made it at the same time
            os.link(made, path)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=5, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def read_all(connection: sqlite3.Connection) -> dict[str, Key]:
    """Every key by its id, in the order in which they were made."""
    return {
        row[0]: Key(row[0], row[1], row[2], frozenset(row[3].split()), frozenset(row[4].split()), *row[5:])
        for row in connection.execute("SELECT * FROM keys ORDER BY rowid")
    }


def unreadable(path: Path, error: Exception) -> KeysUnreadable:
    """What to raise for an error of SQLite or of the system. It names no folder, for clients read it."""
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return KeysUnreadable(f"{path.name} below GANCAO_HOME can't be used ({reason}). Mend the file or its disk.")
