"""What a command gives back, and a refusal that still gives it."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType

from feature_store.errors import GancaoError

Outcome = tuple[dict[str, Any], RenderableType]
"""The document of --json, and what a person sees instead."""


class Refused(GancaoError):
    """A refusal that still has a document: exit code 1 with the document on standard output."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__("refused")
