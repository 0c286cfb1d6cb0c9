"""The same model with nothing around it: raw ASGI, msgspec, LightGBM's single-row C call by ctypes.

    PYTHON serve_raw.py PORT MODEL_FOLDER

Fields are taken in the model's order; nothing is checked, said of uncertainty or kept.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvicorn

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
NAMES = json.loads((FOLDER / "rows.json").read_text())["names"]


def model() -> tuple[Any, tuple[Any, ...], np.ndarray, ctypes.c_double]:
    """The C call, its arguments, the row that it reads and the number that it writes."""
    package = Path(next(iter(importlib.util.find_spec("lightgbm").submodule_search_locations)))  # type: ignore
    library = ctypes.CDLL(str(package / "lib/lib_lightgbm.so"))
    handle, fast, rounds = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
    text, count = (FOLDER / "model.txt").read_bytes(), ctypes.c_int32(len(NAMES))
    row, out, length = np.empty(len(NAMES)), ctypes.c_double(), ctypes.c_int64()
    assert library.LGBM_BoosterLoadModelFromString(text, ctypes.byref(rounds), ctypes.byref(handle)) == 0
    done = library.LGBM_BoosterPredictForMatSingleRowFastInit(
        handle, 1, 0, -1, 1, count, b"num_threads=1", ctypes.byref(fast)
    )
    assert done == 0
    pointer = row.ctypes.data_as(ctypes.c_void_p)
    call = library.LGBM_BoosterPredictForMatSingleRowFast
    return call, (fast, pointer, ctypes.byref(length), ctypes.byref(out)), row, out


CALL, ARGUMENTS, ROW, OUT = model()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request as a prediction."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message["more_body"]
    values = []
    for row in msgspec.json.decode(body)["rows"]:
        ROW[:] = [row[name] for name in NAMES]
        assert CALL(*ARGUMENTS) == 0
        values.append(OUT.value)
    content = msgspec.json.encode({"values": values})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    uvicorn.run(app, port=PORT, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error")
