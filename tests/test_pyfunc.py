"""The version as an MLflow pyfunc: what batch engines and `mlflow models serve` answer is what the server answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks import peers
from tests.conftest import CASE, Home, Server

ROWS: list[dict[str, Any]] = [
    CASE,
    {"gestation_weeks": 39},
    {**CASE, "gestation_weeks": 33, "plurality": "twins", "weight_before_kg": 61.7},
    {**CASE, "plurality": None, "mother_age": None, "diabetes": None},
    {**CASE, "diabetes": True, "fetal_sex": "male", "cigarettes_before": 5},
]

ASK = """
import json, sys
import mlflow, pandas
model = mlflow.pyfunc.load_model("models:/birth_weight@champion")
out = []
for table in json.load(sys.stdin):
    frame = pandas.DataFrame(**table["frame"])
    if table["nullable"]:
        frame = frame.convert_dtypes()
    try:
        answers = model.predict(frame)
        out.append({"index": answers.index.tolist(), "records": answers.to_dict(orient="records")})
    except Exception as error:
        out.append({"refused": f"{type(error).__name__}: {error}"})
print(json.dumps(out))
"""

Ask = Callable[..., list[dict[str, Any]]]


def table(rows: list[dict[str, Any]], index: list[Any] | None = None, nullable: bool = False) -> dict[str, Any]:
    """A DataFrame of rows, to be made in the other process."""
    return {"frame": {"data": rows, "index": index}, "nullable": nullable}


def tracking(home: Home) -> str:
    return f"sqlite:///{home.home.resolve() / 'mlflow.db'}"


def version_folder(home: Home) -> Path:
    (found,) = home.home.glob("artifacts/birth_weight/models/*/artifacts")
    return found


def answered(server: Server, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the server answers, as the pyfunc's columns."""
    answer = server.post("/v1/birth_weight/predict", json={"rows": rows})
    assert answer.status_code == 200, answer.text
    return [
        {
            "value": one["value"],
            "low": one["interval"]["low"],
            "high": one["interval"]["high"],
            **{f"p_{event}": chance for event, chance in one["events"].items()},
            "group": one["group"],
            "warnings": ",".join(sorted({warning["code"] for warning in one["warnings"]})),
        }
        for one in answer.json()["answers"]
    ]


@pytest.fixture(scope="module")
def ask(trained: Home, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Tables to what the loaded pyfunc gives, in a process of its own that does not see the checkout."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking(trained)}

    def run(*tables: dict[str, Any]) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-c", ASK], cwd=elsewhere, env=environment, input=json.dumps(tables),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        out: list[dict[str, Any]] = json.loads(done.stdout)
        return out

    return run


@pytest.fixture(scope="module")
def scoring(trained: Home) -> Iterator[str]:
    """The address of a real `mlflow models serve` of the champion."""
    with peers.mlflow(tracking(trained), "birth_weight") as port:
        yield f"http://127.0.0.1:{port}/invocations"


def test_a_batch_gets_the_servers_answers_to_the_bit(ask, server):
    (batch,) = ask(table(ROWS, index=[7, 3, 5, 1, 9]))
    assert batch["records"] == answered(server, ROWS)
    assert batch["index"] == [7, 3, 5, 1, 9]


def test_a_missing_field_may_be_absent_or_null_in_any_of_pandas_ways(ask, server):
    bare = [{"gestation_weeks": 39}, {"gestation_weeks": 40}]
    nulls = [{**row, "mother_age": None, "diabetes": None, "plurality": None} for row in bare]
    mixed = [CASE, bare[1]]
    absent, null, not_a_number, nullable = ask(table(bare), table(nulls), table(mixed), table(mixed, nullable=True))
    assert absent["records"] == null["records"] == answered(server, bare)
    assert not_a_number["records"] == nullable["records"] == answered(server, mixed)


def test_a_value_beyond_its_limits_is_refused_by_row_and_field(ask):
    beyond, lacking = ask(table([CASE, {**CASE, "mother_age": 400}]), table([CASE, {**CASE, "gestation_weeks": None}]))
    assert beyond["refused"].startswith("RowsRefused: 1 value refused")
    assert "row 1, mother_age: mother_age is above 60" in beyond["refused"]
    assert "row 1, gestation_weeks: gestation_weeks is required" in lacking["refused"]


def test_mlflow_models_serve_answers_the_same_to_the_bit(scoring, server):
    answer = httpx.post(scoring, json={"dataframe_records": ROWS}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == answered(server, ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_mlflow_models_serve_answers_one_row_like_the_server(row, scoring, server):
    """A null flag among them: with a typed signature MLflow read it as false."""
    answer = httpx.post(scoring, json={"dataframe_records": [row]}, timeout=60)
    assert answer.json()["predictions"] == answered(server, [row])


def test_mlflow_models_serve_passes_a_refusal_on(scoring):
    answer = httpx.post(scoring, json={"dataframe_records": [CASE, {**CASE, "mother_age": 400}]}, timeout=60)
    assert answer.status_code == 400
    assert "row 1, mother_age: mother_age is above 60" in answer.text


def test_a_version_holds_no_pickle(trained):
    files = [path for path in version_folder(trained).rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert path.suffix not in {".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill", ".skops"}, path
        assert "pickle" not in path.name, path
        head = path.read_bytes()[:2]
        assert not (head[:1] == b"\x80" and head[1:] in {b"\x02", b"\x03", b"\x04", b"\x05"}), path


def test_a_version_says_how_it_is_loaded_and_what_it_takes(trained):
    folder = version_folder(trained)
    model = yaml.safe_load((folder / "MLmodel").read_text())
    assert set(model["flavors"]) == {"python_function"}
    assert model["flavors"]["python_function"]["loader_module"] == "serving.pyfunc"
    inputs = {field["name"]: field["required"] for field in json.loads(model["signature"]["inputs"])}
    task = json.loads((folder / "data" / "bundle" / "task.json").read_text())
    assert inputs == {field["name"]: field["required"] for field in task["fields"]}


def test_a_version_does_not_depend_on_the_folder_it_was_trained_in(trained):
    assert not list(version_folder(trained).rglob("uv.lock"))


def test_a_version_names_the_columns_that_it_gives(ask, trained):
    model = yaml.safe_load((version_folder(trained) / "MLmodel").read_text())
    (batch,) = ask(table([CASE]))
    assert list(batch["records"][0]) == [column["name"] for column in json.loads(model["signature"]["outputs"])]
