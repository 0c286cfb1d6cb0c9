"""The pace of a search in seconds: fewer folds and rows where all of them would leave time for nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training import pace
from training.job import Columns
from training.local_put import lay_out
from training.runlog import RunLog
from training.trial import Shared, run


def shared(folder: Path, n: int, folds: int, classes: int = 3) -> Shared:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(n, 4))
    target = np.floor((np.argsort(np.argsort(matrix[:, 0] + random.normal(size=n))) / n) * classes)
    arrays = {"matrix": matrix, "target": target}
    for fold in range(folds):
        arrays |= {f"fit_{fold}": np.flatnonzero(np.arange(n) % folds != fold),
                   f"valid_{fold}": np.flatnonzero(np.arange(n) % folds == fold)}  # fmt: skip
    return Shared(lay_out(arrays, folder), Columns((), (), (0,) * 4), "multiclass", classes, "log_loss", 0)


@pytest.mark.parametrize(
    ("of_fold", "seconds", "rows", "wanted"),
    [
        (0.1, 120, 16_000, {"last": 5, "most": None}),  # ten seconds a configuration: all folds
        (2.1, 120, 16_000, {"last": 4, "most": None}),
        (8.0, 120, 16_000, {"last": 1, "most": None}),
        (40.0, 120, 16_000, {"last": 1, "most": None}),  # few rows are left whole, however slow
        (40.0, 120, 200_000, {"last": 1, "most": 50_000}),
        (4000.0, 120, 200_000, {"last": 1, "most": 20_000}),
    ],
)
def test_folds_are_left_out_and_then_rows_until_the_budget_lasts(of_fold, seconds, rows, wanted):
    assert pace.choose(of_fold, seconds, 5, rows) == wanted


def test_many_classes_take_longer_than_few(tmp_path):
    few, many = (min(pace.probe(shared(tmp_path / str(k), 3000, 3, k)) for _ in range(3)) for k in (3, 60))
    assert many > 3 * few


def test_a_trial_at_a_slower_pace_validates_the_last_folds_and_fits_on_rows_from_all_over(tmp_path):
    slow = pace.at(shared(tmp_path, 900, 3), {"last": 2, "most": 100})
    (fit, valid), _ = folds = slow.folds()
    assert len(folds) == 2
    assert (len(fit), fit[0], fit[-1]) == (100, 0, 899)
    assert valid[0] == 1
    found = run(slow, "linear", {"numbers": "plain", "alpha": 1.0})
    seen = np.isfinite(found.oof[:, 0])
    assert seen.sum() == 600
    assert not seen[0]
    whole = slow.job(None, None)
    assert len(whole.target) == 900, "a refit takes all rows"
    assert len(replace(slow, last=None, most=None).folds()) == 3


def test_a_run_keeps_its_pace_when_it_is_resumed(tmp_path):
    first = RunLog(tmp_path / "run", {"task": "t"}).note("pace", lambda: {"last": 2, "most": None})
    again = RunLog(tmp_path / "run", {"task": "t"}).note("pace", lambda: {"last": 5, "most": None})
    assert first == again == {"last": 2, "most": None}


def test_the_fewer_folds_the_more_of_a_budget_is_kept_for_fitting_on_all_rows():
    shares = [pace.share(folds) for folds in (1, 2, 3, 5, 8)]
    assert shares == sorted(shares)
    for folds, searching in zip((1, 2, 3, 5, 8), shares, strict=True):
        refitting = pace.REFITTING * searching / folds
        assert searching + refitting + pace.CHOOSING == pytest.approx(1.0)
