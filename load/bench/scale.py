"""`scale`: what a call costs with 10, 1,000 and 100,000 documents of one tenant."""

from __future__ import annotations

import argparse
import http.client
import json
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from app.aws.attributes import Item, text
from app.documents import items
from app.documents.dynamodb import entries
from app.documents.ids import DocumentIds
from app.documents.models import Document
from app.embedded.emulator import Emulator
from app.records import Tenant, new_write_id
from load.bench.measure import command_of
from load.bench.native import (
    RESULTS,
    SERVER_CORE,
    Running,
    free_port,
    require_tools,
    running,
)
from load.bench.record import (
    TABLE,
    UPLOAD,
    UPLOAD_HEADERS,
    Call,
    environment,
    new_key,
    provision,
    tap,
)
from tests.support.engines import dynamodb_local, dynamodb_local_home

SIZES = (10, 1_000, 100_000)
# How much more the largest tenant's call may cost than the smallest one's.
CAPACITY_TOLERANCE, CPU_TOLERANCE = 1.10, 1.30
_PAGE = 5  # as many as the smallest tenant has at least
_TIMES = 300
_BATCH = 25
_TAG = "scale"
# Half of the documents are under one prefix, half in folders of five. The smallest tenant has one
# folder, too few to fill a page.
_SMALLEST = {"list folders": 1_000}
CALLS = {
    "list": ("GET", f"/v1/documents?limit={_PAGE}"),
    "list by tag": ("GET", f"/v1/documents?limit={_PAGE}&tag={_TAG}"),
    "list by key": ("GET", f"/v1/documents?limit={_PAGE}&key_prefix=all/"),
    "list folders": ("GET", f"/v1/documents?limit={_PAGE}&key_prefix=folders/&delimiter=/"),
    "read": ("GET", "/v1/documents/{id}"),
    "read by key": ("GET", "/v1/documents/by-key/all/000000"),
    "create": ("POST", "/v1/documents"),
}


@dataclass(frozen=True)
class Cost:
    """Of one call, on average: DynamoDB's capacity units, and the server's CPU in µs."""

    capacity: float
    cpu_us: float


