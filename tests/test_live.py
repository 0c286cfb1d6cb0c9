"""Champion and challenger on what came true: paired, in the metric's unit, and silent before enough is known."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from experiments import commands
from experiments import live as shown
from feature_store.errors import UnknownVersion
from feature_store.place import Place, Remote
from feature_store.settings import Settings
from feature_store.task import Task
from serving import shadows
from serving.journal import Entry, Journal, Outcome
from serving.predictor import Predictor
from serving.shadows import Shadowed
from tests.made import DESTINATION, READMITTED, STAYED, table, version
from tests.shelf import other
from tests.test_gate import three_versions  # noqa: F401 (a fixture)
from training import live, losses

KINDS = {"regression": STAYED, "binary": READMITTED, "multiclass": DESTINATION}


def outcome_of(kind: str, place: float, classes: tuple[str, ...]) -> Any:
    return place if kind == "regression" else classes[int(place)]


def lived(home: Settings, kind: str, n: int, known: int | None = None, served: str = "1") -> list[Any]:
    """n answers of a version, the other version's in the shadow, and the outcomes of the first `known`; those."""
    made = {"1": Predictor(version(kind).bundle, "1"), "2": Predictor(other(kind), "2")}
    challenger = "2" if served == "1" else "1"
    unseen, rows, task = table(kind, 3000, 1), version(kind).rows[:n], KINDS[kind].task
    truths = [outcome_of(kind, one, unseen.classes) for one in unseen.target[:n].tolist()][
        : n if known is None else known
    ]
    ids = [f"{served}-{place}" for place in range(n)]
    answers, beside = made[served].answer(rows), made[challenger].answer(rows)

    async def keep() -> None:
        journal = Journal(home.journal_place)
        await journal.keep(
            [
                Entry(one, task, served, json.dumps(row), json.dumps({"prediction_id": one, **answer}))
                for one, row, answer in zip(ids, rows, answers, strict=True)
            ]
        )
        await journal.keep_outcomes(
            task, [Outcome(one, json.dumps(truth)) for one, truth in zip(ids, truths, strict=False)]
        )
        journal.close()

    asyncio.run(keep())
    kept = [Shadowed(one, 1, task, challenger, served, json.dumps(a)) for one, a in zip(ids, beside, strict=True)]
    shadows.write(home.shadows, kept, {})
    return truths


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", data=tmp_path)


@pytest.fixture
def either(place: Place, tmp_path: Path) -> Settings:
    """With the journal in either store."""
    return Settings(home=tmp_path, data=tmp_path, journal=place.url if isinstance(place, Remote) else "")


def compared(home: Settings, task: Task, *versions: str) -> dict[str, Any]:
    return live.compare(task, home.journal_place, home.shadows, *versions)


@pytest.mark.parametrize("kind", KINDS)
def test_the_difference_is_that_of_the_losses_on_the_same_outcomes(home: Settings, kind: str):
    lived(home, kind, 400)
    task = KINDS[kind]
    found = compared(home, task)
    assert (found["versions"], found["n"], found["shadows"], found["reason"]) == (["2", "1"], 400, 400, "")
    target = table(kind, 3000, 1).target[:400]
    own = {}
    for number, made in (("1", version(kind).bundle), ("2", other(kind))):
        answers = Predictor(made).answer(version(kind).rows[:400])
        predicted = [
            list(a["probabilities"].values()) if kind == "multiclass" else [a["value"]] for a in answers
        ]  # fmt: skip
        own[number] = losses.loss(task.search.metric, target, np.array(predicted))
        inside = [
            a["interval"]["low"] <= t <= a["interval"]["high"]
            if kind == "regression"
            else outcome_of(kind, t, table(kind, 3000, 1).classes) in a["set"]
            for a, t in zip(answers, target, strict=True)
        ]
        assert found["coverage"][number]["value"] == pytest.approx(np.mean(inside))
        assert found["metrics"][number][task.search.metric] == pytest.approx(own[number])
    overall = found["differences"]["all"]
    assert overall["mean"] == pytest.approx(own["2"] - own["1"])
    assert overall["low"] <= overall["mean"] <= overall["high"]
    gap = found["coverage"]["difference"]
    assert gap["value"] == pytest.approx(found["coverage"]["2"]["value"] - found["coverage"]["1"]["value"])
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert set(found["differences"]) == {"all", "alone=yes", "alone=no"}


def test_a_pair_counts_whichever_of_the_two_was_served(either: Settings):
    lived(either, "regression", 100, served="1")
    lived(either, "regression", 60, served="2")
    found = compared(either, STAYED, "2", "1")
    assert found["n"] == 160
    turned = compared(either, STAYED, "1", "2")
    assert turned["differences"]["all"]["mean"] == pytest.approx(-found["differences"]["all"]["mean"])


def test_it_is_told_when_nothing_or_too_little_is_known(home: Settings):
    assert "gancao promote stay N --challenger" in compared(home, STAYED)["reason"]
    lived(home, "regression", 100, known=7)
    found = compared(home, STAYED)
    assert found["reason"].startswith("Of 100 answers beside each other 7 outcomes are known; 30 are needed.")
    assert "differences" not in found
    assert "Version 9 has not answered beside version 1" in compared(home, STAYED, "9", "1")["reason"]


def test_an_auc_needs_both_classes(home: Settings):
    task = READMITTED.model_copy(update={"search": READMITTED.search.model_copy(update={"metric": "auc"})})
    lived(home, "binary", 300)
    found = compared(home, task)
    assert 0.5 < found["metrics"]["1"]["auc"] < 1
    with_one = lived(Settings(home=home.home / "more", data=home.data), "binary", 40, known=0)
    assert with_one == []


def test_what_a_person_reads(home: Settings, tmp_path: Path):
    path = tmp_path / "stay.yaml"
    path.write_text(yaml.safe_dump(STAYED.model_dump(mode="json", exclude_none=True)))
    document, words = shown.compare(str(path), None, None, home)
    assert words == f"On outcomes: {document['reason']}"
    lived(home, "regression", 200)
    document, words = shown.compare(str(path), None, None, home)
    assert "RMSE (d)" in str(words.renderables[0].columns[2].header)
    assert "On 200 outcomes version 2 is" in words.renderables[1]
    assert "inside" in words.renderables[1]


def test_a_comparison_on_the_holdout_tells_of_outcomes_too(registry, tmp_path: Path):
    _, settings, made = registry
    path = tmp_path / "made.yaml"
    path.write_text(yaml.safe_dump(made.model_dump(mode="json", exclude_none=True)))
    document, words = commands.compare(str(path), "2", "1", settings)
    assert document["live"]["n"] == 0
    assert "Version 2 has not answered beside version 1" in words.renderables[-1]


def test_a_challenger_is_named_and_dismissed_and_ends_when_it_is_promoted(registry, tmp_path: Path):
    opened, settings, made = registry
    path = tmp_path / "made.yaml"
    path.write_text(yaml.safe_dump(made.model_dump(mode="json", exclude_none=True)))
    with pytest.raises(UnknownVersion):
        shown.challenge(str(path), "9", True, settings)
    assert shown.challenge(str(path), None, True, settings)[0] == {"task": "made", "challenger": "3", "before": None}
    assert shown.challenge(str(path), "2", True, settings)[0]["before"] == "3"
    assert shown.challenge(str(path), None, False, settings)[0] == {"task": "made", "challenger": None, "before": "2"}
    shown.challenge(str(path), "3", True, settings)
    opened.promote("made", "3")
    assert opened._aliased("made", "challenger") is None
    opened.promote("made", "1")
