"""What every engine must keep of uploads: who is first wins, and nobody else."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

import pytest

from app import bootstrap
from app.documents.models import Change, Document, UploadIntent
from app.documents.ports import Conflict, IntentClosed
from app.idempotency.dynamodb import DynamoIdempotency
from app.idempotency.models import Claim, Settlement, StoredResponse
from app.idempotency.ports import ClaimLost, ClaimTaken
from app.maintenance.reconcile import reconcile
from app.records import Tenant, new_write_id
from app.uploads.dynamodb import DynamoUploads
from app.uploads.models import Upload
from app.uploads.ports import NotOpen
from app.usage.models import total
from tests.contract.test_table import ACME, backend, new_document, table
from tests.support.engines import Engine
from tests.support.tables import EveryTable

__all__ = ["backend", "table"]  # the fixtures

HOUR = 3_600_000


def now() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def uploads(backend: tuple[EveryTable, str, Any]) -> DynamoUploads:
    return DynamoUploads(backend[0]._client, backend[1])


def new_upload(**changes: Any) -> Upload:
    document, _ = new_document()
    made = Upload(
        id=new_write_id(),
        tenant=ACME,
        document_id=document.id,
        state="open",
        size=3,
        created_by="k" * 16,
        created_at=now(),
        urls_until=now() + HOUR // 4,
        due_at=now() + 24 * HOUR,
        is_version=False,
        sha256="ab" * 32,
        name="a",
    )
    return dataclasses.replace(made, **changes)


async def opened(uploads: DynamoUploads, **changes: Any) -> Upload:
    upload = new_upload(**changes)
    await uploads.open(upload, None, None)
    return upload


def completing(upload: Upload) -> tuple[Document, Change]:
    document, write_id = new_document(id=upload.document_id, content_id=upload.id)
    intent = UploadIntent(upload.id, upload.document_id, upload.settled_at, now() + 24 * HOUR)
    return document, Change(write_id=write_id, before=None, after=document, intent=intent)


async def open_ones(table: EveryTable) -> int:
    return total(await table.usage(ACME)).uploads


async def state(uploads: DynamoUploads, upload: Upload) -> str | None:
    found = await uploads.read(upload.id)
    return found.state if found else None


async def test_what_is_opened_is_read(uploads: DynamoUploads, table: EveryTable) -> None:
    upload = await opened(uploads, tags=("a",), key="a/b")
    assert await uploads.read(upload.id) == upload
    await uploads.open(upload, None, None)  # a repetition after a lost answer
    assert await open_ones(table) == 1
    assert await uploads.read(new_write_id()) is None


async def test_the_answer_is_recorded_with_it(
    uploads: DynamoUploads, backend: tuple[EveryTable, str, Any]
) -> None:
    table = backend[0]
    idempotency = DynamoIdempotency(table._client, backend[1])
    claim = Claim("k" * 64, new_write_id(), "f")
    settled = Settlement(StoredResponse(201, {}, b'{"id":"x"}'), "ab" * 32)
    await idempotency.claim(ACME, claim)
    await uploads.open(new_upload(), claim, settled)
    with pytest.raises(ClaimTaken) as taken:
        await idempotency.claim(ACME, dataclasses.replace(claim, owner=new_write_id()))
    assert taken.value.settled == settled
    late = new_upload()
    with pytest.raises(ClaimLost):
        await uploads.open(late, dataclasses.replace(claim, owner=new_write_id()), settled)
    assert await uploads.read(late.id) is None
    assert await open_ones(table) == 1


async def test_a_multipart_upload_is_recorded_once(uploads: DynamoUploads) -> None:
    upload = await opened(uploads, sha256=None, part_size=5 * 1024 * 1024)
    begun = dataclasses.replace(upload, multipart_id="first", due_at=now() + HOUR)
    for _ in range(2):  # a repetition after a lost answer
        await uploads.begin(begun, None, None)
    found = await uploads.read(upload.id)
    assert found is not None
    assert (found.multipart_id, found.due_at) == ("first", begun.due_at)
    with pytest.raises(NotOpen):
        await uploads.begin(dataclasses.replace(upload, multipart_id="second"), None, None)
    assert await uploads.reap(upload, now())
    with pytest.raises(NotOpen):
        await uploads.begin(begun, None, None)


async def test_its_end_is_put_off_and_never_brought_forward_while_urls_live(
    uploads: DynamoUploads,
) -> None:
    upload = await opened(uploads)
    later = upload.urls_until + 5000
    renewed = await uploads.renew(upload, later + HOUR, later)
    assert (renewed.urls_until, renewed.due_at) == (later, later + HOUR)
    earlier = await uploads.renew(upload, now(), upload.urls_until)
    assert (earlier.urls_until, earlier.due_at) == (later, later + HOUR)
    unsigned = await uploads.renew(upload, later + 2 * HOUR, None)
    assert (unsigned.urls_until, unsigned.due_at) == (later, later + 2 * HOUR)
    await uploads.reap(upload, now())
    for until in (later + 1, None):
        with pytest.raises(NotOpen) as ended:
            await uploads.renew(upload, later, until)
        assert ended.value.current is not None
        assert ended.value.current.state == "reaping"


async def test_a_completion_makes_the_document_and_ends_the_upload(
    uploads: DynamoUploads, table: EveryTable
) -> None:
    upload = await opened(uploads)
    document, change = completing(upload)
    for _ in range(2):  # a repetition after a lost answer
        await table.commit(ACME, change)
    assert await table.read(ACME, document.id) == document
    found = await uploads.read(upload.id)
    assert found is not None
    assert (found.state, found.due_at) == ("completed", upload.settled_at)
    held = total(await table.usage(ACME))
    assert (held.uploads, held.documents, held.bytes) == (0, 1, 3)
    _, again = completing(upload)
    with pytest.raises((Conflict, IntentClosed)):
        await table.commit(ACME, again)
    assert not await uploads.reap(upload, now())
    assert await state(uploads, upload) == "completed"


async def test_what_is_reaped_cannot_be_completed(
    uploads: DynamoUploads, table: EveryTable
) -> None:
    upload = await opened(uploads)
    for _ in range(2):
        assert await uploads.reap(upload, now())
    document, change = completing(upload)
    with pytest.raises(IntentClosed):
        await table.commit(ACME, change)
    assert await table.read(ACME, document.id) is None
    assert await open_ones(table) == 0


async def test_of_completions_and_aborts_one_wins(
    uploads: DynamoUploads, table: EveryTable, dynamodb_engine: Engine
) -> None:
    if dynamodb_engine.name == "moto":
        pytest.skip("this engine's transactions are not isolated")
    for _ in range(4):
        upload = await opened(uploads)
        changes = [completing(upload) for _ in range(3)]
        results = await asyncio.gather(
            *(table.commit(ACME, change) for _, change in changes),
            *(uploads.reap(upload, now()) for _ in range(2)),
            return_exceptions=True,
        )
        committed = results[:3].count(None)
        reaped = results[3:]
        found = await table.read(ACME, upload.document_id)
        assert committed == (found is not None)
        assert reaped == ([False, False] if found else [True, True])
        assert await state(uploads, upload) == ("completed" if found else "reaping")
    assert await open_ones(table) == 0


async def test_a_completed_one_is_forgotten_when_its_time_is_up(
    uploads: DynamoUploads, table: EveryTable
) -> None:
    upload = await opened(uploads, state="completed", kept_until=now() - 2000)
    assert await uploads.read(upload.id) is None
    assert await table.read_intent(upload.id) is None


# --- how maintenance sees them ------------------------------------------------------------------


async def test_the_sweeper_takes_it_when_it_is_due(
    uploads: DynamoUploads, table: EveryTable
) -> None:
    upload = await opened(uploads, urls_until=now() + HOUR, due_at=now() + HOUR)
    assert upload.due_at is not None
    due = [found async for found in table.due(now())]
    assert upload.id not in due
    assert await table.reap_lapsed(upload.id, now()) is None
    # A call about it came between the sweeper's look and its step.
    assert not await uploads.reap(upload, now(), lapsed=True)
    assert await state(uploads, upload) == "open"
    found = [found async for found in table.due(upload.due_at)]
    assert upload.id in found
    assert await table.reap_lapsed(upload.id, upload.due_at) is not None
    opened_intent = await table.reap_lapsed(upload.id, upload.due_at)  # by another sweeper
    assert opened_intent is not None
    assert (opened_intent.tenant, opened_intent.reaping) == (ACME, True)
    assert await open_ones(table) == 0
    await table.drop_intent(ACME, opened_intent.intent, upload.due_at)
    left = await uploads.read(upload.id)
    assert left is not None
    assert left.due_at == left.settled_at
    assert await table.read_intent(upload.id) is not None
    await table.drop_intent(ACME, opened_intent.intent, left.settled_at)
    assert await uploads.read(upload.id) is None
    assert await table.read_intent(upload.id) is None


async def test_a_completed_one_covers_its_bytes_until_no_url_is_alive(
    uploads: DynamoUploads, table: EveryTable
) -> None:
    upload = await opened(uploads, urls_until=now())
    _, change = completing(upload)
    await table.commit(ACME, change)
    assert await table.read_intent(upload.id) is not None
    assert await table.reap_lapsed(upload.id, now()) is None
    opened_intent = await table.reap_lapsed(upload.id, upload.settled_at)
    assert opened_intent is not None
    await table.drop_intent(ACME, opened_intent.intent, upload.settled_at)
    assert await state(uploads, upload) == "completed"
    assert await table.read_intent(upload.id) is None
    due = [found async for found in table.due(upload.settled_at)]
    assert upload.id not in due


async def test_a_tenant_s_purge_reaps_it(uploads: DynamoUploads, table: EveryTable) -> None:
    upload = await opened(uploads)
    opened_intent = await table.read_intent(upload.id)
    assert opened_intent is not None
    assert await table.reap_intent(ACME, opened_intent.intent)
    assert await state(uploads, upload) == "reaping"


async def test_another_tenant_s_counter_is_left_alone(
    uploads: DynamoUploads, table: EveryTable
) -> None:
    await opened(uploads, tenant=Tenant("globex"))
    assert await open_ones(table) == 0


async def test_a_recount_counts_those_that_are_open(
    uploads: DynamoUploads, table: EveryTable
) -> None:
    for _ in range(3):
        await opened(uploads)
    await uploads.reap(await opened(uploads), now())
    _, change = completing(await opened(uploads))
    await table.commit(ACME, change)
    table._kinds = [kind for feature in bootstrap.FEATURES for kind in feature.kinds]
    assert (await reconcile(table, ACME)).mended == []
    [counter, *_] = await table.usage(ACME)
    assert await table.correct_usage(counter, dataclasses.replace(counter, uploads=7))
    assert await open_ones(table) != 3
    [mended] = (await reconcile(table, ACME)).mended
    assert mended.held.uploads == 3
    assert await open_ones(table) == 3
