"""A clinician at the form: a real Chromium, a real server, a real model."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from feature_store import taskfile
from feature_store.task import Task
from tests.browsing import chromium
from tests.conftest import CASE, ROOT, Server

BIRTH: Task = taskfile.read(ROOT / "experiments/tasks/birth_weight.yaml")
FORM = "/form/birth_weight"
HOSTILE = '"><script>alert(1)</script>'
LANGS = pytest.mark.parametrize("lang", ["en", "zh"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A fresh English browser at a desk."""
    yield from visit(browser, server)


@pytest.fixture
def scriptless(browser: Browser, server: Server) -> Iterator[Page]:
    """The same with JavaScript switched off."""
    yield from visit(browser, server, java_script_enabled=False)


@pytest.fixture
def phone(browser: Browser, server: Server) -> Iterator[Page]:
    """The same, 390 px wide."""
    yield from visit(browser, server, viewport={"width": 390, "height": 844}, has_touch=True)


def visit(browser: Browser, server: Server, **wishes: Any) -> Iterator[Page]:
    wishes = {"base_url": server.base, "locale": "en-US", "viewport": {"width": 1280, "height": 900}} | wishes
    context = browser.new_context(**wishes)
    context.set_default_timeout(10_000)
    yield context.new_page()
    context.close()


def fill(page: Page, row: dict[str, Any]) -> None:
    """Type and choose the row's values as the form asks for them."""
    for name, value in row.items():
        match BIRTH.by_name[name].type:
            case "flag":
                page.locator(f"input[name={name}][value={'yes' if value else 'no'}]").check()
            case "category":
                page.locator(f"#f-{name}").select_option(value)
            case _:
                page.locator(f"#f-{name}").fill(str(value))


def ask(page: Page, row: dict[str, Any], lang: str = "en") -> None:
    """Open the form, fill it and send it."""
    page.goto(f"{FORM}?lang={lang}")
    fill(page, row)
    page.locator("#submit").click()


def rest(server: Server, row: dict[str, Any]) -> dict[str, Any]:
    """What an application gets for the row."""
    response = server.post("/v1/birth_weight/predict", json={"rows": [row]})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()["answers"][0]
    return answer


def exact(page: Page, name: str) -> float:
    """The number behind a rounded one on the page."""
    return float(page.locator(f"#answer-{name}").get_attribute("value") or "nan")


