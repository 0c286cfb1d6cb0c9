"""A column of a table as it is kept, in DuckDB's SQL: the twin of `feature_store/value.py`, which has the rules."""

from __future__ import annotations

from feature_store.value import FIRST_US, LAST_US, MOMENT, MOST_EXACT, NUMBER, WHOLE, scale

SMALL = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
WHOLES = (*SMALL, "UBIGINT", "HUGEINT", "UHUGEINT")
FLOATS = ("FLOAT", "DOUBLE")
MOMENTS = ("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE")

_ZONE = "(Z|[+-]([0-9]{2}):([0-9]{2}))$"


def value(kind: str, column: str, source: str) -> str | None:
    """The kept value of a column, NULL where it is of no such kind; None where no value of the column can be.

    column: in quotes; source: DuckDB's name of its type.
    """
    family = source.split("(")[0]
    if kind == "text":
        return _text(column, family)
    if kind == "flag":
        return _flag(column, family)
    if kind == "int":
        return _whole(column, family)
    if (number := _number(column, family)) is None:
        return None
    if kind.startswith("decimal"):
        scaled = f"{number} * 1e{scale(kind)}"
        return f"CASE WHEN abs({scaled}) <= {MOST_EXACT} THEN TRY_CAST({scaled} AS BIGINT) END"
    if kind == "float32":
        number = f"TRY_CAST({number} AS FLOAT)"
    return f"CASE WHEN {number} = 0 THEN 0 WHEN isfinite({number}) THEN {number} END"


def absent(column: str, source: str) -> str:
    """Whether a value is NULL or NaN."""
    return f"({column} IS NULL OR isnan({column}))" if source in FLOATS else f"({column} IS NULL)"


def instant(column: str, source: str) -> str | None:
    """Microseconds since 1970 in UTC, NULL where it is no time; None where the column is none of times."""
    if source in MOMENTS:
        moment = column if source == "TIMESTAMP WITH TIME ZONE" else f"TRY_CAST({column} AS TIMESTAMP)"
        found = f"CASE WHEN isfinite({moment}) THEN epoch_us({moment}) END"
    elif source == "VARCHAR":
        local = f"epoch_us(TRY_CAST(regexp_replace({column}, '{_ZONE}', '') AS TIMESTAMP))"
        east = f"coalesce({_zone(column, 2)} * 60 + {_zone(column, 3)}, 0) * 60000000"
        sign = f"CASE WHEN regexp_extract({column}, '{_ZONE}', 1) LIKE '-%' THEN -1 ELSE 1 END"
        found = f"CASE WHEN regexp_full_match({column}, '{MOMENT}') THEN {local} - {sign} * {east} END"
    else:
        return None
    return f"CASE WHEN {found} BETWEEN {FIRST_US} AND {LAST_US} THEN {found} END"


def _zone(column: str, part: int) -> str:
    """Hours (2) or minutes (3) of a zone; NULL without one."""
    return f"TRY_CAST(regexp_extract({column}, '{_ZONE}', {part}) AS BIGINT)"


def _text(column: str, family: str) -> str | None:
    if family == "VARCHAR":
        return column
    return f"CAST({column} AS VARCHAR)" if family in (*WHOLES, "DATE", "ENUM", "UUID") else None


def _flag(column: str, family: str) -> str | None:
    if family == "BOOLEAN":
        return f"CAST({column} AS TINYINT)"
    if family in (*WHOLES, *FLOATS):
        return f"CASE WHEN {column} IN (0, 1) THEN CAST({column} AS TINYINT) END"
    words = "WHEN 'true' THEN 1 WHEN '1' THEN 1 WHEN 'false' THEN 0 WHEN '0' THEN 0"
    return f"CAST(CASE lower({column}) {words} END AS TINYINT)" if family == "VARCHAR" else None


def _whole(column: str, family: str) -> str | None:
    if family in WHOLES:
        return f"{'CAST' if family in SMALL else 'TRY_CAST'}({column} AS BIGINT)"
    if family in (*FLOATS, "DECIMAL"):
        fits = f"abs({column}) <= {MOST_EXACT} AND {column} = trunc({column})"
        return f"CASE WHEN {fits} THEN TRY_CAST({column} AS BIGINT) END"
    if family == "VARCHAR":
        return f"CASE WHEN regexp_full_match({column}, '{WHOLE}') THEN TRY_CAST({column} AS BIGINT) END"
    return None


def _number(column: str, family: str) -> str | None:
    """As DOUBLE."""
    if family in (*WHOLES, *FLOATS, "DECIMAL"):
        return f"CAST({column} AS DOUBLE)"
    if family == "VARCHAR":
        return f"CASE WHEN regexp_full_match({column}, '{NUMBER}') THEN TRY_CAST({column} AS DOUBLE) END"
    return None
