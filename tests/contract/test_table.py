"""What every engine under `EveryTable` must keep: the same suite for each of them."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import boto3
import pytest

from app.aws.credentials import CredentialSource
from app.aws.dynamodb import DynamoDB
from app.aws.endpoints import Endpoint
from app.aws.transport import Transport
from app.documents.ids import DocumentIds
from app.documents.models import Change, Document, Intent
from app.documents.ports import Conflict, Index, IntentClosed, KeyTaken
from app.idempotency.models import Claim, Settlement, StoredResponse
from app.idempotency.ports import ClaimLost, ClaimTaken
from app.keys.models import ApiKey
from app.keys.ports import KeyChanged, Settled
from app.maintenance.ports import Released
from app.maintenance.provision import ProvisionError, _Clients, _provision_table
from app.records import Tenant, new_write_id
from tests.support.engines import Engine
from tests.support.tables import EveryTable

ACME, GLOBEX = Tenant("acme"), Tenant("globex")
DIGEST = "ab" * 32


def clients(engine: Engine) -> _Clients:
    client = boto3.client(
        "dynamodb",
        endpoint_url=engine.url,
        region_name=engine.region,
        aws_access_key_id=engine.access_key,
        aws_secret_access_key=engine.secret_key,
    )
    return _Clients(client, None, engine.region)


@pytest.fixture
async def backend(
    dynamodb_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[EveryTable, str, _Clients]]:
    """An adapter with four shards on a fresh table."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", dynamodb_engine.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", dynamodb_engine.secret_key)
    name = f"contract-{time.monotonic_ns()}"
    aws = clients(dynamodb_engine)
    await asyncio.to_thread(_provision_table, aws, name, lambda text: None)
    credentials = CredentialSource()
    await credentials.start()
    transport = Transport(max_connections=32)
    client = DynamoDB(
        transport, Endpoint.parse(dynamodb_engine.url), dynamodb_engine.region, credentials
    )
    yield EveryTable(client, name, 4), name, aws
    await transport.close()
    await credentials.stop()


@pytest.fixture
def table(backend: tuple[EveryTable, str, _Clients]) -> EveryTable:
    return backend[0]


IDS = DocumentIds(4)


def new_document(**changes: Any) -> tuple[Document, str]:
    write_id = new_write_id()
    now = time.time_ns() // 1_000_000
    document = Document(
        id=IDS.new(),
        name="Ünïcode 🎉.txt",
        content_type="text/plain",
        size=3,
        sha256=DIGEST,
        revision=1,
        version=1,
        content_id=new_write_id(),
        tags=("red", "blue"),
        metadata_json='{"n":1.5,"big":9007199254740993,"nested":{"ok":[true,null]}}',
        created_at=now,
        updated_at=now,
        created_by="key1",
        recent_write_ids=write_id,
    )
    return dataclasses.replace(document, **changes), write_id


async def create(table: EveryTable, tenant: Tenant = ACME, **changes: Any) -> Document:
    document, write_id = new_document(**changes)
    intent = Intent(document.content_id, document.id, document.created_at + 60_000)
    await table.open_intent(tenant, intent)
    await table.commit(
        tenant,
        Change(write_id=write_id, before=None, after=document, intent=intent),
    )
    return document


def revised(document: Document, **changes: Any) -> tuple[Document, Change]:
    write_id = new_write_id()
    after = dataclasses.replace(
        document,
        revision=document.revision + 1,
        recent_write_ids=document.remembering(write_id),
        **changes,
    )
    return after, Change(write_id=write_id, before=document, after=after)


async def raw_items(backend: tuple[EveryTable, str, _Clients]) -> list[dict[str, Any]]:
    _, name, aws = backend
    answer = await asyncio.to_thread(aws.dynamodb.scan, TableName=name, ConsistentRead=True)
    return list(answer["Items"])


async def test_a_document_reads_back_as_it_was_written(table: EveryTable) -> None:
    document = await create(table, expires_at=2_000_000_000_000)
    assert await table.read(ACME, document.id) == document


async def test_another_tenant_finds_nothing(table: EveryTable) -> None:
    document = await create(table)
    assert await table.read(GLOBEX, document.id) is None
    for index in (Index(), Index("tag", "red"), Index("sha256", DIGEST)):
        page = await table.page(GLOBEX, index, below=None, above=None, limit=10)
        assert (list(page.documents), page.more) == ([], False)


