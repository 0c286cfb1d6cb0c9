"""The report of a version: one self-contained HTML page that a person enjoys reading, in English and in Chinese."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from training.evaluate import EVENT_HONESTY, GROUP_HONESTY, GROUP_METRICS
from training.figures.seen import Scene, Seen
from training.figures.style import drawn_in
from training.figures.words import FIGURES, METRICS, closed_up, rival
from training.gate import Verdict
from training.headline import headline, in_unit, per_cent, weaker_groups
from training.measures import COLUMNS, HIGHER_IS_BETTER, IN_UNIT, SHARES
from training.report_words import WORDS
from training.runlog import Trial

_PAGES = Environment(loader=PackageLoader("training"), autoescape=True, undefined=StrictUndefined)

SECTIONS = {
    "leaderboard": ("leaderboard",),
    "answers": (
        "predicted_and_true", "residuals", "confusion", "roc", "precision_recall", "calibration", "error_by_decile",
        "events",
    ),
    "groups": ("error_by_group", "calibration_by_group", "coverage_by_group"),
    "drivers": ("importance", "shap"),
    "effort": ("learning_curve", "search"),
    "members": ("weights",),
}  # fmt: skip
"""The figures of each section, in reading order."""

MOST_TRIALS = 20
_REASON = re.compile(r"(better than|no worse than|not told apart from|worse than) (\S+)(?: (?:for|in|among|of) (.+))?")


@dataclass(frozen=True)
class Origin:
    """How to make the version again. versions: of what matters, by name; command: for a shell."""

    command: str
    run: str
    versions: dict[str, str]


def render(
    seen: Seen, verdict: Verdict, origin: Origin, pictures: dict[str, bytes], findings: Sequence[str], lang: str
) -> str:
    """The page in one language. pictures: PNGs of `training.plots.all_plots` by name, in that language.

    seen.card: as `training.record` makes it; its `leakage` lists waivers: field, check, figure, reason.
    """
    scene, words = Scene(seen, lang), WORDS[lang]
    trials = sorted((t for t in seen.trials if t.loss is not None), key=lambda trial: trial.loss or 0.0)
    return _PAGES.get_template("report.html").render(
        lang=lang,
        task=seen.task,
        card=seen.card,
        verdict=verdict,
        reasons=[reason_in_words(scene, reason) for reason in verdict.reasons],
        headline=headline(scene, verdict),
        tiles=_tiles(scene),
        leaderboard=_leaderboard(scene),
        honesty=_honesty(scene),
        correction=_correction(scene),
        groups=_groups(scene),
        cells=_cells(scene),
        importance=_importance(scene),
        members=[{**_trial(scene, trial), "weight": weight} for trial, weight in _by_share(seen.chosen)],
        trials=[_trial(scene, trial) for trial in trials[:MOST_TRIALS]],
        trials_told=words["trials_told"].format(
            len(seen.trials), len(seen.trials) - len(trials), min(len(trials), MOST_TRIALS)
        ),
        plots=_plots(scene, pictures),
        rise_head=_rise_head(scene),
        english_figures=drawn_in(lang) != lang,
        findings=findings,
        waivers=[{**waiver, "field": scene.field(waiver["field"])} for waiver in seen.card.get("leakage", [])],
        origin=origin,
        words={key: _code(word) for key, word in words.items()},
    )


def _code(words: str) -> Markup:
    """`words` between backticks become code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(words))))  # noqa: S704 # escaped, our own words


def _plots(scene: Scene, pictures: dict[str, bytes]) -> dict[str, list[dict[str, str]]]:
    """For each section its figures: title, how to read it, and the picture."""
    told = FIGURES[scene.lang]
    if scene.task.kind == "multiclass":
        told = told | {"shap": told["shap_classes"]}
    return {
        section: [
            {
                "name": name,
                "title": told[name][0],
                "read": told[name][1],
                "data": base64.b64encode(pictures[name]).decode(),
            }
            for name in names
            if name in pictures
        ]
        for section, names in SECTIONS.items()
    }


def reason_in_words(scene: Scene, reason: str) -> str:
    """A reason of the verdict, `better than mean` or `worse than champion-3 for plurality=twins`, as people read it.

    A reason of another form stands for itself.
    """
    words, found = WORDS[scene.lang], _REASON.fullmatch(reason)
    if found is None:
        return reason
    told = words[found[1]].format(rival(found[2], scene.lang))
    return closed_up(words["for"].format(told, scene.group(found[3])) if found[3] else told)


def figure(scene: Scene, metric: str, value: float | None) -> str:
    """One cell of a table: per cent for shares, the target's digits in its unit, and a dash where there is none."""
    if value is None:
        return "–"
    if metric == "n":
        return f"{value:.0f}"
    if metric in SHARES:
        return per_cent(value)
    return f"{value:.2f}" if metric == "mean_set_size" else scene.number(value, metric)


