"""The base install is a whole server: no flaml, no pandas, no checkout, and the same answers to the bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks import peers
from tests.conftest import CASE, ROOT, Home, Server, need, until

PACKED = ("pyproject.toml", "uv.lock", "README.md", "LICENSE", "experiments", "training", "serving", "feature_store")
ABSENT = ("flaml", "xgboost", "pandas", "sklearn", "duckdb", "pyarrow", "matplotlib")
UNLOADED = ("mlflow", "pandas", "sklearn", "scipy", "lightgbm", "flaml", "training", "sqlalchemy", "alembic")
ROWS: list[dict[str, Any]] = [CASE, {"gestation_weeks": 39}, {**CASE, "plurality": "twins", "weight_before_kg": 61.7}]


def uv() -> str | None:
    """The uv of the checkout, or the one on PATH."""
    own = ROOT / ".tools" / "bin" / "uv"
    return str(own) if own.exists() else shutil.which("uv")


def clean(**more: str) -> dict[str, str]:
    """This environment without what would let another Python, or the checkout, in."""
    unwanted = ("PYTHON", "VIRTUAL_ENV", "UV_PROJECT", "UV_PYTHON", "GANCAO_")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)} | more


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a venv that has `gancao` alone, made from a copy of the checkout that is then deleted."""
    tool = uv()
    need(tool, "uv is absent: `make .tools/bin/uv` brings it")
    assert tool is not None
    folder = tmp_path_factory.mktemp("base")
    source = folder / "source"
    source.mkdir()
    for name in PACKED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    environment = clean(UV_PROJECT_ENVIRONMENT=str(folder / "venv"), UV_COMPILE_BYTECODE="1")
    command = [tool, "sync", "--frozen", "--no-dev", "--no-editable", "--python", sys.executable, "--quiet"]
    done = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    offline = "error sending request" in done.stderr or "dns error" in done.stderr
    need(not offline, f"the base install needs the package registry or a full uv cache: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(source)
    return folder / "venv" / "bin"


def python(base: Path, script: str) -> str:
    """What a script prints under the venv's own Python, far from the checkout."""
    done = subprocess.run(
        [base / "python", "-c", script], cwd=base.parent, env=clean(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def serve(base: Path, own_home: Home, tmp_path: Path) -> Iterator[Any]:
    """Starts the venv's `gancao serve` over a copy of the trained home; gives its address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(program: Path) -> str:
        port = peers.free_port()
        environment = clean(GANCAO_HOME=str(own_home.home), GANCAO_PORT=str(port), GANCAO_POLL_S="0.5")
        log = tmp_path / "serve.log"
        with log.open("w") as sink:
            started.append(
                subprocess.Popen([program, "serve"], cwd=tmp_path, env=environment, stdout=sink, stderr=sink)
            )
        address = f"http://127.0.0.1:{port}"
        until(lambda: ready(address), 60, lambda: f"the server is not ready: {log.read_text()}")
        return address

    yield start
    for process in started:
        process.terminate()
        process.wait(20)


def ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def answers(address: str) -> list[dict[str, Any]]:
    """The answers to ROWS without their ids."""
    answer = httpx.post(f"{address}/v1/birth_weight/predict", json={"rows": ROWS}, timeout=30)
    assert answer.status_code == 200, answer.text
    return [{**one, "prediction_id": None} for one in answer.json()["answers"]]


def test_it_answers_like_the_development_install_to_the_bit(base: Path, serve: Any, server: Server):
    assert answers(serve(base / "gancao")) == answers(server.base)


def test_it_shows_the_form(base: Path, serve: Any):
    page = httpx.get(f"{serve(base / 'gancao')}/form/birth_weight", timeout=30)
    assert page.status_code == 200
    assert "gestation_weeks" in page.text


def test_it_answers_a_csv_file_and_says_what_parquet_needs(base: Path, serve: Any):
    jobs = f"{serve(base / 'gancao')}/v1/birth_weight/jobs"
    content = b"gestation_weeks\n39\n40\n"
    sent = httpx.post(jobs, content=content, headers={"content-type": "text/csv"}, timeout=30)
    assert sent.status_code == 202, sent.text
    address = f"{jobs}/{sent.json()['id']}"
    until(lambda: httpx.get(address, timeout=30).json()["state"] == "done", 60, lambda: httpx.get(address).text)
    assert httpx.get(f"{address}/result", timeout=30).text.splitlines()[1].startswith("39,")
    refused = httpx.post(jobs, content=b"PAR1", headers={"content-type": "application/vnd.apache.parquet"}, timeout=30)
    assert refused.status_code == 415
    assert "pip install pyarrow" in refused.json()["detail"]


def test_it_answers_without_the_training_package(base: Path, serve: Any, server: Server, tmp_path: Path):
    bare = tmp_path / "bare"
    shutil.copytree(base.parent, bare, symlinks=True)
    (package,) = bare.glob("lib/python3.*/site-packages/training")
    shutil.rmtree(package)
    launcher = bare / "bin" / "gancao"
    launcher.write_text(launcher.read_text().replace(str(base.parent), str(bare)))
    assert python(launcher.parent, "import importlib.util as u; print(u.find_spec('training'))") == "None"
    assert answers(serve(launcher)) == answers(server.base)


@pytest.mark.parametrize("module", ABSENT)
def test_it_is_without(module: str, base: Path):
    assert python(base, f"import importlib.util as u; print(u.find_spec({module!r}))") == "None"


def test_a_worker_loads_none_of_the_heavy_libraries(base: Path):
    script = f"import json, sys, serving.app; print(json.dumps([m for m in {UNLOADED!r} if m in sys.modules]))"
    assert json.loads(python(base, script)) == []


def test_a_worker_that_has_loaded_a_version_still_has_none(base: Path, trained: Home):
    (bundle,) = trained.home.glob("artifacts/birth_weight/models/*/artifacts/data/bundle")
    script = (
        "import json, sys, serving.app, pathlib\n"
        "from serving import predictor\n"
        f"predictor.load(pathlib.Path({str(bundle)!r}))\n"
        f"print(json.dumps([m for m in {UNLOADED!r} if m in sys.modules]))"
    )
    assert json.loads(python(base, script)) == []


def test_training_says_which_extra_to_install(base: Path, tmp_path: Path):
    done = subprocess.run(
        [base / "gancao", "train", "birth_weight"], cwd=tmp_path, env=clean(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install 'gancao[train]'" in done.stderr
    assert "Traceback" not in done.stderr
