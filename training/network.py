"""A network of rectified units and its training: back-propagation and AdamW in numpy, all weights in one flat array.

By hand since scikit-learn's has neither row weights with mini-batches of its own, nor dropout, nor decay apart from the
gradient, nor weight averaging; it costs a matrix product's time all the same. Sources: Kingma and Ba 2015 (Adam),
Loshchilov and Hutter 2019 (decay apart from the gradient), Srivastava et al. 2014 (dropout).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Slope = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""The loss's derivative by the scores, of (n, outputs) scores and wanted values."""

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises from 0."""


@dataclass(frozen=True)
class Schedule:
    """How to train. batch: rows of a step; learning_rate: Adam's largest step; weight_decay: times the step, a step.

    dropout: share of hidden units left out; average: how slowly the averaged weights follow, 0 for at once;
    deadline: a `time.monotonic()`; the epoch in which it passes is cut short and is the last.
    """

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    dropout: float
    average: float
    deadline: float | None


class Network:
    """Layers of the given widths, from inputs to outputs, at random; float32, from one flat array."""

    def __init__(self, widths: list[int], random: np.random.Generator) -> None:
        self.widths = widths
        self.flat = np.zeros(sum((a + 1) * b for a, b in pairwise(widths)), dtype=np.float32)
        self.parts = self.views(self.flat)
        for position, (weight, bias) in enumerate(self.parts):
            last = position == len(self.parts) - 1
            spread = math.sqrt((1.0 if last else 2.0) / len(weight)) * (0.1 if last else 1.0)
            weight[:] = random.normal(0.0, spread, weight.shape)
            if not last:
                bias[:] = random.uniform(-0.5, 0.5, bias.shape)

    def views(self, flat: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights (inputs, units) and biases (units,) of each layer, as views of such a flat array."""
        out, start = [], 0
        for inputs, units in pairwise(self.widths):
            middle, end = start + inputs * units, start + (inputs + 1) * units
            out.append((flat[start:middle].reshape(inputs, units), flat[middle:end]))
            start = end
        return out


def epochs(
    network: Network,
    plan: Schedule,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    slope: Slope,
    random: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Train the network; after each epoch its averaged weights, flat.

    rows: float32 inputs (n, width), wanted (n, outputs) and weights (n,) of mean 1.
    """
    step = _Adam(network, plan)
    steps_an_epoch = max(1, round(len(rows[0]) / plan.batch))
    total = plan.epochs * steps_an_epoch
    for epoch in range(plan.epochs):
        order = random.permutation(len(rows[0]))
        for number, chosen in enumerate(np.array_split(order, steps_an_epoch)):
            done = (epoch * steps_an_epoch + number + 1) / total
            batch = tuple(part[chosen] for part in rows)
            _gradient(network, step.parts, (batch[0], batch[1], batch[2]), slope, plan.dropout, random)
            step.take(plan.learning_rate * min(1.0, done / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * done)))
            if plan.deadline is not None and time.monotonic() > plan.deadline:
                yield step.averaged()
                return
        yield step.averaged()


def _gradient(
    network: Network,
    into: list[tuple[np.ndarray, np.ndarray]],
    batch: tuple[np.ndarray, np.ndarray, np.ndarray],
    slope: Slope,
    dropout: float,
    random: np.random.Generator,
) -> None:
    """Forwards and back again: the gradient of the batch's weighted mean loss, written into its views."""
    inputs, wanted, weight = batch
    activations, gates = [inputs], []
    for matrix, bias in network.parts[:-1]:
        total = activations[-1] @ matrix
        total += bias
        gate = (total > 0).astype(np.float32)
        if dropout:
            gate *= (random.random(gate.shape, dtype=np.float32) >= dropout) * np.float32(1.0 / (1.0 - dropout))
        total *= gate
        activations.append(total)
        gates.append(gate)
    matrix, bias = network.parts[-1]
    back = slope(activations[-1] @ matrix + bias, wanted) * (weight / np.float32(len(weight)))[:, None]
    for position in range(len(network.parts) - 1, -1, -1):
        np.matmul(activations[position].T, back, out=into[position][0])
        np.sum(back, axis=0, out=into[position][1])
        if position:
            back = back @ network.parts[position][0].T
            back *= gates[position - 1]


class _Adam:
    """AdamW over the network's flat weights, and their running average."""

    def __init__(self, network: Network, plan: Schedule) -> None:
        self.flat, self.plan = network.flat, plan
        self.gradient = np.zeros_like(network.flat)
        self.parts = network.views(self.gradient)
        self.mean, self.square, self.average = (np.zeros_like(network.flat) for _ in range(3))
        decayed = np.zeros_like(network.flat)
        for weight, _ in network.views(decayed):
            weight[:] = plan.weight_decay
        self.decay, self.steps = decayed, 0

    def take(self, rate: float) -> None:
        """One step along the gradient."""
        first, second = np.float32(0.9), np.float32(0.99)
        self.steps += 1
        self.mean += (1 - first) * (self.gradient - self.mean)
        np.square(self.gradient, out=self.gradient)
        self.gradient -= self.square
        self.gradient *= 1 - second
        self.square += self.gradient
        size = np.sqrt(self.square)
        size *= np.float32(1.0 / math.sqrt(1.0 - 0.99**self.steps))
        size += np.float32(1e-8)
        np.divide(self.mean, size, out=size)
        size *= np.float32(1.0 / (1.0 - 0.9**self.steps))
        if self.plan.weight_decay:
            size += self.decay * self.flat
        size *= np.float32(rate)
        self.flat -= size
        size[:] = self.flat
        size -= self.average
        size *= np.float32(1.0 - self.plan.average)
        self.average += size

    def averaged(self) -> np.ndarray:
        """The average so far, freed of the zeros that it began with."""
        return np.asarray(self.average / np.float32(1.0 - self.plan.average**self.steps))
