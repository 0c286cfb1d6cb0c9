"""Files of rows: what is read of them, how it is told when they can't be, and what is written is what was there."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.errors import FormatRefused, TableUnreadable
from serving import formats, rowfile
from serving.rowfile import Column, Source
from serving.textrows import from_text
from tests.conftest import ROOT
from tests.decided import TASKS

TASK = TASKS["delivery"]
ADDED = [Column("value", float), Column("warnings", str), Column("sure", bool)]
ANSWER: list[Any] = [0.1 + 0.2, "missing_field", True]


def opened(path: Path, content: bytes) -> Source:
    path.write_bytes(content)
    return formats.of_suffix(path).source(path, TASK)


def rows(source: Source, start: int = 0) -> list[dict[str, Any]]:
    return [dict(row) for chunk in source.chunks(start) for row in chunk.rows]


def written(source: Source, out: Path) -> Path:
    """The file with ANSWER beside every row."""
    sink = formats.of_suffix(out).sink(out, source, TASK, rowfile.named(source.names, ADDED))
    for chunk in source.chunks(0):
        sink.write(chunk, [ANSWER] * len(chunk.rows))
    sink.close()
    return out


def test_a_csv_of_a_spreadsheet_keeps_its_mark_its_line_ends_and_its_chinese_header(tmp_path):
    text = '病区,size,备注\r\n内科,40,"一行\r\n两行, 还有""引号"""\r\n外科,007,\r\n'
    source = opened(tmp_path / "in.csv", b"\xef\xbb\xbf" + text.encode())
    assert source.names == ["病区", "size", "备注"]
    assert source.total == 2
    assert rows(source)[0]["备注"] == '一行\r\n两行, 还有"引号"'
    out = written(source, tmp_path / "out.csv").read_bytes()
    assert out.startswith("\ufeff病区,size,备注,value,warnings,sure\r\n".encode())
    assert out.endswith("外科,007,,0.30000000000000004,missing_field,true\r\n".encode())
    assert list(csv.reader(io.StringIO(out.decode("utf-8-sig"), newline="")))[1][:3] == list(rows(source)[0].values())


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_gives_the_tasks_fields(tmp_path, delimiter):
    source = opened(
        tmp_path / "in.csv", f'"size"{delimiter}stock{delimiter}note\n1{delimiter}2{delimiter}a b\n'.encode()
    )
    assert rows(source) == [{"size": "1", "stock": "2", "note": "a b"}]
    head = written(source, tmp_path / "out.csv").read_text().splitlines()[0]
    assert head == delimiter.join(["size", "stock", "note", "value", "warnings", "sure"])


def test_a_row_is_read_from_any_start_and_in_chunks(tmp_path):
    n = rowfile.CHUNK + 3
    text = "size\n" + "".join(f"{k}\n" for k in range(n))
    lines = "".join(f'{{"size": {k}}}\n\n' for k in range(n))
    table = pa.table({"size": list(range(n))})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=700)
    sources = [opened(tmp_path / "t.csv", text.encode()), opened(tmp_path / "t.jsonl", lines.encode())]
    sources.append(formats.of_suffix(Path("t.parquet")).source(tmp_path / "t.parquet", TASK))
    for source in sources:
        assert source.total == n
        assert max(len(chunk.rows) for chunk in source.chunks(0)) <= rowfile.CHUNK
        for start in (0, 1, rowfile.CHUNK - 1, rowfile.CHUNK, n - 1, n):
            assert [int(row["size"]) for row in rows(source, start)] == list(range(start, n))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no header row"),
        (b"size,stock\n1,2\n1,2,3\n", "Row 1 has 3 cells where the header has 2"),
        (b'size,stock\n1,"2\n3,4\n', "Row 0 is not CSV"),
        (b'size,stock\n1,"2"3\n', "Row 0 is not CSV"),
        ("size,备注\n1,好\n".encode("gb18030"), "The header is not UTF-8"),
        (b"size,stock\n1,2\n3,\xff\n", "Row 1 is not UTF-8"),
        (b"size,stock\n" + b"1" * 1_100_000, "Row 0 is longer than 1000000 bytes"),
        (b'size,stock\n1,"' + b'a","\n' * 300_000, "Row 0"),
        (b"size,size\n1,2\n", "Column 2 has the name of one before it"),
        (b"size,stock\r1,2\r", "is not CSV"),
    ],
)
def test_a_csv_that_can_not_be_read_is_told_by_its_row(tmp_path, content, said):
    with pytest.raises(TableUnreadable) as caught:
        opened(tmp_path / "in.csv", content)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"size": 1}\n{"size": }\n', "Row 1 can't be read as JSON Lines"),
        (b'{"size": 1}\n[1]\n', "Row 1 can't be read as JSON Lines: it is not an object"),
        (b'{"size": NaN}\n', "NaN is not a JSON number"),
        (b'{"size": 1, "size": 2}\n', "key 2 of an object stands twice in it"),
        (b'{"size": "\xff"}\n', "not UTF-8"),
        (b'{"size": "' + b"a" * 1_100_000, "Row 0 is longer than 1000000 bytes"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_json_lines_that_can_not_be_read_are_told_by_their_row(tmp_path, content, said):
    with pytest.raises(TableUnreadable) as caught:
        opened(tmp_path / "in.jsonl", content)
    assert said in str(caught.value)


def test_a_parquet_file_that_is_cut_short_or_damaged_is_told(tmp_path):
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"size": [k / 7 for k in range(50_000)]}), whole)
    content = whole.read_bytes()
    for cut in (content[:-100], content[:3], b"", b"PAR1" + content[8:]):
        with pytest.raises(TableUnreadable, match="can't be read as Parquet"):
            rows(opened(tmp_path / "cut.parquet", cut))
    middle = len(content) // 2
    damaged = content[: middle - 2000] + b"\0" * 4000 + content[middle + 2000 :]
    source = opened(tmp_path / "damaged.parquet", damaged)
    with pytest.raises(TableUnreadable, match="damaged"):
        rows(source)


