"""Features from the shell: materialized, pushed, read and replayed, beside a running server."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from experiments import view_catalog
from experiments.refused import Outcome, Refused
from feature_store import entity, stores, value
from feature_store.errors import Usage
from feature_store.push import Pushed
from feature_store.push import push as push_lines
from feature_store.settings import Settings, from_environment
from feature_store.vectors import Vectors

PIECE_BYTES = 1 << 18
"""Of a stream that are read at once at most; what has come is stored before more is waited for."""
SHOWN = 20

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output.")]
ViewName = Annotated[str, typer.Argument(metavar="VIEW", help="A name under experiments/views, or a path.")]
AsOf = Annotated[str | None, typer.Option("--as-of", help="An instant, ISO 8601 in UTC; now by default.")]
Run = Callable[[bool, Callable[[], Outcome]], None]
Told = Callable[[int, int | None], None]


def materialize(names: list[str], settings: Settings, as_of: str | None) -> Outcome:
    """Bring the online store up to the sources of views."""
    made = _offline("materialize")
    documents, lines = [], []
    with closing(stores.connect(settings)) as store:
        for name in names:
            view = view_catalog.load(name, settings)
            with _bar(f"{view.view}: entities") as told:
                done = made.materialize(view, store, settings.data, _instant(as_of)(), told)
            documents.append(done.to_json())
            lines.append(Text(str(done)))
    return {"views": documents}, Group(*lines)


def push(name: str, source: str, settings: Settings, as_of: str | None) -> Outcome:
    """Take events from a file or from standard input. Raises Refused when a line was."""
    view = view_catalog.load(name, settings)
    with closing(stores.connect(settings)) as store, _opened(source) as (stream, size), _bar("bytes") as told:
        pieces = _Pieces(stream)
        done = push_lines(view, store, pieces, _instant(as_of), lambda _: told(pieces.bytes, size))
    refused = sum(done.refused.values())
    document = {
        "view": view.view,
        **{key: getattr(done, key) for key in ("lines", "stored", "unchanged", "old")},
        "refused": refused,
        "reasons": dict(done.refused),
        "refusals": [one._asdict() for one in sorted(done.refusals)],
    }
    outcome = (document, _told(done, refused))
    if refused:
        raise Refused(outcome)
    return outcome


def get(name: str, words: str, settings: Settings, as_of: str | None, log: bool) -> Outcome:
    """The features of one entity. Raises UnknownEntity, InstantRefused."""
    view = view_catalog.load(name, settings)
    who, instant = entity.read(view, words), _instant(as_of)()
    with closing(stores.connect(settings)) as store:
        found = Vectors(view, store).one(entity.key(who), instant, log=log)
    table = Table("feature", "value")
    for feature, said in found.items():
        table.add_row(feature, Text("" if said is None else str(said)))
    document = {
        "view": view.view,
        "entity": dict(zip(view.entity, who, strict=True)),
        "as_of": value.in_words(instant),
        "features": found,
    }
    return document, table


def replay(name: str, settings: Settings) -> Outcome:
    """Every served vector worked out offline. Raises Refused when one differs."""
    view = view_catalog.load(name, settings)
    with closing(stores.connect(settings)) as store, _bar("vectors") as told:
        found = _offline("replay").replay(view, store, settings.data, _instant(None)(), told)
    outcome = (found.to_json(), Text(str(found)))
    if found.differences:
        raise Refused(outcome)
    return outcome


def _told(done: Pushed, refused: int) -> Group:
    counts = f"{done.lines} lines: {done.stored} stored, {done.unchanged} there already, {done.old} too old to count"
    lines = [f"{counts}, {refused} refused."]
    lines += [str(one) for one in sorted(done.refusals)[:SHOWN]]
    if refused > SHOWN:
        lines.append(f"... and {refused - SHOWN} more; --json lists {len(done.refusals)} of them.")
    return Group(*map(Text, lines))


class _Pieces:
    """A stream as pieces of whole lines: as much as has come, so that a slow one is not waited for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._file, self.bytes = stream.fileno(), 0

    def __iter__(self) -> Iterator[list[bytes]]:
        rest = b""
        while piece := os.read(self._file, PIECE_BYTES):
            self.bytes += len(piece)
            *whole, rest = (rest + piece).split(b"\n")
            if whole:
                yield whole
        if rest:
            yield [rest]


@contextmanager
def _opened(source: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The stream, and how many bytes it has if that is known. Raises Usage."""
    if source == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(source)
    if not path.is_file():
        raise Usage(f"There is no file {source}. Check the path, or give - for standard input.")
    with path.open("rb", buffering=0) as stream:
        yield stream, path.stat().st_size


def _instant(words: str | None) -> Callable[[], int]:
    """The instant that is meant, in microseconds, each time that it is asked for. Raises Usage."""
    if words is None:
        return lambda: time.time_ns() // 1000
    try:
        fixed = value.instant(words)
    except (ValueError, OverflowError):
        raise Usage(f"--as-of {words!r} is no time. Write it as ISO 8601: 2024-03-01T14:30:00.") from None
    return lambda: fixed


def _offline(module: str) -> Any:
    """What needs the training extra."""
    try:
        return importlib.import_module(f"feature_store.{module}")
    except ModuleNotFoundError as error:
        raise Usage(f"This command needs {error.name}. Install it with: pip install 'gancao[train]'") from None


@contextmanager
def _bar(words: str) -> Iterator[Told]:
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        line = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)


def door(run: Run) -> typer.Typer:
    """The commands `gancao features ...`. run: does the work, shows its outcome and ends with its exit code."""
    doors = typer.Typer(no_args_is_help=True, help="Features online: materialize, push, get, replay.")

    @doors.command("materialize")
    def _materialize(
        view: Annotated[str | None, typer.Argument(metavar="VIEW", help="A name or a path; or say --all.")] = None,
        every: Annotated[bool, typer.Option("--all", help="Every view that there is.")] = False,
        as_of: AsOf = None,
        as_json: Json = False,
    ) -> None:
        """Bring the online store up to a view's sources; what is unchanged is left alone."""

        def work() -> Outcome:
            settings = from_environment()
            if (view is None) != every:
                raise Usage("Name a view, or say --all.")
            return materialize(list(view_catalog.files(settings)) if view is None else [view], settings, as_of)

        run(as_json, work)

    @doors.command("push")
    def _push(
        view: ViewName,
        source: Annotated[str, typer.Argument(metavar="FILE", help="JSON Lines; - is standard input.")] = "-",
        as_of: AsOf = None,
        as_json: Json = False,
    ) -> None:
        """Take events as they happen; exit code 1 names the lines that were refused."""
        run(as_json, lambda: push(view, source, from_environment(), as_of))

    @doors.command("get")
    def _get(
        view: ViewName,
        words: Annotated[str, typer.Argument(metavar="ENTITY", help="Of several columns with commas between.")],
        as_of: AsOf = None,
        log: Annotated[bool, typer.Option("--log", help="Remember it as served, for replay.")] = False,
        as_json: Json = False,
    ) -> None:
        """The features of one entity."""
        run(as_json, lambda: get(view, words, from_environment(), as_of, log))

    @doors.command("replay")
    def _replay(view: ViewName, as_json: Json = False) -> None:
        """Work every served vector out offline; exit code 1 lists what differs."""
        run(as_json, lambda: replay(view, from_environment()))

    return doors
