"""What the results of the AutoML comparison say: relative errors, who is first within the noise, what it costs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

RIVAL = "lightgbm"
"""Errors are shown relative to this system's on the same splits."""

OWN = "gancao"
LEVEL = 0.95
LEAST_SPLITS = 3
"""Fewer splits say nothing of their own spread; then the noise is that of the test rows, by bootstrap."""

Record = dict[str, Any]


def read(path: Path) -> list[Record]:
    """The records of a JSON Lines file, [] where there is none; of two for the same run the later one counts.

    A last line that a killed run left half written is passed over.
    """
    found: dict[tuple[Any, ...], Record] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[key(record)] = record
    return list(found.values())


def key(record: Record) -> tuple[Any, ...]:
    """What makes a run the same run."""
    return record["system"], record["table"], record["seed"], record["budget_s"]


@dataclass(frozen=True)
class Versus:
    """How much larger the first system's mean loss is than the second's, and the interval of that difference."""

    difference: float
    low: float
    high: float

    @property
    def worse(self) -> bool:
        """Beyond the noise."""
        return self.low > 0


class Board:
    """The records of some systems, by table and split. A split counts when every system has run on it."""

    def __init__(self, records: Iterable[Record], systems: Sequence[str], tables: Sequence[str]) -> None:
        self._by = {(r["system"], r["table"], r["seed"]): r for r in records}
        there = {name for name, _, _ in self._by}
        self.systems = [name for name in systems if name in there]
        self.seeds = {table: self._complete(table) for table in tables}
        self.tables = [table for table in tables if self.seeds[table]]

    def _complete(self, table: str) -> list[int]:
        seeds = sorted({seed for _, name, seed in self._by if name == table})
        return [seed for seed in seeds if all((system, table, seed) in self._by for system in self.systems)]

    def of(self, system: str, table: str) -> list[Record]:
        """Its records on the table, a split each."""
        return [self._by[system, table, seed] for seed in self.seeds[table]]

    def all(self, system: str) -> list[Record]:
        """Its records on all tables."""
        return [record for table in self.tables for record in self.of(system, table)]

    def failures(self, system: str, table: str) -> list[str]:
        """The reasons of those splits on which it gave no prediction."""
        return [record["failed"] for record in self.of(system, table) if "failed" in record]

    def ranked(self, table: str) -> list[str]:
        """The systems that answered on every split, the smallest mean loss first."""
        able = [system for system in self.systems if not self.failures(system, table)]
        return sorted(able, key=lambda system: self.loss(system, table))

    def losses(self, system: str, table: str) -> list[float]:
        """A loss a split."""
        return [record["loss"] for record in self.of(system, table)]

    def loss(self, system: str, table: str) -> float:
        """The mean over splits."""
        return statistics.fmean(self.losses(system, table))

    def relative(self, system: str, table: str) -> tuple[float, float, float]:
        """Its mean loss over the rival's, and the smallest and largest ratio of a split. The rival must have run."""
        own, rival = self.losses(system, table), self.losses(RIVAL, table)
        ratios = [a / b for a, b in zip(own, rival, strict=True)]
        return statistics.fmean(own) / statistics.fmean(rival), min(ratios), max(ratios)

    def versus(self, system: str, other: str, table: str) -> Versus:
        """The paired comparison of two systems that answered on every split.

        From LEAST_SPLITS on, the t interval over splits, its variance corrected for training rows that splits share
        (Nadeau and Bengio 2003, Machine Learning 52, equation 9). With fewer, the bootstrap of the test rows, which
        knows nothing of how the training rows fell.
        """
        gaps = np.subtract(self.losses(system, table), self.losses(other, table))
        difference = float(gaps.mean())
        if len(gaps) < LEAST_SPLITS:
            pairs = zip(self.of(system, table), self.of(other, table), strict=True)
            drawn = np.mean([np.subtract(a["resampled"], b["resampled"]) for a, b in pairs], axis=0)
            low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            return Versus(difference, float(low), float(high))
        first = self.of(system, table)[0]
        spread = gaps.var(ddof=1) * (1 / len(gaps) + first["test_rows"] / first["train_rows"])
        width = float(stats.t.ppf((1 + LEVEL) / 2, len(gaps) - 1) * np.sqrt(spread))
        return Versus(difference, difference - width, difference + width)

    @cached_property
    def first(self) -> dict[str, list[str]]:
        """Per table, the best system and those not worse than it beyond the noise; best first."""
        out = {}
        for table in self.tables:
            ranked = self.ranked(table)
            out[table] = [system for system in ranked if not self.versus(system, ranked[0], table).worse]
        return out

    def behind(self, system: str, other: str) -> tuple[list[str], list[str]]:
        """Tables on which it is behind the other beyond the noise, and all on which its mean is; failing is both."""
        sure, mean = [], []
        for table in self.tables:
            if self.failures(other, table):
                continue
            failed = bool(self.failures(system, table))
            if failed or self.loss(system, table) > self.loss(other, table):
                mean.append(table)
                if failed or self.versus(system, other, table).worse:
                    sure.append(table)
        return sure, mean

    def rank(self, system: str) -> float:
        """Its mean place among the systems; one that fails shares the last places."""
        places = []
        for table in self.tables:
            ranked = self.ranked(table)
            last = (len(ranked) + 1 + len(self.systems)) / 2
            places.append(ranked.index(system) + 1 if system in ranked else last)
        return statistics.fmean(places)

    def middle(self, system: str, name: str) -> float | None:
        """The median of a measured figure over the runs that have it, or None."""
        values = [record[name] for record in self.all(system) if name in record]
        return statistics.median(values) if values else None

    def row_ratios(self, system: str) -> list[float]:
        """How many times as long as Gancao's a row of this system takes, a value a table."""
        if OWN not in self.systems:
            return []
        pairs = [(self._row_times(OWN, table), self._row_times(system, table)) for table in self.tables]
        return [statistics.median(other) / statistics.median(own) for own, other in pairs if own and other]

    def _row_times(self, system: str, table: str) -> list[float]:
        return [record["row_s"] for record in self.of(system, table) if "row_s" in record]
