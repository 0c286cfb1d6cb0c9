"""The journal from the shell: looked up, verified and rotated, beside a running server and without training."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from experiments import catalog
from experiments.moments import moment
from experiments.refused import Outcome, Refused
from feature_store.errors import Usage
from feature_store.settings import Settings, from_environment
from serving import archives
from serving.look_up import Found, look_up, tasks
from serving.recall import EVER
from serving.rotate import rotate
from serving.verify import Verified, verify

YOUNGEST_S = 600
"""What was answered within the last minutes stays: workers count a minute late."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output.")]
When = Annotated[str | None, typer.Option(help="Days back such as 30d, or a date.")]
Run = Callable[[bool, Callable[[], Outcome]], None]


def show(name: str, settings: Settings, since: str | None, until: str | None, one: str | None, limit: int) -> Outcome:
    """Answers with their rows and outcomes, newest first. Raises Refused when there is none."""
    task = catalog.load(name, settings).task if name.endswith((".yaml", ".yml")) else name
    from_us = EVER if since is None else moment(since, "--since")
    to_us = 2**62 if until is None else moment(until, "--until")
    found = list(islice(look_up(settings.journal_place, task, from_us, to_us, one), limit))
    moved = archives.archives(settings.journal_place)
    absent = [each.file for each in moved if not (settings.home / each.file).is_file()]
    document = {
        "task": task,
        "answers": [_plain(each) for each in found],
        "archives": [{**each._asdict(), "here": each.file not in absent} for each in moved],
    }
    lines: list[Any] = [_table(found)] if found and one is None else [Text(_whole(each)) for each in found]
    if not found:
        known = ", ".join(tasks(settings.journal_place)) or "none"
        lines.append(f"No such answer of {task} in {settings.journal_place}. Tasks with answers: {known}.")
    if absent:
        lines.append(f"Not looked through, for they are not beside the journal: {', '.join(absent)}.")
    outcome = (document, Group(*lines))
    if not found:
        raise Refused(outcome)
    return outcome


def check(settings: Settings, head: str | None) -> Outcome:
    """Walk the chain. Raises Refused at the first record that was edited, deleted or inserted."""
    with _bar("records") as told:
        found = verify(settings.journal_place, _head(head), told)
    outcome = (_document(found), _in_words(found))
    if found.fault is not None:
        raise Refused(outcome)
    return outcome


def move(settings: Settings, before: str | None, keep: str | None) -> Outcome:
    """Move older answers to an archive. Raises Refused, and moves nothing, when the journal's chain does not hold."""
    if (before is None) == (keep is None):
        raise Usage("Say either --before DATE or --keep DAYS, such as --keep 400d.")
    before_us = moment(before, "--before") if before is not None else moment(keep or "", "--keep")
    if before_us > time.time_ns() // 1000 - YOUNGEST_S * 1_000_000:
        raise Usage("Answers of the last ten minutes stay where they are. Name an earlier time.")
    with _bar("records verified") as told:
        found = verify(settings.journal_place, None, told, beside=False)
    if found.fault is not None:
        raise Refused((_document(found), Group(_in_words(found), "Nothing was moved.")))
    with _bar("answers moved") as told:
        moved = rotate(settings.journal_place, before_us, lambda done: told(done, None))
    words = "There was nothing to move."
    if moved.file:
        words = (
            f"{moved.answers} answers before {archives.day(before_us)} with {moved.outcomes} outcomes moved to "
            f"{settings.home / moved.file}. Back it up with the journal."
        )
    return {**asdict(moved), "before_utc": _utc(before_us)}, words


def _head(words: str | None) -> tuple[int, str] | None:
    if words is None:
        return None
    number, _, told = words.partition(":")
    if not number.isdigit() or len(told) != 64:
        raise Usage("--head takes what an earlier verify printed: the number, a colon and 64 hexadecimal digits.")
    return int(number), told.lower()


def _document(found: Verified) -> dict[str, Any]:
    out = {**asdict(found), "holds": found.fault is None, "head": f"{found.last}:{found.head}"}
    del out["last"]
    return out


def _in_words(found: Verified) -> Group:
    lines = []
    if found.fault is not None:
        lines.append(Text(found.fault.message, style="red"))
    else:
        lines.append(Text(f"{found.records} records hold, in {', '.join(found.files)}.", style="green"))
        lines.append(Text(f"Head: {found.last}:{found.head}. Keep it elsewhere, for --head of a later verify."))
    if found.before:
        lines.append(Text(f"{found.before} rows are older than the chain and are not covered by it."))
    if found.absent:
        lines.append(Text(f"Not looked into, for they are not beside the journal: {', '.join(found.absent)}."))
    return Group(*lines)


def _plain(found: Found) -> dict[str, Any]:
    at = None if found.outcome_at_us is None else _utc(found.outcome_at_us)
    out = {**found._asdict(), "at_utc": _utc(found.at_us), "outcome_at_utc": at}
    return {key: value for key, value in out.items() if key not in ("at_us", "outcome_at_us")}


def _whole(found: Found) -> str:
    return json.dumps(_plain(found), ensure_ascii=False, indent=1)


def _table(found: list[Found]) -> Table:
    table = Table()
    for head in ("given (UTC)", "version", "prediction_id", "answer", "came true", "file"):
        table.add_column(head)
    for one in found:
        said = one.answer.get("label") or f"{one.answer.get('value'):g} {one.answer.get('unit') or ''}"
        true = "" if one.outcome is None else str(one.outcome)
        table.add_row(*(Text(text) for text in (
            _utc(one.at_us)[:19], one.version, one.prediction_id, str(said), true, one.file
        )))  # fmt: skip
    return table


def _utc(moment_us: int) -> str:
    return datetime.fromtimestamp(moment_us / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@contextmanager
def _bar(words: str) -> Iterator[Callable[[int, int | None], None]]:
    console = Console(file=sys.stderr)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        line: TaskID = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)


def door(run: Run) -> typer.Typer:
    """The commands `gancao journal ...`. run: does the work, shows its outcome and ends with its exit code."""
    doors = typer.Typer(no_args_is_help=True, help="Look answers up; verify and rotate the journal.")

    @doors.command("show")
    def _show(
        task: Annotated[str, typer.Argument(metavar="TASK", help="Its name, or a path.")],
        since: When = None,
        until: When = None,
        id_: Annotated[str | None, typer.Option("--id", help="One prediction_id.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="So many of the newest.")] = 20,
        as_json: Json = False,
    ) -> None:
        """Answers with rows and outcomes, newest first."""
        run(as_json, lambda: show(task, from_environment(), since, until, id_, limit))

    @doors.command("verify")
    def _verify(
        head: Annotated[str | None, typer.Option(help="A head that was kept elsewhere.")] = None,
        as_json: Json = False,
    ) -> None:
        """Walk the hash chain; exit code 1 names the first record that does not hold."""
        run(as_json, lambda: check(from_environment(), head))

    @doors.command("rotate")
    def _rotate(
        before: Annotated[str | None, typer.Option(help="Answers before that date go.")] = None,
        keep: Annotated[str | None, typer.Option(help="Days that stay, such as 400d.")] = None,
        as_json: Json = False,
    ) -> None:
        """Move older answers with their outcomes to a file beside."""
        run(as_json, lambda: move(from_environment(), before, keep))

    return doors
