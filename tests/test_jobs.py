"""Batch jobs over a real server: a file goes in, and comes out with its answers, whatever happens meanwhile."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator

from feature_store.errors import JobConflict, UnknownJob
from serving import bundle, cache, job_files, job_run, keys
from serving.job_files import Job, State
from tests.conftest import Home, Server, serving, until
from tests.decided import decided, unseen
from tests.keyed import bearer

FULL = os.environ.get("GANCAO_PROOFS") == "full"
JOBS = "/v1/order/jobs"
CSV, JSONL, PARQUET = "text/csv", "application/x-ndjson", "application/vnd.apache.parquet"


def made(folder: Path) -> Home:
    """A home whose cache holds a version; its registry is empty."""
    (folder / "cache").mkdir(parents=True)
    bundle.write(decided("order"), folder / "new")
    cache.publish(folder / "cache", "order", "1", folder / "new", "by hand")
    return Home(folder, folder)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(made(tmp_path_factory.mktemp("house") / "home"), "--workers", "2") as running:
        yield running


def table(rows: list[dict[str, Any]], end: str = "\n") -> bytes:
    """The rows as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def send(server: Server, content: Any, kind: str = CSV, key: str = "", code: int = 202) -> dict[str, Any]:
    headers = {"content-type": kind, **({"idempotency-key": key} if key else {})}
    response = server.post(JOBS, content=content, headers=headers)
    assert response.status_code == code, response.text
    if code == 202:
        assert response.headers["location"] == response.json()["links"]["self"]
    document: dict[str, Any] = response.json()
    return document


def delete(server: Server, address: str) -> httpx.Response:
    return httpx.delete(server.base + address, timeout=30)


def ended(server: Server, job: dict[str, Any], seconds: float = 240) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        now: dict[str, Any] = server.get(f"{JOBS}/{job['id']}").json()
        return now if now["state"] in ("done", "failed") else None

    found: dict[str, Any] = until(look, seconds, lambda: f"it did not end: {server.log.read_text()}")
    return found


def answer(server: Server, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    response = server.post("/v1/order/predict", json={"rows": rows})
    assert response.status_code == 200, response.text
    answers: list[dict[str, Any]] = response.json()["answers"]
    return answers


def result(server: Server, job: dict[str, Any]) -> httpx.Response:
    response = server.get(f"{JOBS}/{job['id']}/result")
    assert response.status_code == 200, response.text
    return response


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


@pytest.mark.parametrize("kind", [CSV, JSONL, PARQUET])
def test_a_file_comes_back_in_its_format_with_the_answers_of_predict(house, kind):
    rows = [{**row, "病历号": f"00{n}", "sent": row.get("sent")} for n, row in enumerate(unseen("order", 50))]
    content = {
        CSV: lambda: table(rows),
        JSONL: lambda: "".join(json.dumps(row) + "\n" for row in rows).encode(),
        PARQUET: lambda: parquet(rows),
    }[kind]()
    job = send(house, content, kind)
    now = ended(house, job)
    assert (now["state"], now["rows_done"], now["rows_total"], now["rows_refused"]) == ("done", 50, 50, 0)
    assert (now["version"], now["errors"], now["detail"], now["bytes"]) == ("1", [], None, len(content))
    response = result(house, job)
    assert response.headers["content-type"].partition(";")[0] == kind
    if kind == CSV:
        found: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(response.text)))
    elif kind == JSONL:
        found = [json.loads(line) for line in response.text.splitlines()]
    else:
        found = pq.read_table(io.BytesIO(response.content)).to_pylist()
    asked = [{name: value for name, value in row.items() if name != "病历号"} for row in rows]
    assert [row["病历号"] for row in found] == [row["病历号"] for row in rows]
    assert list(found[0])[: len(rows[0])] == list(rows[0])
    for row, one in zip(found, answer(house, asked), strict=True):
        assert float(row["value"]) == one["value"]
        assert (float(row["low"]), float(row["high"])) == (one["interval"]["low"], one["interval"]["high"])
        assert float(row["decision_quantity"]) == one["decision"]["quantity"]
        assert (row["warnings"] or "") == ",".join(sorted({w["code"] for w in one["warnings"]}))


