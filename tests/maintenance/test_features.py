"""What a feature registers with maintenance is read, checked and purged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.documents.ids import DocumentIds
from app.documents.models import Document
from app.maintenance.dynamodb import DynamoMaintenance
from app.maintenance.ports import Finding, ItemKind
from app.maintenance.sweep import Sweeper
from app.maintenance.verify import Verifier
from app.records import Tenant

ACME = Tenant("acme")
PURGING = Document(
    id=DocumentIds().new(),
    name="report.pdf",
    content_type="application/pdf",
    size=7,
    sha256="0" * 64,
    revision=2,
    version=1,
    content_id="a" * 16,
    created_at=1,
    updated_at=1,
    created_by="k" * 16,
    purging=True,
)


@dataclass(frozen=True)
class Note:
    text: str


def note(item: dict[str, Any]) -> Note:
    return Note(item["text"]["S"])


class Table:
    """A table with one purging document and the records of a feature."""

    def __init__(self, calls: list[str], records: list[Any] | None = None) -> None:
        self._calls = calls
        self._records = records or []

    async def due(self, now: int) -> AsyncIterator[tuple[Tenant, str]]:
        yield ACME, PURGING.id

    async def read(self, tenant: Tenant, document_id: str) -> Document:
        return PURGING

    async def versions(self, tenant: Tenant, document_id: str) -> list[Any]:
        return []

    async def holder(self, tenant: Tenant, key: str) -> str | None:
        return None

    async def purge_document(self, tenant: Tenant, document: Document) -> bool:
        self._calls.append("document")
        return True

    async def walk(self, position: str | None) -> AsyncIterator[tuple[list[Any], None]]:
        yield self._records, None


class Bucket:
    async def discard(self, key: str) -> None:
        return

    async def check(self) -> None:
        return

    async def keys(self, after: str) -> AsyncIterator[list[str]]:
        for _ in ():
            yield []

    async def unfinished(self) -> AsyncIterator[Any]:
        for _ in ():
            yield None


async def test_what_a_feature_keeps_of_a_document_goes_before_the_document() -> None:
    calls: list[str] = []

    async def purge(tenant: Tenant, document_id: str) -> None:
        assert (tenant, document_id) == (ACME, PURGING.id)
        calls.append("note")

    sweeper = Sweeper(Table(calls), Bucket(), lambda: 10, purge=[purge])  # type: ignore[arg-type]
    report = await sweeper.run()
    assert calls == ["note", "document"]
    assert (report.documents, report.failed) == (1, 0)


async def test_a_document_stays_while_a_feature_cannot_purge() -> None:
    calls: list[str] = []

    async def purge(tenant: Tenant, document_id: str) -> None:
        raise OSError("not now")

    sweeper = Sweeper(Table(calls), Bucket(), lambda: 10, purge=[purge])  # type: ignore[arg-type]
    report = await sweeper.run()
    assert calls == []
    assert (report.documents, report.failed) == (0, 1)


async def test_verify_asks_the_feature_about_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.maintenance.verify._PAUSE_SECONDS", 0.0)

    async def check(found: Note) -> list[Finding]:
        return [] if found.text else [Finding("empty-note", "acme", "it says nothing")]

    table: Any = Table([], [Note(""), Note("remember")])
    bucket: Any = Bucket()
    verification = await Verifier(table, bucket, lambda: 10, checks={Note: check}).run()
    assert [finding.kind for finding in verification.findings] == ["empty-note"]


@pytest.mark.parametrize(
    ("item", "record"),
    [
        ({"PK": {"S": "N#acme#1"}, "SK": {"S": "N"}, "text": {"S": "x"}}, Note("x")),
        ({"PK": {"S": "N#acme#1"}, "SK": {"S": "N"}}, "N#acme#1 N"),
        ({"PK": {"S": "X#of-another-release"}, "SK": {"S": "N"}}, None),
    ],
)
def test_a_walk_reads_each_registered_kind_and_names_what_is_malformed(
    item: dict[str, Any], record: Any
) -> None:
    client: Any = None
    table = DynamoMaintenance(client, "t", kinds=[ItemKind("N#", "N", note)])
    assert table._read(item) == record
