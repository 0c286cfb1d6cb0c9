"""Gancao's worker with the model alone: its journal keeps nothing. Runs in Gancao's own environment.

    PYTHON -m benchmarks.contestants.serve_alone PORT HOME
"""  # fmt: skip

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn

from feature_store.settings import Settings
from serving import app as worker


async def nothing(entries: list[Any]) -> None:
    """What a journal does that keeps no answer."""


if __name__ == "__main__":
    settings = Settings(home=Path(sys.argv[2]))
    application = worker.build(settings)
    application.state.answering.journal.keep = nothing
    sys.setswitchinterval(worker.SWITCH_S)
    uvicorn.run(
        application, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="error",
        server_header=False,
    )  # fmt: skip
