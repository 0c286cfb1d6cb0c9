"""The meter: what a worker counts while it answers, in memory that all workers of a server share.

Whichever worker is asked tells the counts of all. Each writes into a part of its own, so nothing is locked, and a
worker that takes a dead one's place counts on where that one was: while the server runs, no counter goes back. What
may be counted is known beforehand, series by series; no series is named by what a client sends.
"""

from __future__ import annotations

import mmap
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from serving import problems
from serving.exposition import Family, Histogram
from serving.meter_file import PART
from serving.scopes import RULES

OTHER = "other"
"""Stands for what no series was made for."""

REQUEST_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
COMMIT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper ends of the buckets."""

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Metric:
    """What is counted. series: values of the labels; bounds: of a histogram's buckets, in seconds."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    series: tuple[Labels, ...] = ((),)
    bounds: tuple[float, ...] = ()

    @property
    def cells(self) -> int:
        """Numbers of one series: one, or a count for each bucket and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


_ROUTES = [*(tuple(line.split(" ")) for line in RULES), (OTHER, OTHER)]

REQUESTS = Metric(
    "gancao_request_seconds", "histogram",
    "Requests by what they took from their headers to the end of the answer.", ("method", "route", "status"),
    tuple((*route, f"{hundreds}xx") for route in _ROUTES for hundreds in range(2, 6)), REQUEST_S,
)  # fmt: skip
REFUSALS = Metric(
    "gancao_refusals_total", "counter",
    "Requests that were refused, by status and problem; about:blank is a problem of HTTP itself.",
    ("status", "problem"), (*problems.REFUSALS, (OTHER, OTHER)),
)  # fmt: skip
TURNED_AWAY = Metric(
    "gancao_requests_turned_away_total", "counter",
    "Requests beyond GANCAO_MAX_IN_FLIGHT: 503 before anything was done for them.",
)  # fmt: skip
CONNECTIONS_REFUSED = Metric(
    "gancao_connections_refused_total", "counter",
    "Connections that were closed with a reason: too many, too slow, too large or not HTTP.",
)  # fmt: skip
IN_FLIGHT = Metric("gancao_requests_in_flight", "gauge", "Requests that the worker is answering.")
CONNECTIONS = Metric("gancao_connections", "gauge", "Connections that are open at the worker.")
STARTED = Metric("gancao_worker_started_seconds", "gauge", "When the worker was started, in seconds since 1970.")
STARTS = Metric("gancao_worker_starts_total", "counter", "Workers that were started; each beyond GANCAO_WORKERS died.")
COMMITS = Metric(
    "gancao_journal_commit_seconds", "histogram",
    "Transactions of the journal by what they took, waiting for other workers and for the disk.", bounds=COMMIT_S,
)  # fmt: skip
RECORDS = Metric("gancao_journal_records_total", "counter", "Records that the journal has taken.")
FAILURES = Metric("gancao_journal_failures_total", "counter", "Transactions that the journal did not take.")
UNNOTED = Metric(
    "gancao_answers_lost_unnoted", "gauge",
    "Answers of async tasks that were lost and that the journal does not tell of yet.",
)  # fmt: skip

METRICS = (
    REQUESTS, REFUSALS, TURNED_AWAY, IN_FLIGHT, CONNECTIONS, CONNECTIONS_REFUSED, STARTED, STARTS, COMMITS, RECORDS,
    FAILURES, UNNOTED,
)  # fmt: skip


def _laid_out() -> tuple[dict[tuple[str, Labels], int], int]:
    """Where each series begins, and how many cells there are."""
    places, cells = {}, 0
    for metric in METRICS:
        for labels in metric.series:
            places[metric.name, labels] = cells
            cells += metric.cells
    return places, cells


_PLACES, _CELLS = _laid_out()


assert _CELLS <= PART


class Meter:
    """The meter of one worker. Safe in threads that count different series."""

    def __init__(self, shared: int | None = None, number: int = 0, workers: int = 1) -> None:
        """shared: what `meter_file.share` gave, None for memory of its own; number: the worker's, from 0."""
        self._workers = workers
        memory = mmap.mmap(-1 if shared is None else shared, workers * PART * 8)
        self._cells = memoryview(memory).cast("d")  # a number of 8 bytes is written whole
        self._mine = self._cells[number * PART : (number + 1) * PART]
        for metric in METRICS:
            if metric.kind == "gauge":  # those before it left theirs
                self.put(metric, 0)
        self.put(STARTED, time.time())
        self.add(STARTS)

    def add(self, metric: Metric, labels: Labels = (), n: float = 1) -> None:
        """Count n more. labels: one of its series; any other counts as the last one of them."""
        place = _PLACES.get((metric.name, labels))
        if place is None:
            place = _PLACES[metric.name, metric.series[-1]]
        self._mine[place] += n

    def put(self, metric: Metric, value: float) -> None:
        """Set a gauge."""
        self._mine[_PLACES[metric.name, ()]] = value

    def observe(self, metric: Metric, seconds: float, labels: Labels = ()) -> None:
        """Count something that took so long. labels: one of its series."""
        place = _PLACES[metric.name, labels]
        self._mine[place + bisect_left(metric.bounds, seconds)] += 1
        self._mine[place + len(metric.bounds) + 1] += seconds

    def answered(self, method: str, route: str | None, status: int, problem: str | None, seconds: float) -> None:
        """Count a request. route: the address's pattern, None where nothing answers; problem: why it was refused."""
        if not 200 <= status < 600 or status == 408:  # nobody was there any more; whom we sent away is counted there
            return
        labels = ("GET" if method == "HEAD" else method, route or "", f"{status // 100}xx")
        if (REQUESTS.name, labels) not in _PLACES:
            labels = (OTHER, OTHER, labels[2])
        self.observe(REQUESTS, seconds, labels)
        if status >= 400:
            self.add(REFUSALS, (str(status), problem or problems.BLANK))

    def refused(self, status: int) -> None:
        """Count a connection that was closed with this status."""
        self.add(CONNECTIONS_REFUSED)
        self.add(REFUSALS, (str(status), problems.BLANK))

    def families(self) -> list[Family | Histogram]:
        """What all workers have counted; gauges by worker. Series that never happened are left out."""
        return [_histogram(metric, self._sums(metric)) if metric.kind == "histogram" else self._family(metric)
                for metric in METRICS]  # fmt: skip

    def _family(self, metric: Metric) -> Family:
        assert metric.kind != "histogram"
        if metric.kind == "gauge":
            place = _PLACES[metric.name, ()]
            family = Family(metric.name, metric.kind, metric.help, ("worker",))
            for number in range(self._workers):
                family.add(self._cells[number * PART + place], str(number))
            return family
        counted = [(labels, cells[0]) for labels, cells in self._sums(metric) if cells[0] or not labels]
        return Family(metric.name, metric.kind, metric.help, metric.labels, counted)

    def _sums(self, metric: Metric) -> list[tuple[Labels, list[float]]]:
        """By series, its cells over all workers."""
        out = []
        for labels in metric.series:
            place = _PLACES[metric.name, labels]
            starts = [number * PART + place for number in range(self._workers)]
            out.append((labels, [sum(self._cells[start + n] for start in starts) for n in range(metric.cells)]))
        return out


def _histogram(metric: Metric, sums: Sequence[tuple[Labels, list[float]]]) -> Histogram:
    samples = [(labels, list(accumulate(cells[:-1])), cells[-1]) for labels, cells in sums if any(cells[:-1])]
    return Histogram(metric.name, metric.help, metric.labels, metric.bounds, samples)
