"""Why an answer is what it is: what each field adds to the mean answer, in the target's unit.

Of regression the value is the ensemble's centre plus the scale times the middle of the row's cell, within the target's
limits. Trees give exact SHAP values of the centre and the scale, additive models their columns' functions, all other
members sampled Shapley values; contributions of sums are sums. Chances are no sum of the members' scores, so that
Shapley values of the answered chance itself are sampled. What limits cut off is an item of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from feature_store.errors import NotExplained
from serving import exact
from serving.classes import Classes
from serving.distribution import Distribution
from serving.ensemble import Member, combine, ensembles
from serving.predictor import Predictor
from serving.shapley import orders, shapley

LIMITS = "limits"
"""The code of the item that no field has: what the target's limits cut off or add."""

PROBABILITY = "probability"
"""The unit of a chance, from 0 to 1."""


class Explainer:
    """Explains answers of one version; to be used by one thread at a time, the predictor's included."""

    def __init__(self, predictor: Predictor) -> None:
        """Raises NotExplained where the version has no background rows."""
        bundle = predictor.bundle
        background = bundle.reference.background
        if background is None:
            raise NotExplained(
                f"Version {predictor.version or '?'} of {predictor.task.task} holds no rows to explain its answers "
                "beside. Train it again: gancao train TASK --promote."
            )
        self.predictor, self._names = predictor, [field.name for field in predictor.task.fields]
        distribution = bundle.distribution
        self._one: Callable[[np.ndarray, dict[str, Any]], dict[str, Any]]
        if isinstance(distribution, Classes):
            self._one = _Chances(bundle.members, distribution, background).explain
        else:
            self._one = _Value(predictor, distribution, background).explain

    def explain(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """One of the answers of /explain; row: validated against the Task.

        The contributions, in the Task's order, sum to value - base to float rounding.
        """
        found = self._one(self.predictor.bundle.encoder.rows([row])[0], self.predictor.answer([row])[0])
        added = found.pop("added")
        items: list[dict[str, Any]] = [
            {"field": name, "contribution": amount} for name, amount in zip(self._names, added, strict=True)
        ]
        if cut := found.pop(LIMITS, 0.0):
            items.append({"field": None, "code": LIMITS, "contribution": cut})
        return {**found, "contributions": items}


class _Value:
    """Of regression: centre + scale * middle of the row's cell."""

    def __init__(self, predictor: Predictor, distribution: Distribution, background: np.ndarray) -> None:
        bundle, task = predictor.bundle, predictor.task
        self._predictor, self._distribution, self._background = predictor, distribution, background
        self._orders = orders(*background.shape)
        self._centre = _Sum(bundle.members, background)
        own = [] if bundle.scale is None else [Member("scale", 1.0, (bundle.scale,), "identity")]
        self._scale, self._floor = _Sum(own, background), bundle.scale_floor
        self._grouping = np.isin([f.name for f in task.fields], [group.field for group in task.groups])
        self._base_scale = max(float(self._scale.base[0]), self._floor)
        self._base_middle = float(self._middles(background).mean())
        self._base = float(self._centre.base[0]) + self._base_scale * self._base_middle

    def explain(self, row: np.ndarray, answer: dict[str, Any]) -> dict[str, Any]:
        centres, scales = self._predictor.centre_and_scale(row[None])
        middle, scale = float(self._middles(row[None])[0, 0]), float(scales[0])
        added = self._centre.of(row)[:, 0] + middle * self._scale_of(row, scale)
        if self._grouping.any():
            others = np.where(self._grouping, self._background, row)
            added += self._base_scale * shapley(self._middles, row, others, self._orders)[:, 0]
        found = {
            "value": answer["value"],
            "unit": self._predictor.task.target.unit,
            "base": self._base,
            "added": added.tolist(),
            "method": self._centre.method,
        }
        return found | {LIMITS: answer["value"] - (float(centres[0]) + scale * middle)}

    def _scale_of(self, row: np.ndarray, scale: float) -> np.ndarray:
        """(fields,) what each adds to the scale; where the floor cuts the row's or the base, all in one proportion."""
        parts, least = self._scale.of(row)[:, 0], self._floor
        if scale > least and self._base_scale > least:
            return parts
        whole = float(parts.sum())
        return parts * min(max((scale - self._base_scale) / whole, 0.0), 1.0) if whole else 0.0 * parts

    def _middles(self, matrix: np.ndarray) -> np.ndarray:
        """(n, 1) the middle of each row's cell, in scales."""
        known, cells = self._distribution, self._distribution.cells
        return np.array([[known.middle(cells[known.chooser.cell(row, cells)])] for row in matrix]).reshape(-1, 1)


class _Chances:
    """Of classes: the corrected chance of the positive class, or of the label's."""

    def __init__(self, members: Sequence[Member], classes: Classes, background: np.ndarray) -> None:
        self._members, self._classes, self._background = list(members), classes, background
        self._orders = orders(*background.shape)
        self._base = self._chances(background).mean(axis=0)

    def explain(self, row: np.ndarray, answer: dict[str, Any]) -> dict[str, Any]:
        words = self._classes.words
        place = len(words) - 1 if "value" in answer else words.index(answer["label"])
        return {
            "value": answer["value"] if "value" in answer else answer["probabilities"][words[place]],
            "unit": PROBABILITY,
            "class": words[place],
            "base": float(self._base[place]),
            "added": shapley(self._chances, row, self._background, self._orders)[:, place].tolist(),
            "method": {"treeshap": 0.0, "additive": 0.0, "sampled": 1.0},
        }

    def _chances(self, matrix: np.ndarray) -> np.ndarray:
        predicted = ensembles(self._members, matrix).tolist()
        return np.array([self._classes.chances(one) for one in predicted]).reshape(-1, len(self._classes.words))


class _Sum:
    """The weighted sum of members on the answer's own scale. base: (outputs,) what contributions are added to.

    method: the share of the weight that is explained in each way.
    """

    def __init__(self, members: Sequence[Member], background: np.ndarray) -> None:
        ways: list[exact.Method] = [
            exact.method(member, background[:1]) if member.link == "identity" else "sampled" for member in members
        ]
        self._exact = [member for member, way in zip(members, ways, strict=True) if way != "sampled"]
        self._sampled = [member for member, way in zip(members, ways, strict=True) if way == "sampled"]
        self._means, self._background = exact.means(self._exact, background), background
        self._orders = orders(*background.shape)
        self.method = {
            name: sum((member.weight for member, way in zip(members, ways, strict=True) if way == name), 0.0)
            for name in ("treeshap", "additive", "sampled")
        }
        self.base = self._taken_apart(background[:1])[1]
        if self._sampled:
            self.base = self.base + combine(self._sampled, background).mean(axis=0)

    def of(self, row: np.ndarray) -> np.ndarray:
        """(fields, outputs) of an encoded row (fields,)."""
        added = self._taken_apart(row[None])[0]
        if self._sampled:
            added = added + shapley(partial(combine, self._sampled), row, self._background, self._orders)
        return added

    def _taken_apart(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the exact members: (fields, outputs) of one row (1, fields), and (outputs,) their base."""
        added, base = np.zeros((matrix.shape[1], 1)), np.zeros(1)
        for member in self._exact:
            parts, start = exact.contributions(member, matrix, self._means)
            added, base = added + member.weight * parts[0], base + member.weight * start
        return added, base
