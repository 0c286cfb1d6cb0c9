"""The report of a version: one self-contained HTML page, in English and in Chinese."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from feature_store.task import Task
from training.gate import Verdict

_PAGES = Environment(loader=PackageLoader("training"), autoescape=True, undefined=StrictUndefined)

WORDS = {
    "en": {
        "synthetic": "Trained on synthetic data made by `gancao sample`: for trying out only, never for a patient.",
        "promote": "Fit to be promoted.",
        "reject": "Not fit to be promoted.",
        "because": "In a paired bootstrap on the holdout it is",
        "better than": "better than {}",
        "worse than": "worse than {}",
        "not told apart from": "not told apart from {}",
        "holdout": "Holdout",
        "rows": "rows",
        "bias": "Bias",
        "linear": "{verdict} ({ours:.{digits}f} against {theirs:.{digits}f} {unit} {metric}).",
        "better": "It beats the linear baseline",
        "same": "It can't be told apart from the linear baseline",
        "worse": "It does not beat the linear baseline",
        "compared": "All rows of this table were predicted for the same holdout, which took no part in the search.",
        "interval": "Interval",
        "covers": "The {level} % interval covered {share} % of the holdout; it is {width} {unit} wide on average.",
        "group": "Group",
        "coverage": "Coverage",
        "width": "Mean width",
        "cells": "Training rows behind each group's own interval (groups with too few use a larger one):",
        "events": "Events",
        "rate": "Came true",
        "mean_chance": "Mean chance given",
        "plots": "Plots",
        "members": "The ensemble",
        "learner": "Learner",
        "weight": "Weight",
        "oof": "Out-of-fold loss",
        "configuration": "Configuration",
        "data": "Data",
        "source": "Source",
        "trials": "Trials",
        "findings": "What `gancao check` noticed",
    },
    "zh": {
        "synthetic": "由 `gancao sample` 生成的合成数据训练：仅供试用，不得用于患者。",
        "promote": "可以上线。",
        "reject": "不宜上线。",
        "because": "在留出集上的配对自助检验中：",
        "better than": "优于 {}",
        "worse than": "劣于 {}",
        "not told apart from": "与 {} 无显著差异",
        "holdout": "留出集",
        "rows": "行",
        "bias": "偏差",
        "linear": "{verdict}（{metric}：{ours:.{digits}f} 对 {theirs:.{digits}f} {unit}）。",
        "better": "优于线性基线",
        "same": "与线性基线无显著差异",
        "worse": "未能优于线性基线",
        "compared": "本表各行均在同一留出集上预测，留出集未参与搜索。",
        "interval": "区间",
        "covers": "{level} % 区间在留出集上覆盖了 {share} %，平均宽度 {width} {unit}。",
        "group": "分组",
        "coverage": "覆盖率",
        "width": "平均宽度",
        "cells": "各分组区间所依据的训练行数（行数太少的分组使用更大的组）：",
        "events": "事件",
        "rate": "实际发生率",
        "mean_chance": "平均预测概率",
        "plots": "图",
        "members": "集成模型",
        "learner": "学习器",
        "weight": "权重",
        "oof": "折外损失",
        "configuration": "配置",
        "data": "数据",
        "source": "来源",
        "trials": "试验数",
        "findings": "`gancao check` 的发现",
    },
}


def png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def render(
    task: Task,
    card: dict[str, Any],
    verdict: Verdict,
    members: Sequence[dict[str, Any]],
    pictures: dict[str, bytes],
    findings: Sequence[str],
    lang: str,
) -> str:
    """The page in one language. members: learner, weight, loss and config of each; pictures: PNGs by name."""
    words = dict(WORDS[lang])
    metric = task.search.metric
    ours, theirs = card["metrics"][metric], card["baselines"]["linear"][metric]
    words["linear"] = words["linear"].format(
        verdict=words[_against_linear(verdict, ours, theirs)],
        ours=ours,
        theirs=theirs,
        unit=task.target.unit,
        metric=metric.upper(),
        digits=task.target.digits + 1,
    )
    leaderboard = [("gancao", card["metrics"]), *card["baselines"].items()]
    return _PAGES.get_template("report.html").render(
        lang=lang,
        task=task,
        card=card,
        verdict=verdict,
        reasons="; ".join(_reason(reason, words) for reason in verdict.reasons),
        leaderboard=sorted(leaderboard, key=lambda row: row[1][metric]),
        cells=", ".join(f"{name} {count}" for name, count in card["trained_on"]["cells"].items()),
        members=[{**member, "config": json.dumps(member["config"])} for member in members],
        plots={name: base64.b64encode(data).decode() for name, data in pictures.items()},
        findings=findings,
        words=words,
        digits=task.target.digits + 1,
    )


def _reason(reason: str, words: dict[str, str]) -> str:
    """A reason of the verdict, `better than mean`, in the language of `words`."""
    finding, _, baseline = reason.rpartition(" ")
    return words[finding].format(baseline)


def _against_linear(verdict: Verdict, ours: float, theirs: float) -> str:
    """`better`, `same` or `worse` than the linear baseline; the test's word where the gate has one."""
    for reason in verdict.reasons:
        if reason.endswith(" linear"):
            return {"better": "better", "worse": "worse"}.get(reason.split()[0], "same")
    return "better" if ours < theirs else "worse"
