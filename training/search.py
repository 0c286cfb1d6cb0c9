"""The search: one loop that proposes, submits, keeps what finishes, and stops in time.

By seconds it runs as fast as the slots allow. By trials it runs in generations of fixed size whose results are
told in order, so that the same data, seed and environment try the same configurations, also after a resume.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from feature_store.errors import NothingLearnt
from feature_store.task import Budget
from training import trial as trials
from training.engine import Engine, Ticket
from training.proposals import PORTFOLIO, Proposal, Tuner
from training.runlog import RunLog, Trial
from training.trial import Shared, TrialResult

GENERATION = 4
"""Trials that are proposed together when the budget is in trials, whatever the number of slots."""

HOPELESS = 12
"""After so many failures without one success the search gives up."""

TRIAL_LIMIT_S = 3600.0
"""A trial that takes longer is stopped and counts as failed."""


class Watcher(Protocol):
    """Sees each finished trial, and the clock in between."""

    def trial(self, trial: Trial) -> None:
        """A trial finished or failed."""

    def tick(self, elapsed_s: float, running: list[str]) -> None:
        """Time passed; `running` names the learners at work."""


@dataclass
class Search:
    """One search over an engine. seed: of the proposals; the learners' is in `shared`."""

    engine: Engine
    shared: Shared
    log: RunLog
    budget: Budget
    learners: tuple[str, ...]
    seed: int
    watcher: Watcher

    def run(self) -> list[Trial]:
        """All finished trials of the run, old and new. Raises NothingLearnt when none has a loss.

        Ctrl-C ends the search as the end of the budget does, once something was learnt.
        """
        self._start = time.monotonic() - max((t.elapsed_s for t in self.log.trials()), default=0.0)
        self._done = {trial.number: trial for trial in self.log.trials()}
        self._tuners: dict[str, Tuner] = {}
        self._told = len(self._done)
        running: dict[Ticket, tuple[int, Proposal]] = {}
        try:
            if self.budget.trials:
                self._by_generations(self.budget.trials, running)
            else:
                self._by_seconds(self.budget.seconds or 60.0, running)
        except KeyboardInterrupt:
            if not self._losses():
                raise
        finally:
            for ticket in running:
                self.engine.cancel(ticket)
        if not self._losses():
            reasons = "; ".join(sorted({t.failure for t in self._done.values()})) or "the budget ended first"
            raise NothingLearnt(f"No trial finished with a loss, so there is no version: {reasons}.")
        return self.log.trials()

    def _by_seconds(self, seconds: float, running: dict[Ticket, tuple[int, Proposal]]) -> None:
        tried = {_key(trial.learner, trial.config) for trial in self._done.values()}
        queue = (p for p in self._endless() if p.origin == "cfo" or _key(p.learner, p.config) not in tried)
        number = max(self._done, default=-1) + 1
        while True:
            left = seconds - self._elapsed()
            while len(running) < self.engine.slots and (left > 0 or not (running or self._done)):
                proposal = self._affordable(queue, left)
                if proposal is None:
                    break
                running[self._submit(proposal)] = (number, proposal)
                number += 1
            if not running:
                return
            if left <= 0 and self._losses():
                return
            if len(self._done) >= HOPELESS and not self._losses():
                return
            self._collect(running, max(left, 0.0) if self._losses() else None)

    def _affordable(self, queue: Iterator[Proposal], left: float) -> Proposal | None:
        """The next proposal whose learner, by its median so far, can finish in the time left."""
        for _ in range(20):
            proposal = next(queue, None)
            if proposal is None:
                return None
            past = [t.seconds for t in self._done.values() if t.learner == proposal.learner and t.loss is not None]
            if not past or statistics.median(past) <= left:
                return proposal
            self._tell(proposal, None)
        return None

    def _by_generations(self, count: int, running: dict[Ticket, tuple[int, Proposal]]) -> None:
        queue = self._endless()
        for first in range(0, count, GENERATION):
            self._told = first
            numbers = range(first, min(first + GENERATION, count))
            generation = list(zip(numbers, queue, strict=False))
            for number, proposal in generation:
                if number not in self._done:
                    running[self._submit(proposal)] = (number, proposal)
            while running:
                self._collect(running, None)
            for number, proposal in generation:
                self._tell(proposal, self._done[number].loss)

    def _endless(self) -> Iterator[Proposal]:
        """The portfolio, then CFO's proposals, the learners in turn."""
        yield from (proposal for proposal in PORTFOLIO if proposal.learner in self.learners)
        tunable = [name for name in self.learners if name != "linear"]
        if not tunable:
            return
        while asked := [proposal for name in tunable if (proposal := self._tuner(name).ask()) is not None]:
            yield from asked

    def _tuner(self, learner: str) -> Tuner:
        if learner not in self._tuners:
            rows, columns = self.shared.arrays()[0].shape
            told = [self._done[number] for number in sorted(self._done) if number < self._told or self.budget.seconds]
            known = [(t.config, t.loss) for t in told if t.learner == learner and t.loss is not None]
            self._tuners[learner] = Tuner(learner, rows, columns, known, self.seed)
        return self._tuners[learner]

    def _submit(self, proposal: Proposal) -> Ticket:
        return self.engine.submit(trials.run, self.shared, proposal.learner, proposal.config, timeout_s=TRIAL_LIMIT_S)

    def _collect(self, running: dict[Ticket, tuple[int, Proposal]], patience_s: float | None) -> None:
        """Keep what finishes within a moment (or `patience_s`, if sooner)."""
        moment = 0.5 if patience_s is None else min(0.5, patience_s)
        for ticket in self.engine.wait_any(list(running), moment):
            number, proposal = running.pop(ticket)
            trial = self._keep(ticket, number, proposal)
            self._done[number] = trial
            if not self.budget.trials:
                self._tell(proposal, trial.loss)
            self.watcher.trial(trial)
        self.watcher.tick(self._elapsed(), [proposal.learner for _, proposal in running.values()])

    def _keep(self, ticket: Ticket, number: int, proposal: Proposal) -> Trial:
        def line(loss: float | None, rounds: int, seconds: float, failure: str) -> Trial:
            elapsed = self._elapsed()
            return Trial(number, proposal.learner, proposal.config, proposal.origin, loss, rounds, seconds, elapsed,
                         failure=failure)  # fmt: skip

        try:
            result: TrialResult = self.engine.result(ticket)
        except Exception as error:  # whatever a learner does costs its own trial only
            first = str(error).strip().split("\n")[0][:200]
            failure = f"{proposal.learner} failed: {type(error).__name__}: {first}"
            return self.log.append(line(None, 0, 0.0, failure), None)
        if not math.isfinite(result.loss):
            failure = f"{proposal.learner} gave a loss that is not finite"
            return self.log.append(line(None, 0, result.seconds, failure), None)
        return self.log.append(line(result.loss, result.rounds, result.seconds, ""), result.oof)

    def _tell(self, proposal: Proposal, loss: float | None) -> None:
        if proposal.origin == "cfo" and proposal.learner in self._tuners:
            self._tuners[proposal.learner].tell(proposal, loss)

    def _elapsed(self) -> float:
        return time.monotonic() - self._start

    def _losses(self) -> list[float]:
        return [trial.loss for trial in self._done.values() if trial.loss is not None]


def _key(learner: str, config: dict[str, object]) -> str:
    return json.dumps([learner, config], sort_keys=True)
