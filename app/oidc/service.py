"""Tokens of OpenID Connect, verified: whose they are, and what they allow.

PyJWT verifies them. It is imported with this module, which nobody imports unless `OIDC_ISSUERS` is
set: it and `cryptography` take 80 ms of the start.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import jwt
import orjson

from app.oidc.keyset import KeySet, SigningKey
from app.oidc.ports import Fetch
from app.problems import NoTenant, Unauthorized
from app.records import SCOPES, Caller, Tenant, record
from app.settings import OidcIssuer

SKEW_SECONDS = 30
_REMEMBERED = 2_000
_MAX_SECOND = 253_402_300_799  # the end of the year 9999
_BEARER = re.compile(r"\s*(?i:bearer) \s*([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)\s*")
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_REQUIRED = ["iss", "aud", "exp", "sub"]
_MOST_SHOWN = 60

Authenticate = Callable[[str | None], Awaitable[Caller]]


@record
class _Verified:
    """A token that was found good: until when (epoch seconds), and by which key."""

    caller: Caller
    ends: float
    keys: KeySet
    signing: SigningKey


class TokenAuthenticator:
    """Turns an `Authorization` header with a token into a `Caller`; gives others to `fallback`."""

    def __init__(
        self,
        issuers: Sequence[OidcIssuer],
        fetch: Fetch,
        fallback: Authenticate,
        observe: Callable[[str], None] = lambda result: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`observe` is told what came of each request for an issuer's keys, in a word."""
        self._fallback = fallback
        self._trusted: dict[str, list[OidcIssuer]] = {}
        for issuer in issuers:
            self._trusted.setdefault(issuer.issuer, []).append(issuer)
        self._keys = {name: KeySet(name, fetch, observe, clock) for name in self._trusted}
        # Whole headers: a busy client sends the same one again and again.
        self._verified: dict[str, _Verified] = {}

    async def authenticate(self, authorization: str | None) -> Caller:
        """Raises `Unauthorized`; `NoTenant`; `IssuerUnavailable`; what `fallback` does."""
        if authorization is None or "." not in authorization:
            return await self._fallback(authorization)
        known = self._verified.get(authorization)
        if known is not None and self._still_good(known):
            return known.caller
        match = _BEARER.fullmatch(authorization)
        if match is None:
            return await self._fallback(authorization)
        verified = await self._verify(match[1], match[2], match[3])
        self._verified[authorization] = verified
        if len(self._verified) > _REMEMBERED:
            self._verified.pop(next(iter(self._verified)))
        return verified.caller

    @staticmethod
    def _still_good(known: _Verified) -> bool:
        """A key that the issuer has withdrawn verifies nothing any more."""
        if time.time() >= known.ends:
            return False
        return known.keys.find(known.signing.kid, known.signing.algorithm) is known.signing

    async def _verify(self, head: str, payload: str, signature: str) -> _Verified:
        header, claimed = _part(head), _part(payload)
        name = claimed.get("iss")
        trusted = self._trusted.get(name) if isinstance(name, str) else None
        if trusted is None:
            raise Unauthorized("The token is of an issuer that this service does not trust.")
        entry = _entry(trusted, claimed.get("aud"))
        algorithm, kid = _checked(header, entry)
        keys = self._keys[entry.issuer]
        signing = await keys.look_for(kid, algorithm)
        claims = _decoded(f"{head}.{payload}.{signature}", signing, entry)
        ends = min(int(claims["exp"]), _MAX_SECOND)
        caller = Caller(
            _tenant(claims, entry),
            recorded_as(entry.issuer, claims["sub"]),
            _scopes(claims.get(entry.scopes_claim)),
            expires_at=ends * 1000,
            subject=claims["sub"],
        )
        return _Verified(caller, ends + SKEW_SECONDS, keys, signing)

    async def watch(self) -> None:
        """Keep the issuers' keys fresh, for as long as this runs."""
        try:
            async with asyncio.TaskGroup() as group:
                for keys in self._keys.values():
                    group.create_task(keys.watch())
        finally:
            for keys in self._keys.values():
                await keys.close()


