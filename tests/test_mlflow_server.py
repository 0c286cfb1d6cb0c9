"""A registry elsewhere: the same commands over a real MLflow server."""

from __future__ import annotations

import socket
import subprocess
import sys

import httpx
import pytest

from tests.conftest import CASE, Home, serving, until


@pytest.fixture
def mlflow_server(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/there.db",
        "--artifacts-destination",
        str(tmp_path / "there"),
    ]
    log = tmp_path / "mlflow.log"
    with log.open("w") as sink:
        process = subprocess.Popen([*command, *stores], cwd=tmp_path, stdout=sink, stderr=sink)
    until(lambda: _healthy(port), 90, log.read_text)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_training_and_serving_over_a_real_mlflow_server(mlflow_server, trained, tmp_path):
    home = Home(tmp_path / "home", trained.data, (("GANCAO_MLFLOW_URI", mlflow_server),))
    document = home.json("train", "birth_weight", "--budget", "2trials", "--promote")
    assert document["promoted"] is True
    assert list((tmp_path / "there").rglob("digests.json")), "the version lies with the server"
    assert not (home.home / "mlflow.db").exists()
    with serving(home) as server:
        answer = server.post("/v1/birth_weight/predict", json={"rows": [CASE]}).json()
        assert answer["version"] == document["version"]


def test_a_registry_that_does_not_answer_is_told_before_any_training(trained, tmp_path):
    home = Home(
        tmp_path / "home",
        trained.data,
        (("GANCAO_MLFLOW_URI", "http://127.0.0.1:9"), ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")),
    )
    done = home.run("train", "birth_weight", "--budget", "2trials", code=1)
    assert "RegistryUnreachable" in done.stderr
    assert "GANCAO_MLFLOW_URI" in done.stderr
