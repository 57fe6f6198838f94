"""The table as one object, for tests that look at several features at once."""

from __future__ import annotations

from app.aws.dynamodb import DynamoDB
from app.documents import items
from app.maintenance.dynamodb import DynamoMaintenance


class EveryTable(DynamoMaintenance):
    """Every feature's part of the table, with the rights of maintenance."""

    def __init__(self, client: DynamoDB, table: str, shards: int = 1) -> None:
        super().__init__(client, table, shards, kinds=items.KINDS)