async def test_a_create_leaves_document_entries_one_counter_and_no_intent(
    backend: tuple[EveryTable, str, _Clients],
) -> None:
    document = await create(backend[0])
    kinds = sorted(item["PK"]["S"].split("#")[0] for item in await raw_items(backend))
    assert kinds == ["T", "T", "T", "T", "T"]
    [usage] = [i for i in await raw_items(backend) if i["SK"]["S"].startswith("USAGE#")]
    assert (usage["bytes"]["N"], usage["documents"]["N"]) == (str(document.size), "1")


async def test_a_change_of_a_stale_revision_is_refused_with_what_is_there(
    table: EveryTable,
) -> None:
    document = await create(table)
    after, change = revised(document, name="first")
    await table.commit(ACME, change)
    _, late = revised(document, name="second")
    with pytest.raises(Conflict) as refused:
        await table.commit(ACME, late)
    assert refused.value.current == after
    assert await table.read(ACME, document.id) == after


async def test_a_change_of_a_missing_document_is_refused_with_nothing(table: EveryTable) -> None:
    document, _ = new_document()
    for changes in ({"name": "plain"}, {"tags": ("green",)}):
        with pytest.raises(Conflict) as refused:
            await table.commit(ACME, revised(document, **changes)[1])
        assert refused.value.current is None


async def test_the_same_change_twice_is_one_success(table: EveryTable) -> None:
    """What a retry after a lost answer looks like to the table."""
    document = await create(table)
    for changes in ({"name": "renamed"}, {"tags": ("green",)}):
        current = await table.read(ACME, document.id)
        assert current is not None
        after, change = revised(current, **changes)
        await table.commit(ACME, change)
        await table.commit(ACME, change)
        assert await table.read(ACME, document.id) == after


async def test_the_same_create_twice_is_one_success(
    backend: tuple[EveryTable, str, _Clients],
) -> None:
    table = backend[0]
    document, write_id = new_document()
    intent = Intent(document.content_id, document.id, document.created_at + 60_000)
    await table.open_intent(ACME, intent)
    change = Change(write_id=write_id, before=None, after=document, intent=intent)
    await table.commit(ACME, change)
    await table.commit(ACME, change)
    usage = [i for i in await raw_items(backend) if i["SK"]["S"].startswith("USAGE#")]
    assert sum(int(item["documents"]["N"]) for item in usage) == 1


async def test_an_own_change_is_recognised_under_others_that_followed(table: EveryTable) -> None:
    document = await create(table)
    first, change = revised(document, name="mine")
    await table.commit(ACME, change)
    second, other = revised(first, name="theirs")
    await table.commit(ACME, other)
    await table.commit(ACME, change)  # asked again: it has happened, and is not done again
    assert await table.read(ACME, document.id) == second


async def test_one_of_twelve_racing_writers_wins(
    table: EveryTable, dynamodb_engine: Engine
) -> None:
    if dynamodb_engine.name == "moto":
        # A cancelled one puts back the tables as they were, with what others wrote meanwhile.
        pytest.skip("this engine's transactions are not isolated")
    document = await create(table)
    changes = [revised(document, name=f"writer {n}")[1] for n in range(6)]
    changes += [revised(document, tags=(f"writer-{n}",))[1] for n in range(6)]
    outcomes = await asyncio.gather(
        *(table.commit(ACME, change) for change in changes), return_exceptions=True
    )
    winners = [c for c, o in zip(changes, outcomes, strict=True) if o is None]
    assert len(winners) == 1
    assert all(o is None or isinstance(o, Conflict) for o in outcomes)
    assert await table.read(ACME, document.id) == winners[0].after


