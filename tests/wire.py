"""HTTP by hand over a socket: for what no client library would send, and to tell what became of each request."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """An answer as it was read."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Gone(Exception):
    """The connection ended before a byte of an answer came."""


@dataclass
class Wire:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(cls, base: str) -> Wire:
        at = urlsplit(base)
        return cls(*await asyncio.open_connection(at.hostname, at.port, limit=2**24))

    async def reply(self) -> Reply:
        """The next answer. Raises Gone, or IncompleteReadError when it ends half-way."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            raise Gone from None
        except ConnectionError:
            raise Gone from None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        return Reply(int(first.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"])))

    async def ask(self, *parts: bytes) -> Reply:
        """Send, and read the answer. What can't be sent any more may have been answered already."""
        try:
            self.writer.write(b"".join(parts))
            await self.writer.drain()
        except ConnectionError:
            pass
        return await self.reply()

    async def ended(self) -> bool:
        """Whether the other side closes without another byte."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.close()


def post(path: str, body: Any, *headers: bytes) -> bytes:
    """A request as bytes. body: sent as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        b"POST " + path.encode() + b" HTTP/1.1",
        b"host: localhost",
        b"content-type: application/json",
        b"content-length: %d" % len(sent),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + sent


def get(path: str) -> bytes:
    return b"GET " + path.encode() + b" HTTP/1.1\r\nhost: localhost\r\n\r\n"


def told(text: str) -> None:
    """A figure of a proof, for `pytest -s` and for the report of a test that fails."""
    sys.stdout.write(text + "\n")
