"""A draft: its target, fields, what is left out, and how rows are split; made from a table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from experiments.drafting import column as columns
from experiments.drafting import names, raw, roles, target
from experiments.drafting.guess import Guess
from experiments.drafting.raw import LeftOut, Raw
from experiments.drafting.roles import Parting
from experiments.drafting.target import Aim
from experiments.drafting.write import shown
from feature_store.errors import NotDrafted
from feature_store.field import CategoryField, Text
from training import lexicon
from training.dataset import MIN_ROWS

LONG_ROWS = 20_000
"""From so many rows on the search is given two minutes instead of one."""


@dataclass(frozen=True)
class Draft:
    """A Task before it is written. source: its file as `data.sources` names it; words: the command that made it.

    rows: all, and with a known target; raws: the columns of the latter, by name. further: guesses about no column.
    distinct: rows that stand twice are taken once; alike: those that still are alike differ in time or entity.
    """

    name: str
    source: str
    words: str
    rows: tuple[int, int]
    aim: Aim
    fields: tuple[Guess, ...]
    left: tuple[LeftOut, ...]
    parting: Parting
    raws: dict[str, Raw] = field(repr=False)
    by_name: dict[str, str] = field(repr=False)
    group: str = ""
    distinct: bool = False
    alike: bool = False
    further: tuple[str, ...] = ()

    def without(self, name: str, reason: str) -> Draft:
        """The same without a field."""
        gone = next(guess for guess in self.fields if guess.name == name)
        kept = tuple(guess for guess in self.fields if guess.name != name)
        group = "" if self.group == name else self.group
        return replace(self, fields=kept, left=(*self.left, LeftOut(gone.column, reason)), group=group)

    def noted(self, said: str) -> Draft:
        """The same with a note about no column."""
        return replace(self, further=(*self.further, said))

    def at_random(self) -> Draft:
        """The same without its time or entity to split by, which stays out of the fields."""
        out = [LeftOut(one.column, "rows can't be split by it") if one.column == self.parting.column else one
               for one in self.left]  # fmt: skip
        return replace(self, parting=Parting(), left=tuple(out))

    @property
    def conditions(self) -> list[str]:
        """What must be true of a row."""
        return [*self.aim.where, *([self.parting.condition] if self.parting.condition else [])]

    @property
    def budget(self) -> str:
        return "120s" if self.rows[1] >= LONG_ROWS else "60s"


def draft(table: pa.Table, asked: str, name: str, source: str, positive: str | None = None, words: str = "") -> Draft:
    """A first draft, not yet proven. asked: the target's column. Raises NotDrafted."""
    if not table.num_rows:
        raise NotDrafted("The table has no rows.\nName a file with a header and rows.")
    raws, left = raw.read(table)
    wanted = target.find(asked, table.column_names)
    if wanted not in {one.column for one in raws}:
        reason = next(one.reason for one in left if one.column == wanted)
        raise NotDrafted(f"{shown(repr(wanted))} can't be a target: {reason}.\nName another --target.")
    by_name = names.identifiers(one.column for one in raws)
    aim = target.look(next(one for one in raws if one.column == wanted), by_name[wanted], positive)
    chosen = pa.array(np.flatnonzero(aim.known))
    raws = [replace(one, array=one.array.take(chosen)) for one in raws if one.column != wanted]
    aim = replace(
        aim,
        values=None if aim.values is None else aim.values[aim.known],
        places=None if aim.places is None else aim.places[aim.known],
    )
    parting = roles.part(raws, by_name, aim)
    fields: list[Guess] = []
    for one in raws:
        found = _role(one, parting) or _after(columns.look(one, by_name[one.column]), by_name[one.column])
        if isinstance(found, Guess) and found.type == "date" and parting.kind == "time":
            found = roles.since(parting, raws, found)
        if isinstance(found, Guess):
            fields.append(found)
        else:
            left.append(found)
    fields += roles.calendar(parting, raws, set(by_name.values()))
    if not fields and parting.kind == "time":  # the time is all there is to learn from
        found = columns.look(next(one for one in raws if one.column == parting.column), parting.by)
        fields += [found] if isinstance(found, Guess) else []
    rows = (table.num_rows, len(chosen))
    made = Draft(name, source, words, rows, aim, tuple(fields), tuple(left), parting,
                 {one.column: one for one in raws}, by_name)  # fmt: skip
    return _finished(made)


def _role(one: Raw, parting: Parting) -> LeftOut | None:
    """The column that rows are split by is no field."""
    if one.column != parting.column:
        return None
    if parting.kind == "time":
        return LeftOut(
            one.column, "rows are split by it; as a field it would lie beyond what was learnt in every answer"
        )
    return LeftOut(one.column, "an identifier, by which rows are split")


def _after(found: Guess | LeftOut, name: str) -> Guess | LeftOut:
    """What its name (if it is left out anyway) or one of its few words says to be known only afterwards."""
    said = (name,) if isinstance(found, LeftOut) else found.words
    for word in said:
        text = Text(en=word.replace("_", " ") or "-", zh=word or "-")
        if hit := lexicon.after(CategoryField(name="words", type="category", label=text)):
            what = "its name says" if isinstance(found, LeftOut) else "one of its words is"
            return LeftOut(found.column, f"likely a leak (after_the_event): {what} {shown(repr(word))}: {hit[1]}")
    return found


LEAST_MOVE = 10.0
"""Variance of the target between ten blocks of rows over that within, as an F: by chance beyond 4 once in 10,000."""


def _moves(aim: Aim) -> str | None:
    """Whether the target changes along the rows, which may then be in the order of time."""
    values = aim.values if aim.values is not None else aim.places
    if values is None or len(values) < 200:
        return None
    parts = np.array_split(values, 10)
    within = float(np.mean([part.var() for part in parts]))
    between = float(np.mean([len(part) * (part.mean() - values.mean()) ** 2 for part in parts]))
    if not between > LEAST_MOVE * within:
        return None
    what = f"share of {aim.word}" if aim.word else "mean"
    return (
        f"the target changes along the rows ({what} {parts[0].mean():.3g} in the first tenth, "
        f"{parts[-1].mean():.3g} in the last). If they are in the order of time, select "
        "row_number() OVER () AS place and write "
        "split: {kind: time, by: place}"
    )


def _finished(made: Draft) -> Draft:
    further = [moves] if made.parting.kind == "random" and (moves := _moves(made.aim)) else []
    if made.rows[1] < MIN_ROWS:
        further.append(f"{made.rows[1]} rows with a known target: at least {MIN_ROWS} are needed to train")
    return replace(made, group=roles.groups(list(made.fields), made.rows[1]), further=tuple(further))
