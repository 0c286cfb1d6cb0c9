"""What to try next: the portfolio, then FLAML's CFO and BlendSearch, asked and told. FLAML's only door.

`AutoML.fit` itself is not called: it keeps no out-of-fold predictions and can't resume.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna

from training.job import Config
from training.portfolio import PORTFOLIO
from training.runlog import Trial


@contextmanager
def _absent(package: str) -> Iterator[None]:
    """As if a package were not installed. FLAML would import all of Ray for one name and take Ray Tune's searchers
    where there are any: other proposals with the extra than without, and Ray's settings read before we make them."""
    hidden = {name: module for name, module in sys.modules.items() if name.split(".")[0] == package}
    sys.modules.update(dict.fromkeys([package, *hidden]))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in [package, *hidden]:
            del sys.modules[name]
        sys.modules.update(hidden)


with _absent("ray"):
    from flaml import CFO, BlendSearch
    from flaml.automl.model import CatBoostEstimator, LGBMEstimator, XGBoostSklearnEstimator
    from flaml.automl.task.factory import task_factory

logging.getLogger("flaml").setLevel(logging.WARNING)
optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Proposal:
    """A configuration to try. origin: `portfolio`, `cfo` or `blendsearch`; key: what FLAML's searcher calls it."""

    learner: str
    config: Config
    origin: str
    key: str = ""


def portfolio(learners: Sequence[str], log_target: bool, wide: bool = False) -> Iterator[Proposal]:
    """The portfolio of these learners. log_target: a positive, skewed target, of which the logarithm is tried too:
    the first configuration of every learner comes both ways. wide: more columns than rows; linear models, which cost
    a thousandth of the others there, come first."""
    seen = set[str]()
    for learner, config in sorted(PORTFOLIO, key=lambda pair: wide and pair[0] != "linear"):
        if learner not in learners:
            continue
        yield Proposal(learner, config, "portfolio")
        if log_target and learner not in seen:
            yield Proposal(learner, {**config, "target": "log"}, "portfolio")
        seen.add(learner)


def on_the_better_scale(proposal: Proposal, done: Sequence[Trial]) -> Proposal:
    """The proposal with the logarithm of the target, where its learner did better so with the same configuration."""
    if "target" in proposal.config:
        return proposal
    losses = {
        trial.config.get("target", "as_is"): trial.loss
        for trial in sorted(done, key=lambda trial: -trial.number)
        if trial.learner == proposal.learner and trial.loss is not None and _paired(trial, done)
    }
    if len(losses) == 2 and (losses["log"] or 0.0) < (losses["as_is"] or 0.0):
        return replace(proposal, config={**proposal.config, "target": "log"})
    return proposal


def _paired(trial: Trial, done: Sequence[Trial]) -> bool:
    """Whether the same configuration was tried with the target's other scale."""
    bare = {key: value for key, value in trial.config.items() if key != "target"}
    scales = [
        other.config.get("target", "as_is")
        for other in done
        if other.learner == trial.learner and {k: v for k, v in other.config.items() if k != "target"} == bare
    ]
    return len(set(scales)) == 2


_ESTIMATORS: dict[str, Any] = {
    "lightgbm": LGBMEstimator,
    "xgboost": XGBoostSklearnEstimator,
    "catboost": CatBoostEstimator,
}
_SEARCHERS: dict[str, Any] = {"cfo": CFO, "blendsearch": BlendSearch}
ARMS = tuple((learner, searcher) for learner in _ESTIMATORS for searcher in _SEARCHERS)
"""A learner with one of FLAML's searchers over FLAML's own space of it."""

MOST_ROUNDS = 2000
"""Boosting rounds at most: FLAML's spaces go far beyond what early stopping leaves."""


