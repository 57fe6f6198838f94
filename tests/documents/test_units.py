"""What a write costs: units as AWS bills them, counted in the calls that are made.

1 KiB or less of an item is one unit, two in a transaction; an index entry that comes or goes is one
more: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/provisioned-capacity-mode.html
"""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from app.aws.dynamodb import Backoff, DynamoDB
from app.documents.dynamodb import DynamoDocuments
from app.documents.models import Change, Document, Intent
from app.records import Tenant

ACME = Tenant("acme")
CREATED = Document(
    id="01J9ZK3V8QW4E6R7T9Y0A1B2C0",
    name="report.pdf",
    content_type="application/pdf",
    size=4096,
    sha256="ab" * 32,
    revision=1,
    version=1,
    content_id="c" * 16,
    created_at=1_772_000_000_000,
    updated_at=1_772_000_000_000,
    created_by="k" * 16,
    recent_write_ids="w" * 16,
)
INTENT = Intent("c" * 16, CREATED.id, 1_772_000_900_000)


class Counting(DynamoDB):
    """Answers nothing, and adds up."""

    def __init__(self) -> None:
        self.units = 0

    async def call(
        self, operation: str, payload: dict[str, Any] | bytes, backoff: Backoff | None = None
    ) -> dict[str, Any]:
        assert isinstance(payload, dict)
        if operation == "TransactWriteItems":
            writes = payload["TransactItems"]
            self.units += sum(2 + self._index(write) for w in writes for write in w.values())
        else:
            assert operation in ("PutItem", "UpdateItem")
            self.units += 1 + self._index(payload)
        return {}

    @staticmethod
    def _index(write: dict[str, Any]) -> int:
        """Whether an entry of the index `due` comes, goes or moves with it."""
        assert len(orjson.dumps(write)) < 2048  # its item has less than 1 KiB
        names = {*write.get("Item", {}), *write.get("ExpressionAttributeNames", {}).values()}
        # A usage counter's is set by the first change of a day alone.
        counter = write.get("Key", {}).get("SK", {}).get("S", "").startswith("USAGE#")
        return int("due_at" in names and "due_bucket" in names and not counter)


async def units(change: Change) -> int:
    client = Counting()
    table = DynamoDocuments(client, "table")
    if change.intent is not None:
        await table.open_intent(ACME, change.intent)
    await table.commit(ACME, change)
    return client.units


def revised(before: Document, **changes: Any) -> Change:
    changed = dataclasses.replace(before, revision=before.revision + 1, **changes)
    return Change(write_id="x" * 16, before=before, after=changed)


NEW = Change(write_id="w" * 16, before=None, after=CREATED, intent=INTENT)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # Intent 1; in the transaction: document, intent, entry by digest, counter.
        (NEW, 1 + 2 * 4),
        (dataclasses.replace(NEW, after=dataclasses.replace(CREATED, key="a/b")), 9 + 2),
        (dataclasses.replace(NEW, after=dataclasses.replace(CREATED, tags=("a", "b"))), 9 + 4),
        (dataclasses.replace(NEW, after=dataclasses.replace(CREATED, expires_at=2**41)), 9 + 1),
        # With the record of the version before, and the entry of the digest before.
        (
            dataclasses.replace(
                revised(CREATED, sha256="cd" * 32, version=2, content_id="d" * 16, older=1),
                intent=dataclasses.replace(INTENT, write_id="d" * 16),
            ),
            1 + 2 * 6,
        ),
        (revised(CREATED, name="other"), 1),
        (revised(CREATED, tags=("a",)), 4),
        (revised(CREATED, key="a"), 4),
        (revised(dataclasses.replace(CREATED, key="a"), key="b"), 6),
        (revised(CREATED, deleted_at=1, purge_after=2), 2),
    ],
    ids=[
        "create",
        "create with a key",
        "create with two tags",
        "create that expires",
        "replace",
        "rename",
        "tag",
        "give a key",
        "move",
        "delete",
    ],
)
async def test_what_a_write_costs(change: Change, expected: int) -> None:
    """docs/performance.md tells these."""
    assert await units(change) == expected
