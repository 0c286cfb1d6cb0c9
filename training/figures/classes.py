"""Figures of class targets: how well they are told apart, and whether the chances are honest."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from training import honesty, measures
from training.figures import style
from training.figures.seen import Scene
from training.losses import auc

MOST_CLASSES = 12
"""Rows and columns of a confusion matrix; the rarest classes beyond are drawn as one."""

MOST_GROUPS = 9
LEAST_ROWS, ROWS_A_BIN = 60, 50
"""Groups of fewer rows are not drawn: two bins of 30 have bands of 35 points, which show nothing."""


def roc(scene: Scene) -> Figure:
    """The ROC curve of a binary target, or of each of the commonest classes against the rest."""
    figure, axes = style.figure(scene.title("roc"), scene.word("false_alarms"), scene.word("found"))
    for place, (name, true, chance) in enumerate(_sides(scene)):
        false, found, _ = roc_curve(true, chance, sample_weight=scene.seen.holdout.weight)
        area = auc(true.astype(float), chance, scene.seen.holdout.weight)
        axes.plot(false, found, color=style.SERIES[place], linewidth=1.8, label=f"{name}AUC {area:.3f}",
                  linestyle=("-", "--", "-.", ":", "-", "--")[place])  # fmt: skip
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=1, linestyle=":", label=scene.word("guessing"))
    return _square(figure, "lower right")


def precision_recall(scene: Scene) -> Figure:
    """Precision at each recall, of a binary target."""
    holdout = scene.seen.holdout
    true, chance, weight = holdout.target == 1, holdout.value, holdout.weight
    figure, axes = style.figure(scene.title("precision_recall"), scene.word("found"), scene.word("precision"))
    precision, recall, _ = precision_recall_curve(true, chance, sample_weight=weight)
    area = average_precision_score(true, chance, sample_weight=weight)
    kept = recall >= min(0.01, float(recall[recall > 0].min()))  # the first few cases jump between 0 and 1
    axes.plot(recall[kept], precision[kept], color=style.BLUE, linewidth=1.8, label=f"AP {area:.3f}")
    share = measures.mean(true, weight)
    guessing = f"{scene.word('guessing')} {share:.3f}"
    axes.axhline(share, color=style.GREY, linewidth=1, linestyle="--", label=guessing)
    return _square(figure, "upper right" if share < 0.5 else "lower right")


def _square(figure: Figure, legend: str) -> Figure:
    axes = figure.axes[0]
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
    for axis in (axes.xaxis, axes.yaxis):
        style.per_cent(axis)
    many = len(axes.get_lines()) > 3
    axes.legend(**({"loc": "center left", "bbox_to_anchor": (1, 0.5)} if many else {"loc": legend}))
    return figure


def _sides(scene: Scene) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """For each curve the class's words, which rows are of it, and their chances."""
    holdout = scene.seen.holdout
    if scene.task.kind == "binary":
        return [("", holdout.target == 1, holdout.value)]
    names, counts = scene.classes(), np.bincount(holdout.target.astype(np.int64), minlength=len(holdout.classes))
    common = [place for place in np.argsort(-counts, kind="stable")[:6] if 0 < counts[place] < len(holdout.target)]
    return [(f"{style.wrapped(names[k], 18)}: ", holdout.target == k, holdout.predicted[:, k]) for k in sorted(common)]


def calibration(scene: Scene) -> Figure:
    """What came true by the chance given, with bands; below, how many cases had which chance."""
    holdout, binary = scene.seen.holdout, scene.task.kind == "binary"
    chance = holdout.sure
    x, y = ("chance", "came_true") if binary else ("confidence", "right")
    labels = (scene.word(y), scene.word("cases"))
    figure, upper, lower = style.stacked(scene.title("calibration"), scene.word(x), labels, ratio=(3, 1))
    given, came, _, high = style.reliability(upper, honesty.reliability(holdout.right, chance, holdout.weight))
    top = min(1.0, max(float(chance.max()), float(high.max())) * 1.05)
    least = 0.0 if binary else max(0.0, float(min(given.min(), came.min())) - 0.1)
    upper.set(xlim=(least, top), ylim=(least, top))
    lower.hist(chance, bins=40, range=(least, top), color=style.BLUE, alpha=0.85)
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    style.per_cent(lower.xaxis)
    style.per_cent(upper.yaxis)
    figure.align_ylabels()
    return figure


