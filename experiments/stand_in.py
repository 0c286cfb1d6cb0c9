"""Synthetic stand-ins that are written down in SQL: `stand_ins/TASK.sql` makes each source of a Task, column by column.

They have the columns, types and words of the real files, and values that are drawn; nothing was fitted on a real file.
The SQL may use `sampled()`, the rows asked for; `u(key, word)`, an even number from 0 to below 1; `z(key, word)`, a
standard normal one; and `pick(key, word, list)`. All are hashes of key, word and seed: the same seed, the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from feature_store import offline

SCRIPTS = Path(__file__).parent / "stand_ins"

_MACROS = """
CREATE MACRO sampled() AS {rows};
CREATE MACRO u(key, word) AS hash(key, word, {seed}) / 18446744073709551616.0;
CREATE MACRO z(key, word) AS
  sqrt(-2 * ln(1 - u(key, word))) * cos(2 * pi() * u(key, word || ' angle'));
CREATE MACRO pick(key, word, words) AS words[1 + floor(u(key, word) * len(words))::INT];
"""
"""z: Box and Muller 1958, Annals of Mathematical Statistics 29(2), 610-611."""


def names() -> list[str]:
    """The Tasks that have a script."""
    return sorted(path.stem for path in SCRIPTS.glob("*.sql"))


def draw(task: str, sources: Mapping[str, str], rows: int, seed: int) -> dict[str, pa.Table]:
    """A table for each source of the Task, by its file. rows: of its main table; seed: 0 or more.

    sources: `data.sources` of the Task. Raises TableUnreadable when the script does not make one of them.
    """
    script = (SCRIPTS / f"{task}.sql").read_text(encoding="utf-8")
    made = offline.run(_MACROS.format(rows=rows, seed=seed) + script, list(sources), f"the stand-in of {task}")
    return {file: made[name] for name, file in sources.items()}
