"""The table's interfaces kept on DynamoDB: each decision of a feature becomes one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from app.aws.attributes import Item, number, text
from app.aws.dynamodb import Backoff, ConditionFailed, DynamoDB
from app.aws.table import CONDITION_FAILED, OLD_ITEM, Table
from app.documents import items
from app.documents.models import REMEMBERED_WRITES, Change, Document, Intent, Version
from app.documents.ports import Conflict, Index, IntentClosed, Page
from app.idempotency.dynamodb import settlement
from app.idempotency.ports import ClaimLost
from app.records import Tenant
from app.storage.errors import OutcomeUnknown, Unavailable
from app.usage.dynamodb import count

BATCH_GET_LIMIT = 100
# The alphabet of ids in order: the last one is the shard.
SHARDS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class DynamoDocuments(Table):
    """`DocumentTable` in DynamoDB."""

    def __init__(self, client: DynamoDB, table: str, shards: int = 1) -> None:
        super().__init__(client, table)
        self._shards = SHARDS[:shards]

    # --- reading ----------------------------------------------------------------------------

    async def read(self, tenant: Tenant, document_id: str) -> Document | None:
        # Written by hand, as it is what most requests ask; neither part needs escaping in JSON.
        partition = items.document_partition(tenant, items.shard_of(document_id))
        key = f'{{"PK":{{"S":"{partition}"}},"SK":{{"S":"D#{document_id}"}}}}'
        query = f'{{"TableName":"{self._table}","Key":{key},"ConsistentRead":true}}'
        item = (await self._client.call("GetItem", query.encode())).get("Item")
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
        except ConditionFailed as refusal:
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
        if codes and codes[0] == CONDITION_FAILED:
            await self._conflict(tenant, change, reasons[0].get("Item"), backoff)
            return True
        closers = ([IntentClosed] if change.intent else []) + ([ClaimLost] if change.claim else [])
        for code, closed in zip(codes[1:], closers, strict=False):
            if code == CONDITION_FAILED:
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
        if current and current.has_applied(change.write_id):
            return
        if backoff.lost and (current is None or _may_have_forgotten(current, change)):
            raise OutcomeUnknown("The document has changed too often to tell.", 1)
        raise Conflict(current)

    def _document_write(self, tenant: Tenant, change: Change) -> Item:
        """The document's Put or Update, conditional on `before`."""
        key = items.document_key(tenant, change.after.id)
        after = items.document_attributes(change.after)
        common = {"TableName": self._table, "ReturnValuesOnConditionCheckFailure": OLD_ITEM}
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
        return {"Update": settlement(self._table, tenant, change.claim, change.settled)}

    def _version(self, tenant: Tenant, change: Change) -> Item:
        after = change.after
        key = items.version_key(tenant, after.id, after.version)
        attributes = items.version_attributes(after, change.author)
        return {"TableName": self._table, "Item": {**key, **attributes}}

    def _count(self, tenant: Tenant, change: Change, token: str) -> Item:
        new = 0 if change.before else 1
        return count(self._table, tenant, token, bytes=change.after.size, documents=new, versions=1)

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

    async def is_referenced(self, tenant: Tenant, document_id: str, write_id: str) -> bool:
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
        except ConditionFailed as refusal:
            raise IntentClosed from refusal

    async def reap_intent(self, tenant: Tenant, intent: Intent) -> bool:
        values = {":reaping": text("reaping")}
        try:
            await self._update_intent(
                intent, "SET #state = :reaping", "attribute_exists(#state)", values
            )
        except ConditionFailed:
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
    """Whether more commits followed `before` than `recent_write_ids` remembers."""
    base = change.before.revision if change.before else 0
    return current.revision - base > REMEMBERED_WRITES
