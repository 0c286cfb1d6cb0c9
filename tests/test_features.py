"""`gancao features` and the route: from a source of events to what is known of an entity now, also after a kill."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from feature_store import entity, event, stores, viewfile
from feature_store.online import Online
from feature_store.push import push
from feature_store.settings import Settings
from feature_store.vectors import Vectors
from feature_store.view import View
from tests import servers
from tests.conftest import ROOT, Home, serving, until
from tests.histories import DAY, NOON, lines, moment, rows, same_bits, seen, view

FULL = os.environ.get("GANCAO_PROOFS") == "full"
AS_OF = ("--as-of", moment(NOON))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a folder of views of its own, over a source of events."""
    folder = tmp_path / "views"
    folder.mkdir()
    a_view = view(attributes={
        "data": {"sources": {"stores": "stores.jsonl"}, "sql": "SELECT * FROM stores"},
        "columns": {"city": "text", "area": "decimal(1)", "open": "flag"},
    })  # fmt: skip
    text = yaml.safe_dump(a_view.model_dump(mode="json", exclude_none=True), allow_unicode=True, sort_keys=False)
    (folder / "sales.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "data").mkdir()
    made = Home(tmp_path / "home", tmp_path / "data", (("GANCAO_VIEWS", str(folder)),))
    write(made, rows(random.Random(5), 300, 8))
    stores_ = [
        {"store": number, "brand": brand, "city": city, "area": area, "open": number % 2 == 0}
        for number in range(9) for brand, city, area in (("a", "Köln", 10.5), ("汉", None, None))
    ]  # fmt: skip
    (tmp_path / "data" / "stores.jsonl").write_bytes(b"\n".join(lines(stores_)))
    return made


def write(home: Home, some: list[dict[str, Any]]) -> None:
    (home.data / "sales.jsonl").write_bytes(b"\n".join(lines(some)))


def own(home: Home) -> View:
    return viewfile.read(Path(home.environment["GANCAO_VIEWS"]) / "sales.yaml")


def events_of(a_view: View, some: list[dict[str, Any]]) -> dict[str, list[event.Event]]:
    out: dict[str, list[event.Event]] = {}
    for row in some:
        who, one = event.read(a_view, row, NOON)
        out.setdefault(entity.key(who), []).append(one)
    return out


def opened(home: Home, online: str = "") -> Online:
    return stores.connect(Settings(home=home.home, online=online))


def everything(store: Online, digest: str, keys: list[str]) -> list[Any]:
    return [store.rows(digest, keys), store.tails(digest, keys)]


def test_get_gives_what_was_pushed_and_refused_lines_are_named(home: Home, tmp_path: Path):
    some = rows(random.Random(6), 40, 2)
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join([*lines(some), b"{", *lines([some[0] | {"store": None}])]))
    told = home.json("features", "push", "sales", str(file), *AS_OF, code=1)
    bad = [(one["line"], one["reason"]) for one in told["refusals"] if one["reason"] != "duplicate"]
    assert bad == [(len(some) + 1, "not_json"), (len(some) + 2, "null_key")]
    assert told["stored"] + told["unchanged"] + told["old"] + told["refused"] == told["lines"] == len(some) + 2
    a_view = own(home)
    for key, events in list(events_of(a_view, some).items())[:2]:
        found = home.json("features", "get", "sales", key, *AS_OF)
        expected = seen(a_view, events, NOON)
        assert all(same_bits(found["features"][name], value) for name, value in expected.items())


