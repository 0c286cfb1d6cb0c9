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
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from feature_store.errors import NothingLearnt
from feature_store.task import Budget
from training import proposals
from training import trial as trials
from training.engine import Engine, Ticket
from training.proposals import ARMS, Proposal, Tuner
from training.runlog import RunLog, Trial
from training.trial import Shared, TrialResult

GENERATION = 4
"""Trials that are proposed together when the budget is in trials, whatever the number of slots."""

HOPELESS = 12
"""After so many failures without one success the search gives up."""

TRIAL_LIMIT_S = 3600.0
"""A trial that takes longer is stopped and counts as failed."""

FIRST_LIMIT_S = 600.0
"""... and in a search by seconds, as long as nothing has finished; after that, not much longer than its limit."""

LARGEST_SHARE = 0.35
"""Of a budget in seconds that one trial may take: its boosting stops early then."""

WORTH_STARTING = 0.7
"""A trial is started when this share of the time that its learner takes is left."""

SKEWED = 1.0
"""Skewness of a positive target from which on its logarithm is tried too."""


class Watcher(Protocol):
    """Sees each finished trial, and the clock in between."""

    def trial(self, trial: Trial) -> None:
        """A trial finished or failed."""

    def tick(self, elapsed_s: float, running: list[str]) -> None:
        """Time passed; `running` names the learners at work."""

    def interrupted(self) -> None:
        """Ctrl-C came; the search ends and keeps what it has."""


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
        self._tuners: dict[tuple[str, str], Tuner] = {}
        self._told = 0
        running: dict[Ticket, tuple[int, Proposal]] = {}
        try:
            if self.budget.trials:
                self._by_generations(self.budget.trials, running)
            else:
                self._by_seconds(self.budget.seconds or 60.0, running)
        except KeyboardInterrupt:
            if not self._losses():
                raise
            self.watcher.interrupted()
        finally:
            for ticket in running:
                self.engine.cancel(ticket)
        if not self._losses():
            reasons = "; ".join(sorted({t.failure for t in self._done.values()})) or "the budget ended first"
            raise NothingLearnt(f"No trial finished with a loss, so there is no version: {reasons}.")
        return self.log.trials()

    def _by_seconds(self, seconds: float, running: dict[Ticket, tuple[int, Proposal]]) -> None:
        tried = {_key(trial.learner, trial.config) for trial in self._done.values()}
        queue = (p for p in self._endless() if p.key or _key(p.learner, p.config) not in tried)
        number = max(self._done, default=-1) + 1
        while True:
            left = seconds - self._elapsed()
            while len(running) < self.engine.slots and (left > 0 or not (running or self._done)):
                proposal = self._affordable(queue, left)
                if proposal is None:
                    break
                limit = max(min(left, LARGEST_SHARE * seconds), 0.2)
                running[self._submit(proposal, limit)] = (number, proposal)
                number += 1
            if not running:
                return
            if left <= 0 and self._losses():
                return
            if len(self._done) >= HOPELESS and not self._losses():
                return
            self._collect(running, max(left, 0.0) if self._losses() else None)

    def _affordable(self, queue: Iterator[Proposal], left: float) -> Proposal | None:
        """The next proposal whose learner, by its median so far, can finish in the time left, or nearly."""
        for _ in range(20):
            proposal = next(queue, None)
            if proposal is None:
                return None
            past = [t.seconds for t in self._done.values() if t.learner == proposal.learner and t.loss is not None]
            if not past or statistics.median(past) * WORTH_STARTING <= left:
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
                    running[self._submit(proposal, None)] = (number, proposal)
            while running:
                self._collect(running, None)
            for number, proposal in generation:
                self._tell(proposal, self._done[number].loss)

    def _known(self) -> list[Trial]:
        """The finished trials that a proposal may depend on, in order: with a budget in trials, those of the
        generations before, whatever else a resumed run holds."""
        known = sorted(self._done.values(), key=lambda trial: trial.number)
        return [trial for trial in known if trial.number < self._told] if self.budget.trials else known

    def _endless(self) -> Iterator[Proposal]:
        """The portfolio, then the arms' proposals: which arm is next is decided by estimated gain for its cost."""
        rows, columns = self.shared.arrays()["matrix"].shape
        for proposal in proposals.portfolio(self.learners, self._log_target(), wide=columns > rows):
            yield proposals.on_the_better_scale(proposal, self._known())
        arms = [arm for arm in ARMS if arm[0] in self.learners]
        asked = 0
        while arms:
            known = self._known()
            costs = [1.0 if self.budget.trials else trial.seconds for trial in known]
            draw = float(np.random.default_rng([self.seed, asked]).random())
            arm = arms[proposals.choose_arm(arms, known, costs, draw)]
            asked += 1
            asked_for = self._tuner(arm).ask()
            if asked_for is not None:
                yield asked_for
            elif asked > 1000 * (1 + len(known)):
                return

    def _log_target(self) -> bool:
        target = self.shared.arrays()["target"]
        if self.shared.kind != "regression" or not target.size or target.min() <= 0:
            return False
        spread = float(target.std())
        return spread > 0 and float(np.mean(((target - target.mean()) / spread) ** 3)) > SKEWED

    def _tuner(self, arm: tuple[str, str]) -> Tuner:
        if arm not in self._tuners:
            known = [trial for trial in self._known() if trial.learner == arm[0]]
            size = self.shared.arrays()["matrix"].shape
            self._tuners[arm] = Tuner(arm, (size[0], size[1]), self.shared.kind, known, self.seed)
        return self._tuners[arm]

    def _submit(self, proposal: Proposal, limit_s: float | None) -> Ticket:
        words = (self.shared, proposal.learner, proposal.config, limit_s)
        patience = 1.5 * limit_s + 5.0 if limit_s is not None and self._losses() else FIRST_LIMIT_S
        kill = TRIAL_LIMIT_S if limit_s is None else min(TRIAL_LIMIT_S, patience)
        return self.engine.submit(trials.run, *words, timeout_s=kill)

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
        bare = Trial(number, proposal.learner, proposal.config, proposal.origin, None, 0, 0.0, 0.0)
        try:
            result: TrialResult = self.engine.result(ticket)
        except Exception as error:  # whatever a learner does costs its own trial only
            first = str(error).strip().split("\n")[0][:200]
            failure = f"{proposal.learner} failed: {type(error).__name__}: {first}"
            return self.log.append(replace(bare, elapsed_s=self._elapsed(), failure=failure))
        if not math.isfinite(result.loss):
            failure = f"{proposal.learner} gave a loss that is not finite"
            return self.log.append(replace(bare, seconds=result.seconds, elapsed_s=self._elapsed(), failure=failure))
        trial = replace(
            bare,
            loss=result.loss,
            spread=result.spread,
            rounds=result.rounds,
            seconds=result.seconds,
            row_us=result.row_us,
            elapsed_s=self._elapsed(),
        )
        return self.log.append(trial, result.oof, result.models)

    def _tell(self, proposal: Proposal, loss: float | None) -> None:
        if proposal.key:
            self._tuners[(proposal.learner, proposal.origin)].tell(proposal, loss)

    def _elapsed(self) -> float:
        return time.monotonic() - self._start

    def _losses(self) -> list[float]:
        return [trial.loss for trial in self._done.values() if trial.loss is not None]


def _key(learner: str, config: dict[str, object]) -> str:
    return json.dumps([learner, config], sort_keys=True)
