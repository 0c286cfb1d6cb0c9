"""What one sees while training: time left and a live leaderboard on a terminal, plain lines elsewhere.

Everything goes to standard error; standard output belongs to the result.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from feature_store.task import Budget
from training.runlog import Trial

SHOWN = 8
PLAIN_EVERY_S = 10.0


class Progress:
    """A `Watcher` of the search that also shows the other stages. Use it as a context manager."""

    def __init__(self, title: str, budget: Budget, metric: str, unit: str, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        self._title, self._budget, self._measure = title, budget, f"{metric} ({unit})"
        self._trials: list[Trial] = []
        self._stage, self._elapsed, self._running = "starting", 0.0, list[str]()
        self._started = self._last_line = time.monotonic()
        self._live = Live(console=self._console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
            if self._trials:
                self._console.print(self._leaderboard())

    def stage(self, words: str) -> None:
        """A new part of the work begins."""
        self._stage = words
        if not self._console.is_terminal:
            self._line(words)

    def trial(self, trial: Trial) -> None:
        """A trial finished or failed."""
        self._trials.append(trial)
        if self._console.is_terminal:
            return
        outcome = f"{trial.loss:.4f}" if trial.loss is not None else trial.failure
        self._line(
            f"trial {trial.number} {trial.learner} ({trial.origin}): {outcome}, {trial.seconds:.1f} s; {self._left()}"
        )

    def tick(self, elapsed_s: float, running: list[str]) -> None:
        """Time passed; `running` names the learners at work."""
        self._elapsed, self._running = elapsed_s, running
        if not self._console.is_terminal and time.monotonic() - self._last_line > PLAIN_EVERY_S:
            self._line(f"{len(self._trials)} trials, {len(running)} running; {self._left()}")

    def _line(self, words: str) -> None:
        self._last_line = time.monotonic()
        seconds = self._last_line - self._started
        self._console.print(f"[{seconds:6.1f} s] {self._title}: {words}", highlight=False, markup=False, soft_wrap=True)

    def _left(self) -> str:
        if self._budget.trials:
            left = max(self._budget.trials - len(self._trials), 0)
            pace = self._elapsed / len(self._trials) if self._trials else 0.0
            return f"{left} trials left, about {left * pace:.0f} s"
        return f"{max((self._budget.seconds or 0) - self._elapsed, 0):.0f} s left"

    def _render(self) -> Group:
        done = (
            len(self._trials) / self._budget.trials
            if self._budget.trials
            else self._elapsed / (self._budget.seconds or 1)
        )
        minutes = max(self._elapsed, 1.0) / 60
        head = Text.assemble(
            (self._title, "bold"), "  ", self._stage, "  ", (self._left(), "cyan"),
            f"  {len(self._trials)} trials, {len(self._trials) / minutes:.0f} a minute  running: "
            f"{', '.join(self._running) or '-'}",
        )  # fmt: skip
        return Group(head, ProgressBar(total=1.0, completed=min(done, 1.0)), self._leaderboard())

    def _leaderboard(self) -> Table:
        table = Table(title=None, header_style="bold")
        for name, side in (
            ("#", "right"),
            ("learner", "left"),
            (self._measure, "right"),
            ("s", "right"),
            ("from", "left"),
        ):
            table.add_column(name, justify="right" if side == "right" else "left")
        finished = sorted((t for t in self._trials if t.loss is not None), key=lambda trial: trial.loss or 0.0)
        for trial in finished[:SHOWN]:
            table.add_row(str(trial.number), trial.learner, f"{trial.loss:.3f}", f"{trial.seconds:.1f}", trial.origin)
        for trial in [t for t in self._trials if t.loss is None][-2:]:
            table.add_row(str(trial.number), trial.learner, "failed", "", trial.failure[:60])
        return table
