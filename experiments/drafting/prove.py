"""A draft is held to what a training asks of it, and mended until it passes: table check, split, leakage gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from experiments.drafting import roles
from experiments.drafting.draft import Draft
from experiments.drafting.text import sql, text
from experiments.drafting.write import shown
from feature_store import check, offline, taskfile
from feature_store.errors import GapTooWide, NotDrafted, TooFewGroups, TooFewRows, TooFewTimes
from feature_store.finding import Finding
from feature_store.offline import Source
from feature_store.task import Task
from training import leakage, splits
from training.dataset import MIN_ROWS
from training.leak import Leak

REDUNDANT = {"duplicate_columns", "constant", "all_missing", "high_missing"}
"""Warnings of the table check that a draft does not leave to be read."""


def prove(draft: Draft, table: pa.Table) -> tuple[Draft, Task]:
    """The draft with which `gancao check` finds no error and no leak, and its Task.

    Each round takes fields away or changes the split, so that it ends. Raises NotDrafted where no field is left, and
    where the target itself is refused.
    """
    while True:
        if not draft.fields:
            raise NotDrafted("No column is left to learn from:\n" + "\n".join(_reasons(draft)))
        task = taskfile.parse(text(draft), f"the draft of {draft.name}")
        source = Source(offline.query(sql(draft), {"records": table}, f"the draft of {draft.name}"), "", False)
        mended = _checked(draft, check.check(task, source.table))
        if mended is draft:
            mended = _split(draft, task, source)
        if mended is draft:
            return draft, task
        draft = mended


def _reasons(draft: Draft) -> Iterator[str]:
    for gone in draft.left[:20]:
        yield f"  {shown(gone.column)}: {gone.reason}"


def _checked(draft: Draft, findings: list[Finding]) -> Draft:
    names = {guess.name for guess in draft.fields}
    for found in findings:
        mend = found.severity == "error" or found.code in REDUNDANT
        if found.column in names and mend and (found.code != "missing_key"):
            names.remove(found.column)
            draft = draft.without(found.column, f"{found.message.rstrip('.')}")
        elif found.severity == "error" and found.code == "missing_key":
            return draft.at_random()
        elif found.severity == "error" and found.code != "too_few_rows":
            raise NotDrafted(f"{found.column or 'The table'}: {found.message}\n{found.remedy}")
    return draft


def _split(draft: Draft, task: Task, source: Source) -> Draft:
    """The draft as the split and the leakage gate want it; a table that is too small is not judged."""
    try:
        split = splits.of(task, source, 0)
    except (GapTooWide, TooFewTimes, TooFewGroups) as error:
        said = f"split {'without a gap' if draft.parting.gap else 'at random'}: {str(error).split(chr(10))[0]}"
        ungapped = replace(draft, parting=replace(draft.parting, gap=0.0))
        return replace(ungapped if draft.parting.gap else draft.at_random(), further=(*draft.further, said))
    except TooFewRows as error:
        said = str(error).split("\n")[0].rstrip(".")
        return draft if draft.rows[1] < MIN_ROWS or said in draft.further else draft.noted(said)
    for leak in leakage.find(task, split.train, split.holdout, leakage.sides(task, split.train, split.holdout)):
        if leak.waived is None:
            draft = _stopped(draft, leak)
    return draft


def _stopped(draft: Draft, leak: Leak) -> Draft:
    """What the gate's own remedy says, done; else a note that the gate will stop."""
    guess = next((guess for guess in draft.fields if guess.name == leak.field), None)
    if leak.check == "duplicates_across_split":
        return replace(draft, distinct=not draft.distinct, alike=draft.distinct)
    if guess is None:
        said = f"gancao train will stop: {leak.field}: {leak.message}"
        return draft if said in draft.further else draft.noted(said)
    if leak.check == "entity_overlap" and draft.parting.kind == "random":
        raw = draft.raws[guess.column]
        each = len(raw.array) / max(1, len(raw.array.drop_null().unique()))
        parting = roles.grouped(raw, guess.name, each)
        return replace(draft.without(guess.name, "it tells whose row it is; rows are split by it"), parting=parting)
    return draft.without(guess.name, f"likely a leak ({leak.check}): {leak.message.rstrip('.')}")
