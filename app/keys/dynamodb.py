"""`KeyTable` kept on DynamoDB: the items of API keys, and the calls on them."""

from __future__ import annotations

from app.aws.attributes import Item, moment, number, text
from app.aws.dynamodb import ConditionFailed
from app.aws.table import Table
from app.keys.models import ApiKey
from app.maintenance.ports import ItemKind
from app.records import Tenant


class DynamoKeys(Table):
    """`KeyTable` in DynamoDB."""

    async def read_key(self, key_id: str) -> ApiKey | None:
        item = await self._get(api_key_key(key_id))
        return api_key(item) if item else None

    async def write_key(self, key: ApiKey) -> None:
        item = api_key_item(key)
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
                    "Key": api_key_key(key_id),
                    "UpdateExpression": "SET revoked_at = if_not_exists(revoked_at, :now)",
                    "ConditionExpression": "attribute_exists(PK)",
                    "ExpressionAttributeValues": {":now": number(now)},
                },
            )
        except ConditionFailed:
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
        return [api_key(item) for item in await self._all("Scan", scan)]


# --- items ----------------------------------------------------------------------------------


def api_key_key(key_id: str) -> Item:
    return {"PK": text("K#" + key_id), "SK": text("K")}


def api_key_item(key: ApiKey) -> Item:
    item: Item = {
        **api_key_key(key.id),
        "tenant": text(key.tenant.id),
        "secret_sha256": text(key.secret_sha256),
        "scopes": {"L": [text(scope) for scope in sorted(key.scopes)]},
        "name": text(key.name),
        "created_at": number(key.created_at),
    }
    if key.expires_at is not None:
        item["expires_at"] = number(key.expires_at)
    if key.revoked_at is not None:
        item["revoked_at"] = number(key.revoked_at)
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
    )


KINDS = (ItemKind("K#", "K", api_key),)
