"""Records as DynamoDB items and back. Keys and attributes are those of docs/data-model.md."""

from __future__ import annotations

from app.aws.attributes import Item, due_bucket, number, text
from app.documents.models import Checksum, Document, Intent, Version
from app.documents.ports import Index
from app.maintenance.ports import Entry, ItemKind, OpenIntent
from app.records import Tenant

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


# --- whatever a walk finds ------------------------------------------------------------------


# --- how maintenance reads them -------------------------------------------------------------

_INDEX_KINDS = {"TAG": "tag", "SHA": "sha256"}


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


KINDS = (
    ItemKind("W#", "W", open_intent),
    ItemKind("V#", "", _version),
    ItemKind("T#", "D#", _document_or_entry),
)
