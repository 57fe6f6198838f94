"""An issuer's keys: kept, refreshed past the requests, and looked for at most once a minute."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from app.oidc.ports import Fetch, FetchFailed
from app.problems import IssuerUnavailable, Unauthorized
from app.settings import is_secure_url

log = logging.getLogger("strongroom.oidc")

REFRESH_SECONDS = 300.0
# A key that is not known is looked for no sooner than that after the issuer was asked last. As long
# as no key is known at all, nobody can get in, and the issuer is asked again sooner.
NEW_KEY_SECONDS = 60.0
_FIRST_KEYS_SECONDS = 5.0
_DISCOVERY_SECONDS = 3600.0
_DISCOVERY_BYTES = 64 * 1024
_KEYS_BYTES = 256 * 1024
# Each takes some 10 µs to read, on the loop.
_MOST_KEYS = 100
# Requests that wait for the issuer hold places of the service, which others need.
_MOST_WAITING = 32
_WAIT_SECONDS = 2.0
# A larger one makes verifying slow: 0.09 ms at 4,096 bits.
_RSA_BITS = range(2048, 8193)


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A public key, and the one algorithm that it is used with."""

    kid: str | None
    algorithm: str
    public: Any


Keys = dict[tuple[str | None, str], SigningKey]


class KeySet:
    """The keys of one issuer."""

    def __init__(
        self,
        issuer: str,
        fetch: Fetch,
        observe: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`observe` is told what came of each request for the keys, in a word."""
        self._issuer = issuer
        self._fetch = fetch
        self._observe = observe
        self._clock = clock
        self._keys: Keys = {}
        self._asked_at = -math.inf
        self._failed = False
        self._task: asyncio.Task[None] | None = None
        self._waiting = 0
        self._keys_url = ""
        self._discovered_at = -math.inf

    def find(self, kid: str | None, algorithm: str) -> SigningKey | None:
        """The key, if it is known. Without a `kid` there must be one of the algorithm alone."""
        if kid is None:
            fitting = [key for key in self._keys.values() if key.algorithm == algorithm]
            return fitting[0] if len(fitting) == 1 else None
        return self._keys.get((kid, algorithm))

    async def look_for(self, kid: str | None, algorithm: str) -> SigningKey:
        """The key, after asking the issuer if that may be done now. Raises `Unauthorized` if the
        issuer does not have it, `IssuerUnavailable` if that cannot be known."""
        key = self.find(kid, algorithm)
        if key is not None:
            return key
        if kid is not None and any(known.kid == kid for known in self._keys.values()):
            raise Unauthorized("The token's key is not for its algorithm.")
        if self._task is not None or self._clock() >= self._next_look:
            await self._wait()
            key = self.find(kid, algorithm)
            if key is not None:
                return key
        if self._failed or not self._keys:
            raise self._away()
        raise Unauthorized("The token is signed by a key that its issuer does not publish.")

    @property
    def _next_look(self) -> float:
        return self._asked_at + (NEW_KEY_SECONDS if self._keys else _FIRST_KEYS_SECONDS)

    async def _wait(self) -> None:
        """Ask the issuer, together with all who wait for the same."""
        if self._waiting >= _MOST_WAITING:
            raise self._away()
        self._waiting += 1
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                # Shielded: the answer is for the others, too.
                await asyncio.shield(self._refreshing())
        except TimeoutError as error:
            raise self._away() from error
        finally:
            self._waiting -= 1

    def _away(self) -> IssuerUnavailable:
        wait = 1 if self._task else math.ceil(self._next_look - self._clock())
        return IssuerUnavailable(
            "The key of this token is not known, and its issuer does not answer. Try again after "
            "Retry-After seconds.",
            retry_after=wait,
        )

    async def watch(self) -> None:
        """Keep the keys fresh, for as long as this runs."""
        while True:
            fresh = self._keys and not self._failed
            due_at = self._asked_at + REFRESH_SECONDS if fresh else self._next_look
            wait = due_at - self._clock()
            if wait > 0:
                await asyncio.sleep(wait)
            else:
                await self._refreshing()

    def _refreshing(self) -> asyncio.Task[None]:
        if self._task is None:
            self._task = asyncio.create_task(self._refresh())
        return self._task

    async def _refresh(self) -> None:
        self._asked_at = self._clock()
        try:
            self._keys = await self._current()
        except FetchFailed as failure:
            if not self._failed or failure.result != "unreachable":
                extra = {"issuer": self._issuer, "reason": str(failure)}
                log.warning("the keys of an issuer could not be read", extra=extra)
            self._failed = True
            self._discovered_at = -math.inf  # they may have moved
            self._observe(failure.result)
        except Exception:
            # Whoever waits gets 503, and the next look may succeed; a fault of ours all the same.
            log.exception("the keys of an issuer could not be read")
            self._failed = True
            self._observe("failed")
        else:
            self._failed = False
            self._observe("ok")
        finally:
            self._task = None

    async def _current(self) -> Keys:
        if self._clock() - self._discovered_at > _DISCOVERY_SECONDS:
            url = self._issuer.removesuffix("/") + "/.well-known/openid-configuration"
            about = _object(await self._fetch(url, _DISCOVERY_BYTES))
            if about.get("issuer") != self._issuer:
                raise FetchFailed("malformed", "the discovery document is another issuer's")
            keys_url = about.get("jwks_uri")
            if not isinstance(keys_url, str) or not is_secure_url(keys_url):
                raise FetchFailed("malformed", "jwks_uri is not an https address")
            if self._issuer.startswith("https:") and not keys_url.startswith("https:"):
                raise FetchFailed("malformed", "jwks_uri is not an https address")
            self._keys_url, self._discovered_at = keys_url, self._clock()
        keys = _signing_keys(_object(await self._fetch(self._keys_url, _KEYS_BYTES)))
        if not keys:
            raise FetchFailed("malformed", "there is no key that a token may be signed by")
        return keys

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FetchFailed("malformed", "the answer is not JSON") from error
    if not isinstance(found, dict):
        raise FetchFailed("malformed", "the answer is not a JSON object")
    return found


def _signing_keys(found: dict[str, Any]) -> Keys:
    """The usable ones of a JWK set (RFC 7517, 5: others are to be ignored)."""
    listed = found.get("keys")
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise FetchFailed("malformed", f"the answer is no set of at most {_MOST_KEYS} keys")
    keys = [key for one in listed if (key := _signing_key(one)) is not None]
    return {(key.kid, key.algorithm): key for key in keys}


# By the key's type and curve; whatever is symmetric is not here.
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}


def _signing_key(jwk: object) -> SigningKey | None:
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    kid, curve, operations = jwk.get("kid"), jwk.get("crv"), jwk.get("key_ops", ["verify"])
    if not isinstance(kid, str | None) or not isinstance(curve, str | None):
        return None
    kind = jwk.get("kty")
    algorithm = _ALGORITHMS.get((kind, curve)) if isinstance(kind, str) else None
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        public = jwt.PyJWK(_public(jwk), algorithm).key
    except Exception:  # noqa: BLE001 - whatever an issuer may have written there
        return None
    if isinstance(public, RSAPublicKey) and (
        public.key_size not in _RSA_BITS or public.public_numbers().e.bit_length() > 32
    ):
        return None
    return SigningKey(kid, algorithm, public)


def _public(jwk: dict[str, Any]) -> dict[str, Any]:
    """Without what makes a private key of it."""
    return {name: jwk[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in jwk}
