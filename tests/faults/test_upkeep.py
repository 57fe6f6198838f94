"""The sweeper and the verifier: what they remove and report, and that no fault misleads them."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from app import bootstrap
from app.aws.s3 import S3ObjectStore
from app.documents.ids import DocumentIds
from app.documents.models import Change, Intent, object_key
from app.documents.ports import Conflict
from app.maintenance.ports import Finding
from app.maintenance.sweep import Sweeper, Swept
from app.maintenance.verify import Verification, Verifier
from app.records import Tenant, new_write_id
from app.storage.errors import Unavailable
from tests.faults.injector import FaultyTransport, faults_of, plan_id
from tests.faults.operations import LARGE, OTHER, SMALL, Client, put_signed, sent, wish
from tests.faults.world import DAY_MS, RETAINED_MS, World, now_ms
from tests.support.engines import engine
from tests.support.service import ROOT, Answer, Service, running
from tests.support.tried import tried

FULL = os.environ.get("STRONGROOM_FULL") == "1"
ENGINES = [("ministack", "ministack"), ("dynamodb_local", "versitygw")]
_tags = itertools.count()


@pytest.fixture(scope="module", params=ENGINES, ids="-".join)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Service]]:
    tables, objects = (engine(request, name) for name in request.param)
    world = World(f"upkeep-{time.monotonic_ns()}", tables, objects)
    log = tmp_path_factory.mktemp("upkeep") / "log"
    world.provision()
    with running(tables, world.name, log, provision=False, **world.variables) as service:
        yield world, service


@pytest.fixture
def world(served: tuple[World, Service]) -> World:
    """Clean at the beginning: what a test leaves, the next one would find."""
    found, _ = served
    found.wipe()
    return found


@pytest.fixture
def client(served: tuple[World, Service], world: World) -> Client:
    number = next(_tags)
    return Client(served[1], world.new_keys([f"tenant-{number}"])[0], f"tag-{number}")


def document(world: World, path: str) -> dict[str, Any]:
    """The item of the document at this address."""
    identifier = path.rpartition("/")[2]
    return next(
        item
        for item in world.items("T#")
        if item["SK"]["S"] == f"D#{identifier}" and item["PK"]["S"].count("#") == 2
    )


def key_of(world: World, path: str) -> str:
    """The key of a document's current bytes."""
    item = document(world, path)
    tenant = item["PK"]["S"].split("#")[1]
    return f"{tenant}/{item['SK']['S'][2:]}/{item['content_id']['S']}"


def abandoned(world: World, *, body: bytes = SMALL, lapsed: bool = True) -> str:
    """What a process that was killed before its commit leaves; the key of its bytes."""
    tenant, identifier = Tenant("abandoned"), DocumentIds().new()
    deadline = now_ms() + (-1 if lapsed else DAY_MS)
    intent = Intent(new_write_id(), identifier, deadline)
    key = object_key(tenant, identifier, intent.write_id)

    async def leave(backends: bootstrap.Backends) -> None:
        await backends.documents.open_intent(tenant, intent)

    world.with_backends(leave)
    world.client("s3").put_object(Bucket=world.name, Key=key, Body=body)
    return key


def beside(key: str) -> str:
    """Another write's key of the same document."""
    return key[:-1] + ("-" if key.endswith("_") else "_")


def upload(world: World, key: str) -> None:
    """A multipart upload that nobody will finish."""
    s3 = world.client("s3")
    begun = s3.create_multipart_upload(Bucket=world.name, Key=key)
    s3.upload_part(
        Bucket=world.name, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=b"part"
    )


# --- what is swept --------------------------------------------------------------------------


def test_a_lapsed_intent_goes_with_its_bytes_and_uploads(world: World) -> None:
    key = abandoned(world)
    upload(world, key)
    assert world.faults(swept=False) == []  # the intent still covers them
    assert world.sweep().intents == 1
    assert world.faults(swept=True) == []


def test_an_open_intent_and_what_it_covers_stay(world: World) -> None:
    key = abandoned(world, lapsed=False)
    upload(world, key)
    assert world.sweep() == Swept()
    assert (world.keys(), world.uploads()) == ([key], [key])
    assert len(world.items("W#")) == 1


