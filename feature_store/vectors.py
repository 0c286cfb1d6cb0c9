"""The features of entities as of now, from the online store: a row that still holds is unpacked, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from feature_store import layout as layouts
from feature_store import state
from feature_store.errors import InstantRefused, UnknownEntity
from feature_store.online import Online, Served
from feature_store.row import Rows
from feature_store.view import View


class Vectors:
    """Reads the features of one view. `stale` counts the rows that had to be worked out from their events."""

    def __init__(self, view: View, store: Online) -> None:
        self.view, self.store, self.stale = view, store, 0
        self.layout = layouts.of(view)
        self.reader = Rows(self.layout)
        self.names = self.reader.names

    def get(self, keys: Sequence[str], as_of: int, *, log: bool = False) -> list[list[Any] | None]:
        """Of each key the values of `names` as of an instant (microseconds), None where nothing is known of it.

        log: remember what was served, for `gancao features replay`.
        Raises InstantRefused where what is kept does not reach that far, OnlineUnreachable.
        """
        rows = self.rows(keys, as_of)
        if log:
            body, found = self.reader.body, zip(keys, rows, strict=True)
            self.store.log(self.view.digest, [Served(key, as_of, body(row)) for key, row in found if row is not None])
        values = self.reader.values
        return [None if row is None else values(row) for row in rows]

    def one(self, key: str, as_of: int, *, log: bool = False) -> dict[str, Any]:
        """The features of one entity by name. Raises UnknownEntity, InstantRefused, OnlineUnreachable."""
        (values,) = self.get([key], as_of, log=log)
        if values is None:
            raise UnknownEntity(
                f"{self.view.view} knows no such entity. Ask for another, push its events, or materialize the view: "
                f"gancao features materialize {self.view.view}"
            )
        return dict(zip(self.names, values, strict=True))

    def rows(self, keys: Sequence[str], as_of: int) -> list[bytes | None]:
        """The packed rows as of an instant; see `get`."""
        found = self.store.rows(self.view.digest, keys)
        holds = self.reader.holds
        late = [place for place, row in enumerate(found) if row is not None and not holds(row, as_of)]
        for place, row in zip(late, self._worked_out([keys[place] for place in late], as_of), strict=True):
            found[place] = row
        return found

    def _worked_out(self, keys: Sequence[str], as_of: int) -> Iterator[bytes]:
        if not keys:
            return
        self.stale += len(keys)
        tails = self.store.tails(self.view.digest, keys)
        if not all(tail and state.reaches(self.layout, tail, as_of) for tail in tails):
            raise InstantRefused(
                f"What {self.view.view} keeps online does not reach back to that instant. Ask for a later one, or "
                "offline: feature_store.asof.as_of."
            )
        yield from state.row(self.layout, state.read(self.layout, tails), as_of)
