"""The memory that the workers of a server count in. The parent makes it, and imports nothing else of the meter."""

from __future__ import annotations

import os
import tempfile

PART = 16_384
"""Numbers of 8 bytes that a worker has for its own; what it does not use takes no memory."""


def share(workers: int) -> int:
    """A file descriptor of memory for so many workers, to be handed to them."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gancao-meter")
    else:  # not Linux
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, workers * PART * 8)
    return descriptor