async def test_what_was_current_is_recorded_when_others_take_its_place(
    backend: tuple[EveryTable, str, _Clients],
) -> None:
    table = backend[0]
    document = await create(table)
    assert await table.versions(ACME, document.id) == []
    assert await table.is_referenced(ACME, document.id, document.content_id)
    intent = Intent(new_write_id(), document.id, document.created_at + 60_000)
    await table.open_intent(ACME, intent)
    new_bytes: dict[str, Any] = {
        "sha256": "cd" * 32,
        "content_id": intent.write_id,
        "content_by": "key2",
        "older": 1,
    }
    after, change = revised(document, version=2, content_at=document.created_at + 1, **new_bytes)
    await table.commit(ACME, dataclasses.replace(change, intent=intent))
    assert await table.versions(ACME, document.id) == [document.current]
    assert await table.version(ACME, document.id, 1) == document.current
    for write_id in (document.content_id, intent.write_id):
        assert await table.is_referenced(ACME, document.id, write_id)
    dropped, drop = revised(after, older=0)
    drop = dataclasses.replace(drop, dropped=document.current, releases=True)
    await table.commit(ACME, drop)
    await table.commit(ACME, drop)  # asked again: it has happened
    assert await table.read(ACME, document.id) == dropped
    assert await table.versions(ACME, document.id) == []
    assert not await table.is_referenced(ACME, document.id, document.content_id)
    released = await table.read_released(document.content_id)
    assert released == Released(ACME, document.id, document.content_id, document.size)
    assert [due async for due in table.due(document.created_at + 10_000)] == [released]
    assert await table.drop_released(released)
    assert not await table.drop_released(released)
    usage = [i for i in await raw_items(backend) if i["SK"]["S"].startswith("USAGE#")]
    assert sum(int(item["bytes"]["N"]) for item in usage) == after.size


async def test_a_key_is_one_documents(table: EveryTable) -> None:
    first = await create(table, key="a/b")
    assert await table.holder(ACME, "a/b") == first.id
    assert await table.holder(GLOBEX, "a/b") is None
    with pytest.raises(KeyTaken) as taken:
        await create(table, key="a/b")
    assert taken.value.holder == first.id
    other = await create(table, key="c")
    with pytest.raises(KeyTaken):
        await table.commit(ACME, revised(other, key="a/b")[1])
    moved, change = revised(first, key="a/ü")
    await table.commit(ACME, change)
    await table.commit(ACME, change)
    assert await table.holder(ACME, "a/b") is None
    assert await table.holder(ACME, "a/ü") == first.id
    assert await table.read(ACME, first.id) == moved
    detached, change = revised(moved, key=None)
    await table.commit(ACME, change)
    assert await table.holder(ACME, "a/ü") is None
    assert await table.read(ACME, first.id) == detached


async def test_one_of_twelve_racing_moves_to_a_key_wins(
    table: EveryTable, dynamodb_engine: Engine
) -> None:
    if dynamodb_engine.name == "moto":
        pytest.skip("this engine's transactions are not isolated")
    documents = [await create(table) for _ in range(12)]
    changes = [revised(document, key="wanted")[1] for document in documents]
    outcomes = await asyncio.gather(
        *(table.commit(ACME, change) for change in changes), return_exceptions=True
    )
    winners = [c for c, o in zip(changes, outcomes, strict=True) if o is None]
    assert [winner.after.id for winner in winners] == [await table.holder(ACME, "wanted")]
    assert all(o is None or isinstance(o, KeyTaken) for o in outcomes)
    for document in documents:
        found = await table.read(ACME, document.id)
        assert found is not None
        assert (found.key == "wanted") == (found.id == winners[0].after.id)


async def test_a_deleted_document_gives_its_key_up_and_is_found_by_it(table: EveryTable) -> None:
    document = await create(table, key="k")
    deleted, change = revised(document, deleted_at=document.created_at, purge_after=2**42)
    await table.commit(ACME, change)
    assert await table.holder(ACME, "k") is None
    page = await table.page(ACME, Index("key", "k"), below=None, above=None, limit=10)
    assert list(page.documents) == [deleted]
    heir = await create(table, key="k")
    back, change = revised(deleted, deleted_at=None, purge_after=None)
    with pytest.raises(KeyTaken):
        await table.commit(ACME, change)
    await table.commit(ACME, dataclasses.replace(change, key_from=heir.id))
    assert await table.holder(ACME, "k") == back.id
    page = await table.page(ACME, Index("key", "k"), below=None, above=None, limit=10)
    assert list(page.documents) == []
    # What has lost its key can be changed all the same, and takes nothing along.
    gone, change = revised(heir, deleted_at=heir.created_at, purge_after=2**42)
    await table.commit(ACME, change)
    assert await table.read(ACME, heir.id) == gone
    assert await table.holder(ACME, "k") == back.id


