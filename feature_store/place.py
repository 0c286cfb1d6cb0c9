"""Where a store is: a file of the home, or a database that is reached by URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Remote:
    """A database by URL. path: the file that would be in its place in the home; what belongs to it lies beside that.

    Its words tell neither password nor options.
    """

    url: str = field(repr=False)
    path: Path

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition("://")
        server, _, database = rest.partition("?")[0].partition("/")
        who, at, where = server.rpartition("@")
        return f"{scheme}://{who.partition(':')[0]}{at}{where}/{database}"


Place = Path | Remote
