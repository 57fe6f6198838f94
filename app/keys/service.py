"""API keys `sr_<id>_<secret>`: of the secret only a SHA-256 is kept."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from app.keys.models import ApiKey
from app.keys.ports import KeyReader
from app.problems import RateLimited, Unauthorized
from app.records import SCOPES as SCOPES
from app.records import TENANT_PATTERN, Caller, Tenant

# How long a revoked key may still be accepted, and how long a new one may be refused.
FOUND_SECONDS = 10.0
MISSING_SECONDS = 2.0
_CACHED_KEYS = 10_000
# Look-ups of ids that this process has not seen to exist. At the start that is every key, hence
# the burst. A new key that meets a flood of guesses gets in after a few tries.
UNKNOWN_PER_SECOND = 200.0
UNKNOWN_BURST = 1000

_BEARER = re.compile(r"\s*(?i:bearer) \s*sr_([0-9a-z]{16})_([A-Za-z0-9_-]{43})\s*")
_TENANT = re.compile(TENANT_PATTERN)
_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def tenant(name: str) -> Tenant:
    """The tenant of this name; names are 1-63 of a-z, 0-9 and '-'. Raises ValueError."""
    if not _TENANT.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a tenant's name: use 1 to 63 of a-z, 0-9 and '-', "
            "beginning with a letter or digit"
        )
    return Tenant(name)


def new_key(
    owner: Tenant,
    scopes: frozenset[str],
    name: str,
    expires_at: int | None,
    now: int,
    *,
    key_prefix: str | None = None,
    rate_per_second: float | None = None,
    created_by: str | None = None,
) -> tuple[ApiKey, str]:
    """A new key's record, and the whole key, which is never to be had again. Raises ValueError."""
    unknown = scopes - set(SCOPES)
    if unknown or not scopes:
        raise ValueError(f"scopes are one or more of {', '.join(SCOPES)}")
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(16))
    secret = secrets.token_urlsafe(32)
    record = ApiKey(
        id=key_id,
        tenant=owner,
        secret_sha256=_digest(secret),
        scopes=scopes,
        name=name,
        created_at=now,
        expires_at=expires_at,
        key_prefix=key_prefix,
        rate_per_second=rate_per_second,
        created_by=created_by,
    )
    return record, f"sr_{key_id}_{secret}"


