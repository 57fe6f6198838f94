"""The purge of a tenant, killed again and again: in the end nothing of it is left."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import bootstrap
from app.aws.dynamodb import DynamoDB
from app.aws.s3_client import S3Client
from app.documents.ids import DocumentIds
from app.documents.models import Intent, object_key
from app.maintenance.reconcile import Reconciled, reconcile
from app.maintenance.tenant_purge import PurgedTenant, TenantPurge
from app.records import Tenant, new_write_id
from tests.faults.operations import LARGE, OTHER, SMALL, Client, sent
from tests.faults.world import DAY_MS, World, now_ms
from tests.support.engines import engine
from tests.support.service import Service, running

ENGINES = [("ministack", "ministack"), ("dynamodb_local", "versitygw")]
_names = itertools.count()


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module", params=ENGINES, ids="-".join)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Service]]:
    tables, objects = (engine(request, name) for name in request.param)
    world = World(f"tenants-{time.monotonic_ns()}", tables, objects)
    log: Path = tmp_path_factory.mktemp("tenants") / "log"
    world.provision()
    with running(tables, world.name, log, provision=False, **world.variables) as service:
        yield world, service


def a_tenant(world: World, service: Service) -> tuple[str, Client]:
    """One with everything that a tenant can have."""
    name = f"tenant{next(_names)}"
    client = Client(service, world.new_keys([name])[0], f"tag-{name}")
    for number in range(4):
        client.create(SMALL, Idempotency_Key=f"{name}-{number}")
    path = client.made()
    assert client.call("PUT", path + "/content", OTHER).status == 200
    client.made(deleted=True)
    assert client.create(LARGE).status == 201
    sent(LARGE)(client)
    assert client.call("DELETE", sent(SMALL)(client)).status == 204
    assert client.call("POST", sent(SMALL)(client) + "/complete").status == 201
    # What a killed process has left, a live one has announced, and a loss has left behind.
    world.with_backends(lambda backends: leave(backends, world, Tenant(name)))
    return name, client


async def leave(backends: bootstrap.Backends, world: World, tenant: Tenant) -> None:
    s3 = world.client("s3")
    for deadline in (now_ms() - 1, now_ms() + DAY_MS):
        intent = Intent(new_write_id(), DocumentIds().new(), deadline)
        await backends.documents.open_intent(tenant, intent)
        key = object_key(tenant, intent.document_id, intent.write_id)
        s3.put_object(Bucket=world.bucket, Key=key, Body=b"one")
        s3.put_object(Bucket=world.bucket, Key=key, Body=b"two")
        s3.create_multipart_upload(Bucket=world.bucket, Key=key)
    orphan = object_key(tenant, DocumentIds().new(), new_write_id())
    s3.put_object(Bucket=world.bucket, Key=orphan, Body=b"orphan")
    s3.delete_object(Bucket=world.bucket, Key=orphan)
    await backends.tenants.change_tenant(tenant, {"quota_documents": 100})
    await backends.usage.close_day(tenant, now_ms() + DAY_MS)


async def purge(backends: bootstrap.Backends, name: str) -> PurgedTenant:
    return await purging(backends).run(Tenant(name))


def purging(backends: bootstrap.Backends) -> TenantPurge:
    return TenantPurge(
        backends.maintenance, backends.tenants, backends.objects, now_ms, settle_seconds=0
    )


def of(world: World, name: str) -> list[str]:
    """All items, objects, and uploads of a tenant: what the engines themselves tell."""
    items = [
        f"{item['PK']['S']} {item['SK']['S']}"
        for item in world.items()
        if name in (item["PK"]["S"].split("#")[1], item.get("tenant", {}).get("S"))
    ]
    objects = [key for key in [*world.keys(), *world.uploads()] if key.startswith(f"{name}/")]
    return items + objects


def test_nothing_is_left_and_nobody_else_has_lost_anything(
    served: tuple[World, Service],
) -> None:
    world, service = served
    name, _ = a_tenant(world, service)
    near, neighbour = a_tenant(world, service)
    before = of(world, near), neighbour.listed()
    assert len(of(world, name)) > 30
    report = world.with_backends(lambda backends: purge(backends, name))
    assert of(world, name) == []
    assert (report.documents, report.versions) == (8, 9)
    assert (of(world, near), neighbour.listed()) == before
    assert world.with_backends(lambda b: purging(b).remains(Tenant(name))) == []
    # What is done is done: again it finds nothing.
    assert world.with_backends(lambda backends: purge(backends, name)).documents == 0
    assert of(world, name) == []


@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_it_goes_on_and_never_leaves_a_document_without_bytes(
    served: tuple[World, Service], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    world, service = served
    name, _ = a_tenant(world, service)
    draw = random.Random(seed)
    left = [0]
    for client in (DynamoDB, S3Client):
        _kill_in(monkeypatch, client, left)
    killed = 0
    for _ in range(100):
        # More and more: what is begun for sixteen things at once ends for none of them at first.
        left[0] = draw.randrange(3, 20 + 8 * killed)
        try:
            world.with_backends(lambda backends: purge(backends, name))
            break
        except BaseExceptionGroup:
            killed += 1
        except Killed:
            killed += 1
        left[0] = 10**9
        verification = world.verify(content=False)
        kinds = {found.kind for found in verification.findings if name in found.key}
        assert not kinds & {"bytes-missing", "version-missing", "dangling-version"}, kinds
    left[0] = 10**9
    assert killed > 2
    assert of(world, name) == []


def _kill_in(patch: pytest.MonkeyPatch, client: type[Any], left: list[int]) -> None:
    """Calls are counted down; when none is left, the process ends before it makes one."""
    real = client.call

    async def call(self: Any, *arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return await real(self, *arguments, **named)

    patch.setattr(client, "call", call)


# --- recounting -------------------------------------------------------------------------------


def recounted(world: World, name: str = "") -> Reconciled:
    only = Tenant(name) if name else None
    return world.with_backends(lambda backends: reconcile(backends.maintenance, only))


def test_a_recount_is_exact_when_writers_rest_and_touches_no_counter_that_moves(
    served: tuple[World, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, service = served
    name, client = a_tenant(world, service)
    assert name not in [one.tenant for one in recounted(world).mended]
    [counter, *_] = [i for i in world.items(f"T#{name}") if i["SK"]["S"].startswith("USAGE#")]
    world.update(counter, bytes=10**6, versions=-5)
    assert [one.tenant for one in recounted(world, name).mended] == [name]
    assert recounted(world, name) == Reconciled(tenants=1)
    assert [f for f in world.faults(swept=False) if f.startswith(f"usage of {name}")] == []
    # A writer comes while the table is walked.
    [counter] = [i for i in world.items(f"T#{name}") if i["SK"] == counter["SK"]]
    world.update(counter, documents=10**6)

    async def disturbed(backends: bootstrap.Backends) -> Reconciled:
        walk = backends.maintenance.walk

        async def walked(position: str | None) -> Any:
            client.made()
            async for page in walk(position):
                yield page

        monkeypatch.setattr(backends.maintenance, "walk", walked)
        return await reconcile(backends.maintenance, Tenant(name))

    assert world.with_backends(disturbed) == Reconciled(tenants=1, busy=[name])
    assert [one.tenant for one in recounted(world, name).mended] == [name]
    assert [f for f in world.faults(swept=False) if f.startswith(f"usage of {name}")] == []
