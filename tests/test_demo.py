"""From nothing to an answer: the demo, as a newcomer runs it."""

from __future__ import annotations

import json

from tests.conftest import Home


def test_the_demo_samples_trains_serves_and_asks_once(tmp_path):
    home = Home(tmp_path / "home", tmp_path / "data")
    done = home.run("demo", "--once", "--budget", "3trials", "--port", "8765", "--mlflow-port", "8766", "--json")
    document = json.loads(done.stdout)
    assert document["response"]["version"] == document["trained"]["version"] == "1"
    assert 1000 < document["response"]["answers"][0]["value"] < 6000
    assert document["links"]["form"] == "http://127.0.0.1:8765/form/birth_weight"
    assert "did not start" not in done.stderr, "MLflow's pages were there"


def test_wrong_usage_is_2_and_a_refusal_is_1_each_with_its_reason(tmp_path):
    home = Home(tmp_path / "home", tmp_path / "data")
    assert "is not a budget" in home.run("train", "birth_weight", "--budget", "soon", code=2).stderr
    assert "gancao sample birth_weight" in home.run("train", "birth_weight", code=1).stderr
    assert "Did you mean birth_weight" in home.run("check", "birth_wieght", code=1).stderr
    assert "There is one for: birth_weight" in home.run("sample", "birth_weight_hospital", code=2).stderr
    error = json.loads(home.run("check", "nothing", "--json", code=1).stdout)
    assert error["error"] == "UnknownTask"
    home.run("no-such-command", code=2)