def sideways(page: Page) -> int:
    """By how many pixels the page can be scrolled sideways."""
    root = "document.documentElement"
    return int(page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


# --- an answer ----------------------------------------------------------------------------------------------------


def test_a_clinician_reads_value_interval_chances_version_and_what_was_missing(page, server):
    ask(page, CASE)
    expect(page).to_have_title("Answer · Birth weight")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    answer, panel = rest(server, CASE), page.locator("#answer")
    expect(page.locator("#answer-value")).to_have_text(f"{answer['value']:,.0f}".replace(",", "\u202f"))
    expect(panel).to_contain_text("90 % of such cases lie between")
    for event in BIRTH.answers.events:
        chance = answer["events"][event.name]
        shown = "< 0.1 %" if chance < 0.001 else "> 99.9 %" if chance > 0.999 else f"{chance * 100:.1f} %"
        expect(panel).to_contain_text(event.label.en)
        expect(page.locator(f"#event-{event.name}")).to_have_text(shown)
    expect(page.locator("#version")).to_have_text(server.get("/v1/birth_weight").json()["version"])
    missing = page.locator("#missing")
    expect(missing).to_contain_text(f"Answered without ({len(BIRTH.fields) - len(CASE)}/{len(BIRTH.fields)})")
    expect(missing).to_contain_text("Payer")
    expect(missing).not_to_contain_text("Mother's age")


def test_the_same_is_read_in_chinese(page, server):
    ask(page, CASE, "zh")
    expect(page).to_have_title("结果 · 出生体重")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#answer")).to_contain_text("此类个案中有 90 % 介于")
    expect(page.locator("#missing")).to_contain_text(f"未填写 ({len(BIRTH.fields) - len(CASE)}/{len(BIRTH.fields)})：")
    for field in BIRTH.fields:
        expect(page.locator(f"[data-field={field.name}] .label")).to_contain_text(field.label.zh)
    for event in BIRTH.answers.events:
        expect(page.locator("#answer")).to_contain_text(event.label.zh)
    assert exact(page, "value") == rest(server, CASE)["value"]


@pytest.mark.parametrize(
    "row",
    [
        CASE,
        {"gestation_weeks": 39},
        {"gestation_weeks": 30.5, "plurality": "twins", "height_cm": 158.7, "diabetes": True, "payer": "medicaid"},
    ],
    ids=["plain", "only what is required", "twins"],
)
def test_the_form_and_the_interface_give_the_same_numbers_to_the_bit(page, server, row):
    ask(page, row)
    answer = rest(server, row)
    told = [exact(page, name) for name in ("value", "low", "high")]
    assert told == [answer["value"], answer["interval"]["low"], answer["interval"]["high"]]


@pytest.mark.parametrize(("lang", "words"), [("en", "Number of fetuses"), ("zh", "胎数")])
def test_what_was_left_out_is_told_by_its_label(page, lang, words):
    ask(page, {"gestation_weeks": 39}, lang)
    expect(page.locator("#missing")).to_contain_text(words)
    ask(page, {"gestation_weeks": 39, "plurality": "twins"}, lang)
    expect(page.locator("#answer-value")).to_be_visible()
    expect(page.locator("#missing")).not_to_contain_text(words)


def test_without_javascript_it_works_as_well(scriptless, server):
    ask(scriptless, CASE)
    assert exact(scriptless, "value") == rest(server, CASE)["value"]
    ask(scriptless, CASE | {"height_cm": 16.3}, "zh")
    expect(scriptless.locator("#e-height_cm")).to_contain_text("低于可接受的最小值 75 cm")


def test_the_keyboard_alone_gets_an_answer(page, server):
    page.goto(FORM)
    keys = page.keyboard
    keys.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    keys.press("Enter")
    keys.press("Tab")
    expect(page.locator("#f-gestation_weeks")).to_be_focused()
    keys.type("39")
    keys.press("Tab")
    keys.type("Twins")
    for _ in range(len(BIRTH.fields)):
        if page.evaluate("document.activeElement.name") == "diabetes":
            break
        keys.press("Tab")
    keys.press("ArrowUp")  # from unknown to no
    keys.press("Enter")
    expect(page.locator("#answer-title")).to_be_focused()
    row = {"gestation_weeks": 39, "plurality": "twins", "diabetes": False}
    assert exact(page, "value") == rest(server, row)["value"]


def test_tab_walks_through_every_field_in_the_order_of_the_form(page):
    page.goto(FORM)
    page.locator(".skip").press("Enter")
    page.wait_for_url("**#form")
    walked = []
    for _ in BIRTH.fields:
        page.keyboard.press("Tab")
        walked.append(page.evaluate("document.activeElement.name"))
    assert walked == [name for section in BIRTH.form.sections for name in section.fields]
    page.keyboard.press("Tab")
    expect(page.locator("#submit")).to_be_focused()


@LANGS
def test_the_reasons_are_those_of_the_interface_and_need_no_script(scriptless, server, lang):
    ask(scriptless, CASE, lang)
    response = server.post("/v1/birth_weight/explain", json={"rows": [CASE]})
    (told,) = response.json()["answers"]
    expect(scriptless.locator("#reasons-base")).to_contain_text(f"{told['base']:,.0f}".replace(",", "\u202f"))
    lines = scriptless.locator("#reasons tbody tr")
    expect(lines).to_have_count(9)
    order = sorted(told["contributions"], key=lambda item: -abs(item["contribution"]))
    for line, item in zip(lines.all()[:8], order, strict=False):
        expect(line).to_contain_text(BIRTH.by_name[item["field"]].label.model_dump()[lang])
        size = f"{abs(item['contribution']):,.0f}".replace(",", "\u202f")
        sign = "" if size == "0" else "+" if item["contribution"] > 0 else "\u2212"
        expect(line.locator("td")).to_have_text(f"{sign}{size} g")


# --- no answer, or one with a caution -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lang", "height", "weeks"),
    [
        ("en", "Below 75 cm, the lowest value accepted.", "Above 45 weeks, the highest value accepted."),
        ("zh", "低于可接受的最小值 75 cm。", "高于可接受的最大值 45 周。"),
    ],
)
def test_a_value_beyond_the_limits_is_explained_at_its_field_and_what_was_typed_stays(page, lang, height, weeks):
    ask(page, CASE | {"height_cm": 16.3, "gestation_weeks": 390}, lang)
    expect(page.locator("#errors")).to_be_focused()
    expect(page.locator("#errors li")).to_have_count(2)
    expect(page.locator("#e-height_cm")).to_contain_text(height)
    expect(page.locator("#e-gestation_weeks")).to_contain_text(weeks)
    expect(page.locator("#f-height_cm")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#answer-value")).to_have_count(0)
    expect(page.locator("#f-height_cm")).to_have_value("16.3")
    expect(page.locator("#f-mother_age")).to_have_value("31")
    expect(page.locator("#f-plurality")).to_have_value("singleton")
    expect(page.locator("input[name=diabetes][value=no]")).to_be_checked()
    page.locator("#errors a", has_text=BIRTH.by_name["height_cm"].label.model_dump()[lang]).click()
    expect(page.locator("#f-height_cm")).to_be_focused()


def test_after_mending_the_marked_field_the_answer_comes(page, server):
    ask(page, CASE | {"height_cm": 16.3})
    page.locator("#f-height_cm").fill(str(CASE["height_cm"]))
    page.locator("#submit").click()
    assert exact(page, "value") == rest(server, CASE)["value"]


@pytest.mark.parametrize(
    ("lang", "sentence"),
    [("en", "outside the range the model has learnt from"), ("zh", "超出模型训练数据的范围")],
)
def test_a_value_outside_the_training_range_is_answered_with_a_caution(page, server, lang, sentence):
    row = CASE | {"weight_before_kg": 250}
    assert "outside_training_range" in [warning["code"] for warning in rest(server, row)["warnings"]]
    ask(page, row, lang)
    expect(page.locator(".caution")).to_contain_text(BIRTH.by_name["weight_before_kg"].label.model_dump()[lang])
    expect(page.locator(".caution")).to_contain_text(sentence)
    assert exact(page, "value") == rest(server, row)["value"]


@pytest.mark.parametrize(("lang", "sentence"), [("en", "Needed for an answer."), ("zh", "此项必填")])
def test_a_required_field_that_is_missing_is_named(page, lang, sentence):
    ask(page, {"mother_age": 31}, lang)
    expect(page.locator("#errors li")).to_have_count(1)
    expect(page.locator("#errors")).to_contain_text(BIRTH.by_name["gestation_weeks"].label.model_dump()[lang])
    expect(page.locator("#e-gestation_weeks")).to_contain_text(sentence)


def test_hostile_text_is_inert(page):
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(f"{FORM}?lang={HOSTILE}")
    expect(page.locator("script")).to_have_count(0)
    page.locator("#f-height_cm").fill(HOSTILE)
    # A hand-made request: a word that the list does not offer.
    page.locator("#f-payer").evaluate("(list, text) => { list.options[1].value = text; list.value = text }", HOSTILE)
    page.locator("#submit").click()
    expect(page.locator("#errors li")).to_have_count(3)
    expect(page.locator("#f-height_cm")).to_have_value(HOSTILE)
    expect(page.locator("#f-payer")).to_have_value(HOSTILE)
    expect(page.locator("script")).to_have_count(0)
    assert not dialogs


def test_a_model_of_synthetic_data_says_so_on_top(page):
    page.goto(f"{FORM}?lang=en")
    expect(page.locator("#synthetic")).to_contain_text("Trained on synthetic data")
    page.goto(f"{FORM}?lang=zh")
    expect(page.locator("#synthetic")).to_contain_text("由合成数据训练")
    ask(page, CASE)
    expect(page.locator("#synthetic")).to_be_visible()


# --- the pages around it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "title", "use"), [("en", "Birth weight", "before birth"), ("zh", "出生体重", "产前")])
def test_the_list_of_tasks_leads_to_the_form_in_its_language(page, lang, title, use):
    page.goto(f"/?lang={lang}")
    expect(page.locator("main")).to_contain_text(use)
    page.get_by_role("link", name=title).click()
    expect(page).to_have_url(re.compile(rf"{FORM}\?lang={lang}$"))
    expect(page.locator("h1")).to_have_text(title)


@LANGS
def test_the_interface_page_names_every_field_and_leads_to_the_form(page, lang):
    page.goto(f"/docs?lang={lang}")
    for field in BIRTH.fields:
        line = page.locator(f"tr:has(code:text-is('{field.name}'))")
        expect(line).to_contain_text(field.label.model_dump()[lang])
    expect(page.locator("a[href='/openapi.json']")).to_be_visible()
    page.locator(f"a[href='{FORM}?lang={lang}']").click()
    expect(page.locator("h1")).to_have_text(BIRTH.title.model_dump()[lang])


def test_the_example_of_the_interface_page_is_answered_as_it_stands(page, server):
    page.goto("/docs")
    words = shlex.split(page.locator("pre").first.inner_text())
    address = next(word for word in words if word.startswith("http"))
    rows = json.loads(words[words.index("-d") + 1])
    response = server.post(address.removeprefix(server.base), json=rows)
    assert response.status_code == 200
    assert len(response.json()["answers"]) == 1


@pytest.mark.parametrize("path", ["/", "/docs", FORM])
def test_the_language_switch_keeps_the_page(page, server, path):
    page.goto(path)
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.get_by_role("link", name="中文").click()
    expect(page).to_have_url(f"{server.base}{path}?lang=zh")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.get_by_role("link", name="English").click()
    expect(page).to_have_url(f"{server.base}{path}?lang=en")


def test_a_chinese_browser_is_met_in_chinese(browser, server):
    for page in visit(browser, server, locale="zh-CN"):
        for path in ("/", "/docs", FORM):
            page.goto(path)
            expect(page.locator("html")).to_have_attribute("lang", "zh-CN")


@LANGS
def test_nothing_comes_from_elsewhere_and_the_console_stays_silent(page, server, lang):
    asked: list[str] = []
    heard: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    for path in ("/", "/docs", FORM):
        page.goto(f"{path}?lang={lang}")
    ask(page, CASE, lang)
    expect(page.locator("#answer-value")).to_be_visible()
    ask(page, {"gestation_weeks": 99}, lang)
    expect(page.locator("#errors")).to_be_visible()
    assert [url for url in asked if not url.startswith((f"{server.base}/", "data:"))] == []
    assert [line for line in heard if "status of 422" not in line] == []  # Chromium's own note on the refusal


@LANGS
def test_the_answer_and_what_it_was_made_from_print_on_one_page(page, lang):
    ask(page, CASE, lang)
    expect(page.locator("#answer-value")).to_be_visible()
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))) == 1


@LANGS
def test_a_phone_needs_no_sideways_scroll(phone, lang):
    for path in ("/", "/docs", FORM):
        phone.goto(f"{path}?lang={lang}")
        assert sideways(phone) <= 0, path
    ask(phone, CASE, lang)
    expect(phone.locator("#answer-value")).to_be_visible()
    assert sideways(phone) <= 0, "an answer"
    ask(phone, CASE | {"gestation_weeks": 99, "height_cm": "1" * 40}, lang)
    expect(phone.locator("#errors")).to_be_visible()
    assert sideways(phone) <= 0, "errors"
