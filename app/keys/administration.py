"""API keys, as the API gives, shows, rotates and deletes them."""

from __future__ import annotations

import dataclasses

from app.clock import now_ms
from app.idempotency.models import IdempotentRequest, Settlement, committing
from app.keys.models import ApiKey, Draft, Issued
from app.keys.ports import KeyChanged, KeyPage, KeyTable, Settled
from app.keys.rights import require_within, rights, within_prefix
from app.keys.service import caller_of, new_key
from app.problems import Contended, InvalidBody, KeyEnded, NotFound, Unauthorized
from app.records import Caller, Tenant, new_write_id
from app.tasks import Tasks

_TRIES = 5
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class KeyAdministration:
    """The feature's operations. Each raises a `Problem` that says what to do, or a
    `StorageError`."""

    def __init__(self, table: KeyTable, tasks: Tasks, default_rate: float | None) -> None:
        """`default_rate`: requests a second of a key without a rate of its own; None: no limit."""
        self._table = table
        self._tasks = tasks
        self._default_rate = default_rate

    def require_may_give(self, caller: Caller, draft: Draft) -> None:
        """Raises `BeyondOwnRights`."""
        require_within(caller, draft, self._default_rate)

    async def create(
        self,
        caller: Caller,
        draft: Draft,
        attempt: IdempotentRequest[Issued] | None,
        body_sha256: str,
    ) -> Issued:
        now = now_ms()
        if draft.expires_at is not None and draft.expires_at <= now:
            raise InvalidBody("expires_at must be in the future.")
        self.require_may_give(await self._today(caller), draft)
        issued = _issue(caller.tenant, caller.key_id, draft, now)

        async def write() -> Issued:
            with committing(attempt):
                await self._table.write_key(issued.key, _settled(attempt, issued, body_sha256))
            return issued

        return await self._tasks.shielded(write())

    async def read(self, caller: Caller, key_id: str) -> ApiKey:
        """A key of the caller's tenant; if the caller is confined, one that is confined as well."""
        key = await self._find(caller, key_id)
        if not within_prefix(caller, key):
            raise _not_found()
        return key

    async def page(self, caller: Caller, after: str | None, limit: int) -> KeyPage:
        page = await self._table.page_of_keys(caller.tenant, after, limit)
        shown = [key for key in page.keys if not key.revoked_at and within_prefix(caller, key)]
        return KeyPage(shown, page.position)

    async def rotate(
        self,
        caller: Caller,
        key_id: str,
        overlap_ms: int,
        attempt: IdempotentRequest[Issued] | None,
        body_sha256: str,
    ) -> Issued:
        """A new key with the rights of the old one, which ends after the overlap."""

        async def write() -> Issued:
            for _ in range(_TRIES):
                old = await self._find(caller, key_id)
                self.require_may_give(await self._today(caller), rights(old))
                now = now_ms()
                if not old.valid(now):
                    raise KeyEnded("This API key has ended. Create a new one.")
                issued, ends_at = rotation(old, overlap_ms, caller.key_id, now)
                settled = _settled(attempt, issued, body_sha256)
                try:
                    with committing(attempt):
                        await self._table.rotate_key(old, ends_at, issued.key, settled)
                except KeyChanged:
                    continue
                return issued
            raise Contended("Others rotated this key at the same time. Try again.")

        return await self._tasks.shielded(write())

    async def delete(
        self, caller: Caller, key_id: str, attempt: IdempotentRequest[ApiKey] | None
    ) -> ApiKey:
        """From 10 seconds on at the latest, the key is refused."""

        async def write() -> ApiKey:
            key = await self._find(caller, key_id)
            self.require_may_end(await self._today(caller), key)
            now = now_ms()
            settled = None
            if attempt is not None:
                settled = Settled(attempt.claim, Settlement(attempt.render(key), EMPTY_SHA256))
            try:
                with committing(attempt):
                    await self._table.delete_key(key, new_write_id(), now, settled)
            except KeyChanged as error:
                raise _not_found() from error
            return dataclasses.replace(key, revoked_at=now)

        return await self._tasks.shielded(write())

    def require_may_end(self, caller: Caller, key: ApiKey) -> None:
        """Raises `BeyondOwnRights`, unless the key may do no more than the caller, or is the
        caller's own."""
        if key.id != caller.key_id:
            self.require_may_give(caller, rights(key))

    async def require_may_replay(self, caller: Caller, key_id: str, *, ending: bool) -> None:
        """Whether the caller may be told what came of a rotation, or a deletion, of this key."""
        key = await self._table.read_key(key_id)
        if key is None or key.tenant != caller.tenant:
            raise _not_found()
        if ending:
            self.require_may_end(caller, key)
        else:
            self.require_may_give(caller, rights(key))

    async def _today(self, caller: Caller) -> Caller:
        """What the caller may do now: who was authenticated may have been revoked, or have begun to
        end, up to 10 seconds ago, and must not come to life again by a key that it makes."""
        if caller.subject is not None:
            return caller
        own = await self._table.read_key(caller.key_id)
        if own is None or not own.valid(now_ms()):
            raise Unauthorized("The API key is expired or revoked. Ask for a new one.")
        return caller_of(own)

    async def _find(self, caller: Caller, key_id: str) -> ApiKey:
        key = await self._table.read_key(key_id)
        if key is None or key.tenant != caller.tenant or key.revoked_at is not None:
            raise _not_found()
        return key


def rotation(old: ApiKey, overlap_ms: int, created_by: str | None, now: int) -> tuple[Issued, int]:
    """A new key with the rights that the old one was made with, and when that ends."""
    ends_at = now + overlap_ms
    return _issue(old.tenant, created_by, rights(old), now), min(ends_at, old.end or ends_at)


def _issue(tenant: Tenant, created_by: str | None, draft: Draft, now: int) -> Issued:
    key, secret = new_key(
        tenant,
        draft.scopes,
        draft.name,
        draft.expires_at,
        now,
        key_prefix=draft.key_prefix,
        rate_per_second=draft.rate_per_second,
        created_by=created_by,
    )
    return Issued(key, secret)


def _settled(
    attempt: IdempotentRequest[Issued] | None, issued: Issued, body_sha256: str
) -> Settled | None:
    if attempt is None:
        return None
    return Settled(attempt.claim, Settlement(attempt.render(issued), body_sha256))


def _not_found() -> NotFound:
    return NotFound("There is no such API key: it never existed, or is deleted.")
