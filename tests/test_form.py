"""The form: a Task becomes a page, and what was typed on it becomes a row."""

from __future__ import annotations

import hashlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from feature_store import taskfile
from feature_store.errors import BodyRefused, RowError
from feature_store.task import Task
from serving import form
from serving.form import Page

ROOT = Path(__file__).parents[1]
TASKS = [taskfile.read(path) for path in sorted((ROOT / "experiments/tasks").glob("*.yaml"))]
BIRTH = next(task for task in TASKS if task.task == "birth_weight")
PLAIN = Task.model_validate(
    {
        "task": "stay",
        "title": {"en": "Length of stay", "zh": "住院天数"},
        "intended_use": "Planning of beds.",
        "target": {"name": "stay_d", "unit": "d", "limits": [0, 200], "label": "Stay", "digits": 1},
        "data": {"sources": {"t": "t.csv"}, "sql": "SELECT * FROM t"},
        "fields": [
            {"name": "admitted", "type": "date", "limits": ["2020-01-01", "2030-12-31"]},
            {"name": "ward", "type": "category"},
            {"name": "grade", "type": "category", "choices": ["½", "1"]},
            {"name": "pulse", "type": "number", "unit": "/min", "limits": [20, 250], "integer": True},
            {"name": "excess", "type": "number", "limits": [-30, 30]},
        ],
        "answers": {"events": [{"name": "middling", "label": "Middling", "between": [3, 7.5]}]},
        "groups": [{"field": "pulse", "cuts": [60, 100]}],
        "form": {"sections": [{"title": "Vital signs", "fields": ["pulse"]}]},
    }
)
EVERY = pytest.mark.parametrize("task", [*TASKS, PLAIN], ids=lambda task: task.task)
BOTH = pytest.mark.parametrize("lang", ["en", "zh"])
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
CARD = {
    "metrics": {"mae": 329.6, "rmse": 426.3, "coverage": 0.9012},
    "trained_on": {"rows": 79547, "holdout_rows": 19887, "synthetic": False},
}


def classed(task: Task) -> dict[str, Any]:
    """An answer of classes: of two the chance of the positive one, of more one chance each."""
    words = [choice.value for choice in task.target.classes or ()] or ["no", str(task.target.positive)]
    chances = dict.fromkeys(words, 1 / len(words))
    what = {"value": 0.061} if task.kind == "binary" else {"probabilities": chances}
    beside = {"label": words[0], "set": words[:2], "group": "all", "decision": None, "warnings": []}
    return {"prediction_id": "0198c2f4"} | what | beside


def answer(task: Task, **changes: Any) -> dict[str, Any]:
    if task.kind != "regression":
        return classed(task) | changes
    return {
        "prediction_id": "0198c2f4",
        "value": 3412.4,
        "unit": task.target.unit,
        "interval": {"level": 0.9, "low": 2811.0, "high": 4020.0},
        "events": {event.name: 0.061 for event in task.answers.events},
        "group": "all",
        "decision": None,
        "warnings": [],
    } | changes