async def test_keys_are_listed_in_the_order_of_their_bytes(table: EveryTable) -> None:
    keys = ["a", "a/b", "a/c/d", "a0", "b", "z", "\u00e9", "\uffee", "\U0001f389"]
    for key in reversed(keys):
        await create(table, key=key)
    await create(table, tenant=GLOBEX, key="a/foreign")
    assert keys == sorted(keys, key=str.encode)

    async def listed(prefix: str, limit: int = 2) -> list[str]:
        seen: list[str] = []
        after, more = None, True
        while more:
            page = await table.keys(ACME, prefix, after, limit)
            assert len(page.keys) <= limit
            seen += [key for key, _ in page.keys]
            after, more = (page.keys[-1][0] if page.keys else after), page.more
        return seen

    assert await listed("") == keys
    assert await listed("a") == ["a", "a/b", "a/c/d", "a0"]
    assert await listed("a/") == ["a/b", "a/c/d"]
    assert await listed("a/", limit=50) == ["a/b", "a/c/d"]
    assert await listed("c") == []
    page = await table.keys(ACME, "a", "a0", 10)
    assert (list(page.keys), page.more) == ([], False)


async def test_entries_follow_the_tags_and_the_digest(
    backend: tuple[EveryTable, str, _Clients],
) -> None:
    table = backend[0]
    document = await create(table)
    intent = Intent(new_write_id(), document.id, document.created_at + 60_000)
    await table.open_intent(ACME, intent)
    after, change = revised(
        document,
        tags=("blue", "green"),
        sha256="cd" * 32,
        version=2,
        content_id=intent.write_id,
    )
    await table.commit(ACME, dataclasses.replace(change, intent=intent))
    found = {}
    for index in (
        Index("tag", "red"),
        Index("tag", "blue"),
        Index("tag", "green"),
        Index("sha256", DIGEST),
        Index("sha256", "cd" * 32),
    ):
        page = await table.page(ACME, index, below=None, above=None, limit=10)
        found[index.value] = list(page.documents)
    assert found == {
        "red": [],
        "blue": [after],
        "green": [after],
        DIGEST: [],
        "cd" * 32: [after],
    }


async def test_a_page_walks_all_shards_newest_first(table: EveryTable) -> None:
    documents = [await create(table) for _ in range(12)]
    expected = [document.id for document in reversed(documents)]
    for index in (Index(), Index("tag", "red"), Index("sha256", DIGEST)):
        seen: list[str] = []
        position, more = None, True
        while more:
            page = await table.page(ACME, index, below=position, above=None, limit=5)
            assert page.examined == len(page.documents) <= 5
            seen += [document.id for document in page.documents]
            position, more = page.position, page.more
        assert seen == expected


async def test_a_page_stays_between_its_bounds(table: EveryTable) -> None:
    documents = [await create(table) for _ in range(6)]
    ids = [document.id for document in documents]
    page = await table.page(ACME, Index(), below=ids[4], above=ids[1], limit=10)
    assert [document.id for document in page.documents] == [ids[3], ids[2]]
    assert not page.more


async def test_a_reaped_intent_cannot_be_committed(table: EveryTable) -> None:
    document, write_id = new_document()
    intent = Intent(document.content_id, document.id, document.created_at + 60_000)
    await table.open_intent(ACME, intent)
    assert await table.reap_intent(ACME, intent)
    change = Change(write_id=write_id, before=None, after=document, intent=intent)
    with pytest.raises(IntentClosed):
        await table.commit(ACME, change)
    with pytest.raises(IntentClosed):
        await table.extend_intent(ACME, intent, document.created_at + 120_000)
    assert await table.read(ACME, document.id) is None
    await table.drop_intent(ACME, intent)
    with pytest.raises(IntentClosed):
        await table.commit(ACME, change)


async def test_a_committed_intent_cannot_be_reaped(table: EveryTable) -> None:
    document = await create(table)
    intent = Intent(document.content_id, document.id, 0)
    assert not await table.reap_intent(ACME, intent)


def a_claim(fingerprint: str = "f") -> Claim:
    return Claim("k" * 64, new_write_id(), fingerprint)


OUTCOME = Settlement(StoredResponse(201, {"ETag": '"1"'}, b'{"id":"\xc3\xbc"}'), DIGEST)


