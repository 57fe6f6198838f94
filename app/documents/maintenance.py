"""What only the sweeper, the verifier and a restore do with documents in the table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from app.aws.attributes import Item, number, text
from app.aws.dynamodb import ConditionFailed
from app.aws.table import CONDITION_FAILED
from app.documents import items
from app.documents.dynamodb import DynamoDocuments, entries
from app.documents.models import Document, Intent, Version
from app.maintenance.ports import Entry, Excess, OpenIntent, Released
from app.records import Tenant, new_write_id
from app.usage.dynamodb import count


class DocumentMaintenance(DynamoDocuments):
    """The documents' part of the table, with the rights of maintenance."""

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
        except ConditionFailed:
            return None
        return items.open_intent(answer["Attributes"])

    async def drop_intent(self, tenant: Tenant, intent: Intent, now: int = 0) -> None:
        await super().drop_intent(tenant, intent)

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
        with suppress(ConditionFailed):  # changed; or marked, by another sweeper or by us, unseen
            await self._client.call("UpdateItem", update)
        current = await self.read(tenant, document.id)
        return current if current and current.purging else None

    async def read_released(self, content_id: str) -> Released | None:
        item = await self._get(items.released_key(content_id))
        return items.released(item) if item else None

    async def settle_excess(self, excess: Excess, seen_at: int, again_at: int | None) -> None:
        item = items.excess_item(excess.tenant, excess.document_id, seen_at)
        key = {"PK": item["PK"], "SK": item["SK"]}
        common: Item = {
            "TableName": self._table,
            "Key": key,
            "ConditionExpression": "due_at <= :seen",
            "ExpressionAttributeValues": {":seen": number(seen_at)},
        }
        with suppress(ConditionFailed):  # others have come, which put it there anew
            if again_at is None:
                await self._client.call("DeleteItem", common)
                return
            common["ExpressionAttributeValues"][":again"] = number(again_at)
            common["UpdateExpression"] = "SET due_at = :again"
            await self._client.call("UpdateItem", common)

    async def drop_released(self, released: Released) -> bool:
        key = items.released_key(released.content_id)

        def writes(token: str) -> list[Item]:
            uncounted = count(self._table, released.tenant, token, bytes=-released.size)
            return [self._delete(key), uncounted]

        return await self._purge(writes)

    async def purge_version(
        self, tenant: Tenant, document_id: str, version: Version, *, freed: int
    ) -> bool:
        key = items.version_key(tenant, document_id, version.number)

        def writes(token: str) -> list[Item]:
            gone = count(self._table, tenant, token, bytes=-freed, versions=-1)
            return [self._delete(key), gone]

        return await self._purge(writes)

    async def purge_document(self, tenant: Tenant, document: Document) -> bool:
        key = items.document_key(tenant, document.id)
        held = document.held_key
        if held is not None and await self.holder(tenant, held) == document.id:
            # Apart: a create that takes over the key of an expired document must not stop this.
            with suppress(ConditionFailed):
                give_up = self._give_up(tenant, document.id, held)["Delete"]
                await self._client.call("DeleteItem", give_up)

        def writes(token: str) -> list[Item]:
            unlisted = [
                {"Delete": {"TableName": self._table, "Key": entry}}
                for _, entry in sorted(entries(tenant, document).items())
            ]
            gone = count(
                self._table, tenant, token, bytes=-document.size, documents=-1, versions=-1
            )
            return [self._delete(key), gone, *unlisted]

        return await self._purge(writes)

    def _delete(self, key: Item) -> Item:
        condition = "attribute_exists(PK)"
        return {"Delete": {"TableName": self._table, "Key": key, "ConditionExpression": condition}}

    async def _purge(self, writes: Callable[[str], list[Item]]) -> bool:
        """False if what is to be deleted first is gone: then all of it was done before."""
        done = True

        async def refused(reasons: list[Item]) -> bool:
            nonlocal done
            done = not reasons or reasons[0].get("Code") != CONDITION_FAILED
            return not done

        # A name of its own: that of another sweeper would answer for us, too.
        await self._client.transact(new_write_id(), writes, refused)
        return done

    # --- after a restore ---------------------------------------------------------------------

    async def complete(self, tenant: Tenant, document: Document) -> bool:
        missing = [e for e in entries(tenant, document).values() if not await self._get(e)]
        held = document.held_key
        if held is not None and not await self._get(items.held_key(tenant, held)):
            missing.append(self._hold(tenant, document.id, held, None)["Put"]["Item"])
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
            changed = any(reason.get("Code") == CONDITION_FAILED for reason in reasons)
            return changed

        def writes(token: str) -> list[Item]:
            return [{"ConditionCheck": unchanged}, *puts]

        await self._client.transact(new_write_id(), writes, refused)
        return not changed

    async def has_entry(self, entry: Entry) -> bool:
        kind = items.INDEX_NAMES[entry.index.kind]
        key = items.entry_key(entry.tenant, kind, entry.index.value, entry.document_id)
        return await self._get(key) is not None
