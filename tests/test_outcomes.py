"""Outcomes come back: over REST, on a page and from a file; each once, none lost, and every refusal with its reason."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator

from experiments import outcomes as returning
from feature_store.errors import Usage
from feature_store.settings import Settings
from feature_store.task import dumps
from serving import bundle, cache, recall
from serving.outcome_schema import CODES
from tests.conftest import Home, Server, serving, until
from tests.made import STAYED, version
from tests.test_form import Html

KINDS = {"stay": "regression", "readmission": "binary", "destination": "multiclass"}
TRUE: dict[str, Any] = {"stay": 31, "readmission": "no", "destination": "hospice"}
EVERY = pytest.mark.parametrize("task", KINDS)
CASE: dict[str, Any] = {"age": 71, "days": 9, "ward": "medical", "alone": True}


def made(home: Path) -> Home:
    """A home whose cache holds a version of each kind; its registry is empty."""
    (home / "cache").mkdir(parents=True)
    for task, kind in KINDS.items():
        bundle.write(version(kind).bundle, home / f"new-{task}")
        cache.publish(home / "cache", task, "1", home / f"new-{task}", "by hand")
    return Home(home, home)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return made(tmp_path_factory.mktemp("clinic") / "home")


@pytest.fixture(scope="module")
def clinic(home: Home) -> Iterator[Server]:
    with serving(home, "--workers", "2") as running:
        yield running


def asked(clinic: Server, task: str = "stay", *rows: dict[str, Any]) -> list[str]:
    """The ids of answers to rows, CASE if there are none."""
    response = clinic.post(f"/v1/{task}/predict", json={"rows": list(rows) or [CASE]})
    assert response.status_code == 200, response.text
    return [answer["prediction_id"] for answer in response.json()["answers"]]


def told(clinic: Server, task: str, *items: Any) -> httpx.Response:
    return clinic.post(f"/v1/{task}/outcomes", json={"outcomes": list(items)})


def read(home: Home, sql: str, *given: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home.home / "journal.db")) as connection:
        return connection.execute(sql, given).fetchall()


def stored(home: Home, prediction_id: str) -> list[tuple[Any, ...]]:
    return read(home, "SELECT task, value FROM outcomes WHERE prediction_id = ?", prediction_id)


# --- over REST ----------------------------------------------------------------------------------------------------


@EVERY
def test_an_outcome_of_every_kind_is_stored(clinic, home, task):
    (one,) = asked(clinic, task)
    response = told(clinic, task, {"prediction_id": one, "value": TRUE[task]})
    assert response.status_code == 200
    assert response.json() == {
        "task": task, "stored": 1, "unchanged": 0, "corrected": 0, "refused": 0,
        "results": [{"row": 0, "prediction_id": one, "status": "stored", "code": None, "message": None,
                     "http_status": 200}],
    }  # fmt: skip
    ((name, value),) = stored(home, one)
    assert (name, json.loads(value)) == (task, TRUE[task])


def test_the_same_outcome_sent_100_times_to_two_workers_is_stored_once(clinic, home):
    (one,) = asked(clinic)
    answers: list[dict[str, Any]] = []

    def send() -> None:
        answers.extend(told(clinic, "stay", {"prediction_id": one, "value": 31}).json() for _ in range(25))

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert len(clinic.children("serving.app")) == 2
    assert (sum(a["stored"] for a in answers), sum(a["unchanged"] for a in answers)) == (1, 99)
    assert len(stored(home, one)) == 1
    assert read(home, "SELECT count(*) FROM corrected_outcomes WHERE prediction_id = ?", one) == [(0,)]


def test_an_unknown_id_is_a_404_among_the_others_which_are_stored(clinic, home):
    first, second = asked(clinic, "stay", CASE, CASE)
    (elsewhere,) = asked(clinic, "readmission")
    items = [{"prediction_id": one, "value": 20} for one in (first, "nobody", elsewhere, second)]
    response = told(clinic, "stay", *items)
    assert response.status_code == 207
    document = response.json()
    assert (document["stored"], document["refused"]) == (2, 2)
    results = document["results"]
    assert [result["row"] for result in results] == [0, 1, 2, 3]
    assert [result["http_status"] for result in results] == [200, 404, 404, 200]
    assert {result["code"] for result in results[1:3]} == {"unknown_prediction"}
    assert [result["prediction_id"] for result in results] == [first, None, None, second]
    assert "nobody" not in response.text
    assert "Check the id" in results[1]["message"]
    assert len(stored(home, first)) == len(stored(home, second)) == 1
    assert not stored(home, elsewhere), "an answer of another task is not this task's"


def test_another_value_is_a_correction_and_the_old_one_is_not_lost(clinic, home):
    (one,) = asked(clinic)
    when = "2024-03-01T14:30:00+08:00"
    statuses = [
        told(clinic, "stay", {"prediction_id": one, "value": value, **more}).json()["results"][0]["status"]
        for value, more in ((20, {"at_utc": when}), (25, {}), (25.0, {}), (25, {"at_utc": "2024-03-02"}))
    ]
    assert statuses == ["stored", "corrected", "unchanged", "corrected"]
    first, second = (int(datetime(2024, 3, day, hour, half, tzinfo=UTC).timestamp() * 1e6) for day, hour, half in
                     ((1, 6, 30), (2, 0, 0)))  # fmt: skip
    assert read(home, "SELECT value, at_us FROM outcomes WHERE prediction_id = ?", one) == [("25.0", second)]
    kept = read(home, "SELECT value, at_us FROM corrected_outcomes WHERE prediction_id = ? ORDER BY until_us", one)
    assert kept == [("20.0", first), ("25.0", first)], "a mended value came true when the first one did"


NOT_KEPT: list[tuple[str, Any, str]] = [
    ("stay", {"value": 100.5}, "above_limit"),
    ("stay", {"value": -1}, "below_limit"),
    ("stay", {"value": "31"}, "wrong_type"),
    ("stay", {"value": True}, "wrong_type"),
    ("stay", {"value": None}, "required"),
    ("stay", {}, "required"),
    ("stay", {"value": 31, "at_utc": "yesterday"}, "not_a_time"),
    ("stay", {"value": 31, "at_utc": 1709303400}, "not_a_time"),
    ("stay", {"value": 31, "at_utc": "9999-12-31T23:59:59-14:00"}, "in_the_future"),
    ("stay", {"value": 31, "unit": "d"}, "unknown_field"),
    ("stay", {"value": 31, "key": {"age": 71}}, "required"),
    ("stay", {"value": 31, "prediction_id": 7}, "wrong_type"),
    ("stay", {"value": 31, "prediction_id": None}, "required"),
    ("stay", "31", "wrong_type"),
    ("readmission", {"value": "maybe"}, "not_a_choice"),
    ("readmission", {"value": False}, "wrong_type"),
    ("destination", {"value": "Home"}, "not_a_choice"),
]


@pytest.mark.parametrize(("task", "item", "code"), NOT_KEPT, ids=lambda value: str(value)[:40])
def test_what_can_not_be_is_refused_with_its_reason_and_never_repeated(clinic, home, task, item, code):
    (one,) = asked(clinic, task)
    sent = {"prediction_id": one, **item} if isinstance(item, dict) else item
    response = told(clinic, task, sent)
    (result,) = response.json()["results"]
    assert (response.status_code, result["status"], result["code"]) == (207, "refused", code)
    assert result["http_status"] == 422
    assert result["message"].endswith(".")
    assert "100.5" not in result["message"]
    assert one not in response.text
    assert code in CODES
    assert not stored(home, one)


@pytest.mark.parametrize(
    ("sent", "status", "named"),
    [
        (b'{"outcomes": []}', 400, "1 to 1000"),
        (b'{"rows": []}', 400, "list of outcomes"),
        (b'{"outcomes": [{}], "explain": false}', 400, "Key 2 of the body"),
        (b'{"outcomes": [{"value": NaN}]}', 400, "NaN"),
        (b'{"outcomes": ' + json.dumps([{"value": 1}] * 1001).encode() + b"}", 413, "1001 outcomes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_that_is_no_list_of_outcomes_is_a_problem(clinic, sent, status, named):
    response = clinic.post("/v1/stay/outcomes", content=sent, headers={"content-type": "application/json"})
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert named in response.json()["detail"]
    plain = clinic.post("/v1/stay/outcomes", content=b"{}", headers={"content-type": "text/plain"})
    assert plain.status_code == 415, "a page elsewhere can't make a browser send it unasked"
    assert told(clinic, "nothing", {}).status_code == 404


def test_a_thousand_outcomes_are_taken_at_once(clinic, home):
    ids = asked(clinic, "stay", *[CASE] * 1000)
    response = told(clinic, "stay", *({"prediction_id": one, "value": place % 90} for place, one in enumerate(ids)))
    assert (response.status_code, response.json()["stored"]) == (200, 1000)
    assert len(read(home, "SELECT 1 FROM outcomes WHERE prediction_id IN (SELECT value FROM json_each(?))",
                    json.dumps(ids))) == 1000  # fmt: skip


@EVERY
def test_replies_are_what_the_document_says_they_are(clinic, task):
    document = clinic.get("/openapi.json").json()
    schemas, stem = document["components"]["schemas"], task.capitalize()
    assert set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document))) <= set(schemas)
    (one,) = asked(clinic, task)
    body = {"outcomes": [{"prediction_id": one, "value": TRUE[task], "at_utc": "2024-03-01T14:30:00Z"}]}
    more = {"outcomes": [{"key": {"age": 18, "alone": False}, "value": TRUE[task]}]}
    for name, what in (
        ("Outcomes", body),
        ("Outcomes", more),
        ("Kept", clinic.post(f"/v1/{task}/outcomes", json=body).json()),
        ("Kept", clinic.post(f"/v1/{task}/outcomes", json=more).json()),
    ):
        schema = {"$ref": f"#/components/schemas/{stem}{name}", "components": document["components"]}
        Draft202012Validator(schema).validate(what)
    assert set(document["paths"][f"/v1/{task}/outcomes"]["post"]["responses"]) >= {"200", "207", "400", "413", "507"}
    links = {one["task"]: one["links"] for one in clinic.get("/v1").json()["tasks"]}
    assert links[task]["outcomes"] == f"/v1/{task}/outcomes"


# --- by key -------------------------------------------------------------------------------------------------------


def test_a_key_finds_the_newest_answer_of_the_one_case_that_has_it(clinic, home):
    row = {**CASE, "age": 83, "days": 3.5}
    ids = [asked(clinic, "stay", row)[0] for _ in range(3)]
    response = told(clinic, "stay", {"key": {"age": 83, "days": 3.5, "alone": True, "ward": "medical"}, "value": 40})
    assert (response.status_code, response.json()["results"][0]["prediction_id"]) == (200, ids[-1])
    assert [len(stored(home, one)) for one in ids] == [0, 0, 1]


def test_a_key_of_no_case_or_of_several_says_so(clinic):
    asked(clinic, "stay", {**CASE, "age": 84}, {**CASE, "age": 84, "alone": False})
    keys: list[Any] = [{"age": 84}, {"age": 109}, {"age": 84, "days": 9}, {}, {"height": 1}, {"age": "84"},
                       {"age": None}, {"ward": "oncology"}]  # fmt: skip
    response = told(clinic, "stay", *({"key": key, "value": 40} for key in keys))
    results = response.json()["results"]
    assert [(result["code"], result["http_status"]) for result in results] == [
        ("several_matches", 409), ("no_match", 404), ("other_key", 422), ("wrong_type", 422), ("unknown_field", 422),
        ("wrong_type", 422), ("required", 422), ("not_a_choice", 422),
    ]  # fmt: skip
    assert "2 different rows" in results[0]["message"]
    (elsewhere,) = asked(clinic, "readmission", {**CASE, "age": 109})
    assert told(clinic, "stay", {"key": {"age": 109}, "value": 4}).json()["refused"] == 1, f"{elsewhere}: another task"


# --- nothing that was confirmed is lost ---------------------------------------------------------------------------


def test_kill_9_right_after_the_reply_loses_no_outcome(tmp_path):
    home, confirmed = made(tmp_path / "home"), set[str]()
    with serving(home) as server:
        ids = asked(server, "stay", *[CASE] * 1000)

        def tell(part: list[str]) -> None:
            with httpx.Client(base_url=server.base, timeout=5) as client:
                for one in part:
                    try:
                        sent = {"outcomes": [{"prediction_id": one, "value": 31}]}
                        reply = client.post("/v1/stay/outcomes", json=sent).json()
                    except (httpx.HTTPError, ValueError):
                        return
                    assert reply["stored"] == 1
                    confirmed.add(one)

        tellers = [threading.Thread(target=tell, args=(ids[start::4],)) for start in range(4)]
        for teller in tellers:
            teller.start()
        until(lambda: len(confirmed) > 20, 60, server.log.read_text)
        os.kill(server.children("serving.app")[0], signal.SIGKILL)
        for teller in tellers:
            teller.join()
        assert len(confirmed) < 1000, "the worker died while outcomes came in"
        assert confirmed <= {row[0] for row in read(home, "SELECT prediction_id FROM outcomes")}
        until(lambda: _again(server, ids), 60, server.log.read_text)
    assert read(home, "SELECT count(*) FROM outcomes") == [(1000,)]


def _again(server: Server, ids: list[str]) -> bool:
    """All sent once more to the new worker: those that were kept are unchanged."""
    try:
        document = told(server, "stay", *({"prediction_id": one, "value": 31} for one in ids)).json()
    except (httpx.HTTPError, ValueError):
        return False
    return "stored" in document and document["stored"] + document["unchanged"] == 1000


def test_outcomes_that_can_not_be_kept_are_not_confirmed(tmp_path):
    home = made(tmp_path / "home")
    with serving(home) as server:
        (one,) = asked(server)
        read(home, "DROP TABLE outcomes")
        response = told(server, "stay", {"prediction_id": one, "value": 31})
        assert response.status_code == 507
        assert "Send them again later" in response.json()["detail"]
        page = server.post("/form/stay/outcome?lang=zh", data={"prediction_id": one, "rehabilitation_d": "31"})
        assert page.status_code == 507
        assert "未能写入记录" in page.text


OLD = """
CREATE TABLE answers (prediction_id TEXT PRIMARY KEY, at_us INTEGER NOT NULL, task TEXT NOT NULL,
    version TEXT NOT NULL, row TEXT NOT NULL, answer TEXT NOT NULL);
