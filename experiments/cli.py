"""The launcher: `gancao COMMAND`. Every command is a thin door over a function that a notebook can call."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from experiments import doctor as doctors
from experiments import features, journal
from experiments import keys as keyring
from feature_store import taskfile, viewfile
from feature_store.errors import GancaoError, Usage
from feature_store.settings import from_environment
from serving import serve as service

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Declare a task; find, prove, record and serve its model.",
)

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A name under experiments/tasks, or a path.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output.")]


def _commands(module: str = "commands") -> Any:
    """The commands that need the training extra."""
    try:
        return importlib.import_module(f"experiments.{module}")
    except ModuleNotFoundError as error:
        raise Usage(f"This command needs {error.name}. Install it with: pip install 'gancao[train]'") from None


def _run(json_wanted: bool, work: Callable[[], tuple[dict[str, Any], RenderableType]]) -> None:
    """Do the work, show its outcome, and turn refusals into exit codes."""
    try:
        document, shown = work()
    except GancaoError as error:
        if outcome := getattr(error, "outcome", None):
            _show(json_wanted, *outcome)
            raise typer.Exit(1) from None
        code = 2 if isinstance(error, Usage) else 1
        if json_wanted:
            print(json.dumps({"error": type(error).__name__, "message": str(error)}, ensure_ascii=False))  # noqa: T201
        Console(file=sys.stderr, soft_wrap=True).print(
            f"{type(error).__name__}: {error}", markup=False, highlight=False
        )
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        Console(file=sys.stderr).print(
            "Stopped. What was done is kept: train --resume last and score --resume go on with it."
        )
        raise typer.Exit(130) from None
    _show(json_wanted, document, shown)


def _show(json_wanted: bool, document: dict[str, Any], shown: RenderableType) -> None:
    if json_wanted:
        print(json.dumps(document, ensure_ascii=False, allow_nan=False))  # noqa: T201
    else:
        Console().print(shown)


@app.command()
def new(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, JSON Lines or Parquet.")],
    target: Annotated[str, typer.Option(help="The column to predict.")],
    name: Annotated[str | None, typer.Option(help="Of the task; the file's by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="The Task file; experiments/tasks/NAME.yaml by default.")] = None,
    positive: Annotated[
        str | None, typer.Option(help="Of two classes the one asked for; the rarer by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Draft a Task from a table, its guesses in comments; it trains as it is."""
    _run(as_json, lambda: _commands("new").new(table, target, from_environment(), name, out, positive, force))


@app.command()
def check(task: TaskName, as_json: Json = False) -> None:
    """Every problem of the task's table, with rows and remedies."""
    _run(as_json, lambda: _commands().check(task, from_environment()))


@app.command()
def train(
    task: TaskName,
    budget: Annotated[str | None, typer.Option(help="120s, 5m, 1h or 40trials; the Task's own by default.")] = None,
    engine: Annotated[str, typer.Option(help="Where trials run: local, or ray (see GANCAO_RAY_ADDRESS).")] = "local",
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the learners and the search.")] = 0,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="A run to go on with, or `last`.")] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make it champion if its verdict allows.")] = False,
    as_json: Json = False,
) -> None:
    """Find, prove and register a version."""
    _run(as_json, lambda: _commands().train(task, from_environment(), budget, engine, seed, resume, promote))


@app.command()
def versions(task: TaskName, as_json: Json = False) -> None:
    """The versions of a task."""
    _run(as_json, lambda: _commands().versions(task, from_environment()))


@app.command()
def compare(
    task: TaskName,
    version: Annotated[str | None, typer.Argument(help="The newest by default.")] = None,
    other: Annotated[str | None, typer.Argument(help="The champion by default.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it: a .png, .svg or .pdf file.")] = None,
    live: Annotated[bool, typer.Option("--live", help="On outcomes alone, of what a challenger answered too.")] = False,
    as_json: Json = False,
) -> None:
    """Two versions in a paired test, on the holdout that they share and on what came true."""
    if live:
        _run(as_json, lambda: _commands("live").compare(task, version, other, from_environment()))
    else:
        _run(as_json, lambda: _commands().compare(task, version, other, from_environment(), plot))


