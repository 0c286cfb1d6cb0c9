"""The compiled reader takes what the plain one takes, to the bit, and leaves every refusal to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import taskfile
from feature_store.errors import BodyRefused, RowsRefused, TooLarge
from feature_store.task import Task
from serving import request
from serving.reader import Reader
from tests.conftest import CASE, ROOT

BIRTH = taskfile.read(ROOT / "experiments/tasks/birth_weight.yaml")
EVERY_KIND = Task.model_validate({
    "task": "kinds", "title": "Kinds", "intended_use": "A test.",
    "fields": [
        {"name": "number", "type": "number", "limits": [-2.5, 7.25], "required": True},
        {"name": "whole", "type": "number", "limits": [-3, 1e30], "integer": True},
        {"name": "between", "type": "number", "limits": [0.25, 0.75]},
        {"name": "word", "type": "category"},
        {"name": "choice", "type": "category", "choices": ["yes", "no", "是"]},
        {"name": "flag", "type": "flag"},
        {"name": "day", "type": "date", "limits": ["2000-01-01", "2030-12-31"]},
        {"name": "any_day", "type": "date"},
    ],
    "target": {"name": "y", "label": "Y", "unit": "g", "limits": [0, 1]},
    "data": {"sources": {"t": "t.parquet"}, "sql": "SELECT * FROM t"},
})  # fmt: skip
GOOD = {"number": 1.5, "whole": 3, "between": 0.5, "word": "é", "choice": "是", "flag": True, "day": "2024-02-29"}
READERS = {task.task: (task, Reader(task)) for task in (BIRTH, EVERY_KIND)}

Outcome = tuple[str, Any]


def outcome(read: Any, *arguments: Any) -> Outcome:
    """What a reader gives, with types and the order of keys; or its refusal in full."""
    try:
        asked = read(*arguments)
    except RowsRefused as error:
        return "rows", error.errors
    except (BodyRefused, TooLarge) as error:
        return type(error).__name__, str(error)
    return "asked", (asked.explain, repr([list(row.items()) for row in asked.rows]))


def same(name: str, body: bytes, explain: bool = False) -> Outcome:
    task, reader = READERS[name]
    plain = outcome(request.read, task, body, explain)
    assert outcome(reader.read, body, explain) == plain
    return plain


def quick(name: str, body: bytes) -> bool:
    return READERS[name][1]._quick(body, False) is not None


def test_a_plain_body_takes_the_short_way():
    assert quick("birth_weight", json.dumps({"rows": [CASE, {**CASE, "height_cm": None}]}).encode())
    assert quick("kinds", json.dumps({"rows": [GOOD] * 1000, "explain": False}, ensure_ascii=False).encode())
    assert quick("kinds", b'{"rows": [{"number": -2.5, "whole": 3.0}]}')


@pytest.mark.parametrize("text", [
    '{"rows": [{"number": 1, "number": 1}]}', '{"rows": [{"number": 1}], "rows": [{"number": 2}]}',
    '{"rows": [{"number": 1, "word": "a", "word": null}]}', '{"rows": [{"number": 1, "word": null, "word": "a"}]}',
    '{"rows": [{"number": 1, "x": 1}]}', '{"rows": [{"number": 1, "": {"a": ["b"]}}]}', '{"rows": [{}]}',
    '{"rows": [{"number": 1}], "explain": true, "explain": false}', '{"rows": [{"number": 1}], "explain": null}',
    '{"rows": [{"number": 1}], "more": 1}', '{"rows": []}', '{"rows": null}', '{"rows": [null]}', "null", "[]", "{}",
    '{"rows": [{"number": NaN}]}', '{"rows": [{"number": 1e400}]}', '{"rows": [{"number": 1e-400}]}', "",
    '{"rows": [{"number": -0}]}', '{"rows": [{"number": -0.0}]}', '{"rows": [{"number": 1, "whole": 1.5}]}',
    '{"rows": [{"number": 1, "whole": 9223372036854775807}]}',
    '{"rows": [{"number": 1, "whole": 9223372036854775808}]}',
    '{"rows": [{"number": 1, "whole": 123456789012345678901234567890}]}', '{"rows": [{"number": 1, "between": 1}]}',
    '{"rows": [{"number": 1, "whole": 1e30}]}', '{"rows": [{"number": 7.25}]}', '{"rows": [{"number": 7.2500001}]}',
    '{"rows": [{"number": true}]}', '{"rows": [{"number": "1"}]}', '{"rows": [{"number": [1]}]}',
    '{"rows": [{"number": 1, "flag": 1}]}', '{"rows": [{"number": 1, "choice": "Yes"}]}',
    '{"rows": [{"number": 1, "day": "2023-02-29"}]}', '{"rows": [{"number": 1, "day": "1999-12-31"}]}',
    '{"rows": [{"number": 1, "day": "20240229"}]}', '{"rows": [{"number": 1, "any_day": "0001-01-01"}]}',
    '{"rows": [{"number": 1, "word": "\\u00e9"}]}', '{"rows": [{"number": 1, "w\\u006frd": "a"}]}',
    '{"rows": [{"number": 1, "word": "\\ud800"}]}', '{"rows": [{"number": 1, "word": "a\x01"}]}',
    '{"rows": [{"number": 1, "word": "' + "a" * 201 + '"}]}', '{"rows": [{"number": 1, "word": "' + "是" * 200 + '"}]}',
    '\ufeff{"rows": [{"number": 1}]}', '{"rows": [{"number": 1}]} x', '{"rows": [{"number": 01}]}',
    '{"rows": [{"number": 1.}]}', '{"rows": [{"number": 1,}]}', "[" * 100_000, '{"rows": ' + "[" * 100_000,
])  # fmt: skip
def test_what_is_odd_is_read_or_refused_as_the_plain_reader_does(text):
    same("kinds", text.encode())


@pytest.mark.parametrize("body", [
    b'{"rows": [{"number": 1, "word": "\xed\xa0\x80"}]}', b'{"rows": [{"number": 1, "word": "\xff"}]}',
    b'{"rows": [{"number": 1, "\xff": 1}]}', b'\xff', b'{"rows": [{"number": 1, "word": "\xc0\xaf"}]}',
])  # fmt: skip
def test_what_is_no_utf8_is_refused_as_the_plain_reader_does(body):
    assert same("kinds", body)[0] == "BodyRefused"


def test_as_many_rows_are_read_and_explained_as_the_plain_reader_takes():
    for count, explain in ((1000, False), (1001, False), (50, True), (51, True)):
        same("birth_weight", json.dumps({"rows": [CASE] * count}).encode(), explain)
        same("birth_weight", json.dumps({"rows": [CASE] * count, "explain": explain}).encode())


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-4, 8)
    | st.floats()
    | st.floats(-3, 8)
    | st.sampled_from(["yes", "no", "是", "2024-02-29", "2024-02-30", "1999-01-01", '"', "\\", "\ud800", ""])
    | st.text(max_size=6)
    | st.dates().map(str)
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner))
PAIRS = st.lists(
    st.tuples(st.sampled_from([f.name for f in EVERY_KIND.fields]) | st.text(max_size=3), JSON), max_size=9
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies near to good ones: keys twice, unknown keys, wrong kinds, escapes or raw letters, spaces, cut short."""
    ascii_only = draw(st.booleans())

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only)

    rows = []
    for pairs in draw(st.lists(PAIRS, max_size=3)):
        held = [*(GOOD.items() if draw(st.booleans()) else ()), *pairs]
        if draw(st.integers(0, 3)):
            held = list(dict(held).items())
        rows.append("{" + ", ".join(f"{text(key)}: {text(value)}" for key, value in held) + "}")
    parts = [f'"rows": [{", ".join(rows)}]']
    if draw(st.booleans()):
        parts.append(f'"explain": {text(draw(JSON))}')
    if not draw(st.integers(0, 5)):
        parts.append(draw(st.sampled_from(parts)))
    sent = ("{" + draw(st.sampled_from([",", " ,\n"])).join(parts) + "}").encode("utf-8", "surrogatepass")
    return sent if draw(st.integers(0, 5)) else sent[: draw(st.integers(0, len(sent)))]


@settings(max_examples=500, deadline=None)
@given(bodies(), st.booleans())
def test_both_readers_agree_on_any_body(body, explain):
    same("kinds", body, explain)


@settings(max_examples=300, deadline=None)
@given(st.floats(-2.5, 7.25), st.integers(-3, 2**70), st.floats(-3, 1e30).map(float.__floor__) | st.floats(), st.data())
def test_both_readers_give_the_same_bits(number, whole, other, data):
    digits = data.draw(st.sampled_from([repr(number), f"{number:.25e}", f"{number:.20f}", f"{number:.3g}"]))
    same("kinds", f'{{"rows": [{{"number": {digits}, "whole": {whole}}}, {{"number": 1, "whole": {other}}}]}}'.encode())
