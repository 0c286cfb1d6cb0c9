"""The demo: sample, train, promote and serve birth_weight on this machine, in one command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from experiments import catalog
from experiments.commands import in_words, read_budget, ui_command
from experiments.refused import Outcome, Refused
from experiments.sample import sample as make_sample
from feature_store import offline
from feature_store.errors import GancaoError, TableMissing
from feature_store.settings import Settings
from feature_store.task import Task
from serving import keys, reach
from serving.serve import listen, variables
from training.track import open_registry
from training.train import train

KEY_S = 3600
SIGN_IN = """This home has keys, so every page asks for one.
  Sign in at {}/login with a key of yours, or make one:
  gancao keys create --name "me" --scopes predict,outcome,read --expires 12h"""


def demo(settings: Settings, once: bool, budget: str, mlflow_port: int, console: Console) -> Outcome:
    """Sample, train, promote, serve; with `once` ask one prediction over HTTP and stop."""
    name = "birth_weight"
    task = catalog.load(name, settings)
    listen(settings).close()  # a taken port is told before a minute of training, not after
    try:
        offline.fetch(task, settings.data)
    except TableMissing:
        console.print(f"No table under {settings.data}: making a synthetic one.")
        make_sample(name, settings.data)
    trained = train(task, settings, read_budget(budget), promote=True)
    version = trained.version if trained.promoted else open_registry(settings).champion(name)
    if version is None:
        raise Refused((trained.to_json(), in_words(trained)))
    console.print(in_words(trained))
    if not trained.promoted:
        console.print(f"Version {version}, the champion of an earlier demo, goes on answering.")
    with own_key(settings) as headers, running(settings, name, version, headers) as base, _pages(settings, mlflow_port):
        links = {
            **({"login": f"{base}/login"} if headers else {}),
            "form": f"{base}/form/{name}",
            "form_zh": f"{base}/form/{name}?lang=zh",
            "docs": f"{base}/docs",
            "openapi": f"{base}/openapi.json",
            "mlflow": f"http://127.0.0.1:{mlflow_port}",
        }
        if not _wait(lambda: _ready(f"{links['mlflow']}/health"), 60):
            console.print(f"MLflow's pages did not start on port {mlflow_port}; gancao ui --port N shows them.")
        for key, link in links.items():
            console.print(f"  {key:8} {link}", highlight=False)
        if headers:
            console.print(SIGN_IN.format(base), highlight=False)
        if not once:
            console.print("Serving. Ctrl-C stops it.")
            _wait_forever()
            return {"links": links}, "Stopped."
        request = _example(base, headers)
        answer = _ask(f"{base}/v1/{name}/predict", headers, request)
    shown = f"Asked   {json.dumps(request)}\nAnswer  {_answer(task, answer)}"
    return {"links": links, "request": request, "response": answer, "trained": trained.to_json()}, shown


@contextmanager
def own_key(settings: Settings) -> Iterator[dict[str, str]]:
    """The headers by which the demo asks its own server: a key that ends with it, or none where none is asked for.

    Raises KeysUnreadable.
    """
    if settings.open or not (reach.asks_always(settings) or keys.listed(settings.keys)):
        yield {}
        return
    key, words = keys.create(settings.keys, name="gancao demo", scopes=("predict", "read"), life_s=KEY_S)
    try:
        yield {"Authorization": f"Bearer {words}"}
    finally:
        keys.revoke(settings.keys, key.id)


def _answer(task: Task, document: dict[str, Any]) -> str:
    """The first answer of a response on three lines."""
    answer = document["answers"][0]
    interval, unit, digits = answer["interval"], answer["unit"], task.target.digits
    ends = f"{interval['low']:.{digits}f} to {interval['high']:.{digits}f} {unit}"
    chances = ", ".join(f"{name} {chance:.1%}" for name, chance in answer["events"].items())
    missing = sum(warning["code"] == "missing_field" for warning in answer["warnings"])
    return (
        f"{answer['value']:.{digits}f} {unit}, {interval['level']:.0%} of such cases from {ends}\n"
        f"        {chances}\n"
        f"        version {document['version']}, {answer['group']}, {missing} fields not given"
    )


def _example(base: str, headers: dict[str, str]) -> dict[str, Any]:
    """The request that the server's own documentation shows."""
    request: dict[str, Any] = _ask(f"{base}/openapi.json", headers)["components"]["schemas"]["BirthWeightRequest"]
    example: dict[str, Any] = request["examples"][0]
    return example


@contextmanager
def running(settings: Settings, task: str, version: str, headers: dict[str, str]) -> Iterator[str]:
    """The server; gives its address when it answers with that version. headers: to ask it with.

    Raises GancaoError when it does not get ready.
    """
    base = f"http://{settings.host}:{settings.port}"
    environment = {**os.environ, **variables(settings)}
    server = subprocess.Popen([sys.executable, "-m", "experiments.cli", "serve"], env=environment, stdout=sys.stderr)
    with _ended(server):
        ready = _wait(lambda: _serves(base, task, version, headers) or server.poll() is not None, 90)
        if not ready or server.poll() is not None:
            raise GancaoError(f"The server at {base} did not get ready. Its log above says why.")
        yield base


@contextmanager
def _pages(settings: Settings, port: int) -> Iterator[None]:
    """MLflow's pages."""
    quiet = subprocess.DEVNULL
    with _ended(subprocess.Popen(ui_command(settings, port), stdout=quiet, stderr=quiet)):
        yield


@contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Ends the process afterwards."""
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _wait(look: Callable[[], bool], seconds: float) -> bool:
    """Whether `look` came true in time."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _serves(base: str, task: str, version: str, headers: dict[str, str]) -> bool:
    try:
        return bool(_ask(f"{base}/v1/{task}", headers, timeout_s=2)["version"] == version)
    except OSError:
        return False


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
            return bool(response.status == 200)
    except OSError:
        return False


def _ask(
    url: str, headers: dict[str, str], document: dict[str, Any] | None = None, timeout_s: float = 10
) -> dict[str, Any]:
    """The JSON that is answered to a GET, or to a POST of the document."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, body, {**headers, "Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - our own address
        answer: dict[str, Any] = json.load(response)
    return answer


def _wait_forever() -> None:
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        return
