"""Prometheus's text format, version 0.0.4: families of samples, each with its HELP and TYPE in one group of lines.

Source: https://prometheus.io/docs/instrumenting/exposition_formats (text format details).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Family:
    """One metric. samples: values with the values of its labels, in their order."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()
    samples: list[tuple[tuple[str, ...], float]] = field(default_factory=list)

    def add(self, value: float | None, *labels: str) -> None:
        """One more sample; None is none."""
        if value is not None:
            self.samples.append((labels, value))


def text(families: Sequence[Family]) -> bytes:
    """The families that have samples."""
    lines = [line for family in families if family.samples for line in _lines(family)]
    return "".join(f"{line}\n" for line in lines).encode()


def _lines(family: Family) -> list[str]:
    told = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    lines = [f"# HELP {family.name} {told}", f"# TYPE {family.name} {family.kind}"]
    for values, value in family.samples:
        pairs = ",".join(f'{name}="{_escaped(one)}"' for name, one in zip(family.labels, values, strict=True))
        lines.append(f"{family.name}{{{pairs}}} {value:.17g}" if pairs else f"{family.name} {value:.17g}")
    return lines


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
