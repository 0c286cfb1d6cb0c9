"""A file is answered as its rows are: to the bit, in bounded memory, and after a kill as if there had been none."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from feature_store.errors import TooLarge, Usage
from feature_store.task import Task
from serving import bundle, formats, rowfile, scoring
from serving.predictor import Predictor
from serving.pyfunc import flatten
from serving.scoring import Progress
from tests.conftest import ROOT
from tests.decided import decided, unseen
from tests.made import version

FULL = os.environ.get("GANCAO_PROOFS") == "full"


def answered(predictor: Predictor, source: Path, out: Path, told: Any = lambda at: None) -> Progress:
    opened = formats.of_suffix(source).source(source, predictor.task)
    return scoring.score(predictor, opened, out, formats.of_suffix(out), out.with_suffix(".part"), told)


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def converted(source: Path, to: Path, task: Task) -> Path:
    """The same rows in the format of another name."""
    if source.suffix == to.suffix:
        return source.rename(to)
    opened = formats.of_suffix(source).source(source, task)
    sink = formats.of_suffix(to).sink(to, opened, task, [])
    for chunk in opened.chunks(0):
        sink.write(chunk, [[]] * len(chunk.rows))
    sink.close()
    return to


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_every_row_has_the_answer_that_it_has_alone(tmp_path, kind):
    made = version(kind)
    predictor, rows = Predictor(made.bundle, "7"), made.rows[:300]
    done = answered(predictor, lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    assert (done.total, done.done, done.refused) == (300, 300, 0)
    expected = [{**row, **flatten(predictor.answer([row])[0]), "error": None} for row in rows]
    assert read(tmp_path / "out.jsonl") == expected


def test_a_row_that_is_refused_loses_no_other(tmp_path):
    predictor, rows = Predictor(decided("order")), unseen("order", 40)
    rows[3] = {**rows[3], "size": 1e9, "price": "dear"}
    rows[7] = {"size": 1}
    done = answered(predictor, lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    assert done.refused == 2
    assert [(e.row, e.field, e.code) for e in done.errors] == [
        (3, "size", "above_limit"), (3, "price", "wrong_type"), (7, "stock", "required"), (7, "price", "required")
    ]  # fmt: skip
    assert "dear" not in "".join(e.message for e in done.errors)
    out = read(tmp_path / "out.jsonl")
    assert out[3]["error"] == "size:above_limit,price:wrong_type"
    assert out[3]["value"] is None and out[3]["warnings"] is None and out[3]["price"] == "dear"
    good = [row for place, row in enumerate(rows) if place not in (3, 7)]
    assert [row["value"] for row in out if row["error"] is None] == [one["value"] for one in predictor.answer(good)]


def test_only_the_first_hundred_errors_are_told_and_all_are_counted(tmp_path):
    rows = [{"size": 1, "stock": 1, "price": -1}] * (rowfile.CHUNK + 50)
    done = answered(Predictor(decided("order")), lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    assert (done.refused, len(done.errors)) == (rowfile.CHUNK + 50, 100)


class Stopped(Exception):
    """As if the process were killed."""


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("task", ["order", "hits"])
def test_stopped_anywhere_it_goes_on_and_the_result_has_the_same_bytes(tmp_path, task, suffix):
    predictor, rows = Predictor(decided(task)), unseen(task, 2 * rowfile.CHUNK + 500)
    rows[30] = {**rows[30], "size": 1000.0}
    source = converted(lines(tmp_path / "made.jsonl", rows), tmp_path / f"in{suffix}", predictor.task)
    undisturbed, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    answered(predictor, source, undisturbed)
    done = 0
    for _ in range(3):  # after each chunk that is kept, then after the first that is written
        told: list[Progress] = []

        def stop(at: Progress, told: list[Progress] = told) -> None:
            told.append(at)
            raise Stopped

        with pytest.raises(Stopped):
            answered(predictor, source, out, stop)
        assert told[0].done == min(done + rowfile.CHUNK, len(rows)), "no chunk is answered twice"
        done = told[0].done
        assert not out.exists()
        with (out.with_suffix(".part") / "answers").open("ab") as file:  # half a chunk that was on its way
            file.write(b'[1.5, "ha')
    with pytest.raises(Stopped):
        answered(predictor, source, out, stop)
    assert not out.exists(), "half a file never has the final name"
    last = answered(predictor, source, out)
    assert (last.done, last.refused) == (len(rows), 1)
    assert out.read_bytes() == undisturbed.read_bytes()


def test_a_shortlist_is_made_of_the_whole_file_without_its_refused_rows(tmp_path):
    predictor, rows = Predictor(decided("hits")), unseen("hits", rowfile.CHUNK + 100)
    expected = predictor.answer(rows)
    bad = {**rows[0], "size": 1000.0}
    answered(predictor, lines(tmp_path / "in.jsonl", [*rows[:20], bad, *rows[20:]]), tmp_path / "out.jsonl")
    out = read(tmp_path / "out.jsonl")
    assert out[20]["decision_rank"] is None
    told = [(row["decision_rank"], row["decision_chosen"]) for row in out if row["error"] is None]
    assert told == [(one["decision"]["rank"], one["decision"]["chosen"]) for one in expected]


def test_more_rows_than_are_ranked_in_memory_are_refused_before_they_are_answered(tmp_path):
    (tmp_path / "in.csv").write_text("size,stock,price\n" + "1,2,3\n" * (scoring.MOST_RANKED + 1))
    with pytest.raises(TooLarge, match="shortlist"):
        answered(Predictor(decided("hits")), tmp_path / "in.csv", tmp_path / "out.csv")


def test_a_file_without_rows_has_a_result_without_rows_and_one_without_a_required_column_none(tmp_path):
    predictor = Predictor(decided("order"))
    (tmp_path / "in.csv").write_text("size,stock,price,note\n")
    assert answered(predictor, tmp_path / "in.csv", tmp_path / "out.csv").total == 0
    (head,) = csv.reader((tmp_path / "out.csv").open())
    assert head[:5] == ["size", "stock", "price", "note", "value"] and head[-2:] == ["warnings", "error"]
    (tmp_path / "in.jsonl").write_text("")
    assert answered(predictor, tmp_path / "in.jsonl", tmp_path / "out.jsonl").total == 0
    assert (tmp_path / "out.jsonl").read_text() == ""
    (tmp_path / "in.csv").write_text("size,note\n1,a\n")
    with pytest.raises(Usage, match="no column stock, price"):
        answered(predictor, tmp_path / "in.csv", tmp_path / "none.csv")


MEASURE = """
import resource, sys
from pathlib import Path
from serving import formats, predictor, scoring
answering, source = predictor.load(Path(sys.argv[1])), Path(sys.argv[2])
form = formats.of_suffix(source)
out, folder = source.with_suffix(".out"), source.with_suffix(".part")
done = scoring.score(answering, form.source(source, answering.task), out, form, folder, lambda at: None)
print(done.done, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.proof
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, suffix):
    """At most 30 MB more for a file ten times as large, or 400 times in full."""
    made, rows = decided("order"), unseen("order", 2000)
    bundle.write(made, tmp_path / "bundle")
    peaks = []
    large = 400 if FULL else 10
    for times in (1, large):
        text = lines(tmp_path / "rows.jsonl", [{**row, "note": "x" * 150} for row in rows]).read_text()
        (tmp_path / "all.jsonl").write_text(text * times)
        source = converted(tmp_path / "all.jsonl", tmp_path / f"in{times}{suffix}", made.task)
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "bundle"), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        count, peak_kb = done.stdout.split()
        assert int(count) == 2000 * times
        peaks.append(int(peak_kb) / 1024)
    assert peaks[1] - peaks[0] < 30, peaks