class Tuner:
    """One of FLAML's searchers over FLAML's own space of one learner, started from the best known configuration."""

    def __init__(self, arm: tuple[str, str], size: tuple[int, int], kind: str, known: Sequence[Trial], seed: int):
        """size: rows and columns; known: finished trials of this learner; may be empty."""
        self.learner, self.searcher = arm
        task = task_factory("regression" if kind == "regression" else "classification")
        space = _ESTIMATORS[self.learner].search_space(data_size=size, task=task)
        entries = {name: entry for name, entry in space.items() if hasattr(entry["domain"], "upper")}
        best = min((t for t in known if t.loss is not None), key=lambda trial: trial.loss or 0.0, default=None)
        start = [_inside(best.config, entries)] if best else None
        self._fixed = {k: v for k, v in best.config.items() if k not in entries} if best else {}
        cheap = {name: e["low_cost_init_value"] for name, e in entries.items() if "low_cost_init_value" in e}
        self._search = _SEARCHERS[self.searcher](
            metric="loss",
            mode="min",
            space={name: entry["domain"] for name, entry in entries.items()},
            low_cost_partial_config=cheap,
            points_to_evaluate=start,
            evaluated_rewards=[best.loss] if best else None,
            cost_attr=None,  # by clock it would not be reproducible; the search itself shares out the time
            seed=seed + 20,
        )
        self._asked = 0
        self._points: dict[str, Config] = {}

    def ask(self) -> Proposal | None:
        """The next configuration, or None when the searcher has none until it is told more."""
        self._asked += 1
        key = f"{self.learner}-{self.searcher}-{self._asked}"
        point = self._search.suggest(key)
        if point is None:
            return None
        self._points[key] = {name: _plain(value) for name, value in point.items()}
        config = {**self._fixed, **self._points[key]}
        config["n_estimators"] = min(int(config.get("n_estimators", MOST_ROUNDS)), MOST_ROUNDS)
        return Proposal(self.learner, config, self.searcher, key)

    def tell(self, proposal: Proposal, loss: float | None) -> None:
        """The loss of an asked configuration; None when it failed."""
        point = {f"config/{name}": value for name, value in self._points.pop(proposal.key).items()}
        if loss is None:
            self._search.on_trial_complete(proposal.key, None, error=True)
        else:
            self._search.on_trial_complete(proposal.key, {"loss": loss, "time_total_s": 1.0, **point})


def choose_arm(arms: Sequence[tuple[str, str]], trials: Sequence[Trial], costs: Sequence[float], draw: float) -> int:
    """Which arm gets the next trial: by chance, in proportion to the inverse of its estimated cost of improvement.

    trials: finished ones in order, costs: what each took; draw: in [0, 1). The estimate is FLAML's (Wang et al. 2021,
    MLSys 3, section 4.2): what the last improvements took, and for a learner that is behind what catching up would.
    """
    best = min((t.loss for t in trials if t.loss is not None), default=0.0)
    shares = np.array([1.0 / _cost_of_improvement(arm, trials, costs, best) for arm in arms])
    return int(np.searchsorted(np.cumsum(shares / shares.sum()), draw, side="right").clip(0, len(arms) - 1))


def _cost_of_improvement(
    arm: tuple[str, str], trials: Sequence[Trial], costs: Sequence[float], overall: float
) -> float:
    own = [
        (trial.loss, cost)
        for trial, cost in zip(trials, costs, strict=True)
        if trial.learner == arm[0] and trial.origin in ("portfolio", arm[1]) and trial.loss is not None
    ]
    if not own:
        return max(float(np.median(costs)) if costs else 1.0, 1e-9)
    spent, bests, at = 0.0, list[float](), list[float]()
    for loss, cost in own:
        spent += cost
        if not bests or loss < bests[-1]:
            bests.append(loss)
            at.append(spent)
    first, second = at[-1], at[-2] if len(at) > 1 else 0.0
    improving = max(spent - first, first - second)
    if bests[-1] > overall and len(bests) > 1:
        pace = (bests[-2] - bests[-1]) / max(spent - second, 1e-9)
        improving = max(improving, 2.0 * (bests[-1] - overall) / max(pace, 1e-12))
    elif bests[-1] > overall:
        improving = max(improving, spent)
    return max(improving, 1e-9)


def _inside(config: Config, entries: dict[str, Any]) -> Config:
    """A configuration of ours as a point of FLAML's space: its keys, within its bounds."""
    out = {}
    for name, entry in entries.items():
        domain = entry["domain"]
        value = config.get(name, entry["init_value"])
        top = domain.upper - 1 if isinstance(entry["init_value"], int) else domain.upper
        out[name] = min(max(value, domain.lower), top)
    return out


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
