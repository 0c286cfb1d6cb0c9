"""The HTTP floor: an ASGI application that reads the body and answers constant bytes.

    PYTHON serve_floor.py PORT
"""  # fmt: skip

from __future__ import annotations

import sys
from typing import Any

import uvicorn

CONTENT = b'{"task":"made","version":"1","answers":[{"value":500.0}]}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(CONTENT))],
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer; of the protocol's other events nothing is needed."""
    while (await receive())["more_body"]:
        pass
    await send(START)
    await send({"type": "http.response.body", "body": CONTENT})


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error"
    )
