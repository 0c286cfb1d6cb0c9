"""The engine that was asked for: `local`, or `ray` behind its optional extra."""

from __future__ import annotations

import importlib.util
import os
import secrets

from feature_store.errors import Usage
from training.engine import Engine
from training.local_engine import LocalEngine

NAMES = ("local", "ray")


def open_engine(name: str, slots: int | None = None, memory_bytes: int | None = None, address: str = "") -> Engine:
    """The engine of that name; the caller closes it.

    slots: workers of this machine, by default one a core. memory_bytes: what a worker may hold for itself, by default
    an equal share of its machine. address: `host:port` of a Ray cluster, which has its own number of slots; empty
    starts one for this engine, reachable from this machine only.
    Raises Usage for another name, when Ray is not installed and when no cluster answers.
    """
    if name == "local":
        return LocalEngine(slots, memory_bytes)
    if name != "ray":
        raise Usage(f"There is no engine {name!r}. Use --engine {' or '.join(NAMES)}.")
    if importlib.util.find_spec("ray") is None:
        raise Usage("--engine ray needs Ray, which is not installed. Install gancao[scale], or use --engine local.")
    prepare_ray(os.environ, address)
    from training.ray_engine import RayEngine  # an optional extra, which reads its settings when it is imported

    return RayEngine(slots, memory_bytes, address)


def prepare_ray(environment: os._Environ[str] | dict[str, str], address: str) -> None:
    """Ray's own settings, before its import: tokens, nothing reported home, loopback for our own."""
    environment.setdefault("RAY_AUTH_MODE", "token")
    environment["RAY_USAGE_STATS_ENABLED"] = "0"
    if not address:  # the name hides it: all servers of the cluster listen on loopback only
        environment.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if not address and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(environment):
        environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