async def test_a_claimed_key_is_taken_for_others_and_free_after_release(
    table: EveryTable,
) -> None:
    mine, other = a_claim(), a_claim("other")
    await table.claim(ACME, mine)
    await table.claim(ACME, mine)  # its answer was lost: still mine
    with pytest.raises(ClaimTaken) as taken:
        await table.claim(ACME, other)
    assert (taken.value.fingerprint, taken.value.settled) == ("f", None)
    await table.claim(GLOBEX, a_claim())  # another tenant's keys are its own
    await table.release_claim(ACME, other)
    with pytest.raises(ClaimTaken):
        await table.claim(ACME, other)
    await table.release_claim(ACME, mine)
    await table.claim(ACME, other)


async def test_a_commit_settles_its_claim_or_fails_whole(table: EveryTable) -> None:
    document = await create(table)
    claim = a_claim()
    await table.claim(ACME, claim)
    after, change = revised(document, name="claimed")
    claimed = dataclasses.replace(change, claim=claim, settled=OUTCOME)
    stranger = dataclasses.replace(claimed, claim=dataclasses.replace(claim, owner="other"))
    with pytest.raises(ClaimLost):
        await table.commit(ACME, stranger)
    assert await table.read(ACME, document.id) == document
    await table.commit(ACME, claimed)
    await table.commit(ACME, claimed)
    assert await table.read(ACME, document.id) == after
    with pytest.raises(ClaimTaken) as taken:
        await table.claim(ACME, a_claim())
    assert taken.value.settled == OUTCOME
    await table.release_claim(ACME, claim)  # settled: no longer to be given back
    with pytest.raises(ClaimTaken):
        await table.claim(ACME, a_claim())


