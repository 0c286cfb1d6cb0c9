"""Tokens of an OpenID provider as keys: real keys, real signatures, and every way to forge one."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from feature_store.errors import KeyRefused, KeysUnreadable, Usage
from feature_store.settings import Settings
from serving import tokens
from serving.scopes import Caller
from serving.tokens import Tokens
from tests.conftest import CASE, Home, need, serving
from tests.keyed import bearer

ISSUER, AUDIENCE = "https://issuer.example/realm", "gancao"
NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def pyjwt() -> None:
    need(importlib.util.find_spec("jwt"), "PyJWT is absent: the extra `oidc` brings it")


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return b64(value.to_bytes(size, "big"))


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@functools.cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def jwk_rsa(private: rsa.RSAPrivateKey, kid: str = "rsa", **more: str) -> dict[str, str]:
    public = private.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "n": number(public.n, private.key_size // 8), "e": number(public.e, 3), **more}


def key_set(*more: dict[str, str]) -> dict[str, Any]:
    point = ec_key().public_key().public_numbers()
    raw = ed_key().public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {"keys": [
        jwk_rsa(rsa_key(), use="sig"),
        {"kty": "EC", "crv": "P-256", "kid": "ec", "x": number(point.x, 32), "y": number(point.y, 32)},
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(raw)},
        *more,
    ]}  # fmt: skip


def signed(claims: dict[str, Any], header: dict[str, Any], signature: Any) -> str:
    """A token made by hand: signature gives the bytes for what is signed."""
    text = ".".join(b64(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{b64(signature(text.encode()))}"


def by_rsa(text: bytes) -> bytes:
    return rsa_key().sign(text, padding.PKCS1v15(), hashes.SHA256())


def by_ec(text: bytes) -> bytes:
    r, s = decode_dss_signature(ec_key().sign(text, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def by_ed(text: bytes) -> bytes:
    return ed_key().sign(text)


def claims(**changes: Any) -> dict[str, Any]:
    whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "dr.li@clinic.example", "exp": NOW + 600, "scope": "predict read"}
    return {name: value for name, value in (whole | changes).items() if value is not None}


def rs256(**changes: Any) -> str:
    return signed(claims(**changes), {"alg": "RS256", "kid": "rsa", "typ": "JWT"}, by_rsa)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(key_set()))
    return Settings(home=tmp_path, oidc_issuer=ISSUER, oidc_audience=AUDIENCE, oidc_jwks=str(file))


def asked(settings: Settings, *sent: str, at: float = NOW) -> list[Caller | str]:
    """Who each token is of, or why it was refused, by one Tokens."""

    async def all_asked() -> list[Caller | str]:
        found, own = [], Tokens(settings)
        for token in sent:
            try:
                found.append(await own.caller(token, at))
            except KeyRefused as error:
                found.append(error.why)
        return found

    return asyncio.run(all_asked())


def test_a_token_of_each_algorithm_opens_with_its_scopes(settings):
    made = [
        rs256(),
        signed(claims(), {"alg": "ES256", "kid": "ec"}, by_ec),
        signed(claims(), {"alg": "EdDSA", "kid": "ed"}, by_ed),
    ]
    callers = asked(settings, *made)
    assert [caller.scopes for caller in callers] == [{"predict", "read"}] * 3
    assert len({caller.id for caller in callers}) == 1
    assert callers[0].id.startswith("oidc-")
    assert "li" not in callers[0].id, "a subject may be a person's name"


def test_scopes_come_from_the_claim_that_is_set_as_words_or_a_list(settings):
    own = settings.model_copy(update={"oidc_scope_claim": "roles"})
    for said, scopes in (
        (["admin", "cook"], {"admin"}), ("outcome openid", {"outcome"}), ("predicts", set()), (None, set()),
        (7, set()), ({"admin": 1}, set()), ([["admin"]], set()),
    ):  # fmt: skip
        assert asked(own, rs256(roles=said))[0].scopes == scopes


def forged() -> dict[str, str]:
    """Tokens that must not be taken, by how they were forged."""
    pem = (
        rsa_key().public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head, body, signature = rs256().split(".")
    other = rsa.generate_private_key(65537, 2048)

    def mac(secret: bytes) -> Any:
        return lambda text: hmac.new(secret, text, hashlib.sha256).digest()

    def pss(text: bytes) -> bytes:
        return rsa_key().sign(text, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())

    def by_512(text: bytes) -> bytes:
        return rsa_key().sign(text, padding.PKCS1v15(), hashes.SHA512())

    def by_other(text: bytes) -> bytes:
        return other.sign(text, padding.PKCS1v15(), hashes.SHA256())

    admin = b64(json.dumps(claims(scope="admin")).encode())
    modulus = jwk_rsa(rsa_key())["n"].encode()
    right = {"alg": "RS256", "kid": "rsa"}
    return {
        "alg none": signed(claims(), {"alg": "none", "kid": "rsa"}, lambda text: b""),
        "alg None": signed(claims(), {"alg": "None", "kid": "rsa"}, lambda text: b""),
        "no alg": signed(claims(), {"kid": "rsa"}, by_rsa),
        "HS256 with the public key": signed(claims(), {"alg": "HS256", "kid": "rsa"}, mac(pem)),
        "HS256 with the modulus": signed(claims(), {"alg": "HS256", "kid": "rsa"}, mac(modulus)),
        "HS256 with nothing": signed(claims(), {"alg": "HS256", "kid": "rsa"}, mac(b"")),
        "RS512 of the right key": signed(claims(), {"alg": "RS512", "kid": "rsa"}, by_512),
        "PS256 of the right key": signed(claims(), {"alg": "PS256", "kid": "rsa"}, pss),
        "ES256 named, RSA key": signed(claims(), {"alg": "ES256", "kid": "rsa"}, by_ec),
        "RS256 named, EC key": signed(claims(), {"alg": "RS256", "kid": "ec"}, by_rsa),
        "another's key": signed(claims(), {"alg": "RS256", "kid": "rsa"}, by_other),
        "a key of its own in the header": signed(claims(), {**right, "jwk": jwk_rsa(other)}, by_other),
        "a place of its own in the header": signed(claims(), {**right, "jku": "https://evil.example"}, by_other),
        "unknown kid": signed(claims(), {"alg": "RS256", "kid": "nobody"}, by_rsa),
        "kid a path": signed(claims(), {"alg": "RS256", "kid": "../../dev/null"}, by_rsa),
        "kid a list": signed(claims(), {"alg": "RS256", "kid": ["rsa"]}, by_rsa),
        "no kid of three": signed(claims(), {"alg": "RS256"}, by_rsa),
        "crit": signed(claims(), {"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": False}, by_rsa),
        "other claims": f"{head}.{admin}.{signature}",
        "no signature": f"{head}.{body}.",
        "a cut signature": f"{head}.{body}.{signature[:-8]}",
        "nonsense": "a.b.c",
        "empty": "..",
        "too long": f"{head}.{body}.{'A' * 9000}",
    }  # fmt: skip


def test_a_forged_token_is_refused_however_it_was_forged(settings):
    made = forged()
    said = dict(zip(made, asked(settings, *made.values()), strict=True))
    assert {kind for kind, word in said.items() if not isinstance(word, str)} == set()
    assert len(said) == 24


WRONG: dict[str, dict[str, Any]] = {
    "expired": {"exp": NOW - tokens.LEEWAY_S - 1},
    "no exp": {"exp": None},
    "exp in words": {"exp": "tomorrow"},
    "not yet": {"nbf": NOW + tokens.LEEWAY_S + 1},
    "nbf in words": {"nbf": "now"},
    "another audience": {"aud": "payroll"},
    "other audiences": {"aud": ["payroll", "wiki"]},
    "no audience": {"aud": None},
    "another issuer": {"iss": "https://evil.example"},
    "a longer issuer": {"iss": ISSUER + "/"},
    "no issuer": {"iss": None},
    "no subject": {"sub": None},
}


@pytest.mark.parametrize("kind", sorted(WRONG))
def test_a_token_for_another_time_place_or_service_is_refused(settings, kind):
    (said,) = asked(settings, rs256(**WRONG[kind]))
    assert isinstance(said, str)


def test_a_clock_may_be_off_a_little_and_one_audience_of_several_does(settings):
    late = rs256(exp=NOW - tokens.LEEWAY_S + 1)
    early = rs256(nbf=NOW + tokens.LEEWAY_S - 1)
    assert all(isinstance(caller, Caller) for caller in asked(settings, late, early, rs256(aud=["wiki", AUDIENCE])))


def test_a_token_that_is_known_still_expires(settings):
    async def both() -> None:
        own, token = Tokens(settings), rs256()
        assert await own.caller(token, NOW) is await own.caller(token, NOW + 1), "the second time it is only looked up"
        with pytest.raises(KeyRefused):
            await own.caller(token, NOW + 600 + tokens.LEEWAY_S)

    asyncio.run(both())


def test_weak_keys_and_keys_for_something_else_are_passed_over(tmp_path, settings):
    weak, enc = rsa_key(1024), jwk_rsa(rsa_key(), "enc", use="enc")
    secret = {"kty": "oct", "kid": "oct", "k": b64(b"secret" * 8)}
    odd = jwk_rsa(rsa_key(), "ps", alg="PS256")
    Path(settings.oidc_jwks).write_text(json.dumps(key_set(jwk_rsa(weak, "weak"), enc, secret, odd, {"kty": ["RSA"]})))
    made = [
        signed(claims(), {"alg": "RS256", "kid": "weak"}, lambda t: weak.sign(t, padding.PKCS1v15(), hashes.SHA256())),
        signed(claims(), {"alg": "RS256", "kid": "enc"}, by_rsa),
        signed(claims(), {"alg": "RS256", "kid": "ps"}, by_rsa),
        signed(claims(), {"alg": "HS256", "kid": "oct"}, lambda t: hmac.new(b"secret" * 8, t, hashlib.sha256).digest()),
    ]
    assert all(isinstance(said, str) for said in asked(settings, *made))
    assert isinstance(asked(settings, rs256())[0], Caller)


def test_a_new_public_key_is_found_and_one_that_was_withdrawn_forgotten(settings):
    async def over_time() -> None:
        own, new = Tokens(settings), ec.generate_private_key(ec.SECP256R1())
        await own.caller(rs256(), NOW)
        point = new.public_key().public_numbers()
        jwk = {"kty": "EC", "crv": "P-256", "kid": "new", "x": number(point.x, 32), "y": number(point.y, 32)}
        Path(settings.oidc_jwks).write_text(json.dumps({"keys": [jwk]}))

        def by_new(text: bytes) -> bytes:
            r, s = decode_dss_signature(new.sign(text, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")

        token = signed(claims(), {"alg": "ES256", "kid": "new"}, by_new)
        with pytest.raises(KeyRefused):
            await own.caller(token, NOW)  # it was looked for a moment ago
        own._tried_at -= tokens.AGAIN_S
        assert (await own.caller(token, NOW)).scopes == {"predict", "read"}
        with pytest.raises(KeyRefused):
            await own.caller(rs256(), NOW)

    asyncio.run(over_time())


def test_public_keys_that_cannot_be_read_let_nobody_in_and_known_ones_go_on(settings):
    async def over_time() -> None:
        own = Tokens(settings)
        await own.caller(rs256(), NOW)
        Path(settings.oidc_jwks).write_text("{}")
        own._tried_at -= tokens.FRESH_S
        own._read_at -= tokens.FRESH_S
        assert await own.caller(rs256(), NOW), "the provider may be away for a while"
        with pytest.raises(KeysUnreadable):
            await Tokens(settings).caller(rs256(), NOW)

    asyncio.run(over_time())


@pytest.mark.parametrize(
    ("change", "named"),
    [({"oidc_audience": ""}, "GANCAO_OIDC_AUDIENCE"), ({"oidc_jwks": ""}, "GANCAO_OIDC_JWKS"),
     ({"oidc_jwks": "http://issuer.example/jwks"}, "https")],
)  # fmt: skip
def test_settings_that_would_let_in_too_many_are_refused(settings, change, named):
    with pytest.raises(Usage) as caught:
        tokens.refuse_unfit(settings.model_copy(update=change))
    assert named in str(caught.value)


def test_a_server_with_an_issuer_asks_for_tokens_and_takes_keys_beside_them(own_home: Home, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(key_set()))
    more = {"GANCAO_OIDC_ISSUER": ISSUER, "GANCAO_OIDC_AUDIENCE": AUDIENCE, "GANCAO_OIDC_JWKS": str(file)}
    key = own_home.json("keys", "create")["key"]
    with serving(Home(own_home.home, own_home.data, tuple(more.items()))) as server:
        now = time.time()

        def status(sent: str | None) -> int:
            headers = bearer(sent) if sent else {}
            return server.post("/v1/birth_weight/predict", json={"rows": [CASE]}, headers=headers).status_code

        assert status(None) == 401
        assert status(key) == status(rs256(exp=now + 60)) == 200
        assert status(rs256(exp=now + 60, scope="read")) == 403
        assert status(rs256(exp=now - 60)) == 401
        assert all(status(token) == 401 for kind, token in forged().items() if kind != "nonsense")
        assert "clinic.example" not in server.log.read_text()
