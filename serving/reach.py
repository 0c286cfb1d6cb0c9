"""Whom a server may be reached by: this machine alone, who has a key, or anyone where that is said."""

from __future__ import annotations

import time

from feature_store.errors import Usage
from feature_store.settings import Settings
from serving import keys, tokens

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def asks_always(settings: Settings) -> bool:
    """Whether keys are asked for even if there are none: beyond this machine, and where tokens are taken."""
    return settings.host not in LOOPBACK or bool(settings.oidc_issuer)


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
