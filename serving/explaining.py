"""The explaining thread: one a worker, so that explanations, dozens of predictions' worth each, hold up no answer.

It has predictors of its own, since models are used by one thread at a time, read from the same cache folders when a
task is first explained and again when its champion has changed. Requests take turns row by row: a form's one row is
not kept waiting by another's fifty.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from feature_store.errors import BundleRefused
from serving import predictor
from serving.cache import Published
from serving.explain import Explainer
from serving.problems import Busy, NotReady

MOST_AT_ONCE = 8
"""Requests that are explained or wait for it; further ones are turned away."""


@dataclass
class _Asked:
    """One request: the version, its rows and what is explained of them so far."""

    version: Published
    rows: Sequence[Mapping[str, Any]]
    explainer: Explainer | None = None
    done: list[dict[str, Any]] = field(default_factory=list)
    future: Future[list[dict[str, Any]]] = field(default_factory=Future)


class Explaining:
    """The thread and what waits for it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._known: dict[str, tuple[Published, Explainer]] = {}
        self._open = 0
        self._thread = threading.Thread(target=self._work, name="explaining", daemon=True)
        self._thread.start()

    async def explain(self, version: Published, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One explanation a row (`Explainer.explain`); rows: validated. A caller that is cancelled gives up its turn.

        Raises Busy, NotExplained, or NotReady when the version has just left the cache.
        """
        if self._open >= MOST_AT_ONCE:
            raise Busy(f"{MOST_AT_ONCE} requests wait to be explained already. Ask again after Retry-After seconds.")
        asked = _Asked(version, rows)
        self._open += 1
        try:
            self._queue.put(asked)
            return await asyncio.wrap_future(asked.future)
        finally:
            self._open -= 1

    def close(self) -> None:
        """Stop after the row that is being explained; requests that are not done are cancelled."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        turns: deque[_Asked] = deque()
        while True:
            while not turns or not self._queue.empty():
                found = self._queue.get()
                if found is None:
                    for one in turns:
                        one.future.cancel()
                    return
                turns.append(found)
            asked = turns.popleft()
            if not asked.future.cancelled() and self._one_row(asked):
                turns.append(asked)

    def _one_row(self, asked: _Asked) -> bool:
        """Explain the next row; whether there are more. An error is the request's, not the thread's."""
        try:
            asked.explainer = asked.explainer or self._explainer(asked.version)
            asked.done.append(asked.explainer.explain(asked.rows[len(asked.done)]))
            if len(asked.done) < len(asked.rows):
                return True
            asked.future.set_result(asked.done)
        except InvalidStateError:  # cancelled this very moment
            return False
        except Exception as error:
            with suppress(InvalidStateError):
                asked.future.set_exception(error)
        return False

    def _explainer(self, version: Published) -> Explainer:
        known = self._known.get(version.task)
        if known is None or known[0] != version:
            try:
                known = version, Explainer(predictor.load(version.folder, version.version))
            except (BundleRefused, OSError):
                raise NotReady(f"Version {version.version} of {version.task} was replaced. Ask again.") from None
            self._known[version.task] = known
        return known[1]
