"""The online store: of each entity the bytes of its row and tail, by view and key, in one of three databases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol


class Kept(NamedTuple):
    """What is kept of an entity: see `feature_store/state.py`."""

    row: bytes
    tail: bytes


class Served(NamedTuple):
    """A row that was served. as_of in microseconds; row: without its span, as `Rows.body`."""

    key: str
    as_of: int
    row: bytes


Change = Callable[[Sequence[Kept | None]], Iterable[tuple[str, bytes, bytes]]]
"""From what is kept of the keys asked for to what shall be kept instead: key, row, tail."""


class Online(Protocol):
    """A store. view: a View's digest; keys: see `feature_store/entity.py`. Each raises OnlineUnreachable."""

    local: bool
    """Whether a read is so quick that nobody need wait for it elsewhere."""

    def rows(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        """The rows of entities, in order, None of one that is not kept; one statement."""

    def tails(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        """Their tails."""

    def update(self, view: str, keys: Sequence[str], change: Change, notes: Mapping[str, str] | None = None) -> None:
        """Change what is kept of entities, and notes of the view, wholly or not at all, whatever others do meanwhile.

        change may be called again where another was quicker.
        """

    def note(self, view: str, name: str) -> str | None:
        """A note of the view."""

    def log(self, view: str, served: Iterable[Served]) -> None:
        """Remember what was served."""

    def served(self, view: str) -> Iterator[Served]:
        """All that was served of a view, in the order of key and instant."""

    def close(self) -> None:
        """Let go of the database."""
