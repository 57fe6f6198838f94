"""What really stands in the table and the bucket, past the service, and what must hold of it."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
import pytest
from botocore.config import Config

from app import bootstrap
from app.keys.service import SCOPES, new_key
from app.maintenance import provision as provisioning
from app.maintenance.sweep import Sweeper, Swept
from app.maintenance.verify import Verification, Verifier
from app.records import Tenant
from app.settings import Settings
from tests.faults.operations import checksum_of
from tests.support.engines import Engine

T = TypeVar("T")
DAY_MS = 24 * 3600 * 1000
# When a document that was deleted has served its time.
RETAINED_MS = 36 * DAY_MS


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class World:
    """A table and a bucket, of one name unless one is given, on engines for each."""

    name: str
    tables: Engine
    objects: Engine
    other_bucket: str = ""

    @property
    def bucket(self) -> str:
        return self.other_bucket or self.name

    @property
    def variables(self) -> dict[str, str]:
        """What turns a service or a command to this world."""
        assert self.tables.access_key == self.objects.access_key or self.objects.strict
        return {
            "DYNAMODB_TABLE": self.name,
            "S3_BUCKET": self.bucket,
            "AWS_ENDPOINT_URL_DYNAMODB": self.tables.url,
            "AWS_ENDPOINT_URL_S3": self.objects.url,
            "AWS_ACCESS_KEY_ID": self.objects.access_key,
            "AWS_SECRET_ACCESS_KEY": self.objects.secret_key,
            "AWS_REGION": self.objects.region,
        }

    def provision(self) -> None:
        """As the command does, but for what not every engine has (blocking public access)."""
        aws = provisioning._Clients(self.client("dynamodb"), self.client("s3"), self.tables.region)
        provisioning._provision_table(aws, self.name, lambda text: None)
        aws.s3.create_bucket(Bucket=self.bucket)
        aws.s3.put_bucket_versioning(
            Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"}
        )

    def with_backends(self, work: Callable[[bootstrap.Backends], Awaitable[T]], **more: str) -> T:
        """Run with the real adapters, in this process."""

        async def run() -> T:
            settings = Settings(dynamodb_table=self.name, s3_bucket=self.bucket)
            async with bootstrap.connect(settings) as backends:
                return await work(backends)

        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**self.variables, **more}.items():
                patch.setenv(name, value)
            return asyncio.run(run())

    def sweep(
        self,
        *,
        later_ms: int = 0,
        dry_run: bool = False,
        kept: tuple[int, int] = (0, 0),
        **more: str,
    ) -> Swept:
        """A sweep, seen from `later_ms` in the future. `kept` are versions, and milliseconds."""

        async def work(backends: bootstrap.Backends) -> Swept:
            sweeper = Sweeper(
                backends.maintenance,
                backends.objects,
                lambda: now_ms() + later_ms,
                dry_run=dry_run,
                versions_kept=kept[0],
                versions_kept_ms=kept[1],
            )
            return await sweeper.run()

        return self.with_backends(work, **more)

    def verify(self, **options: Any) -> Verification:
        return self.with_backends(
            lambda b: Verifier(b.maintenance, b.objects, now_ms, **options).run()
        )

    def new_keys(self, tenants: list[str]) -> list[str]:
        """A key for each of them, with every scope."""
        made = [new_key(Tenant(name), frozenset(SCOPES), "", None, now_ms()) for name in tenants]

        async def store(backends: bootstrap.Backends) -> None:
            for record, _ in made:
                await backends.keys.write_key(record)

        self.with_backends(store)
        return [secret for _, secret in made]

    # --- raw access -------------------------------------------------------------------------

    def client(self, service: str) -> Any:
        return _client(service, self.tables if service == "dynamodb" else self.objects)

    def items(self, prefix: str = "") -> list[dict[str, Any]]:
        pages = self.client("dynamodb").get_paginator("scan")
        found = pages.paginate(TableName=self.name, ConsistentRead=True).build_full_result()
        return [item for item in found["Items"] if item["PK"]["S"].startswith(prefix)]

    def wipe(self) -> None:
        """Remove everything but API keys."""
        for item in self.items():
            if item["PK"]["S"][:2] != "K#" and not item["SK"]["S"].startswith("KEY#"):
                key = {"PK": item["PK"], "SK": item["SK"]}
                self.client("dynamodb").delete_item(TableName=self.name, Key=key)
        s3 = self.client("s3")
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket)
        found = pages.build_full_result()
        for version in found.get("Versions", []) + found.get("DeleteMarkers", []):
            s3.delete_object(
                Bucket=self.bucket, Key=version["Key"], VersionId=version.get("VersionId", "null")
            )
        for upload in s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []):
            s3.abort_multipart_upload(
                Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )

    def update(self, item: dict[str, Any], **numbers: int) -> None:
        """Set attributes of an item, which must be there."""
        self.client("dynamodb").update_item(
            TableName=self.name,
            Key={"PK": item["PK"], "SK": item["SK"]},
            UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in numbers),
            ConditionExpression="attribute_exists(PK)",
            ExpressionAttributeValues={f":{n}": {"N": str(v)} for n, v in numbers.items()},
        )

    def keys(self) -> list[str]:
        """All object keys, those of old versions and delete markers included."""
        pages = self.client("s3").get_paginator("list_object_versions")
        found = pages.paginate(Bucket=self.bucket).build_full_result()
        listed = found.get("Versions", []) + found.get("DeleteMarkers", [])
        return sorted({version["Key"] for version in listed})

    def uploads(self) -> list[str]:
        found = self.client("s3").list_multipart_uploads(Bucket=self.bucket)
        return [upload["Key"] for upload in found.get("Uploads", [])]

    def bytes_of(self, key: str) -> bytes:
        body: bytes = self.client("s3").get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    # --- what must hold ---------------------------------------------------------------------

    def faults(self, *, swept: bool) -> list[str]:
        """Everything that breaks an invariant; after a sweep also what it should have removed."""
        return list(_faults(self, swept))


@functools.cache  # making one takes longer than all that it is asked
def _client(service: str, engine: Engine) -> Any:
    return boto3.Session().client(
        service,  # type: ignore[call-overload]
        endpoint_url=engine.url,
        region_name=engine.region,
        aws_access_key_id=engine.access_key,
        aws_secret_access_key=engine.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )


def _faults(world: World, swept: bool) -> Iterator[str]:
    documents: dict[str, dict[str, Any]] = {}
    contents: dict[str, dict[str, Any]] = {}  # by object key, what names it
    entries: set[tuple[str, str]] = set()
    wanted: set[tuple[str, str]] = set()
    usage: dict[str, Counter[str]] = defaultdict(Counter)
    held: dict[str, Counter[str]] = defaultdict(Counter)
    under_way: list[str] = []
    for item in world.items():
        kind, *rest = item["PK"]["S"].split("#")
        sort = item["SK"]["S"]
        if kind == "R":
            if swept:
                yield f"excess {item['PK']['S']}"
        elif kind == "W":
            write_id, _, released = sort.partition("#")
            under_way.append(f"{item['tenant']['S']}/{item['document_id']['S']}/{write_id}")
            if released:
                held[item["tenant"]["S"]]["bytes"] += int(item["size"]["N"])
        elif kind == "U":
            held[item["tenant"]["S"]]["uploads"] += item["state"]["S"] == "open"
            # A completed one covers its bytes until no URL of it is alive.
            if "due_at" in item:
                under_way.append(f"{item['tenant']['S']}/{item['document_id']['S']}/{rest[0]}")
        elif kind == "N":
            entries.add((item["PK"]["S"], f"{sort} {item['document_id']['S']}"))
        elif kind == "V":
            name = f"{rest[0]}/{rest[1]}"
            held[rest[0]]["versions"] += 1
            yield from _named(contents, f"{name}/{item['content_id']['S']}", item)
        elif kind == "T" and sort.startswith("USAGE#"):
            usage[rest[0]]["bytes"] += int(item["bytes"]["N"])
            usage[rest[0]]["documents"] += int(item["documents"]["N"])
            usage[rest[0]]["versions"] += int(item["versions"]["N"])
            usage[rest[0]]["uploads"] += int(item["uploads"]["N"])
        elif kind == "T" and len(rest) == 2:
            documents[f"{rest[0]}/{sort[2:]}"] = item
            held[rest[0]]["documents"] += 1
            held[rest[0]]["versions"] += 1  # the current one
            yield from _named(contents, f"{rest[0]}/{sort[2:]}/{item['content_id']['S']}", item)
            names = [f"TAG#{tag['S']}" for tag in item.get("tags", {"L": []})["L"]]
            names += [f"SHA#{item['sha256']['S']}"] if "sha256" in item else []
            if "key" in item and "deleted_at" in item:
                names += [f"KEY#{item['key']['S']}"]
            elif "key" in item:
                wanted.add((f"N#{rest[0]}", f"{item['key']['S']} {sort[2:]}"))
            for name in names:
                wanted.add((f"{item['PK']['S']}#{name}", sort))
        elif kind == "T" and len(rest) > 2:
            entries.add((item["PK"]["S"], sort))
    keys = world.keys()
    for key, named in contents.items():
        held[key.split("/")[0]]["bytes"] += int(named["size"]["N"])
        if key.rpartition("/")[0] not in documents:
            yield f"version {key} has no document"
        if key not in keys:
            yield f"version {key} has no bytes"
            continue
        content = world.bytes_of(key)
        if _digest(content, named) != _checksum(named):
            yield f"version {key} has other bytes"
    for entry in wanted - entries:
        yield f"entry {entry} is missing"
    for entry in entries - wanted:
        yield f"entry {entry} leads nowhere"
    for tenant in usage.keys() | held.keys():
        for name in ("bytes", "documents", "versions", "uploads"):
            if usage[tenant][name] != held[tenant][name]:
                yield f"usage of {tenant}: {name} {usage[tenant][name]}, held {held[tenant][name]}"
    for key in keys:
        if key not in contents and (swept or key not in under_way):
            yield f"orphan {key}"
    for key in world.uploads():
        if swept or key not in under_way:
            yield f"unfinished upload {key}"
    if swept:
        for key in under_way:
            yield f"intent {key}"


def _checksum(item: dict[str, Any]) -> str:
    found: str = (item.get("sha256") or item["checksum"])["S"]
    return found


def _digest(content: bytes, item: dict[str, Any]) -> str:
    return checksum_of(content, int(item["part_size"]["N"]) if "part_size" in item else None)


def _named(contents: dict[str, dict[str, Any]], key: str, item: dict[str, Any]) -> Iterator[str]:
    """Versions may share bytes, which are then the same."""
    other = contents.setdefault(key, item)
    if (_checksum(other), other["size"]) != (_checksum(item), item["size"]):
        yield f"two versions of {key} differ"