def test_a_stream_moves_the_row_before_its_end(home: Home):
    command = [sys.executable, "-m", "experiments.cli", "features", "push", "sales", "-", *AS_OF]
    with subprocess.Popen(
        command, cwd=ROOT, env=home.environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as pushing:
        assert pushing.stdin is not None
        row = rows(random.Random(5), 1, 1)[0] | {"sold_at": moment(NOON), "known_at": moment(NOON)}
        pushing.stdin.write(lines([row])[0] + b"\n")
        pushing.stdin.flush()
        key, store = next(iter(events_of(own(home), [row]))), opened(home)
        until(
            lambda: store.rows(own(home).digest, [key])[0],
            60,
            lambda: "the event was not stored while the stream lasted",
        )
        pushing.stdin.close()
        assert pushing.wait(60) == 0


def test_wrong_words_are_wrong_usage_and_an_unknown_entity_is_refused(home: Home):
    assert "There is no view" in home.json("features", "get", "nothing", "1", code=1)["message"]
    assert home.json("features", "push", "sales", "none.jsonl", code=2)["error"] == "Usage"
    assert home.json("features", "get", "sales", "1,a", "--as-of", "soon", code=2)["error"] == "Usage"
    assert home.json("features", "materialize", code=2)["message"].startswith("Name a view")
    assert home.json("features", "get", "sales", "1,a", code=1)["error"] == "UnknownEntity"
    assert home.json("features", "get", "sales", "1", code=1)["error"] == "UnknownEntity"


def materialized(home: Home, *more: str) -> dict[str, Any]:
    return home.json("features", "materialize", "sales", *(more or AS_OF))["views"][0]


def test_materialize_gives_what_loops_over_the_source_see_and_a_second_time_writes_nothing(home: Home):
    told = materialized(home)
    a_view, some = own(home), [json.loads(line) for line in (home.data / "sales.jsonl").read_bytes().splitlines()]
    events = events_of(a_view, some)
    assert (
        told["entities"]
        == told["written"]
        == len(set(events) | {f"{n},{b}" for n in range(9) for b in ("a", entity.key(["汉"]))})
    )
    assert told["refused"] == {"duplicate": len(some) - len({(k, e.id) for k, es in events.items() for e in es})}
    key = "3,a"
    found = home.json("features", "get", "sales", key, *AS_OF)["features"]
    assert all(same_bits(found[name], value) for name, value in seen(a_view, events[key], NOON).items())
    assert (found["city"], found["area"], found["open"]) == ("Köln", 10.5, False)
    cold = home.json("features", "get", "sales", "8,a", *AS_OF)["features"]
    assert (cold["city"], cold["events_2d"], cold["units_2d"]) == ("Köln", 0, None), "attributes alone are known"
    assert materialized(home)["written"] == 0
    later = materialized(home, "--as-of", moment(NOON + 9 * DAY))
    assert 0 < later["written"] < later["entities"], "only rows that have run out are written again"


def test_what_was_pushed_stays_when_the_source_is_read_again(home: Home, tmp_path: Path):
    materialized(home)
    late = rows(random.Random(8), 30, 2)
    (tmp_path / "late.jsonl").write_bytes(b"\n".join(lines(late)))
    home.run("features", "push", "sales", str(tmp_path / "late.jsonl"), *AS_OF, code=None)
    a_view, store = own(home), opened(home)
    keys = sorted(events_of(a_view, late))
    before = everything(store, a_view.digest, keys)
    assert materialized(home)["written"] == 0
    assert everything(store, a_view.digest, keys) == before
    some = [json.loads(line) for line in (home.data / "sales.jsonl").read_bytes().splitlines()]
    write(home, some + late)  # now the source has them too
    assert materialized(home)["written"] == 0
    both = events_of(a_view, some + late)
    for key in keys:
        found = home.json("features", "get", "sales", key, *AS_OF)["features"]
        assert all(same_bits(found[name], value) for name, value in seen(a_view, both[key], NOON).items())


def test_replay_finds_no_difference_but_what_the_source_does_not_have(home: Home):
    materialized(home)
    a_view, store = own(home), opened(home)
    some = [json.loads(line) for line in (home.data / "sales.jsonl").read_bytes().splitlines()]
    keys, vectors = sorted(events_of(a_view, some)), Vectors(a_view, store)
    for at in (NOON, NOON + 1, NOON - DAY, NOON + 3 * DAY + 5):
        vectors.get(keys, at, log=True)
    told = home.json("features", "replay", "sales")
    assert (told["vectors"], told["differences"]) == (4 * len(keys), 0)
    push(
        a_view,
        store,
        [lines([some[0] | {"slip": "new", "sold_at": moment(NOON), "known_at": moment(NOON)}])],
        lambda: NOON,
        print,
    )
    key = next(iter(events_of(a_view, [some[0]])))
    vectors.get([key], NOON, log=True)
    told = home.json("features", "replay", "sales", code=1)
    assert {one["entity"] for one in told["listed"]} == {key}
    assert {"events_2d", "events_5d"} & {one["feature"] for one in told["listed"]}


SCRIPTS = {
    "materialize": """
materialize.AT_ONCE = 20
materialize.materialize(view, store, data, NOON, told)
""",
    "push": """
sales = (data / "pushed.jsonl").read_bytes().splitlines()
push.push(view, store, [sales[at : at + 7] for at in range(0, len(sales), 7)], lambda: NOON, told)
""",
}
"""What is killed: small pieces, each told on standard output when it is stored."""


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres"] if FULL else ["sqlite"])
@pytest.mark.parametrize("verb", list(SCRIPTS))
def test_kill_9_and_again_gives_the_bits_of_an_undisturbed_run(home: Home, kind: str, verb: str):
    """In full 50 kills, on every store; in short one of each command."""
    rng, a_view = random.Random(verb), own(home)
    if verb == "push":
        (home.data / "pushed.jsonl").write_bytes(b"\n".join(lines(rows(rng, 300, 8))))
    with {"sqlite": lambda: nullcontext(""), "redis": servers.redis, "postgres": servers.postgres}[kind]() as url:
        killed = 0
        for _ in range((9 if verb == "push" else 8) if FULL else 1):
            killed += run_and_kill(home, url, verb, rng.randrange(1, 9))
        assert killed > 0
        run_and_kill(home, url, verb, None)
        found = bits(a_view, stores.connect(Settings(home=home.home, online=url)))
    calm = Home(home.home / "calm", home.data, home.more)
    run_and_kill(calm, "", verb, None)
    assert found == bits(a_view, opened(calm))


def run_and_kill(home: Home, url: str, verb: str, after: int | None) -> bool:
    """Run a script, and kill it when it has told so much; whether it was killed."""
    views = home.environment["GANCAO_VIEWS"]
    script = f"""
from pathlib import Path
from feature_store import materialize, push, stores, viewfile
from feature_store.settings import Settings
from tests.histories import NOON
view, data = viewfile.read(Path({views!r}) / "sales.yaml"), Path({str(home.data)!r})
store = stores.connect(Settings(home=Path({str(home.home)!r}), online={url!r}))
def told(*done): print("stored", flush=True)
{SCRIPTS[verb]}"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        for number, _ in enumerate(running.stdout, 1):
            if number == after:
                running.send_signal(signal.SIGKILL)
                break
        return running.wait(120) == -signal.SIGKILL


def bits(a_view: View, store: Online) -> list[Any]:
    keys = [f"{number},{brand}" for number in range(9) for brand in ("a", "b%2Cc", entity.key(["汉"]))]
    return everything(store, a_view.digest, keys)


def test_the_route_tells_what_is_known_now_or_then_and_refuses_by_name(home: Home):
    a_view = own(home)
    with closing(opened(home)) as store:
        some = rows(random.Random(6), 40, 2)
        push(a_view, store, [lines(some)], lambda: NOON, lambda done: None)
        key = next(key for key in events_of(a_view, some) if "%2C" in key)
        expected = Vectors(a_view, store).one(key, NOON)
    with serving(home, wait_ready=False) as server:
        found = server.get(f"/v1/features/sales/{key}", params={"as_of": moment(NOON)})
        assert found.status_code == 200
        document = json.loads(found.content)
        assert document["entity"] == {"store": int(key[0]), "brand": "b,c"}
        assert document["features"] == json.loads(json.dumps(expected))
        assert server.get(f"/v1/features/sales/{key}").json()["features"]["events_2d"] == 0, "long ago by now"
        refused = {
            "/v1/features/nothing/1": (404, "unknown-view"),
            "/v1/features/sales/77,a": (404, "unknown-entity"),
            "/v1/features/sales/77": (404, "unknown-entity"),
            f"/v1/features/sales/{key}?as_of=soon": (422, "instant-refused"),
            f"/v1/features/sales/{key}?as_of=2001-01-01": (422, "instant-refused"),
        }
        for address, (status, kind) in refused.items():
            problem = server.get(address)
            assert (problem.status_code, problem.json()["type"]) == (status, f"urn:gancao:problem:{kind}"), address
        described = server.get("/openapi.json").json()["paths"]["/v1/features/sales/{entity}"]["get"]
        whole = described["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(document, whole)
        (Path(home.environment["GANCAO_VIEWS"]) / "sales.yaml").write_text("view: [")
        assert server.get(f"/v1/features/sales/{key}").json()["type"].endswith("unknown-view"), (
            "it can't be read any more"
        )