def test_an_intent_that_a_killed_sweeper_was_reaping_is_reaped_to_the_end(world: World) -> None:
    abandoned(world, lapsed=False)
    intent = world.items("W#")[0]
    world.client("dynamodb").update_item(
        TableName=world.name,
        Key={"PK": intent["PK"], "SK": intent["SK"]},
        UpdateExpression="SET #s = :r, due_at = :now",
        ExpressionAttributeNames={"#s": "state"},
        ExpressionAttributeValues={":r": {"S": "reaping"}, ":now": {"N": str(now_ms())}},
    )
    assert world.sweep().intents == 1
    assert world.faults(swept=True) == []


def test_an_upload_without_an_intent_is_ended(world: World, client: Client) -> None:
    path = client.made()
    upload(world, key_of(world, path))  # of a write that is committed: its begin was sent twice
    assert world.sweep().uploads == 1
    assert world.faults(swept=True) == []
    assert client.call("GET", path + "/content").body == SMALL


def test_a_deleted_document_goes_with_all_its_versions_once_its_time_is_up(
    world: World, client: Client
) -> None:
    kept = client.made()
    path = client.made()
    assert client.call("PUT", path + "/content", OTHER).status == 200
    assert client.call("DELETE", path).status == 204
    assert world.sweep(later_ms=34 * DAY_MS).documents == 0
    assert client.call("POST", path + "/restore").status == 200
    assert client.call("DELETE", path).status == 204
    swept = world.sweep(later_ms=RETAINED_MS)
    assert (swept.documents, swept.versions, swept.freed_bytes) == (1, 2, len(SMALL + OTHER))
    assert world.faults(swept=True) == []
    assert client.call("POST", path + "/restore").status == 404
    assert client.call("GET", kept + "/content").body == SMALL


def test_an_expired_document_goes(world: World, client: Client) -> None:
    answer = client.create(SMALL, Document_Expires="2099-01-01T00:00:00Z")
    assert answer.status == 201
    assert world.sweep().documents == 0
    century = 100 * 366 * DAY_MS
    assert world.sweep(later_ms=century).documents == 1
    assert world.faults(swept=True) == []


def test_a_dry_run_counts_the_same_and_changes_nothing(world: World, client: Client) -> None:
    upload(world, abandoned(world))
    path = client.made()
    client.call("DELETE", path)
    upload(world, key_of(world, path))
    before = (world.items(), world.keys(), world.uploads())
    planned = world.sweep(later_ms=RETAINED_MS, dry_run=True)
    assert (world.items(), world.keys(), world.uploads()) == before
    assert (planned.intents, planned.documents, planned.versions) == (1, 1, 1)
    done = world.sweep(later_ms=RETAINED_MS)
    # The purge itself ends the upload of the document's key, before the bucket is looked at.
    assert asdict(done) | {"uploads": 0} == asdict(planned) | {"uploads": 0}


def test_many_sweepers_at_once_remove_each_thing_once(world: World, client: Client) -> None:
    for _ in range(8):
        upload(world, abandoned(world))
        path = client.made()
        client.call("PUT", path + "/content", OTHER)
        client.call("DELETE", path)

    async def together(backends: bootstrap.Backends) -> list[Swept]:
        def clock() -> int:
            return now_ms() + RETAINED_MS

        sweepers = [Sweeper(backends.maintenance, backends.objects, clock) for _ in range(5)]
        return await asyncio.gather(*(sweeper.run() for sweeper in sweepers))

    done = world.with_backends(together)
    assert world.faults(swept=True) == []
    assert sum(swept.documents for swept in done) == 8
    assert sum(swept.versions for swept in done) == 16
    assert sum(swept.failed for swept in done) == 0


def test_of_restore_and_purge_exactly_one_wins(world: World, client: Client) -> None:
    paths = [client.made(deleted=True) for _ in range(10)]
    answers: dict[str, int] = {}

    def restore(path: str) -> None:
        answers[path] = client.call("POST", path + "/restore").status

    threads = [threading.Thread(target=restore, args=(path,)) for path in paths]
    for number, thread in enumerate(threads):
        if number == 5:
            sweeper = threading.Thread(target=world.sweep, kwargs={"later_ms": RETAINED_MS})
            sweeper.start()
        thread.start()
    for thread in [*threads, sweeper]:
        thread.join()
    world.sweep(later_ms=RETAINED_MS)
    assert world.faults(swept=True) == []
    for path, status in answers.items():
        assert status in (200, 404)
        assert client.call("GET", path + "/content").status == status


