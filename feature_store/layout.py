"""The layout of a View's state: which cells an event keeps, and which cells a row of features has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from feature_store.view import Feature, View, microseconds

ALWAYS = -(2**62)
NEVER = 2**62
"""Instants, in microseconds, before and after all others."""
GRACE_US = microseconds("1d")
"""How much longer than the longest window needs it an event is kept, so that the last day can be asked about."""


@dataclass(frozen=True)
class Layout:
    """What follows from a View.

    ids: the columns that tell an entity's events apart, but for the entity's own, which they share. columns: those and
    the values that features use: the cells of an event. windows: the different windows (back, ahead), None without.
    """

    view: View
    ids: tuple[str, ...]
    columns: tuple[str, ...]
    texts: tuple[int, ...]
    windows: tuple[tuple[int | None, int | None], ...]
    kinds: tuple[str, ...]
    row_texts: tuple[int, ...]
    attributes: tuple[str, ...]

    @cached_property
    def back_us(self) -> int | None:
        """How long after it an event still counts; None: for ever."""
        longest = 0
        for back, ahead in self.windows:
            if back is None and ahead is None:
                return None
            longest = max(longest, back or 0)
        return longest

    @cached_property
    def attribute_texts(self) -> tuple[int, ...]:
        """The attributes that are texts, by their place among attributes."""
        first = len(self.kinds) - len(self.attributes)
        return tuple(place - first for place in self.row_texts if place >= first)

    def place(self, column: str) -> int:
        """Which cell of an event holds a column that features use."""
        return len(self.ids) + self.view.values.index(column)

    def window(self, feature: Feature) -> int:
        """Which of the windows is a feature's."""
        return self.windows.index((feature.window_us, feature.ahead_us))

    def horizon(self, instant: int) -> int:
        """Events up to here are not kept when the state is written at an instant."""
        return ALWAYS if self.back_us is None else instant - self.back_us - GRACE_US


def of(view: View) -> Layout:
    """The layout of a View."""
    ids = tuple(name for name in view.id if name not in view.entity)
    columns = ids + view.values
    kinds = [view.kind(name) for name in columns]
    windows = {(each.window_us, each.ahead_us): None for each in view.features.values() if each.pair is None}
    outputs = tuple(view.outputs.values())
    return Layout(
        view=view,
        ids=ids,
        columns=columns,
        texts=_texts(kinds),
        windows=tuple(windows),
        kinds=outputs,
        row_texts=_texts(outputs),
        attributes=tuple(view.attributes.columns) if view.attributes else (),
    )


def _texts(kinds: Sequence[str]) -> tuple[int, ...]:
    return tuple(place for place, kind in enumerate(kinds) if kind == "text")