def caller_of(key: ApiKey) -> Caller:
    """Who asks with this key."""
    return Caller(key.tenant, key.id, key.scopes, key.key_prefix, key.end, key.rate_per_second)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class _Cache:
    """Key records for a few seconds each, bounded; `None` stands for a key that is not there."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: OrderedDict[str, tuple[float, ApiKey | None]] = OrderedDict()

    def get(self, key_id: str) -> tuple[bool, ApiKey | None]:
        entry = self._entries.get(key_id)
        if entry is None or entry[0] < time.monotonic():
            return False, None
        return True, entry[1]

    def remembers(self, key_id: str) -> bool:
        """Whether there is an entry, however old."""
        return key_id in self._entries

    def forget(self, key_id: str) -> None:
        self._entries.pop(key_id, None)

    def put(self, key_id: str, key: ApiKey | None, asked_at: float) -> None:
        # The time counts from the question: the answer may be as old as that.
        self._entries.pop(key_id, None)
        self._entries[key_id] = (asked_at + self._seconds, key)
        if len(self._entries) > _CACHED_KEYS:
            self._entries.popitem(last=False)


class _Bucket:
    """Tokens that come back evenly; `take` says whether there was one."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = time.monotonic()

    def acquire(self) -> bool:
        now = time.monotonic()
        grown = (now - self._filled_at) * self._per_second
        self._tokens = min(self._burst, self._tokens + grown)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Authenticator:
    """Turns an `Authorization` header into a `Caller`."""

    def __init__(
        self,
        table: KeyReader,
        shed: Callable[[str], None] = lambda reason: None,
        used: Callable[[ApiKey, int], None] = lambda key, now: None,
    ) -> None:
        """`shed` is told of each request that was refused because there were too many, `used` of
        each key that was accepted, and when (epoch milliseconds)."""
        self._table = table
        self._shed = shed
        self._used = used
        self._unknown = _Bucket(UNKNOWN_PER_SECOND, UNKNOWN_BURST)
        self._found = _Cache(FOUND_SECONDS)
        # Apart, so that guessed ids cannot push out real ones.
        self._missing = _Cache(MISSING_SECONDS)
        # Whole headers whose secret was right, and whose they are.
        self._verified: dict[str, tuple[ApiKey, Caller]] = {}
        self._loading: dict[str, asyncio.Task[ApiKey | None]] = {}

    async def authenticate(self, authorization: str | None) -> Caller:
        """Raises `Unauthorized`; `RateLimited` if too many unknown keys are being tried; or
        `errors.Unavailable` if the table cannot be asked."""
        now = time.time_ns() // 1_000_000
        verified = self._verified.get(authorization) if authorization else None
        if verified is not None:
            verified_key, caller = verified
            # Only as long as the record is the one that the secret was compared with.
            if self._found.get(verified_key.id)[1] is verified_key and verified_key.valid(now):
                self._used(verified_key, now)
                return caller
        key_id, secret = _credentials(authorization)
        known, key = self._found.get(key_id)
        if not known:
            key = await self._lookup(key_id)
        # Both are computed for an unknown id too; which ids exist is no secret worth timing.
        expected = key.secret_sha256 if key else ""
        if key is None or not hmac.compare_digest(expected, _digest(secret)):
            raise Unauthorized("The API key is unknown. Check it, or ask for a new one.")
        if not key.valid(now):
            raise Unauthorized("The API key is expired or revoked. Ask for a new one.")
        caller = caller_of(key)
        self._remember(authorization, key, caller)
        self._used(key, now)
        return caller

    def _remember(self, authorization: str | None, key: ApiKey, caller: Caller) -> None:
        """Comparing the secret again takes a digest, for each request of a busy client."""
        if authorization is not None:
            self._verified[authorization] = (key, caller)
            if len(self._verified) > _CACHED_KEYS:
                self._verified.pop(next(iter(self._verified)))

    async def _lookup(self, key_id: str) -> ApiKey | None:
        missing, _ = self._missing.get(key_id)
        if missing:
            return None
        task = self._loading.get(key_id)
        if task is None:
            self._admit(key_id)
            task = asyncio.create_task(self._load(key_id))
            self._loading[key_id] = task
            task.add_done_callback(lambda _: self._loading.pop(key_id, None))
        # Shielded: the first of those who wait may leave without taking the answer along.
        return await asyncio.shield(task)

    def _admit(self, key_id: str) -> None:
        """Bound the reads that strangers can cause. Keys that this process has seen to exist are
        read again whenever their time in the cache is over, whatever strangers do.

        429, not 503: the objectives and a canary's analysis count what the service fails at, and
        whoever can reach the port must not be able to roll back a release.
        """
        if not self._found.remembers(key_id) and not self._unknown.acquire():
            self._shed("unknown keys")
            raise RateLimited(
                "Too many unknown API keys are being tried, so this one was not looked up. Send "
                "the request again after Retry-After seconds."
            )

    async def _load(self, key_id: str) -> ApiKey | None:
        asked_at = time.monotonic()
        key = await self._table.read_key(key_id)
        if key is None:
            self._found.forget(key_id)
        (self._found if key else self._missing).put(key_id, key, asked_at)
        return key


def _credentials(authorization: str | None) -> tuple[str, str]:
    if authorization is None:
        raise Unauthorized("Send an API key: 'Authorization: Bearer sr_…'.")
    match = _BEARER.fullmatch(authorization)
    if match is None:
        raise Unauthorized("The Authorization header is not 'Bearer sr_<id>_<secret>'.")
    return match[1], match[2]
