"""One quiet style for all figures: few lines, colours that the colour-blind tell apart, and fonts that have the signs.

Chinese needs a font that holds it: of CJK_FONTS the first that matplotlib finds is used (Debian and Ubuntu:
`apt-get install fonts-noto-cjk`). Without one the figures stay English, also in the Chinese report.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from training.honesty import Bin

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#1f6f8b", "#e69f00", "#009e73", "#d55e00", "#aa4499", "#56b4e9"
GREY, PALE, INK = "#8a9199", "#d9e8ee", "#26323a"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
"""After Okabe and Ito 2008, "Color Universal Design"; every series also has its own mark."""
MARKS = ("o", "s", "^", "D", "v", "P")

CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Microsoft YaHei", "SimHei", "PingFang SC", "PingFang HK", "Heiti SC", "Noto Sans CJK JP",
)  # fmt: skip


@cache
def cjk_font() -> str | None:
    """The installed font that Chinese is drawn with, or None."""
    there = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in CJK_FONTS if name in there), None)


def drawn_in(lang: str) -> str:
    """The language that figures of this language are really drawn in."""
    return lang if lang != "zh" or cjk_font() else "en"


@contextmanager
def quiet() -> Iterator[None]:
    """Within it figures are made, and saved, in the common style."""
    fonts = ["DejaVu Sans", *([name] if (name := cjk_font()) else [])]
    style: dict[str, Any] = {
        "font.family": fonts,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.titlesize": 11.5,
        "axes.titleweight": "normal",
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "axes.unicode_minus": True,
    }
    with mpl.rc_context(style):
        yield


def figure(title: str, x: str, y: str, height: float = 4.2, width: float = 6.4) -> tuple[Figure, Axes]:
    """An empty figure with one set of axes; to be called within `quiet`."""
    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return made, axes


def stacked(title: str, x: str, tops: tuple[str, str], ratio: tuple[int, int]) -> tuple[Figure, Axes, Axes]:
    """A figure of two sets of axes above each other that share x; tops: the label of each y axis."""
    made = Figure(figsize=(6.4, 4.8), layout="constrained")
    upper, lower = made.subplots(2, 1, sharex=True, height_ratios=ratio)
    upper.set(title=title, ylabel=tops[0])
    lower.set(xlabel=x, ylabel=tops[1])
    return made, upper, lower


def rows(title: str, x: str, names: list[str], width: float = 6.4) -> tuple[Figure, Axes]:
    """A figure of one line of text a row, the first on top; its height follows their number."""
    labels = [wrapped(name) for name in names]
    lines = sum(label.count("\n") + 1 for label in labels)
    made, axes = figure(title, x, "", height=max(1.35 + 0.27 * lines, 2.4), width=width)
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return made, axes


def wrapped(words: str, width: int = 30) -> str:
    """Long words on up to two lines; Chinese, whose signs are twice as wide, sooner."""
    wide = sum(ord(sign) > 0x2E80 for sign in words) > len(words) / 3
    lines = textwrap.wrap(words, width // 2 if wide else width, max_lines=2, placeholder="…")
    return "\n".join(lines) or words


def band(axes: Axes, at: np.ndarray, centre: np.ndarray, low: np.ndarray, high: np.ndarray, across: bool) -> None:
    """Points with their bands; across: along x at heights `at`, else along y."""
    error = np.abs(np.array([centre - low, high - centre]))
    place = {"x": centre, "y": at, "xerr": error} if across else {"x": at, "y": centre, "yerr": error}
    axes.errorbar(**place, fmt="o", color=BLUE, ecolor=BLUE, elinewidth=1.4, capsize=3, markersize=5)


def panels(title: str, x: str, y: str, count: int) -> tuple[Figure, list[Axes]]:
    """`count` sets of axes of one scale, three a row; their labels stand once, for all."""
    across = min(count, 3)
    down = -(-count // across)
    made = Figure(figsize=(6.4, 1.1 + 2.1 * down), layout="constrained")
    grid = made.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[max(count - across, 0) : count]:
        axes.tick_params(labelbottom=True)
    made.suptitle(title, x=0.01, ha="left", fontsize=11.5)
    made.supxlabel(x, fontsize=10)
    made.supylabel(y, fontsize=10)
    return made, list(grid[:count])


def reliability(axes: Axes, bins: Sequence[Bin], **series: Any) -> tuple[np.ndarray, ...]:
    """A reliability plot with its bands and the diagonal; gives (bins,) given, came, low, high.

    series: colour, mark and label of one line among several.
    """
    given, came, low, high = (np.array([getattr(one, key) for one in bins]) for key in ("given", "came", "low", "high"))
    look: dict[str, Any] = {
        "color": BLUE,
        "fmt": "o-",
        "markersize": 5,
        "linewidth": 1,
        "elinewidth": 1.4,
        "capsize": 3,
    } | series
    axes.axline((0, 0), slope=1, color=GREY, linewidth=1, zorder=0)
    axes.errorbar(given, came, yerr=[came - low, high - came], **look)
    return given, came, low, high


def per_cent(axis: Axis) -> None:
    """Ticks of a share as per cent, with no more digits than they need."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%"))


def png(made: Figure) -> bytes:
    """The figure as a PNG, sharp enough for a good screen and for print."""
    buffer = io.BytesIO()
    with quiet():
        made.savefig(buffer, format="png", dpi=144)
    return buffer.getvalue()
