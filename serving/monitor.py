"""What is watched of a task: its answers against their outcomes, its fields against what was learnt from, its warnings.

The same for `gancao monitor` and for `/metrics`: the journal is read in chunks, and only sums are kept.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from feature_store.place import Place
from feature_store.task import Task
from serving import drift, realised, recall
from serving.bundle import Bundle
from serving.drift import Drift
from serving.realised import CHUNK, DAY_US, Realised
from serving.recall import EVER, Joined, Sent

UNFAMILIAR = "unfamiliar"


@dataclass(frozen=True)
class Warned:
    """How often a warning was given. field: "" of `unfamiliar`, which is of the whole row.

    share: of the answers; before: of the rows that the newest version was learnt from (unfamiliar: of its holdout),
    None where that is not known.
    """

    code: str
    field: str
    n: int
    share: float
    before: float | None


@dataclass(frozen=True)
class Reason:
    """Why there is an alarm. kind: `coverage` (cell, side, missed, of, allowed as in `watch.Alarm`) or `drift` (field
    and its index); version: whose promise, or whose training rows."""

    kind: str
    version: str
    at_us: int | None = None
    cell: str | None = None
    side: str | None = None
    missed: int | None = None
    of: int | None = None
    allowed: float | None = None
    field: str | None = None
    psi: float | None = None


@dataclass(frozen=True)
class Level:
    """The working level of a version. moves: outcomes and resets that led to it."""

    promised: float
    working: float
    moves: int


@dataclass(frozen=True)
class Monitored:
    """What was found from `since_us` on; EVER: from the beginning.

    answers, outcomes: how many of each version; now: the version of the newest answer; delay_days: from an answer to
    what came true, the median and the 90 % quantile; drift: of each version whose training rows are known, the
    greatest first; unknown: versions of which no bundle was at hand; levels: of versions that outcomes have moved.
    """

    task: Task
    since_us: int
    now: str | None
    answers: dict[str, int]
    outcomes: dict[str, int]
    delay_days: dict[str, float] | None
    realised: Realised
    drift: dict[str, list[Drift]]
    unknown: list[str]
    warnings: list[Warned]
    levels: dict[str, Level]

    @property
    def reasons(self) -> list[Reason]:
        """Why there is an alarm, the newest loss of coverage first; none is no alarm.

        Drift counts of the version that answers now: of an older one it is history.
        """
        lost = [
            Reason("coverage", one.version, one.at_us, one.cell, one.side, one.missed, one.of, one.allowed)
            for one in reversed(self.realised.alarms)
            if one.at_us >= self.since_us
        ]
        moved = [one for one in self.drift.get(self.now or "", []) if one.drifted]
        return [*lost, *(Reason("drift", self.now or "", field=one.field, psi=one.psi) for one in moved)]

    def to_json(self) -> dict[str, Any]:
        """Plain data; reasons without what does not apply to them."""
        found = {key: value for key, value in asdict(self.realised).items() if key not in ("task", "days")}
        reasons = [{k: v for k, v in asdict(one).items() if v is not None} for one in self.reasons]
        return {
            "task": self.task.task,
            "since_us": None if self.since_us == EVER else self.since_us,
            "version": self.now,
            "alarm": bool(reasons),
            "reasons": reasons,
            "answers": self.answers,
            "outcomes": self.outcomes,
            "delay_days": self.delay_days,
            "realised": found,
            "drift": {version: [asdict(one) for one in fields] for version, fields in self.drift.items()},
            "drift_unknown": self.unknown,
            "warnings": [asdict(one) for one in self.warnings],
            "levels": {version: asdict(level) for version, level in self.levels.items()},
        }


def measure(
    task: Task, journal: Place, versions: Mapping[str, Bundle], since_us: int = EVER, most: int | None = None
) -> Monitored:
    """Everything that is watched. versions: bundles of the versions that answered, as far as they are at hand.

    since_us: answers that were given, and outcomes that came true, before it take no part; but the watch on coverage
    adds up the evidence of all outcomes. most: of answers and of outcomes only about so many of the newest are read.
    Raises JournalFull when the journal can't be read.
    """
    starts = {
        table: EVER if most is None else recall.start_of(journal, table, task.task, most)
        for table in ("answers", "outcomes")
    }
    seen = _Seen(task, versions)
    seen.look(recall.sent(journal, task.task, max(since_us, starts["answers"])))
    delays: array[float] = array("d")
    outcomes: Counter[str] = Counter()
    rows = _noted(recall.joined(journal, task.task, starts["outcomes"]), since_us, delays, outcomes)
    found = realised.measure(task, _nameless(task, versions, rows), _calibrated(versions), since_us)
    days = np.array(delays) / DAY_US
    delay = {"median": float(np.median(days)), "p90": float(np.quantile(days, 0.9))} if len(days) else None
    return Monitored(
        task=task,
        since_us=since_us,
        now=seen.now,
        answers=dict(sorted(seen.answers.items())),
        outcomes=dict(sorted(outcomes.items())),
        delay_days=delay,
        realised=found,
        drift=seen.drift(),
        unknown=sorted(set(seen.answers) - set(seen.counts)),
        warnings=seen.warned(),
        levels=_levels(journal, task, versions),
    )


class _Seen:
    """What the answers of a task tell without their outcomes."""

    def __init__(self, task: Task, versions: Mapping[str, Bundle]) -> None:
        self._task, self._versions = task, versions
        self.answers: Counter[str] = Counter()
        self._warned: Counter[tuple[str, str]] = Counter()
        self.counts: dict[str, dict[str, np.ndarray]] = {}
        self.now: str | None = None

    def look(self, sent: Iterator[Sent]) -> None:
        """Count them, a chunk at a time; they come in the order in which they were given."""
        while chunk := list(islice(sent, CHUNK)):
            self.now = chunk[-1].version
            self.answers.update(one.version for one in chunk)
            for one in chunk:
                pairs = ((w["code"], "" if w["code"] == UNFAMILIAR else w["field"]) for w in one.answer["warnings"])
                self._warned.update(pairs)
            for version in {one.version for one in chunk} & set(self._versions):
                self._bin(version, [one.row for one in chunk if one.version == version])

    def _bin(self, version: str, rows: list[dict[str, Any]]) -> None:
        bundle = self._versions[version]
        known = bundle.reference.familiarity
        if known is None:
            return
        matrix, counts = bundle.encoder.rows(rows), self.counts.setdefault(version, {})
        for place, field in enumerate(bundle.task.fields):
            if field.name in bundle.reference.counts:
                new = np.array(drift.counts(known.bins[place], matrix[:, place]))
                counts[field.name] = counts.get(field.name, 0) + new

    def drift(self) -> dict[str, list[Drift]]:
        """By version, its fields, the greatest index first."""
        before = {version: self._versions[version].reference.counts for version in sorted(self.counts)}
        return {
            version: drift.judge(then, {name: own.tolist() for name, own in self.counts[version].items()})
            for version, then in before.items()
        }

    def warned(self) -> list[Warned]:
        """Every warning, the most frequent first."""
        total, bundle = sum(self.answers.values()), self._versions.get(self.now or "")
        return [
            Warned(code, field, n, n / total, None if bundle is None else _before(bundle, code, field))
            for (code, field), n in sorted(self._warned.items(), key=lambda item: (-item[1], item[0]))
        ]


def _before(bundle: Bundle, code: str, field: str) -> float | None:
    """The share of a warning among the rows that a version was learnt from."""
    if code == UNFAMILIAR:
        known = bundle.reference.familiarity
        share = (bundle.card.get("metrics") or {}).get(UNFAMILIAR, None if known is None else known.level)
        return None if share is None else float(share)
    if code != "missing_field":
        return 0.0  # ranges and words are those of the training rows
    counts = bundle.reference.counts.get(field)
    return counts[-1] / max(sum(counts), 1) if counts else None


def _noted(joined: Iterable[Joined], since_us: int, delays: array[float], outcomes: Counter[str]) -> Iterator[Joined]:
    """The same rows; notes how late they came and of which version they are."""
    for row in joined:
        if row.outcome_at_us >= since_us:
            delays.append(row.outcome_at_us - row.at_us)
            outcomes[row.version] += 1
        yield row


def _nameless(task: Task, versions: Mapping[str, Bundle], joined: Iterable[Joined]) -> Iterator[Joined]:
    """The same rows, without words that no version knows in the fields by which groups are made.

    Such a word was typed by someone: it counts as unknown, as the answer took it, and names no group.
    """
    words: dict[str, set[str]] = {}
    for group in task.groups:
        field = task.by_name[group.field]
        if field.type == "category":
            words[field.name] = {choice.value for choice in field.choices or ()}
            words[field.name].update(*(bundle.encoder.categories.get(field.name, ()) for bundle in versions.values()))
    for row in joined:
        strange = {name: None for name, known in words.items() if row.row.get(name) not in known}
        yield row._replace(row={**row.row, **strange}) if strange else row


def _calibrated(versions: Mapping[str, Bundle]) -> dict[str, int]:
    """By cell, the fewest rows that a version made its interval or set from: no version promises more exactly."""
    out: dict[str, int] = {}
    for bundle in versions.values():
        for name, cell in bundle.distribution.cells.items():
            out[name] = min(out.get(name, len(cell.scores)), len(cell.scores))
    return out


def _levels(journal: Place, task: Task, versions: Mapping[str, Bundle]) -> dict[str, Level]:
    promised = {version: bundle.task.answers.interval for version, bundle in versions.items()}
    return {
        version: Level(promised.get(version, task.answers.interval), working, moves)
        for version, working, moves in recall.levels_now(journal, task.task)
    }
