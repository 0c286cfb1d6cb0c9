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
from serving.serve import listen, variables
from training.track import open_registry
from training.train import train


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
    with _running(settings, mlflow_port, name, version) as base:
        links = {
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
        if not once:
            console.print("Serving. Ctrl-C stops it.")
            _wait_forever()
            return {"links": links}, "Stopped."
        request = _example(base)
        answer = _ask(f"{base}/v1/{name}/predict", request)
    shown = f"Asked   {json.dumps(request)}\nAnswer  {_answer(task, answer)}"
    return {"links": links, "request": request, "response": answer, "trained": trained.to_json()}, shown


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


def _example(base: str) -> dict[str, Any]:
    """The request that the server's own documentation shows."""
    with urllib.request.urlopen(f"{base}/openapi.json", timeout=10) as response:  # noqa: S310 - our own address
        schemas = json.load(response)["components"]["schemas"]
    request: dict[str, Any] = schemas["BirthWeightRequest"]["examples"][0]
    return request


@contextmanager
def _running(settings: Settings, mlflow_port: int, task: str, version: str) -> Iterator[str]:
    """The server and MLflow's pages beside it; gives the server's address when it answers with that version."""
    base = f"http://{settings.host}:{settings.port}"
    environment = {**os.environ, **variables(settings)}
    server = subprocess.Popen([sys.executable, "-m", "experiments.cli", "serve"], env=environment, stdout=sys.stderr)
    pages = subprocess.Popen(ui_command(settings, mlflow_port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if (
            not _wait(lambda: _serves(base, task, version) or server.poll() is not None, 90)
            or server.poll() is not None
        ):
            raise GancaoError(f"The server at {base} did not get ready. Its log above says why.")
        yield base
    finally:
        for process in (server, pages):
            process.terminate()
        for process in (server, pages):
            process.wait(30)


def _wait(look: Callable[[], bool], seconds: float) -> bool:
    """Whether `look` came true in time."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _serves(base: str, task: str, version: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/v1/{task}", timeout=2) as response:  # noqa: S310 - our own address
            return bool(json.load(response)["version"] == version)
    except OSError:
        return False


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
            return bool(response.status == 200)
    except OSError:
        return False


def _ask(url: str, document: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - our own address
        answer: dict[str, Any] = json.load(response)
    return answer


def _wait_forever() -> None:
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        return
