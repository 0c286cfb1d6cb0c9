"""What the journal has counted: answers, outcomes and warnings, each row once and the same for every worker.

A counter of Prometheus may only grow, and whichever worker is asked must not say less than another did before. So a
look counts what was written before a moment that all workers share, and the next one reads what has come since.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from sqlite3 import Connection

from serving import recall

_KEPT = (
    "coalesce((SELECT min(c.kept_us) FROM corrected_outcomes AS c WHERE c.prediction_id = t.prediction_id), t.kept_us)"
)
"""When an outcome was first kept: a correction is not counted again."""

_ANSWERS = "SELECT task, version, count(*) FROM answers WHERE rowid > ? AND rowid <= ? GROUP BY 1, 2"
_WARNINGS = (
    "SELECT a.task, json_extract(w.value, '$.code'), json_extract(w.value, '$.field'), count(*) "
    "FROM answers AS a, json_each(a.answer, '$.warnings') AS w WHERE a.rowid > ? AND a.rowid <= ? GROUP BY 1, 2, 3"
)
_OUTCOMES = (
    "SELECT o.task, a.version, count(*) FROM outcomes AS o CROSS JOIN answers AS a USING (prediction_id) "
    "WHERE o.rowid > ? AND o.rowid <= ? GROUP BY 1, 2"
)


class Counts:
    """Counters of one journal. answers, outcomes: by task and version; warnings: by task, code and field."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = {"answers": 0, "outcomes": 0}
        self.answers: Counter[tuple[str, ...]] = Counter()
        self.outcomes: Counter[tuple[str, ...]] = Counter()
        self.warnings: Counter[tuple[str, ...]] = Counter()

    def look(self, until_us: int) -> None:
        """Count what was written before that moment. Raises JournalFull when the journal can't be read."""
        with recall.reading(self._path) as connection:
            connection.execute("BEGIN")  # all that follows sees one state of the journal
            new = self._span(connection, "answers", "at_us", until_us)
            told = self._span(connection, "outcomes", _KEPT, until_us)
            found = [(counter, connection.execute(query, span).fetchall()) for counter, query, span in (
                (self.answers, _ANSWERS, new), (self.warnings, _WARNINGS, new), (self.outcomes, _OUTCOMES, told)
            )]  # fmt: skip
        self._last = {"answers": new[1], "outcomes": told[1]}  # once all is read: a look that fails counts nothing
        for counter, rows in found:
            for *key, n in rows:
                counter[tuple(key)] += n

    def _span(self, connection: Connection, table: str, written: str, until_us: int) -> tuple[int, int]:
        """Row numbers that are new: after the first and up to the second. Rows are only added, in order of time."""
        start = self._last[table]
        later = f"SELECT t.rowid - 1 FROM {table} AS t WHERE t.rowid > ? AND {written} >= ? ORDER BY t.rowid LIMIT 1"  # noqa: S608
        newest = f"SELECT coalesce(max(rowid), 0) FROM {table}"  # noqa: S608
        found = connection.execute(later, (start, until_us)).fetchone() or connection.execute(newest).fetchone()
        return start, max(int(found[0]), start)
