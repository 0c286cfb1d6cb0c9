"""The doctor: whether this machine has what Gancao needs, each line with its remedy."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from rich.markup import escape
from rich.table import Table

from feature_store.errors import GancaoError
from feature_store.settings import Settings
from serving.trees import Trees

_STUMP = (
    "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\n"
    "objective=regression\nfeature_names=a\nfeature_infos=none\n\n"
    "Tree=0\nnum_leaves=1\nnum_cat=0\nleaf_value=1.5\nis_linear=0\nshrinkage=1\n\n\nend of trees\n"
)


@dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    what: str
    good: bool
    found: str
    remedy: str = ""


def examine(settings: Settings) -> tuple[dict[str, Any], Table]:
    """Everything at once, as a document and as a table."""
    lines = list(_lines(settings))
    table = Table(title="gancao doctor")
    for heading in ("", "what", "found", "what to do"):
        table.add_column(heading)
    for line in lines:
        mark = "[green]ok[/]" if line.good else "[red]no[/]"
        table.add_row(mark, *(escape(words) for words in (line.what, line.found, line.remedy)))
    return {"healthy": all(line.good for line in lines), "lines": [asdict(line) for line in lines]}, table


def _lines(settings: Settings) -> Iterator[Line]:
    good = sys.version_info >= (3, 11)
    yield Line("Python", good, sys.version.split()[0], "" if good else "Install Python 3.11 or later.")
    yield Line("gancao", True, metadata.version("gancao"))
    yield _library()
    trained = all(importlib.util.find_spec(name) for name in ("flaml", "xgboost", "duckdb", "mlflow.sklearn"))
    yield Line("training", trained, "installed" if trained else "absent",
               "" if trained else "Only for training: pip install 'gancao[train]'")  # fmt: skip
    yield _home(settings)
    tables = settings.data.is_dir() and any(settings.data.rglob("*.parquet"))
    yield Line("tables", tables, str(settings.data),
               "" if tables else "Put tables there, set GANCAO_DATA, or: gancao sample birth_weight")  # fmt: skip
    yield _port(settings)
    compiled = not os.environ.get("PYTHONDONTWRITEBYTECODE")
    yield Line("bytecode", compiled, "kept" if compiled else "not kept",
               "" if compiled else "Unset PYTHONDONTWRITEBYTECODE: imports are several times slower.")  # fmt: skip


def _library() -> Line:
    try:
        Trees(_STUMP, 1)
    except (GancaoError, OSError) as error:
        return Line("LightGBM's library", False, str(error)[:80], "Install libgomp1 (apt-get install libgomp1).")
    return Line("LightGBM's library", True, metadata.version("lightgbm"))


def _home(settings: Settings) -> Line:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        writable = os.access(settings.home, os.W_OK)
    except OSError:
        writable = False
    return Line(
        "home", writable, str(settings.home.resolve()), "" if writable else "Set GANCAO_HOME to a folder of yours."
    )


def _port(settings: Settings) -> Line:
    with socket.socket() as probe:
        taken = probe.connect_ex((settings.host, settings.port)) == 0
    where = f"{settings.host}:{settings.port}"
    return Line("port", not taken, f"{where} {'is taken' if taken else 'is free'}", "Use --port." if taken else "")
