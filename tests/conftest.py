"""Real parts for the tests: a trained home, a running server, the shared tables."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from mlflow import MlflowClient

from feature_store.place import Place, Remote
from tests import servers
from tests.needed import need

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


LONGEST = ("training", "durability", "wrong_tables", "engine", "load", "jobs", "demo", "score", "decision_answers")
"""Files that take minutes: begun first, so that at the end no worker has one alone (with --no-loadscope-reorder)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@contextmanager
def environment_kept() -> Iterator[None]:
    """What is left in the environment inside (MLflow notes its address there) is not the next one's.

    But for Ray's variables: Ray reads its token once a process, so what it was given stays.
    """
    before = dict(os.environ)
    yield
    for name in set(os.environ) | set(before):
        if not name.startswith("RAY_"):
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


@pytest.fixture(autouse=True, scope="module")
def environment_of_the_module() -> Iterator[None]:
    with environment_kept():
        yield


@pytest.fixture(autouse=True)
def environment_of_the_test(environment_of_the_module: None) -> Iterator[None]:
    with environment_kept():
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public tables."""
    need(SHARED.is_dir(), "../shared/data (real public tables) is absent")
    return SHARED


@dataclass(frozen=True)
class Home:
    """A GANCAO_HOME and GANCAO_DATA, and the launcher over them."""

    home: Path
    data: Path
    more: tuple[tuple[str, str], ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **dict(self.more),
            "GANCAO_HOME": str(self.home),
            "GANCAO_DATA": str(self.data),
            "GANCAO_POLL_S": "0.5",
        }

    def run(self, *words: str, code: int | None = 0, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """`gancao WORDS`, in a process of its own; code: the exit code that it must have, None for any."""
        command = [sys.executable, "-m", "experiments.cli", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if code is not None:
            assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The document that `gancao WORDS --json` prints."""
        document: dict[str, Any] = json.loads(self.run(*words, "--json", code=code).stdout)
        return document

    def copy(self, to: Path) -> Home:
        """The same home elsewhere, MLflow's file paths and all, so that a test may change it."""
        shutil.copytree(self.home, to, ignore=shutil.ignore_patterns("cache", "journal.db*"))
        database = to / "mlflow.db"
        old, new = str(self.home.resolve()), str(to.resolve())

        with sqlite3.connect(database) as connection:
            for table, column in (
                ("experiments", "artifact_location"),
                ("runs", "artifact_uri"),
                ("model_versions", "storage_location"),
                ("model_versions", "source"),
                ("logged_models", "artifact_location"),
            ):
                connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
        connection.close()
        return Home(to, self.data)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with one promoted version of birth_weight, trained on 3,000 synthetic rows. Not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    home = Home(folder / "home", folder / "data")
    home.run("sample", "birth_weight", "--rows", "3000")
    document = home.json("train", "birth_weight", "--budget", "6trials", "--promote")
    assert document["promoted"] is True
    return home


@pytest.fixture
def own_home(trained: Home, tmp_path: Path) -> Home:
    """The trained home, copied, for a test that changes it."""
    return trained.copy(tmp_path / "home")


@dataclass
class Server:
    """A running `gancao serve`."""

    base: str
    process: subprocess.Popen[str]
    log: Path

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return httpx.post(self.base + path, timeout=30, **arguments)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return httpx.get(self.base + path, timeout=30, **arguments)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def children(self, word: str) -> list[int]:
        """Process ids of its children whose command line holds `word`."""
        found = []
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                words = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                parent = next(line for line in status.read_text().splitlines() if line.startswith("PPid:"))
            except (OSError, StopIteration):
                continue
            if int(parent.split()[1]) == self.process.pid and word in words:
                found.append(int(status.parent.name))
        return found


@contextmanager
def serving(home: Home, *words: str, wait_ready: bool = True) -> Iterator[Server]:
    """`gancao serve` on a free port, until the block ends."""
    log = home.home / "serve.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.cli", "serve", "--port", "0", *words],
            cwd=ROOT,
            env=home.environment,
            stderr=sink,
            stdout=sink,
            text=True,
        )
    try:
        port = until(lambda: _port(log), 60, lambda: f"the server did not start: {log.read_text()}")
        server = Server(f"http://127.0.0.1:{port}", process, log)
        if wait_ready:
            looks = 16 if "--workers" in words else 1  # each on a connection of its own, so that every worker is met
            until(
                lambda: all(_ready(server.base) for _ in range(looks)),
                60,
                lambda: f"the server is not ready: {log.read_text()}",
            )
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def until(look: Callable[[], Any], seconds: float, otherwise: Callable[[], str]) -> Any:
    """What `look` gives once it is true; fails with `otherwise` when it never is."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            pytest.fail(otherwise())
        time.sleep(0.05)
    return found


def _port(log: Path) -> int:
    for line in log.read_text().splitlines():
        if '"service_started"' in line:
            return int(json.loads(line)["port"])
    return 0


def _ready(base: str) -> bool:
    try:
        return httpx.get(f"{base}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without anything in it, to be copied: making one takes seconds."""
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}", f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL for the tests of one process; each takes a schema of its own (`schema`)."""
    with servers.postgres() as url:
        yield url


@contextmanager
def schema(url: str) -> Iterator[str]:
    """The URL of an empty schema, which goes with the block."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        yield f"{url}?options=-csearch_path%3D{name}"
        connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where a journal may be, in either store; none is there yet."""
    path = tmp_path / "journal.db"
    if request.param == "sqlite":
        yield path
        return
    with schema(request.getfixturevalue("postgres_url")) as url:
        yield Remote(url, path)


def home_of(place: Place) -> Home:
    """The home to which a journal belongs."""
    folder = place.path.parent if isinstance(place, Remote) else place.parent
    return Home(folder, folder, (("GANCAO_JOURNAL", place.url),) if isinstance(place, Remote) else ())


@pytest.fixture(scope="session")
def server(trained: Home) -> Iterator[Server]:
    """One server over the trained home, shared by tests that only ask."""
    with serving(trained) as running:
        yield running


@pytest.fixture(scope="session")
def keyed_server(trained: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of two workers over a home with keys (`tests.keyed.Keyed`)."""
    from tests.keyed import keyed  # it needs this module

    with keyed(trained.copy(tmp_path_factory.mktemp("keyed") / "home"), "--workers", "2") as running:
        yield running


CASE: dict[str, Any] = {
    "gestation_weeks": 39, "plurality": "singleton", "fetal_sex": "female", "mother_age": 31, "height_cm": 163,
    "weight_before_kg": 61, "weight_now_kg": 74, "diabetes": False,
}  # fmt: skip
"""A plain case of birth_weight."""
