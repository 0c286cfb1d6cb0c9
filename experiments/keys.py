"""Keys from the shell: made, listed, revoked."""

from __future__ import annotations

import re
import time
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from feature_store.errors import Usage
from feature_store.field import Name
from feature_store.settings import Settings
from serving import keys
from serving.scopes import SCOPES

Outcome = tuple[dict[str, Any], RenderableType]

_UNITS = {"d": 86400, "h": 3600, "m": 60}
_LONGEST_S = 3660 * 86400


def create(settings: Settings, name: str, scopes: str, tasks: list[str], expires: str) -> Outcome:
    """A new key: the only place that ever shows its secret. Raises Usage, KeysUnreadable."""
    wanted = [word.strip() for word in scopes.split(",") if word.strip()]
    unknown = sorted(set(wanted) - set(SCOPES))
    if unknown or not wanted:
        raise Usage(f"--scopes {scopes!r}: name some of {', '.join(SCOPES)}, with commas between.")
    if len(name) > 100 or not name.isprintable():
        raise Usage("--name: at most 100 letters, on one line.")
    for task in tasks:
        try:
            TypeAdapter(Name).validate_python(task)
        except ValidationError:
            raise Usage(
                f"--task {task!r} can't be the name of a task. gancao keys create --task birth_weight"
            ) from None
    key, words = keys.create(settings.keys, name=name, scopes=set(wanted), tasks=set(tasks), life_s=read_life(expires))
    document = {"key": words, **key.to_json(key.created_s)}
    may = f"{', '.join(document['scopes'])}" + (f" of {', '.join(document['tasks'])}" if tasks else "")
    shown = Group(
        Text(words, style="bold", overflow="fold"),
        f"It is not shown again, and not kept. Until {document['expires_at_utc']} it may: {may}.",
        f"Send it as Authorization: Bearer KEY, or paste it at /login. It ends with gancao keys revoke {key.id}",
    )
    return document, shown


def read_life(words: str) -> int:
    """Seconds of 90d, 12h or 30m. Raises Usage."""
    shape = re.fullmatch(r"([1-9][0-9]{0,6})([dhm])", words)
    seconds = int(shape[1]) * _UNITS[shape[2]] if shape else 0
    if not 0 < seconds <= _LONGEST_S:
        raise Usage(f"--expires {words!r} is not a time that a key may live. Write 90d, 12h or 30m, ten years at most.")
    return seconds


def listed(settings: Settings) -> Outcome:
    """All keys, oldest first. Raises KeysUnreadable."""
    rows = [key.to_json(time.time()) for key in keys.listed(settings.keys)]
    table = Table(title=f"{len(rows)} keys")
    for heading in ("id", "state", "name", "scopes", "tasks", "expires (UTC)", "revoked (UTC)"):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            row["id"], row["state"], Text(row["name"]), ", ".join(row["scopes"]), ", ".join(row["tasks"]) or "all",
            row["expires_at_utc"], row["revoked_at_utc"] or "",
        )  # fmt: skip
    return {"keys": rows}, table


def revoke(settings: Settings, words: str) -> Outcome:
    """Revoke the key of an id, or the key itself. Raises UnknownKey, KeysUnreadable."""
    key = keys.revoke(settings.keys, words)
    return key.to_json(time.time()), f"Key {key.id} is revoked. Running servers refuse it within a second."
