"""What the launcher does with versions side by side: print, draw, and promote by their verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from experiments import commands
from feature_store.errors import Usage
from feature_store.task import Task
from tests.test_gate import three_versions  # noqa: F401 (a fixture)


def written(folder: Path, made: Task) -> Path:
    """The Task as a file."""
    path = folder / "made.yaml"
    path.write_text(yaml.safe_dump(made.model_dump(mode="json", exclude_none=True)))
    return path


def test_a_comparison_is_printed_and_drawn(registry, tmp_path):
    _, settings, made = registry
    path = written(settings.data, made)
    document, shown = commands.compare(str(path), "2", "1", settings, tmp_path / "two.png")
    assert (tmp_path / "two.png").read_bytes()[:4] == b"\x89PNG"
    assert "RMSE" in str(shown.renderables[0].columns[2].header)
    assert "Drawn in" in shown.renderables[1]
    with pytest.raises(Usage, match="suffix is not drawn"):
        commands.compare(str(path), "2", "1", settings, tmp_path / "two.txt")
    assert document["versions"] == ["2", "1"]


def test_a_challenger_is_promoted_by_hand_and_a_rejected_version_by_force(registry):
    opened, settings, made = registry
    path = written(settings.data, made)
    for version, verdict in (("2", "reject"), ("3", "challenger")):
        opened._client.set_model_version_tag("made", version, "gancao.verdict", verdict)
    with pytest.raises(commands.Refused):
        commands.promote(str(path), "2", False, settings)
    assert opened.champion("made") == "1"
    assert commands.promote(str(path), "3", False, settings)[0]["promoted"] is True
    assert commands.promote(str(path), "2", True, settings)[0]["promoted"] is True
    opened.promote("made", "1")
