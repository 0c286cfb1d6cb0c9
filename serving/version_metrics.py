"""What `/metrics` tells of versions: which answer, which were refused, and what challengers did in the shadow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving import cache, shadows
from serving.exposition import Family


def families(root: Path, shadow_file: Path, served: list[tuple[str, str]]) -> list[Family]:
    """The metrics as they are this moment. root: the cache; served: tasks with the versions that answer.

    Raises JournalFull when the shadows can't be read.
    """
    version = ("task", "version")
    serving = Family("gancao_version_serving", "gauge", "1: this version answers.", version)
    challenging = Family("gancao_version_challenging", "gauge", "1: this version answers in the shadow.", version)
    refused = Family("gancao_version_refused", "gauge", "1: this version was not let in; /readyz says why.", version)
    reached = Family("gancao_registry_reachable", "gauge", "0: no new version can arrive.")
    shadowed = Family("gancao_shadow_rows_total", "counter", "Rows offered to a challenger, by what became of them.",
                      (*version, "what"))  # fmt: skip
    for task, own in served:
        serving.add(1.0, task, own)
    for task, published in cache.published(root, cache.CHALLENGER).items():
        challenging.add(1.0, task, published.version)
    for task, reasons in cache.refused(root).items():
        for own in reasons:
            refused.add(1.0, task, own)
    registry: dict[str, Any] = cache.registry(root)
    reached.add(float(registry["reachable"] is True))
    for key, n in shadows.counts(shadow_file).items():
        shadowed.add(n, *key)
    return [serving, challenging, refused, reached, shadowed]
