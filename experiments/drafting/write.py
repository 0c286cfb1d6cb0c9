"""Values as YAML and SQL write them, so that the same value is read again."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import yaml

_PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9_/.+*-]| (?=[A-Za-z0-9(]))*")


@lru_cache(maxsize=10_000)
def scalar(text: str) -> str:
    """A string in flow YAML, quoted where it must be."""
    if _PLAIN.fullmatch(text) and isinstance(yaml.safe_load(text), str):
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return quoted.strip()


def number(value: float) -> str:
    """A finite number as YAML 1.1 and SQL read it: whole ones without a point, exponents with one."""
    if value == math.floor(value) and abs(value) < 1e15:
        return str(int(value))
    text = repr(float(value))
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def pair(low: float, high: float) -> str:
    return f"[{number(low)}, {number(high)}]"


def identifier(column: str) -> str:
    """A column's name in SQL."""
    return '"' + column.replace('"', '""') + '"'


def literal(value: str | float) -> str:
    """A value in SQL."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else number(value)


def literals(values: Sequence[str | float]) -> str:
    return ", ".join(literal(value) for value in values)


def shown(text: str, most: int = 60) -> str:
    """A name or value in a comment: printable, on one line, not too long."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."


def comment(text: str, indent: str = "", width: int = 116) -> list[str]:
    """A comment as lines of YAML, folded."""
    lines, line = [], ""
    for word in text.split():
        if line and len(indent) + len(line) + len(word) + 3 > width:
            lines.append(f"{indent}# {line}")
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, f"{indent}# {line}"] if line else lines
