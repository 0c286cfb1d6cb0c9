"""A View file: read whole, and when it is wrong, wrong in every place at once."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experiments import view_catalog
from feature_store import viewfile
from feature_store.errors import UnknownView, ViewInvalid
from feature_store.settings import Settings
from tests.conftest import ROOT

VIEWS = sorted((ROOT / "experiments/views").glob("*.yaml"))

SMALL = """
view: tiny
title: Tiny
entity: shop
data: {sources: {t: t.parquet}, sql: SELECT * FROM t}
id: [bill]
event_time: at
columns: {units: int, price: float32}
features:
  units_7d: {sum: units, window: 7d}
  bills: {count: true}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ViewInvalid) as caught:
        viewfile.parse(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("path", VIEWS, ids=lambda path: path.stem)
def test_a_shipped_view_is_found_by_its_name_and_fits_the_published_schema(path):
    assert view_catalog.load(path.stem, Settings()).view == path.stem
    assert view_catalog.load(str(path), Settings()) == viewfile.read(path)
    schema = json.loads((ROOT / "docs/view.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema)


def test_a_folder_of_views_goes_before_the_shipped_ones(tmp_path):
    (tmp_path / "product_sales.yaml").write_text(SMALL, encoding="utf-8")
    assert view_catalog.load("product_sales", Settings(views=tmp_path)).view == "tiny"
    with pytest.raises(UnknownView, match="Did you mean product_sales"):
        view_catalog.load("product_sale", Settings())
    with pytest.raises(UnknownView, match="There is no View file"):
        view_catalog.load("no/such.yaml", Settings())


def test_every_problem_is_told_at_once_with_line_key_and_remedy():
    wrong = SMALL.replace("sum: units", "sum: unit").replace("7d}", "7 days}").replace("price: float32", "price: real")
    wrong = wrong.replace("event_time: at", "event_tim: at").replace("count: true", "count: [units]")
    told = problems(wrong)
    for said in (
        "event_tim: is not a key of a View. Did you mean `event_time`?",
        "event_time: is missing. Add `event_time:` here",
        "columns.price: 'real' is no kind of column. Use int, decimal(2)",
        "features.units_7d.window: '7 days' is no duration. Write a whole number",
        "features.units_7d.sum: 'unit' is not among the columns. Did you mean 'units'?",
        "features.bills.count: ",
    ):
        assert any(said in line for line in told), (said, told)
    for line in told:
        number, where = re.match(r"line (\d+), ([^:]+): ", line).groups()  # type: ignore[union-attr]
        suspect = wrong.splitlines()[int(number) - 1]
        assert number == "2" or where.split(".")[-1] in suspect, (line, suspect)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("view: tiny", "view: [tiny", "this is not YAML"),
        ("view: tiny", "view: tiny\nview: tiny", "stands twice (also on line 2)"),
        ("view: tiny", "view: Tiny-1", "'Tiny-1' is not a name"),
        ("bills:", "Bills:", "'Bills' is not a name"),
        ("sum: units", "sum: price", "a sum of float32 would depend on the order of its terms. Declare the column as"),
        ("count: true", "count: true, ahead: 7d", "nothing ahead is known"),
        ("data: {", "data: {weight: units, ", "data.weight: is not a key of a View"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(old, new, said):
    assert old in SMALL
    assert said in "\n".join(problems(SMALL.replace(old, new, 1)))


@pytest.mark.parametrize("text", ["", "[]", "view", "null"])
def test_what_is_no_mapping_is_told_how_to_begin(text):
    assert "a View is a mapping. Start with `view: a_name`" in problems(text)[0]


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["7d", "a"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "view",
                        "entity",
                        "id",
                        "columns",
                        "features",
                        "a",
                        "sum",
                        "ratio",
                        "window",
                        "ahead",
                        "attributes",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
@example({"columns": {"a": [], "b": {}}, "entity": "a", "features": {"a": {"sum": "a"}, "b": {"ratio": ["a", {}]}}})
@example({"entity": [[]], "id": 3, "columns": [], "features": {"a": {"ratio": ["a", "a"], "count": "b"}}})
def test_no_yaml_makes_the_reader_crash(document):
    try:
        viewfile.parse(json.dumps(document))
    except ViewInvalid as error:
        assert error.problems


def test_the_published_schema_is_the_one_of_the_code():
    assert json.loads((ROOT / "docs/view.schema.json").read_text(encoding="utf-8")) == viewfile.json_schema()
