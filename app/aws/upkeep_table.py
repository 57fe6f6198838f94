"""`RestoredTable` kept on DynamoDB: what only the sweeper, the verifier and a restore do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import orjson

from app.aws import items
from app.aws.dynamodb import Refusal
from app.aws.items import Item, number, text
from app.aws.table import FAILED, DynamoTable, entries
from app.storage.records import Document, Tenant, Version, new_write_id
from app.storage.tables import Entry, Found, GivenAnswer, OpenIntent, Usage

_WALK_PAGE = 200


class DynamoUpkeepTable(DynamoTable):
    """The table, with the rights of upkeep."""

    # --- what is due ------------------------------------------------------------------------

    async def due(self, now: int) -> AsyncIterator[str | tuple[Tenant, str]]:
        # In an order of its own, so that sweepers that run at once rarely meet.
        for bucket in random.sample(range(items.DUE_BUCKETS), items.DUE_BUCKETS):
            query = {
                "TableName": self._table,
                "IndexName": "due",
                "KeyConditionExpression": "due_bucket = :bucket AND due_at <= :now",
                "ExpressionAttributeValues": {":bucket": number(bucket), ":now": number(now)},
            }
            async for page, _ in self._pages("Query", query):
                for item in page:
                    yield _due(item)

    async def read_intent(self, write_id: str) -> OpenIntent | None:
        item = await self._get(items.intent_key(write_id))
        return items.open_intent(item) if item else None

    async def reap_lapsed(self, write_id: str, now: int) -> OpenIntent | None:
        try:
            answer = await self._client.call(
                "UpdateItem",
                {
                    "TableName": self._table,
                    "Key": items.intent_key(write_id),
                    "UpdateExpression": "SET #state = :reaping",
                    "ConditionExpression": "#state = :reaping OR "
                    "(attribute_exists(#state) AND due_at <= :now)",
                    "ExpressionAttributeNames": {"#state": "state"},
                    "ExpressionAttributeValues": {":reaping": text("reaping"), ":now": number(now)},
                    "ReturnValues": "ALL_NEW",
                },
            )
        except Refusal:
            return None
        return items.open_intent(answer["Attributes"])

    # --- purging ----------------------------------------------------------------------------

    async def mark_purging(self, tenant: Tenant, document: Document) -> Document | None:
        """The revision moves on, so that whoever restores on the strength of the old one fails."""
        update = {
            "TableName": self._table,
            "Key": items.document_key(tenant, document.id),
            "UpdateExpression": "SET purging = :yes, revision = :after",
            "ConditionExpression": "revision = :before",
            "ExpressionAttributeValues": {
                ":yes": {"BOOL": True},
                ":before": number(document.revision),
                ":after": number(document.revision + 1),
            },
        }
        with suppress(Refusal):  # changed; or marked, by another sweeper or by us, unseen
            await self._client.call("UpdateItem", update)
        current = await self.read(tenant, document.id)
        return current if current and current.purging else None

    async def purge_version(self, tenant: Tenant, document_id: str, version: Version) -> bool:
        key = items.version_key(tenant, document_id, version.number)

        def writes(token: str) -> list[Item]:
            return [self._delete(key), self._usage(tenant, token, -version.size, 0)]

        return await self._purge(writes)

    async def purge_document(self, tenant: Tenant, document: Document) -> bool:
        key = items.document_key(tenant, document.id)

        def writes(token: str) -> list[Item]:
            unlisted = [
                {"Delete": {"TableName": self._table, "Key": entry}}
                for _, entry in sorted(entries(tenant, document).items())
            ]
            return [self._delete(key), self._usage(tenant, token, 0, -1), *unlisted]

        return await self._purge(writes)

    def _delete(self, key: Item) -> Item:
        condition = "attribute_exists(PK)"
        return {"Delete": {"TableName": self._table, "Key": key, "ConditionExpression": condition}}

    async def _purge(self, writes: Callable[[str], list[Item]]) -> bool:
        """False if what is to be deleted first is gone: then all of it was done before."""
        done = True

        async def refused(reasons: list[Item]) -> bool:
            nonlocal done
            done = not reasons or reasons[0].get("Code") != FAILED
            return not done

        # A name of its own: that of another sweeper would answer for us, too.
        await self._client.transact(new_write_id(), writes, refused)
        return done

    # --- after a restore ---------------------------------------------------------------------

    async def complete(self, tenant: Tenant, document: Document) -> bool:
        version = items.version_key(tenant, document.id, document.version)
        attributes = items.version_attributes(document, document.created_by)
        missing = [
            *([] if await self._get(version) else [{**version, **attributes}]),
            *[e for e in entries(tenant, document).values() if not await self._get(e)],
        ]
        if not missing:
            return True
        unchanged = {
            "TableName": self._table,
            "Key": items.document_key(tenant, document.id),
            "ConditionExpression": "revision = :revision",
            "ExpressionAttributeValues": {":revision": number(document.revision)},
        }
        absent = {"TableName": self._table, "ConditionExpression": "attribute_not_exists(PK)"}
        puts = [{"Put": {**absent, "Item": item}} for item in missing]
        changed = False

        async def refused(reasons: list[Item]) -> bool:
            nonlocal changed
            changed = any(reason.get("Code") == FAILED for reason in reasons)
            return changed

        def writes(token: str) -> list[Item]:
            return [{"ConditionCheck": unchanged}, *puts]

        await self._client.transact(new_write_id(), writes, refused)
        return not changed

    async def forget_answer(self, answer: GivenAnswer) -> bool:
        try:
            await self._client.call(
                "DeleteItem",
                {
                    "TableName": self._table,
                    "Key": items.claim_key(answer.tenant, answer.key),
                    "ConditionExpression": "#owner = :owner",
                    "ExpressionAttributeNames": {"#owner": "owner"},
                    "ExpressionAttributeValues": {":owner": text(answer.owner)},
                },
            )
        except Refusal:
            return False
        return True

    async def usage(self, tenant: Tenant) -> list[Usage]:
        query = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "PK = :partition AND begins_with(SK, :usage)",
            "ExpressionAttributeValues": {
                ":partition": text("T#" + tenant.id),
                ":usage": text("USAGE#"),
            },
        }
        return [items.usage(tenant, item) for item in await self._all("Query", query)]

    async def correct_usage(self, before: Usage, after: Usage) -> bool:
        # Absolute, so that a repetition after a lost answer adds nothing: it is refused.
        update = {
            "TableName": self._table,
            "Key": items.usage_key(before.tenant, before.counter),
            "UpdateExpression": "SET #bytes = :bytes, #documents = :documents",
            "ConditionExpression": "attribute_not_exists(PK) OR "
            "(#bytes = :old_bytes AND #documents = :old_documents)",
            "ExpressionAttributeNames": {"#bytes": "bytes", "#documents": "documents"},
            "ExpressionAttributeValues": {
                ":bytes": number(after.bytes),
                ":documents": number(after.documents),
                ":old_bytes": number(before.bytes),
                ":old_documents": number(before.documents),
            },
        }
        try:
            await self._client.call("UpdateItem", update)
        except Refusal:
            return after in await self.usage(before.tenant)
        return True

    # --- walking ----------------------------------------------------------------------------

    async def has_entry(self, entry: Entry) -> bool:
        kind = {"tag": "TAG", "sha256": "SHA"}[entry.index.kind]
        key = items.entry_key(entry.tenant, kind, entry.index.value, entry.document_id)
        return await self._get(key) is not None

    async def walk(
        self, position: str | None
    ) -> AsyncIterator[tuple[list[Found | str], str | None]]:
        scan: Item = {"TableName": self._table, "ConsistentRead": True, "Limit": _WALK_PAGE}
        if position is not None:
            scan["ExclusiveStartKey"] = orjson.loads(position)
        async for page, last in self._pages("Scan", scan):
            records = [record for item in page if (record := items.found(item)) is not None]
            yield records, orjson.dumps(last).decode() if last else None


def _due(item: Item) -> str | tuple[Tenant, str]:
    kind, _, rest = item["PK"]["S"].partition("#")
    if kind == "W":
        write_id: str = rest
        return write_id
    return Tenant(rest.partition("#")[0]), item["SK"]["S"][2:]