def test_a_spreadsheets_csv_comes_back_as_it_was_and_is_refused_row_by_row(house):
    text = '姓名,size,stock,price,备注\r\n甲,40,30,20,"一行\r\n两行"\r\n乙,4000,30,dear,\r\n丙,41,30,20,007\r\n'
    now = ended(house, send(house, b"\xef\xbb\xbf" + text.encode()))
    assert (now["state"], now["rows_done"], now["rows_refused"]) == ("done", 3, 1)
    assert [(e["row"], e["field"], e["code"]) for e in now["errors"]] == [
        (1, "size", "above_limit"), (1, "price", "wrong_type")
    ]  # fmt: skip
    assert "4000" not in str(now["errors"]) and "dear" not in str(now["errors"])
    content = result(house, now).content
    assert content.startswith(b"\xef\xbb\xbf") and content.endswith(b"\r\n")
    found = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert [row["备注"] for row in found] == ["一行\r\n两行", "", "007"]
    assert [row["error"] for row in found] == ["", "size:above_limit,price:wrong_type", ""]
    (third,) = answer(house, [{"size": 41, "stock": 30, "price": 20}])
    assert (found[1]["value"], float(found[2]["value"])) == ("", third["value"])
    assert not re.search(r"\b4000\b", house.log.read_text()) and "dear" not in house.log.read_text()


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"size,stock,price\n1,2,3\n4,5\n", CSV, "Row 1 has 2 cells where the header has 3"),
        (b"size,note\n1,2\n", CSV, "no column stock, price, which order requires"),
        (b'{"size": 1}\nsecret\n', JSONL, "Row 1 can't be read as JSON Lines"),
        (parquet([{"size": 1.0, "stock": 2.0, "price": 3.0}] * 1000)[:-50], PARQUET, "cut short"),
    ],
)
def test_a_file_that_can_not_be_read_fails_in_words_and_has_no_result(house, content, kind, said):
    now = ended(house, send(house, content, kind))
    assert now["state"] == "failed"
    assert said in now["detail"]
    assert "/" not in now["detail"] and "secret" not in now["detail"]
    response = house.get(f"{JOBS}/{now['id']}/result")
    assert response.status_code == 409
    assert said in response.json()["detail"]


def test_what_is_no_file_of_rows_is_refused_at_once(house):
    for headers, content, status, said in (
        ({"content-type": "application/json"}, b"{}", 415, "Send a Content-Type of text/csv"),
        ({"content-type": "text/csv; charset=gb18030"}, b"a\n1\n", 415, "UTF-8"),
        ({"content-type": CSV, "content-encoding": "gzip"}, b"a\n1\n", 415, "compressed"),
        ({}, b"a\n1\n", 415, "Content-Type"),
        ({"content-type": CSV}, b"", 400, "empty"),
    ):
        response = house.post(JOBS, content=content, headers=headers)
        assert response.status_code == status
        assert said in response.json()["detail"]
    assert house.post("/v1/nothing/jobs", content=b"a\n", headers={"content-type": CSV}).status_code == 404
    assert house.get("/v1/nothing/jobs").status_code == 404
    for address in (f"{JOBS}/{'0' * 32}", f"{JOBS}/{'0' * 32}/result", f"{JOBS}/..%2f..", "/v1/..%2fcache/jobs/x"):
        assert house.get(address).status_code == 404
        assert delete(house, address).status_code in (404, 405)


def test_a_file_without_rows_is_done_with_a_result_without_rows(house):
    now = ended(house, send(house, b"size,stock,price\r\n"))
    assert (now["state"], now["rows_total"]) == ("done", 0)
    assert result(house, now).text.startswith("size,stock,price,value,")
    assert result(house, now).text.count("\n") == 1


def test_the_same_key_with_the_same_file_is_the_same_job_and_with_another_a_conflict(house):
    content = table(unseen("order", 20))
    first = send(house, content, key="night 1")
    again = [send(house, content, key="night 1") for _ in range(4)]  # any worker may be asked
    assert {one["id"] for one in again} == {first["id"]}
    assert "another file" in send(house, content + b"1,2,3,,\n", key="night 1", code=409)["detail"]
    send(house, content, kind=JSONL, key="night 1", code=409)
    assert send(house, content, key="night 2")["id"] != first["id"]
    assert send(house, content)["id"] != send(house, content)["id"]
    ended(house, first)
    assert send(house, content, key="night 1")["state"] == "done"


