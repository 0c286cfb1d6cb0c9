"""Scoring a file: the same rows, columns and order, and the very answers of the server."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import CASE, ROOT, Home, Server, until

ROWS = [
    {**CASE, "gestation_weeks": 30 + n, "ward": f"w{n}", "height_cm": None if n == 2 else 160 + n} for n in range(6)
]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_is_answered_as_the_server_answers(trained: Home, server: Server, tmp_path, suffix):
    source, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    if suffix == ".csv":
        with source.open("w", newline="") as file:
            table = csv.DictWriter(file, ROWS[0])
            table.writeheader()
            table.writerows(ROWS)
    elif suffix == ".jsonl":
        source.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), source)
    document = trained.json("score", "birth_weight", str(source), "--out", str(out))
    told = {"task": "birth_weight", "version": "1", "rows": 6, "refused": 0, "errors": [], "out": str(out)}
    assert document == told
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    asked = [{name: value for name, value in row.items() if name != "ward"} for row in ROWS]
    answers = server.post("/v1/birth_weight/predict", json={"rows": asked}).json()["answers"]
    if suffix == ".csv":
        found = list(csv.DictReader(out.open()))
    elif suffix == ".jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        found = pq.read_table(out).to_pylist()
    assert [row["ward"] for row in found] == [row["ward"] for row in ROWS]
    assert list(found[0])[: len(ROWS[0])] == list(ROWS[0])
    for row, answer in zip(found, answers, strict=True):
        assert float(row["value"]) == answer["value"]
        assert (float(row["low"]), float(row["high"])) == (answer["interval"]["low"], answer["interval"]["high"])
        assert {f"p_{name}": float(row[f"p_{name}"]) for name in answer["events"]} == {
            f"p_{name}": chance for name, chance in answer["events"].items()
        }
        assert (row["warnings"], row["error"] or "") == ("missing_field", "")


def test_the_tasks_own_table_is_scored_with_its_target_kept(trained: Home, tmp_path):
    out = tmp_path / "own.parquet"
    document = trained.json("score", "birth_weight", "task", "--out", str(out))
    table = pq.read_table(out)
    assert table.num_rows == document["rows"] > 2000
    assert {"birth_weight_g", "gestation_weeks", "value", "low", "high", "p_macrosomia", "warnings"} <= set(
        table.column_names
    )


def test_a_value_beyond_limits_is_named_and_loses_no_other_row(trained: Home, tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(json.dumps(row) for row in [*ROWS, {**CASE, "mother_age": 99}]))
    done = trained.run("score", "birth_weight", str(source), "--out", str(out), code=1)
    assert "6 rows answered" in done.stdout
    assert "row 6, mother_age" in done.stdout
    document = trained.json("score", "birth_weight", str(source), "--out", str(out), code=1)
    assert (document["rows"], document["refused"]) == (7, 1)
    assert [(one["row"], one["field"], one["code"]) for one in document["errors"]] == [(6, "mother_age", "above_limit")]
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["error"] for row in found] == [None] * 6 + ["mother_age:above_limit"]
    assert all(isinstance(row["value"], float) for row in found[:6]) and found[6]["value"] is None


def test_killed_it_goes_on_with_the_same_file_and_with_no_other(trained: Home, tmp_path):
    source, out, whole = tmp_path / "in.csv", tmp_path / "out.csv", tmp_path / "whole.csv"
    source.write_text("gestation_weeks,mother_age,ward\n" + "39,31,a\n40,28,b\n41,,c\n" * 2_000)
    assert trained.json("score", "birth_weight", str(source), "--out", str(whole))["rows"] == 6_000
    command = [sys.executable, "-m", "experiments.cli", "score", "birth_weight", str(source), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, env=trained.environment)
    kept = tmp_path / ".out.csv.part" / "kept.json"
    until(kept.exists, 120, lambda: "no chunk was kept")
    process.kill()
    process.wait()
    assert not out.exists()
    done = json.loads(kept.read_text())["done"]
    assert 0 < done < 6_000
    words = ("score", "birth_weight", str(source), "--resume", "--out")
    assert "Leave --resume out" in trained.run(*words, str(tmp_path / "other.csv"), code=1).stderr
    assert trained.json(*words, str(out))["rows"] == 6_000
    assert out.read_bytes() == whole.read_bytes()
    assert not kept.parent.exists()


def test_what_can_not_be_scored_is_told(trained: Home, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("mother_age\n31\n")
    assert (
        "no column gestation_weeks"
        in trained.run("score", "birth_weight", str(source), "--out", str(tmp_path / "o.csv"), code=2).stderr
    )
    assert (
        "suffix is not read or written"
        in trained.run("score", "birth_weight", str(source), "--out", str(tmp_path / "o.xlsx"), code=1).stderr
    )
    assert (
        "There is no file"
        in trained.run("score", "birth_weight", "nope.csv", "--out", str(tmp_path / "o.csv"), code=1).stderr
    )
