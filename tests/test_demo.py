"""From nothing to an answer: the demo, as a newcomer runs it."""

from __future__ import annotations

import json
import re
import shlex
import time

import httpx

from experiments import demo
from feature_store.settings import Settings
from serving import keys
from serving.serve import listen
from tests.conftest import Home


def test_the_demo_samples_trains_serves_and_asks_once(tmp_path):
    home = Home(tmp_path / "home", tmp_path / "data")
    done = home.run("demo", "--once", "--budget", "3trials", "--port", "8765", "--mlflow-port", "8766", "--json")
    document = json.loads(done.stdout)
    assert document["response"]["version"] == document["trained"]["version"] == "1"
    assert 1000 < document["response"]["answers"][0]["value"] < 6000
    assert document["links"]["form"] == "http://127.0.0.1:8765/form/birth_weight"
    assert "did not start" not in done.stderr, "MLflow's pages were there"


def test_in_a_home_with_keys_the_demo_asks_with_its_own_and_says_how_to_sign_in(own_home):
    _, mine = keys.create(own_home.home / "keys.db", name="mine")
    listener = listen(Settings(home=own_home.home, port=0))
    port = listener.getsockname()[1]
    listener.close()
    settings = Settings(home=own_home.home, port=port, poll_s=0.5)
    with demo.own_key(settings) as headers, demo.running(settings, "birth_weight", "1", headers) as base:
        assert httpx.get(f"{base}/v1", timeout=30).status_code == 401
        assert httpx.get(f"{base}/v1/birth_weight", headers=headers, timeout=30).json()["version"] == "1"
        said = demo.SIGN_IN.format(base)
        address, command = re.findall(r"(http://\S+|gancao keys create .*)", said)
        sent = httpx.post(address, data={"key": mine, "goes_to": "/form/birth_weight"}, timeout=30)
        assert (sent.status_code, sent.headers["location"]) == (303, "/form/birth_weight")
        page = httpx.get(f"{base}/form/birth_weight", cookies=sent.cookies, timeout=30)
        assert page.status_code == 200
    made = own_home.json(*shlex.split(command)[1:])
    assert made["name"] == "me"
    states = {key.name: key.state(time.time()) for key in keys.listed(own_home.home / "keys.db")}
    assert states == {"mine": "live", "gancao demo": "revoked", "me": "live"}


def test_where_nobody_is_asked_for_a_key_the_demo_makes_none(tmp_path):
    with demo.own_key(Settings(home=tmp_path)) as headers:
        assert headers == {}
    assert not (tmp_path / "keys.db").exists()


def test_wrong_usage_is_2_and_a_refusal_is_1_each_with_its_reason(tmp_path):
    home = Home(tmp_path / "home", tmp_path / "data")
    assert "is not a budget" in home.run("train", "birth_weight", "--budget", "soon", code=2).stderr
    assert "gancao sample birth_weight" in home.run("train", "birth_weight", code=1).stderr
    assert "Did you mean birth_weight" in home.run("check", "birth_wieght", code=1).stderr
    assert "There is one for: birth_weight" in home.run("sample", "birth_weight_hospital", code=2).stderr
    error = json.loads(home.run("check", "nothing", "--json", code=1).stdout)
    assert error["error"] == "UnknownTask"
    home.run("no-such-command", code=2)
