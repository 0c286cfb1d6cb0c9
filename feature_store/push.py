"""Events as they happen: JSON Lines into the online store, whose rows move at once."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import numpy as np

from feature_store import cells, entity, event, state
from feature_store import layout as layouts
from feature_store.aggregate import Events
from feature_store.errors import EventRefused, SumTooLarge
from feature_store.event import Event
from feature_store.layout import Layout
from feature_store.online import Kept, Online
from feature_store.state import VERDICTS
from feature_store.view import View

AT_ONCE = 1000
"""Lines of one transaction."""
TOLD = 1000
"""Lines that are refused are told up to here, and counted beyond."""
NOT_JSON = "not_json"
TOO_LARGE = "sum_too_large"
WORDS = {
    **event.REASONS,
    NOT_JSON: "the line is no JSON object",
    TOO_LARGE: "with it a sum is beyond 64 bits",
}


class Refusal(NamedTuple):
    """A line that was not taken. line: from 1; column: where, or ""."""

    line: int
    reason: str
    column: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason} {f'({self.column}) ' if self.column else ''}- {WORDS[self.reason]}"


@dataclass
class Pushed:
    """What became of the lines. old: taken, but before all that any window looks at. refused: by reason."""

    lines: int = 0
    stored: int = 0
    unchanged: int = 0
    old: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, line: int, reason: str, column: str = "") -> None:
        """Count a line that is not taken."""
        self.refused[reason] += 1
        if len(self.refusals) < TOLD:
            self.refusals.append(Refusal(line, reason, column))


class _Taken(NamedTuple):
    line: int
    key: str
    event: Event


def push(
    view: View, store: Online, lines: Iterable[Sequence[bytes]], now: Callable[[], int], told: Callable[[Pushed], None]
) -> Pushed:
    """Take events, some lines at once: what came together is stored together, before the next are read.

    lines: pieces of a stream, each of whole lines. now: microseconds since 1970; told: called after each piece.
    The same lines again are `unchanged`, so a push that was killed is simply begun again.
    Raises OnlineUnreachable.
    """
    done, layout = Pushed(), layouts.of(view)
    decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
    for piece in lines:
        for start in range(0, len(piece), AT_ONCE):
            instant = now()
            taken = list(_read(view, piece[start : start + AT_ONCE], decode, instant, done))
            _store(layout, store, taken, instant, done)
        told(done)
    return done


def _read(
    view: View, lines: Sequence[bytes], decode: Callable[[bytes], dict[str, Any]], now: int, done: Pushed
) -> Iterator[_Taken]:
    for line in lines:
        done.lines += 1
        if not line.strip():
            continue
        try:
            key, found = event.read(view, decode(line), now)
        except (msgspec.DecodeError, UnicodeDecodeError):
            done.refuse(done.lines, NOT_JSON)
        except EventRefused as error:
            done.refuse(done.lines, error.reason, error.column)
        else:
            yield _Taken(done.lines, entity.key(key), found)


def _store(layout: Layout, store: Online, taken: list[_Taken], instant: int, done: Pushed) -> None:
    """Let them in together; where a sum overflows, one by one, so that only the event that makes it is refused."""
    if not taken:
        return
    try:
        verdicts = _let_in(layout, store, taken, instant)
    except SumTooLarge:
        if len(taken) == 1:
            done.refuse(taken[0].line, TOO_LARGE)
            return
        for one in taken:
            _store(layout, store, [one], instant, done)
        return
    for one, verdict in zip(taken, verdicts, strict=True):
        if verdict == "duplicate":
            done.refuse(one.line, verdict)
        else:
            setattr(done, verdict, getattr(done, verdict) + 1)


def _let_in(layout: Layout, store: Online, taken: list[_Taken], instant: int) -> list[str]:
    """What became of each, a word of VERDICTS."""
    keys = sorted({one.key for one in taken})
    who = {key: place for place, key in enumerate(keys)}
    order = sorted(range(len(taken)), key=lambda place: who[taken[place].key])
    fresh = _events(
        layout, [taken[place].event for place in order], [who[taken[place].key] for place in order], len(keys)
    )
    verdicts = np.empty(len(taken), np.int8)

    def change(kept: Sequence[Kept | None]) -> Iterator[tuple[str, bytes, bytes]]:
        before = state.read(layout, [one and one.tail for one in kept])
        after, verdicts[order], changed = state.merged(layout, before, fresh, instant)
        moved = np.flatnonzero(changed | np.array([one is None for one in kept]))
        made = state.written(layout, state.some(after, moved), instant)
        return ((keys[place], *one) for place, one in zip(moved.tolist(), made, strict=True))

    store.update(layout.view.digest, keys, change)
    return [VERDICTS[verdict] for verdict in verdicts]


def _events(layout: Layout, events: Sequence[Event], who: Sequence[int], many: int) -> Events:
    """The events of so many entities, as arrays; who: which entity each is of, ascending."""
    own = [layout.view.id.index(name) for name in layout.ids]
    columns: list[list[Any]] = [[one.id[place] for one in events] for place in own]
    columns += [[one.values[place] for one in events] for place in range(len(layout.view.values))]
    for place, name in enumerate(layout.columns):
        if layout.view.kind(name).startswith("float"):
            columns[place] = [None if value is None else bits(value) for value in columns[place]]
    starts = np.searchsorted(who, np.arange(many + 1))
    times = np.array([(one.event, one.known) for one in events], np.int64).reshape(-1, 2)
    found = cells.from_columns(columns, layout.texts, len(events))
    return Events(starts, times[:, 0], times[:, 1], found)


def bits(number: float) -> int:
    """A float64 as the int64 of its bits."""
    found: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return found