def test_an_intent_that_arrives_after_its_commit_costs_no_bytes(
    world: World, client: Client
) -> None:
    """A put of it that got no answer was given up, but lay somewhere on the way."""
    path = client.made()
    item = document(world, path)
    tenant, identifier, write_id = key_of(world, path).split("/")
    late = Intent(write_id, identifier, now_ms() - 1)

    async def arrive(backends: bootstrap.Backends) -> None:
        await backends.documents.open_intent(Tenant(tenant), late)

    world.with_backends(arrive)
    world.sweep()
    assert world.faults(swept=True) == []
    assert client.call("GET", path + "/content").body == SMALL
    assert document(world, path) == item


# --- uploads straight to the bucket ---------------------------------------------------------

_URLS_DEAD_MS = 2 * 3600 * 1000


def begun(client: Client, body: bytes = SMALL, **more: Any) -> tuple[str, dict[str, Any]]:
    """An open upload's address, and how its bytes are sent, all at once."""
    made = client.call("POST", "/v1/uploads", wish(client, body, **more))
    assert made.status == 201, made
    return f"/v1/uploads/{made.json()['id']}", made.json()["request"]


@pytest.mark.parametrize("body", [SMALL, LARGE])
def test_an_upload_that_nobody_completes_goes_when_it_was_last_heard_of_long_ago(
    world: World, client: Client, body: bytes
) -> None:
    path = sent(body)(client)
    [item] = world.items("U#")
    world.sweep(later_ms=DAY_MS - 60_000)
    assert world.items("U#") == [item]
    world.update(item, due_at=now_ms() + 60_000)
    assert client.call("GET", path).json()["received_bytes"] == len(body)  # which puts it off
    world.sweep(later_ms=_URLS_DEAD_MS)
    assert client.call("GET", path).status == 200
    assert world.faults(swept=False) == []
    assert world.sweep(later_ms=DAY_MS).intents == 1
    assert client.call("GET", path).status == 404
    assert client.call("POST", path + "/complete").status == 404
    assert world.faults(swept=True) == []
    assert (world.keys(), world.uploads(), world.items("U#")) == ([], [], [])


def test_a_put_after_the_abort_leaves_nothing(world: World, client: Client) -> None:
    path, request = begun(client)
    assert client.call("DELETE", path).status == 204
    assert world.sweep() == Swept()
    put_signed(request, SMALL)
    assert len(world.keys()) == 1
    assert world.verify(remove_orphans=True).findings == []
    world.sweep()  # its URL may still be alive: it stays covered
    assert len(world.items("U#")) == 1
    assert client.call("POST", path + "/complete").status == 404
    assert world.sweep(later_ms=_URLS_DEAD_MS).intents == 1
    assert (world.keys(), world.items("U#")) == ([], [])


def test_a_put_after_the_version_is_gone_leaves_nothing(world: World, client: Client) -> None:
    """The URL of a completed upload is alive, and nothing is under its key any more."""
    document = client.made()
    path, request = begun(client, OTHER, document_id=document.rpartition("/")[2])
    put_signed(request, OTHER)
    assert client.call("POST", path + "/complete").status == 201
    put(client, document, b"third")
    assert client.call("DELETE", document + "/versions/2").status == 204
    world.sweep()
    assert len(world.keys()) == 2
    put_signed(request, OTHER)
    assert len(world.keys()) == 3
    assert world.verify(remove_orphans=True).findings == []
    assert world.faults(swept=False) == []
    world.sweep(later_ms=_URLS_DEAD_MS)
    assert world.faults(swept=True) == []
    assert len(world.keys()) == 2
    assert client.call("POST", path + "/complete").status == 200  # still known
    assert client.call("GET", document + "/content").body == b"third"


def test_the_bytes_of_a_completed_upload_stay(world: World, client: Client) -> None:
    for body in (SMALL, LARGE):
        path = sent(body)(client)
        document = client.call("POST", path + "/complete").json()
        for later in (0, _URLS_DEAD_MS, DAY_MS):
            assert world.sweep(later_ms=later).intents == 0
        assert client.call("GET", f"/v1/documents/{document['id']}/content").body == body
        assert client.call("POST", path + "/complete").status == 200
    assert all("due_at" not in item for item in world.items("U#"))
    assert world.faults(swept=True) == []
    assert world.verify().findings == []


