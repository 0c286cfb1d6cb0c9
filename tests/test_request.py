"""Bad input is refused by row and field with what to do; nothing is silently accepted, nothing crashes."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import taskfile
from feature_store.errors import BodyRefused, RowsRefused, TooLarge
from serving import request
from tests.conftest import CASE, ROOT

TASK = taskfile.read(ROOT / "experiments/tasks/birth_weight.yaml")


def body(*rows: object) -> bytes:
    return json.dumps({"rows": list(rows)}).encode()


def refusals(*rows: object) -> list[tuple[int, str, str]]:
    with pytest.raises(RowsRefused) as caught:
        request.read(TASK, body(*rows))
    return [(error.row, error.field, error.code) for error in caught.value.errors]


def test_a_plain_case_is_read():
    assert request.read(TASK, body(CASE, {**CASE, "height_cm": None})).rows == [CASE, {**CASE, "height_cm": None}]


@pytest.mark.parametrize(
    ("changed", "field", "code"),
    [
        ({"weight": 1}, "", "unknown_field"),
        ({"gestation_weeks": None}, "gestation_weeks", "required"),
        ({"gestation_weeks": "39"}, "gestation_weeks", "wrong_type"),
        ({"gestation_weeks": True}, "gestation_weeks", "wrong_type"),
        ({"gestation_weeks": [39]}, "gestation_weeks", "wrong_type"),
        ({"gestation_weeks": 19.999}, "gestation_weeks", "below_limit"),
        ({"gestation_weeks": 10**300}, "gestation_weeks", "above_limit"),
        ({"mother_age": 31.5}, "mother_age", "not_an_integer"),
        ({"fetal_sex": "Female"}, "fetal_sex", "not_a_choice"),
        ({"fetal_sex": 1}, "fetal_sex", "wrong_type"),
        ({"diabetes": "no"}, "diabetes", "wrong_type"),
        ({"diabetes": 0}, "diabetes", "wrong_type"),
    ],
)
def test_a_wrong_value_is_named_by_row_field_and_code(changed, field, code):
    assert refusals(CASE, {**CASE, **changed}) == [(1, field, code)]


def test_every_error_of_every_row_is_told_at_once():
    assert refusals({"mother_age": 5}, 7, {**CASE, "x": 1, "height_cm": 9}) == [
        (0, "gestation_weeks", "required"),
        (0, "mother_age", "below_limit"),
        (1, "", "wrong_type"),
        (2, "", "unknown_field"),
        (2, "height_cm", "below_limit"),
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mothers_age", "Key 9 is not a field of birth_weight. Did you mean mother_age? Rename or remove it."),
        ("Height_cm ", "Key 9 is not a field of birth_weight. Did you mean height_cm? Rename or remove it."),
        ("Smith", "Key 9 is not a field of birth_weight. Remove or rename it."),
        ("height_cm" * 100_000, "Key 9 is not a field of birth_weight. Remove or rename it."),
    ],
    ids=lambda text: text[:20],
)
def test_an_unknown_field_is_told_by_its_place_and_what_was_meant_and_not_repeated(name, said):
    with pytest.raises(RowsRefused) as caught:
        request.read(TASK, body({**CASE, name: 1}))
    assert [error.message for error in caught.value.errors] == [said]


def test_of_ever_so_many_unknown_fields_as_many_are_told_as_of_other_errors():
    assert len(refusals({**CASE, **{f"mother_agd{n}": 1 for n in range(20_000)}})) == request.MAX_ERRORS


def test_no_message_repeats_a_value():
    with pytest.raises(RowsRefused) as caught:
        request.read(TASK, body({**CASE, "fetal_sex": "secret-word", "mother_age": 987654, "height_cm": "hidden"}))
    told = " ".join(error.message for error in caught.value.errors)
    assert not [word for word in ("secret", "987654", "hidden") if word in told]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "not JSON"),
        (b'{"rows": [', "not JSON (line 1"),
        (b'{"rows": [{"gestation_weeks": NaN}]}', "NaN is not a JSON number"),
        (b'{"rows": [{"gestation_weeks": -Infinity}]}', "-Infinity is not a JSON number"),
        (b'{"rows": [{"gestation_weeks": 1e400}]}', "beyond what a 64-bit float holds"),
        (b'{"rows": [{"gestation_weeks": ' + b"9" * 5000 + b"}]}", "too many digits"),
        (b'{"rows": [{"gestation_weeks": 39, "gestation_weeks": 30}]}', "key 2 of an object stands twice in it"),
        (b'{"rows": [{"payer": "\\ud800"}]}', "not UTF-8"),
        (b'{"rows": [{"payer": "\xff"}]}', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"rows": ' + b'{"a":' * 50_000, "nested too deeply"),
        (b"[]", "not an object with a list of rows"),
        (b'{"rows": {}}', "not an object with a list of rows"),
        (b'{"rows": []}', "Send 1 to 1000 rows"),
        (b'{"rows": [{}], "rwos": 1}', "Key 2 of the body is not one that it may hold: rows and explain"),
        (b'{"rows": [{}], "explain": 0}', "explain is neither true nor false"),
        (b'{"rows": [], "explain": true}', "Send 1 to 50 rows"),
    ],
)  # fmt: skip
def test_a_body_that_is_not_the_agreed_shape_is_refused_in_words(sent, said):
    with pytest.raises(BodyRefused) as caught:
        request.read(TASK, sent)
    assert said in str(caught.value)


def test_a_thousand_rows_are_read_and_one_more_is_not():
    assert len(request.read(TASK, body(*[CASE] * 1000)).rows) == 1000
    with pytest.raises(TooLarge, match="1001 rows"):
        request.read(TASK, body(*[CASE] * 1001))


def test_fifty_rows_are_explained_and_one_more_is_not():
    assert request.read(TASK, body(*[CASE] * 50), explain=True).explain is True
    asked = json.dumps({"rows": [CASE] * 51, "explain": True}).encode()
    for explain in (True, False):
        with pytest.raises(TooLarge, match="51 rows; at most 50 are explained"):
            request.read(TASK, asked, explain)
    assert request.read(TASK, body(CASE)).explain is False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
ROW = st.dictionaries(st.sampled_from([f.name for f in TASK.fields]) | st.text(max_size=5), JSON, max_size=8)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=200), JSON.map(lambda x: json.dumps(x).encode()), ROW.map(lambda r: body(r))))
def test_whatever_is_accepted_keeps_the_limits(sent):
    try:
        rows = request.read(TASK, sent).rows
    except (BodyRefused, RowsRefused, TooLarge):
        return
    for row in rows:
        assert row["gestation_weeks"] is not None
        for name, value in row.items():
            field = TASK.by_name[name]
            if field.type == "number" and value is not None:
                assert math.isfinite(value)
                assert field.limits[0] <= value <= field.limits[1]
