"""`IdempotencyTable` kept on DynamoDB: the items of claims, and the calls on them."""

from __future__ import annotations

import time
from datetime import datetime

import orjson

from app.aws.attributes import Item, number, text
from app.aws.dynamodb import ConditionFailed
from app.aws.table import OLD_ITEM, Table
from app.idempotency.models import Claim, Settlement, StoredResponse
from app.idempotency.ports import ClaimLost, ClaimTaken
from app.maintenance.ports import GivenAnswer, ItemKind
from app.records import Tenant
from app.storage.errors import Unavailable

CLAIM_LEASE_SECONDS = 60
CLAIM_KEPT_SECONDS = 24 * 3600


def _now() -> int:
    return int(time.time() * 1000)


class DynamoIdempotency(Table):
    """`IdempotencyTable` in DynamoDB."""

    async def claim(self, tenant: Tenant, claim: Claim) -> None:
        now = _now()
        item = claim_item(
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
                    "ReturnValuesOnConditionCheckFailure": OLD_ITEM,
                },
            )
        except ConditionFailed as refusal:
            await self._taken(tenant, claim, refusal.body.get("Item"), now)

    async def _taken(self, tenant: Tenant, claim: Claim, old: Item | None, now: int) -> None:
        held = old or await self._get(claim_key(tenant, claim.key))
        if held is None:  # given back in between
            raise Unavailable("The idempotency key is changing hands.", 1)
        if held["owner"]["S"] == claim.owner:
            return  # our own put, whose answer was lost
        wait = int(held["lease_ends"]["N"]) - now
        raise ClaimTaken(held["fingerprint"]["S"], settled(held), max(1, min(5, wait // 1000)))

    async def extend_claim(self, tenant: Tenant, claim: Claim) -> None:
        ends = _now() + CLAIM_LEASE_SECONDS * 1000
        try:
            await self._client.call(
                "UpdateItem",
                {
                    "TableName": self._table,
                    "Key": claim_key(tenant, claim.key),
                    "UpdateExpression": "SET lease_ends = :ends",
                    **_owned(claim, {":ends": number(ends)}),
                },
            )
        except ConditionFailed as refusal:
            raise ClaimLost from refusal

    async def settle_claim(self, tenant: Tenant, claim: Claim, settled: Settlement) -> None:
        try:
            await self._client.call("UpdateItem", settlement(self._table, tenant, claim, settled))
        except ConditionFailed as refusal:
            held = await self._get(claim_key(tenant, claim.key))
            if not held or held["owner"]["S"] != claim.owner:
                raise ClaimLost from refusal

    async def release_claim(self, tenant: Tenant, claim: Claim) -> None:
        payload = {
            "TableName": self._table,
            "Key": claim_key(tenant, claim.key),
            **_owned(claim, {}),
        }
        try:
            await self._client.call("DeleteItem", payload)
        except ConditionFailed:
            return  # taken over, settled or gone: not ours to give back

    async def forget_answer(self, answer: GivenAnswer) -> bool:
        try:
            await self._client.call(
                "DeleteItem",
                {
                    "TableName": self._table,
                    "Key": claim_key(answer.tenant, answer.key),
                    "ConditionExpression": "#owner = :owner",
                    "ExpressionAttributeNames": {"#owner": "owner"},
                    "ExpressionAttributeValues": {":owner": text(answer.owner)},
                },
            )
        except ConditionFailed:
            return False
        return True


def settlement(table: str, tenant: Tenant, claim: Claim, settled: Settlement) -> Item:
    return {
        "TableName": table,
        "Key": claim_key(tenant, claim.key),
        "UpdateExpression": "SET #state = :settled, answer = :answer, body_sha256 = :body",
        "ConditionExpression": "#owner = :owner AND #state = :running",
        "ExpressionAttributeNames": {"#state": "state", "#owner": "owner"},
        "ExpressionAttributeValues": {
            ":owner": text(claim.owner),
            ":running": text("running"),
            **settled_values(settled),
        },
    }


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


# --- items ----------------------------------------------------------------------------------


def claim_key(tenant: Tenant, key: str) -> Item:
    return {"PK": text(f"I#{tenant.id}#{key}"), "SK": text("I")}


def claim_item(tenant: Tenant, claim: Claim, lease_ends: int, expires: int) -> Item:
    return {
        **claim_key(tenant, claim.key),
        "state": text("running"),
        "owner": text(claim.owner),
        "fingerprint": text(claim.fingerprint),
        "lease_ends": number(lease_ends),
        "expires": number(expires),
        # The table's TTL is in seconds and late by up to days: `expires` is what counts.
        "ttl": number(expires // 1000 + 1),
    }


def settled(item: Item) -> Settlement | None:
    if item["state"]["S"] != "settled":
        return None
    answer = orjson.loads(item["answer"]["S"])
    return Settlement(
        StoredResponse(answer["status"], answer["headers"], answer["body"].encode()),
        item["body_sha256"]["S"],
    )


def settled_values(outcome: Settlement) -> Item:
    answer = {
        "status": outcome.answer.status,
        "headers": outcome.answer.headers,
        "body": outcome.answer.body.decode(),
    }
    return {
        ":settled": text("settled"),
        ":answer": text(orjson.dumps(answer).decode()),
        ":body": text(outcome.body_sha256),
    }


def _given_answer(item: Item) -> GivenAnswer | None:
    """None where there is no answer yet, or it shows no document."""
    _, tenant, key = item["PK"]["S"].split("#", 2)
    outcome = settled(item)
    body = orjson.loads(outcome.answer.body or b"null") if outcome else None
    if not isinstance(body, dict) or "id" not in body:
        return None
    return GivenAnswer(
        Tenant(tenant),
        key,
        item["owner"]["S"],
        int(item["expires"]["N"]),
        body["id"],
        _milliseconds(body.get("expires_at")),
    )


def _milliseconds(timestamp: str | None) -> int | None:
    if timestamp is None:
        return None
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)


KINDS = (ItemKind("I#", "I", _given_answer),)