@app.command()
def promote(
    task: TaskName,
    version: Annotated[str | None, typer.Argument(help="The newest by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Even against its verdict.")] = False,
    challenger: Annotated[
        bool | None, typer.Option("--challenger/--no-challenger", help="Answer in the shadow instead; or stop that.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a version the champion, or the challenger that answers in its shadow."""
    if challenger is not None:
        _run(as_json, lambda: _commands("live").challenge(task, version, challenger, from_environment()))
    else:
        _run(as_json, lambda: _commands().promote(task, version, force, from_environment()))


@app.command()
def rollback(task: TaskName, as_json: Json = False) -> None:
    """Go back to the champion before this one."""
    _run(as_json, lambda: _commands().rollback(task, from_environment()))


@app.command()
def score(
    task: TaskName,
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="CSV, JSON Lines or Parquet; or `task`: its own table.")
    ],
    out: Annotated[Path, typer.Option(help="Where to; its suffix says the format.")],
    version: Annotated[str | None, typer.Option(help="The champion by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the same file after a kill.")] = False,
    as_json: Json = False,
) -> None:
    """Answer the rows of a file: the same rows and columns, with their answers appended."""
    _run(as_json, lambda: _commands().score(task, source, out, version, resume, from_environment()))


@app.command()
def outcomes(
    task: TaskName,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, JSON Lines or Parquet: prediction_id, value.")],
    as_json: Json = False,
) -> None:
    """Keep what came true of answers, in the journal under GANCAO_HOME."""
    _run(as_json, lambda: _commands().outcomes(task, source, from_environment()))


@app.command()
def monitor(
    task: TaskName,
    since: Annotated[str, typer.Option(help="Days such as 30d, or a date.")] = "30d",
    html: Annotated[Path | None, typer.Option(help="Write the report: FILE.html, and FILE.zh.html beside it.")] = None,
    reset_level: Annotated[
        bool, typer.Option("--reset-level", help="Set the working level back; nothing else.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What became of the answers, and whether fields have drifted; exit code 1 is an alarm."""
    if reset_level:
        _run(as_json, lambda: _commands("monitor").reset(task, from_environment()))
    else:
        _run(as_json, lambda: _commands("monitor").monitor(task, from_environment(), since, html))


@app.command()
def sample(
    task: TaskName,
    rows: Annotated[int, typer.Option(min=1, help="How many.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Write a synthetic stand-in of the task's table under GANCAO_DATA."""
    _run(as_json, lambda: _commands().sample(task, from_environment(), rows, seed))


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="A file instead of standard output.")] = None,
    view: Annotated[bool, typer.Option("--view", help="Of a View file.")] = False,
) -> None:
    """The JSON Schema of a Task file, or of a View file, for editors."""
    text = json.dumps((viewfile if view else taskfile).json_schema(), indent=1, ensure_ascii=False)
    if out is None:
        print(text)  # noqa: T201
    else:
        out.write_text(text + "\n", encoding="utf-8")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="8000 by default; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Ask nobody for a key.")] = False,
) -> None:
    """Answer over REST and on forms, following the registry."""

    def work() -> tuple[dict[str, Any], str]:
        service.serve(from_environment(host=host, port=port, workers=workers, open=open_ or None))
        return {"stopped": True}, "Stopped."

    _run(False, work)


key_commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who may ask the server.")
app.add_typer(key_commands, name="keys")


@key_commands.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="For whom or what, in your words.")] = "",
    scopes: Annotated[str, typer.Option(help="Some of predict, outcome, read, admin.")] = "predict,outcome,read",
    task: Annotated[list[str] | None, typer.Option(help="Only for this task; may be said again.")] = None,
    expires: Annotated[str, typer.Option(help="In 90d, 12h or 30m.")] = "90d",
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once. From the first key on the server asks for one."""
    _run(as_json, lambda: keyring.create(from_environment(), name, scopes, task or [], expires))


@key_commands.command("list")
def list_keys(as_json: Json = False) -> None:
    """All keys, without their secrets."""
    _run(as_json, lambda: keyring.listed(from_environment()))


@key_commands.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As listed; the whole key does as well.")],
    as_json: Json = False,
) -> None:
    """Revoke a key for good; running servers refuse it within a second."""
    _run(as_json, lambda: keyring.revoke(from_environment(), key_id))


@app.command()
def ui(port: Annotated[int, typer.Option(help="Of MLflow's pages.")] = 5000) -> None:
    """MLflow's own pages over this home."""

    def work() -> tuple[dict[str, Any], str]:
        code = subprocess.call(_commands().ui_command(from_environment(), port))
        return {"code": code}, "Stopped."

    _run(False, work)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Ask one prediction, print it and stop.")] = False,
    budget: Annotated[str, typer.Option(help="Of the search.")] = "60s",
    port: Annotated[int | None, typer.Option(help="8000 by default.")] = None,
    mlflow_port: Annotated[int, typer.Option(help="Of MLflow's pages.")] = 5000,
    as_json: Json = False,
) -> None:
    """Sample, train, promote and serve birth_weight on this machine."""
    console = Console(file=sys.stderr)
    _run(as_json, lambda: _commands("demo").demo(from_environment(port=port), once, budget, mlflow_port, console))


app.add_typer(journal.door(_run), name="journal")
app.add_typer(features.door(_run), name="features")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Whether this machine has what Gancao needs."""
    _run(as_json, lambda: doctors.examine(from_environment()))


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
