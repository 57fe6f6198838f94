"""API keys `sr_<id>_<secret>`: of the secret only a SHA-256 is kept."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict

from app.keys.models import ApiKey
from app.keys.ports import KeyTable
from app.problems import Unauthorized
from app.records import Caller, Tenant

SCOPES = ("documents:read", "documents:write", "shares:write", "keys:admin")

# How long a revoked key may still be accepted, and how long a new one may be refused.
FOUND_SECONDS = 10.0
MISSING_SECONDS = 2.0
_CACHED_KEYS = 10_000

_BEARER = re.compile(r"\s*(?i:bearer) \s*sr_([0-9a-z]{16})_([A-Za-z0-9_-]{43})\s*")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
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
    owner: Tenant, scopes: frozenset[str], name: str, expires_at: int | None, now: int
) -> tuple[ApiKey, str]:
    """A new key's record, and the whole key, which is never to be had again."""
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
    )
    return record, f"sr_{key_id}_{secret}"


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

    def put(self, key_id: str, key: ApiKey | None, asked_at: float) -> None:
        # The time counts from the question: the answer may be as old as that.
        self._entries.pop(key_id, None)
        self._entries[key_id] = (asked_at + self._seconds, key)
        if len(self._entries) > _CACHED_KEYS:
            self._entries.popitem(last=False)


class Authenticator:
    """Turns an `Authorization` header into a `Caller`."""

    def __init__(self, table: KeyTable) -> None:
        self._table = table
        self._found = _Cache(FOUND_SECONDS)
        # Apart, so that guessed ids cannot push out real ones.
        self._missing = _Cache(MISSING_SECONDS)
        self._loading: dict[str, asyncio.Task[ApiKey | None]] = {}

    async def authenticate(self, authorization: str | None) -> Caller:
        """Raises `Unauthorized`, or `errors.Unavailable` if the table cannot be asked."""
        key_id, secret = _credentials(authorization)
        known, key = self._found.get(key_id)
        if not known:
            key = await self._lookup(key_id)
        # Both are computed for an unknown id too; which ids exist is no secret worth timing.
        expected = key.secret_sha256 if key else ""
        if key is None or not hmac.compare_digest(expected, _digest(secret)):
            raise Unauthorized("The API key is unknown. Check it, or ask for a new one.")
        if not key.valid(time.time_ns() // 1_000_000):
            raise Unauthorized("The API key is expired or revoked. Ask for a new one.")
        return Caller(key.tenant, key.id, key.scopes)

    async def _lookup(self, key_id: str) -> ApiKey | None:
        missing, _ = self._missing.get(key_id)
        if missing:
            return None
        task = self._loading.get(key_id)
        if task is None:
            task = asyncio.create_task(self._load(key_id))
            self._loading[key_id] = task
            task.add_done_callback(lambda _: self._loading.pop(key_id, None))
        # Shielded: the first of those who wait may leave without taking the answer along.
        return await asyncio.shield(task)

    async def _load(self, key_id: str) -> ApiKey | None:
        asked_at = time.monotonic()
        key = await self._table.read_key(key_id)
        (self._found if key else self._missing).put(key_id, key, asked_at)
        return key


def _credentials(authorization: str | None) -> tuple[str, str]:
    if authorization is None:
        raise Unauthorized("Send an API key: 'Authorization: Bearer sr_…'.")
    match = _BEARER.fullmatch(authorization)
    if match is None:
        raise Unauthorized("The Authorization header is not 'Bearer sr_<id>_<secret>'.")
    return match[1], match[2]
