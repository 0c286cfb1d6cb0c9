"""The online store, one contract on SQLite, Redis and PostgreSQL, each a real one."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from feature_store import entity, event, stores
from feature_store.errors import OnlineUnreachable, Usage
from feature_store.online import Kept, Online, Served
from feature_store.push import push
from feature_store.settings import Settings
from feature_store.vectors import Vectors
from tests import servers
from tests.histories import DAY, HOUR, NOON, lines, rows, same_bits, seen, view

FULL = os.environ.get("GANCAO_PROOFS") == "full"
KINDS = ("sqlite", "redis", "postgres")


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with servers.redis() as url:
        yield url


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a store of each kind."""
    kind = request.param
    return Settings(home=tmp_path, online="" if kind == "sqlite" else request.getfixturevalue(f"{kind}_url"))


@pytest.fixture
def online(kept: Settings) -> Iterator[Online]:
    store = stores.connect(kept)
    yield store
    store.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A digest of its own for each test: servers are shared."""
    return random.Random(request.node.nodeid).randbytes(32).hex()


def put(*some: tuple[str, bytes, bytes]) -> Callable[[object], list[tuple[str, bytes, bytes]]]:
    return lambda kept: list(some)


def test_what_is_put_is_read_in_the_order_that_is_asked(online: Online, name: str):
    online.update(name, ["b", "a"], put(("b", b"\x00row", b"tail\xff"), ("a", b"", b"")))
    assert online.rows(name, ["a", "none", "b"]) == [b"", None, b"\x00row"]
    assert online.tails(name, ["b"]) == [b"tail\xff"]
    assert online.rows("f" * 64, ["a"]) == [None], "each view has its own"


def test_a_change_sees_what_is_there_and_notes_go_with_it(online: Online, name: str):
    online.update(name, ["a"], put(("a", b"1", b"2")), {"as_of": "5"})
    found = []
    online.update(name, ["a", "b"], lambda kept: (found.extend(kept), [])[1], {"as_of": "6"})
    assert found == [Kept(b"1", b"2"), None]
    assert (online.note(name, "as_of"), online.note(name, "other")) == ("6", None)


def test_a_change_that_fails_leaves_all_as_it_was(online: Online, name: str):
    online.update(name, ["a"], put(("a", b"1", b"1")))

    def failing(kept: object) -> Iterator[tuple[str, bytes, bytes]]:
        yield "a", b"2", b"2"
        raise ValueError

    with pytest.raises(ValueError):
        online.update(name, ["a"], failing, {"x": "y"})
    assert (online.rows(name, ["a"]), online.note(name, "x")) == ([b"1"], None)
    online.update(name, ["a"], put(("a", b"3", b"3")))
    assert online.rows(name, ["a"]) == [b"3"]


def test_more_keys_than_one_statement_names_are_read_too(online: Online, name: str):
    keys = [f"{number:05}" for number in range(2500)]
    online.update(name, keys, put(*((key, key.encode(), b"t") for key in keys)))
    assert online.rows(name, [*keys, "no"]) == [*(key.encode() for key in keys), None]
    found = []
    online.update(name, keys, lambda kept: (found.extend(kept), [])[1])
    assert [one.row for one in found] == [key.encode() for key in keys]


def test_writers_at_the_same_time_lose_nothing(kept: Settings, name: str):
    def count() -> None:
        store = stores.connect(kept)
        for _ in range(20):
            store.update(name, ["n"], lambda old: [("n", b"%d" % (int(old[0].row) + 1 if old[0] else 1), b"")])
        store.close()

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = stores.connect(kept)
    assert store.rows(name, ["n"]) == [b"60"]
    store.close()


def test_what_was_served_is_told_in_order(online: Online, name: str):
    online.log(name, [Served("b", 2, b"x"), Served("a", 3, b"\x00")])
    online.log(name, [Served("a", -1, b"y")])
    assert list(online.served(name)) == [Served("a", -1, b"y"), Served("a", 3, b"\x00"), Served("b", 2, b"x")]


def test_features_are_the_same_bits_as_loops_see_on_every_store(online: Online):
    """In full 30,000 triples of entity, instant and feature a store; late and out-of-order pushes all the while."""
    rng, triples = random.Random(11), 0
    a_view = view(title="contract")
    some = rows(rng, 4000 if FULL else 500, 12 if FULL else 4)
    events: dict[str, list[event.Event]] = {}
    vectors = Vectors(a_view.model_copy(update={"view": f"sales_{rng.randrange(10**9)}"}), online)
    for start in range(0, len(some), 400):
        part = some[start : start + 400]
        push(vectors.view, online, [lines(part)], lambda: NOON, lambda done: None)
        for row in part:
            who, one = event.read(a_view, row, NOON)
            events.setdefault(entity.key(who), []).append(one)
        for _ in range(4):
            at = rng.choice([NOON, NOON - rng.randrange(DAY), NOON + rng.randrange(200) * HOUR])
            for key, values in zip(events, vectors.get(list(events), at), strict=True):
                expected = seen(a_view, events[key], at)
                assert all(map(same_bits, expected.values(), values)), (key, at)
                triples += len(expected)
    assert triples >= (30_000 if FULL else 2_000)


def test_a_read_of_many_entities_is_one_statement(tmp_path: Path, name: str):
    store = stores.connect(Settings(home=tmp_path))
    keys = [str(number) for number in range(100)]
    store.update(name, keys, put(*((key, b"r", b"t") for key in keys)))
    said: list[str] = []
    store._open.set_trace_callback(said.append)
    store.rows(name, keys)
    store.rows(name, ["7"])
    assert [words.split(" FROM")[0] for words in said] == ["SELECT key, row", "SELECT row"]
    store.close()


def test_nothing_is_kept_where_there_is_no_file_and_a_broken_one_is_named(tmp_path: Path):
    store = stores.connect(Settings(home=tmp_path))
    assert (store.rows("v", ["a"]), store.note("v", "n"), list(store.served("v"))) == ([None], None, [])
    assert not (tmp_path / "online.db").exists(), "a read makes no file"
    (tmp_path / "online.db").write_bytes(b"not a database" * 100)
    with pytest.raises(OnlineUnreachable, match=r"online\.db below GANCAO_HOME"):
        store.rows("v", ["a"])


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9/0", "postgresql://127.0.0.1:9/none"])
def test_a_server_that_does_not_answer_is_a_clear_error(url: str):
    with pytest.raises(OnlineUnreachable, match="does not answer"):
        stores.connect(Settings(online=url))


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(Usage, match="neither redis"):
        stores.connect(Settings(online="mysql://here"))
