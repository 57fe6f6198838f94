"""`KeyTable` kept on DynamoDB: the items of API keys, and the calls on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from app.aws.attributes import Item, moment, number, text
from app.aws.dynamodb import Backoff, ConditionFailed
from app.aws.table import CONDITION_FAILED, Table
from app.idempotency.dynamodb import settlement
from app.idempotency.ports import ClaimLost
from app.keys.models import ApiKey
from app.keys.ports import KeyChanged, KeyPage, Settled
from app.maintenance.ports import ItemKind
from app.records import Tenant
from app.storage.errors import OutcomeUnknown, Unavailable

FORMAT = 1


class DynamoKeys(Table):
    """`KeyTable` in DynamoDB."""

    async def read_key(self, key_id: str) -> ApiKey | None:
        item = await self._get(api_key_key(key_id))
        return api_key(item) if item else None

    # --- writing ----------------------------------------------------------------------------

    async def write_key(self, key: ApiKey, settled: Settled | None = None) -> None:
        writes = self._new_key(key) + self._settlements(key.tenant, settled)
        await self._write_once(key.id, writes, settled, self._key_stands(key))

    async def rotate_key(
        self, old: ApiKey, ends_at: int, new: ApiKey, settled: Settled | None = None
    ) -> None:
        values = {":ends": number(ends_at), ":tenant": text(old.tenant.id)}
        unchanged = "attribute_not_exists(ends_at)"
        if old.ends_at is not None:
            unchanged = "ends_at = :before"
            values[":before"] = number(old.ends_at)
        ending = {
            "TableName": self._table,
            "Key": api_key_key(old.id),
            "UpdateExpression": "SET ends_at = :ends",
            "ConditionExpression": "tenant = :tenant AND attribute_not_exists(revoked_at) AND "
            + unchanged,
            "ExpressionAttributeValues": values,
        }
        writes = [{"Update": ending}, *self._settlements(old.tenant, settled), *self._new_key(new)]
        await self._write_once(new.id, writes, settled, self._key_stands(new))

    async def delete_key(
        self, key: ApiKey, write_id: str, now: int, settled: Settled | None = None
    ) -> None:
        deletion = {
            "TableName": self._table,
            "Key": api_key_key(key.id),
            "UpdateExpression": "SET revoked_at = :now, revoked_write = :write",
            "ConditionExpression": "tenant = :tenant AND attribute_not_exists(revoked_at)",
            "ExpressionAttributeValues": {
                ":now": number(now),
                ":write": text(write_id),
                ":tenant": text(key.tenant.id),
            },
        }

        async def stands() -> bool:
            item = await self._get(api_key_key(key.id))
            return item is not None and item.get("revoked_write") == text(write_id)

        writes = [{"Update": deletion}, *self._settlements(key.tenant, settled)]
        await self._write_once(write_id, writes, settled, stands)

    def _new_key(self, key: ApiKey) -> list[Item]:
        unused = {"ConditionExpression": "attribute_not_exists(PK)"}
        listed = {**listed_key(key.tenant, key.id), "format": number(FORMAT)}
        return [
            {"Put": {"TableName": self._table, "Item": api_key_item(key), **unused}},
            {"Put": {"TableName": self._table, "Item": listed}},
        ]

    def _settlements(self, tenant: Tenant, settled: Settled | None) -> list[Item]:
        if settled is None:
            return []
        update = settlement(self._table, tenant, settled.claim, settled.settlement)
        return [{"Update": update}]

    def _key_stands(self, key: ApiKey) -> Callable[[], Awaitable[bool]]:
        """Whether this very key, which has a secret of its own, is in the table."""

        async def stands() -> bool:
            found = await self.read_key(key.id)
            return found is not None and found.secret_sha256 == key.secret_sha256

        return stands

    async def _write_once(
        self,
        name: str,
        writes: list[Item],
        settled: Settled | None,
        stands: Callable[[], Awaitable[bool]],
    ) -> None:
        """All writes, once. `stands` tells whether an earlier try has been applied."""
        backoff = Backoff()

        async def refused(reasons: list[Item]) -> bool:
            failed = [
                write for write, reason in zip(writes, reasons, strict=False)
                if reason.get("Code") == CONDITION_FAILED
            ]  # fmt: skip
            if not failed:
                return False
            if await stands():
                return True
            if settled is not None and all(_is_claim(write) for write in failed):
                raise ClaimLost
            raise KeyChanged

        try:
            await self._client.transact(name, lambda token: writes, refused, backoff)
        except Unavailable as error:
            # Whatever ended the attempts, one of them may have been applied unseen.
            if backoff.lost and not isinstance(error, OutcomeUnknown):
                raise OutcomeUnknown(error.detail, error.retry_after) from error
            raise

    async def revoke_key(self, key_id: str, now: int) -> ApiKey | None:
        try:
            await self._client.call(
                "UpdateItem",
                {
                    "TableName": self._table,
                    "Key": api_key_key(key_id),
                    "UpdateExpression": "SET revoked_at = if_not_exists(revoked_at, :now)",
                    "ConditionExpression": "attribute_exists(PK)",
                    "ExpressionAttributeValues": {":now": number(now)},
                },
            )
        except ConditionFailed:
            return None
        return await self.read_key(key_id)

    async def touch_key(self, key_id: str, hour: int) -> None:
        earlier = "attribute_not_exists(last_used_at) OR last_used_at < :hour"
        try:
            await self._client.call(
                "UpdateItem",
                {
                    "TableName": self._table,
                    "Key": api_key_key(key_id),
                    "UpdateExpression": "SET last_used_at = :hour",
                    "ConditionExpression": f"attribute_exists(PK) AND ({earlier})",
                    "ExpressionAttributeValues": {":hour": number(hour)},
                },
            )
        except ConditionFailed:
            return  # another process was faster

    # --- lists ------------------------------------------------------------------------------

    async def page_of_keys(self, tenant: Tenant, after: str | None, limit: int) -> KeyPage:
        query = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "PK = :partition AND SK BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":partition": text("T#" + tenant.id),
                # Ids are digits and letters: a blank is below all of them, a tilde above.
                ":low": text("KEY#" if after is None else f"KEY#{after} "),
                ":high": text("KEY#~"),
            },
            "Limit": limit + 1,  # one more tells whether the list goes on
        }
        listed = (await self._client.call("Query", query))["Items"]
        ids = [item["SK"]["S"][4:] for item in listed]
        more = len(ids) > limit
        del ids[limit:]
        items = await self._get_many([api_key_key(key_id) for key_id in ids])
        found = {key.id: key for key in map(api_key, items)}
        keys = [found[key_id] for key_id in ids if key_id in found]
        return KeyPage(keys, ids[-1] if more else None)

    async def list_keys(self, tenant: Tenant | None) -> list[ApiKey]:
        if tenant is None:
            return await self._scan_keys()
        query = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "PK = :partition AND begins_with(SK, :keys)",
            "ExpressionAttributeValues": {
                ":partition": text("T#" + tenant.id),
                ":keys": text("KEY#"),
            },
        }
        listed = await self._all("Query", query)
        items = await self._get_many([api_key_key(item["SK"]["S"][4:]) for item in listed])
        return [api_key(item) for item in items]

    async def _scan_keys(self) -> list[ApiKey]:
        scan = {
            "TableName": self._table,
            "ConsistentRead": True,
            "FilterExpression": "begins_with(PK, :keys)",
            "ExpressionAttributeValues": {":keys": text("K#")},
        }
        return [api_key(item) for item in await self._all("Scan", scan)]


def _is_claim(write: dict[str, Any]) -> bool:
    [change] = write.values()
    key: Item = change.get("Key", {})
    return bool(key) and key["PK"]["S"].startswith("I#")


# --- items ----------------------------------------------------------------------------------


def api_key_key(key_id: str) -> Item:
    return {"PK": text("K#" + key_id), "SK": text("K")}


def listed_key(tenant: Tenant, key_id: str) -> Item:
    """In the tenant's list of keys."""
    return {"PK": text("T#" + tenant.id), "SK": text("KEY#" + key_id)}