def test_jobs_are_listed_and_deleted(house):
    content = table(unseen("order", 20))
    jobs = [ended(house, send(house, content)) for _ in range(2)]
    listed = house.get(JOBS).json()
    assert listed["task"] == "order"
    assert [one["id"] for one in listed["jobs"]][:2] == [jobs[1]["id"], jobs[0]["id"]]
    response = delete(house, f"{JOBS}/{jobs[0]['id']}")
    assert (response.status_code, response.json()["state"]) == (200, "done")
    assert house.get(f"{JOBS}/{jobs[0]['id']}").status_code == 404
    assert delete(house, f"{JOBS}/{jobs[0]['id']}").status_code == 404
    assert jobs[0]["id"] not in str(house.get(JOBS).json())


def test_every_job_is_what_the_document_says_it_is(house):
    document = house.get("/openapi.json").json()
    assert set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document))) <= set(
        document["components"]["schemas"]
    )
    job = send(house, table(unseen("order", 5)))

    def holds(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(schema).validate(value)

    holds("Job", job)
    holds("Job", ended(house, job))
    holds("Jobs", house.get(JOBS).json())
    holds("Job", delete(house, f"{JOBS}/{job['id']}").json())
    assert set(document["paths"]) >= {JOBS, f"{JOBS}/{{id}}", f"{JOBS}/{{id}}/result"}


def many(rows: int) -> bytes:
    """A CSV that takes the job process a while."""
    head, body = table(unseen("order", 1000)).split(b"\n", 1)
    return head + b"\n" + body * (rows // 1000)


def running(server: Server, job: dict[str, Any], rows: int = 1) -> dict[str, Any]:
    """The job once it has done so many rows."""

    def look() -> dict[str, Any] | None:
        now: dict[str, Any] = server.get(f"{JOBS}/{job['id']}").json()
        return now if now["rows_done"] >= rows else None

    found: dict[str, Any] = until(look, 120, lambda: f"it did not begin: {server.log.read_text()}")
    return found


@pytest.mark.proof
def test_kill_9_in_the_middle_leaves_the_same_bytes(tmp_path):
    home, content = made(tmp_path / "home"), many(300_000 if FULL else 40_000)
    with serving(home) as server:
        whole = result(server, ended(server, send(server, content), 600)).content
        job, done, kills = send(server, content), 0, 0
        while kills < (30 if FULL else 3):
            now = running(server, job, done + 1)
            assert now["rows_done"] > done, "finished chunks are not done again"
            done = now["rows_done"]
            if done == now["rows_total"]:
                break
            (process,) = server.children("serving.job_run")
            os.kill(process, signal.SIGKILL)
            kills += 1
            until(lambda: server.children("serving.job_run"), 30, lambda: "the job process did not come back")
        assert kills
        assert result(server, ended(server, job, 600)).content == whole
        waiting = send(server, content)
        running(server, waiting)
    with serving(home) as server:  # the whole server was stopped in the middle
        assert result(server, ended(server, waiting, 600)).content == whole


def test_a_job_that_is_deleted_while_it_runs_leaves_nothing_and_the_next_one_is_answered(tmp_path):
    home = made(tmp_path / "home")
    with serving(home) as server:
        long, short = send(server, many(200_000)), send(server, table(unseen("order", 20)))
        now = running(server, long)
        assert now["state"] == "running" and now["rows_total"] == 200_000 and now["seconds_left"] > 0
        assert server.get(f"{JOBS}/{short['id']}").json()["state"] == "queued"
        early = server.get(f"{JOBS}/{long['id']}/result")
        assert early.status_code == 409 and "is running" in early.json()["detail"]
        assert delete(server, f"{JOBS}/{long['id']}").json()["state"] == "cancelled"
        assert ended(server, short)["state"] == "done"
        assert [path.name for path in (home.home / "jobs" / "order").iterdir()] == [short["id"]]
        left = home.home / "jobs" / "order" / short["id"]
        until(lambda: not (left / "work").exists(), 30, lambda: "what was kept on the way is still there")
        assert sorted(path.name for path in left.iterdir()) == ["job.json", "result", "state.json"]
        assert (home.home / "jobs").stat().st_mode & 0o077 == 0


def test_jobs_beyond_the_bound_wait_outside_and_too_large_files_too(tmp_path):
    made(tmp_path / "home")
    limits = (("GANCAO_MAX_JOBS", "2"), ("GANCAO_MAX_JOB_BYTES", "20000"))
    with serving(Home(tmp_path / "home", tmp_path, limits)) as server:
        content = table(unseen("order", 20))
        first = send(server, content, key="a")
        send(server, content)
        response = server.post(JOBS, content=content, headers={"content-type": CSV})
        assert response.status_code == 503
        assert "GANCAO" not in response.text and "Delete those" in response.json()["detail"]
        assert response.headers["retry-after"]
        assert send(server, content, key="a")["id"] == first["id"], "a repeat is no further job"
        delete(server, f"{JOBS}/{first['id']}")
        announced = server.post(JOBS, content=b"x" * 20001, headers={"content-type": CSV})
        streamed = server.post(JOBS, content=(b"x" * 1000 for _ in range(21)), headers={"content-type": CSV})
        assert (announced.status_code, streamed.status_code) == (413, 413)
        assert "20000 bytes" in streamed.json()["detail"]
        assert not list((tmp_path / "home" / "jobs").glob(".new-*"))


def resident_mb(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) / 1024  # type: ignore[index]


def test_a_worker_does_not_hold_what_is_uploaded(tmp_path):
    """64 MB, or 1 GB in full, cost the worker at most 20 MB; what was sent does not have to be complete for that."""
    home = made(tmp_path / "home")
    row, pieces = b"1,2,3\n" * 10_000, (16_000 if FULL else 1_000)
    with serving(home) as server:
        (worker,) = server.children("serving.app")
        before = resident_mb(worker)
        content = (b"size,stock,price\n" if not n else row for n in range(pieces))
        with httpx.Client(timeout=600) as client:
            response = client.post(server.base + JOBS, content=content, headers={"content-type": CSV})
        assert response.status_code == 202, response.text
        assert response.json()["bytes"] == 17 + len(row) * (pieces - 1)
        assert resident_mb(worker) - before < 20
        delete(server, response.json()["links"]["self"])


def test_an_upload_that_ends_too_early_leaves_nothing(house):
    address = house.base.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as connection:
        head = f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {CSV}\r\nContent-Length: 1000000\r\n\r\n"
        connection.sendall(head.encode() + b"size,stock,price\n1,2,3\n")
    jobs = house.log.parent / "jobs"
    until(lambda: not list(jobs.glob(".new-*")), 30, lambda: "the upload is still there")
    assert "internal_error" not in house.log.read_text()


# --- the folders


def test_a_job_is_of_the_key_that_made_it_and_of_admin_and_of_no_other(tmp_path):
    home = made(tmp_path / "home")
    words = {name: keys.create(home.home / "keys.db", name=name, scopes=["predict"])[1] for name in ("mine", "yours")}
    words["admin"] = keys.create(home.home / "keys.db", scopes=["admin"])[1]
    content = table(unseen("order", 3))
    with serving(home) as server:

        def ask(method: str, path: str, name: str, **more: Any) -> httpx.Response:
            return httpx.request(method, server.base + path, headers=bearer(words[name]) | more.pop("headers", {}),
                                 timeout=30, **more)  # fmt: skip

        sent = {
            name: ask("POST", JOBS, name, content=content, headers={"content-type": CSV, "idempotency-key": "today"})
            for name in ("mine", "yours", "admin")
        }
        assert [one.status_code for one in sent.values()] == [202] * 3
        own = {name: one.json()["id"] for name, one in sent.items()}
        assert len(set(own.values())) == 3, "an Idempotency-Key is the key's own"
        again = ask("POST", JOBS, "yours", content=content, headers={"content-type": CSV, "idempotency-key": "today"})
        assert again.json()["id"] == own["yours"]
        assert [job["id"] for job in ask("GET", JOBS, "mine").json()["jobs"]] == [own["mine"]]
        assert {job["id"] for job in ask("GET", JOBS, "admin").json()["jobs"]} == set(own.values())
        nobodys = ask("GET", f"{JOBS}/{'0' * 32}", "yours")
        for method, path in (("GET", ""), ("GET", "/result"), ("DELETE", "")):
            refused = ask(method, f"{JOBS}/{own['mine']}{path}", "yours")
            assert (refused.status_code, refused.json()) == (404, nobodys.json()), "as if there were none"
        assert ask("GET", f"{JOBS}/{own['mine']}", "mine").status_code == 200
        assert ask("DELETE", f"{JOBS}/{own['mine']}", "admin").status_code == 200
        assert ask("GET", f"{JOBS}/{own['mine']}", "mine").status_code == 404
        server.stop()
        lines = [json.loads(line) for line in server.log.read_text().splitlines() if '"event": "request"' in line]
    asked = [(line["task"], line["version"]) for line in lines if line["route"] == "/v1/{task}/jobs/{id}"]
    assert ("order", "1") in asked


JOB = Job("a" * 32, "order", "1", "csv", 10, "digest", 0.0)


def placed(root: Path, job: Job, state: State | None = None) -> Job:
    folder = job_files.upload(root)
    (folder / "input").write_text("size\n1\n")
    done = job_files.place(root, folder, job)
    if state is not None:
        job_files.keep(root, done, state)
    return done


def test_what_has_ended_is_deleted_after_its_days_and_what_waits_is_not(tmp_path):
    now, day = time.time(), 86_400
    old = placed(tmp_path, JOB, State("done", finished=now - 8 * day))
    fresh = placed(tmp_path, replace(JOB, id="b" * 32), State("failed", finished=now - 6 * day))
    waits = placed(tmp_path, replace(JOB, id="c" * 32))
    left, lost = job_files.upload(tmp_path), job_files.upload(tmp_path)
    os.utime(lost, (now - 7200, now - 7200))
    (tmp_path / ".gone-1").mkdir()
    job_files.sweep(tmp_path, 7, now)
    assert job_files.every(tmp_path) == [fresh, waits]
    assert left.exists() and not lost.exists() and not (tmp_path / ".gone-1").exists()
    with pytest.raises(UnknownJob):
        job_files.find(tmp_path, "order", old.id)


def test_a_job_is_placed_once_and_another_file_under_its_id_is_a_conflict(tmp_path):
    first = placed(tmp_path, JOB)
    assert placed(tmp_path, replace(JOB, created=9.0)) == first
    with pytest.raises(JobConflict):
        placed(tmp_path, replace(JOB, digest="other"))
    assert not list(tmp_path.glob(".new-*"))
    assert job_files.count(tmp_path) == 1


# --- the process


def waiting(root: Path, content: bytes, state: State | None = None) -> Job:
    """A job with its version beside it."""
    folder = job_files.upload(root)
    (folder / "input").write_bytes(content)
    bundle.write(decided("order"), root / ".made")
    job_files.pin(folder, root / ".made")
    job = job_files.place(root, folder, replace(JOB, bytes=len(content)))
    if state is not None:
        job_files.keep(root, job, state)
    return job


def test_a_job_that_was_begun_often_and_came_no_further_is_given_up(tmp_path):
    job = waiting(tmp_path, table(unseen("order", 20)), State("running", starts=job_run.MOST_STARTS))
    job_run.run(tmp_path, job)
    found = job_files.state(tmp_path, job)
    assert (found.state, found.rows_done) == ("failed", 0)
    assert "begun 4 times" in (found.detail or "")


def test_a_version_that_was_altered_meanwhile_answers_nothing(tmp_path):
    job = waiting(tmp_path, table(unseen("order", 20)))
    for path in (job.folder(tmp_path) / "bundle").glob("*.json"):
        path.unlink()
        path.write_text("{}")
    job_run.run(tmp_path, job)
    found = job_files.state(tmp_path, job)
    assert (found.state, found.detail) == (
        "failed", "The version that was to answer it can't be read any more. Send the file again."
    )  # fmt: skip


def test_a_job_whose_version_is_not_the_champion_any_more_is_answered_by_it(tmp_path):
    job = waiting(tmp_path, table(unseen("order", 20)))
    shutil.rmtree(tmp_path / ".made")
    job_run.run(tmp_path, job)
    assert job_files.state(tmp_path, job).state == "done"
    assert (job.folder(tmp_path) / "result").read_text().count("\n") == 21
