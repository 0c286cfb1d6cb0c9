"""Tokens of an OpenID provider (JWT) taken as keys: what they must hold, and the provider's public keys.

Of each public key follows the one algorithm that it is used with, whatever a token says of itself: so neither `none`
nor an HMAC with the public key as its secret is ever tried. PyJWT checks signatures and claims; it comes with the
extra `oidc` and is imported only where an issuer is set.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
import json
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feature_store.errors import KeyRefused, KeysUnreadable, Usage
from feature_store.settings import Settings
from serving.log import log
from serving.scopes import SCOPES, Caller

ALGORITHMS = {("RSA", ""): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
"""By kind and curve of the public key. Any other is passed over."""
LEEWAY_S = 30
"""How far the provider's clock may be off."""
MAX_TOKEN_BYTES = 8192
MAX_JWKS_BYTES = 1_000_000
FRESH_S = 300
"""Public keys are read again after so long, so that one that the provider has withdrawn is not trusted for long."""
AGAIN_S = 10
"""A key that is not known makes them be read again, but not more often than this."""
_REFUSED = (
    "The token is not accepted: its signature, issuer, audience or time do not fit. "
    "Get a new one from the provider, for the audience of this server."
)
_MOST_KNOWN = 1000


def refuse_unfit(settings: Settings) -> None:
    """Raises Usage when an issuer is set, but not all that it takes."""
    if not settings.oidc_issuer:
        return
    lacking = [name for name in ("oidc_audience", "oidc_jwks") if not getattr(settings, name)]
    if lacking:
        named = " and ".join(f"GANCAO_{name.upper()}" for name in lacking)
        raise Usage(f"GANCAO_OIDC_ISSUER is set, but not {named}. Set what tokens are held against, or unset it.")
    if not _is_file(settings.oidc_jwks) and not settings.oidc_jwks.startswith("https://"):
        raise Usage("GANCAO_OIDC_JWKS is neither a file nor an https address. Who can alter it could let anyone in.")
    if importlib.util.find_spec("jwt") is None:
        raise Usage("GANCAO_OIDC_ISSUER needs PyJWT. Install it with: pip install 'gancao[oidc]'")


class Tokens:
    """The tokens of one provider, in one worker."""

    def __init__(self, settings: Settings) -> None:
        """Raises Usage, as refuse_unfit."""
        refuse_unfit(settings)
        self._settings = settings
        self._jwt: Any = importlib.import_module("jwt")
        self._public: dict[str, tuple[str, Any]] = {}
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()
        self._known: dict[bytes, tuple[Caller, float]] = {}

    async def caller(self, token: str, now_s: float | None = None) -> Caller:
        """Who asks with a token. now_s: seconds since 1970. Raises KeyRefused, KeysUnreadable.

        A token that was accepted is known by its hash until it expires, or public keys are read again.
        """
        now = time.time() if now_s is None else now_s
        if len(token) > MAX_TOKEN_BYTES:
            raise KeyRefused(_REFUSED, "token too long")
        await self._keep_fresh()
        digest = hashlib.sha256(token.encode()).digest()
        if (found := self._known.get(digest)) and now < found[1]:
            return found[0]
        try:
            algorithm, public = await self._key_for(self._jwt.get_unverified_header(token))
            claims = self._claims(token, algorithm, public, now)
            caller = self._caller_of(claims)
        except (self._jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            raise KeyRefused(_REFUSED, f"token: {type(error).__name__}") from None
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[digest] = (caller, float(claims["exp"]) + LEEWAY_S)
        return caller

    def _claims(self, token: str, algorithm: str, public: Any, now: float) -> dict[str, Any]:
        """The claims of a token whose signature, issuer, audience and times fit; raises PyJWT's errors if not."""
        claims: dict[str, Any] = self._jwt.decode(
            token,
            public,
            algorithms=[algorithm],
            audience=self._settings.oidc_audience,
            issuer=self._settings.oidc_issuer,
            options={"require": ["exp", "iss", "aud", "sub"], "verify_exp": False, "verify_nbf": False,
                     "verify_iat": False},
        )  # fmt: skip
        if not now < float(claims["exp"]) + LEEWAY_S:  # by our clock, which tests may turn
            raise self._jwt.ExpiredSignatureError
        if now < float(claims.get("nbf", 0)) - LEEWAY_S:
            raise self._jwt.ImmatureSignatureError
        return claims

    def _caller_of(self, claims: Mapping[str, Any]) -> Caller:
        """The subject is a person's name with some providers, so the log gets its hash."""
        said = claims.get(self._settings.oidc_scope_claim, "")
        words = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
        who = hashlib.sha256(f"{claims['iss']} {claims['sub']}".encode()).hexdigest()[:12]
        return Caller(f"oidc-{who}", frozenset(scope for scope in SCOPES if scope in words))

    async def _key_for(self, header: Mapping[str, Any]) -> tuple[str, Any]:
        """Algorithm and public key for a token. Raises KeyError when there is none."""
        if "crit" in header:
            raise KeyError("crit")
        kid = header.get("kid")
        if kid is not None and kid not in self._public and time.monotonic() - self._tried_at > AGAIN_S:
            await self._read_again()
        if kid is None and len(self._public) == 1:
            kid = next(iter(self._public))
        algorithm, public = self._public[kid]  # type: ignore[index]
        if header.get("alg") != algorithm:
            raise KeyError("alg")
        return algorithm, public

    async def _keep_fresh(self) -> None:
        now = time.monotonic()
        if now - self._read_at > FRESH_S and now - self._tried_at > AGAIN_S:
            await self._read_again()
        if not self._public:
            raise KeysUnreadable("The provider's public keys can't be read (GANCAO_OIDC_JWKS). Ask again later.")

    async def _read_again(self) -> None:
        """Read the public keys; where that fails the known ones go on for a day at most."""
        async with self._reading:
            if time.monotonic() - self._tried_at <= AGAIN_S:  # another request has just done it
                return
            try:
                self._public = self._usable(await asyncio.to_thread(_fetch, self._settings.oidc_jwks))
                self._known.clear()
                self._read_at = time.monotonic()
            except (OSError, ValueError) as error:
                log("jwks_unreadable", error=type(error).__name__)
                if time.monotonic() - self._read_at > 86400:
                    self._public = {}
                    self._known.clear()
            self._tried_at = time.monotonic()

    def _usable(self, document: Any) -> dict[str, tuple[str, Any]]:
        """Public keys that sign, by their id, each with its algorithm."""
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise ValueError("not a key set")
        found = {}
        for key in listed:
            if not isinstance(key, dict):
                continue
            algorithm = ALGORITHMS.get((str(key.get("kty")), str(key.get("crv", ""))))
            if algorithm is None or key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
                continue
            try:
                public = self._jwt.PyJWK.from_dict({**key, "alg": algorithm}).key
            except self._jwt.PyJWTError:
                continue
            if algorithm != "RS256" or public.key_size >= 2048:
                found[str(key.get("kid", ""))] = (algorithm, public)
        return found


def _is_file(place: str) -> bool:
    return "://" not in place


def _fetch(place: str) -> Any:
    if _is_file(place):
        return json.loads(Path(place).read_bytes())
    with urllib.request.urlopen(place, timeout=5) as response:  # noqa: S310 - https, by the operator's own word
        return json.loads(response.read(MAX_JWKS_BYTES))
