"""Records as DynamoDB items and back. Keys and attributes are those of docs/data-model.md."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any

import orjson

from app.storage.records import (
    Answer,
    ApiKey,
    Checksum,
    Claim,
    Document,
    Intent,
    Settled,
    Tenant,
    Version,
)
from app.storage.tables import Entry, Found, GivenAnswer, Index, OpenIntent, Usage

Item = dict[str, Any]

DUE_BUCKETS = 16


def text(value: str) -> Item:
    return {"S": value}


def number(value: int) -> Item:
    return {"N": str(value)}


def due_bucket(identifier: str) -> Item:
    """Spread by identifier, so that the sweeper's index has no hot partition."""
    return number(zlib.crc32(identifier.encode()) % DUE_BUCKETS)


# --- keys -----------------------------------------------------------------------------------


def shard_of(document_id: str) -> str:
    """The shard's character: the last one of the id."""
    return document_id[-1]


def document_partition(tenant: Tenant, shard: str) -> str:
    return f"T#{tenant.id}#{shard}"


def document_key(tenant: Tenant, document_id: str) -> Item:
    return {
        "PK": text(document_partition(tenant, shard_of(document_id))),
        "SK": text("D#" + document_id),
    }


def entry_key(tenant: Tenant, kind: str, value: str, document_id: str) -> Item:
    """`kind` is TAG or SHA."""
    partition = document_partition(tenant, shard_of(document_id))
    return {"PK": text(f"{partition}#{kind}#{value}"), "SK": text("D#" + document_id)}


def version_key(tenant: Tenant, document_id: str, version: int) -> Item:
    # Padded, so that versions sort by number.
    return {"PK": text(f"V#{tenant.id}#{document_id}"), "SK": text(f"{version:010d}")}


def intent_key(write_id: str) -> Item:
    return {"PK": text("W#" + write_id), "SK": text("W")}


def claim_key(tenant: Tenant, key: str) -> Item:
    return {"PK": text(f"I#{tenant.id}#{key}"), "SK": text("I")}


def usage_key(tenant: Tenant, counter: int) -> Item:
    return {"PK": text("T#" + tenant.id), "SK": text(f"USAGE#{counter:02d}")}


def api_key_key(key_id: str) -> Item:
    return {"PK": text("K#" + key_id), "SK": text("K")}


# --- documents ------------------------------------------------------------------------------


def document_attributes(document: Document) -> Item:
    """All attributes but the key. What is absent from a document is absent from its item."""
    item: Item = {
        "name": text(document.name),
        "content_type": text(document.content_type),
        "size": number(document.size),
        "revision": number(document.revision),
        "version": number(document.version),
        "content_id": text(document.content_id),
        "created_at": number(document.created_at),
        "updated_at": number(document.updated_at),
        "created_by": text(document.created_by),
        "writes": text(document.writes),
        **checksum_attributes(document.checksum),
    }
    if document.tags:
        item["tags"] = {"L": [text(tag) for tag in document.tags]}
    if document.metadata_json != "{}":
        # As JSON text: DynamoDB's numbers are not JSON's.
        item["metadata"] = text(document.metadata_json)
    for name in ("expires_at", "deleted_at", "purge_after"):
        moment = getattr(document, name)
        if moment is not None:
            item[name] = number(moment)
    if document.purging:
        item["purging"] = {"BOOL": True}
    due = [moment for moment in (document.expires_at, document.purge_after) if moment is not None]
    if due:
        item["due_bucket"] = due_bucket(document.id)
        item["due_at"] = number(min(due))
    return item


def checksum_attributes(checksum: Checksum) -> Item:
    if checksum.algorithm == "sha256":
        return {"sha256": text(checksum.value)}
    item = {"checksum": text(checksum.value), "checksum_algorithm": text(checksum.algorithm)}
    if checksum.part_size is not None:
        item["part_size"] = number(checksum.part_size)
    return item


def _checksum(item: Item) -> Checksum:
    if "sha256" in item:
        return Checksum("sha256", item["sha256"]["S"])
    part_size = item.get("part_size")
    return Checksum(
        item["checksum_algorithm"]["S"],
        item["checksum"]["S"],
        int(part_size["N"]) if part_size else None,
    )


def document(item: Item) -> Document:
    sha256 = item.get("sha256")
    tags = item.get("tags")
    metadata = item.get("metadata")
    expires_at, deleted_at = item.get("expires_at"), item.get("deleted_at")
    purge_after = item.get("purge_after")
    return Document(  # in the order of its fields: by name takes twice the time
        item["SK"]["S"][2:],
        item["name"]["S"],
        item["content_type"]["S"],
        int(item["size"]["N"]),
        sha256["S"] if sha256 else None,
        int(item["revision"]["N"]),
        int(item["version"]["N"]),
        item["content_id"]["S"],
        int(item["created_at"]["N"]),
        int(item["updated_at"]["N"]),
        item["created_by"]["S"],
        tuple([tag["S"] for tag in tags["L"]]) if tags else (),
        metadata["S"] if metadata else "{}",
        None if sha256 else _checksum(item),
        int(expires_at["N"]) if expires_at else None,
        int(deleted_at["N"]) if deleted_at else None,
        int(purge_after["N"]) if purge_after else None,
        "purging" in item,
        item["writes"]["S"],
    )


def _moment(item: Item, name: str) -> int | None:
    value = item.get(name)
    return int(value["N"]) if value else None