def test_json_lines_keep_every_value_and_key(tmp_path):
    lines = [{"size": 1, "价": 10**25, "deep": {"a": [1, None, "é"]}}, {"size": 0.1, "late": True, "value": "own"}]
    source = opened(tmp_path / "in.jsonl", "\r\n".join(map(json.dumps, lines)).encode())
    assert source.names == ["size", "价", "deep", "late", "value"]
    out = [json.loads(line) for line in written(source, tmp_path / "out.jsonl").read_text().splitlines()]
    added = {"value_answer": 0.1 + 0.2, "warnings": "missing_field", "sure": True}
    assert out == [{**line, **added} for line in lines]


def test_parquet_keeps_every_type_and_its_metadata(tmp_path):
    table = pa.table({
        "size": pa.array([Decimal("1.50"), None]),
        "at": pa.array([datetime(2024, 3, 1, 12, tzinfo=UTC), None], pa.timestamp("ns", "UTC")),
        "words": pa.array(["a", "b"]).dictionary_encode(),
        "lists": pa.array([[1, 2], None]),
    }).replace_schema_metadata({"own": "kept"})  # fmt: skip
    pq.write_table(table, tmp_path / "in.parquet")
    source = formats.of_suffix(Path("in.parquet")).source(tmp_path / "in.parquet", TASK)
    out = pq.read_table(written(source, tmp_path / "out.parquet"))
    assert out.select(table.column_names).equals(pq.read_table(tmp_path / "in.parquet"))
    assert out.schema.metadata[b"own"] == b"kept"
    assert out.column("value").to_pylist() == [0.1 + 0.2] * 2
    assert [str(kind) for kind in out.schema.types[4:]] == ["double", "string", "bool"]


def test_every_format_becomes_every_other(tmp_path):
    opened(tmp_path / "in.csv", "size,sent,rush,备注\n40,2024-03-01,true,007\n,,,\n".encode())
    rest = {"value": 0.1 + 0.2, "warnings": "missing_field", "sure": True}
    pq.write_table(
        pa.table({"size": [40.5, None], "sent": [date(2024, 3, 1), None], "rush": [True, None], "备注": ["007", None]}),
        tmp_path / "in.parquet",
    )
    for first in ("in.csv", "in.parquet"):
        source = formats.of_suffix(Path(first)).source(tmp_path / first, TASK)
        lines = written(source, tmp_path / "out.jsonl").read_text().splitlines()
        size = 40 if first == "in.csv" else 40.5
        assert json.loads(lines[0]) == {"size": size, "sent": "2024-03-01", "rush": True, "备注": "007", **rest}
        empty = {"size": None, "sent": None, "rush": None, "备注": "" if first == "in.csv" else None}
        assert json.loads(lines[1]) == {**empty, **rest}
        again = formats.of_suffix(Path("out.jsonl")).source(tmp_path / "out.jsonl", TASK)
        for name in ("out.parquet", "out.csv"):
            written(source, tmp_path / name)
            written(again, tmp_path / f"again_{name}")
        table = pq.read_table(tmp_path / "out.parquet")
        assert table.column("rush").to_pylist() == [True, None]
        assert table.column("size").to_pylist() == [size, None]
        assert pq.read_table(tmp_path / "again_out.parquet").column("备注").to_pylist() == list(
            table.column("备注").to_pylist()
        )
        assert (tmp_path / "out.csv").read_text().splitlines()[2].startswith(",,,,0.3")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("size", "", None), ("size", " 12 ", 12), ("size", "-1.5e2", -150.0), ("size", "NaN", None),
        ("size", "1_000", "1_000"), ("size", "12 kg", "12 kg"), ("size", "１２", "１２"), ("size", "inf", "inf"),
        ("rush", "True", True), ("rush", "0", False), ("rush", "1.0", True), ("rush", "maybe", "maybe"),
        ("sent", "2024-03-01", "2024-03-01"), ("sent", "2024-03-01 10:00:00", "2024-03-01"),
        ("sent", "01.03.2024", "01.03.2024"),
    ],
)  # fmt: skip
def test_a_cell_is_read_as_its_field_says_and_what_does_not_fit_is_left_to_be_refused(name, text, value):
    found = from_text(TASK.by_name[name], text)
    assert found == value
    assert type(found) is type(value)


def test_other_media_types_and_other_encodings_are_refused():
    assert formats.of_media_type("Text/CSV; charset=UTF-8").name == "csv"
    for header in ("application/json", "", "text/csv; charset=gb18030", "multipart/form-data; boundary=x"):
        with pytest.raises(FormatRefused):
            formats.of_media_type(header)


def test_pyarrow_is_imported_by_one_file_of_the_server():
    found = [p.name for p in (ROOT / "serving").glob("*.py") if "import pyarrow" in p.read_text(encoding="utf-8")]
    assert found == ["arrowrows.py"]
