"""Where View files lie: a folder of one's own before the working folder's before the shipped ones."""

from __future__ import annotations

from pathlib import Path

from feature_store.settings import Settings

SHIPPED = Path(__file__).resolve().parents[1] / "experiments" / "views"


def files(settings: Settings) -> dict[str, Path]:
    """View files by their names."""
    found: dict[str, Path] = {}
    for folder in (settings.views, Path("experiments/views"), SHIPPED):
        for path in sorted(folder.glob("*.yaml")) if folder else ():
            found.setdefault(path.stem, path)
    return found
