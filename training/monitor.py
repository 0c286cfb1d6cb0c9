"""What is watched, over time: coverage and error by month, and coverage of the last days as each day saw it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from serving.realised import Realised
from serving.tally import Estimate, Tally

ROLLING_DAYS = 30

ERROR = {"square": "rmse", "loss": "log_loss"}
"""What the error of a day is summed as, and what it is called."""


@dataclass(frozen=True)
class Span:
    """One month (`2024-03`), or the days up to one (`2024-03-17`): outcomes, coverage and error, with their bands.

    error: RMSE in the target's unit, of classes the log loss.
    """

    when: str
    n: int
    coverage: Estimate
    error: Estimate


def months(found: Realised) -> list[Span]:
    """Each month in which something came true (UTC), in order."""
    of: dict[str, list[Tally]] = {}
    for day, tally in sorted(found.days.items()):
        of.setdefault(f"{_date(day):%Y-%m}", []).append(tally)
    return [_span(month, tallies) for month, tallies in of.items()]


def rolling(found: Realised) -> list[Span]:
    """For each day on which something came true, the ROLLING_DAYS up to it."""
    out, inside = [], list[int]()
    for day in sorted(found.days):
        inside = [one for one in inside if one > day - ROLLING_DAYS] + [day]
        out.append(_span(f"{_date(day):%Y-%m-%d}", [found.days[one] for one in inside]))
    return out


def _span(when: str, tallies: list[Tally]) -> Span:
    whole = Tally()
    for tally in tallies:
        whole.merge(tally)
    (error,) = set(whole.counts) & set(ERROR)
    measured = whole.root(error) if error == "square" else whole.mean(error)
    return Span(when, whole.n, whole.share("covered"), measured)


def _date(day: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
