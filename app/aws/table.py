"""The table's interfaces kept on DynamoDB: each decision of a feature becomes one call."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from app.aws import items
from app.aws.dynamodb import Backoff, DynamoDB, Refusal
from app.aws.items import Item, number, text
from app.storage.errors import OutcomeUnknown, Unavailable
from app.storage.records import (
    REMEMBERED_WRITES,
    ApiKey,
    Change,
    Claim,
    Document,
    Intent,
    Settled,
    Tenant,
    Version,
)
from app.storage.tables import (
    ClaimLost,
    ClaimTaken,
    Conflict,
    Index,
    IntentClosed,
    Page,
    Refused,
)

USAGE_COUNTERS = 16
CLAIM_LEASE_SECONDS = 60
CLAIM_KEPT_SECONDS = 24 * 3600
BATCH_GET_LIMIT = 100
# The alphabet of ids in order: the last one is the shard.
SHARDS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

_OLD = "ALL_OLD"
FAILED = "ConditionalCheckFailed"


def _now() -> int:
    return int(time.time() * 1000)


class DynamoTable:
    """`DocumentTable`, `IdempotencyTable` and `KeyTable` in one table."""

    def __init__(self, client: DynamoDB, table: str, shards: int = 1) -> None:
        self._client = client
        self._table = table
        self._shards = SHARDS[:shards]

    # --- reading ----------------------------------------------------------------------------

    async def read(self, tenant: Tenant, document_id: str) -> Document | None:
        item = await self._get(items.document_key(tenant, document_id))
        return items.document(item) if item else None

    async def page(
        self, tenant: Tenant, index: Index, *, below: str | None, above: str | None, limit: int
    ) -> Page:
        partitions = [_partition(tenant, shard, index) for shard in self._shards]
        walks = [self._walk(partition, index, below, above, limit) for partition in partitions]
        results = [await walks[0]] if len(walks) == 1 else await asyncio.gather(*walks)
        found = [item for found, _ in results for item in found]
        if len(results) > 1:
            found.sort(key=lambda item: item["SK"]["S"], reverse=True)
        more = any(more for _, more in results) or len(found) > limit
        del found[limit:]
        position = found[-1]["SK"]["S"][2:] if found else None
        if index.kind == "all":
            documents = [items.document(item) for item in found]
        else:
            documents = await self._read_many(tenant, [item["SK"]["S"][2:] for item in found])
        return Page(documents, len(found), position, more)

    async def _walk(
        self, partition: str, index: Index, below: str | None, above: str | None, limit: int
    ) -> tuple[list[Item], bool]:
        """Up to `limit` items of one partition by descending sort key, and whether more follow."""
        query: dict[str, Any] = {
            "TableName": self._table,
            "ConsistentRead": True,
            "ScanIndexForward": False,
            "KeyConditionExpression": "PK = :partition AND SK BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":partition": text(partition),
                ":low": text(_just_above(above)),
                ":high": text(_just_below(below)),
            },
        }
        if index.kind != "all":
            query["ProjectionExpression"] = "SK"
        found: list[Item] = []
        while True:
            answer = await self._client.call("Query", {**query, "Limit": limit - len(found)})
            found += answer["Items"]
            last = answer.get("LastEvaluatedKey")
            if not last or len(found) >= limit:
                return found, bool(last)
            query["ExclusiveStartKey"] = last  # a page of 1 MB was full

    async def _read_many(self, tenant: Tenant, ids: Sequence[str]) -> list[Document]:
        """The documents that exist, in the order of `ids`."""
        found: dict[str, Document] = {}
        for start in range(0, len(ids), BATCH_GET_LIMIT):
            keys = [items.document_key(tenant, i) for i in ids[start : start + BATCH_GET_LIMIT]]
            backoff = Backoff()
            while keys:
                request = {self._table: {"Keys": keys, "ConsistentRead": True}}
                answer = await self._client.call("BatchGetItem", {"RequestItems": request})
                for item in answer.get("Responses", {}).get(self._table, []):
                    document = items.document(item)
                    found[document.id] = document
                keys = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
                if keys:
                    await backoff.pause("throttled")
        return [found[i] for i in ids if i in found]

    async def _get(self, key: Item) -> Item | None:
        answer = await self._client.call(
            "GetItem", {"TableName": self._table, "Key": key, "ConsistentRead": True}
        )
        return answer.get("Item")

    async def check(self) -> None:
        """Reads one item that need not exist: the permission and path of every other read."""
        await self._get({"PK": text("CHECK"), "SK": text("CHECK")})

    # --- committing -------------------------------------------------------------------------

    async def commit(self, tenant: Tenant, change: Change) -> None:
        after_entries = entries(tenant, change.after)
        before_entries = entries(tenant, change.before) if change.before else {}
        plain = change.intent is None and change.claim is None and after_entries == before_entries
        backoff = Backoff()
        try:
            if plain:
                await self._commit_alone(tenant, change, backoff)
            else:
                await self._commit_together(tenant, change, before_entries, after_entries, backoff)
        except Unavailable as error:
            # Whatever ended the attempts, one of them may have been applied unseen.
            if backoff.lost and not isinstance(error, OutcomeUnknown):
                raise OutcomeUnknown(error.detail, error.retry_after) from error
            raise

    async def _commit_alone(self, tenant: Tenant, change: Change, backoff: Backoff) -> None:
        """A change of nothing but the document's own item needs no transaction."""
        try:
            await self._client.call("UpdateItem", self._document_write(tenant, change), backoff)
        except Refusal as refusal:
            await self._conflict(tenant, change, refusal.body.get("Item"), backoff)

    async def _commit_together(
        self,
        tenant: Tenant,
        change: Change,
        before_entries: dict[str, Item],
        after_entries: dict[str, Item],
        backoff: Backoff,
    ) -> None:
        kind = "Put" if change.before is None else "Update"
        writes: list[Item] = [{kind: self._document_write(tenant, change)}]
        writes += [self._close_intent(change.intent)] if change.intent else []
        writes += [self._settle(tenant, change)] if change.claim else []
        if change.intent:
            writes.append({"Put": self._version(tenant, change)})
        for name in sorted(after_entries.keys() - before_entries.keys()):
            writes.append({"Put": {"TableName": self._table, "Item": after_entries[name]}})
        for name in sorted(before_entries.keys() - after_entries.keys()):
            writes.append({"Delete": {"TableName": self._table, "Key": before_entries[name]}})

        async def refused(reasons: list[Item]) -> bool:
            return await self._cancelled(tenant, change, reasons, backoff)

        def with_count(token: str) -> list[Item]:
            return writes + ([self._count(tenant, change, token)] if change.intent else [])

        await self._client.transact(change.write_id, with_count, refused, backoff)

    async def _cancelled(
        self, tenant: Tenant, change: Change, reasons: list[Item], backoff: Backoff
    ) -> bool:
        """True: it had been committed; false: no condition failed. Raises `Refused`."""
        codes = [reason.get("Code") for reason in reasons]
        if codes and codes[0] == FAILED:
            await self._conflict(tenant, change, reasons[0].get("Item"), backoff)
            return True
        closers = ([IntentClosed] if change.intent else []) + ([ClaimLost] if change.claim else [])
        for code, closed in zip(codes[1:], closers, strict=False):
            if code == FAILED:
                raise closed
        return False

    async def _conflict(
        self, tenant: Tenant, change: Change, old: Item | None, backoff: Backoff
    ) -> None:
        """Returns if the document already carries this write; else raises what stands there."""
        # Not every engine returns the item; its absence is confirmed by a read.
        if old:
            current: Document | None = items.document(
                {**items.document_key(tenant, change.after.id), **old}
            )
        else:
            current = await self.read(tenant, change.after.id)
        if current and current.wrote(change.write_id):
            return
        if backoff.lost and (current is None or _may_have_forgotten(current, change)):
            raise OutcomeUnknown("The document has changed too often to tell.", 1)
        raise Conflict(current)

    def _document_write(self, tenant: Tenant, change: Change) -> Item:
        """The document's Put or Update, conditional on `before`."""
        key = items.document_key(tenant, change.after.id)
        after = items.document_attributes(change.after)
        common = {"TableName": self._table, "ReturnValuesOnConditionCheckFailure": _OLD}
        if change.before is None:
            return {
                **common,
                "Item": {**key, **after},
                "ConditionExpression": "attribute_not_exists(PK)",
            }
        # Only what changes is written: attributes that another release has added stay.
        before = items.document_attributes(change.before)
        sets = {name: value for name, value in after.items() if before.get(name) != value}
        removes = [name for name in before if name not in after]
        update = "SET " + ", ".join(f"#{name} = :{name}" for name in sets)
        if removes:
            update += " REMOVE " + ", ".join(f"#{name}" for name in removes)
        return {
            **common,
            "Key": key,
            "UpdateExpression": update,
            "ConditionExpression": "#revision = :before",
            "ExpressionAttributeNames": {f"#{n}": n for n in (*sets, *removes, "revision")},
            "ExpressionAttributeValues": {
                ":before": number(change.before.revision),
                **{f":{name}": value for name, value in sets.items()},
            },
        }

    def _close_intent(self, intent: Intent) -> Item:
        return {
            "Delete": {
                "TableName": self._table,
                "Key": items.intent_key(intent.write_id),
                "ConditionExpression": "#state = :open",
                "ExpressionAttributeNames": {"#state": "state"},
                "ExpressionAttributeValues": {":open": text("open")},
            }
        }

    def _settle(self, tenant: Tenant, change: Change) -> Item:
        if change.claim is None or change.settled is None:
            raise ValueError("a claimed change needs its answer")
        return {"Update": self._settlement(tenant, change.claim, change.settled)}

    def _settlement(self, tenant: Tenant, claim: Claim, settled: Settled) -> Item:
        return {
            "TableName": self._table,
            "Key": items.claim_key(tenant, claim.key),
            "UpdateExpression": "SET #state = :settled, answer = :answer, body_sha256 = :body",
            "ConditionExpression": "#owner = :owner AND #state = :running",
            "ExpressionAttributeNames": {"#state": "state", "#owner": "owner"},
            "ExpressionAttributeValues": {
                ":owner": text(claim.owner),
                ":running": text("running"),
                **items.settled_values(settled),
            },
        }

    def _version(self, tenant: Tenant, change: Change) -> Item:
        after = change.after
        key = items.version_key(tenant, after.id, after.version)
        attributes = items.version_attributes(after, change.author)
        return {"TableName": self._table, "Item": {**key, **attributes}}

    def _count(self, tenant: Tenant, change: Change, token: str) -> Item:
        return self._usage(tenant, token, change.after.size, 0 if change.before else 1)

    def _usage(self, tenant: Tenant, token: str, size: int, documents: int) -> Item:
        """Bytes and documents held, on one of several counters so that writers rarely meet; drawn
        from the token, since the same token must go with the same payload."""
        counter = zlib.crc32(token.encode()) % USAGE_COUNTERS
        return {
            "Update": {
                "TableName": self._table,
                "Key": items.usage_key(tenant, counter),
                "UpdateExpression": "ADD #bytes :bytes, #documents :documents",
                "ExpressionAttributeNames": {"#bytes": "bytes", "#documents": "documents"},
                "ExpressionAttributeValues": {
                    ":bytes": number(size),
                    ":documents": number(documents),
                },
            }
        }

    async def versions(self, tenant: Tenant, document_id: str) -> list[Version]:
        query = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "PK = :partition",
            "ExpressionAttributeValues": {
                ":partition": items.version_key(tenant, document_id, 0)["PK"]
            },
        }
        return [items.version(item) for item in await self._all("Query", query)]

    async def names(self, tenant: Tenant, document_id: str, write_id: str) -> bool:
        versions = await self.versions(tenant, document_id)
        if any(version.content_id == write_id for version in versions):
            return True
        document = await self.read(tenant, document_id)  # though its version be lost
        return document is not None and document.content_id == write_id

    # --- intents ----------------------------------------------------------------------------

    async def open_intent(self, tenant: Tenant, intent: Intent) -> None:
        # Unconditional: nothing could tell a repeated put from one that arrives when the write
        # has long been committed. So whoever reaps asks whether the bytes are `named`.
        item = items.intent_item(tenant, intent)
        await self._client.call("PutItem", {"TableName": self._table, "Item": item})

    async def extend_intent(self, tenant: Tenant, intent: Intent, deadline: int) -> None:
        values = {":open": text("open"), ":due": number(deadline)}
        try:
            await self._update_intent(intent, "SET due_at = :due", "#state = :open", values)
        except Refusal as refusal:
            raise IntentClosed from refusal

    async def reap_intent(self, tenant: Tenant, intent: Intent) -> bool:
        values = {":reaping": text("reaping")}
        try:
            await self._update_intent(
                intent, "SET #state = :reaping", "attribute_exists(#state)", values
            )
        except Refusal:
            return False
        return True

    async def _update_intent(
        self, intent: Intent, update: str, condition: str, values: Item
    ) -> None:
        await self._client.call(
            "UpdateItem",
            {
                "TableName": self._table,
                "Key": items.intent_key(intent.write_id),
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ExpressionAttributeNames": {"#state": "state"},
                "ExpressionAttributeValues": values,
            },
        )

    async def drop_intent(self, tenant: Tenant, intent: Intent) -> None:
        await self._client.call(
            "DeleteItem",
            {"TableName": self._table, "Key": items.intent_key(intent.write_id)},
        )

    # --- idempotency ------------------------------------------------------------------------

    async def claim(self, tenant: Tenant, claim: Claim) -> None:
        now = _now()
        item = items.claim_item(
            tenant, claim, now + CLAIM_LEASE_SECONDS * 1000, now + CLAIM_KEPT_SECONDS * 1000
        )
        free = "attribute_not_exists(PK) OR #expires < :now"
        abandoned = "#state = :running AND lease_ends < :now AND fingerprint = :fingerprint"
        try:
            await self._client.call(
                "PutItem",
                {
                    "TableName": self._table,
                    "Item": item,
                    "ConditionExpression": f"{free} OR ({abandoned})",
                    "ExpressionAttributeNames": {"#state": "state", "#expires": "expires"},
                    "ExpressionAttributeValues": {
                        ":now": number(now),
                        ":running": text("running"),
                        ":fingerprint": text(claim.fingerprint),
                    },
                    "ReturnValuesOnConditionCheckFailure": _OLD,
                },
            )
        except Refusal as refusal:
            await self._taken(tenant, claim, refusal.body.get("Item"), now)

    async def _taken(self, tenant: Tenant, claim: Claim, old: Item | None, now: int) -> None:
        held = old or await self._get(items.claim_key(tenant, claim.key))
        if held is None:  # given back in between
            raise Unavailable("The idempotency key is changing hands.", 1)
        if held["owner"]["S"] == claim.owner:
            return  # our own put, whose answer was lost
        wait = int(held["lease_ends"]["N"]) - now
        raise ClaimTaken(
            held["fingerprint"]["S"], items.settled(held), max(1, min(5, wait // 1000))
        )

    async def extend_claim(self, tenant: Tenant, claim: Claim) -> None:
        ends = _now() + CLAIM_LEASE_SECONDS * 1000
        try:
            await self._client.call(
                "UpdateItem",
                {
                    "TableName": self._table,
                    "Key": items.claim_key(tenant, claim.key),
                    "UpdateExpression": "SET lease_ends = :ends",
                    **_owned(claim, {":ends": number(ends)}),
                },
            )
        except Refusal as refusal:
            raise ClaimLost from refusal

    async def settle_claim(self, tenant: Tenant, claim: Claim, settled: Settled) -> None:
        try:
            await self._client.call("UpdateItem", self._settlement(tenant, claim, settled))
        except Refusal as refusal:
            held = await self._get(items.claim_key(tenant, claim.key))
            if not held or held["owner"]["S"] != claim.owner:
                raise ClaimLost from refusal

    async def release_claim(self, tenant: Tenant, claim: Claim) -> None:
        payload = {
            "TableName": self._table,
            "Key": items.claim_key(tenant, claim.key),
            **_owned(claim, {}),
        }
        try:
            await self._client.call("DeleteItem", payload)
        except Refusal:
            return  # taken over, settled or gone: not ours to give back

    # --- API keys ---------------------------------------------------------------------------

    async def read_key(self, key_id: str) -> ApiKey | None:
        item = await self._get(items.api_key_key(key_id))
        return items.api_key(item) if item else None

    async def write_key(self, key: ApiKey) -> None:
        item = items.api_key_item(key)
        listed = {"PK": text("T#" + key.tenant.id), "SK": text("KEY#" + key.id)}
        unused = {"ConditionExpression": "attribute_not_exists(PK)"}
        await self._client.call(
            "TransactWriteItems",
            {
                "TransactItems": [
                    {"Put": {"TableName": self._table, "Item": item, **unused}},
                    {"Put": {"TableName": self._table, "Item": listed}},
                ],
                "ClientRequestToken": "key-" + key.id,
            },
        )

    async def revoke_key(self, key_id: str, now: int) -> ApiKey | None:
        try:
            await self._client.call(
                "UpdateItem",
                {
                    "TableName": self._table,
                    "Key": items.api_key_key(key_id),
                    "UpdateExpression": "SET revoked_at = if_not_exists(revoked_at, :now)",
                    "ConditionExpression": "attribute_exists(PK)",
                    "ExpressionAttributeValues": {":now": number(now)},
                },
            )
        except Refusal:
            return None
        return await self.read_key(key_id)

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
        keys = [await self.read_key(item["SK"]["S"][4:]) for item in listed]
        return [key for key in keys if key is not None]

    async def _scan_keys(self) -> list[ApiKey]:
        scan = {
            "TableName": self._table,
            "ConsistentRead": True,
            "FilterExpression": "begins_with(PK, :keys)",
            "ExpressionAttributeValues": {":keys": text("K#")},
        }
        return [items.api_key(item) for item in await self._all("Scan", scan)]

    async def _all(self, operation: str, query: Item) -> list[Item]:
        return [item async for page, _ in self._pages(operation, query) for item in page]

    async def _pages(
        self, operation: str, query: Item
    ) -> AsyncIterator[tuple[list[Item], Item | None]]:
        """The pages of a query or scan, each with the key to go on from, None at the end."""
        while True:
            answer = await self._client.call(operation, query)
            last = answer.get("LastEvaluatedKey")
            yield answer["Items"], last
            if not last:
                return
            query = {**query, "ExclusiveStartKey": last}


def _owned(claim: Claim, values: Item) -> Item:
    return {
        "ConditionExpression": "#owner = :owner AND #state = :running",
        "ExpressionAttributeNames": {"#state": "state", "#owner": "owner"},
        "ExpressionAttributeValues": {
            ":owner": text(claim.owner),
            ":running": text("running"),
            **values,
        },
    }


def _partition(tenant: Tenant, shard: str, index: Index) -> str:
    partition = items.document_partition(tenant, shard)
    if index.kind == "all":
        return partition
    kind = {"tag": "TAG", "sha256": "SHA"}[index.kind]
    return f"{partition}#{kind}#{index.value}"


def entries(tenant: Tenant, document: Document) -> dict[str, Item]:
    """The index entries that belong to a document, by a name of their own."""
    wanted = [("TAG", tag) for tag in document.tags]
    if document.sha256:
        wanted.append(("SHA", document.sha256))
    return {
        f"{kind}#{value}": items.entry_key(tenant, kind, value, document.id)
        for kind, value in wanted
    }


def _just_above(document_id: str | None) -> str:
    """A sort key between `document_id` and every greater id."""
    return "D#" if document_id is None else f"D#{document_id} "


def _just_below(document_id: str | None) -> str:
    """A sort key between every lesser id and `document_id`; ids are all of one length."""
    if document_id is None:
        return "D#~"
    return f"D#{document_id[:-1]}{chr(ord(document_id[-1]) - 1)}~"


def _may_have_forgotten(current: Document, change: Change) -> bool:
    """Whether so many commits followed `before` that ours may have dropped out of `writes`."""
    base = change.before.revision if change.before else 0
    return current.revision - base > REMEMBERED_WRITES


__all__ = ["DynamoTable", "Refused"]
