"""The counters of what each tenant holds, kept on DynamoDB."""

from __future__ import annotations

import zlib

from app.aws.attributes import Item, number, text
from app.aws.dynamodb import ConditionFailed
from app.aws.table import Table
from app.maintenance.ports import ItemKind
from app.records import Tenant
from app.usage.models import Usage

USAGE_COUNTERS = 16


class DynamoUsage(Table):
    """A tenant's counters in DynamoDB."""

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
        return [usage(tenant, item) for item in await self._all("Query", query)]

    async def correct_usage(self, before: Usage, after: Usage) -> bool:
        # Absolute, so that a repetition after a lost answer adds nothing: it is refused.
        update = {
            "TableName": self._table,
            "Key": usage_key(before.tenant, before.counter),
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
        except ConditionFailed:
            return after in await self.usage(before.tenant)
        return True


def count(table: str, tenant: Tenant, token: str, size: int, documents: int) -> Item:
    """Bytes and documents held, on one of several counters so that writers rarely meet; drawn
    from the token, since the same token must go with the same payload."""
    counter = zlib.crc32(token.encode()) % USAGE_COUNTERS
    return {
        "Update": {
            "TableName": table,
            "Key": usage_key(tenant, counter),
            "UpdateExpression": "ADD #bytes :bytes, #documents :documents",
            "ExpressionAttributeNames": {"#bytes": "bytes", "#documents": "documents"},
            "ExpressionAttributeValues": {
                ":bytes": number(size),
                ":documents": number(documents),
            },
        }
    }


# --- items ----------------------------------------------------------------------------------


def usage_key(tenant: Tenant, counter: int) -> Item:
    return {"PK": text("T#" + tenant.id), "SK": text(f"USAGE#{counter:02d}")}


def usage(tenant: Tenant, item: Item) -> Usage:
    return Usage(
        tenant,
        int(item["SK"]["S"].removeprefix("USAGE#")),
        int(item["bytes"]["N"]),
        int(item["documents"]["N"]),
    )


def _read(item: Item) -> Usage:
    return usage(Tenant(item["PK"]["S"].removeprefix("T#")), item)


KINDS = (ItemKind("T#", "USAGE#", _read),)