def test_an_abort_that_could_not_remove_the_bytes_is_ended_by_the_sweeper(
    world: World, client: Client
) -> None:
    path = sent(LARGE)(client)
    [item] = world.items("U#")
    values = {":r": {"S": "reaping"}, ":now": {"N": str(now_ms())}}
    world.client("dynamodb").update_item(  # as a service leaves it that is killed then
        TableName=world.name,
        Key={"PK": item["PK"], "SK": item["SK"]},
        UpdateExpression="SET #s = :r, due_at = :now",
        ExpressionAttributeNames={"#s": "state"},
        ExpressionAttributeValues=values,
    )
    assert world.sweep(dry_run=True).intents == 1
    assert len(world.uploads()) == 1
    assert world.sweep().intents == 1
    assert (world.uploads(), len(world.items("U#"))) == ([], 1)
    assert client.call("DELETE", path).status == 204
    world.sweep(later_ms=_URLS_DEAD_MS)
    assert world.items("U#") == []


def test_an_upload_that_no_sweeper_comes_to_is_a_finding(world: World, client: Client) -> None:
    sent(SMALL)(client)
    assert world.verify(remove_orphans=True).findings == []
    [item] = world.items("U#")
    world.update(item, due_at=now_ms() - 2 * DAY_MS)
    assert kinds(world.verify()) == {"unswept-intent": 1}
    world.client("dynamodb").update_item(
        TableName=world.name,
        Key={"PK": item["PK"], "SK": item["SK"]},
        UpdateExpression="REMOVE tenant",
    )
    assert kinds(world.verify())["malformed-item"] == 1


def put(client: Client, path: str, *bodies: bytes) -> None:
    for body in bodies:
        assert client.call("PUT", path + "/content", body).status == 200


def test_bytes_of_a_deleted_version_go_with_the_next_sweep(world: World, client: Client) -> None:
    path = client.made()
    key = key_of(world, path)
    put(client, path, OTHER)
    assert client.call("DELETE", path + "/versions/1").status == 204
    assert world.keys().count(key) == 1
    assert world.faults(swept=False) == []
    assert world.verify().findings == []
    planned = world.sweep(dry_run=True)
    assert (planned.freed_bytes, world.keys().count(key)) == (len(SMALL), 1)
    assert world.sweep().freed_bytes == len(SMALL)
    assert world.keys().count(key) == 0
    assert world.faults(swept=True) == []
    assert client.call("GET", path + "/content").body == OTHER


def test_bytes_that_another_version_has_stay(world: World, client: Client) -> None:
    path = client.made()
    key = key_of(world, path)
    put(client, path, OTHER)
    assert client.call("POST", path + "/versions/1/restore").status == 200
    assert client.call("DELETE", path + "/versions/1").status == 204
    world.sweep(later_ms=DAY_MS)
    assert world.bytes_of(key) == SMALL
    put(client, path, LARGE)
    assert client.call("DELETE", path + "/versions/3").status == 204
    assert world.faults(swept=False) == []
    world.sweep()
    assert world.keys().count(key) == 0
    assert world.faults(swept=True) == []


def test_a_purge_counts_bytes_once_that_versions_share(world: World, client: Client) -> None:
    path = client.made()
    put(client, path, OTHER)
    assert client.call("POST", path + "/versions/1/restore").status == 200
    put(client, path, LARGE)
    assert client.call("DELETE", path).status == 204
    swept = world.sweep(later_ms=RETAINED_MS)
    assert (swept.documents, swept.versions) == (1, 4)
    assert swept.freed_bytes == len(SMALL + OTHER + LARGE)
    assert (world.keys(), world.faults(swept=True)) == ([], [])


@pytest.fixture
def keeping_two(world: World, tmp_path: Path) -> Iterator[Client]:
    with running(
        world.tables,
        world.name,
        tmp_path / "log",
        provision=False,
        VERSIONS_KEPT="2",
        **world.variables,
    ) as service:
        tenant = f"two-{time.monotonic_ns()}"
        yield Client(service, world.new_keys([tenant])[0], tenant)


