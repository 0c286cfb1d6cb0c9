"""The docs are true: settings, commands and examples are held against the code."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from experiments.cli import app
from feature_store.settings import Settings
from tests.conftest import ROOT, Server

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_setting_is_in_the_docs_with_its_default_and_sentence():
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        assert f"| `GANCAO_{name.upper()}` | {default} | {field.description} |" in page


def test_no_setting_is_documented_that_does_not_exist():
    known = {f"GANCAO_{name.upper()}" for name in Settings.model_fields} | {"GANCAO_REQUIRE_ALL", "GANCAO_PROOFS"}
    for page in [*PAGES, ROOT / "Makefile", ROOT / "Dockerfile"]:
        assert set(re.findall(r"GANCAO_[A-Z_]+", page.read_text(encoding="utf-8"))) <= known, page


def test_every_command_in_the_docs_exists():
    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.name for group in app.registered_groups if group.name}
    for page in PAGES:
        for name in re.findall(r"(?:^|`)gancao ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert name in known, f"{page.name}: gancao {name}"


def test_every_link_between_pages_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_is_in_the_reading_order_of_the_design():
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    for layer in ("feature_store", "serving", "training", "experiments"):
        rows = [line for line in page.splitlines() if line.startswith(f"| `{layer}` |")]
        listed = set(re.findall(r"`([a-z_]+)`", "".join(rows))) - {layer}
        assert listed == {path.stem for path in (ROOT / layer).glob("*.py")} - {"__init__"}


COMMANDS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def examples() -> list[str]:
    """Each `curl` at the beginning of a line of a block, with the lines that it goes on in."""
    return [
        command
        for page in COMMANDS
        for block in re.findall(r"^```[a-z]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        for command in re.findall(r"^curl .*(?:(?<=\\)\n.*)*", block, re.MULTILINE)
    ]


def test_no_curl_of_the_docs_is_left_out_of_those_that_are_run():
    told = sum(len(re.findall(r"\bcurl\b", page.read_text(encoding="utf-8"))) for page in COMMANDS)
    assert told == len(examples()) >= 7


@pytest.mark.parametrize("command", examples(), ids=lambda text: text[:50])
def test_the_curl_examples_run_as_written(server: Server, command):
    here = command.replace("http://127.0.0.1:8000", server.base)
    done = subprocess.run(["bash", "-c", here], capture_output=True, text=True, timeout=30, check=True)
    document = json.loads(done.stdout)
    assert "birth_weight" in done.stdout
    assert "status" not in document


def test_the_dockerfile_is_of_the_server_only():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "--extra" not in text
    assert "--all-extras" not in text
    assert "HEALTHCHECK" in text
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)
    assert "UV_COMPILE_BYTECODE=1" in text
