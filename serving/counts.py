"""What the journal has counted: answers, outcomes and warnings, each row once and the same for every worker.

A counter of Prometheus may only grow, and whichever worker is asked must not say less than another did before. So a
look counts what was written before a moment that all workers share, and the next one reads what has come since.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from feature_store.place import Place
from serving import chain, journal_store, postgres
from serving.journal_store import Connection

_KEPT = (
    "coalesce((SELECT min(c.kept_us) FROM corrected_outcomes AS c WHERE c.prediction_id = t.prediction_id), t.kept_us)"
)
"""When an outcome was first kept: a correction is not counted again."""

_ANSWERS = "SELECT a.task, a.version, count(*) FROM answers AS a WHERE {} GROUP BY 1, 2"
_WARNINGS = {
    "sqlite": (
        "SELECT a.task, json_extract(w.value, '$.code'), json_extract(w.value, '$.field'), count(*) "
        "FROM answers AS a, json_each(a.answer, '$.warnings') AS w WHERE {} GROUP BY 1, 2, 3"
    ),
    "postgres": (
        "SELECT a.task, w.value ->> 'code', w.value ->> 'field', count(*) FROM answers AS a, "  # noqa: S608
        f"jsonb_array_elements({postgres.json_of('a.answer')} -> 'warnings') AS w(value) WHERE {{}} GROUP BY 1, 2, 3"
    ),
}
_OUTCOMES = (
    "SELECT o.task, a.version, count(*) FROM outcomes AS o CROSS JOIN answers AS a USING (prediction_id) "
    "WHERE {} GROUP BY 1, 2"
)
_SPAN = "{0}.rowid > ? AND {0}.rowid <= ?"
_Counters = dict[str, Counter[tuple[str, ...]]]


class Counts:
    """Counters of one journal. answers, outcomes: by task and version; warnings: by task, code and field."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._last = {"answers": 0, "outcomes": 0}
        self._rotation = 0
        self._counted: _Counters = _none()
        self.lost: Counter[str] = Counter()
        """By task, answers that were lost, as the journal notes; of all its years, since notes do not move."""

    @property
    def answers(self) -> Counter[tuple[str, ...]]:
        return self._counted["answers"]

    @property
    def outcomes(self) -> Counter[tuple[str, ...]]:
        return self._counted["outcomes"]

    @property
    def warnings(self) -> Counter[tuple[str, ...]]:
        return self._counted["warnings"]

    def look(self, until_us: int) -> None:
        """Count what was written before that moment. Raises JournalFull when the journal can't be read.

        After a rotation all is counted anew: what its notes say was moved, and what is still there.
        """
        with journal_store.reading(self._place) as connection:
            journal_store.one_state(connection)  # all that follows sees one state of the journal
            rotation = _newest_rotation(connection)
            anew = rotation != self._rotation
            counted = _moved(connection) if anew else self._counted
            last = {"answers": 0, "outcomes": 0} if anew else self._last
            lost = Counter[str]()
            for _, note in chain.notes(connection, "lost"):
                lost[note["task"]] += note["answers"] if note["at_us"] < until_us else 0
            new = _span(connection, "answers", "at_us", last["answers"], until_us)
            told = _span(connection, "outcomes", _KEPT, last["outcomes"], until_us)
            found = [(name, connection.execute(query, span).fetchall()) for name, query, span in (
                ("answers", _ANSWERS.format(_SPAN.format("a")), new),
                ("warnings", _WARNINGS[journal_store.dialect(connection)].format(_SPAN.format("a")), new),
                ("outcomes", _OUTCOMES.format(_SPAN.format("o")), told),
            )]  # fmt: skip
        # once all is read: a look that fails counts nothing
        self._last, self._rotation, self._counted = {"answers": new[1], "outcomes": told[1]}, rotation, counted
        self.lost = lost
        for name, rows in found:
            for *key, n in rows:
                counted[name][tuple(key)] += n


def of_moved(connection: Connection) -> dict[str, list[Any]]:
    """The counts of answers that a rotation moves, whose ids are in `leaving`: rows of labels and their number."""
    leaving = "{}.prediction_id IN (SELECT prediction_id FROM leaving)"
    warnings = _WARNINGS[journal_store.dialect(connection)]
    return {
        "answers": connection.execute(_ANSWERS.format(leaving.format("a"))).fetchall(),
        "warnings": connection.execute(warnings.format(leaving.format("a"))).fetchall(),
        "outcomes": connection.execute(_OUTCOMES.format(leaving.format("o"))).fetchall(),
    }


def _none() -> _Counters:
    return {name: Counter() for name in ("answers", "outcomes", "warnings")}


def _newest_rotation(connection: Connection) -> int:
    return max((number for number, _ in chain.notes(connection, "rotation")), default=0)


def _moved(connection: Connection) -> _Counters:
    out = _none()
    for _, note in chain.notes(connection, "rotation"):
        for name, rows in note["counts"].items():
            for *key, n in rows:
                out[name][tuple(key)] += n
    return out


def _span(connection: Connection, table: str, written: str, start: int, until_us: int) -> tuple[int, int]:
    """Row numbers that are new: after the first and up to the second. Rows are only added, in order of time."""
    later = f"SELECT t.rowid - 1 FROM {table} AS t WHERE t.rowid > ? AND {written} >= ? ORDER BY t.rowid LIMIT 1"  # noqa: S608
    newest = f"SELECT coalesce(max(rowid), 0) FROM {table}"  # noqa: S608
    found = connection.execute(later, (start, until_us)).fetchone() or connection.execute(newest).fetchone()
    return start, max(int(found[0]), start)
