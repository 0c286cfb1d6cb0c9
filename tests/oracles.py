"""Slow, obvious second versions of hard code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations
from math import comb, factorial
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression

from feature_store import event
from feature_store.errors import EventRefused
from feature_store.value import Value, as_float, ratio
from feature_store.view import Feature, View


def xgboost_by_hand(raw_json: bytes, row: np.ndarray) -> float:
    """Walk an XGBoost model node by node for one row, inputs rounded to float32, leaves summed in float64."""
    learner = json.loads(raw_json)["learner"]
    total = float(learner["learner_model_param"]["base_score"])
    for tree in learner["gradient_booster"]["model"]["trees"]:
        total += float(np.float32(tree["split_conditions"][_leaf(tree, row)]))
    return total


def _leaf(tree: dict[str, Any], row: np.ndarray) -> int:
    sets = {
        node: tree["categories"][start : start + size]
        for node, start, size in zip(
            tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
        )
    }
    node = 0
    while tree["left_children"][node] != -1:
        value = np.float32(row[tree["split_indices"][node]])
        if np.isnan(value):
            left = bool(tree["default_left"][node])
        elif node in sets:
            left = int(value) not in sets[node]
        else:
            left = bool(value < np.float32(tree["split_conditions"][node]))
        node = tree["left_children"][node] if left else tree["right_children"][node]
    return node


def below_by_counting(scores: list[float], score: float) -> float:
    """P(new score < score) of a conformal predictive system: how many lie below, plus a half, of n + 1 places."""
    return (sum(one < score for one in scores) + 0.5) / (len(scores) + 1)


def catboost_by_hand(model_json: bytes, row: np.ndarray) -> list[float]:
    """Walk a CatBoost model of number features tree by tree for one row, inputs rounded to float32."""
    model = json.loads(model_json)
    scale, biases = model["scale_and_bias"]
    features = model["features_info"]["float_features"]
    total = [float(bias) for bias in biases]
    for tree in model["oblivious_trees"]:
        leaf = 0
        for place, split in enumerate(tree["splits"]):
            feature = features[split["float_feature_index"]]
            value = np.float32(row[feature["flat_feature_index"]])
            if np.isnan(value):
                right = feature["nan_value_treatment"] == "AsTrue"
            else:
                right = bool(value > np.float32(split["border"]))
            leaf |= right << place
        for output in range(len(total)):
            total[output] += tree["leaf_values"][leaf * len(total) + output] * scale
    return total


def auc_error_by_pairs(target: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Standard error of the difference of two AUCs: every positive row beside every negative one, as DeLong 1988."""

    def above(first: float, second: float) -> float:
        return 1.0 if first > second else 0.5 if first == second else 0.0

    positive, negative = np.flatnonzero(target == 1), np.flatnonzero(target != 1)
    psi = np.array([[above(one[i], one[j]) - above(other[i], other[j]) for j in negative] for i in positive])
    by_positive, by_negative = psi.mean(axis=1), psi.mean(axis=0)
    return float(np.sqrt(by_positive.var(ddof=1) / len(positive) + by_negative.var(ddof=1) / len(negative)))


def erlang_c_by_factorials(people: int, load: Fraction) -> Fraction:
    """P(an arrival waits) as Erlang wrote it, in exact fractions. load: in erlangs, below `people`."""
    waits = load**people / factorial(people) * people / (people - load)
    return waits / (sum((load**k / factorial(k) for k in range(people)), Fraction(0)) + waits)


def cost_by_counting(cases: list[float], understock: float, overstock: float, stock: float) -> float:
    """What is lost on average with so much in stock, case by case."""
    lost = [understock * max(case - stock, 0.0) + overstock * max(stock - case, 0.0) for case in cases]
    return sum(lost) / len(cases)


def best_by_trying(expected: list[float], costs: list[float], budget: float) -> float:
    """The largest sum of what is expected of any rows that together cost no more than the budget."""
    places = range(len(expected))
    subsets = (part for size in range(len(expected) + 1) for part in combinations(places, size))
    return max(sum(expected[p] for p in part) for part in subsets if sum(costs[p] for p in part) <= budget)


def venn_abers_by_two_fits(
    chance: np.ndarray, positive: np.ndarray, counts: np.ndarray, score: float
) -> tuple[float, float]:
    """p0 and p1 by their definition: isotonic regression with the case added as a negative, then as a positive one."""
    fits = [
        IsotonicRegression().fit(np.append(chance, score), np.append(positive, label), np.append(counts, 1.0))
        for label in (0.0, 1.0)
    ]
    p0, p1 = (float(fit.predict([score])[0]) for fit in fits)
    return p0, p1


def shapley_by_subsets(function: Callable[[np.ndarray], np.ndarray], row: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(fields, outputs) Shapley values by their definition: what a field adds to each subset of the others."""

    def worth(known: tuple[int, ...]) -> np.ndarray:
        mixed = other.copy()
        mixed[list(known)] = row[list(known)]
        return np.asarray(function(mixed[None])[0])

    n = len(row)
    out = np.zeros((n, len(worth(()))))
    for field in range(n):
        rest = [one for one in range(n) if one != field]
        for size in range(n):
            for known in combinations(rest, size):
                out[field] += (worth((*known, field)) - worth(known)) / (n * comb(n - 1, size))
    return out


class NestedLoops:
    """The point-in-time join by its definition: for each question every event is looked at. rows: of the source."""

    def __init__(self, view: View, rows: Sequence[dict[str, Any]], now: int) -> None:
        self.view, self.refused = view, Counter[str]()
        self.events: dict[tuple[Any, ...], event.Event] = {}
        for row in rows:
            try:
                entity, found = event.read(view, row, now)
            except EventRefused as error:
                self.refused[error.reason] += 1
                continue
            other = self.events.get((entity, found.id))
            self.refused["duplicate"] += other is not None
            if other is None or found.precedence < other.precedence:
                self.events[entity, found.id] = found

    def features(self, entity: tuple[Value, ...], instant: int) -> dict[str, Value | None]:
        """Every feature of an entity as of an instant, as it is kept."""
        at, found = self.view.floor(instant), {}
        known = [one for (key, _), one in self.events.items() if key == entity and one.known <= at]
        for name, feature in self.view.features.items():
            if feature.pair is not None:
                found[name] = self._combined(feature, *((self.view.outputs[o], found[o]) for o in feature.pair))
            else:
                found[name] = self._aggregate(feature, [one for one in known if feature.reaches(at, one.event)])
        return found

    def _aggregate(self, feature: Feature, events: list[event.Event]) -> Value | None:
        if feature.column is None:
            return len(events)
        place = self.view.values.index(feature.column)
        events = sorted((one for one in events if one.values[place] is not None), key=lambda one: one[:3])
        values: list[Any] = [one.values[place] for one in events]
        if feature.aggregate in ("count", "distinct"):
            return len(values if feature.count else set(values))
        if not values:
            return None
        if feature.mean:
            return as_float(self.view.columns[feature.column], sum(values)) / float(len(values))
        return {"sum": sum, "min": min, "max": max, "last": lambda items: items[-1]}[feature.aggregate](values)

    def _combined(self, feature: Feature, first: tuple[str, Any], second: tuple[str, Any]) -> Value | None:
        if first[1] is None or second[1] is None:
            return None
        if feature.difference and first[0] == second[0] != "float64" and not first[0].startswith("float"):
            return first[1] - second[1]
        one, other = as_float(*first), as_float(*second)
        return ratio(one, other) if feature.ratio else one - other
