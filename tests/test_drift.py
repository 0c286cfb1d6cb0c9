"""Drift of fields against the rows that were learnt from."""

from __future__ import annotations

import numpy as np

from serving import drift
from serving.familiar import Bins

EDGES = Bins(edges=(-1.0, 0.0, 1.0))


def counted(values: np.ndarray) -> dict[str, list[int]]:
    return {"x": drift.counts(EDGES, values)}


def test_rows_are_counted_by_bin_and_the_unknown_ones_last():
    assert drift.counts(EDGES, np.array([-2.0, -1.0, 0.5, 9.0, np.nan])) == [2, 0, 1, 1, 1]
    assert drift.counts(Bins(words=(-1, 0, 1, 1)), np.array([0.0, 1.0, 2.0, 3.0])) == [1, 2, 1]


def test_the_same_population_is_called_drift_no_more_often_than_is_said():
    random = np.random.default_rng(0)
    before = counted(random.normal(size=20_000))
    p = [drift.judge(before, counted(random.normal(size=300)))[0].p for _ in range(2000)]
    # of 2,000 looks, as many below 5 % as chance allows: 4 standard errors
    assert abs(np.mean(np.array(p) < 0.05) - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 2000) + 0.01
    assert not any(drift.judge(before, counted(random.normal(size=300)))[0].drifted for _ in range(200))


def test_a_shift_that_matters_is_found_and_a_trifle_is_not_however_many_rows_show_it():
    random = np.random.default_rng(1)
    before = counted(random.normal(size=50_000))
    (moved,) = drift.judge(before, counted(random.normal(0.6, 1, 500)))
    assert moved.drifted
    (trifle,) = drift.judge(before, counted(random.normal(0.05, 1, 200_000)))
    assert trifle.p < 1e-6
    assert not trifle.drifted


def test_a_field_that_stops_coming_has_drifted():
    random = np.random.default_rng(2)
    values = random.normal(size=1000)
    values[:400] = np.nan
    (found,) = drift.judge(counted(random.normal(size=10_000)), counted(values))
    assert found.drifted
    assert (found.unknown_before, found.unknown) == (0.0, 0.4)


def test_no_recent_rows_are_no_drift():
    (found,) = drift.judge(counted(np.zeros(100)), counted(np.array([])))
    assert (found.psi, found.p, found.drifted) == (0.0, 1.0, False)


def test_a_field_that_no_training_row_knew_is_not_judged():
    unknown = counted(np.full(5000, np.nan))
    assert drift.judge(unknown, counted(np.random.default_rng(2).normal(size=500))) == []
