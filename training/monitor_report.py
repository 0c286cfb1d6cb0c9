"""The report of `gancao monitor`: one self-contained HTML page, in English and in Chinese; and its sentences."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from serving.monitor import Monitored, Reason
from serving.recall import EVER, Level
from serving.tally import Estimate
from training.figures import style, watching
from training.figures.watching import View
from training.figures.words import METRICS
from training.measures import IN_UNIT
from training.monitor_words import FIGURES, WORDS

_PAGES = Environment(loader=PackageLoader("training"), autoescape=True, undefined=StrictUndefined)

SECTIONS = {
    "realised": ("coverage", "error", "groups", "events"),
    "fields": ("drift", "missing"),
    "levels": ("level",),
}
"""The figures of each section."""

MEASURES = {
    "regression": ("bias", "mae", "rmse"),
    "binary": ("accuracy", "log_loss", "brier"),
    "multiclass": ("accuracy", "log_loss", "brier"),
}
"""What is told of each part besides its coverage."""


def pages(found: Monitored, levels: Sequence[Level]) -> dict[str, str]:
    """The report by language. levels: the history of working levels of the version that answers."""
    return {lang: _page(View(found, levels, lang)) for lang in ("en", "zh")}


def _page(view: View) -> str:
    found, pictures = view.found, watching.pictures(view.found, view.levels, view.lang)
    return _PAGES.get_template("monitor.html").render(
        lang=view.lang,
        task=found.task,
        words=WORDS[view.lang],
        alarm=bool(found.reasons),
        sentences=sentences(view),
        since=since(view),
        tiles=_tiles(view),
        heads=[_head(view, name) for name in MEASURES[found.task.kind]],
        parts=parts(view),
        events=_events(view),
        fields=_fields(view),
        unknown=[view.word("no_reference", version) for version in found.unknown],
        warnings=warnings(view),
        levels=[
            WORDS[view.lang]["level_told"].format(
                version=version, promised=per_cent(one.promised), working=per_cent(one.working), moves=one.moves
            )
            for version, one in found.levels.items()
        ],
        plots=_plots(view, pictures),
        english_figures=style.drawn_in(view.lang) != view.lang,
    )


def sentences(view: View) -> list[str]:
    """Why there is an alarm, or that there is none and on what that rests."""
    found = view.found
    lost = [reason for reason in found.reasons if reason.kind == "coverage"]
    told = [_reason(view, reason) for reason in lost[:1]]
    told += [view.word("earlier", len(lost) - 1)] if len(lost) > 1 else []
    told += [_reason(view, reason) for reason in found.reasons if reason.kind == "drift"]
    if not found.answers and found.realised.overall is None:
        return [*told, view.word("no_answers")]
    if found.realised.overall is None:
        told.append(view.word("no_outcomes"))
    return told or [view.word("nothing_lost")]


def _reason(view: View, reason: Reason) -> str:
    words = WORDS[view.lang]
    if reason.kind == "drift":
        assert reason.field is not None
        return words["drifted"].format(
            field=view.field(reason.field), version=reason.version, psi=f"{reason.psi or 0.0:.2f}"
        )
    assert reason.at_us is not None
    return words["lost"].format(
        of=reason.of,
        missed=reason.missed,
        share=per_cent((reason.missed or 0) / max(reason.of or 1, 1)),
        side=words[reason.side or "outside"],
        allowed=per_cent(reason.allowed or 0.0),
        version=reason.version,
        cell=view.group(reason.cell or "all"),
        day=f"{datetime.fromtimestamp(reason.at_us / 1e6, UTC):%Y-%m-%d}",
    )


def since(view: View) -> str:
    """From when on it is measured, and which version answers."""
    found = view.found
    if found.since_us == EVER:
        begun = view.word("ever")
    else:
        begun = view.word("since", f"{datetime.fromtimestamp(found.since_us / 1e6, UTC):%Y-%m-%d}")
    return f"{begun} · {view.word('until', found.now)}" if found.now else begun


def parts(view: View) -> list[list[str]]:
    """Rows of the table: all, each version, each group; n, coverage with its band, and the measures with theirs."""
    realised = view.found.realised
    named = [(view.word("all"), realised.overall)] if realised.overall is not None else []
    named += [(view.word("version", version), row) for version, row in realised.versions.items()]
    named += [(view.group(name), row) for name, row in realised.groups.items()]
    return [
        [name, f"{row['n']}", *_share(row["coverage"]), *(_measure(view, m, row[m]) for m in MEASURES[view.task.kind])]
        for name, row in named
    ]


def warnings(view: View) -> list[list[str]]:
    """Rows of the table: warning, field, answers, share, share in training."""
    words = WORDS[view.lang]
    return [
        [
            words.get(one.code, one.code),
            view.field(one.field) if one.field else words["whole_row"],
            f"{one.n}",
            per_cent(one.share),
            "–" if one.before is None else per_cent(one.before),
        ]
        for one in view.found.warnings
    ]


def per_cent(share: float) -> str:
    """`91.3 %`; of what is rarer than a thousandth two digits."""
    return f"{100 * share:.2g} %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def _share(one: Estimate) -> list[str]:
    value, low, high = (one[end] for end in ("value", "low", "high"))
    assert value is not None
    return [per_cent(value), "–" if low is None or high is None else f"{100 * low:.1f}–{per_cent(high)}"]


def _measure(view: View, name: str, one: Estimate) -> str:
    if name == "accuracy":
        return " · ".join(_share(one))
    digits = view.task.target.digits + 1 if name in IN_UNIT else 3
    told = f"{one['value']:.{digits}f}"
    if one["low"] is None:
        return told
    return f"{told} ({one['low']:.{digits}f} – {one['high']:.{digits}f})"


def _head(view: View, name: str) -> str:
    unit = view.task.target.unit
    told = METRICS[view.lang][name]
    return f"{told} ({unit})" if unit and name in IN_UNIT else told


def _tiles(view: View) -> list[tuple[str, str]]:
    found, overall = view.found, view.found.realised.overall
    tiles = [
        (view.word("answers"), f"{sum(found.answers.values()):,}"),
        (view.word("outcomes"), f"{sum(found.outcomes.values()):,}"),
    ]
    if overall is not None and found.delay_days is not None:
        tiles += [
            (view.word("covered", per_cent(overall["level"])), per_cent(overall["coverage"]["value"])),
            (view.word("delay"), view.word("days", f"{found.delay_days['median']:.1f}")),
        ]
    return tiles


def _events(view: View) -> list[list[str]]:
    overall = view.found.realised.overall or {"events": {}}
    return [
        [
            view.event(name),
            " · ".join(_share(one["rate"])),
            per_cent(one["mean_chance"]),
            f"{one['brier']['value']:.4f}",
        ]
        for name, one in overall["events"].items()
    ]


def _fields(view: View) -> list[tuple[bool, list[str]]]:
    """(whether it has drifted, cells) of each field of the version that answers."""
    return [
        (
            one.drifted,
            [
                view.field(one.field), f"{one.psi:.3f}", f"{one.p:.2g}", view.word("yes" if one.drifted else "no"),
                f"{one.rows}", per_cent(one.unknown_before), per_cent(one.unknown),
            ],
        )
        for one in view.found.drift.get(view.found.now or "", [])
    ]  # fmt: skip


def _plots(view: View, pictures: dict[str, bytes]) -> dict[str, list[dict[str, Any]]]:
    told = FIGURES[view.lang]
    return {
        section: [
            {
                "title": told[name][0],
                "read": told[name][1].format(view.found.now),
                "data": base64.b64encode(pictures[name]).decode(),
            }
            for name in names
            if name in pictures
        ]
        for section, names in SECTIONS.items()
    }
