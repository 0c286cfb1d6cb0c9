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


@dataclass(frozen=True)
class Histogram:
    """One metric of what took how long. bounds: upper ends of the buckets but the last, which has none.

    samples: values of its labels with how many were in each bucket or one before it, and the sum of what they took.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    samples: list[tuple[tuple[str, ...], list[float], float]]
    kind: Literal["histogram"] = "histogram"


def text(families: Sequence[Family | Histogram]) -> bytes:
    """The families that have samples."""
    lines = [line for family in families if family.samples for line in _lines(family)]
    return "".join(f"{line}\n" for line in lines).encode()


def _lines(family: Family | Histogram) -> list[str]:
    told = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    lines = [f"# HELP {family.name} {told}", f"# TYPE {family.name} {family.kind}"]
    if isinstance(family, Family):
        return lines + [_line(family.name, family.labels, values, value) for values, value in family.samples]
    ends = [*(f"{bound:g}" for bound in family.bounds), "+Inf"]
    for values, counts, total in family.samples:
        for end, count in zip(ends, counts, strict=True):
            lines.append(_line(f"{family.name}_bucket", (*family.labels, "le"), (*values, end), count))
        lines.append(_line(f"{family.name}_sum", family.labels, values, total))
        lines.append(_line(f"{family.name}_count", family.labels, values, counts[-1]))
    return lines


def _line(name: str, labels: tuple[str, ...], values: tuple[str, ...], value: float) -> str:
    pairs = ",".join(f'{label}="{_escaped(one)}"' for label, one in zip(labels, values, strict=True))
    return f"{name}{{{pairs}}} {value:.17g}" if pairs else f"{name} {value:.17g}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
