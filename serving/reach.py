"""Whom a server may be reached by, and by what names: this machine alone, who has a key, or anyone if that is said."""

from __future__ import annotations

import ipaddress
import time
from functools import lru_cache

from feature_store.errors import StrangeHost, Usage
from feature_store.settings import Settings
from serving import keys, tokens

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def asks_always(settings: Settings) -> bool:
    """Whether keys are asked for even if there are none: beyond this machine, and where tokens are taken."""
    return settings.host not in LOOPBACK or bool(settings.oidc_issuer)


class Names:
    """By what names a server without keys is asked: localhost, addresses, and those of the settings.

    A page of another site can let its own name lead to this machine for a moment (DNS rebinding). To the browser our
    answers are its own then, and what it sends comes from the same site; only the header Host still tells.
    """

    def __init__(self, settings: Settings) -> None:
        self._names = frozenset(name.strip().lower() for name in settings.hosts.split(",") if name.strip())
        self._any = settings.host not in LOOPBACK and not self._names

    def refuse_strange(self, host: bytes | None) -> None:
        """host: the header; browsers send one, so a request without it is a program's. Raises StrangeHost."""
        if not (self._any or host is None or _known(host, self._names)):
            raise StrangeHost(
                "The header Host has a name that is not known here. Ask by localhost or an address, or name it in "
                "GANCAO_HOSTS where the server is started."
            )


@lru_cache(maxsize=256)
def _known(host: bytes, names: frozenset[str]) -> bool:
    text = host.decode("latin-1").lower()
    name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
    if name.rstrip(".") in names or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def refuse_unfit(settings: Settings) -> None:
    """Raises Usage when the address is not this machine's alone, and neither is there a key nor is it said."""
    tokens.refuse_unfit(settings)
    if settings.host in LOOPBACK or settings.open or settings.oidc_issuer:
        return
    if not any(key.state(time.time()) == "live" for key in keys.listed(settings.keys)):
        raise Usage(
            f"--host {settings.host} lets others than this machine ask, but there is no key that is live.\n"
            "Make one with gancao keys create, serve on 127.0.0.1, or say --open (GANCAO_OPEN=1) if the network is "
            "closed otherwise."
        )
