"""Lists by key: documents under a prefix in the order of their keys' bytes, and what lies deeper
told once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.documents.models import Document
from app.documents.ports import DocumentTable
from app.records import Tenant

DELIMITER = "/"


@dataclass(frozen=True, slots=True)
class Folder:
    """One page; `position` is the key, or the told prefix, to go on after, `None` at the end."""

    documents: Sequence[Document]
    prefixes: Sequence[str]
    position: str | None


async def list_folder(
    table: DocumentTable,
    tenant: Tenant,
    prefix: str,
    scope: str,
    *,
    delimited: bool,
    after: str | None,
    limit: int,
    now: int,
) -> Folder:
    """Up to `limit` documents and deeper prefixes together, among the keys that begin with `scope`,
    which begins with `prefix` itself.

    It reads one page of keys, one more for each prefix that is told, and the documents. So a page
    may be short where documents have expired; only a `position` of None is the end.
    """
    ids: list[str] = []
    keys: list[str] = []
    prefixes: list[str] = []
    position = after
    more = True
    while more and len(ids) + len(prefixes) < limit:
        wanted = limit - len(ids) - len(prefixes)
        if position is not None and position.endswith(DELIMITER):
            # No key does, so it was told: on with what sorts behind all that begins so.
            behind = position[:-1] + chr(ord(DELIMITER) + 1)
            page = await table.keys(tenant, scope, behind, wanted, inclusive=True)
        else:
            page = await table.keys(tenant, scope, position, wanted)
        more = page.more
        told = None
        for key, document_id in page.keys:
            if told is not None and key.startswith(told):
                continue  # it came along
            told = None
            if len(ids) + len(prefixes) == limit:
                more = True
                break
            deeper = key.find(DELIMITER, len(prefix)) if delimited else -1
            if deeper >= 0:
                told = key[: deeper + 1]
                prefixes.append(told)
                position = told
            else:
                ids.append(document_id)
                keys.append(key)
                position = key
    found = {document.id: document for document in await table.read_many(tenant, ids)}
    documents = [
        found[i]
        for i, key in zip(ids, keys, strict=True)
        if i in found and found[i].held_key == key and found[i].readable(now)
    ]
    return Folder(documents, prefixes, position if more else None)
