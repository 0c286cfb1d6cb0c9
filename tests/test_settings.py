"""Settings: read once, wrong ones told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_store.errors import Usage
from feature_store.settings import Settings, from_environment


def test_variables_become_settings_and_the_command_line_goes_first():
    settings = from_environment({"GANCAO_HOME": "/h", "GANCAO_PORT": "9", "GANCAO_OPEN": "yes"}, port=10, host=None)
    assert settings == Settings(home=Path("/h"), port=10, open=True)


def test_an_empty_variable_is_no_setting():
    assert from_environment({"GANCAO_PORT": ""}) == Settings()


def test_every_wrong_variable_is_told():
    with pytest.raises(Usage) as caught:
        from_environment({"GANCAO_PORT": "99999", "GANCAO_OPEN": "perhaps", "GANCAO_WORKERS": "many"})
    for name in ("GANCAO_PORT", "GANCAO_OPEN", "GANCAO_WORKERS"):
        assert name in str(caught.value)


def test_the_registry_is_in_the_home_unless_it_is_elsewhere():
    assert Settings(home=Path("/h")).tracking_uri == "sqlite:////h/mlflow.db"
    assert Settings(home=Path("/h")).artifact_root == "file:///h/artifacts"
    assert Settings(mlflow_uri="http://m:5000").artifact_root is None
    assert Settings(mlflow_uri="http://m:5000", artifacts="s3://b/x").artifact_root == "s3://b/x"
