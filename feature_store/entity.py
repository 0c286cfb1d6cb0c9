"""The key of an entity: its columns as text, escaped as in a URL, with commas between."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote

from feature_store.errors import UnknownEntity
from feature_store.value import Value, fit
from feature_store.view import View


def key(entity: Sequence[Value]) -> str:
    """The key of an entity's values: `7`, `12,a%2Fb`."""
    if len(entity) == 1 and isinstance(entity[0], int):
        return str(entity[0])
    return ",".join(quote(str(part), safe="") for part in entity)


def read(view: View, words: str) -> tuple[Value, ...]:
    """The values of an entity that was written as in a URL; `007` is 7 where its column is int.

    Raises UnknownEntity where it has other parts than the view's entity.
    """
    parts = [unquote(part) for part in words.split(",")]
    try:
        if len(parts) != len(view.entity):
            raise ValueError
        found = tuple(fit(view.kind(name), part) for name, part in zip(view.entity, parts, strict=True))
    except ValueError:
        raise UnknownEntity(
            f"An entity of {view.view} is {', '.join(f'{name} ({view.kind(name)})' for name in view.entity)}, and this "
            "is none. Write its columns with commas between, each escaped as in a URL."
        ) from None
    return tuple(part for part in found if part is not None)
