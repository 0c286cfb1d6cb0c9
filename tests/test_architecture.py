"""The arrows: experiments -> training -> serving -> feature_store, one way, no circle, one door a heavy library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

LAYERS = ["feature_store", "serving", "training", "experiments"]
DOORS = {
    "flaml": {"training/proposals.py"},
    "mlflow": {"training/track.py", "serving/fetch.py"},
    "duckdb": {"feature_store/offline.py", "feature_store/events.py"},
    "ray": {"training/ray_engine.py"},
    "lightgbm": {"training/boosters.py"},
    "catboost": {"training/boosters.py"},
    "xgboost": {"training/boosters.py"},
    "redis": {"feature_store/online_redis.py"},
    "sqlite3": {
        "feature_store/online_sqlite.py",
        "serving/keys.py",
        "serving/keyring.py",
        "serving/shadows.py",
        "serving/shadow.py",
        "serving/journal_store.py",
        "serving/archives.py",
        "serving/verify.py",
    },
    "psycopg": {"feature_store/online_postgres.py", "serving/postgres.py"},
    "starlette": {
        "serving/features_api.py",
        "serving/api.py",
        "serving/job_api.py",
        "serving/pages.py",
        "serving/outcome_pages.py",
        "serving/app.py",
        "serving/short_way.py",
        "serving/problems.py",
        "serving/signin_page.py",
        "serving/auth.py",
        "serving/signin.py",
    },
    "opentelemetry": {"serving/traces.py"},
    "uvicorn": {"serving/app.py", "serving/protocol.py"},
    "jinja2": {"serving/form.py", "training/report.py", "training/monitor_report.py"},
}
OFFLINE_ONLY = {
    f"feature_store/{name}.py"
    for name in ("offline", "labels", "column", "check_target", "check_split", "check", "events", "history", "asof")
} | {f"feature_store/{name}.py" for name in ("stream", "materialize", "replay")}
"""The files of feature_store that need the training extra; serving must not import them."""

FILES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever it stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_its_own_layer_and_those_below(path):
    own = LAYERS.index(path.relative_to(ROOT).parts[0])
    above = {name for name in imports(path) if name.split(".")[0] in LAYERS[own + 1 :]}
    assert not above


def test_no_import_goes_in_a_circle():
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): imports(path) for path in FILES}
    finished: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module in modules and module not in finished:
            for name in modules[module]:
                visit(name, (*trail, module))
            finished.add(module)

    for module in modules:
        visit(module, ())


@pytest.mark.parametrize("library", sorted(DOORS))
def test_a_heavy_library_has_its_own_doors(library):
    users = {str(path.relative_to(ROOT)) for path in FILES if any(n.split(".")[0] == library for n in imports(path))}
    assert users == DOORS[library]


def test_serving_does_not_need_the_table_readers():
    banned = {path.removesuffix(".py").replace("/", ".") for path in OFFLINE_ONLY}
    for path in (ROOT / "serving").rglob("*.py"):
        assert not imports(path) & banned, path


def test_a_view_and_an_event_are_read_without_the_table_readers():
    script = (
        "import sys\n"
        "from feature_store import event, view, viewfile\n"
        "print(sorted({'numpy', 'duckdb', 'pyarrow', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_unpickles():
    words = ("pickle", "joblib", "cloudpickle", "marshal", "shelve", "dill")
    for path in FILES:
        assert not {name for name in imports(path) if name.split(".")[0] in words}, path


def test_a_worker_starts_without_the_heavy_libraries():
    script = (
        "import sys, serving.app\n"
        "heavy = 'mlflow pandas sklearn scipy flaml xgboost duckdb pyarrow lightgbm psycopg opentelemetry training'\n"
        "print(sorted(set(heavy.split()) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_begins_with_its_idea_in_a_sentence(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert text.split("\n")[0].rstrip().endswith((".", ":", ","))
