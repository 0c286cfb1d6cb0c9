"""Admission: how many requests a worker has at once, and that none of them keeps the others from being heard."""

from __future__ import annotations

import asyncio
from time import monotonic

from serving.meter import IN_FLIGHT, REFUSALS, TURNED_AWAY, Meter
from serving.problems import Busy

TURN_S = 0.02
"""Requests compute for so long; then the sockets are looked at, so that what is turned away learns it at once."""


class Admission:
    """At most `most` requests between their last byte and the first of their answer. One a worker."""

    def __init__(self, most: int, meter: Meter | None = None) -> None:
        """meter: what it counts in, None for one of its own."""
        self._most, self._turn_ends, self.open = most, 0.0, 0
        self._meter = meter or Meter()

    @property
    def full(self) -> bool:
        """Whether one more would be too many."""
        return self.open >= self._most

    def enter(self) -> None:
        """Raises Busy when it is full; whoever enters leaves."""
        if self.full:
            self._meter.add(TURNED_AWAY)
            raise Busy(self.refusal)
        self.open += 1
        self._meter.put(IN_FLIGHT, self.open)

    def leave(self) -> None:
        """Make room."""
        self.open -= 1
        self._meter.put(IN_FLIGHT, self.open)

    def turned_away(self) -> None:
        """Count one who found it full and was told so at once."""
        self._meter.add(TURNED_AWAY)
        self._meter.add(REFUSALS, ("503", "busy"))

    @property
    def refusal(self) -> str:
        """What those are told who find it full."""
        return f"{self._most} requests are being answered already. Ask again after Retry-After seconds."

    async def turn(self) -> None:
        """Returns when there is time left to compute before the sockets are looked at again."""
        while True:
            now = monotonic()
            if self._turn_ends == 0.0:
                self._turn_ends = now + TURN_S
                asyncio.get_running_loop().call_soon(self._next)
            if now < self._turn_ends:
                return
            await asyncio.sleep(0)

    def _next(self) -> None:
        self._turn_ends = 0.0