def version_attributes(document: Document, author: str) -> Item:
    """What a version keeps of the document that it was."""
    return {
        "name": text(document.name),
        "content_type": text(document.content_type),
        "size": number(document.size),
        "content_id": text(document.content_id),
        "created_at": number(document.updated_at),
        "created_by": text(author),
        **checksum_attributes(document.checksum),
    }


def version(item: Item) -> Version:
    return Version(
        number=int(item["SK"]["S"]),
        content_id=item["content_id"]["S"],
        size=int(item["size"]["N"]),
        checksum=_checksum(item),
    )


# --- intents, claims, keys ------------------------------------------------------------------


def intent_item(tenant: Tenant, intent: Intent) -> Item:
    return {
        **intent_key(intent.write_id),
        "state": text("open"),
        "tenant": text(tenant.id),
        "document_id": text(intent.document_id),
        "due_bucket": due_bucket(intent.write_id),
        "due_at": number(intent.deadline),
    }


def open_intent(item: Item) -> OpenIntent:
    return OpenIntent(
        Tenant(item["tenant"]["S"]),
        Intent(item["PK"]["S"][2:], item["document_id"]["S"], int(item["due_at"]["N"])),
        item["state"]["S"] == "reaping",
    )


def claim_item(tenant: Tenant, claim: Claim, lease_ends: int, expires: int) -> Item:
    return {
        **claim_key(tenant, claim.key),
        "state": text("running"),
        "owner": text(claim.owner),
        "fingerprint": text(claim.fingerprint),
        "lease_ends": number(lease_ends),
        "expires": number(expires),
        # The table's TTL is in seconds and late by up to days: `expires` is what counts.
        "ttl": number(expires // 1000 + 1),
    }


def settled(item: Item) -> Settled | None:
    if item["state"]["S"] != "settled":
        return None
    answer = orjson.loads(item["answer"]["S"])
    return Settled(
        Answer(answer["status"], answer["headers"], answer["body"].encode()),
        item["body_sha256"]["S"],
    )


def settled_values(outcome: Settled) -> Item:
    answer = {
        "status": outcome.answer.status,
        "headers": outcome.answer.headers,
        "body": outcome.answer.body.decode(),
    }
    return {
        ":settled": text("settled"),
        ":answer": text(orjson.dumps(answer).decode()),
        ":body": text(outcome.body_sha256),
    }


def api_key_item(key: ApiKey) -> Item:
    item: Item = {
        **api_key_key(key.id),
        "tenant": text(key.tenant.id),
        "secret_sha256": text(key.secret_sha256),
        "scopes": {"L": [text(scope) for scope in sorted(key.scopes)]},
        "name": text(key.name),
        "created_at": number(key.created_at),
    }
    if key.expires_at is not None:
        item["expires_at"] = number(key.expires_at)
    if key.revoked_at is not None:
        item["revoked_at"] = number(key.revoked_at)
    return item


def api_key(item: Item) -> ApiKey:
    return ApiKey(
        id=item["PK"]["S"][2:],
        tenant=Tenant(item["tenant"]["S"]),
        secret_sha256=item["secret_sha256"]["S"],
        scopes=frozenset(scope["S"] for scope in item["scopes"]["L"]),
        name=item["name"]["S"],
        created_at=int(item["created_at"]["N"]),
        expires_at=_moment(item, "expires_at"),
        revoked_at=_moment(item, "revoked_at"),
    )


def usage(tenant: Tenant, item: Item) -> Usage:
    return Usage(
        tenant,
        int(item["SK"]["S"].removeprefix("USAGE#")),
        int(item["bytes"]["N"]),
        int(item["documents"]["N"]),
    )


# --- whatever a walk finds ------------------------------------------------------------------

_INDEX_KINDS = {"TAG": "tag", "SHA": "sha256"}


def found(item: Item) -> Found | str | None:
    """The record that an item is; None for those that stand for themselves alone; its key for
    one that cannot be read."""
    try:
        return _found(item)
    except (KeyError, ValueError, TypeError):
        return f"{item['PK'].get('S')} {item['SK'].get('S')}"


def _found(item: Item) -> Found | None:
    kind, _, rest = item["PK"]["S"].partition("#")
    if kind == "W":
        return open_intent(item)
    if kind == "K":
        return api_key(item)
    tenant, _, rest = rest.partition("#")
    if kind == "V":
        return Tenant(tenant), rest, version(item)
    if kind == "I":
        return _given_answer(Tenant(tenant), rest, item)
    if kind == "T" and item["SK"]["S"].startswith("USAGE#"):
        return usage(Tenant(tenant), item)
    if kind != "T" or not item["SK"]["S"].startswith("D#"):
        return None
    _, _, index = rest.partition("#")
    if not index:
        found = document(item)
        if not isinstance(found.metadata, dict):
            raise TypeError("metadata is no object")
        return Tenant(tenant), found
    kind, _, value = index.partition("#")
    return Entry(Tenant(tenant), Index(_INDEX_KINDS[kind], value), item["SK"]["S"][2:])


def _given_answer(tenant: Tenant, key: str, item: Item) -> GivenAnswer | None:
    """None where there is no answer yet, or it shows no document."""
    outcome = settled(item)
    body = orjson.loads(outcome.answer.body or b"null") if outcome else None
    if not isinstance(body, dict) or "id" not in body:
        return None
    return GivenAnswer(
        tenant,
        key,
        item["owner"]["S"],
        int(item["expires"]["N"]),
        body["id"],
        _milliseconds(body.get("expires_at")),
    )


def _milliseconds(timestamp: str | None) -> int | None:
    if timestamp is None:
        return None
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)
