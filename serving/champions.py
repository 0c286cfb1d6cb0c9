"""The champions that this worker answers with; they follow the cache and are swapped whole."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

from feature_store.errors import BundleRefused, JournalFull, UnknownTask
from feature_store.place import Place
from serving import cache, noted, predictor, recall, version_metrics
from serving.cache import Published
from serving.exposition import Family
from serving.log import log
from serving.predictor import Predictor
from serving.problems import NotReady

LOOK_S = 0.3
AGAIN_S = 2.0
"""A version that did not load is tried again after so long: its folder may have been replaced that very moment."""


class Champions:
    """By task, the predictor that answers. A new one is loaded and warm before the old one is let go."""

    def __init__(self, root: Path, journal: Place, shadows: Path) -> None:
        """root: the cache; journal: where outcomes move the working levels; shadows: challengers' answers."""
        self._root, self._journal, self._shadows = root, journal, shadows
        self._levels: dict[tuple[str, str], float] = {}
        self._now: dict[str, tuple[Published, Predictor]] = {}
        self._failed: dict[str, tuple[Published, str, float]] = {}

    def get(self, task: str) -> Predictor:
        """Raises UnknownTask, or NotReady when nothing is loaded at all."""
        return self.served(task)[1]

    def served(self, task: str) -> tuple[Published, Predictor]:
        """What answers now and where it lies in the cache. Raises as `get` does."""
        found = self._now.get(task)
        if found is not None:
            noted.answered_by(task, found[1].version)
            return found
        if not self._now:
            raise NotReady("No model is ready. Train one: gancao train TASK --promote; it is served within seconds.")
        raise UnknownTask(f"There is no task of that name here. There are: {', '.join(sorted(self._now))}.")

    def level(self, predictor: Predictor) -> float | None:
        """The working level of a version, None where it is the promised one."""
        return self._levels.get((predictor.task.task, predictor.version))

    def all(self) -> list[Predictor]:
        """Every predictor that answers, by task."""
        return [self._now[task][1] for task in sorted(self._now)]

    def state(self) -> dict[str, object]:
        """What `/readyz` says: tasks with their versions, refused versions, whether the registry answers.

        degraded: what is served comes from the cache alone; no new version can arrive.
        """
        failed = {task: reason for task, (_, reason, _) in self._failed.items()}
        registry = cache.registry(self._root)
        return {
            "ready": bool(self._now) and all(task in self._now for task in failed),
            "degraded": registry["reachable"] is not True,
            "tasks": {task: {"version": p.version, "golden": "reproduced"} for task, (_, p) in self._now.items()},
            "not_loaded": failed,
            "refused": cache.refused(self._root),
            "challengers": {t: c.version for t, c in cache.published(self._root, cache.CHALLENGER).items()},
            "registry": registry,
        }

    def metrics(self) -> list[Family]:
        """What `/metrics` says of versions; reads files."""
        return version_metrics.families(self._root, self._shadows, [(p.task.task, p.version) for p in self.all()])

    async def look(self) -> None:
        """Load what the cache has new, and read the working levels.

        What does not load is reported, and the old one goes on answering.
        """
        for task, found in cache.published(self._root).items():
            now, failed = self._now.get(task), self._failed.get(task)
            if now is not None and now[0] == found:
                continue
            if failed is not None and failed[0] == found and time.monotonic() < failed[2]:
                continue
            try:
                loaded = await asyncio.to_thread(predictor.load, found.folder, found.version)
            except Exception as error:  # whatever it is, other tasks and the worker go on
                reason = (
                    str(error) if isinstance(error, BundleRefused) else f"It can't be read ({type(error).__name__})."
                )
                if failed is None or failed[:2] != (found, reason):
                    log("version_not_loaded", task=task, version=found.version, reason=reason)
                self._failed[task] = (found, reason, time.monotonic() + AGAIN_S)
                continue
            self._failed.pop(task, None)
            self._now[task] = (found, loaded)
            log("version_serving", task=task, version=found.version)
        moving = [(p.task.task, p.version) for p in self.all() if p.task.answers.adaptive is not None]
        if moving:
            with suppress(JournalFull):  # the levels that were read last go on
                self._levels = await asyncio.to_thread(recall.newest_levels, self._journal, moving)

    async def follow(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception as error:  # a fault here must not end the following
                log("look_failed", error=type(error).__name__)
