"""The rate at which one key may ask: a bucket of requests a key, filled evenly, in each worker by itself."""

from __future__ import annotations

BURST_S = 10
"""A bucket holds what flows in in so long: short bursts pass, and a minute's worth at once does not."""
MOST_BUCKETS = 10_000


class Throttle:
    """Buckets of one worker. a_minute: requests that flow into each; 0: nobody is held back."""

    def __init__(self, a_minute: int) -> None:
        self._rate = a_minute / 60
        self._size = max(1.0, self._rate * BURST_S)
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, who: str, now_s: float) -> float:
        """Takes a request out of the bucket of `who` and gives 0; or seconds until there is one. now_s: any clock."""
        if not self._rate:
            return 0.0
        held, since = self._buckets.get(who, (self._size, now_s))
        held = min(self._size, held + (now_s - since) * self._rate)
        if held < 1:
            return (1 - held) / self._rate
        if who not in self._buckets and len(self._buckets) >= MOST_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[who] = (held - 1, now_s)
        return 0.0
