"""JSON that is nested too deeply is refused from its bytes; what is flat never is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.errors import BodyRefused
from serving import depth


def deepest(value: object) -> int:
    """The oracle: the nesting of a document that was parsed."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(deepest, inner), default=0)


def refused(body: bytes) -> bool:
    try:
        depth.bound(body)
    except BodyRefused:
        return True
    return False


@pytest.mark.parametrize(
    "opening", [b"[", b'{"a":', b'[{"a":', b'["]", ', b'{"}": 1, "a":', b'["\\"]", ', b'["\\\\", ']
)
@pytest.mark.parametrize("levels", [40, 100_000])
def test_whatever_is_nested_deeply_is_refused_also_when_strings_hold_brackets(opening, levels):
    assert refused(opening * levels)


@pytest.mark.parametrize("body", [b"[]" * 1000, b'["' + b"[" * 1000 + b'"]', b'["\\"' + b"{" * 1000 + b'"]', b'"\\\\"'])
def test_brackets_that_are_not_nested_are_not_counted(body):
    assert not refused(body)


TEXT = st.text(alphabet='[]{}"\\,: aé', max_size=12)
JSON = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=30,
)


@settings(max_examples=500, deadline=None)
@given(JSON, st.integers(0, 60), st.booleans())
def test_the_bound_agrees_with_the_parsed_document(value, more, ascii_only):
    for _ in range(more):
        value = [value]
    levels, body = deepest(value), json.dumps(value, ensure_ascii=ascii_only).encode()
    assert refused(body) or levels <= 3 * depth.MAX_DEPTH
    assert not refused(body) or levels > depth.MAX_DEPTH
