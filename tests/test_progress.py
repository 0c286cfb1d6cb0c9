"""What one sees while training, on a terminal and in a log."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import pytest
from rich.console import Console

from feature_store.task import Budget
from tests.holdouts import trials
from training.progress import HINT, Progress
from training.scoreboard import span, sparkline


class Clock:
    """Time that passes when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Watched:
    """A Progress with what it prints."""

    progress: Progress
    console: Console
    clock: Clock

    def screen(self) -> str:
        """What a terminal shows now."""
        with self.console.capture() as caught:
            self.console.print(self.progress.render())
        return caught.get()


def watched(width: int, terminal: bool = True, budget: str = "90s") -> Watched:
    clock = Clock()
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    progress = Progress("births", Budget.model_validate(budget), "rmse", "g", console, clock)
    return Watched(progress, console, clock)


def search(seen: Watched) -> None:
    seen.progress.stage("table")
    seen.clock.now = 2.0
    seen.progress.stage("leakage")
    seen.clock.now = 3.0
    seen.progress.stage("search", "run births-20261126")
    for trial in trials("rmse", 409.0)[:20]:
        seen.progress.trial(replace(trial, spread=1.8))
    seen.progress.tick(45.0, ["xgboost", "catboost", "xgboost"])


@pytest.mark.parametrize("width", [60, 100])
def test_no_line_is_wider_than_the_terminal_or_broken(width):
    seen = watched(width)
    search(seen)
    lines = seen.screen().splitlines()
    assert max(map(len, lines)) <= width
    assert sum("Ctrl-C" in line for line in lines) == 1
    assert all(
        any(f"{sign} {name}" in line for line in lines for sign in "✓▶○") for name in ("table", "search", "record")
    )


def test_the_best_is_shown_with_its_confidence_the_time_left_the_pace_and_who_failed():
    seen = watched(100)
    search(seen)
    screen = seen.screen()
    best = min(t.loss for t in trials("rmse", 409.0)[:20] if t.loss is not None)
    assert f"RMSE {best:#.5g} ± 1.8 g" in screen
    assert "45 s left" in screen
    assert "20 trials, 27 a minute, 1 failed" in screen
    assert "catboost, 2 xgboost" in screen
    assert "#11 linear failed: ValueError: bad_alloc" in screen
    assert HINT in screen


def test_the_ensemble_is_compared_with_the_best_trial():
    seen = watched(100)
    search(seen)
    seen.progress.ensemble(400.0)
    assert "ensemble  RMSE 400.00  2." in seen.screen()


def test_stages_end_with_the_time_that_they_took():
    seen = watched(100)
    search(seen)
    seen.clock.now = 93.0
    seen.progress.stage("choose")
    screen = seen.screen()
    assert "✓ table 2 s" in screen
    assert "✓ search 1 min 30 s" in screen
    assert "▶ choose" in screen
    assert HINT not in screen


def test_ctrl_c_is_answered_at_once():
    seen = watched(100)
    search(seen)
    seen.progress.interrupted()
    assert "the best so far is kept" in seen.screen()


def test_elsewhere_than_on_a_terminal_there_are_plain_lines():
    seen = watched(80, terminal=False, budget="40trials")
    with seen.progress:
        search(seen)
        seen.clock.now = 60.0
        seen.progress.tick(57.0, ["xgboost"])
        seen.progress.interrupted()
    lines = seen.console.file.getvalue().splitlines()
    assert lines[0] == "[   0.0 s] births: table"
    assert any("trial 0 lightgbm (portfolio): " in line and "the best so far" in line for line in lines)
    assert any("linear failed: ValueError: bad_alloc" in line for line in lines)
    assert any("20 trials left, about 57 s" in line and HINT in line for line in lines)
    assert "keeps the best of 20 trials" in lines[-1]
    assert "\x1b" not in seen.console.file.getvalue()


def test_before_the_first_trial_there_is_a_screen_too():
    seen = watched(60)
    seen.progress.stage("table")
    assert "▶ table" in seen.screen()
    seen.progress.stage("search")
    assert "0 trials" in seen.screen()
    assert sparkline([], 3.0) == ""


def test_spans_of_time_read_as_people_say_them():
    assert [span(seconds) for seconds in (7.6, 125, 4800)] == ["8 s", "2 min 05 s", "1 h 20 min"]