def test_versions_beyond_those_that_are_kept_go_when_they_are_old(
    world: World, keeping_two: Client
) -> None:
    client = keeping_two
    path = client.made()
    put(client, path, OTHER, b"third", b"fourth")

    def numbers() -> list[int]:
        items = client.call("GET", path + "/versions").json()["items"]
        return [item["version"] for item in items]

    assert numbers() == [4, 3, 2, 1]
    assert world.sweep(kept=(2, DAY_MS)).versions == 0
    assert numbers() == [4, 3, 2, 1]
    assert world.sweep(kept=(2, DAY_MS), later_ms=2 * DAY_MS, dry_run=True).versions == 2
    assert world.sweep(kept=(2, DAY_MS), later_ms=2 * DAY_MS).versions == 2
    assert numbers() == [4, 3]
    world.sweep(kept=(2, DAY_MS), later_ms=2 * DAY_MS)
    assert world.faults(swept=True) == []
    assert world.verify().findings == []
    assert client.call("GET", path + "/versions/3/content").body == b"third"
    assert client.call("GET", path + "/content").body == b"fourth"


def test_from_the_mark_on_a_document_cannot_be_restored(world: World, client: Client) -> None:
    """Whoever decided to restore it on what stood there before is refused."""
    path = client.made(deleted=True)
    tenant, identifier, _ = key_of(world, path).split("/")

    async def race(backends: bootstrap.Backends) -> tuple[bool, Answer]:
        before = await backends.documents.read(Tenant(tenant), identifier)
        assert before is not None
        assert await backends.maintenance.mark_purging(Tenant(tenant), before) is not None
        after = dataclasses.replace(before, deleted_at=None, revision=before.revision + 1)
        change = Change(write_id=new_write_id(), before=before, after=after)
        try:
            await backends.documents.commit(Tenant(tenant), change)
            refused = False
        except Conflict:
            refused = True
        return refused, await asyncio.to_thread(client.call, "POST", path + "/restore")

    refused, answer = world.with_backends(race)
    assert (refused, answer.status) == (True, 404)
    world.sweep(later_ms=RETAINED_MS)
    assert world.faults(swept=True) == []


