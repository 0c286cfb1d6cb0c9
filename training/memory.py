"""Memory that was freed goes back to the machine: glibc keeps it for later, and a table's worth is much."""

from __future__ import annotations

import ctypes

import pyarrow as pa


def give_back() -> None:
    """Give back what is free; nothing happens where the C library has no `malloc_trim`."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
