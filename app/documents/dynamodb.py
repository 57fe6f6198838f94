"""The table's interfaces kept on DynamoDB: each decision of a feature becomes one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from app.aws.attributes import Item, number, text
from app.aws.dynamodb import Backoff, ConditionFailed, DynamoDB
from app.aws.table import CONDITION_FAILED, OLD_ITEM, Table
from app.documents import items
from app.documents.models import (
    REMEMBERED_WRITES,
    Change,
    Document,
    Intent,
    UploadIntent,
    Version,
)
from app.documents.ports import Conflict, Index, IntentClosed, KeyPage, KeyTaken, Page
from app.idempotency.dynamodb import settlement
from app.idempotency.ports import ClaimLost
from app.records import Tenant
from app.storage.errors import OutcomeUnknown, Unavailable
from app.usage.dynamodb import count

BATCH_GET_LIMIT = 100
# The alphabet of ids in order: the last one is the shard.
SHARDS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


# What a failed condition of a transaction's write means; raises it, unless it was done before.
Meaning = Callable[[Item | None], Awaitable[None]]


class _KeyNotOurs(Exception):
    """The key that is to be given up is another document's by now."""


class DynamoDocuments(Table):
    """`DocumentTable` in DynamoDB."""

    def __init__(
        self, client: DynamoDB, table: str, shards: int = 1, *, versions_kept: int = 0
    ) -> None:
        """`versions_kept` are those of a document, the current one included; 0 for all."""
        super().__init__(client, table)
        self._shards = SHARDS[:shards]
        self._versions_kept = versions_kept

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
            documents = await self.read_many(tenant, [item["SK"]["S"][2:] for item in found])
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

    async def read_many(self, tenant: Tenant, ids: Sequence[str]) -> list[Document]:
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

    # --- keys -------------------------------------------------------------------------------

    async def holder(self, tenant: Tenant, key: str) -> str | None:
        item = await self._get(items.held_key(tenant, key))
        holder: str | None = item["document_id"]["S"] if item else None
        return holder

    async def keys(
        self,
        tenant: Tenant,
        prefix: str,
        after: str | None,
        limit: int,
        *,
        inclusive: bool = False,
    ) -> KeyPage:
        condition, values = (
            "PK = :partition",
            {":partition": text(items.held_keys_partition(tenant))},
        )
        # A sort key can have one condition, so the end of the prefix is found by reading up to it.
        if after is not None and after >= prefix:
            condition += f" AND SK {'>=' if inclusive else '>'} :after"
            values[":after"] = text(after)
        elif prefix:
            condition += " AND begins_with(SK, :prefix)"
            values[":prefix"] = text(prefix)
        query: Item = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
        found: list[tuple[str, str]] = []
        while True:
            answer = await self._client.call("Query", {**query, "Limit": limit + 1 - len(found)})
            for item in answer["Items"]:
                if not item["SK"]["S"].startswith(prefix):
                    return KeyPage(found, False)
                if len(found) == limit:
                    return KeyPage(found, True)
                found.append((item["SK"]["S"], item["document_id"]["S"]))
            last = answer.get("LastEvaluatedKey")
            if not last:
                return KeyPage(found, False)
            query["ExclusiveStartKey"] = last

    # --- committing -------------------------------------------------------------------------

    async def commit(self, tenant: Tenant, change: Change) -> None:
        backoff = Backoff()
        try:
            if _is_plain(tenant, change):
                await self._commit_alone(tenant, change, backoff)
                return
            try:
                await self._commit_together(tenant, change, backoff)
            except _KeyNotOurs:
                await self._commit_together(tenant, change, backoff, key_lost=True)
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
        self, tenant: Tenant, change: Change, backoff: Backoff, *, key_lost: bool = False
    ) -> None:
        writes: list[Item] = []
        meanings: list[Meaning] = []
        for write, meaning in self._conditional(tenant, change, backoff, key_lost):
            writes.append(write)
            meanings.append(meaning)
        writes += self._unconditional(tenant, change)

        async def refused(reasons: list[Item]) -> bool:
            for reason, meaning in zip(reasons, meanings, strict=False):
                if reason.get("Code") == CONDITION_FAILED:
                    await meaning(reason.get("Item"))
                    return True  # it had been committed
            return False

        def with_count(token: str) -> list[Item]:
            return writes + self._counts(tenant, change, token)

        # A transaction with other writes is another one, and its name too.
        name = change.write_id + ("k" if key_lost else "")
        await self._client.transact(name, with_count, refused, backoff)

    def _conditional(
        self, tenant: Tenant, change: Change, backoff: Backoff, key_lost: bool
    ) -> list[tuple[Item, Meaning]]:
        """The writes that may be refused, the document's first: it tells whether all was done."""

        async def conflict(old: Item | None) -> None:
            await self._conflict(tenant, change, old, backoff)

        def raising(refusal: Exception) -> Meaning:
            async def meaning(old: Item | None) -> None:
                raise refusal

            return meaning

        async def taken(old: Item | None) -> None:
            holder = old["document_id"]["S"] if old else await self.holder(tenant, key or "")
            raise KeyTaken(holder) if holder else Unavailable("The key is changing hands.", 1)

        before, after = change.before, change.after
        kind = "Put" if before is None else "Update"
        document = self._document_write(tenant, change)
        writes: list[tuple[Item, Meaning]] = [({kind: document}, conflict)]
        if change.intent:
            writes.append((self._close_intent(change.intent), raising(IntentClosed())))
        if change.claim:
            writes.append((self._settle(tenant, change), raising(ClaimLost())))
        given_up, key = before.held_key if before else None, after.held_key
        if given_up != key:
            if given_up is not None and not key_lost:
                writes.append((self._give_up(tenant, after.id, given_up), raising(_KeyNotOurs())))
            if key is not None:
                write = self._hold(tenant, after.id, key, change.key_from)
                writes.append((write, taken))
        return writes

    def _unconditional(self, tenant: Tenant, change: Change) -> list[Item]:
        before, after = change.before, change.after
        writes: list[Item] = []
        if before is not None and before.version != after.version:
            item = items.version_item(tenant, before.id, before.current)
            writes.append({"Put": {"TableName": self._table, "Item": item}})
            if 0 < self._versions_kept <= after.older:
                item = items.excess_item(tenant, after.id, after.updated_at)
                writes.append({"Put": {"TableName": self._table, "Item": item}})
        if change.dropped is not None:
            key = items.version_key(tenant, after.id, change.dropped.number)
            writes.append({"Delete": {"TableName": self._table, "Key": key}})
            if change.releases:
                item = items.released_item(tenant, after.id, change.dropped, after.updated_at)
                writes.append({"Put": {"TableName": self._table, "Item": item}})
        listed = entries(tenant, after)
        listed_before = entries(tenant, before) if before else {}
        for name in sorted(listed.keys() - listed_before.keys()):
            writes.append({"Put": {"TableName": self._table, "Item": listed[name]}})
        for name in sorted(listed_before.keys() - listed.keys()):
            writes.append({"Delete": {"TableName": self._table, "Key": listed_before[name]}})
        return writes

    def _hold(self, tenant: Tenant, document_id: str, key: str, key_from: str | None) -> Item:
        item = {
            **items.held_key(tenant, key),
            "format": items.FORMAT,
            "document_id": text(document_id),
        }
        values = {":own": text(document_id)}
        condition = "attribute_not_exists(PK) OR document_id = :own"
        if key_from is not None:
            condition += " OR document_id = :expired"
            values[":expired"] = text(key_from)
        return {
            "Put": {
                "TableName": self._table,
                "Item": item,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values,
                "ReturnValuesOnConditionCheckFailure": OLD_ITEM,
            }
        }

    def _give_up(self, tenant: Tenant, document_id: str, key: str) -> Item:
        return {
            "Delete": {
                "TableName": self._table,
                "Key": items.held_key(tenant, key),
                "ConditionExpression": "attribute_not_exists(PK) OR document_id = :own",
                "ExpressionAttributeValues": {":own": text(document_id)},
            }
        }

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
        if isinstance(intent, UploadIntent):
            return self._complete_upload(intent)
        return {
            "Delete": {
                "TableName": self._table,
                "Key": items.intent_key(intent.write_id),
                "ConditionExpression": "#state = :open",
                "ExpressionAttributeNames": {"#state": "state"},
                "ExpressionAttributeValues": {":open": text("open")},
            }
        }

    def _complete_upload(self, intent: UploadIntent) -> Item:
        return {
            "Update": {
                "TableName": self._table,
                "Key": items.upload_key(intent.write_id),
                "UpdateExpression": "SET #state = :completed, due_at = :due, #ttl = :ttl "
                "ADD revision :one",
                "ConditionExpression": "#state = :open",
                "ExpressionAttributeNames": {"#state": "state", "#ttl": "ttl"},
                "ExpressionAttributeValues": {
                    ":completed": text("completed"),
                    ":open": text("open"),
                    ":due": number(intent.deadline),
                    ":ttl": number(intent.kept_until // 1000),
                    ":one": number(1),
                },
            }
        }

    def _settle(self, tenant: Tenant, change: Change) -> Item:
        if change.claim is None or change.settled is None:
            raise ValueError("a claimed change needs its answer")
        return {"Update": settlement(self._table, tenant, change.claim, change.settled)}

    def _counts(self, tenant: Tenant, change: Change, token: str) -> list[Item]:
        """What moves a counter: new bytes, a new version, one that is deleted."""
        if change.dropped is not None:
            return [count(self._table, tenant, token, versions=-1)]
        if change.before is not None and change.before.version == change.after.version:
            return []
        size = change.after.size if change.intent else 0
        new = 0 if change.before else 1
        ends = -1 if isinstance(change.intent, UploadIntent) else 0
        return [
            count(
                self._table,
                tenant,
                token,
                bytes=size,
                documents=new,
                versions=1,
                uploads=ends,
            )
        ]

    # --- versions ---------------------------------------------------------------------------

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

    async def versions_below(
        self, tenant: Tenant, document_id: str, number: int, limit: int
    ) -> tuple[list[Version], bool]:
        below = items.version_key(tenant, document_id, number)
        query = {
            "TableName": self._table,
            "ConsistentRead": True,
            "ScanIndexForward": False,
            "KeyConditionExpression": "PK = :partition AND SK < :below",
            "ExpressionAttributeValues": {":partition": below["PK"], ":below": below["SK"]},
            "Limit": limit + 1,
        }
        answer = await self._client.call("Query", query)
        found = [items.version(item) for item in answer["Items"]]
        return found[:limit], len(found) > limit or "LastEvaluatedKey" in answer

    async def version(self, tenant: Tenant, document_id: str, number: int) -> Version | None:
        item = await self._get(items.version_key(tenant, document_id, number))
        return items.version(item) if item else None

    async def is_referenced(self, tenant: Tenant, document_id: str, write_id: str) -> bool:
        # Each change of what is a version is one of the document, too, and of its revision. So what
        # is read between two looks at the same revision belongs together.
        while True:
            document = await self.read(tenant, document_id)
            if document is not None and document.content_id == write_id:
                return True
            versions = await self.versions(tenant, document_id)
            if any(version.content_id == write_id for version in versions):
                return True
            again = await self.read(tenant, document_id)
            if _revision(again) == _revision(document):
                return False

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
    kind = items.INDEX_NAMES[index.kind]
    return f"{partition}#{kind}#{index.value}"


def entries(tenant: Tenant, document: Document) -> dict[str, Item]:
    """The index entries that belong to a document, by a name of their own."""
    wanted = [("TAG", tag) for tag in document.tags]
    if document.sha256:
        wanted.append(("SHA", document.sha256))
    if document.key is not None and document.deleted_at is not None:
        wanted.append(("KEY", document.key))  # the trash is searched by it
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


def _is_plain(tenant: Tenant, change: Change) -> bool:
    """Whether nothing changes but the document's own item."""
    before, after = change.before, change.after
    return (
        before is not None
        and change.intent is None
        and change.claim is None
        and before.version == after.version
        and before.held_key == after.held_key
        and change.dropped is None
        and entries(tenant, before) == entries(tenant, after)
    )


def _revision(document: Document | None) -> int | None:
    return document.revision if document else None