INSERT INTO answers VALUES ('old', 5, 'stay', '1', '{"age": 40}', '{"value": 3.0, "interval": {"low": 1, "high": 9}}');
"""


def test_the_journal_of_an_older_server_takes_outcomes(tmp_path):
    home = made(tmp_path / "home")
    with closing(sqlite3.connect(home.home / "journal.db")) as connection:
        connection.executescript(OLD)
    assert list(recall.joined(home.home / "journal.db", "stay")) == []
    with serving(home) as server:
        assert told(server, "stay", {"prediction_id": "old", "value": 4}).json()["stored"] == 1
    assert [(one.at_us, one.outcome) for one in recall.joined(home.home / "journal.db", "stay")] == [(5, 4.0)]


# --- from a file --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stay(home: Home) -> str:
    """The Task file of stay."""
    path = home.home / "stay.yaml"
    path.write_text(dumps(STAYED), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_of_outcomes_is_kept_beside_a_running_server_and_its_refusals_are_told(clinic, home, tmp_path, suffix):
    ids = asked(clinic, "stay", CASE, CASE, CASE)
    path = tmp_path / f"born{suffix}"
    rows = [(ids[0], 20.5, "2024-03-01 10:00:00"), ("nobody", 30, None), (ids[1], 300, None), (ids[2], 0, None)]
    names = ("prediction_id", "rehabilitation_d", "at_utc")
    if suffix == ".csv":
        path.write_text("\n".join(",".join("" if v is None else str(v) for v in row) for row in [names, *rows]))
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    else:
        columns = dict(zip(names, ([*column] for column in zip(*rows, strict=True)), strict=True))
        columns["rehabilitation_d"] = [float(value) for value in columns["rehabilitation_d"]]
        columns["at_utc"] = [datetime.fromisoformat(text) if text else None for text in columns["at_utc"]]
        pq.write_table(pa.table(columns), path)
    document = returning.keep(STAYED, Settings(home=home.home), path, lambda done, total: None)
    assert {key: document[key] for key in ("task", "rows", "stored", "unchanged", "corrected", "refused")} == {
        "task": "stay", "rows": 4, "stored": 2, "unchanged": 0, "corrected": 0, "refused": 2}  # fmt: skip
    assert [(one["row"], one["code"]) for one in document["refusals"]] == [
        (1, "unknown_prediction"),
        (2, "above_limit"),
    ]
    assert read(home, "SELECT value, at_us FROM outcomes WHERE prediction_id = ?", ids[0]) == [
        ("20.5", int(datetime(2024, 3, 1, 10, tzinfo=UTC).timestamp() * 1e6))]  # fmt: skip
    assert stored(home, ids[2]) == [("stay", "0.0")]


def test_the_launcher_tells_counts_and_the_first_refusals_in_words(clinic, home, stay, tmp_path):
    (one,) = asked(clinic)
    path = tmp_path / "born.csv"
    path.write_text("prediction_id,value,name\n" + f"{one},31,A\n" + "nobody,31,B\n" * 24 + "nobody,none,C\n")
    done = home.run("outcomes", stay, str(path), code=1)
    assert "1 stored, 0 unchanged, 0 corrected, 25 refused" in done.stdout
    assert done.stdout.count("  row ") == 20
    assert "and 5 more" in done.stdout
    path.write_text(f"prediction_id,value\n{one},31\n")
    document = home.json("outcomes", stay, str(path))
    assert (document["unchanged"], document["refusals"]) == (1, [])


def test_a_file_without_the_columns_says_which_it_needs(home, tmp_path):
    path = tmp_path / "born.csv"
    path.write_text("id,value\n1,2\n")
    with pytest.raises(Usage, match="outcomes need prediction_id, and value or rehabilitation_d"):
        returning.keep(STAYED, Settings(home=home.home), path, lambda done, total: None)


# --- on the page --------------------------------------------------------------------------------------------------


def text_of(page: httpx.Response, name: str) -> str:
    return " ".join(Html(page.text).by_id.get(name, "").split())


@EVERY
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_clinician_follows_the_answer_to_its_outcome_and_reads_what_was_kept(clinic, home, task, lang):
    answered = clinic.post(f"/form/{task}?lang={lang}", data={"age": "71", "alone": "yes"}).text
    number = text_of(httpx.Response(200, text=answered), "prediction-id")
    link = re.search(r'id="outcome-link" href="([^"]+)"', answered)
    assert link is not None
    page = clinic.get(link[1])
    form = Html(page.text)
    assert form.posted["prediction_id"] == number
    assert text_of(page, "estimate")
    (target,) = set(form.posted) - {"prediction_id"}
    typed = {"prediction_id": number, target: str(TRUE[task])}
    action = next(given["action"] for tag, given in form.elements if tag == "form")
    kept = clinic.post(action, data=typed)
    assert (kept.status_code, kept.text.count('data-status="stored"')) == (200, 1)
    assert text_of(kept, "kept-value") == {
        "stay": {"en": "31 days", "zh": "31 天"}, "readmission": {"en": "no", "zh": "否"},
        "destination": {"en": "hospice", "zh": "临终关怀机构"}}[task][lang]  # fmt: skip
    assert 'data-status="unchanged"' in clinic.post(action, data=typed).text
    ((_, value),) = stored(home, number)
    assert json.loads(value) == TRUE[task]


def test_a_correction_on_the_page_says_what_it_replaces(clinic):
    (one,) = asked(clinic)
    for text in ("31", "３３。5"):
        page = clinic.post("/form/stay/outcome?lang=en", data={"prediction_id": one, "rehabilitation_d": text})
    assert 'data-status="corrected"' in page.text
    assert text_of(page, "kept-value") == "33.5 days"
    assert "31 days, which stays in the history" in text_of(page, "kept")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_is_wrong_on_the_page_is_named_at_its_field_and_nothing_is_kept(clinic, home, lang):
    (one,) = asked(clinic)
    address = f"/form/stay/outcome?lang={lang}"
    for number, text, at, status in (
        (one, "300", "rehabilitation_d", 422),
        (one, "many", "rehabilitation_d", 422),
        (one, "", "rehabilitation_d", 422),
        ("nobody", "31", "prediction_id", 404),
        ("", "31", "prediction_id", 422),
        ("x" * 200, "31", "prediction_id", 404),
    ):
        page = clinic.post(address, data={"prediction_id": number, "rehabilitation_d": text})
        shown = Html(page.text)
        assert page.status_code == status, (number, text)
        assert f"e-{at}" in shown.by_id
        assert shown.posted["rehabilitation_d"] == text
        assert set(shown.all("for")) | {href[1:] for href in shown.all("href") if href[0] == "#"} <= set(
            shown.all("id")
        )
        assert not {tag for tag, _ in shown.elements} & {"script", "style", "iframe", "img"}
    assert clinic.get("/form/stay/outcome/nobody").status_code == 404
    assert clinic.get("/form/stay/outcome").status_code == 200
    assert not stored(home, one)


def test_the_page_takes_a_form_only_and_shows_what_is_typed_as_text(clinic):
    (one,) = asked(clinic)
    sent = {"prediction_id": one, "rehabilitation_d": "31"}
    assert clinic.post("/form/stay/outcome", json=sent).status_code == 400
    hostile = "\"'><script>alert(1)</script>"
    page = clinic.post("/form/stay/outcome", data={"prediction_id": hostile, "rehabilitation_d": hostile})
    assert "<script" not in page.text
    assert "<script" not in clinic.get(f"/form/stay/outcome/{hostile.replace('/', '')}").text


def test_no_outcome_is_in_the_log(clinic, home):
    (one,) = asked(clinic)
    told(clinic, "stay", {"prediction_id": one, "value": 87.654321}, {"prediction_id": one, "value": 8765432.1})
    clinic.post("/form/stay/outcome", data={"prediction_id": one, "rehabilitation_d": "8765432"})
    assert "8765" not in clinic.log.read_text()


# --- read back ----------------------------------------------------------------------------------------------------


def test_outcomes_are_read_back_with_their_answers_in_the_order_in_which_they_came_true(tmp_path):
    home = made(tmp_path / "home")
    start = datetime(2024, 1, 1, tzinfo=UTC)
    with serving(home) as server:
        ids = asked(server, "stay", *({**CASE, "age": 20 + place} for place in range(50)))
        order = [(7 * place) % 50 for place in range(50)]
        items = [
            {"prediction_id": ids[place], "value": place, "at_utc": (start + timedelta(hours=place)).isoformat()}
            for place in order
        ]
        assert told(server, "stay", *items[:49]).json()["stored"] == 49
    rows = list(recall.joined(home.home / "journal.db", "stay"))
    expected = sorted(order[:49])
    assert [(row.prediction_id, row.row["age"], row.outcome) for row in rows] == [
        (ids[place], 20 + place, float(place)) for place in expected
    ]
    assert all(row.version == "1" and row.answer["prediction_id"] == row.prediction_id for row in rows)
    assert rows[0].outcome_at_us == int(start.timestamp() * 1e6)
    later = list(recall.joined(home.home / "journal.db", "stay", start + timedelta(hours=40)))
    assert later == [row for row in rows if row.outcome >= 40], "from then on"
    assert list(recall.joined(home.home / "journal.db", "readmission")) == []
    assert list(recall.joined(home.home / "nothing.db", "stay")) == []
    assert not (home.home / "nothing.db").exists()


def test_a_long_journal_is_read_row_by_row(tmp_path):
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD)
    list(recall.joined(path, "stay"))
    with closing(sqlite3.connect(path)) as connection, connection:
        row = json.dumps({"age": 40, "note": "x" * 300})
        connection.executemany(
            "INSERT INTO answers VALUES (?, ?, 'stay', '1', ?, '{}', NULL)", ((f"id{n}", n, row) for n in range(20_000))
        )
        connection.executemany(
            "INSERT INTO outcomes VALUES (?, 9, 9, 'stay', '1.0', NULL)", ((f"id{n}",) for n in range(20_000))
        )
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT 1 FROM outcomes AS o WHERE o.task = 'stay' AND o.at_us >= 0 "
            "ORDER BY o.at_us, o.rowid"
        ).fetchall()
    assert "TEMP B-TREE" not in str(plan), "nothing is sorted before the first row comes"
    reading = recall.joined(path, "stay")
    tracemalloc.start()
    try:
        assert next(reading).prediction_id == "id0", "ties as they arrived"
        assert sum(1 for _ in reading) == 19_999
        assert tracemalloc.get_traced_memory()[1] < 1_000_000, "the rows take 8 MB together"
    finally:
        tracemalloc.stop()
