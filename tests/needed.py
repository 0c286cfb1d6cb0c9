"""What a test needs of the machine."""

from __future__ import annotations

import os

import pytest

REQUIRE_ALL = os.environ.get("GANCAO_REQUIRE_ALL") == "1"


def need(present: object, reason: str) -> None:
    """Skip with a reason where something is absent; in CI (GANCAO_REQUIRE_ALL=1) fail instead."""
    if present:
        return
    if REQUIRE_ALL:
        pytest.fail(f"GANCAO_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)
