"""Records as DynamoDB items and back. Keys and attributes are those of docs/data-model.md."""

from __future__ import annotations

import zlib

from app.aws.attributes import DUE_BUCKETS, Item, due_bucket, number, text
from app.documents.models import Checksum, Document, Intent, Version
from app.documents.ports import Index
from app.maintenance.ports import Entry, Excess, HeldKey, ItemKind, OpenIntent, Released
from app.records import Tenant

# Of every item here; docs/data-model.md tells how it changes.
FORMAT = number(1)
INTENT_PARTITIONS = DUE_BUCKETS
UPLOADS = "U"
_RELEASED = "#released"

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
    """`kind` is TAG, SHA or KEY."""
    partition = document_partition(tenant, shard_of(document_id))
    return {"PK": text(f"{partition}#{kind}#{value}"), "SK": text("D#" + document_id)}


def version_key(tenant: Tenant, document_id: str, version: int) -> Item:
    # Padded, so that versions sort by number.
    return {"PK": text(f"V#{tenant.id}#{document_id}"), "SK": text(f"{version:010d}")}


def intent_partition(number: int) -> str:
    return f"W#{number:02d}"


def intent_key(write_id: str) -> Item:
    # Those of now, which are few, are found by reading them all: an index would bill each twice.
    partition = zlib.crc32(write_id.encode()) % INTENT_PARTITIONS
    return {"PK": text(intent_partition(partition)), "SK": text(write_id)}


def released_key(content_id: str) -> Item:
    # Beside the intent: a put of that which was given up may yet arrive.
    key = intent_key(content_id)
    return {**key, "SK": text(content_id + _RELEASED)}


def upload_key(upload_id: str) -> Item:
    """Of an upload into the bucket. Its id is that of the write, as an intent's is."""
    return {"PK": text(f"{UPLOADS}#{upload_id}"), "SK": text("U")}


def held_key(tenant: Tenant, key: str) -> Item:
    """Of the item that makes a document's key unique."""
    return {"PK": text(held_keys_partition(tenant)), "SK": text(key)}


def held_keys_partition(tenant: Tenant) -> str:
    return f"N#{tenant.id}"


# --- documents ------------------------------------------------------------------------------


def document_attributes(document: Document) -> Item:
    """All attributes but the key. What is absent from a document is absent from its item."""
    item: Item = {
        "format": FORMAT,
        "name": text(document.name),
        "content_type": text(document.content_type),
        "size": number(document.size),
        "revision": number(document.revision),
        "version": number(document.version),
        "content_id": text(document.content_id),
        "created_at": number(document.created_at),
        "updated_at": number(document.updated_at),
        "created_by": text(document.created_by),
        "writes": text(document.recent_write_ids),
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
    if document.key is not None:
        item["key"] = text(document.key)
    if document.content_at is not None:
        item["content_at"] = number(document.content_at)
    if document.content_by is not None:
        item["content_by"] = text(document.content_by)
    if document.older:
        item["older"] = number(document.older)
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
    key, content_at, content_by = item.get("key"), item.get("content_at"), item.get("content_by")
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
        key["S"] if key else None,
        int(content_at["N"]) if content_at else None,
        content_by["S"] if content_by else None,
        int(item["older"]["N"]) if "older" in item else 0,
    )


def version_item(tenant: Tenant, document_id: str, version: Version) -> Item:
    return {
        **version_key(tenant, document_id, version.number),
        "format": FORMAT,
        "content_type": text(version.content_type),
        "size": number(version.size),
        "content_id": text(version.content_id),
        "created_at": number(version.created_at),
        "created_by": text(version.created_by),
        **checksum_attributes(version.checksum),
    }


def version(item: Item) -> Version:
    return Version(
        number=int(item["SK"]["S"]),
        content_id=item["content_id"]["S"],
        size=int(item["size"]["N"]),
        checksum=_checksum(item),
        content_type=item["content_type"]["S"],
        created_at=int(item["created_at"]["N"]),
        created_by=item["created_by"]["S"],
    )


# --- intents, claims, keys ------------------------------------------------------------------


def intent_item(tenant: Tenant, intent: Intent) -> Item:
    return {
        **intent_key(intent.write_id),
        "format": FORMAT,
        "state": text("open"),
        "tenant": text(tenant.id),
        "document_id": text(intent.document_id),
        "due_at": number(intent.deadline),
    }


def released_item(tenant: Tenant, document_id: str, version: Version, now: int) -> Item:
    """What tells the sweeper of bytes that a deleted version alone had."""
    return {
        **released_key(version.content_id),
        "format": FORMAT,
        "tenant": text(tenant.id),
        "document_id": text(document_id),
        "size": number(version.size),
        "due_at": number(now),
    }


def released(item: Item) -> Released:
    content_id = item["SK"]["S"].removesuffix(_RELEASED)
    size = int(item["size"]["N"])
    return Released(Tenant(item["tenant"]["S"]), item["document_id"]["S"], content_id, size)


def excess_item(tenant: Tenant, document_id: str, now: int) -> Item:
    """What tells the sweeper that a document has more versions than are kept."""
    return {
        "PK": text(f"R#{tenant.id}#{document_id}"),
        "SK": text("R"),
        "format": FORMAT,
        "due_bucket": due_bucket(document_id),
        "due_at": number(now),
    }


def excess(item: Item) -> Excess:
    _, tenant, document_id = item["PK"]["S"].split("#")
    return Excess(Tenant(tenant), document_id)


def due(item: Item) -> str | Released:
    """The write id of an intent, or what a deleted version has left."""
    write_id: str = item["SK"]["S"]
    return released(item) if write_id.endswith(_RELEASED) else write_id


def open_intent(item: Item) -> OpenIntent:
    return OpenIntent(
        Tenant(item["tenant"]["S"]),
        Intent(item["SK"]["S"], item["document_id"]["S"], int(item["due_at"]["N"])),
        item["state"]["S"] == "reaping",
    )


# --- how maintenance reads them -------------------------------------------------------------

_INDEX_KINDS = {"TAG": "tag", "SHA": "sha256", "KEY": "key"}
INDEX_NAMES = {kind: name for name, kind in _INDEX_KINDS.items()}


def _document_or_entry(item: Item) -> tuple[Tenant, Document] | Entry:
    _, tenant, _, *index = item["PK"]["S"].split("#", 4)
    if not index:
        found = document(item)
        if not isinstance(found.metadata, dict):
            raise TypeError("metadata is no object")
        return Tenant(tenant), found
    kind, value = index
    return Entry(Tenant(tenant), Index(_INDEX_KINDS[kind], value), item["SK"]["S"][2:])


def _version(item: Item) -> tuple[Tenant, str, Version]:
    _, tenant, document_id = item["PK"]["S"].split("#", 2)
    return Tenant(tenant), document_id, version(item)


def _intent_or_released(item: Item) -> OpenIntent | Released:
    return released(item) if item["SK"]["S"].endswith(_RELEASED) else open_intent(item)


def _held_key(item: Item) -> HeldKey:
    tenant = Tenant(item["PK"]["S"].removeprefix("N#"))
    return HeldKey(tenant, item["SK"]["S"], item["document_id"]["S"])


KINDS = (
    ItemKind("W#", "", _intent_or_released),
    ItemKind("N#", "", _held_key),
    ItemKind("R#", "R", excess),
    ItemKind("V#", "", _version),
    ItemKind("T#", "D#", _document_or_entry),
)
