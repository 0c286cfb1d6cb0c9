"""The door: a listening socket that nobody new comes through, while those who are in its queue still do."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from contextlib import suppress

_RETURN = 0x06
"""BPF_RET | BPF_K: end, and keep so many bytes of the packet."""

_ATTACH_FILTER = 26
"""SO_ATTACH_FILTER of Linux; Python's socket module does not name it."""


def shut(listener: socket.socket) -> None:
    """Drop what asks for a new connection from now on, in every process that shares the socket.

    A socket that is closed resets every connection that waits in its queue to be accepted, requests and all. So first
    nobody new gets in, then the workers accept the queue to its end, and then the socket is closed. A filter that
    keeps 0 bytes drops the packets that open a connection and none of one that is open (socket(7)). Elsewhere than
    on Linux, or where the kernel declines, it does nothing: then whoever connects in the last moment is reset.
    """
    if sys.platform != "linux":
        return
    keep_nothing = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(keep_nothing)))
