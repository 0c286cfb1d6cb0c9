"""`gancao new`: a Task drafted from a table, written where the catalog finds it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from experiments.drafting import draft as drafts
from experiments.drafting import names, prove
from experiments.drafting.draft import Draft
from experiments.drafting.text import text
from experiments.drafting.write import shown
from experiments.refused import Outcome
from feature_store import offline
from feature_store.errors import NotDrafted, Usage
from feature_store.settings import Settings

TASKS = Path("experiments/tasks")
"""Where a draft goes unless GANCAO_TASKS or --out says otherwise: the catalog looks there, from the working folder."""


def new(
    table: Path,
    asked: str,
    settings: Settings,
    name: str | None = None,
    out: Path | None = None,
    positive: str | None = None,
    force: bool = False,
) -> Outcome:
    """Draft a Task from a CSV, JSON Lines or Parquet file and write it; it passes `gancao check` as it is.

    asked: the target's column; name: of the task, the file's by default. Raises NotDrafted, TableMissing,
    TableUnreadable, or Usage for a name that is none.
    """
    name = _name(name, table)
    out = out or (settings.tasks or TASKS) / f"{name}.yaml"
    if out.exists() and not force:
        raise NotDrafted(
            f"{out} is there, and a draft does not overwrite it.\nGive another --name or --out, or --force."
        )
    words = f"gancao new {shlex.quote(str(table))} --target {shlex.quote(asked)}"
    whole = offline.read_file(table)
    first = drafts.draft(whole, asked, name, _source(table, settings.data), positive, words)
    made, _ = prove.prove(first, whole)
    _write(out, text(made))
    return _document(made, out), _shown(made, out)


def _name(name: str | None, table: Path) -> str:
    if name is None:
        return next(iter(names.identifiers([table.stem]).values()))
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise Usage(f"{shown(repr(name))} is no name of a task.\nUse a-z, 0-9 and _, beginning with a letter.")
    return name


def _source(table: Path, data: Path) -> str:
    """The file as `data.sources` names it: below GANCAO_DATA, or else its whole path."""
    path = table.resolve()
    return path.relative_to(data.resolve()).as_posix() if path.is_relative_to(data.resolve()) else path.as_posix()


def _write(out: Path, words: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    partial.write_text(words, encoding="utf-8")
    partial.replace(out)


def _document(made: Draft, out: Path) -> dict[str, Any]:
    return {
        "task": made.name,
        "file": str(out),
        "kind": made.aim.kind,
        "target": made.aim.name,
        "fields": [{"name": guess.name, "type": guess.type, "column": guess.column} for guess in made.fields],
        "left_out": [{"column": gone.column, "reason": gone.reason} for gone in made.left],
        "guesses": [{"about": about, "guess": guess} for about, guess in _guesses(made)],
    }


def _guesses(made: Draft) -> list[tuple[str, str]]:
    about = [(made.aim.name, note) for note in (*made.aim.notes, *made.aim.done)]
    about += [(made.aim.name, f"{key}: {value.replace('  # ', ': ')}") for key, value in made.aim.keys]
    about += [(guess.name, note) for guess in made.fields for note in (*guess.notes, *guess.done)]
    about += [("split", f"{made.parting.kind}: {made.parting.note}")]
    about += [("groups", made.group)] if made.group else []
    return about + [("the table", note) for note in made.further]


def _shown(made: Draft, out: Path) -> Group:
    known = f"{len(made.fields)} fields from {made.rows[1]:,} rows, split {made.parting.kind}"
    lines = [f"{out}: {made.aim.kind} of {made.aim.name}, {known}."]
    lines += [f"  left out: {shown(gone.column)}: {gone.reason}" for gone in made.left[:30]]
    lines += [f"  ... and {len(made.left) - 30} more, in the file"] if len(made.left) > 30 else []
    lines += [f"  note: {note}" for note in made.further]
    ask = made.name if out == TASKS / f"{made.name}.yaml" else str(out)
    lines.append(f"Read its comments, mend it, then: gancao check {ask} and gancao train {ask}")
    return Group(*(Text(line) for line in lines))
