"""The table as one object, for tests that look at several features at once."""

from __future__ import annotations

from app.documents.dynamodb import DynamoDocuments
from app.idempotency.dynamodb import DynamoIdempotency
from app.keys.dynamodb import DynamoKeys


class EveryTable(DynamoDocuments, DynamoIdempotency, DynamoKeys):
    """Every feature's part of the table."""
