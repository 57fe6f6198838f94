"""A table restored from a backup, a bucket that has gone on: what `restore` makes of them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app import bootstrap
from app.documents.models import Intent, Version
from app.keys.administration import rotation
from app.maintenance.ports import OpenIntent
from app.maintenance.restore import Restoration, RestoreOptions, Restorer
from app.maintenance.verify import Verification
from app.records import Tenant
from app.storage.errors import Unavailable
from tests.faults.backup import Backup
from tests.faults.injector import plan_id
from tests.faults.operations import LARGE, OTHER, SMALL, Client, sent
from tests.faults.test_upkeep import (
    abandoned,
    calls,
    damage,
    document,
    faulty,
    forget,
    key_of,
    run,
    struck_by,
)
from tests.faults.world import DAY_MS, RETAINED_MS, World, now_ms
from tests.support.engines import engine
from tests.support.service import Service, running
from tests.support.tried import tried

FULL = os.environ.get("STRONGROOM_FULL") == "1"
ENGINES = [("ministack", "ministack"), ("dynamodb_local", "versitygw")]
_numbers = itertools.count()


@pytest.fixture(scope="module", params=ENGINES, ids="-".join)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Service]]:
    tables, objects = (engine(request, name) for name in request.param)
    world = World(f"restore-{time.monotonic_ns()}", tables, objects)
    log = tmp_path_factory.mktemp("restore") / "log"
    world.provision()
    with running(tables, world.name, log, provision=False, **world.variables) as service:
        yield world, service


@pytest.fixture
def world(served: tuple[World, Service], monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("app.maintenance.verify._PAUSE_SECONDS", 0.0)
    found, _ = served
    found.wipe()
    forget(found, "K#")
    forget(found, "T#", "KEY#")
    return found


@pytest.fixture
def client(served: tuple[World, Service], world: World) -> Client:
    number = next(_numbers)
    return Client(served[1], world.new_keys([f"tenant-{number}"])[0], f"tag-{number}")


def restored(backup: Backup) -> World:
    return backup.restore(f"restored-{time.monotonic_ns()}")


def restore(world: World, **options: Any) -> Restoration:
    async def work(backends: bootstrap.Backends) -> Restoration:
        options.setdefault("restore_options", RestoreOptions(keep_keys=True))
        restorer = Restorer(backends.maintenance, backends.objects, now_ms, **options)
        await restorer.run()
        return restorer.state

    return world.with_backends(work)


def kinds(state: Restoration) -> Counter[str]:
    return Counter(finding.kind for finding in state.findings)


def hide(world: World, key: str) -> None:
    world.client("s3").delete_object(Bucket=world.bucket, Key=key)


def history(world: World, key: str) -> list[tuple[str, bool]]:
    """The ids under a key, and whether each is a marker."""
    found = world.client("s3").list_object_versions(Bucket=world.bucket, Prefix=key)
    objects = [(one["VersionId"], False) for one in found.get("Versions", [])]
    return objects + [(one["VersionId"], True) for one in found.get("DeleteMarkers", [])]


def keys_of(world: World, path: str) -> list[str]:
    """The keys of all versions of a document, by number."""
    identifier = path.rpartition("/")[2]
    older = sorted(
        (item for item in world.items("V#") if item["PK"]["S"].endswith(identifier)),
        key=lambda item: item["SK"]["S"],
    )
    current = key_of(world, path)
    folder = current.rpartition("/")[0]
    return [*(f"{folder}/{item['content_id']['S']}" for item in older), current]


# --- bytes ----------------------------------------------------------------------------------


def test_what_markers_hide_is_brought_to_light(world: World, client: Client) -> None:
    path = client.made()
    client.call("PUT", path + "/content", OTHER)
    empty, large = client.made(b""), client.made(LARGE)
    keys = [*keys_of(world, path), key_of(world, empty), key_of(world, large)]
    backup = Backup(world)
    before = {key: history(world, key) for key in keys}
    for key in keys:
        hide(world, key)
        hide(world, key)
    new = restored(backup)
    state = restore(new)
    assert (state.findings, state.unhidden) == ([], 4)
    assert (state.documents, state.versions) == (3, 4)
    assert {key: history(world, key) for key in keys} == before
    assert new.faults(swept=True) == []
    assert new.verify().findings == []


def test_an_older_version_that_is_right_is_copied_on_top(world: World, client: Client) -> None:
    paths = [client.made(), client.made()]
    keys = [key_of(world, path) for path in paths]
    backup = Backup(world)
    damage(world, keys[0], b"X" + SMALL[1:])
    damage(world, keys[1], SMALL + b"X")
    hide(world, keys[1])
    before = {key: history(world, key) for key in keys}
    new = restored(backup)
    state = restore(new)
    assert (state.findings, state.renewed, state.unhidden) == ([], 2, 0)
    for key in keys:
        assert set(before[key]) < set(history(world, key))  # all that was there is there
        assert world.bytes_of(key) == SMALL
    assert new.verify().findings == []


def test_bytes_that_no_version_of_the_bucket_has_are_reported_and_nothing_is_touched(
    world: World, client: Client
) -> None:
    purged, overwritten, kept = client.made(), client.made(), client.made()
    client.call("PUT", purged + "/content", OTHER)
    gone = keys_of(world, purged)
    backup = Backup(world)
    client.call("DELETE", purged)
    assert world.sweep(later_ms=RETAINED_MS).versions == 2
    key = key_of(world, overwritten)
    for version, _ in history(world, key):
        world.client("s3").delete_object(Bucket=world.bucket, Key=key, VersionId=version)
    damage(world, key, b"other bytes of that very length"[: len(SMALL)])
    hide(world, key)
    before = world.keys()
    new = restored(backup)
    state = restore(new)
    assert kinds(state) == Counter({"bytes-missing": 3})
    assert {finding.key for finding in state.findings} == {*gone, key}
    assert (state.unhidden, state.renewed) == (0, 0)
    assert (world.keys(), len(history(world, key))) == (before, 2)
    assert world.bytes_of(key_of(new, kept)) == SMALL
    assert kinds(new.verify()) == kinds(state)  # type: ignore[arg-type]


def test_what_is_newer_than_the_table_is_reported_and_stays(world: World, client: Client) -> None:
    path = client.made()
    backup = Backup(world)
    client.call("PUT", path + "/content", OTHER)
    newer = [keys_of(world, path)[1], key_of(world, client.made())]
    hide(world, newer[1])
    new = restored(backup)
    state = restore(new)
    assert sorted(finding.key for finding in state.findings) == sorted(newer)
    assert kinds(state) == Counter({"orphan-object": 2})
    details = {finding.key: finding.detail for finding in state.findings}
    assert "that the table has" in details[newer[0]]
    assert "does not know" in details[newer[1]]
    assert [marker for _, marker in history(world, newer[1])] == [False, True]


def test_bytes_of_a_document_that_is_being_purged_are_left_to_the_sweeper(
    world: World, client: Client
) -> None:
    path = client.made(deleted=True)
    key = key_of(world, path)
    tenant = Tenant(key.split("/")[0])

    async def mark(backends: bootstrap.Backends) -> None:
        found = await backends.documents.read(tenant, path.rpartition("/")[2])
        assert found is not None
        assert await backends.maintenance.mark_purging(tenant, found) is not None

    world.with_backends(mark)
    hide(world, key)
    new = restored(Backup(world))
    state = restore(new)
    assert (state.unhidden, state.findings) == (0, [])
    assert new.sweep(later_ms=RETAINED_MS).documents == 1
    assert new.faults(swept=True) == []


# --- what was under way ---------------------------------------------------------------------


def test_a_write_of_the_past_can_neither_commit_nor_have_its_bytes_swept(
    world: World, client: Client
) -> None:
    """It was under way at the restore point, and committed later: its bytes may be all that is
    left of it."""
    key = abandoned(world)
    new = restored(Backup(world))
    state = restore(new)
    assert state.intents_closed == 1
    assert new.items("W#") == []
    assert kinds(state) == Counter({"orphan-object": 1})
    assert new.sweep(later_ms=DAY_MS).intents == 0
    assert world.bytes_of(key) == SMALL
    tenant, identifier, write_id = key.split("/")

    async def come_back(backends: bootstrap.Backends) -> bool:
        intent = Intent(write_id, identifier, now_ms())
        return await backends.documents.reap_intent(Tenant(tenant), intent)

    assert new.with_backends(come_back) is False


def test_a_write_that_may_be_alive_is_left_alone_and_told(world: World, client: Client) -> None:
    key = abandoned(world, lapsed=False)
    new = restored(Backup(world))
    before = new.items("W#")
    state = restore(new)
    assert [(f.kind, f.key) for f in state.findings] == [("write-under-way", key)]
    assert (new.items("W#"), state.intents_closed) == (before, 0)


class Extended:
    """A table in which a writer shows a sign of life after the walk has passed."""

    async def reap_lapsed(self, write_id: str, now: int) -> None:
        return None

    async def versions(self, tenant: Tenant, document_id: str) -> list[Version]:
        return []

    async def drop_intent(self, tenant: Tenant, intent: Intent) -> None:
        raise AssertionError("it is alive")


async def test_a_write_that_is_alive_after_all_is_not_closed() -> None:
    lapsed = OpenIntent(Tenant("acme"), Intent("write", "document", now_ms() - 1), False)
    restorer = Restorer(Extended(), None, now_ms)  # type: ignore[arg-type]
    assert await restorer._close(lapsed) == []
    assert restorer.state.intents_closed == 0


def test_an_upload_of_the_past_is_closed_and_its_bytes_stay(world: World, client: Client) -> None:
    sent(LARGE)(client)
    path = sent(SMALL)(client)
    completed = sent(OTHER)(client)
    assert client.call("POST", completed + "/complete").status == 201
    aborted = sent(OTHER)(client)
    assert client.call("DELETE", aborted).status == 204
    new = restored(Backup(world))
    kept = new.keys()
    state = restore(new)
    assert (kinds(state)["write-under-way"], state.intents_closed) == (2, 0)
    for item in new.items("U#"):
        if item["state"]["S"] == "open":
            new.update(item, due_at=now_ms() - 1000, urls_until=now_ms() - DAY_MS)
    state = restore(new)
    assert (state.intents_closed, kinds(state)["write-under-way"]) == (2, 0)
    assert kinds(state)["usage-differs"] == 0
    states = sorted(item["state"]["S"] for item in new.items("U#"))
    assert states == ["completed", "reaping"]
    assert new.sweep(later_ms=DAY_MS).intents == 1
    assert new.keys() == kept
    assert client.call("POST", path + "/complete").status == 201  # of the table that still stands


def test_an_intent_whose_write_was_committed_costs_no_bytes(world: World, client: Client) -> None:
    """A backup may hold what one transaction wrote in part: here, the intent is still there."""
    path = client.made()
    tenant, identifier, write_id = key_of(world, path).split("/")

    async def leave(backends: bootstrap.Backends) -> None:
        await backends.documents.open_intent(
            Tenant(tenant), Intent(write_id, identifier, now_ms() - 1)
        )

    world.with_backends(leave)
    new = restored(Backup(world))
    state = restore(new)
    assert (state.intents_closed, state.findings) == (1, [])
    new.sweep(later_ms=DAY_MS)
    assert new.faults(swept=True) == []


# --- a backup that holds a transaction in part ----------------------------------------------


def lacking(world: World, path: str, what: str) -> None:
    tenant, identifier, _ = key_of(world, path).split("/")
    if what == "key":
        forget(world, f"N#{tenant}")
    elif what == "entries":
        forget(world, f"T#{tenant}#{identifier[-1]}#", f"D#{identifier}")
    else:
        [counter] = [i for i in world.items(f"T#{tenant}") if i["SK"]["S"].startswith("USAGE")]
        world.update(counter, bytes=int(counter["bytes"]["N"]) - len(SMALL))


@pytest.mark.parametrize("what", ["key", "entries", "counter"])
def test_a_document_that_came_without_its_records_gets_them(
    world: World, client: Client, what: str
) -> None:
    path = client.made(Document_Key="a/b")
    lacking(world, path, what)
    new = restored(Backup(world))
    assert new.faults(swept=True) != []
    planned = restore(new, dry_run=True)
    assert new.faults(swept=True) != []
    state = restore(new)
    assert state.findings == []
    done = {"key": state.completed, "entries": state.completed}
    assert done.get(what, state.counters_corrected) == 1
    assert new.faults(swept=True) == []
    assert planned.completed == state.completed


def test_counters_that_move_meanwhile_are_told_and_left_alone(world: World, client: Client) -> None:
    client.made()
    new = restored(Backup(world))
    [counter] = [item for item in new.items("T#") if item["SK"]["S"].startswith("USAGE")]
    moved = int(counter["bytes"]["N"]) + 7

    def save(state: Verification) -> None:
        if state.phase == "bucket":  # a write that the walk has not seen
            new.update(counter, bytes=moved)

    state = restore(new, save=save)
    assert (kinds(state), state.counters_corrected) == (Counter({"usage-differs": 1}), 0)
    [after] = [item for item in new.items("T#") if item["SK"]["S"].startswith("USAGE")]
    assert int(after["bytes"]["N"]) == moved


def answers(world: World) -> list[dict[str, Any]]:
    return [item for item in world.items("I#") if item["state"]["S"] == "settled"]


def test_an_answer_about_a_document_that_is_not_there_is_not_given_again(
    world: World, client: Client
) -> None:
    sent = {"Idempotency-Key": "one"}
    kept = client.call("POST", "/v1/documents", SMALL, sent)
    lost = client.call("POST", "/v1/documents", OTHER, {"Idempotency-Key": "two"})
    expired = client.call(
        "POST",
        "/v1/documents",
        OTHER,
        {"Idempotency-Key": "three", "Document-Expires": "2099-01-01T00:00:00Z"},
    )
    assert [a.status for a in (kept, lost, expired)] == [201] * 3
    tenant = key_of(world, kept.headers["location"]).split("/")[0]
    for answer in (lost, expired):
        identifier = answer.json()["id"]
        forget(world, f"V#{tenant}#{identifier}")
        forget(world, f"T#{tenant}#{identifier[-1]}", f"D#{identifier}")
    record = next(i for i in answers(world) if expired.json()["id"] in i["answer"]["S"])
    told = record["answer"]["S"].replace("2099-01-01", "2020-01-01")
    world.client("dynamodb").put_item(TableName=world.name, Item={**record, "answer": {"S": told}})
    new = restored(Backup(world))
    state = restore(new)
    assert state.answers_forgotten == 1
    left = "".join(item["answer"]["S"] for item in answers(new))
    assert kept.json()["id"] in left
    assert lost.json()["id"] not in left
    assert expired.json()["id"] in left  # its time was up: nothing was lost with it


# --- what nobody can know -------------------------------------------------------------------


def test_keys_that_may_have_been_revoked_since_are_told(world: World, client: Client) -> None:
    world.new_keys(["quiet"])
    new = restored(Backup(world))
    state = restore(new, restore_options=RestoreOptions())
    assert kinds(state) == Counter({"key-alive": 2})
    told = {finding.key for finding in state.findings}
    assert told == {item["PK"]["S"][2:] for item in new.items("K#")}
    assert kinds(restore(new, restore_options=RestoreOptions(keep_keys=True))) == Counter()


def test_keys_are_revoked_where_a_table_that_still_stands_says_so(
    world: World, client: Client
) -> None:
    [secret] = world.new_keys(["leaky"])
    identifier = secret.split("_")[1]
    backup = Backup(world)

    async def revoke(backends: bootstrap.Backends) -> None:
        await backends.keys.revoke_key(identifier, now_ms())

    world.with_backends(revoke)
    new = restored(backup)

    state = restore_beside(new, world)
    assert (state.keys_revoked, state.findings) == (1, [])
    old_key = next(i for i in world.items("K#") if i["PK"]["S"] == f"K#{identifier}")
    new_key = next(i for i in new.items("K#") if i["PK"]["S"] == f"K#{identifier}")
    assert new_key == old_key


def restore_beside(new: World, world: World) -> Restoration:
    """A restore that asks the table that still stands for its keys."""

    async def work(backends: bootstrap.Backends) -> Restoration:
        restore_options = RestoreOptions(keys_elsewhere=backends.other_keys(world.name))
        restorer = Restorer(
            backends.maintenance, backends.objects, now_ms, restore_options=restore_options
        )
        await restorer.run()
        return restorer.state

    return new.with_backends(work)


def test_a_key_that_was_rotated_since_does_not_live_on(world: World, client: Client) -> None:
    [secret] = world.new_keys(["leaky"])
    backup = Backup(world)
    ends_at = now_ms() + DAY_MS

    async def rotate(backends: bootstrap.Backends) -> None:
        old = await backends.keys.read_key(secret.split("_")[1])
        assert old is not None
        issued, _ = rotation(old, DAY_MS, None, now_ms())
        await backends.keys.rotate_key(old, ends_at, issued.key)

    world.with_backends(rotate)
    new = restored(backup)
    state = restore_beside(new, world)
    assert (state.keys_revoked, state.findings) == (1, [])
    [ended] = [i for i in new.items("K#") if i["tenant"]["S"] == "leaky"]
    assert ended["revoked_at"]["N"] == str(ends_at)


def test_keys_of_before_a_moment_are_revoked(world: World, client: Client) -> None:
    new = restored(Backup(world))
    state = restore(
        new, restore_options=RestoreOptions(revoke_created_before=now_ms()), dry_run=True
    )
    assert (state.keys_revoked, state.findings) == (1, [])
    assert "revoked_at" not in new.items("K#")[0]
    state = restore(new, restore_options=RestoreOptions(revoke_created_before=now_ms()))
    assert (state.keys_revoked, state.findings) == (1, [])
    assert "revoked_at" in new.items("K#")[0]


def test_a_deletion_that_was_perhaps_taken_back_is_not_left_to_the_sweeper_unsaid(
    world: World, client: Client
) -> None:
    path = client.made(deleted=True)
    gone = client.made(deleted=True)
    for one in (path, gone):
        world.update(document(world, one), purge_after=now_ms() - 1, due_at=now_ms() - 1)
    [key] = keys_of(world, gone)
    backup = Backup(world)
    for version, _ in history(world, key):
        world.client("s3").delete_object(Bucket=world.bucket, Key=key, VersionId=version)
    new = restored(backup)
    state = restore(new)
    assert [f.kind for f in state.findings] == ["purge-due"]
    assert state.findings[0].key.endswith(path.rpartition("/")[2])
    assert state.purged_since == 1
    state = restore(
        new, restore_options=RestoreOptions(keep_keys=True, postpone_to=now_ms() + DAY_MS)
    )
    assert (state.deletions_postponed, state.findings) == (1, [])
    assert new.sweep().documents == 1
    assert new.sweep(later_ms=2 * DAY_MS).documents == 1
    assert new.faults(swept=True) == []


# --- repeated, interrupted, beside a live service -------------------------------------------


def havoc(world: World, client: Client) -> tuple[World, list[str]]:
    """One of everything, and the addresses of what must be readable in the end."""
    paths = [client.made(), client.made(LARGE[:300_000]), client.made()]
    client.call("PUT", paths[0] + "/content", OTHER)
    abandoned(world)
    lacking(world, paths[2], "entries")
    keys = [key for path in paths for key in keys_of(world, path)]
    new = restored(Backup(world))
    for key in keys[1:]:
        hide(world, key)
    damage(world, keys[0], b"X" + SMALL[1:])
    return new, paths


def picture(world: World) -> tuple[list[dict[str, Any]], list[list[tuple[str, bool]]]]:
    """All that stands in the table and the bucket."""
    keys = world.keys()
    return world.items(), [history(world, key) for key in keys]


def settled(world: World) -> bool:
    """Nothing is wrong but the bytes of the write that was under way."""
    faults = world.faults(swept=True)
    return len(faults) == 1 and faults[0].startswith("orphan abandoned/")


def test_a_second_restore_finds_nothing_to_do(world: World, client: Client) -> None:
    new, _ = havoc(world, client)
    first = restore(new)
    assert (first.unhidden, first.renewed, first.completed, first.intents_closed) == (3, 1, 1, 1)
    assert settled(new)
    before = picture(new)
    second = restore(new)
    assert (second.unhidden, second.renewed, second.completed, second.intents_closed) == (0,) * 4
    assert picture(new) == before
    assert second.findings == first.findings


def test_a_dry_run_counts_the_same_and_changes_nothing(world: World, client: Client) -> None:
    new, _ = havoc(world, client)
    before = picture(new)
    planned = restore(new, dry_run=True)
    assert picture(new) == before
    done = restore(new)
    for name in ("unhidden", "renewed", "completed", "intents_closed"):
        assert getattr(planned, name) == getattr(done, name), name


def test_a_live_service_beside_it_comes_to_no_harm(
    world: World, client: Client, tmp_path: Path
) -> None:
    new, paths = havoc(world, client)
    log = tmp_path / "log"
    with running(new.tables, new.name, log, provision=False, **new.variables) as service:
        live = Client(service, client.key, client.tag)
        states: list[Restoration] = []
        restoring = threading.Thread(target=lambda: states.append(restore(new)))
        restoring.start()
        written: list[str] = []
        while restoring.is_alive() or len(written) < 20:
            written.append(live.made())
            assert live.call("PUT", written[-1] + "/content", OTHER).status == 200
        restoring.join()
        for path in written:
            assert live.call("GET", path + "/content").body == OTHER
        for path in paths:
            assert live.call("GET", path + "/content").status == 200
    # It had no time to be wrong about counters that moved.
    assert kinds(states[0]).keys() <= {"orphan-object", "write-under-way", "usage-differs"}
    restore(new)
    assert settled(new)


class StoppedError(Exception):
    pass


def stop_after(pages: int, kept: list[str]) -> Callable[[Verification], None]:
    def save(state: Verification) -> None:
        kept.append(json.dumps(state.as_json()))
        if len(kept) == pages:
            raise StoppedError

    return save


@pytest.mark.parametrize("pages", [1, 2, 4, 6])
def test_a_restore_goes_on_where_it_was_stopped(
    world: World, client: Client, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.maintenance.dynamodb._WALK_PAGE", 4)
    new, _ = havoc(world, client)
    [counter] = [i for i in new.items("T#tenant") if i["SK"]["S"].startswith("USAGE")][:1]
    new.update(counter, documents=17)
    kept: list[str] = []
    with pytest.raises(StoppedError):
        restore(new, save=stop_after(pages, kept))
    state = Restoration.from_json(json.loads(kept[-1]))
    assert not state.finished
    assert pages > 1 or (state.phase, bool(state.position)) == ("mend", True)
    done = restore(new, state=state)
    assert (done.unhidden, done.renewed, done.completed, done.intents_closed) == (3, 1, 1, 1)
    assert (done.documents, done.versions, done.counters_corrected) == (3, 4, 1)
    assert settled(new)


KILLS = [
    ("DeleteObject", 1, "kill-before"),
    ("DeleteObject", 2, "kill-after"),
    ("CopyObject", 1, "kill-before"),
    ("CopyObject", 1, "kill-after"),
    ("UpdateItem", 1, "kill-after"),
    ("DeleteItem", 1, "kill-before"),
    ("TransactWriteItems", 1, "kill-before"),
    ("GetObject", 2, "kill-after"),
    ("Scan", 2, "kill-after"),
]


@pytest.mark.parametrize(("operation", "nth", "fault"), KILLS if FULL else KILLS[1::2])
def test_a_restore_that_was_killed_is_gone_on_with(
    world: World, client: Client, operation: str, nth: int, fault: str, tmp_path: Path
) -> None:
    if world.tables.name != "ministack":
        pytest.skip("this engine has no point-in-time recovery, which the command puts back")
    new, _ = havoc(world, client)
    arguments = ["restore", "--keep-keys", "--json", "--state", str(tmp_path / "state")]
    plan = plan_id(operation, nth, fault, "once", "k")
    killed = run(new, *arguments, module="tests.faults.process", FAULT_PLAN=plan)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = run(new, *arguments)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert [finding["kind"] for finding in report["findings"]] == ["orphan-object"]
    assert settled(new)


# --- the command ----------------------------------------------------------------------------


def test_the_command_reports_and_says_by_its_exit_code_how_it_went(
    world: World, client: Client, tmp_path: Path
) -> None:
    if world.tables.name != "ministack":
        pytest.skip("this engine has no point-in-time recovery, which the command puts back")
    client.made(deleted=True)
    path = client.made(deleted=True)
    key = key_of(world, path)
    world.update(document(world, path), purge_after=now_ms() - 1, due_at=now_ms() - 1)
    new = restored(Backup(world))
    hide(world, key)
    planned = run(new, "restore", "--dry-run", "--json")
    report = json.loads(planned.stdout)
    assert (planned.returncode, report["unhidden"], len(report["settings_put_back"])) == (1, 1, 4)
    assert {finding["kind"] for finding in report["findings"]} == {"key-alive", "purge-due"}
    done = run(new, "restore", "--revocations-from", world.name, "--postpone-purges-days", "7")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines() if line.startswith("unhidden")] == [
        ["unhidden", "1"]
    ]
    assert done.stderr.count("was given") == 4
    again = run(new, "restore", "--revocations-from", world.name, "--sizes-only")
    assert (again.returncode, again.stderr.count("was given")) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--dynamodb-table", "nowhere"], 3, "docs/runbooks/deleted-table.md"),
        (["--s3-bucket", "nowhere"], 3, "does not exist"),
        (["--revoke-keys-created-before", "yesterday"], 2, "--revoke-keys-created-before"),
        (["--state", "/nowhere/state"], 2, "--state"),
        (["--recovery-days", "36"], 2, "--recovery-days"),
    ],
)
def test_the_command_says_what_stands_in_its_way(
    world: World, arguments: list[str], code: int, told: str
) -> None:
    if world.tables.name != "ministack":
        pytest.skip("said of one engine")
    refused = run(world, "restore", *arguments)
    assert (refused.returncode, refused.stdout) == (code, "")
    assert told in refused.stderr
    assert "Traceback" not in refused.stderr


# --- faults ---------------------------------------------------------------------------------


def test_no_fault_of_any_call_makes_a_restore_lose_or_miss_anything(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    new, _ = havoc(world, client)
    with monkeypatch.context() as patch:
        faulty(new, patch, "plain", trace)
        restore(new)
    assert settled(new)
    cases = [(op, n, fault) for op, n in calls(trace) for fault in struck(world, op)]
    for number, (operation, nth, fault) in enumerate(cases):
        world.wipe()
        new, _ = havoc(world, client)
        keys = world.keys()
        before = {key: objects(world, key) for key in keys}
        reach = "on" if FULL and number % 2 else "once"
        case = f"{operation} {nth} {fault} {reach}"
        with monkeypatch.context() as patch:
            faulty(new, patch, plan_id(operation, nth, fault, reach, str(number)))
            try:
                state = restore(new)
            except Unavailable:
                state = None
        assert all(before[key] <= objects(world, key) for key in before), case
        # What goes wrong each time is told; the next run mends it.
        clean = state is not None and kinds(state) == Counter({"orphan-object": 1})
        assert clean or state is None or reach == "on", case
        if not clean:
            restore(new)
        assert settled(new), case
        new.client("dynamodb").delete_table(TableName=new.name)
    tried(f"{len(cases)} faults in a restore on {world.tables.name}")


def struck(world: World, operation: str) -> list[str]:
    """What befalls a call of this operation; in the full run everything."""
    few: tuple[str, ...] = ("refused", "lost") if world.tables.name == "ministack" else ("lost",)
    few += ("nonsense",) if operation == "CopyObject" else ()
    return [fault for fault in struck_by(operation) if FULL or fault in few]


def objects(world: World, key: str) -> set[str]:
    """The ids of all that has bytes."""
    return {version for version, marker in history(world, key) if not marker}