def test_bytes_go_only_once_nothing_can_bring_the_document_back(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the moment before the first byte goes, a restore is tried."""
    path = client.made(deleted=True)
    answers: list[Answer] = []
    discard = S3ObjectStore.discard

    async def restore_first(store: S3ObjectStore, key: str) -> None:
        answers.append(await asyncio.to_thread(client.call, "POST", path + "/restore"))
        await discard(store, key)

    monkeypatch.setattr(S3ObjectStore, "discard", restore_first)
    assert world.sweep(later_ms=RETAINED_MS).documents == 1
    assert [answer.status for answer in answers] == [404]
    assert world.faults(swept=True) == []


# --- what is verified -----------------------------------------------------------------------


def kinds(state: Verification) -> Counter[str]:
    return Counter(finding.kind for finding in state.findings)


def test_a_sound_world_verifies(world: World, client: Client) -> None:
    paths = [client.made(), client.made(LARGE), client.made(deleted=True), client.made(b"")]
    client.call("PUT", paths[0] + "/content", OTHER)
    abandoned(world, lapsed=False)
    state = world.verify()
    assert state.findings == []
    assert (state.documents, state.versions, state.objects, state.intents) == (4, 5, 6, 1)
    assert state.verified_bytes == len(SMALL * 2 + OTHER + LARGE)


def remove_bytes(world: World, key: str) -> None:
    world.client("s3").delete_object(Bucket=world.name, Key=key)  # a delete marker


def damage(world: World, key: str, body: bytes) -> None:
    world.client("s3").put_object(Bucket=world.name, Key=key, Body=body)


def forget(world: World, prefix: str, sort: str = "", *, exactly: bool = False) -> None:
    for item in world.items(prefix):
        if item["SK"]["S"].startswith(sort) and not (exactly and item["PK"]["S"] != prefix):
            key = {"PK": item["PK"], "SK": item["SK"]}
            world.client("dynamodb").delete_item(TableName=world.name, Key=key)


DAMAGES: dict[str, Callable[[World, str, str], None]] = {
    "bytes-missing": lambda world, tenant, key: remove_bytes(world, key),
    "checksum-differs ": lambda world, tenant, key: damage(world, key, b"X" + OTHER[1:]),
    "size-differs": lambda world, tenant, key: damage(world, key, OTHER + b"X"),
    "entry-missing": lambda world, tenant, key: forget(world, f"T#{tenant}#0#TAG#"),
    "version-missing orphan-object": lambda world, tenant, key: forget(world, f"V#{tenant}#"),
    "dangling-entry dangling-entry dangling-key dangling-version orphan-object": (
        lambda world, tenant, key: forget(world, f"T#{tenant}#0", "D#", exactly=True)
    ),
    "key-missing": lambda world, tenant, key: forget(world, f"N#{tenant}"),
    "orphan-object": lambda world, tenant, key: damage(world, beside(key), b"orphan"),
    "orphan-upload": lambda world, tenant, key: upload(world, key),
    "foreign-object": lambda world, tenant, key: damage(world, "readme.txt", b"foreign"),
    "checksum-differs": lambda world, tenant, key: other_version(world, tenant),
}


def other_version(world: World, tenant: str) -> None:
    item = world.items(f"V#{tenant}#")[0]
    world.client("dynamodb").put_item(
        TableName=world.name, Item={**item, "sha256": {"S": "00" * 32}}
    )


@pytest.mark.parametrize("expected", DAMAGES)
def test_damage_is_reported(
    world: World, client: Client, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.maintenance.verify._PAUSE_SECONDS", 0.0)
    path = client.made(Document_Key="a/b")
    assert client.call("PUT", path + "/content", OTHER).status == 200
    tenant = document(world, path)["PK"]["S"].split("#")[1]
    DAMAGES[expected](world, tenant, key_of(world, path))
    found = world.verify()
    assert kinds(found) == Counter(expected.split())
    assert json.loads(json.dumps(found.as_json()))["findings"]


def test_orphans_are_removed_when_asked_and_nothing_else(world: World, client: Client) -> None:
    path = client.made()
    open_key = abandoned(world, lapsed=False)
    key = key_of(world, path)
    foreign = "backups/2024/dump.tar"
    damage(world, beside(key), b"orphan")
    damage(world, foreign, b"foreign")
    upload(world, foreign)
    state = world.verify(remove_orphans=True)
    assert (state.removed, kinds(state)) == (1, Counter({"foreign-object": 1}))
    assert sorted(world.keys()) == sorted([key, open_key, foreign])
    world.sweep(later_ms=RETAINED_MS)
    assert world.uploads() == [foreign]
    assert client.call("GET", path + "/content").body == SMALL


@pytest.mark.parametrize("lost", ["version", "document", "everything"])
def test_a_table_that_lacks_something_makes_no_orphans(
    world: World, client: Client, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partial restore, or the wrong table's name: what is removed then cannot be had again."""
    monkeypatch.setattr("app.maintenance.verify._PAUSE_SECONDS", 0.0)
    kept, path = client.made(), client.made()
    key = key_of(world, path)
    tenant, identifier, _ = key.split("/")
    if lost == "version":
        assert client.call("PUT", path + "/content", OTHER).status == 200
        forget(world, f"V#{tenant}#{identifier}")
    elif lost == "document":
        forget(world, f"T#{tenant}#0", f"D#{identifier}", exactly=True)
    else:
        for prefix in ("V#", "T#"):
            forget(world, prefix)
    orphan = beside(key)
    damage(world, orphan, b"orphan")
    state = world.verify(remove_orphans=True)
    assert (state.removed, kinds(state)["orphan-object"] > 0) == (0, True)
    assert {key, orphan} <= set(world.keys())
    if lost != "everything":
        assert client.call("GET", kept + "/content").body == SMALL


def test_what_cannot_be_understood_is_a_finding_and_ends_nothing(
    world: World, client: Client
) -> None:
    path = client.made()
    item = document(world, path)
    world.client("dynamodb").update_item(
        TableName=world.name,
        Key={"PK": item["PK"], "SK": item["SK"]},
        UpdateExpression="REMOVE created_by",
    )
    found = world.verify()
    assert (kinds(found)["malformed-item"], found.finished) == (1, True)


class Changing:
    """A table in which a write goes on between two questions."""

    def __init__(self, intents: list[object], named: list[bool]) -> None:
        self.intents, self.named = intents, named

    async def read_intent(self, write_id: str) -> object:
        return self.intents.pop(0)

    async def read_released(self, content_id: str) -> None:
        return None

    async def is_referenced(self, tenant: Tenant, document_id: str, write_id: str) -> bool:
        return self.named.pop(0)


class Present:
    async def remains(self, key: str) -> bool:
        return True


async def test_a_commit_between_two_questions_makes_no_orphan() -> None:
    """The intent comes first: a commit puts the version in its place in one step."""
    key = f"acme/{DocumentIds().new()}/{new_write_id()}"
    # Committed in between: asked in the other order, both would be absent.
    table = Changing(intents=[SMALL, None], named=[False, True])
    verifier = Verifier(table, Present(), now_ms)  # type: ignore[arg-type]
    assert await verifier._unreferenced(key) == []
    assert len(table.intents) == 1
    assert len(table.named) == 2
    gone = Changing(intents=[None], named=[False])
    verifier = Verifier(gone, Present(), now_ms)  # type: ignore[arg-type]
    assert [finding.kind for finding in await verifier._unreferenced(key)] == ["orphan-object"]


async def test_what_looks_wrong_once_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.maintenance.verify._PAUSE_SECONDS", 0.0)
    verifier = Verifier(None, None, now_ms)  # type: ignore[arg-type]
    missing = Finding("bytes-missing", "key", "")
    passing: list[list[Finding]] = [[missing], []]
    lasting = [[missing]] * 3

    async def check(answers: list[list[Finding]]) -> list[Finding]:
        return answers.pop(0)

    await verifier._confirmed(lambda: check(passing))
    assert verifier.state.findings == []
    await verifier._confirmed(lambda: check(lasting))
    assert verifier.state.findings == [missing]


def test_a_verification_goes_on_where_it_was_stopped(world: World, client: Client) -> None:
    for _ in range(5):
        client.made()
    stored: list[str] = []

    class StoppedError(Exception):
        pass

    def stop_after(pages: int) -> Callable[[Verification], None]:
        def save(state: Verification) -> None:
            stored.append(json.dumps(state.as_json()))
            if len(stored) == pages:
                raise StoppedError

        return save

    with pytest.raises(StoppedError):
        world.verify(save=stop_after(1))
    state = Verification.from_json(json.loads(stored[-1]))
    assert (state.phase, state.documents, state.objects) == ("bucket", 5, 0)
    done = world.verify(state=state)
    assert (done.documents, done.versions, done.objects) == (5, 5, 5)
    assert done.findings == []


def test_a_live_service_gives_no_false_findings(world: World, client: Client) -> None:
    """Writers, a sweeper and the verifier at once."""
    ends = time.monotonic() + 3
    failures: list[object] = []

    def write() -> None:
        while time.monotonic() < ends:
            path = client.made()
            client.call("PUT", path + "/content", OTHER)
            client.call("PATCH", path, {"tags": [client.tag, "more"]})
            client.call("PATCH", path, {"tags": [client.tag]})
            client.call("DELETE", path)

    def purge() -> None:
        while time.monotonic() < ends:
            swept = world.sweep(later_ms=35 * DAY_MS)
            if swept.failed:
                failures.append(swept)

    def verify() -> None:
        while time.monotonic() < ends:
            failures.extend(world.verify().findings)

    # Intents of the writers are real ones, so the sweeper's clock must not outrun them: documents
    # are deleted with a retention of 35 days, intents lapse after 15 minutes.
    threads = [threading.Thread(target=work) for work in (write, write, verify)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    purge()
    world.sweep(later_ms=RETAINED_MS)
    assert world.faults(swept=True) == []


# --- faults ---------------------------------------------------------------------------------


def littered(world: World, client: Client) -> str:
    """One of everything that a sweep removes, and a document that it must not touch."""
    key = abandoned(world)
    upload(world, key)
    path = client.made()
    client.call("PUT", path + "/content", OTHER)
    client.call("DELETE", path)
    kept = client.made()
    upload(world, key_of(world, kept))
    sent(LARGE)(client)
    client.call("DELETE", sent(SMALL)(client))
    client.call("POST", sent(OTHER)(client) + "/complete")
    return kept


def faulty(
    world: World, monkeypatch: pytest.MonkeyPatch, plan: str, trace: Path | None = None
) -> None:
    """The adapters in this process get the injector, and this plan."""
    monkeypatch.setattr("app.bootstrap.Transport", FaultyTransport)
    monkeypatch.setattr("app.storage.deadline.DEFAULT_SECONDS", 0.5)
    monkeypatch.setenv("FAULT_PLAN", plan)
    if trace is not None:
        monkeypatch.setenv("FAULT_TRACE", str(trace))


def calls(trace: Path) -> list[tuple[str, int]]:
    lines = map(json.loads, trace.read_text().splitlines())
    counted = Counter(line["op"] for line in lines)
    # The sixteen queries of the index are alike.
    found = []
    for op, n in sorted(counted.items()):
        most = 4 if FULL or op.startswith("Delete") else 1
        found += [(op, nth) for nth in range(1, min(n, most) + 1)]
    return found


def struck_by(operation: str) -> list[str]:
    """Each call both ways: refused, and applied unseen; in the full run every fault."""
    short = ("refused", "lost", "conflict", "nonsense")
    return [fault for fault in faults_of(operation) if FULL or fault in short]


def test_no_fault_of_any_call_makes_a_sweep_do_harm(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        littered(world, client)
        faulty(world, patch, "plain", tmp_path / "trace")
        world.sweep(later_ms=RETAINED_MS)
    assert world.faults(swept=True) == []
    cases = [(op, n, f) for op, n in calls(tmp_path / "trace") for f in struck_by(op)]
    for number, (operation, nth, fault) in enumerate(cases):
        kept = littered(world, client)
        with monkeypatch.context() as patch:
            reach = "on" if FULL and number % 2 else "once"
            faulty(world, patch, plan_id(operation, nth, fault, reach, str(number)))
            try:
                swept = world.sweep(later_ms=RETAINED_MS)
            except Unavailable:
                swept = None
        case = f"{operation} {nth} {fault} {reach}"
        assert client.call("GET", kept + "/content").body == SMALL, case
        if swept is None or swept.failed:
            world.sweep(later_ms=RETAINED_MS)
        assert world.faults(swept=True) == [], case
    tried(f"{len(cases)} faults in a sweep on {world.tables.name}")


def test_no_fault_of_any_call_makes_a_verification_lie(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client.made()
    client.made(LARGE[:300_000])
    sent(LARGE)(client)
    client.call("POST", sent(OTHER)(client) + "/complete")
    with monkeypatch.context() as patch:
        faulty(world, patch, "plain", tmp_path / "trace")
        assert world.verify().findings == []
    cases = [(op, n, f) for op, n in calls(tmp_path / "trace") for f in struck_by(op)]
    for number, (operation, nth, fault) in enumerate(cases):
        with monkeypatch.context() as patch:
            faulty(world, patch, plan_id(operation, nth, fault, "once", str(number)))
            try:
                found = world.verify().findings
            except Unavailable:
                found = []
        assert found == [], f"{operation} {nth} {fault}"
    tried(f"{len(cases)} faults in a verification on {world.tables.name}")


# --- the commands ---------------------------------------------------------------------------


def run(
    world: World, *arguments: str, module: str = "app", **more: str
) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**kept, **world.variables, **more},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_commands_report_and_say_by_their_exit_code_how_it_went(
    world: World, client: Client, tmp_path: Path
) -> None:
    path = client.made()
    abandoned(world)
    planned = run(world, "sweep", "--dry-run", "--json")
    assert (planned.returncode, json.loads(planned.stdout)["intents"]) == (0, 1)
    swept = run(world, "sweep")
    assert swept.returncode == 0
    assert "intents         1" in swept.stdout
    assert run(world, "verify", "--json").returncode == 0
    key = key_of(world, path)
    remove_bytes(world, key)
    found = run(world, "verify", "--json", "--state", str(tmp_path / "state"))
    assert (found.returncode, json.loads(found.stdout)["finished"]) == (1, True)
    assert json.loads(found.stdout)["findings"][0]["key"] == key
    assert json.loads((tmp_path / "state").read_text())["finished"]
    text = run(world, "verify").stdout
    assert f"bytes-missing: {key}" in text


@pytest.mark.parametrize("stored", ["{}", "[]", "", '{"findings": [], "place": "elsewhere"}'])
def test_a_state_of_something_else_is_refused(world: World, tmp_path: Path, stored: str) -> None:
    (tmp_path / "state").write_text(stored)
    refused = run(world, "verify", "--state", str(tmp_path / "state"))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Traceback" not in refused.stderr
    assert (tmp_path / "state").read_text() == stored


def test_the_commands_say_what_stands_in_their_way(world: World, tmp_path: Path) -> None:
    broken = tmp_path / "nowhere" / "state"
    refused = run(world, "verify", "--state", str(broken))
    assert (refused.returncode, refused.stdout) == (2, "")
    away = World("nowhere", world.tables, world.objects)
    swept = run(away, "sweep", "--json")
    assert (swept.returncode, json.loads(swept.stdout)["documents"]) == (1, 0)
    assert run(away, "verify").returncode == 3
    for done in (run(away, "verify"), refused):
        assert "Traceback" not in done.stderr
        assert done.stderr.count("strongroom:") >= 1
