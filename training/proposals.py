"""What to try next: a short portfolio, then FLAML's CFO, asked and told. FLAML's only door.

`AutoML.fit` itself is not called: it keeps no out-of-fold predictions and can't resume.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from flaml import CFO
from flaml.automl.model import LGBMEstimator, XGBoostSklearnEstimator
from flaml.automl.task.factory import task_factory

from training.learners import Config

logging.getLogger("flaml").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Proposal:
    """A configuration to try. origin: `portfolio` or `cfo`; key: what CFO calls it."""

    learner: str
    config: Config
    origin: str
    key: str = ""


PORTFOLIO: tuple[Proposal, ...] = tuple(
    Proposal(learner, config, "portfolio")
    for learner, config in (
        ("linear", {"knots": 6, "alpha": 0.1}),
        ("lightgbm", {"n_estimators": 1000, "num_leaves": 31, "learning_rate": 0.1, "min_child_samples": 20}),
        ("xgboost", {"n_estimators": 1000, "max_leaves": 24, "learning_rate": 0.1, "min_child_weight": 20.0,
                     "subsample": 0.8, "colsample_bytree": 0.7}),
        ("lightgbm", {"n_estimators": 1500, "num_leaves": 15, "learning_rate": 0.06, "min_child_samples": 40,
                      "colsample_bytree": 0.5, "reg_lambda": 5.0}),
        ("linear", {"knots": 0, "alpha": 1.0}),
        ("lightgbm", {"n_estimators": 1500, "num_leaves": 48, "learning_rate": 0.1, "min_child_samples": 10,
                      "colsample_bytree": 0.7, "extra_trees": True}),
        ("xgboost", {"n_estimators": 2000, "max_leaves": 8, "learning_rate": 0.06, "min_child_weight": 5.0,
                     "subsample": 0.7, "colsample_bytree": 0.5}),
        ("linear", {"knots": 3, "alpha": 30.0}),
        ("lightgbm", {"n_estimators": 1500, "num_leaves": 8, "learning_rate": 0.05, "min_child_samples": 30,
                      "colsample_bytree": 0.4, "reg_lambda": 20.0, "extra_trees": True}),
        ("linear", {"knots": 0, "alpha": 100.0}),
        ("lightgbm", {"n_estimators": 2000, "num_leaves": 63, "learning_rate": 0.03, "min_child_samples": 60,
                      "colsample_bytree": 0.4, "reg_lambda": 10.0}),
    )
)  # fmt: skip
"""Diverse and cheap first; on small tables the linear ones often win. Boosting rounds stop early."""

_ESTIMATORS: dict[str, Any] = {"lightgbm": LGBMEstimator, "xgboost": XGBoostSklearnEstimator}


class Tuner:
    """FLAML's CFO over FLAML's own space of one learner, started from the best known configuration."""

    def __init__(self, learner: str, rows: int, columns: int, known: list[tuple[Config, float]], seed: int) -> None:
        """known: finished configurations of this learner with their losses; may be empty."""
        self.learner = learner
        space = _ESTIMATORS[learner].search_space(data_size=(rows, columns), task=task_factory("regression"))
        domains = {name: entry["domain"] for name, entry in space.items()}
        starts = [(_inside(config, space), loss) for config, loss in known]
        best = min(starts, key=lambda pair: pair[1], default=None)
        cheap = {name: entry["low_cost_init_value"] for name, entry in space.items() if "low_cost_init_value" in entry}
        self._cfo = CFO(
            metric="loss",
            mode="min",
            space=domains,
            low_cost_partial_config=cheap,
            points_to_evaluate=[best[0]] if best else None,
            evaluated_rewards=[best[1]] if best else None,
            cost_attr=None,  # by clock it would not be reproducible; the search itself shares out the time
            seed=seed,
        )
        self._asked = 0

    def ask(self) -> Proposal | None:
        """The next configuration, or None when CFO has none until it is told more."""
        self._asked += 1
        key = f"{self.learner}-{self._asked}"
        config = self._cfo.suggest(key)
        if config is None:
            return None
        return Proposal(self.learner, {name: _plain(value) for name, value in config.items()}, "cfo", key)

    def tell(self, proposal: Proposal, loss: float | None) -> None:
        """The loss of an asked configuration; None when it failed."""
        config = {f"config/{name}": value for name, value in proposal.config.items()}
        if loss is None:
            self._cfo.on_trial_complete(proposal.key, None, error=True)
        else:
            self._cfo.on_trial_complete(proposal.key, {"loss": loss, "time_total_s": 1.0, **config})


def _inside(config: Config, space: dict[str, Any]) -> Config:
    """A configuration of ours as a point of FLAML's space: its keys, within its bounds."""
    out = {}
    for name, entry in space.items():
        domain = entry["domain"]
        value = config.get(name, entry["init_value"])
        top = domain.upper - 1 if isinstance(entry["init_value"], int) else domain.upper
        out[name] = min(max(value, domain.lower), top)
    return out


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