_MOMENTS = ("expires_at", "revoked_at", "ends_at", "last_used_at")


def api_key_item(key: ApiKey) -> Item:
    item: Item = {
        **api_key_key(key.id),
        "format": number(FORMAT),
        "tenant": text(key.tenant.id),
        "secret_sha256": text(key.secret_sha256),
        "scopes": {"L": [text(scope) for scope in sorted(key.scopes)]},
        "name": text(key.name),
        "created_at": number(key.created_at),
    }
    for name in _MOMENTS:
        value: int | None = getattr(key, name)
        if value is not None:
            item[name] = number(value)
    if key.key_prefix is not None:
        item["key_prefix"] = text(key.key_prefix)
    if key.rate_per_second is not None:
        item["rate_per_second"] = {"N": str(key.rate_per_second)}
    if key.created_by is not None:
        item["created_by"] = text(key.created_by)
    return item


def api_key(item: Item) -> ApiKey:
    return ApiKey(
        id=item["PK"]["S"][2:],
        tenant=Tenant(item["tenant"]["S"]),
        secret_sha256=item["secret_sha256"]["S"],
        scopes=frozenset(scope["S"] for scope in item["scopes"]["L"]),
        name=item["name"]["S"],
        created_at=int(item["created_at"]["N"]),
        expires_at=moment(item, "expires_at"),
        revoked_at=moment(item, "revoked_at"),
        key_prefix=item["key_prefix"]["S"] if "key_prefix" in item else None,
        rate_per_second=_rate(item["rate_per_second"]["N"]) if "rate_per_second" in item else None,
        created_by=item["created_by"]["S"] if "created_by" in item else None,
        ends_at=moment(item, "ends_at"),
        last_used_at=moment(item, "last_used_at"),
    )


def _rate(text: str) -> float:
    rate = float(text)
    return int(rate) if rate.is_integer() else rate


KINDS = (ItemKind("K#", "K", api_key),)