class Html(HTMLParser):
    """The elements of a page as (tag, attributes), the text of those with an id, and what a browser would post."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.by_id: dict[str, str] = {}
        self.posted: dict[str, str] = {}
        self.words = ""
        self._open: list[tuple[str, str]] = []
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.append((tag, given))
        if tag not in ("meta", "link", "input", "br", "img"):
            self._open.append((tag, given.get("id", "")))
        if tag == "select":
            self._select = given["name"]
            self.posted[self._select] = ""
        elif tag == "option" and "selected" in given:
            self.posted[self._select] = given["value"]
        elif tag == "input" and (given["type"] != "radio" or "checked" in given):
            self.posted[given["name"]] = given["value"]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        for _, name in self._open:
            if name:
                self.by_id[name] = " ".join(f"{self.by_id.get(name, '')}{data}".split(" "))

    def all(self, name: str) -> list[str]:
        return [given[name] for _, given in self.elements if name in given]


def shown(page: Page) -> Html:
    return Html(form.render(page))


def said(page: Html, name: str) -> str:
    return " ".join(page.by_id[name].split())


# --- what was typed becomes a row ---------------------------------------------------------------------------------


def typed(task: Task = BIRTH, **texts: str) -> tuple[dict[str, object], list[RowError]]:
    return form.row(task, form.read(task, urlencode(texts).encode()))


def test_numbers_flags_and_words_become_what_an_application_would_send():
    row, errors = typed(gestation_weeks="39", mother_age="31", height_cm="162.5", diabetes="no", fetal_sex="female")
    assert not errors
    assert row == {
        "gestation_weeks": 39.0,
        "mother_age": 31,
        "height_cm": 162.5,
        "diabetes": False,
        "fetal_sex": "female",
    }
    assert type(row["mother_age"]) is int


def test_blank_fields_are_left_out_of_the_row():
    assert typed(gestation_weeks="39", mother_age="", diabetes="", payer="  ") == ({"gestation_weeks": 39.0}, [])


@pytest.mark.parametrize("text", ["３９", " 39 ", "39.0", "39，0", "39。0", "+39", "39,0", "３９．０", "\u300039"])
def test_a_number_is_read_as_keyboards_of_both_languages_write_it(text):
    assert typed(gestation_weeks=text, mother_age=text) == ({"gestation_weeks": 39.0, "mother_age": 39}, [])


@pytest.mark.parametrize(("text", "value"), [("38,5", 38.5), ("0,125", 0.125), ("1234,125", 1234.125), ("−3", -3.0)])
def test_a_decimal_comma_is_read_where_it_can_only_be_one(text, value):
    assert typed(PLAIN, excess=text) == ({"excess": value}, [])


@pytest.mark.parametrize(
    "text",
    [
        "3,412",
        "-3,412",
        "thirty",
        "39+3",
        "1e3",
        "nan",
        "inf",
        "0x10",
        "1_0",
        "--1",
        "1.2.3",
        "٣٩",
        "9" * 5000,
        HOSTILE,
    ],
)
def test_what_is_not_surely_a_number_is_an_error_that_never_repeats_it(text):
    row, [error] = typed(gestation_weeks=text, mother_age="31")
    assert (row, error.row, error.field, error.code) == ({"mother_age": 31}, 0, "gestation_weeks", "not_a_number")
    assert text not in error.message


def test_a_broken_whole_number_is_left_to_the_check_of_the_row():
    assert typed(mother_age="31.5") == ({"mother_age": 31.5}, [])


def test_a_flag_is_yes_or_no():
    row, [error] = typed(diabetes=HOSTILE)
    assert (row, error.field, error.code) == ({}, "diabetes", "not_a_flag")
    assert HOSTILE not in error.message


def test_words_of_a_category_stay_as_they_are_and_dates_become_plain():
    assert typed(PLAIN, grade="½", ward=" Ａ１ ", admitted="２０２４-０３-０１") == (
        {"grade": "½", "ward": "Ａ１", "admitted": "2024-03-01"},
        [],
    )


def test_only_fields_of_the_task_are_read_and_the_first_of_two_counts():
    body = b"lang=zh&mother_age=31&mother_age=44&birth_weight_g=9&_=1"
    assert form.read(BIRTH, body) == {"mother_age": "31"}


@pytest.mark.parametrize("body", [b"mother_age=\xff", b"mother_age=%ff", b"payer=%ed%a0%80", b"a=1&" * 10_000])
def test_a_body_that_is_not_utf8_or_is_endless_is_refused(body):
    with pytest.raises(BodyRefused):
        form.read(BIRTH, body)


@EVERY
def test_an_empty_body_is_an_empty_form(task):
    assert form.row(task, form.read(task, b"")) == ({}, [])


# --- the page asks for what the Task states -----------------------------------------------------------------------


@EVERY
@BOTH
def test_every_field_is_on_the_page_with_its_label_help_and_limits(task, lang):
    page = shown(Page(task, lang))
    assert set(page.posted) == set(task.by_name)
    for field in task.fields:
        assert field.label[lang] in page.words
        if field.help:
            assert said(page, f"h-{field.name}") == field.help[lang]
        if field.type == "number":
            low, high = (f"{limit:.15g}".replace("-", "−") for limit in field.limits)
            assert said(page, f"l-{field.name}") == f"{low} {'至' if lang == 'zh' else 'to'} {high}"


@EVERY
@BOTH
def test_the_page_is_headed_by_title_and_intended_use_in_its_language(task, lang):
    page = shown(Page(task, lang))
    assert page.elements[0] == ("html", {"lang": "zh-CN" if lang == "zh" else "en"})
    assert task.title[lang] in page.words
    assert said(page, "intended-use") == " ".join(task.intended_use[lang].split())
    assert ("?lang=en" if lang == "zh" else "?lang=zh") in page.all("href")


def test_fields_that_no_section_names_come_last():
    page = shown(Page(PLAIN, "en"))
    assert list(page.posted) == ["pulse", "admitted", "ward", "grade", "excess"]
    assert page.words.index("Vital signs") < page.words.index("Other")


def test_the_form_posts_to_its_task_in_its_language_and_leaves_judging_to_the_server():
    [given] = [given for tag, given in shown(Page(BIRTH, "zh")).elements if tag == "form"]
    assert given["action"] == "/form/birth_weight?lang=zh"
    assert (given["method"], given["autocomplete"], "novalidate" in given) == ("post", "off", True)


@EVERY
def test_each_control_is_named_and_described_by_what_is_on_the_page(task):
    errors = [RowError(0, field.name, "required", "") for field in task.fields]
    page = shown(Page(task, "en", errors=errors, answer=answer(task), card=CARD))
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    named = [*page.all("for"), *page.all("aria-labelledby"), *" ".join(page.all("aria-describedby")).split()]
    assert set(named) <= set(ids)
    assert {href[1:] for href in page.all("href") if href.startswith("#")} <= set(ids)
    assert {f"e-{field.name}" for field in task.fields} <= set(named)


@EVERY
@BOTH
def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing(task, lang):
    page = shown(Page(task, lang, "3", CARD, answer=answer(task), others=[("other", "Other")]))
    assert not {tag for tag, _ in page.elements} & {"script", "style", "iframe", "img", "object", "base"}
    attributes = {name for _, given in page.elements for name in given}
    assert not {name for name in attributes if name == "style" or name.startswith("on")}
    for address in [*page.all("href"), *page.all("action")]:
        assert (address[0] in "/?#" and address[:2] != "//") or address == "data:,"


def test_the_stylesheet_loads_nothing_and_its_address_changes_with_it():
    css = (ROOT / "serving/static/form.css").read_text(encoding="utf-8")
    assert "url(" not in css and "@import" not in css
    digest = hashlib.sha256(css.encode()).hexdigest()
    assert digest[:10] in form.STYLESHEET and form.STYLESHEET in shown(Page(BIRTH, "en")).all("href")


# --- what was typed stays -----------------------------------------------------------------------------------------

TEXTS = {
    "birth_weight": {"gestation_weeks": "39", "mother_age": "thirty", "diabetes": "no", "plurality": "twins"},
    "birth_weight_hospital": {"weight_first_kg": "52,5", "term": "preterm", "below_poverty_line": "yes"},
    "stay": {"admitted": "2024-03-01", "ward": "B <2>", "grade": "½", "pulse": "7２"},
}


@EVERY
@BOTH
def test_typed_values_survive_the_way_there_and_back(task, lang):
    blank = dict.fromkeys(task.by_name, "")
    texts = form.read(task, urlencode(blank | TEXTS.get(task.task, {})).encode())
    page = shown(Page(task, lang, texts=texts))
    assert page.posted == texts
    assert form.read(task, urlencode(page.posted).encode()) == texts


@EVERY
@BOTH
def test_hostile_text_is_shown_and_inert(task, lang):
    texts = dict.fromkeys(task.by_name, HOSTILE)
    errors = [RowError(0, HOSTILE, "unheard_of", HOSTILE)]
    hostile = answer(
        task, prediction_id=HOSTILE, group=HOSTILE, warnings=[dict.fromkeys(("field", "message"), HOSTILE)]
    )
    hostile["warnings"][0]["code"] = "unheard_of"
    page = shown(Page(task, lang, HOSTILE, CARD, texts, hostile, errors, [(HOSTILE, HOSTILE)]))
    trouble = shown(Page(task, lang, trouble=HOSTILE))
    assert "<script" not in form.render(Page(task, lang, HOSTILE, CARD, texts, hostile, errors, [(HOSTILE, HOSTILE)]))
    assert not {tag for tag, _ in page.elements + trouble.elements} & {"script", "img"}
    assert all(page.posted.get(field.name) == HOSTILE for field in task.fields if field.type != "flag")
    assert said(trouble, "trouble") == said(page, "version") == " ".join(HOSTILE.split())


# --- what is wrong is said in the page's language -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "en", "zh"),
    [
        ("below_limit", "Below 75 cm, the lowest value accepted.", "低于可接受的最小值 75 cm。"),
        ("above_limit", "Above 230 cm, the highest value accepted.", "高于可接受的最大值 230 cm。"),
        ("not_a_number", "Not a number that can be read.", "无法读作数字。"),
        ("required", "Please fill it in.", "此项必填，请填写。"),
        ("missing_field", "Please fill it in.", "此项必填，请填写。"),
    ],
)
def test_an_error_stands_at_its_field_and_on_top_with_the_limit_and_unit_of_the_task(code, en, zh):
    for lang, words, label in (("en", en, "Height"), ("zh", zh, "身高")):
        page = shown(Page(BIRTH, lang, errors=[RowError(0, "height_cm", code, "never shown")]))
        assert words in said(page, "e-height_cm")
        assert label in said(page, "errors") and words in said(page, "errors")
        assert "#f-height_cm" in page.all("href")
        assert "never shown" not in page.words
        [control] = [given for _, given in page.elements if given.get("id") == "f-height_cm"]
        assert control["aria-invalid"] == "true" and "e-height_cm" in control["aria-describedby"].split()


def test_an_error_of_a_category_names_the_choices_and_of_a_date_the_day():
    wrong = [RowError(0, "fetal_sex", "not_a_choice", "")]
    assert "Female, Male" in said(shown(Page(BIRTH, "en", errors=wrong)), "e-fetal_sex")
    assert "女、男" in said(shown(Page(BIRTH, "zh", errors=wrong)), "e-fetal_sex")
    early = [RowError(0, "admitted", "below_limit", "")]
    assert "Before 2020-01-01" in said(shown(Page(PLAIN, "en", errors=early)), "e-admitted")


def test_an_error_that_the_page_has_no_words_for_keeps_its_own():
    for code in ("unheard_of", "not_a_choice"):  # a category without choices has none to name
        page = shown(Page(PLAIN, "zh", errors=[RowError(0, "ward", code, "Mend the ward.")]))
        assert said(page, "e-ward") == "Mend the ward."
    page = shown(Page(BIRTH, "en", errors=[RowError(0, "hat_size", "unknown_field", "")]))
    assert "hat_size: Not a field of this form." in said(page, "errors")


# --- the answer ---------------------------------------------------------------------------------------------------


@BOTH
def test_the_answer_is_rounded_to_what_the_task_shows_and_keeps_its_exact_value(lang):
    page = shown(Page(BIRTH, lang, "3", CARD, answer=answer(BIRTH)))
    assert page.by_id["answer-value"] == "3\u202f412"
    assert (page.by_id["answer-low"], page.by_id["answer-high"]) == ("2\u202f811", "4\u202f020")
    assert {given["id"]: given["value"] for tag, given in page.elements if tag == "data"} == {
        "answer-value": "3412.4",
        "answer-low": "2811.0",
        "answer-high": "4020.0",
    }
    assert said(page, "event-macrosomia") == "6.1 %"
    assert all(
        words in said(page, "answer")
        for words in ("90 %", "< 2500 g", "≥ 4000 g", BIRTH.answers.events[0].source[lang])
    )
    assert BIRTH.target.label[lang] in said(page, "answer")
    assert said(shown(Page(PLAIN, "en", answer=answer(PLAIN, value=3.25))), "answer-value") == "3.2"


def test_an_event_between_two_values_is_defined_by_both():
    assert "3–7.5 days" in said(shown(Page(PLAIN, "en", answer=answer(PLAIN))), "answer")


@pytest.mark.parametrize(
    ("p", "words"),
    [(0, "< 0.1 %"), (0.0009, "< 0.1 %"), (0.001, "0.1 %"), (0.5, "50.0 %"), (0.999, "99.9 %"), (1, "> 99.9 %")],
)
def test_no_chance_is_said_to_be_nothing_or_certain(p, words):
    page = shown(Page(BIRTH, "en", answer=answer(BIRTH, events={"macrosomia": p})))
    assert said(page, "event-macrosomia") == words
    assert "event-low_birth_weight" not in page.by_id


def test_missing_fields_are_one_sentence_and_other_warnings_stand_out():
    warnings = [
        {"field": "height_cm", "code": "outside_training_range", "message": "never shown"},
        {"field": "payer", "code": "unseen_category", "message": "never shown"},
        {"field": "father_age", "code": "missing_field", "message": "never shown"},
        {"field": "eclampsia", "code": "missing_field", "message": "never shown"},
    ]
    for lang, caution, missing in (
        ("en", "Height: outside the range the model has learnt from", "(2/24): Father's age, Eclampsia."),
        ("zh", "身高：超出模型训练数据的范围", "(2/24)：父亲年龄、子痫。"),
    ):
        page = shown(Page(BIRTH, lang, answer=answer(BIRTH, warnings=warnings)))
        assert caution in said(page, "answer")
        assert missing in said(page, "missing")
        assert "never shown" not in page.words


@pytest.mark.parametrize(
    ("task", "group", "en", "zh"),
    [
        (BIRTH, "all", "all cases", "全部个案"),
        (BIRTH, "plurality=twins", "Number of fetuses: Twins", "胎数：双胎"),
        (
            BIRTH,
            "plurality=unknown,diabetes=no",
            "Number of fetuses: unknown; Diabetes (before or in pregnancy): no",
            "胎数：未知；糖尿病（孕前或妊娠期）：否",
        ),
        (PLAIN, "pulse<60", "Pulse: < 60", "Pulse：< 60"),
        (PLAIN, "pulse>=100", "Pulse: ≥ 100", "Pulse：≥ 100"),
        (PLAIN, "pulse=60-100", "Pulse: 60-100", "Pulse：60-100"),
        (PLAIN, "something else", "something else", "something else"),
    ],
)
def test_the_group_of_an_answer_is_told_in_words(task, group, en, zh):
    assert said(shown(Page(task, "en", answer=answer(task, group=group))), "group") == en
    assert said(shown(Page(task, "zh", answer=answer(task, group=group))), "group") == zh


def test_the_page_says_which_version_answered_what_it_learnt_from_and_how_far_off_it_was():
    page = shown(Page(BIRTH, "en", "3", CARD, answer=answer(BIRTH)))
    assert said(page, "version") == "3"
    for words in ("79\u202f547 cases", "19\u202f887 others", "330 g", "426 g", "90.1 %", "not a diagnosis"):
        assert words in page.words
    assert "synthetic" not in page.by_id


@BOTH
def test_a_model_of_synthetic_data_says_so_on_top(lang):
    page = shown(Page(BIRTH, lang, "3", {"trained_on": {"rows": 10, "synthetic": True}}))
    assert ("仅供试用" if lang == "zh" else "for trying out only") in said(page, "synthetic")


@EVERY
@BOTH
def test_without_a_model_the_form_is_there_and_says_why_there_is_no_answer(task, lang):
    page = shown(Page(task, lang, trouble="No model yet."))
    assert said(page, "trouble") == "No model yet."
    assert "answer-value" not in page.by_id and set(page.posted) == set(task.by_name)


# --- the reasons --------------------------------------------------------------------------------------------------


def explained(task: Task, amounts: dict[str, float], **changes: Any) -> dict[str, Any]:
    items: list[dict[str, Any]] = [{"field": f.name, "contribution": amounts.get(f.name, 0.0)} for f in task.fields]
    return {"value": 3412.4, "unit": task.target.unit, "base": 3270.4, "contributions": items} | changes


@pytest.mark.parametrize(
    ("lang", "told"),
    [
        ("en", ["The mean answer is 3 270 g, this one 3 412 g. The difference of +142 g is made up of:",
                "Planned weeks of gestation at birth: 39 weeks +120 g", "Sex of the fetus: Female \u221240 g",
                "Diabetes (before or in pregnancy): no +5 g", "Payer: not given +30 g",
                f"The other {len(BIRTH.fields) - 8} together +2 g"]),
        ("zh", ["平均为 3 270 g，本例为 3 412 g。差值 +142 g 由以下各项构成：",
                "计划分娩孕周：39 周 +120 g", "胎儿性别：女 \u221240 g",
                "糖尿病（孕前或妊娠期）：否 +5 g", "付费方式：未填写 +30 g",
                f"其余 {len(BIRTH.fields) - 8} 项合计 +2 g"]),
    ],
)  # fmt: skip
def test_the_largest_reasons_are_told_with_their_values_and_the_others_together(lang, told):
    amounts = {"gestation_weeks": 120.0, "fetal_sex": -40.0, "payer": 30.0, "mother_age": 10.0, "height_cm": 8.0,
               "father_age": 7.0, "weight_now_kg": 6.0, "diabetes": 5.0, "eclampsia": 1.0,
               "weight_before_kg": 1.0}  # fmt: skip
    row: dict[str, object] = {"gestation_weeks": 39.0, "fetal_sex": "female", "diabetes": False}
    page = shown(Page(BIRTH, lang, answer=answer(BIRTH), explanation=explained(BIRTH, amounts), row=row))
    text = said(page, "reasons")
    for sentence in told:
        assert sentence in text
    bars = [given for tag, given in page.elements if tag == "rect" and given.get("class") in ("more", "less")]
    assert len(bars) == 8
    assert (bars[0]["x"], bars[0]["width"]) == ("100", "100.0")
    assert (bars[1]["class"], float(bars[1]["x"]) + float(bars[1]["width"])) == ("less", 100.0)
    assert "silence" not in page.by_id


def test_a_cut_at_the_limits_is_a_reason_with_words():
    found = explained(BIRTH, {"gestation_weeks": 5000.0})
    found["contributions"].append({"field": None, "code": "limits", "contribution": -300.0})
    page = shown(Page(BIRTH, "en", answer=answer(BIRTH), explanation=found))
    assert "Limits of the answer \u2212300 g" in said(page, "reasons")


def test_reasons_of_a_chance_are_in_points():
    task = class_task("binary", positive="yes")
    items = [{"field": task.fields[0].name, "contribution": 0.123}]
    found = {"value": 0.676, "base": 0.329, "class": "yes", "contributions": items}
    given = {"prediction_id": "1", "value": 0.676, "label": "yes", "set": ["yes"], "group": "all", "warnings": []}
    page = shown(Page(task, "en", answer=given, explanation=found, classes=("no", "yes")))
    assert "The mean chance of yes is 32.9 %, this one 67.6 %. The difference of +34.7 points" in said(page, "reasons")
    assert "+12.3 points" in said(page, "reasons")


@BOTH
def test_reasons_with_hostile_words_are_shown_and_inert(lang):
    row: dict[str, object] = {"ward": HOSTILE}
    found = explained(PLAIN, {"ward": 2.0})
    page = shown(Page(PLAIN, lang, answer=answer(PLAIN), explanation=found, row=row))
    assert HOSTILE in page.by_id["reasons"]
    assert not [tag for tag, _ in page.elements if tag in ("script", "img")]


def test_where_there_are_no_reasons_the_page_says_why_or_nothing():
    page = shown(Page(BIRTH, "en", answer=answer(BIRTH), silence="Not now."))
    assert said(page, "silence") == "Not now."
    assert "reasons" not in page.by_id
    bare = shown(Page(BIRTH, "en", answer=answer(BIRTH)))
    assert not {"reasons", "silence"} & set(bare.by_id)


# --- the language -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "header", "lang"),
    [
        (None, None, "en"),
        ("zh", "en", "zh"),
        ("en", "zh-CN", "en"),
        ("zh-CN", None, "zh"),
        ("fr", "zh", "zh"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, "de, en;q=0.3, zh;q=0.7", "zh"),
        (None, "zh;q=0, en;q=0.1", "en"),
        (None, "fr, de", "en"),
        (None, ";;q=,,zh;q=x", "zh"),
    ],
)
def test_the_language_is_the_asked_one_else_the_browsers_else_english(query, header, lang):
    assert form.language(query, header) == lang


# --- classes


def class_page(
    task: Task, lang: str, given: dict[str, Any] | None = None, classes: tuple[str, ...] = (), **shown: Any
) -> str:
    plain = {"prediction_id": "0198c2f4", "group": "all", "decision": None, "warnings": []}
    return form.render(Page(task, lang, classes=classes, answer=given and plain | given, **shown))  # type: ignore[arg-type]


def class_task(kind: str, **target: Any) -> Task:
    whole = PLAIN.model_dump(mode="json")
    return Task.model_validate(
        whole
        | {"kind": kind, "answers": {}, "target": {"name": "y", "label": {"en": "Sepsis", "zh": "脓毒症"}, **target}}
        | {"search": {}, "gate": {}}
    )


TRUE = class_task("binary", positive="true")
WARDS = [f"w{place}" for place in range(30)]


def test_a_binary_answer_gives_the_chance_of_the_positive_class_and_both_classes():
    given = {"value": 0.234, "label": "false", "set": ["false", "true"]}
    for lang, yes, no, said in (("en", "yes", "no", "neither can be ruled out"), ("zh", "是", "否", "两者都不能排除")):
        page = Html(class_page(TRUE, lang, given, ("false", "true")))
        assert page.by_id["answer-value"].strip() == "23.4 %"
        assert said in page.by_id["answer-set"]
        rows = page.by_id["classes"]
        assert rows.index(yes) < rows.index("23.4 %") < rows.index(no) < rows.index("76.6 %")


def test_a_binary_answer_with_one_class_left_says_which():
    given = {"value": 0.02, "label": "false", "set": ["false"]}
    assert "At 90 % confidence only no remains." in " ".join(
        Html(class_page(TRUE, "en", given, ("false", "true"))).words.split()
    )
    assert "按 90 % 的置信度，只剩否一种可能。" in Html(class_page(TRUE, "zh", given, ("false", "true"))).words


def ward_answer(count: int, inside: int) -> dict[str, Any]:
    chances = {word: 2.0 * (count - place) / count / (count + 1) for place, word in enumerate(WARDS[:count])}
    return {"probabilities": chances, "label": "w0", "set": WARDS[:inside]}


def test_many_classes_are_ranked_and_the_unlikely_ones_folded_away():
    task = class_task("multiclass")
    page = class_page(task, "en", ward_answer(30, 3), tuple(WARDS))
    read = Html(page)
    assert read.by_id["answer-value"].strip() == "w0"
    assert "the 3 marked ones can't be ruled out" in read.by_id["answer-set"]
    assert [f">{word}" in page.split("<details")[0].split('id="classes"')[1] for word in WARDS[:9]] == [True] * 8 + [
        False
    ]
    assert "22 others, together 54.4 %" in page
    assert "其余 22 项，合计 54.4 %" in class_page(task, "zh", ward_answer(30, 3), tuple(WARDS))
    assert page.count('class="mark"') == 3


def test_no_class_of_the_set_is_folded_away_and_a_single_one_never_is():
    task = class_task("multiclass")
    assert class_page(task, "en", ward_answer(30, 20), tuple(WARDS)).split("<details")[0].count('class="mark"') == 20
    assert "<details" not in class_page(task, "en", ward_answer(9, 1), tuple(WARDS[:9]))


@BOTH
def test_a_hostile_class_is_shown_and_not_run(lang):
    task = class_task("multiclass")
    given = {"probabilities": {HOSTILE: 0.6, "b": 0.4}, "label": HOSTILE, "set": [HOSTILE]}
    for page in (class_page(task, lang, given, (HOSTILE, "b")), class_page(task, lang, None, (HOSTILE, "b"))):
        assert "<script" not in page
        assert "<img" not in page


def test_a_class_has_the_tasks_words_where_it_has_some():
    named = class_task("binary", positive="1", classes=["0", {"value": "1", "label": {"en": "septic", "zh": "脓毒"}}])
    page = class_page(named, "zh", {"value": 0.7, "label": "1", "set": ["1"]}, ("0", "1"))
    assert "脓毒</strong>" in page


@BOTH
def test_measures_of_classes_fit_the_kind(lang):
    metrics = {"auc": 0.8612, "log_loss": 0.3123, "accuracy": 0.871, "set_coverage": 0.9034, "rmse": 5.0}
    page = class_page(TRUE, lang, None, ("false", "true"), card={"metrics": metrics, "trained_on": {"rows": 900}})
    for shown in ("0.861", "0.312", "87.1 %", "90.3 %", "900"):
        assert shown in page
    assert "RMSE" not in page
    assert "均方根" not in page


@pytest.mark.parametrize("task", [TRUE, class_task("multiclass")], ids=["binary", "multiclass"])
@BOTH
def test_an_empty_form_of_classes_says_what_will_stand_there(task, lang):
    read = Html(class_page(task, lang, None, ("false", "true")))
    assert {"en": "appears here", "zh": "将显示在此处"}[lang] in read.words
    assert "answer-value" not in read.by_id
