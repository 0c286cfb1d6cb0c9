"""A draft as the text of a Task file, its guesses beside what they are about."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from experiments.drafting import names
from experiments.drafting.draft import Draft
from experiments.drafting.guess import Guess
from experiments.drafting.limits import short
from experiments.drafting.write import comment, number, scalar, shown
from feature_store.task import CLASS_BASELINES, METRICS, Gate

TRANSLATE = "待译"
WIDE = 48
"""SQL up to so wide is aligned."""


def text(draft: Draft) -> str:
    """The YAML of the Task."""
    return "\n".join([*_head(draft), *_target(draft), *_data(draft), *_fields(draft), *_judged(draft), ""])


def _head(draft: Draft) -> Iterator[str]:
    all_rows, known = draft.rows
    rows = f"{all_rows:,} rows" if all_rows == known else f"{known:,} of {all_rows:,} rows (those with a known target)"
    yield from comment(
        f"Drafted by `{shown(draft.words, 200)}` from {rows}. Comments tell what was guessed: read them, mend what is "
        f"wrong, then `gancao check` and `gancao train`. {TRANSLATE}: to be translated."
    )
    for further in draft.further:
        yield from comment(f"Note: {further}.")
    title = names.labels(draft.aim.column)[0]
    yield f"task: {draft.name}"
    yield f"title: {_label(title, names.labels(draft.aim.column)[1])}"
    yield "intended_use:  # who asks this, when, and what is decided with the answer"
    yield f"  en: {scalar(f'Draft. {title}, from {shown(draft.source)}. Say here what it may be used for.')}"
    yield f"  zh: {scalar(f'草稿。{names.labels(draft.aim.column)[1]}。请在此说明用途。')}"


def _label(english: str, chinese: str) -> str:
    mark = "" if english != chinese and english.isascii() else f"  # {TRANSLATE}"
    return f"{{en: {scalar(english)}, zh: {scalar(chinese)}}}{mark}"


def _target(draft: Draft) -> Iterator[str]:
    aim = draft.aim
    yield f"kind: {aim.kind}" + (f"  # {'; '.join(aim.notes)}" if aim.notes else "")
    yield "target:"
    yield f"  name: {aim.name}"
    yield f"  label: {_label(*names.labels(aim.column))}"
    for key, value in aim.keys:
        yield f"  {key}: {value}"
    yield ""


def _data(draft: Draft) -> Iterator[str]:
    yield "data:"
    if draft.source.startswith("/"):
        yield "  # Outside GANCAO_DATA, so a path of this machine: move the file there to write it without the folders."
    yield f"  sources: {{records: {scalar(draft.source)}}}"
    yield "  sql: |"
    for line in sql(draft).split("\n"):
        yield f"    {line}"
    yield ""


def sql(draft: Draft) -> str:
    """The SELECT: target, fields and what rows are split by; what it mends is told beside each line."""
    listed = [(draft.aim.sql, draft.aim.name, draft.aim.done)]
    listed += [(guess.sql, guess.name, guess.done) for guess in draft.fields]
    if draft.parting.by and draft.parting.by not in [name for _, name, _ in listed]:
        listed.append((draft.parting.sql, draft.parting.by, ()))
    widest = max((len(one) for one, _, _ in listed if len(one) <= WIDE), default=0)
    lines = ["SELECT DISTINCT  -- many rows stood twice" if draft.distinct else "SELECT"]
    for place, (one, name, done) in enumerate(listed, start=1):
        comma = "," if place < len(listed) else ""
        said = f"  -- {shown('; '.join(done), 150)}" if done else ""
        lines.append(f"  {one:<{widest}} AS {name}{comma}{said}")
    lines.append("FROM records")
    if draft.conditions:
        lines.append(f"WHERE {' AND '.join(draft.conditions)}")
    return "\n".join(lines)


def _fields(draft: Draft) -> Iterator[str]:
    if draft.left:
        yield "# Left out, and why (to take one in, select it in data.sql, add a field and, of a leak, its waiver):"
        for gone in draft.left:
            first, *others = comment(f"{shown(gone.column, 100)}: {shown(gone.reason, 300)}")
            yield from [f"# - {first[2:]}", *(f"#   {other[2:]}" for other in others)]
        yield "#"
    yield "# Limits are hard: a value beyond them is refused. Add `required: true` where an answer needs the field."
    yield "fields:"
    for guess in draft.fields:
        yield _field(guess)
    yield ""


def _field(guess: Guess) -> str:
    english, chinese = (guess.label, guess.label) if guess.label else names.labels(guess.column)
    keys = "".join(f", {key}: {value}" for key, value in guess.keys)
    written = (
        f"  - {{name: {guess.name}, type: {guess.type}{keys}, label: {{en: {scalar(english)}, zh: {scalar(chinese)}}}}}"
    )
    marks = [TRANSLATE] if english == chinese or not english.isascii() else []
    said = "; ".join([*marks, *guess.notes])
    return f"{written}  # {said}" if said else written


def _judged(draft: Draft) -> Iterator[str]:
    yield "answers:"
    yield "  interval: 0.9"
    if draft.aim.kind == "regression":
        low = short(np.quantile(draft.aim.values, 0.1)) if draft.aim.values is not None else "0"
        yield "  # what may come true, with its chance:"
        yield f"  # events: [{{name: low, below: {low}, label: {{en: Low, zh: 低}}}}]"
    yield ""
    if draft.group:
        yield "groups:  # error and coverage are told, and intervals made, for each of its values"
        yield f"  - {{field: {draft.group}}}"
    else:
        yield "# groups: fields by whose values error and coverage are told, such as [{field: region}]"
    parting = draft.parting
    by = f", by: {parting.by}" if parting.by else ""
    gap = f", gap: {number(parting.gap)}" if parting.kind == "time" else ""
    yield f"split: {{kind: {parting.kind}{by}{gap}}}  # {parting.note}"
    metric, *others = METRICS[draft.aim.kind]
    yield f"search: {{metric: {metric}, budget: {draft.budget}}}" + (f"  # or {', '.join(others)}" if others else "")
    yield "# baselines: the rules of your field to beat, such as " + _baseline(draft)
    rivals = CLASS_BASELINES if draft.aim.kind != "regression" else Gate().baselines
    yield f"gate: {{baselines: [{', '.join(rivals)}]}}"
    if draft.alike:
        yield "leakage:  # each row stands once; look whether they are cases of their own"
        reason = f"Drafted: rows that are alike in all fields differ in {draft.parting.by or 'nothing else'}."
        yield f"  waivers: [{{check: duplicates_across_split, reason: {scalar(reason)}}}]"


def _baseline(draft: Draft) -> str:
    rule = "median_by" if draft.aim.kind == "regression" else "rate_by"
    some = [guess.name for guess in islice((g for g in draft.fields if g.type in ("category", "flag")), 1)]
    return f"[{{name: usual, {rule}: {(some or [draft.fields[0].name])[0]}}}]"
