"""The plot of a comparison: for all rows and each group, by how much one version's loss exceeds the other's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

COLOURS = {"better than": "#1f6f8b", "worse than": "#c44536", "not told apart from": "#8a9199"}


def forest(document: Mapping[str, Any]) -> Figure:
    """A forest plot of `rivals.compare`'s document: a point and its interval a line, zero and the margin drawn.

    Left of zero the first version is better. The shaded band is the gate's margin around zero, for all rows.
    """
    one, other = document["versions"]
    found = document["differences"]
    figure = Figure(figsize=(7.2, 1.6 + 0.36 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    reach = document["margin"] * found["all"]["other"]
    axes.axvspan(-reach, reach, color="#e8ecef", zorder=0)
    axes.axvline(0, color="#333333", linewidth=0.8)
    for place, row in enumerate(found.values()):
        colour = COLOURS[row["word"]]
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(row["mean"], place, "o", color=colour, markersize=6)
    axes.set_yticks(range(len(found)), [f"{name} ({row['n']:,})" for name, row in found.items()])
    axes.invert_yaxis()
    axes.margins(y=0.12)
    name, unit = loss_name(document["metric"]), f" ({document['unit']})" if document["unit"] else ""
    axes.set_xlabel(f"difference in {name}{unit}\n\u2190 version {one} is better    version {other} is better \u2192")
    axes.set_title(
        f"{document['task']}: version {one} beside {other} on {found['all']['n']:,} rows held out", loc="left"
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def loss_name(metric: str) -> str:
    """What people call the loss of a metric."""
    return {"rmse": "RMSE", "mae": "MAE", "auc": "1 - AUC"}.get(metric, metric.replace("_", " "))
