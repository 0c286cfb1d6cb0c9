"""Versions of every kind behind one real server: over REST, as a document, and on the form."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from playwright.sync_api import Page, expect, sync_playwright

from serving import bundle, cache
from serving.predictor import Predictor
from serving.pyfunc import GancaoModel, flatten
from tests.conftest import Home, Server, need, serving
from tests.made import DESTINATION, PLACES, version

KINDS = {"stay": "regression", "readmission": "binary", "destination": "multiclass"}
EVERY = pytest.mark.parametrize("task", KINDS)
CASE: dict[str, Any] = {"age": 71, "days": 9, "ward": "medical", "alone": True}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose cache holds a version of each kind; its registry is empty."""
    home = tmp_path_factory.mktemp("clinic")
    for task, kind in KINDS.items():
        bundle.write(version(kind).bundle, home / f"new-{task}")
        (home / "cache").mkdir(exist_ok=True)
        cache.publish(home / "cache", task, "1", home / f"new-{task}", "by hand")
    with serving(Home(home, home)) as running:
        yield running


def asked(clinic: Server, task: str, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    response = clinic.post(f"/v1/{task}/predict", json={"rows": list(rows)})
    assert response.status_code == 200, response.text
    answers: list[dict[str, Any]] = response.json()["answers"]
    return answers


@EVERY
def test_an_answer_is_the_one_that_training_judged(clinic, task):
    made = version(KINDS[task])
    answers = asked(clinic, task, *made.rows[:40])
    for answer in answers:
        assert len(answer.pop("prediction_id")) == 32
    assert answers == Predictor(made.bundle).answer(made.rows[:40])


@EVERY
def test_every_answer_is_what_the_document_says_it_is(clinic, task):
    document = clinic.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    stem = task.capitalize()
    assert set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document))) <= set(schemas)
    schema = {"$ref": f"#/components/schemas/{stem}Response", "components": document["components"]}
    whole = clinic.post(f"/v1/{task}/predict", json={"rows": version(KINDS[task]).rows[:200]}).json()
    Draft202012Validator(schema).validate(whole)
    answer = schemas[f"{stem}Answer"]
    assert set(answer["properties"]) - {"explanation"} == set(answer["required"]) == set(whole["answers"][0])
    example = schemas[f"{stem}Request"]["examples"][0]
    assert clinic.post(f"/v1/{task}/predict", json=example).status_code == 200


def test_the_document_names_the_classes_in_both_languages(clinic):
    schemas = clinic.get("/openapi.json").json()["components"]["schemas"]
    binary, many = (schemas[f"{name}Answer"]["properties"] for name in ("Readmission", "Destination"))
    assert binary["label"]["enum"] == ["no", "yes"]
    assert "'yes'" in binary["value"]["description"]
    assert {"interval", "events", "unit"}.isdisjoint(binary | many)
    assert many["set"]["items"]["enum"] == list(PLACES)
    assert many["probabilities"]["properties"]["nursing_home"]["title"] == "nursing home / 养老院"


def test_one_class_says_no_more_than_the_set_allows(clinic):
    (answer,) = asked(clinic, "destination", CASE)
    assert answer["label"] in answer["set"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0)


@EVERY
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_form_shows_what_an_application_gets(clinic, task, lang):
    (answer,) = asked(clinic, task, CASE)
    typed = {
        name: {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        for name, value in CASE.items()
    }
    page = clinic.post(f"/form/{task}?lang={lang}", data=typed).text
    value = re.search(r'id="answer-value"[^>]*value="([^"]+)"', page)
    assert value is not None
    assert value[1] == str(answer.get("value", answer["label"] if task == "destination" else None))
    if task == "stay":
        assert 'id="classes"' not in page
    else:
        assert page.count('class="mark"') == len(answer["set"])
        assert ("对数损失" if lang == "zh" else "Log loss") in page
    if task == "destination":
        shown = re.findall(r'data-testid="class-([^"]+)"', page)
        assert shown == sorted(answer["probabilities"], key=lambda word: -answer["probabilities"][word])
        assert DESTINATION.target.classes is not None
        for choice in DESTINATION.target.classes:
            assert choice.label[lang] in page


def test_a_wrong_value_is_refused_for_every_kind(clinic):
    for task in KINDS:
        response = clinic.post(f"/v1/{task}/predict", json={"rows": [{**CASE, "age": 7}]})
        assert response.status_code == 422
        assert response.json()["errors"][0]["code"] == "below_limit"


@EVERY
def test_the_mlflow_model_gives_the_same_as_columns(clinic, task):
    made = version(KINDS[task])
    rows = made.rows[:30]
    given = pd.DataFrame(rows, index=range(100, 130))
    out = GancaoModel(Predictor(made.bundle)).predict(given)
    assert out.to_dict(orient="records") == [flatten(answer) for answer in asked(clinic, task, *rows)]
    assert out.index.tolist() == given.index.tolist()


# --- on the form, in a real browser


@pytest.fixture(scope="module", params=[1280, 390], ids=["desk", "phone"])
def page(clinic: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    path = next(filter(None, found), None)
    need(path, "no Chromium on PATH: `make tools` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(base_url=clinic.base, viewport={"width": request.param, "height": 844})
        context.set_default_timeout(10_000)
        yield context.new_page()
        browser.close()


@pytest.mark.parametrize("task", ["readmission", "destination"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_clinician_reads_the_classes_without_scrolling_sideways(page, task, lang):
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"/form/{task}?lang={lang}")
    page.locator("#f-age").fill("71")
    page.locator("input[name=alone][value=yes]").check()
    page.locator("#submit").click()
    expect(page.locator("#answer-value")).to_be_visible()
    expect(page.locator("#answer-title")).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    bars = page.locator("#classes .bar .part")
    widths = [bar.bounding_box()["width"] for bar in bars.all()]
    assert len(widths) == (2 if task == "readmission" else 5)
    chances = [float(text.strip("< %")) for text in page.locator("#classes td.chance").all_inner_texts()]
    assert [round(w / widths[0], 1) for w in widths] == [round(c / chances[0], 1) for c in chances]
    assert not complaints, "the page keeps its own content security policy"
