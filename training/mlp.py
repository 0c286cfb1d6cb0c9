"""The perceptron learner: Adam by hand in numpy, judged at each epoch by the very fixed-point model that is served."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from feature_store.errors import NothingLearnt
from serving.ensemble import LINKS, Link
from serving.mlp import ACTIVATION, Inputs, Mlp, layer
from training.inputs import learn_inputs
from training.job import Config, Fit, Fitted
from training.losses import loss
from training.network import Network, Schedule, Slope, epochs

SNAPSHOT_BYTES = 64 * 1024 * 1024
"""Weights of so many epochs are kept as fit in it; else of every second, third, ... epoch."""

STEPS = 100
"""An epoch of many rows has about so many steps: the decay of weights, which is by step, stays alike."""

MOST_ROWS = 512
"""... but no step takes more rows than this."""

DEFAULTS: dict[str, Any] = {
    "width": 128,
    "layers": 2,
    "bins": 0,
    "epochs": 60,
    "patience": 15,
    "batch": 32,
    "learning_rate": 4e-3,
    "weight_decay": 1.0,
    "dropout": 0.1,
    "average": 0.98,
}
"""width: units of a hidden layer, of which there are `layers`; bins: pieces of each number's piecewise linear encoding
(0: none); patience: epochs without a better validation loss before it stops; batch: least rows of a step;
learning_rate: Adam's largest step; weight_decay: of weights a step, times the step; dropout: share of hidden units left
out at a step; average: how slowly the averaged weights, which are served, follow. The portfolio states its own."""


def fit(config: Config, job: Fit) -> Fitted:
    """Fit `config` (over DEFAULTS) on one thread; the same seed gives the same weights on the same machine.

    Raises NothingLearnt where the inputs are more than a layer takes or the weights went beyond all bounds.
    """
    unknown = set(config) - set(DEFAULTS)
    if unknown:
        raise KeyError(f"mlp has no setting {sorted(unknown)}; it has {sorted(DEFAULTS)}.")
    config = {**DEFAULTS, **config}
    with threadpool_limits(1, user_api="blas"):
        return _fit(config, job)


def _fit(config: Config, job: Fit) -> Fitted:
    random = np.random.default_rng(job.seed)
    inputs = learn_inputs(job.matrix, job.columns.categories, int(config["bins"]))
    data = (inputs.apply(job.matrix) / ACTIVATION).astype(np.float32)
    weight = np.ones(len(data)) if job.weight is None else job.weight / np.mean(job.weight)
    wanted, start, (factor, offset) = _wanted(job, weight)
    shares = np.average(data, axis=0, weights=weight)
    hidden = [int(config["width"])] * int(config["layers"])
    net = Network([data.shape[1], *hidden, job.outputs], random)
    net.parts[-1][1][:] = start
    net.parts[0][0][~data.any(axis=0)] = 0.0  # an input that is 0 throughout is never learnt: let it say nothing

    def served(flat: np.ndarray) -> Mlp:
        parts = [(weight.copy(), bias) for weight, bias in net.views(flat)]
        _fill_unseen(parts[0][0], inputs, shares)
        return Mlp(
            inputs,
            tuple(layer(weight, bias) for weight, bias in parts),
            (factor,) * job.outputs,
            (offset,) * job.outputs,
        )

    rows = (data, wanted, weight.astype(np.float32))
    plan = _schedule(config, job)
    return _judged(
        epochs(net, plan, rows, _slope(job), random), served, _watcher(job, inputs, served), config, job.link
    )


def _judged(
    averages: Iterator[np.ndarray],
    served: Callable[[np.ndarray], Mlp],
    watch: Callable[[np.ndarray], float] | None,
    config: Config,
    link: Link,
) -> Fitted:
    """Judge each epoch's weights and keep them; between two that are kept the earlier one counts."""
    curve: list[float] = []
    snapshots: list[np.ndarray] = []
    every = 1
    for epoch, average in enumerate(averages):
        if not np.all(np.isfinite(average)):
            break
        if epoch == 0:
            every = max(1, math.ceil(int(config["epochs"]) * average.nbytes / SNAPSHOT_BYTES))
        if epoch % every == 0:
            snapshots.append(average)
            level = watch(average) if watch else 0.0
        curve.append(level)
        if watch and epoch - int(np.argmin(curve)) >= int(config["patience"]):
            break
    if not snapshots:
        raise NothingLearnt("A perceptron's weights went beyond all bounds in its first epoch. Lower learning_rate.")
    return Fitted(
        curve if watch else [],
        lambda rounds: served(snapshots[min(max(rounds - 1, 0) // every, len(snapshots) - 1)]),
        link,
    )


def _fill_unseen(weight: np.ndarray, inputs: Inputs, shares: np.ndarray) -> None:
    """An indicator that no training row has acts as the column's mean word."""
    for category in inputs.categories:
        first, last = (inputs.indicators + place for place in (min(category.places), max(category.places) + 1))
        if shares[first] == 0:
            weight[first] = shares[first:last] @ weight[first:last]


def _wanted(job: Fit, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """(n, outputs) float32 wanted of the network, its first answer, and the factor and offset to the target's scale."""
    if job.kind == "regression":
        centre = float(np.average(job.target, weights=weight))
        spread = float(np.sqrt(np.average((job.target - centre) ** 2, weights=weight))) or 1.0
        return ((job.target - centre) / spread).astype(np.float32)[:, None], np.zeros(1), (spread, centre)
    hot = np.eye(max(2, job.outputs), dtype=np.float32)[job.target.astype(np.int64)]
    chance = (weight @ hot + 1.0) / (len(hot) + hot.shape[1])
    if job.kind == "binary":
        return hot[:, 1:], np.log(chance[1:] / chance[:1]), (1.0, 0.0)
    return hot, np.log(chance), (1.0, 0.0)


def _watcher(job: Fit, inputs: Inputs, served: Callable[[np.ndarray], Mlp]) -> Callable[[np.ndarray], float] | None:
    if job.valid is None:
        return None
    rows, target = inputs.apply(job.valid[0]), job.valid[1]
    links: dict[str, Link] = {"regression": "identity", "binary": "sigmoid", "multiclass": "softmax"}
    link = LINKS[links[job.kind]]
    return lambda flat: loss(job.metric, target, link(served(flat).scores(rows)))


def _schedule(config: Config, job: Fit) -> Schedule:
    return Schedule(
        int(config["epochs"]),
        max(int(config["batch"]), min(len(job.matrix) // STEPS, MOST_ROWS)),
        float(config["learning_rate"]),
        float(config["weight_decay"]),
        float(config["dropout"]),
        float(config["average"]),
        job.deadline,
    )


def _slope(job: Fit) -> Slope:
    """Of the squared error, of nearly the absolute one where that is judged, else of the log loss."""
    if job.metric == "mae":
        return _of_absolute_error
    return {"regression": _of_squared_error, "binary": _of_one_chance, "multiclass": _of_chances}[job.kind]


def _of_squared_error(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.asarray(scores - wanted)


def _of_absolute_error(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Smooth within a tenth of the target's spread."""
    off = scores - wanted
    return np.asarray(off / np.sqrt(off * off + np.float32(0.01)))


def _of_one_chance(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(scores, -60.0, 60.0))) - wanted)


def _of_chances(scores: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    parts = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(parts / parts.sum(axis=1, keepdims=True) - wanted)