def add_command(commands: Any) -> None:
    command = commands.add_parser(
        "scale", help="cost of a call by the number of documents, on DynamoDB Local"
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if not list(dynamodb_local_home().glob("DynamoDBLocal*.jar")):
        print(
            f"skipped: DynamoDB Local is not in {dynamodb_local_home()}. .ci/run installs it "
            "there; DYNAMODB_LOCAL_HOME names another place."
        )
        return 0
    require_tools("java", "setpriv", "taskset")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        engine = stack.enter_context(dynamodb_local(Path(folder)))
        bucket = Emulator(Path(folder) / "bucket")
        bucket.start()
        stack.callback(bucket.stop)
        url, calls = stack.enter_context(tap(engine.url, _with_capacity))
        port = free_port()
        told = environment(url, port, AWS_ENDPOINT_URL_S3=bucket.url)
        provision(told)
        keys = {size: new_key(told, f"t{size}") for size in SIZES}
        loaded = {size: _load(engine.url, Tenant(f"t{size}"), size) for size in SIZES}
        service = stack.enter_context(
            running(SERVER_CORE, command_of("strongroom"), port, "scale", told)
        )
        service.await_answer("/livez")
        costs = {
            name: {size: _cost(service, calls, name, keys[size], loaded[size]) for size in SIZES}
            for name in CALLS
        }
    return _conclude(costs)


def _with_capacity(headers: Mapping[str, str], body: bytes) -> bytes:
    """The request, asking what it costs. DynamoDB Local does not check signatures."""
    if "x-amz-target" not in headers:
        return body
    return orjson.dumps(orjson.loads(body) | {"ReturnConsumedCapacity": "TOTAL"})


# --- documents ----------------------------------------------------------------------------------


def _load(url: str, tenant: Tenant, count: int) -> list[str]:
    """Put documents into the table as the adapter would; the ids of some of them."""
    began = time.monotonic()
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    loaded, batch, done = [], [], 0
    for document, item in _made(tenant, count):
        loaded.append(document)
        batch.append({"PutRequest": {"Item": item}})
        if len(batch) == _BATCH:
            _write(connection, batch)
            batch = []
            done += 1
            if done % 1000 == 0:
                print(f"  {tenant.id}: {done * _BATCH:,} items", flush=True)
    if batch:
        _write(connection, batch)
    print(f"{tenant.id}: {count:,} documents in {time.monotonic() - began:.0f} s", flush=True)
    return random.Random(count).sample(sorted(set(loaded)), min(count, _TIMES))


def _made(tenant: Tenant, count: int) -> Iterator[tuple[str, Item]]:
    """The items of so many documents, each with its document's id."""
    ids, dice = DocumentIds(1), random.Random(count)
    for number in range(count):
        digest = dice.randbytes(32).hex()
        document = Document(
            id=ids.new(),
            name=f"report-{number:06d}.pdf",
            content_type="application/pdf",
            size=len(UPLOAD),
            sha256=digest,
            revision=1,
            version=1,
            content_id=new_write_id(),
            tags=(_TAG,),
            metadata_json=f'{{"project":"apollo","number":{number}}}',
            created_at=time.time_ns() // 1_000_000,
            updated_at=time.time_ns() // 1_000_000,
            created_by="0" * 16,
            recent_write_ids=new_write_id(),
            key=_key(number),
        )
        attributes = items.document_attributes(document)
        yield document.id, {**items.document_key(tenant, document.id), **attributes}
        held = {"document_id": text(document.id), "format": items.FORMAT}
        yield document.id, {**items.held_key(tenant, _key(number)), **held}
        for entry in entries(tenant, document).values():
            yield document.id, entry


def _key(number: int) -> str:
    if number % 2 == 0:
        return f"all/{number:06d}"
    return f"folders/{number // 10:05d}/{number:06d}"


def _write(connection: http.client.HTTPConnection, batch: list[Item]) -> None:
    headers = {
        "X-Amz-Target": "DynamoDB_20120810.BatchWriteItem",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/dynamodb/"
        "aws4_request, SignedHeaders=host, Signature=0",
    }
    connection.request("POST", "/", orjson.dumps({"RequestItems": {TABLE: batch}}), headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200 or orjson.loads(body).get("UnprocessedItems"):
        raise RuntimeError(f"BatchWriteItem: {answer.status} {body!r:.500}")


# --- costs --------------------------------------------------------------------------------------


def _cost(service: Running, calls: list[Call], name: str, key: str, ids: list[str]) -> Cost:
    method, path = CALLS[name]
    headers = {"Authorization": f"Bearer {key}"} | (UPLOAD_HEADERS if method == "POST" else {})
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)

    def ask(number: int) -> None:
        target = path.format(id=ids[number % len(ids)])
        connection.request(method, target, UPLOAD if method == "POST" else None, headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{name}: {answer.status} {body!r:.500}")

    for number in range(20):
        ask(number)
    calls.clear()
    cpu = service.cpu()
    for number in range(_TIMES):
        ask(number)
    cpu = service.cpu() - cpu
    connection.close()
    # The key's and the tenant's records are asked for once in ten seconds, whatever the call.
    kept = (b"K#", b'"TENANT"')
    spent = sum(_capacity(call) for call in calls if not any(one in call.request for one in kept))
    return Cost(spent / _TIMES, cpu / _TIMES * 1e6)


def _capacity(call: Call) -> float:
    """Units; transactions and batches tell them by table."""
    told = orjson.loads(call.body)["ConsumedCapacity"]
    tables = told if isinstance(told, list) else [told]
    return sum(float(table["CapacityUnits"]) for table in tables)


def _conclude(costs: dict[str, dict[int, Cost]]) -> int:
    head = "".join(f"{f'{size:,} documents':>28}" for size in SIZES)
    print(f"\n{'call':<14}{head}   largest / smallest tenant")
    grown = False
    for name, found in costs.items():
        first, last = found[_SMALLEST.get(name, SIZES[0])], found[SIZES[-1]]
        capacity, cpu = last.capacity / first.capacity, last.cpu_us / first.cpu_us
        grown |= capacity > CAPACITY_TOLERANCE or cpu > CPU_TOLERANCE
        cells = "".join(
            f"{f'{cost.capacity:.2f} units, {cost.cpu_us:.0f} µs':>28}" for cost in found.values()
        )
        print(f"{name:<14}{cells}   {capacity:.2f} units, {cpu:.2f} CPU")
    told = {name: {str(n): vars(c) for n, c in found.items()} for name, found in costs.items()}
    path = RESULTS / "scale.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n")
    print(
        f"{'NOT ' if grown else ''}flat: within {CAPACITY_TOLERANCE:.2f} of the capacity and "
        f"{CPU_TOLERANCE:.2f} of the CPU time\n{path}"
    )
    return 1 if grown else 0
