"""Keys: made once, kept as hashes, refused at once when they are revoked."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from experiments.keys import create as make_key
from experiments.keys import read_life
from feature_store.errors import KeyRefused, KeysUnreadable, UnknownKey, Usage
from feature_store.settings import Settings
from serving import keys, sessions
from serving.keyring import Keyring
from serving.throttle import BURST_S, MOST_BUCKETS, Throttle
from tests.conftest import ROOT, Home, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys.db"


def refused(ring: Keyring, words: str, now_s: float | None = None) -> str:
    with pytest.raises(KeyRefused) as caught:
        ring.find(words, now_s)
    return str(caught.value)


def test_a_key_has_256_random_bits_and_its_secret_is_nowhere_in_the_home(path):
    made = [keys.create(path, name="lab")[1] for _ in range(50)]
    secrets = {re.fullmatch(r"gck_[0-9a-f]{12}_([A-Za-z0-9_-]{43})", words)[1] for words in made}
    assert len(secrets) == 50
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert not any(secret.encode() in kept for secret in secrets)
    assert all(keys.digest_of(secret) in kept for secret in secrets)


def test_the_file_is_its_owners_only(path):
    keys.create(path)
    assert all(file.stat().st_mode & 0o077 == 0 for file in path.parent.iterdir())


def test_a_key_opens_until_it_expires(path):
    key, words = keys.create(path, life_s=60, now_s=1000)
    ring = Keyring(path)
    assert ring.find(words, 1059).id == key.id
    refused(ring, words, 1060)


def test_whatever_is_wrong_with_a_key_the_words_are_the_same(path):
    _, words = keys.create(path, life_s=60, now_s=1000)
    revoked, gone = keys.create(path, life_s=60, now_s=1000)
    keys.revoke(path, revoked.id)
    ring = Keyring(path)
    wrong = words[:-1] + ("A" if words[-1] != "A" else "B")
    sent = [wrong, gone, f"gck_{'0' * 12}_{'A' * 43}", "", "gck_", words + "A", " " + words, "é" * 40]
    told = {refused(ring, one, 1001) for one in sent} | {refused(ring, words, 2000)}
    assert len(told) == 1
    assert "gancao keys create" in told.pop()


def test_a_running_process_notices_a_key_that_another_made_and_revoked(path):
    ring = Keyring(path)
    assert not ring.any()
    home = Home(path.parent, path.parent)
    document = home.json("keys", "create", "--scopes", "read", "--expires", "1h")
    until(ring.any, 5, lambda: "the key was not noticed")
    assert ring.find(document["key"]).scopes == {"read"}
    home.run("keys", "revoke", document["id"])
    until(lambda: _is_refused(ring, document["key"]), 5, lambda: "that it was revoked was not noticed")


def _is_refused(ring: Keyring, words: str) -> bool:
    try:
        ring.find(words)
    except KeyRefused:
        return True
    return False


def test_a_new_key_is_accepted_at_once(path):
    _, first = keys.create(path)
    ring = Keyring(path)
    ring.find(first)
    for _ in range(20):
        key, words = keys.create(path)
        assert ring.find(words).id == key.id


def test_keys_that_are_gone_with_their_file_do_not_open_the_server(path):
    _, words = keys.create(path)
    ring = Keyring(path)
    assert ring.any()
    for file in path.parent.iterdir():
        file.unlink()
    until(lambda: _is_refused(ring, words), 5, lambda: "the key is still known")
    assert ring.any()
    _, other = keys.create(path)  # a new file in its place is read
    until(lambda: not _is_refused(ring, other), 5, lambda: "the new file was not noticed")


def test_a_file_that_cannot_be_read_lets_nobody_in(path):
    _, words = keys.create(path)
    ring = Keyring(path)
    for file in path.parent.glob("keys.db-*"):
        file.unlink()
    path.write_bytes(b"not a database, but long enough to be looked at as one" * 100)
    with pytest.raises(KeysUnreadable) as caught:
        ring.find(words)
    assert str(path.parent) not in str(caught.value)


def test_a_key_is_revoked_by_its_id_or_whole_and_stays_so(path):
    first, words = keys.create(path)
    second, whole = keys.create(path)
    assert keys.revoke(path, first.id, now_s=1000).revoked_s == 1000
    assert keys.revoke(path, first.id, now_s=2000).revoked_s == 1000
    assert keys.revoke(path, whole).id == second.id
    with pytest.raises(UnknownKey):
        keys.revoke(path, "0123456789ab")
    refused(Keyring(path), words)


def test_many_may_make_the_file_at_once(path):
    makers = [threading.Thread(target=keys.create, args=(path,)) for _ in range(12)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(keys.listed(path)) == 12


def test_a_session_ends_with_its_time_by_hand_or_with_its_key(path):
    key, _ = keys.create(path)
    one, two, three = (sessions.begin(path, key, now_s=1000) for _ in range(3))
    assert len({one, two, three}) == 3
    assert sessions.key_of(path, one, 1000 + sessions.LIFE_S - 1) == key.id
    assert sessions.key_of(path, one, 1000 + sessions.LIFE_S) is None
    sessions.end(path, two)
    assert sessions.key_of(path, two, 1001) is None
    assert sessions.key_of(path, three, 1001) == key.id
    keys.revoke(path, key.id)
    assert sessions.key_of(path, three, 1001) is None
    assert sessions.key_of(path, "", 1001) is None


def test_what_a_cookie_holds_is_not_in_the_file_and_old_sessions_leave_it(path):
    key, _ = keys.create(path)
    old = sessions.begin(path, key, now_s=1000)
    new = sessions.begin(path, key, now_s=1001 + sessions.LIFE_S)
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert old.encode() not in kept
    assert new.encode() not in kept
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
    connection.close()


def test_the_token_of_a_form_is_of_one_session():
    assert sessions.token("a") == sessions.token("a") != sessions.token("b")
    assert len(sessions.token("a")) == 64


def test_keys_are_listed_as_they_were_made_also_within_a_second(tmp_path):
    names = [str(number) for number in range(20)]
    for name in names:
        keys.create(tmp_path / "keys.db", name=name, now_s=1000.0)
    assert [key.name for key in keys.listed(tmp_path / "keys.db")] == names


def test_the_launcher_makes_lists_and_revokes_keys(tmp_path):
    home = Home(tmp_path / "home", tmp_path)
    made = home.json("keys", "create", "--name", "[bold]lab", "--task", "birth_weight", "--task", "stay")
    assert made["scopes"] == ["predict", "outcome", "read"]
    assert made["tasks"] == ["birth_weight", "stay"]
    told = home.run("keys", "create", "--scopes", "predict", "--expires", "12h").stdout
    words = re.search(r"^(gck_\S+)$", told, re.MULTILINE)[1]
    assert keys.SHAPE.fullmatch(words)
    assert home.json("keys", "revoke", words)["state"] == "revoked"
    listed = home.json("keys", "list")["keys"]
    assert [(key["name"], key["state"]) for key in listed] == [("[bold]lab", "live"), ("", "revoked")]
    shown = home.run("keys", "list").stdout
    for secret in (made["key"], words):
        assert secret not in json.dumps(listed)
        assert secret.split("_", 2)[2] not in shown
    assert "gancao keys list" in home.run("keys", "revoke", "nothing", code=1).stderr


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"scopes": "predict,write"}, "predict, outcome, read, admin"), ({"scopes": ","}, "name some of"),
     ({"expires": "never"}, "90d, 12h or 30m"), ({"tasks": ["../x"]}, "--task birth_weight"),
     ({"name": "two\nlines"}, "on one line")],
)  # fmt: skip
def test_wrong_words_are_told_with_what_to_write(tmp_path, wrong, named):
    given = {"name": "", "scopes": "read", "tasks": [], "expires": "1d"} | wrong
    with pytest.raises(Usage) as caught:
        make_key(Settings(home=tmp_path), **given)
    assert named in str(caught.value)
    assert not (tmp_path / "keys.db").exists()


def test_a_life_is_read_in_days_hours_and_minutes():
    assert [read_life(words) for words in ("90d", "12h", "30m")] == [90 * 86400, 12 * 3600, 1800]
    for words in ("0d", "-1d", "90", "4000d", "1d2h", "９d"):
        with pytest.raises(Usage):
            read_life(words)


def test_a_key_asks_as_often_as_it_may_and_no_more():
    throttle, passed = Throttle(60), 0
    for tenth in range(6000):  # ten minutes, ten requests a second
        passed += throttle.wait_s("a", tenth / 10) == 0
    assert passed == pytest.approx(600 + BURST_S, abs=1)
    assert throttle.wait_s("b", 600.0) == 0, "another key has a bucket of its own"


def test_the_wait_that_is_told_is_long_enough():
    throttle, now = Throttle(7), 0.0
    for _ in range(50):
        wait = throttle.wait_s("a", now)
        if wait:
            assert throttle.wait_s("a", now + wait - 0.01) > 0
            assert throttle.wait_s("a", now + wait + 1e-6) == 0
            now += wait


def test_a_rate_of_nothing_holds_nobody_back_and_buckets_are_bounded():
    assert all(Throttle(0).wait_s("a", 0.0) == 0 for _ in range(1000))
    throttle = Throttle(60)
    for number in range(MOST_BUCKETS + 100):
        throttle.wait_s(str(number), 0.0)
    assert len(throttle._buckets) == MOST_BUCKETS


def test_the_parent_that_looks_at_keys_stays_light():
    script = "import sys, serving.serve; print(sorted({'jinja2', 'starlette', 'jwt', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
