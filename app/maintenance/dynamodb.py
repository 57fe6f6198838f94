"""`RestoredTable` kept on DynamoDB: what is due, and walks over the whole table."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

import orjson

from app.aws.attributes import DUE_BUCKETS, Item, number, text
from app.aws.dynamodb import DynamoDB
from app.documents.items import INTENT_PARTITIONS, UPLOADS, due, excess, intent_partition
from app.idempotency.dynamodb import DynamoIdempotency
from app.keys.dynamodb import DynamoKeys
from app.maintenance.ports import Excess, Found, ItemKind, Owned, Released
from app.records import Tenant
from app.uploads.maintenance import UploadMaintenance
from app.usage.dynamodb import DynamoUsage

_WALK_PAGE = 200
# Kinds of partition whose key has the tenant's name in its second part.
_OF_TENANTS = ("T", "V", "I", "N", "R")


class DynamoMaintenance(UploadMaintenance, DynamoIdempotency, DynamoKeys, DynamoUsage):
    """The table, with the rights of maintenance. `kinds` tells which items there are, and how
    each is read."""

    def __init__(
        self, client: DynamoDB, table: str, shards: int = 1, *, kinds: Sequence[ItemKind]
    ) -> None:
        super().__init__(client, table, shards)
        self._kinds = kinds

    async def due(
        self, now: int
    ) -> AsyncIterator[str | Released | Excess | Tenant | tuple[Tenant, str]]:
        # In an order of its own, so that sweepers that run at once rarely meet.
        for partition in random.sample(range(INTENT_PARTITIONS), INTENT_PARTITIONS):
            query = {
                "TableName": self._table,
                "ConsistentRead": True,
                "KeyConditionExpression": "PK = :partition",
                "FilterExpression": "due_at <= :now",
                "ExpressionAttributeValues": {
                    ":partition": text(intent_partition(partition)),
                    ":now": number(now),
                },
            }
            async for page, _ in self._pages("Query", query):
                for item in page:
                    yield due(item)
        for bucket in random.sample(range(DUE_BUCKETS), DUE_BUCKETS):
            query = {
                "TableName": self._table,
                "IndexName": "due",
                "KeyConditionExpression": "due_bucket = :bucket AND due_at <= :now",
                "ExpressionAttributeValues": {":bucket": number(bucket), ":now": number(now)},
            }
            async for page, _ in self._pages("Query", query):
                for item in page:
                    yield _indexed(item)

    async def walk(
        self, position: str | None
    ) -> AsyncIterator[tuple[list[Found | str], str | None]]:
        scan: Item = {"TableName": self._table, "ConsistentRead": True, "Limit": _WALK_PAGE}
        if position is not None:
            scan["ExclusiveStartKey"] = orjson.loads(position)
        async for page, last in self._pages("Scan", scan):
            records = [record for item in page if (record := self._read(item)) is not None]
            yield records, orjson.dumps(last).decode() if last else None

    async def owned(self, tenant: Tenant) -> AsyncIterator[Owned]:
        scan: Item = {
            "TableName": self._table,
            "ConsistentRead": True,
            # That of a tenant whose name only begins so is told apart below.
            "FilterExpression": "#tenant = :tenant OR "
            + " OR ".join(f"begins_with(PK, :{kind})" for kind in _OF_TENANTS),
            "ExpressionAttributeNames": {"#tenant": "tenant"},
            "ExpressionAttributeValues": {
                ":tenant": text(tenant.id),
                **{f":{kind}": text(f"{kind}#{tenant.id}") for kind in _OF_TENANTS},
            },
        }
        async for page, _ in self._pages("Scan", scan):
            for item in page:
                if owner_of(item) == tenant.id:
                    yield Owned(item["PK"]["S"], item["SK"]["S"], self._read(item))

    async def remove(self, owned: Owned) -> None:
        key = {"PK": text(owned.partition), "SK": text(owned.sort)}
        await self._client.call("DeleteItem", {"TableName": self._table, "Key": key})

    def _read(self, item: Item) -> Found | str | None:
        """The record that an item is; None for one that says nothing by itself; its key for one
        that is malformed."""
        for kind in self._kinds:
            if kind.matches(item):
                try:
                    record: Found | None = kind.read(item)
                except (KeyError, ValueError, TypeError):
                    return f"{item['PK'].get('S')} {item['SK'].get('S')}"
                return record
        return None


def owner_of(item: Item) -> str | None:
    """The name of the tenant whose item it is: the second part of its partition's key, or, where
    that is an identifier, its attribute `tenant`. None for one that is nobody's."""
    kind, _, rest = item["PK"]["S"].partition("#")
    if kind in _OF_TENANTS:
        name: str = rest.partition("#")[0]
        return name
    owner = item.get("tenant")
    return owner["S"] if owner else None


def _indexed(item: Item) -> str | Excess | Tenant | tuple[Tenant, str]:
    """What an entry of the index names."""
    partition: str = item["PK"]["S"]
    kind, owner, *_ = partition.split("#")
    if kind == "R":
        return excess(item)
    if kind == UPLOADS:
        return owner
    sort = item["SK"]["S"]
    return Tenant(owner) if sort.startswith("USAGE#") else (Tenant(owner), sort[2:])