def calibration_by_group(scene: Scene) -> Figure:
    """The same for each of the largest groups, in panels of one scale."""
    holdout, shown = scene.seen.holdout, _largest(scene)
    x, y = ("chance", "came_true") if scene.task.kind == "binary" else ("confidence", "right")
    figure, panels = style.panels(scene.title("calibration_by_group"), scene.word(x), scene.word(y), len(shown))
    ends = []
    for axes, name in zip(panels, shown, strict=True):
        part = holdout.take(np.array([name in names for names in holdout.groups]))
        count = int(np.clip(len(part.target) // ROWS_A_BIN, 2, honesty.BINS))
        given, _, low, high = style.reliability(axes, honesty.reliability(part.right, part.sure, part.weight, count))
        ends.append((min(given.min(), low.min()), max(given.max(), high.max())))
        title = style.wrapped(f"{scene.group(name)} (n\u00a0=\u00a0{len(part.target)})", 28)
        axes.set_title(title, fontsize=9, pad=4)
    least, top = min(low for low, _ in ends), max(high for _, high in ends)
    margin = 0.03 * (top - least)
    panels[0].set(xlim=(least - margin, top + margin), ylim=(least - margin, top + margin))
    for axes in panels:
        style.per_cent(axes.xaxis)
        style.per_cent(axes.yaxis)
    return figure


def _largest(scene: Scene) -> list[str]:
    """Names of the groups to be drawn, in the card's order."""
    groups = scene.seen.card["groups"]
    enough = [name for name, row in groups.items() if row["n"] >= LEAST_ROWS]
    kept = sorted(enough, key=lambda name: -groups[name]["n"])[:MOST_GROUPS]
    return [name for name in enough if name in kept]


def confusion(scene: Scene) -> Figure:
    """True classes (rows) by predicted ones (columns): shares of each row, written into the cells."""
    table, names = _counts(scene)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1e-12)
    names = [style.wrapped(name, 20) for name in names]
    size = len(names)
    width, height = max(6.4, 2.6 + 0.62 * size), max(4.2, 1.9 + 0.42 * size)
    figure, axes = style.figure(
        scene.title("confusion"), scene.word("predicted_class"), scene.word("true_class"), height, width
    )
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(size), names)
    if size > 4:
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row in range(size):
        for column in range(size):
            if share[row, column] >= 0.005:
                colour = "white" if share[row, column] > 0.55 else style.INK
                axes.text(column, row, f"{share[row, column]:.0%}", ha="center", va="center", color=colour, fontsize=9)
    return figure


def _counts(scene: Scene) -> tuple[np.ndarray, list[str]]:
    """Weights of cases by true and predicted class, and the classes' words; the rarest beyond MOST_CLASSES as one."""
    holdout, names = scene.seen.holdout, scene.classes()
    true, called = holdout.target.astype(np.int64), holdout.predicted.argmax(axis=1)
    table = np.zeros((len(names), len(names)))
    np.add.at(table, (true, called), 1.0 if holdout.weight is None else holdout.weight)
    if len(names) <= MOST_CLASSES:
        return table, names
    order = np.argsort(-table.sum(axis=1), kind="stable")
    kept, rest = np.sort(order[: MOST_CLASSES - 1]), order[MOST_CLASSES - 1 :]
    for axis in (0, 1):
        parts = (np.take(table, kept, axis), np.take(table, rest, axis).sum(axis=axis, keepdims=True))
        table = np.concatenate(parts, axis=axis)
    return table, [*(names[place] for place in kept), scene.word("other")]