def recorded_as(issuer: str, subject: str) -> str:
    """What a subject is called in logs and in what it writes: short, and the same for all times,
    without telling who it is."""
    digest = hashlib.sha256(f"{issuer}\n{subject}".encode(errors="surrogatepass"))
    return "oidc:" + digest.hexdigest()[:16]


def _part(encoded: str) -> dict[str, Any]:
    """A part of a token, not verified yet."""
    try:
        found = orjson.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (binascii.Error, ValueError) as error:
        raise Unauthorized("The token is not a JSON Web Token.") from error
    if not isinstance(found, dict):
        raise Unauthorized("The token is not a JSON Web Token.")
    return found


def _entry(trusted: list[OidcIssuer], audience: object) -> OidcIssuer:
    """What is set for this issuer and audience. Which it is is verified with the rest."""
    audiences = audience if isinstance(audience, list) else [audience]
    return next((entry for entry in trusted if entry.audience in audiences), trusted[0])


def _checked(header: dict[str, Any], entry: OidcIssuer) -> tuple[str, str | None]:
    """The header's algorithm and key id."""
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in entry.algorithms:
        raise Unauthorized(
            f"The token's alg is not one of {', '.join(entry.algorithms)}, which its issuer uses."
        )
    if not isinstance(kid, str | None):
        raise Unauthorized("The token's kid is not a string.")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Unauthorized("The token's typ is neither JWT nor at+jwt.")
    if "crit" in header:
        raise Unauthorized("The token asks for an extension that this service does not know.")
    return algorithm, kid


def _decoded(token: str, signing: SigningKey, entry: OidcIssuer) -> dict[str, Any]:
    """The claims, all of them verified."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            signing.public,
            algorithms=[signing.algorithm],
            audience=entry.audience,
            issuer=entry.issuer,
            leeway=SKEW_SECONDS,
            options={"require": _REQUIRED, "verify_iat": False},
        )
    except jwt.ExpiredSignatureError as error:
        raise Unauthorized("The token is expired. Get a new one.") from error
    except jwt.ImmatureSignatureError as error:
        raise Unauthorized("The token is not valid yet.") from error
    except jwt.InvalidAudienceError as error:
        raise Unauthorized("The token is not for this service: its aud is another.") from error
    except jwt.MissingRequiredClaimError as error:
        raise Unauthorized(f"The token lacks the claim {error.claim}.") from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Unauthorized("The token is not valid: its signature or a claim is wrong.") from error
    if not claims["sub"]:
        raise Unauthorized("The token's sub is empty.")
    return claims


def _tenant(claims: dict[str, Any], entry: OidcIssuer) -> Tenant:
    """The one tenant that the claim's value, or one of its values, stands for."""
    value = claims.get(entry.tenant_claim)
    values = value if isinstance(value, list) else [value]
    known = entry.tenants
    tenants = {known[one] for one in values if isinstance(one, str) and one in known}
    if len(tenants) == 1:
        return Tenant(tenants.pop())
    claim = ascii(entry.tenant_claim)
    if tenants:
        raise NoTenant(f"The token's claim {claim} names more than one tenant of this service.")
    if value is None:
        raise NoTenant(f"The token lacks the claim {claim}, which names its tenant.")
    shown = ascii(value)[:_MOST_SHOWN]
    raise NoTenant(f"The token's claim {claim} is {shown}, which is no tenant of this service.")


def _scopes(value: object) -> frozenset[str]:
    """Those that there are, of a text with blanks between them (RFC 8693, 4.2), or of a list."""
    named = value.split() if isinstance(value, str) else value
    if not isinstance(named, list):
        return frozenset()
    return frozenset(scope for scope in named if isinstance(scope, str) and scope in SCOPES)
