"""What one sees while training: stages, time left, the best so far and a live leaderboard.

On a terminal it is one picture that changes, elsewhere plain lines. Everything goes to standard error; standard
output belongs to the result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from feature_store.task import Budget
from training.runlog import Trial
from training.scoreboard import figure, finished, leaderboard, span, sparkline, spread

STAGES = ("table", "leakage", "search", "choose", "calibrate", "holdout", "record")
"""The parts of a training in their order; others are shown when they begin."""

HINT = "Ctrl-C keeps the best so far and finishes properly."
PLAIN_EVERY_S = 10.0


@dataclass
class _Stage:
    name: str
    detail: str
    began_s: float
    ended_s: float | None = None


class Progress:
    """A `Watcher` of the search that also shows the other stages. Use it as a context manager."""

    def __init__(
        self,
        title: str,
        budget: Budget,
        metric: str,
        unit: str,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """unit: the target's, or empty. clock: seconds."""
        self._console = console or Console(file=sys.stderr)
        self._title, self._budget, self._clock = title, budget, clock
        self._measure = {"auc": "1 - AUC", "log_loss": "log loss"}.get(metric, metric.upper())
        self._unit = unit if metric in ("rmse", "mae") else ""
        self._trials: list[Trial] = []
        self._stages: list[_Stage] = []
        self._elapsed, self._running = 0.0, list[str]()
        self._ensemble: float | None = None
        self._stopping = False
        self._started = self._last_line = clock()
        self._live = Live(console=self._console, refresh_per_second=4, transient=True, get_renderable=self.render)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_stage()
        if self._console.is_terminal:
            self._live.stop()
            self._console.print(self._stage_list())
            if self._trials:
                self._console.print(leaderboard(self._trials, self._measure, self._unit, self._console.width))

    def stage(self, name: str, detail: str = "") -> None:
        """A part of the work begins: one of STAGES, or another in a word or two. detail: shown while it lasts."""
        self._end_stage()
        self._stages.append(_Stage(name, detail, self._spent()))
        if not self._console.is_terminal:
            self._line(f"{name}: {detail}" if detail else name)

    def trial(self, trial: Trial) -> None:
        """A trial finished or failed."""
        best = self._best()
        self._trials.append(trial)
        self._elapsed = max(self._elapsed, trial.elapsed_s)
        if self._console.is_terminal:
            return
        outcome = self._number(trial) if trial.loss is not None else trial.failure
        if trial.loss is not None and (best is None or trial.loss < (best.loss or 0.0)):
            outcome += ", the best so far"
        self._line(
            f"trial {trial.number} {trial.learner} ({trial.origin}): {outcome}, {trial.seconds:.1f} s; {self._left()}"
        )

    def tick(self, elapsed_s: float, running: list[str]) -> None:
        """Time passed; `running` names the learners at work."""
        self._elapsed, self._running = elapsed_s, running
        if not self._console.is_terminal and self._clock() - self._last_line > PLAIN_EVERY_S:
            self._line(f"{self._counts()}, {len(running)} running; {self._left()}; {HINT}")

    def ensemble(self, loss: float) -> None:
        """What the best ensemble of the trials so far reaches, out of fold."""
        self._ensemble = loss
        if not self._console.is_terminal:
            self._line(f"ensemble so far: {self._measure} {figure(loss)}")

    def interrupted(self) -> None:
        """Ctrl-C came: the search ends, and the rest goes on with what was learnt."""
        self._stopping, self._running = True, []
        if not self._console.is_terminal:
            self._line(f"Ctrl-C: the search ends here and keeps the best of {len(self._trials)} trials")

    def _end_stage(self) -> None:
        if self._stages and self._stages[-1].ended_s is None:
            self._stages[-1].ended_s = self._spent()

    def _spent(self) -> float:
        return self._clock() - self._started

    def _line(self, words: str) -> None:
        self._last_line = self._clock()
        self._console.print(
            f"[{self._spent():6.1f} s] {self._title}: {words}", highlight=False, markup=False, soft_wrap=True
        )

    def _left(self) -> str:
        if self._budget.trials:
            left = max(self._budget.trials - len(self._trials), 0)
            pace = self._elapsed / len(self._trials) if self._trials else None
            return f"{left} trials left" + (f", about {span(left * pace)}" if pace else "")
        return f"{span(max((self._budget.seconds or 0) - self._elapsed, 0))} left"

    def _counts(self) -> str:
        failed = sum(trial.loss is None for trial in self._trials)
        pace = len(self._trials) / max(self._elapsed, 1.0) * 60
        return f"{len(self._trials)} trials, {pace:.0f} a minute" + (f", {failed} failed" if failed else "")

    def _best(self) -> Trial | None:
        return next(iter(finished(self._trials)), None)

    def _number(self, trial: Trial) -> str:
        """`412.31 ± 1.8 g`: the loss with its standard error, where the trial has one."""
        unit = f" {self._unit}" if self._unit else ""
        return f"{figure(trial.loss or 0.0)}{spread(trial)}{unit}"

    def render(self) -> Group:
        """Everything, as it stands now."""
        current = self._stages[-1] if self._stages else None
        head = Text.assemble((self._title, "bold"), ("   ", ""), (f"{span(self._spent())} spent", "dim"))
        lines: list[Text | ProgressBar | Table] = [head, self._stage_list()]
        if current and current.detail:
            lines.append(Text(f"  {current.detail}", style="dim", overflow="ellipsis", no_wrap=True))
        searching = current is not None and current.name == "search"
        if searching:
            lines += self._search_lines()
        if self._trials:
            lines += [Text(""), leaderboard(self._trials, self._measure, self._unit, self._console.width)]
        for trial in [t for t in self._trials if t.loss is None][-2:]:
            words = f"#{trial.number} {trial.failure or trial.learner + ' failed'}"
            lines.append(Text(words, style="yellow", overflow="ellipsis", no_wrap=True))
        if searching:
            words = "Stopping: the best so far is kept." if self._stopping else HINT
            lines.append(Text(words, style="bold yellow" if self._stopping else "dim"))
        return Group(*lines)

    def _stage_list(self) -> Text:
        """Every stage: done with its seconds, running, or to come; a stage is never broken over two lines."""
        last = max((STAGES.index(stage.name) for stage in self._stages if stage.name in STAGES), default=-1)
        ended = bool(self._stages) and self._stages[-1].ended_s is not None
        chips = [_chip(stage) for stage in self._stages]
        chips += [Text(f"○ {name}", "dim") for name in (() if ended else STAGES[last + 1 :])]
        out, used = Text(), 0
        for chip in chips:
            if used and used + 3 + chip.cell_len > self._console.width:
                out, used = out.append("\n"), 0
            out.append("   " if used else "").append_text(chip)
            used += chip.cell_len + (3 if used else 0)
        return out

    def _search_lines(self) -> list[Text | ProgressBar | Table]:
        share = (
            len(self._trials) / self._budget.trials
            if self._budget.trials
            else self._elapsed / (self._budget.seconds or 1)
        )
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        row.add_row(
            ProgressBar(total=1.0, completed=min(share, 1.0), complete_style="cyan", finished_style="green"),
            Text(self._left(), "cyan"),
        )
        lines: list[Text | ProgressBar | Table] = [Text(""), row]
        if (best := self._best()) is not None:
            since = span(max(self._elapsed - best.elapsed_s, 0.0))
            lines.append(
                Text.assemble(
                    "best      ",
                    (f"{self._measure} {self._number(best)}", "bold green"),
                    (f"  {best.learner} #{best.number}, {since} ago", ""),
                )
            )
            if self._ensemble is not None:
                gain = 1 - self._ensemble / best.loss if best.loss else 0.0
                lines.append(
                    Text.assemble(
                        "ensemble  ",
                        (f"{self._measure} {figure(self._ensemble)}", "bold green"),
                        f"  {abs(gain):.1%} {'lower' if gain >= 0 else 'higher'}",
                    )
                )
        lines.append(Text(f"tried     {self._counts()}"))
        if self._running:
            lines.append(Text(f"at work   {_tally(self._running)}", overflow="ellipsis", no_wrap=True))
        if len(finished(self._trials)) > 2:
            lines.append(
                Text.assemble(
                    "so far    ", (sparkline(self._trials, self._elapsed), "green"), (f"  {self._measure}", "dim")
                )
            )
        return lines


def _chip(stage: _Stage) -> Text:
    if stage.ended_s is None:
        return Text.assemble(("▶ ", "bold cyan"), (stage.name, "bold"))
    return Text.assemble(("✓ ", "green"), stage.name, (f" {span(stage.ended_s - stage.began_s)}", "dim"))


def _tally(names: list[str]) -> str:
    """`lightgbm, 2 xgboost`."""
    return ", ".join(f"{names.count(n)} {n}" if names.count(n) > 1 else n for n in sorted(set(names)))
