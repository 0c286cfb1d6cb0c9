"""The catalog of Views, by name or path."""

from __future__ import annotations

import difflib
from pathlib import Path

from feature_store import viewfile
from feature_store.errors import UnknownView
from feature_store.settings import Settings, from_environment
from feature_store.view import View
from feature_store.viewfolder import files

__all__ = ["files", "load"]


def load(name: str, settings: Settings | None = None) -> View:
    """The View of a name (`product_sales`) or a path (`mine/view.yaml`). Raises UnknownView or ViewInvalid."""
    found = files(settings or from_environment())
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if not path.is_file():
            listed = ", ".join(found)
            raise UnknownView(f"There is no View file {name}. Check the path, or name one of: {listed}.")
        return viewfile.read(path)
    if name not in found:
        close = difflib.get_close_matches(name, list(found), n=1)
        hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(found)}."
        raise UnknownView(f"There is no view {name!r}. {hint} A path to a View file does too.")
    return viewfile.read(found[name])