def _tiles(scene: Scene) -> list[tuple[str, str]]:
    """The four figures to remember, large."""
    names = {
        "regression": (scene.metric, "r2", "coverage", "mean_width"),
        "binary": ("auc", "log_loss", "ece", "set_coverage"),
        "multiclass": ("accuracy", "log_loss", "set_coverage", "mean_set_size"),
    }[scene.task.kind]
    measured = scene.seen.card["metrics"]

    def told(name: str) -> str:
        if name in IN_UNIT:
            return in_unit(scene, measured[name], name)
        return figure(scene, name, measured[name])

    return [(METRICS[scene.lang][name], told(name)) for name in names]


def _leaderboard(scene: Scene) -> dict[str, Any]:
    metric, columns = scene.metric, COLUMNS[scene.task.kind]
    table = {"gancao": scene.seen.card["metrics"], **scene.seen.card["baselines"]}
    names = sorted(table, key=lambda name: table[name][metric], reverse=metric in HIGHER_IS_BETTER)
    return {
        "heads": [(scene.measure(column), column == metric) for column in columns],
        "rows": [
            (rival(name, scene.lang), name == "gancao", [figure(scene, c, table[name].get(c)) for c in columns])
            for name in names
        ],
    }


def _groups(scene: Scene) -> dict[str, Any]:
    """The table of groups, with the band behind the search's own metric."""
    columns, weak = ("n", *GROUP_METRICS[scene.task.kind]), set(weaker_groups(scene))
    after = columns.index(scene.metric) + 1
    rows = []
    for name, row in scene.seen.card["groups"].items():
        cells = [figure(scene, column, row.get(column)) for column in columns]
        ends = [scene.number(row[end], scene.metric) for end in ("low", "high") if end in row]
        rows.append((scene.group(name), name in weak, [*cells[:after], "–".join(ends) or "–", *cells[after:]]))
    heads = [METRICS[scene.lang][column] for column in columns]
    return {"heads": [*heads[:after], WORDS[scene.lang]["band"], *heads[after:]], "rows": rows}


EVENT_COLUMNS = {"rate": "base_rate", "mean_chance": "mean_chance", "auc": "auc", "brier": "brier",
                 "reliability": "brier_reliability", "resolution": "brier_resolution",
                 "uncertainty": "brier_uncertainty", **EVENT_HONESTY}  # fmt: skip
"""What is told of an event, by the end of its name, as the same figure of a binary target is called."""


def _honesty(scene: Scene) -> dict[str, Any]:
    """The table of how honest chances are: of each event, or of the classes for all cases and for each group."""
    measured, lang = scene.seen.card["metrics"], scene.lang
    columns: tuple[str, ...] = ("n", "brier", *GROUP_HONESTY)
    if scene.task.kind == "regression":
        columns = ("base_rate", "mean_chance", "auc", "brier", *GROUP_HONESTY)
        table = {
            event.label[lang]: {
                name: measured[f"{event.name}_{end}"]
                for end, name in EVENT_COLUMNS.items()
                if f"{event.name}_{end}" in measured
            }
            for event in scene.task.answers.events
        }
    else:
        table = {WORDS[lang]["all_cases"]: {"n": len(scene.seen.holdout.target), **measured}}
        table |= {scene.group(name): row for name, row in scene.seen.card["groups"].items()}
    return {
        "heads": [METRICS[lang][column] for column in columns],
        "rows": [(name, [figure(scene, column, row.get(column)) for column in columns]) for name, row in table.items()],
    }


def _correction(scene: Scene) -> str:
    """How chances of classes were corrected; nothing where the card does not say."""
    facts = scene.seen.card["trained_on"].get("calibration") or {}
    if "method" not in facts:
        return ""
    words = WORDS[scene.lang]
    before, after = (scene.number(facts[key], "log_loss") for key in ("log_loss_before", "log_loss_after"))
    return words["uncorrected" if facts["method"] == "identity" else "corrected"].format(
        method=words[f"by_{facts['method']}"], before=before, after=after
    )


def _cells(scene: Scene) -> str:
    cells: dict[str, int] = scene.seen.card["trained_on"].get("cells") or {}
    return ", ".join(f"{scene.group(name)} {count}" for name, count in cells.items())


def _importance(scene: Scene) -> list[tuple[str, str, str]]:
    return [
        (scene.field(one.field), scene.number(one.rise, scene.metric), scene.number(one.spread, scene.metric))
        for one in scene.seen.insight.importance
    ]


def _rise_head(scene: Scene) -> str:
    """What importance is measured in: `Rise of RMSE (h)`."""
    word = WORDS[scene.lang]["fall" if scene.metric == "auc" else "rise"]
    return closed_up(word.format(scene.measure(scene.metric)))


def _by_share(chosen: list[tuple[Trial, float]]) -> list[tuple[Trial, float]]:
    return sorted(chosen, key=lambda pair: -pair[1])


def _trial(scene: Scene, trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "learner": trial.learner,
        "origin": trial.origin,
        "loss": f"{trial.loss:.5g}" if trial.loss is not None else "",
        "seconds": f"{trial.seconds:.1f}",
        "config": json.dumps(trial.config, ensure_ascii=False),
    }
