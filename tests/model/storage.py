"""The table and the bucket as they are, beside the service; and time that passes in them."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import boto3

from app.documents import items
from app.documents import models as stored_models
from app.idempotency import dynamodb as idempotency
from app.records import Tenant
from tests.model.model import Answered, Document, World
from tests.support.engines import Engine

# What is cleaned up after an answer takes a moment.
_CLEANING_SECONDS = 5.0

Item = dict[str, Any]


@dataclass
class Found:
    """All that the table has of one tenant."""

    documents: dict[str, stored_models.Document]
    versions: dict[str, list[Item]]
    entries: set[tuple[str, str]]
    usage: Counter[str]
    intents: set[str]
    claims: dict[str, str]
    held: dict[str, str]  # the document of each key


class Storage:
    def __init__(self, engine: Engine, name: str) -> None:
        session: Any = boto3.Session(
            engine.access_key, engine.secret_key, region_name=engine.region
        )
        self._table = session.client("dynamodb", endpoint_url=engine.url)
        self._bucket = session.client("s3", endpoint_url=engine.url)
        self._name = name

    # --- comparing --------------------------------------------------------------------------

    def check(self, tenant: str, world: World) -> None:
        """Every item and every object is what the model says, and there is no other."""
        found = self._settled(tenant)
        documents = {document.id: document for document in world.of(tenant)}
        assert found.documents.keys() == documents.keys()
        for identifier, document in documents.items():
            _check_document(found.documents[identifier], document)
            self._check_versions(tenant, found, document)
        assert found.entries == {entry for d in documents.values() for entry in _entries(d)}
        assert found.versions.keys() == documents.keys()
        contents = [content for d in documents.values() for content in d.contents]
        # Versions that were restored share their bytes with the one that they were.
        stored = {v["content_id"]["S"]: v for vs in found.versions.values() for v in vs}
        assert found.usage["bytes"] == sum(int(v["size"]["N"]) for v in stored.values())
        _check_held(found.held, documents.values())
        assert found.usage["documents"] == len(documents)
        assert found.usage["versions"] == len(contents)
        _check_claims(tenant, found, world)
        assert self._strays(tenant, found) == []

    def _settled(self, tenant: str) -> Found:
        """Once nothing is left that is being cleaned up, or it has had its time."""
        ends = time.monotonic() + _CLEANING_SECONDS
        while True:
            found = self._find(tenant)
            if not self._strays(tenant, found) or time.monotonic() > ends:
                return found
            time.sleep(0.05)

    def _strays(self, tenant: str, found: Found) -> list[str]:
        """Objects and uploads that no version names and no intent covers."""
        named = {
            f"{tenant}/{identifier}/{version['content_id']['S']}"
            for identifier, versions in found.versions.items()
            for version in versions
        }
        return sorted(set(self._keys(tenant)) - named - found.intents)

    def _keys(self, tenant: str) -> Iterable[str]:
        """The keys of all objects, in whatever version, and of all unfinished uploads."""
        kinds = {
            "list_object_versions": ("Versions", "DeleteMarkers"),
            "list_multipart_uploads": ("Uploads",),
        }
        for call, lists in kinds.items():
            answer = getattr(self._bucket, call)(Bucket=self._name, Prefix=tenant + "/")
            assert not answer.get("IsTruncated")
            for name in lists:
                yield from (one["Key"] for one in answer.get(name, []))

    def _check_versions(self, tenant: str, found: Found, document: Document) -> None:
        versions = found.versions[document.id]
        assert [v["SK"]["S"] for v in versions] == [
            f"{number:010d}" for number in range(1, len(document.contents) + 1)
        ]
        assert versions[-1]["content_id"]["S"] == found.documents[document.id].content_id
        for version, content in zip(versions, document.contents, strict=True):
            number = int(version["SK"]["S"])
            assert version["content_type"]["S"] == document.types[number - 1]
            assert int(version["size"]["N"]) == len(content)
            assert version["sha256"]["S"] == hashlib.sha256(content).hexdigest()
            key = f"{tenant}/{document.id}/{version['content_id']['S']}"
            stored = self._bucket.get_object(Bucket=self._name, Key=key)["Body"].read()
            assert stored == content, key

    def _find(self, tenant: str) -> Found:
        found = Found({}, {}, set(), Counter(), set(), {}, {})
        for item in self._scan():
            kind, _, rest = item["PK"]["S"].partition("#")
            owner, _, rest = rest.partition("#")
            if kind == "W" and item["tenant"]["S"] == tenant:
                write_id = item["SK"]["S"].partition("#")[0]
                found.intents.add(f"{tenant}/{item['document_id']['S']}/{write_id}")
            elif owner == tenant:
                _sort_in(found, kind, rest, item)
        for document in found.documents.values():
            current = items.version_item(Tenant(tenant), document.id, document.current)
            found.versions.setdefault(document.id, []).append(current)
        for versions in found.versions.values():
            versions.sort(key=lambda version: str(version["SK"]["S"]))
        return found

    def _scan(self) -> Iterable[Item]:
        pages = self._table.get_paginator("scan")
        for page in pages.paginate(TableName=self._name, ConsistentRead=True):
            yield from page["Items"]

    def clear(self, tenants: Iterable[str]) -> None:
        """Remove all that tenants have, so that the table stays small."""
        keys = [{"PK": i["PK"], "SK": i["SK"]} for i in self._scan() if _owner(i) in tenants]
        for start in range(0, len(keys), 25):
            requests = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + 25]]
            self._table.batch_write_item(RequestItems={self._name: requests})

    # --- time -------------------------------------------------------------------------------

    def move_back(self, key: Item, name: str, moment: int) -> None:
        """Give an item's moment another value, as if time had passed; if there is such an item."""
        try:
            self._table.update_item(
                TableName=self._name,
                Key=key,
                UpdateExpression="SET #name = :moment",
                ConditionExpression="attribute_exists(#name)",
                ExpressionAttributeNames={"#name": name},
                ExpressionAttributeValues={":moment": {"N": str(moment)}},
            )
        except self._table.exceptions.ConditionalCheckFailedException:
            return


