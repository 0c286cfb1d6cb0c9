"""`/metrics`: what is watched of every task that is served, for Prometheus; from the journal, once a minute at most.

Counters are of the whole journal; what is measured is of the last `DAYS` and of the newest `MOST` answers and
outcomes, so that a look costs about as much after a year as after a day. No value of a field is told, but in the
names of declared groups.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from feature_store.place import Place
from serving import exposition, monitor
from serving.counts import Counts
from serving.distribution import ALL
from serving.exposition import Family
from serving.monitor import Monitored
from serving.predictor import Predictor
from serving.tally import Estimate

EVERY_S = 60
LAG_S = 5
"""What is written within the last seconds may still be on its way into the journal, and is counted the next time."""

DAYS, MOST = 30, 5_000
"""Of so many outcomes a share of 0.9 has a band of 0.8 points either side; more would take longer and tell no more."""


class Metrics:
    """The text of one worker, made anew when a minute has passed."""

    def __init__(self, journal: Place) -> None:
        self._journal, self._counts = journal, Counts(journal)
        self._lock = asyncio.Lock()
        self._minute, self._text = -1, b""

    async def text(self, served: Sequence[Predictor]) -> bytes:
        """The text of this minute. Raises JournalFull when the journal can't be read."""
        async with self._lock:  # who asks while it is made waits for it
            minute = int(time.time() - LAG_S) // EVERY_S
            if minute != self._minute:
                self._text = await asyncio.to_thread(self._make, list(served), minute * EVERY_S)
                self._minute = minute
            return self._text

    def _make(self, served: list[Predictor], until_s: int) -> bytes:
        self._counts.look(until_s * 1_000_000)
        since_us = (until_s - DAYS * 86_400) * 1_000_000
        found = [
            (one.version, monitor.measure(one.task, self._journal, {one.version: one.bundle}, since_us, MOST))
            for one in served
        ]
        return exposition.text([*counters(self._counts), *gauges(found)])


def counters(counts: Counts) -> list[Family]:
    """Counters of the whole journal."""
    answers = Family("gancao_answers_total", "counter", "Answers in the journal.", ("task", "version"))
    outcomes = Family("gancao_outcomes_total", "counter", "Answers whose outcome is known.", ("task", "version"))
    warnings = Family("gancao_warnings_total", "counter", "Warnings given with answers.", ("task", "code", "field"))
    lost = Family("gancao_answers_lost_total", "counter", "Answers of async tasks that were not kept.", ("task",))
    for task, n in sorted(counts.lost.items()):
        lost.add(n or None, task)
    for family, counted in ((answers, counts.answers), (outcomes, counts.outcomes), (warnings, counts.warnings)):
        for labels, n in sorted(counted.items()):
            family.add(n, *labels)
    return [answers, outcomes, warnings, lost]


_ERRORS = {
    "bias": "Mean of answer minus outcome, in the target's unit.",
    "mae": "Mean absolute error against outcomes, in the target's unit.",
    "rmse": "Root mean squared error against outcomes, in the target's unit.",
    "accuracy": "Share of outcomes that were the likeliest class.",
    "log_loss": "Mean negative logarithm of the chance given to the class that came true.",
    "brier": "Brier score against outcomes.",
}


def gauges(found: Sequence[tuple[str, Monitored]]) -> list[Family]:
    """Gauges of the tasks. found: with the version that answers."""
    part, event = ("task", "version", "group"), ("task", "event")
    inside = "Share of outcomes inside their interval or set, of the newest outcomes"
    families = {
        "level": Family("gancao_level", "gauge", "Level that intervals and sets promise.", ("task",)),
        "working": Family("gancao_working_level", "gauge", "Level that outcomes moved it to.", ("task", "version")),
        "value": Family("gancao_coverage", "gauge", f"{inside}.", part),
        "low": Family("gancao_coverage_low", "gauge", f"{inside}: lower end of its 95 % band.", part),
        "high": Family("gancao_coverage_high", "gauge", f"{inside}: upper end of its 95 % band.", part),
        **{name: Family(f"gancao_{name}", "gauge", told, part) for name, told in _ERRORS.items()},
        "rate": Family("gancao_event_rate", "gauge", "Share of outcomes in which the event came true.", event),
        "chance": Family("gancao_event_chance", "gauge", "Mean chance that was given to the event.", event),
        "psi": Family("gancao_drift_psi", "gauge", "Population stability index of recent rows.", ("task", "field")),
        "alarm": Family("gancao_alarm", "gauge", "1 if coverage has left its band or a field has drifted.", ("task",)),
    }
    for version, one in found:
        task = one.task.task
        families["level"].add(one.task.answers.interval, task)
        if (moved := one.levels.get(version)) is not None:
            families["working"].add(moved.working, task, version)
        for (own, group), measured in _parts(one):
            coverage: Estimate = measured["coverage"]
            for end, value in coverage.items():
                families[end].add(value, task, own, group)
            for name in _ERRORS:
                families[name].add(measured.get(name, {}).get("value"), task, own, group)
        for name, event_ in (one.realised.overall or {"events": {}})["events"].items():
            families["rate"].add(event_["rate"]["value"], task, name)
            families["chance"].add(event_["mean_chance"], task, name)
        for field in one.drift.get(version, []):
            families["psi"].add(field.psi, task, field.field)
        families["alarm"].add(float(bool(one.reasons)), task)
    return list(families.values())


def _parts(one: Monitored) -> list[tuple[tuple[str, str], dict]]:
    """(version, group) with what was measured of them; `all` for both, for every version, and for every group."""
    found = one.realised
    whole = [((ALL, ALL), found.overall)] if found.overall is not None else []
    return [
        *whole,
        *(((version, ALL), measured) for version, measured in found.versions.items()),
        *(((ALL, group), measured) for group, measured in found.groups.items()),
    ]
