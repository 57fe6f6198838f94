"""What every feature's part of the table shares: single reads, and walks over pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from app.aws.attributes import Item, text
from app.aws.dynamodb import Backoff, DynamoDB

# The code of a write, within a cancelled transaction, whose condition did not hold.
CONDITION_FAILED = "ConditionalCheckFailed"
BATCH_GET_LIMIT = 100
# What a failed condition gives back: the item as it stands.
OLD_ITEM = "ALL_OLD"


class Table:
    """One table; each feature's adapter is a subclass that adds its calls."""

    def __init__(self, client: DynamoDB, table: str) -> None:
        self._client = client
        self._table = table

    async def _get(self, key: Item) -> Item | None:
        answer = await self._client.call(
            "GetItem", {"TableName": self._table, "Key": key, "ConsistentRead": True}
        )
        return answer.get("Item")

    async def _get_many(self, keys: Sequence[Item]) -> list[Item]:
        """The items that there are, in no order."""
        found: list[Item] = []
        for start in range(0, len(keys), BATCH_GET_LIMIT):
            missing = list(keys[start : start + BATCH_GET_LIMIT])
            backoff = Backoff()
            while missing:
                request = {self._table: {"Keys": missing, "ConsistentRead": True}}
                answer = await self._client.call("BatchGetItem", {"RequestItems": request})
                found += answer.get("Responses", {}).get(self._table, [])
                missing = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
                if missing:
                    await backoff.pause("throttled")
        return found

    async def ping(self) -> None:
        """Reads one item that need not exist: the permission and path of every other read."""
        await self._get({"PK": text("CHECK"), "SK": text("CHECK")})

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
