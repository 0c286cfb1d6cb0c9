"""The leaderboard of a search on a terminal: the best trials, and the way of the best loss over time."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from training.runlog import Trial

SHOWN = 8
NARROW = 72
"""Columns of a terminal below which the leaderboard leaves out where a trial came from."""

_BLOCKS = "▁▂▃▄▅▆▇█"
_COLOURS = {"lightgbm": "blue", "xgboost": "yellow", "catboost": "green", "mlp": "magenta", "linear": "cyan"}


def finished(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that have a loss, best first."""
    return sorted((t for t in trials if t.loss is not None), key=lambda trial: trial.loss or 0.0)


def leaderboard(trials: Sequence[Trial], measure: str, unit: str, width: int) -> Table:
    """The SHOWN best trials. unit: of the measure, or empty; width: the terminal's columns."""
    best, wide = finished(trials), width >= NARROW
    spreads = any(spread(trial) for trial in best)
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    heads = ["#", "learner", f"{measure} ({unit})" if unit else measure]
    heads += [*(["±"] if spreads else []), "behind", "s", *(["from"] if wide else [])]
    for name in heads:
        table.add_column(name, justify="left" if name in ("learner", "from") else "right", no_wrap=True)
    for place, trial in enumerate(best[:SHOWN]):
        first = best[0].loss
        behind = f"{trial.loss / first - 1:.2%}" if trial.loss is not None and first and place else ""
        cells: list[str | Text] = [str(trial.number), Text(trial.learner, _COLOURS.get(trial.learner, ""))]
        cells += [figure(trial.loss or 0.0), *([spread(trial).removeprefix(" ± ")] if spreads else [])]
        cells += [behind, f"{trial.seconds:.1f}", *([trial.origin] if wide else [])]
        table.add_row(*cells, style="bold" if place == 0 else None)
    return table


def sparkline(trials: Sequence[Trial], elapsed_s: float, width: int = 36) -> str:
    """The best loss so far over the time of the search, from left to right; empty without a loss."""
    done = sorted(finished(trials), key=lambda trial: trial.elapsed_s)
    if not done:
        return ""
    end = max(elapsed_s, done[-1].elapsed_s, 1e-9)
    bests, best = list[float](), done[0].loss or 0.0
    for place in range(width):
        until = end * (place + 1) / width
        best = min([best, *((t.loss or 0.0) for t in done if t.elapsed_s <= until)])
        bests.append(best)
    low, whole = min(bests), (max(bests) - min(bests)) or 1.0
    heights = [((value - low) / whole) ** 0.5 for value in bests]  # the first fall would flatten all later ones
    return "".join(_BLOCKS[round(height * (len(_BLOCKS) - 1))] for height in heights)


def figure(loss: float) -> str:
    """A loss with five digits that matter, their zeros kept so that a column lines up."""
    return f"{loss:.0f}" if abs(loss) >= 1e5 else f"{loss:#.5g}".removesuffix(".")


def spread(trial: Trial) -> str:
    """The standard error of a trial's loss as ` ± 1.8`, or nothing."""
    return f" ± {trial.spread:.2g}" if trial.spread else ""


def span(seconds: float) -> str:
    """`8 s`, `2 min 05 s`, `1 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
