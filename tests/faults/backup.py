"""A table's backup, and the table that comes out of it: its items, without its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.maintenance import provision
from tests.faults.world import World


class Backup:
    """On demand, where the engine has backups (ministack); else what it would hold."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._client = world.client("dynamodb")
        self._items: list[dict[str, Any]] = []
        self._arn = ""
        if world.tables.name == "ministack":
            made = self._client.create_backup(TableName=world.name, BackupName=world.name)
            self._arn = made["BackupDetails"]["BackupArn"]
        else:
            self._items = world.items()

    def restore(self, name: str) -> World:
        """The table under a new name, beside the old bucket."""
        if self._arn:
            self._client.restore_table_from_backup(TargetTableName=name, BackupArn=self._arn)
        else:
            self._client.create_table(
                TableName=name,
                BillingMode="PAY_PER_REQUEST",
                KeySchema=provision._KEYS,
                AttributeDefinitions=provision._ATTRIBUTES,
                GlobalSecondaryIndexes=[provision._DUE_INDEX],
            )
            for item in self._items:
                self._client.put_item(TableName=name, Item=item)
        return replace(self._world, name=name, other_bucket=self._world.bucket)