async def test_an_abandoned_claim_is_taken_over_by_the_same_request_only(
    table: EveryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = a_claim()
    now = time.time()
    with monkeypatch.context() as past:
        past.setattr("app.idempotency.dynamodb._now", lambda: int((now - 61) * 1000))
        await table.claim(ACME, dead)
    with pytest.raises(ClaimTaken):
        await table.claim(ACME, a_claim("another request"))
    await table.claim(ACME, a_claim())
    with pytest.raises(ClaimLost):
        await table.extend_claim(ACME, dead)
    with pytest.raises(ClaimLost):
        await table.settle_claim(ACME, dead, OUTCOME)


async def test_a_claim_ends_after_a_day_whatever_the_table_still_holds(
    table: EveryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = a_claim()
    now = time.time()
    with monkeypatch.context() as past:
        past.setattr("app.idempotency.dynamodb._now", lambda: int((now - 24 * 3600 - 1) * 1000))
        await table.claim(ACME, old)
        await table.settle_claim(ACME, old, OUTCOME)
    await table.claim(ACME, a_claim("another request"))


async def test_keys_are_stored_listed_and_revoked(table: EveryTable) -> None:
    key = ApiKey(
        id="a" * 16,
        tenant=ACME,
        secret_sha256=DIGEST,
        scopes=frozenset({"documents:read"}),
        name="laptop",
        created_at=1,
    )
    await table.write_key(key)
    assert await table.read_key(key.id) == key
    assert await table.list_keys(ACME) == [key]
    assert await table.list_keys(GLOBEX) == []
    assert await table.list_keys(None) == [key]
    revoked = await table.revoke_key(key.id, 5)
    assert revoked == dataclasses.replace(key, revoked_at=5)
    assert await table.revoke_key(key.id, 9) == revoked
    assert await table.revoke_key("b" * 16, 9) is None


def an_api_key(first: str, tenant: Tenant = ACME, **further: Any) -> ApiKey:
    """A key whose id begins so; ids name transactions, of which an engine remembers the names."""
    key_id = first + secrets.token_hex(8)[len(first) :]
    plain: dict[str, Any] = {
        "secret_sha256": hashlib.sha256(key_id.encode()).hexdigest(),
        "scopes": frozenset({"keys:admin"}),
        "name": "a key",
        "created_at": 1,
    }
    return ApiKey(id=key_id, tenant=tenant, **{**plain, **further})


async def test_a_new_key_settles_its_claim_with_it_or_is_not_there(table: EveryTable) -> None:
    claim = a_claim("a key's")
    await table.claim(ACME, claim)
    made = an_api_key("a", key_prefix="a/", rate_per_second=0.5, created_by="b" * 16)
    await table.write_key(made, Settled(claim, OUTCOME))
    assert await table.read_key(made.id) == made
    with pytest.raises(ClaimTaken) as taken:
        await table.claim(ACME, a_claim("a key's"))
    assert taken.value.settled == OUTCOME
    # The claim is no more its own: nothing is written.
    other = an_api_key("c")
    with pytest.raises(ClaimLost):
        await table.write_key(other, Settled(a_claim("a key's"), OUTCOME))
    assert await table.read_key(other.id) is None
    assert await table.list_keys(ACME) == [made]


async def test_a_write_of_a_key_that_is_there_is_its_own_write(table: EveryTable) -> None:
    key = an_api_key("a")
    await table.write_key(key)
    await table.write_key(dataclasses.replace(key))
    assert await table.read_key(key.id) == key


async def test_a_rotation_ends_the_old_key_and_makes_the_new_one_together(
    table: EveryTable,
) -> None:
    old, new, later = (an_api_key(letter) for letter in "abc")
    await table.write_key(old)
    await table.rotate_key(old, 100, new)
    ended = dataclasses.replace(old, ends_at=100)
    assert await table.read_key(old.id) == ended
    assert await table.read_key(new.id) == new
    with pytest.raises(KeyChanged):  # it is not what was read any more
        await table.rotate_key(old, 50, later)
    assert await table.read_key(later.id) is None
    await table.rotate_key(ended, 50, later)
    assert (await table.page_of_keys(ACME, None, 10)).keys == [
        dataclasses.replace(old, ends_at=50),
        new,
        later,
    ]


async def test_a_key_is_deleted_once_and_then_neither_rotated_nor_deleted(
    table: EveryTable,
) -> None:
    key, other = an_api_key("a"), an_api_key("b")
    await table.write_key(key)
    w, x, y = (new_write_id() for _ in range(3))
    with pytest.raises(KeyChanged):  # another tenant's hand
        await table.delete_key(dataclasses.replace(key, tenant=GLOBEX), y, 9)
    assert await table.read_key(key.id) == key
    await table.delete_key(key, w, 7)
    await table.delete_key(key, w, 7)  # the same write once more
    deleted = dataclasses.replace(key, revoked_at=7)
    assert await table.read_key(key.id) == deleted
    with pytest.raises(KeyChanged):
        await table.delete_key(key, x, 9)
    with pytest.raises(KeyChanged):
        await table.rotate_key(key, 9, other)
    assert await table.read_key(other.id) is None
    assert await table.read_key(key.id) == deleted


async def test_the_use_of_a_key_moves_forward_alone(table: EveryTable) -> None:
    key = an_api_key("a")
    await table.write_key(key)
    for hour, known in ((3_600_000, 3_600_000), (0, 3_600_000), (7_200_000, 7_200_000)):
        await table.touch_key(key.id, hour)
        found = await table.read_key(key.id)
        assert found is not None
        assert found.last_used_at == known
    await table.touch_key("z", 1)
    assert await table.read_key("z") is None


async def test_keys_are_listed_in_pages_by_their_ids(table: EveryTable) -> None:
    keys = [an_api_key(str(number)) for number in range(5)]
    for key in reversed(keys):
        await table.write_key(key)
    await table.write_key(an_api_key("9", GLOBEX))
    found: list[ApiKey] = []
    after = None
    for _ in range(3):
        page = await table.page_of_keys(ACME, after, 2)
        found += page.keys
        after = page.position
    assert found == keys
    assert after is None
    exactly = await table.page_of_keys(ACME, None, 5)
    assert (exactly.keys, exactly.position) == (keys, None)


async def test_provisioning_again_changes_nothing_and_refuses_another_table(
    backend: tuple[EveryTable, str, _Clients],
) -> None:
    _, name, aws = backend
    said: list[str] = []
    await asyncio.to_thread(_provision_table, aws, name, said.append)
    assert said == [f"table {name}: exists, as it should be"]
    other = name + "-other"
    await asyncio.to_thread(
        lambda: aws.dynamodb.create_table(
            TableName=other,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )
    )
    with pytest.raises(ProvisionError, match="its key is id"):
        await asyncio.to_thread(_provision_table, aws, other, said.append)
