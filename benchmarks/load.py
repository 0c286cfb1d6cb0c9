"""A load client that costs next to nothing: raw sockets, one thread, requests made up beforehand.

Each connection is kept alive and asks again as soon as its answer is whole. Only Content-Length is understood.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

PATIENCE_S = 30.0


def request(port: int, path: str, body: bytes) -> bytes:
    """The bytes of a POST of JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class _Connection:
    """One connection and the answer that is arriving."""

    socket: socket.socket
    begun: float = 0.0
    got: bytes = b""

    def ask(self, content: bytes) -> None:
        self.begun, self.got = time.perf_counter(), b""
        self.socket.sendall(content)

    def whole(self) -> bytes | None:
        """The body, once all of it is there. Raises RuntimeError unless it is a 200."""
        chunk = self.socket.recv(262144)
        if not chunk:
            raise RuntimeError(f"the connection was closed after {self.got[:300]!r}")
        self.got = got = self.got + chunk
        if (end := got.find(b"\r\n\r\n")) < 0:
            return None
        head = got[:end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(got) < end + 4 + length:
            return None
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"answered {got[:600]!r}")
        return got[end + 4 :]


@dataclass
class Load:
    """What a round gave: seconds of every request, and of the round."""

    took_s: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def percentile_ms(self, percent: float) -> float:
        """The smallest that `percent` of the requests stay at or below."""
        ordered = sorted(self.took_s)
        return 1000 * ordered[max(0, -(-int(percent * len(ordered)) // 100) - 1)]


def once(port: int, content: bytes) -> bytes:
    """One request over a connection of its own; its answer's body. Raises RuntimeError unless it is a 200."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as own:
        connection = _Connection(own)
        connection.ask(content)
        while (body := connection.whole()) is None:
            pass
        return body


def run(
    port: int, requests: Sequence[bytes], connections: int, seconds: float, begin: Callable[[], None] = lambda: None
) -> Load:
    """Ask for so many seconds, and until what was asked is answered; requests are sent in turn.

    begin: called when every connection stands and has been answered once; then the clock runs.
    Raises RuntimeError when an answer is no 200 or none comes for PATIENCE_S.
    """
    source, load = itertools.cycle(requests), Load()
    with selectors.DefaultSelector() as selector:
        opened = [_Connection(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) for _ in range(connections)]
        try:
            for connection in opened:
                connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                connection.ask(next(source))
                while connection.whole() is None:
                    pass
            begin()
            started = time.perf_counter()
            for connection in opened:
                connection.ask(next(source))
            waiting = connections
            while waiting:
                if not (ready := selector.select(PATIENCE_S)):
                    raise RuntimeError(f"no answer in {PATIENCE_S:.0f} s")
                for key, _ in ready:
                    if key.data.whole() is None:
                        continue
                    now = time.perf_counter()
                    load.took_s.append(now - key.data.begun)
                    if now - started < seconds:
                        key.data.ask(next(source))
                    else:
                        waiting -= 1
            load.seconds = time.perf_counter() - started
        finally:
            for connection in opened:
                connection.socket.close()
    return load
