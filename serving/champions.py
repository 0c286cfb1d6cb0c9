"""The champions that this worker answers with; they follow the cache and are swapped whole."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from feature_store.errors import BundleRefused, JournalFull, UnknownTask
from serving import cache, predictor, recall, requestlog
from serving.cache import Published
from serving.log import log
from serving.predictor import Predictor
from serving.problems import NotReady

LOOK_S = 0.3


class Champions:
    """By task, the predictor that answers. A new one is loaded and warm before the old one is let go."""

    def __init__(self, root: Path, journal: Path) -> None:
        """root: the cache; journal: where outcomes move the working levels."""
        self._root, self._journal = root, journal
        self._levels: dict[tuple[str, str], float] = {}
        self._now: dict[str, tuple[Published, Predictor]] = {}
        self._failed: dict[str, tuple[Published, str]] = {}

    def get(self, task: str) -> Predictor:
        """Raises UnknownTask, or NotReady when nothing is loaded at all."""
        return self.served(task)[1]

    def served(self, task: str) -> tuple[Published, Predictor]:
        """What answers now and where it lies in the cache. Raises as `get` does."""
        found = self._now.get(task)
        if found is not None:
            requestlog.answered_by(task, found[1].version)
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
        """What `/readyz` says: tasks with their versions, refused versions, whether the registry answers."""
        failed = {task: reason for task, (_, reason) in self._failed.items()}
        return {
            "ready": bool(self._now) and all(task in self._now for task in failed),
            "tasks": {task: {"version": p.version, "golden": "reproduced"} for task, (_, p) in self._now.items()},
            "not_loaded": failed,
            "refused": cache.refused(self._root),
            "registry": cache.read(self._root / "registry.json") or {"reachable": None},
        }

    async def look(self) -> None:
        """Load what the cache has new, and read the working levels.

        What does not load is reported, and the old one goes on answering.
        """
        for task, found in cache.published(self._root).items():
            now, failed = self._now.get(task), self._failed.get(task)
            if (now is not None and now[0] == found) or (failed is not None and failed[0] == found):
                continue
            try:
                loaded = await asyncio.to_thread(predictor.load, found.folder, found.version)
            except (BundleRefused, OSError) as error:
                self._failed[task] = (found, str(error))
                log("version_not_loaded", task=task, version=found.version, reason=str(error))
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