def _owner(item: Item) -> str:
    kind, owner, *_ = item["PK"]["S"].split("#")
    return str(item["tenant"]["S"] if kind in ("W", "K") else owner)


def claim_key(tenant: str, key: str) -> Item:
    return idempotency.claim_key(Tenant(tenant), hashlib.sha256(key.encode()).hexdigest())


def document_key(document: Document) -> Item:
    return items.document_key(Tenant(document.tenant), document.id)


def _sort_in(found: Found, kind: str, rest: str, item: Item) -> None:
    identifier = item["SK"]["S"][2:]
    if kind == "V":
        found.versions.setdefault(rest, []).append(item)
    elif kind == "N":
        found.held[item["SK"]["S"]] = item["document_id"]["S"]
    elif kind == "I" and int(item["expires"]["N"]) > time.time() * 1000:
        found.claims[rest] = item["state"]["S"]
    elif kind != "T":
        return
    elif "#" in rest:
        found.entries.add((rest.partition("#")[2], identifier))
    elif rest:
        found.documents[identifier] = items.document(item)
    elif item["SK"]["S"].startswith("USAGE#"):
        found.usage["bytes"] += int(item["bytes"]["N"])
        found.usage["documents"] += int(item["documents"]["N"])
        found.usage["versions"] += int(item["versions"]["N"])


def _check_document(stored: stored_models.Document, document: Document) -> None:
    same: list[Callable[[Any], object]] = [
        lambda d: (d.name, d.content_type, d.tags, d.metadata, d.revision, d.created_by),
        lambda d: (d.created_at, d.updated_at, d.expires_at, d.deleted_at, d.purge_after),
        lambda d: (d.sha256, d.key),
    ]
    for view in same:
        assert view(stored) == view(document)
    assert (stored.size, stored.version) == (len(document.content), len(document.contents))
    assert not stored.purging


def _entries(document: Document) -> Iterable[tuple[str, str]]:
    yield f"SHA#{document.sha256}", document.id
    if document.key is not None and document.deleted_at is not None:
        yield f"KEY#{document.key}", document.id
    for tag in document.tags:
        yield f"TAG#{tag}", document.id


def _check_held(held: dict[str, str], documents: Iterable[Document]) -> None:
    """Each key is that of the document that can be read, if there is one. One that has expired may
    have it still, unless another has taken it over."""
    now = int(time.time() * 1000)
    wanted: dict[str, list[Document]] = {}
    for document in documents:
        if document.key is not None and document.deleted_at is None:
            wanted.setdefault(document.key, []).append(document)
    assert held.keys() <= wanted.keys()
    for key, candidates in wanted.items():
        alive = [document.id for document in candidates if document.readable(now)]
        assert len(alive) <= 1
        if alive:
            assert held.get(key) == alive[0]
        else:
            assert held.get(key) in (None, *(document.id for document in candidates))


def _check_claims(tenant: str, found: Found, world: World) -> None:
    """Every answered request is remembered; others hold a key only if they failed."""
    held = {
        hashlib.sha256(key.encode()).hexdigest(): record
        for (owner, key), record in world.keys.items()
        if owner == tenant
    }
    for key, state in found.claims.items():
        assert key in held
        assert (state == "settled") == isinstance(held[key], Answered)
    for key, record in held.items():
        assert key in found.claims or not isinstance(record, Answered)
