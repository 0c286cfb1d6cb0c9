# ruff: noqa: E501  (lists that are read as lists)
"""Bodies that no honest application sends: by hand, and near the interface's own document."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.conftest import CASE

PLANTED = "canary7"
"""Stands in values, which no answer may repeat."""


def by_hand() -> list[bytes]:
    """Each must be refused."""
    return [*_not_json(), *map(_sent, _wrong_shapes()), *map(_sent, _wrong_rows()), *_changed_bytes()]


def _sent(document: Any) -> bytes:
    return json.dumps(document).encode()


def _not_json() -> list[bytes]:
    row = b'{"rows": [{"gestation_weeks": %s}]}'
    tokens = [
        b"NaN", b"-NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"0x27", b"039", b"+39", b"39.", b".39", b"3_9",
        b"1" * 5000, b"True", b"nul", b"'39'", b'"canary7', b'"\\x"', b'"\\u12"', b'"\\ud800"', b'"\xff"', b'"\x00"', b"39,",
        b"39 39", b"/*39*/39", b"39]", b"{", b"[", b"}", b"1e", b"--39", b"\xef\xbc\x93\xef\xbc\x99", b"undefined",
    ]  # fmt: skip
    whole = [
        b"", b" ", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe{\x00}\x00", b"canary7", b"null", b"true", b"39", b'"canary7"', b"[]",
        b"{}", b"{", b'{"rows"', b'{"rows":', b'{"rows": [', b'{"rows": [}', b'{"rows": []]', b'{rows: []}', b"{'rows': []}",
        b'{"rows": [{}],}', b'{"rows": [{},]}', b'{"rows": [{}]} {}', b'{"rows": [{}]}\x00', b"rows=canary7", b"<rows/>",
        b"--x\r\ncontent-disposition: form-data\r\n\r\ncanary7", b"gASVCAAAAAAAAACMBHRydWWULg==", b"\x80\x04.", b"PK\x03\x04",
        b"!!python/object/apply:os.system [id]", b"[" * 100_000, b'{"a":' * 100_000, b'{"rows": [' + b"[" * 5000 + b"]" * 5000 + b"]}",
        b'{"rows": [{}], "rows": [{}]}', b'{"rows": [{"gestation_weeks": 39, "gestation_weeks": 39}]}', b'"' + b"\\" * 9999,
        b'{"rows": [' + b"{}," * 2000 + b"{}]}", b'{"rows": [{"gestation_weeks": "' + b"A" * 900_000 + b'"}]}',
        b'{"rows": [{"' + b"k" * 900_000 + b'": 1}]}', b'{"rows": [{' + b",".join(b'"k%d": 1' % n for n in range(20_000)) + b"}]}",
        json.dumps({"rows": [CASE]}).encode("utf-16"), json.dumps({"rows": [CASE]}).encode("utf-32"),
        b" " * 1_100_000, b'{"rows": [' + b" " * 1_100_000 + b"]}",
    ]  # fmt: skip
    return [row % token for token in tokens] + whole


def _wrong_shapes() -> list[Any]:
    shapes: list[Any] = [
        {"rows": value}
        for value in (None, 1, True, "canary7", {}, [], [[]], [None], [1], ["canary7"], [True], [[CASE]])
    ]
    keys = ["Rows", "row", "", " rows", "rows ", "data", "instances", "inputs", "__proto__", "constructor", "$ref"]
    shapes += [{key: [CASE]} for key in keys]
    shapes += [{"rows": [CASE], key: value} for key, value in (("explain", 1), ("explain", "yes"), ("explain", None),
               ("explain", []), ("x", 1), ("version", "1"), ("__class__", {}), ("outcomes", []))]  # fmt: skip
    return [*shapes, [CASE], CASE, [[CASE]], {"rows": [CASE, None]}, {"rows": [CASE, {}]}, {"rows": [CASE] * 1001}]


def _wrong_rows() -> list[Any]:
    strange: list[Any] = [
        [], {}, [39], {"value": 39}, "", " ", "39", "39 wk", PLANTED, "canary7'; DROP TABLE answers; --", "../../etc/passwd",
        "{{7*7}}", "${jndi:ldap://canary7}", "<script>canary7</script>", "%s%n", "\x00", "\u202e", "\ufffe", "A" * 300,
    ]  # fmt: skip
    numbers: list[Any] = [
        True,
        False,
        -1,
        0,
        46,
        19.99,
        1e308,
        -1e308,
        5e-324,
        10**30,
        10**300,
        -(10**300),
        2**63,
        2**64,
    ]
    rows: list[Any] = [{**CASE, "gestation_weeks": value} for value in [*strange, *numbers, None]]
    rows += [{**CASE, "fetal_sex": value} for value in [*strange, 0, 1, 1.5, True, "Female", "female ", "FEMALE"]]
    rows += [{**CASE, "diabetes": value} for value in [*strange, 0, 1, "true", "yes", "no", 0.0]]
    rows += [{**CASE, "mother_age": value} for value in [31.5, "31", -31, 1e9, 31.0000001, [31], True]]
    names = [
        "",
        " ",
        "Gestation_weeks",
        "gestation_weeks ",
        "gestation weeks",
        "__class__",
        "__proto__",
        "a" * 300,
        "\x00",
        "\u202e",
    ]
    rows += [{**CASE, name: 1} for name in names]
    return [{"rows": [CASE, row]} for row in rows]


def _changed_bytes() -> list[bytes]:
    """A good body cut short at every place."""
    good = _sent({"rows": [CASE]})
    return [good[:length] for length in range(0, len(good), 2)]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def near(document: dict[str, Any], row_schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Bodies near to what the document asks for: each field as it says or beside it, some left out, some added."""
    fields = {name: _inside(_resolved(document, schema)) for name, schema in row_schema["properties"].items()}
    required = {name: fields[name] for name in row_schema.get("required", [])}
    optional = {name: value for name, value in fields.items() if name not in required}
    good = st.fixed_dictionaries(required, optional=optional)
    edges = [
        limit + step
        for schema in row_schema["properties"].values()
        for limit in (_resolved(document, schema).get("minimum"), _resolved(document, schema).get("maximum"))
        if limit is not None
        for step in (-1, -1e-9, 0, 1e-9, 1)
    ]
    names = st.sampled_from(sorted(fields)) | _NAMES
    spoilt = st.builds(
        lambda row, more: {**row, **more}, good, st.dictionaries(names, ANYTHING | st.sampled_from(edges), max_size=2)
    )
    rows = st.lists(good, min_size=1, max_size=3) | st.lists(good | spoilt, max_size=3) | ANYTHING
    explain = st.fixed_dictionaries({}, optional={"explain": st.just(False) | ANYTHING})
    more = st.just({}) | explain | st.dictionaries(_NAMES, ANYTHING, max_size=1)
    return st.builds(lambda rows, more: {"rows": rows, **more}, rows, more) | ANYTHING


_NAMES = st.sampled_from(["gestation_weeks", "rows", "fetal_sex"]) | st.text(max_size=8)


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return found
    return schema


def _inside(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "minimum" in schema:
        low, high, kind = schema["minimum"], schema["maximum"], schema["type"]
        whole = "integer" in (kind if isinstance(kind, list) else [kind])
        return st.integers(int(low), int(high)) if whole else st.floats(low, high)
    return st.booleans()
