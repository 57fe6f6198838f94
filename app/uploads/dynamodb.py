"""`UploadTable` kept on DynamoDB."""

from __future__ import annotations

import time
from typing import Any

from app.aws.attributes import Item, due_bucket, moment, number, text
from app.aws.dynamodb import ConditionFailed
from app.aws.table import CONDITION_FAILED, Table
from app.documents.items import FORMAT, upload_key
from app.documents.models import UploadIntent
from app.idempotency.dynamodb import settlement
from app.idempotency.models import Claim, Settlement
from app.idempotency.ports import ClaimLost
from app.maintenance.ports import ItemKind, OpenIntent
from app.records import Tenant, new_write_id
from app.storage.errors import Unavailable
from app.uploads.models import Upload
from app.uploads.ports import NotOpen
from app.usage.dynamodb import count

_TEXTS = (
    "sha256",
    "multipart_id",
    "name",
    "content_type",
    "metadata_json",
    "key",
    "if_match",
)


class DynamoUploads(Table):
    """`UploadTable` in DynamoDB."""

    async def open(self, upload: Upload, claim: Claim | None, settled: Settlement | None) -> None:
        put = {
            "TableName": self._table,
            "Item": upload_item(upload),
            "ConditionExpression": "attribute_not_exists(PK)",
        }
        await self._together(upload, {"Put": put}, claim, settled, uploads=1)

    async def begin(self, upload: Upload, claim: Claim | None, settled: Settlement | None) -> None:
        update = self._update(
            upload.id,
            "SET multipart_id = :multipart, due_at = :due, urls_until = :until ADD revision :one",
            # Whoever repeats it after a lost answer finds what it has written.
            "#state = :open AND (attribute_not_exists(multipart_id) OR multipart_id = :multipart)",
            {
                ":multipart": text(upload.multipart_id or ""),
                ":due": number(upload.due_at or 0),
                ":until": number(upload.urls_until),
                ":open": text("open"),
                ":one": number(1),
            },
        )
        if claim is None or settled is None:
            try:
                await self._client.call("UpdateItem", update)
            except ConditionFailed as refusal:
                raise NotOpen(await self.read(upload.id)) from refusal
            return
        await self._together(upload, {"Update": update}, claim, settled)

    async def _together(
        self,
        upload: Upload,
        write: Item,
        claim: Claim | None,
        settled: Settlement | None,
        *,
        uploads: int = 0,
    ) -> None:
        """One transaction of the write, the answer to it, and what it adds to the open uploads that
        are counted."""
        writes = [write]
        if claim is not None and settled is not None:
            settle = settlement(self._table, upload.tenant, claim, settled)
            writes.append({"Update": settle})

        async def refused(reasons: list[Item]) -> bool:
            codes = [reason.get("Code") for reason in reasons]
            if codes[:1] == [CONDITION_FAILED]:
                current = await self.read(upload.id)
                if "Put" in write and current is not None:
                    return True  # nobody else draws the same id
                raise NotOpen(current)
            if CONDITION_FAILED in codes:
                raise ClaimLost
            return False

        def with_count(token: str) -> list[Item]:
            counted = count(self._table, upload.tenant, token, uploads=uploads)
            return [*writes, counted] if uploads else writes

        await self._client.transact(new_write_id(), with_count, refused)

    async def read(self, upload_id: str) -> Upload | None:
        item = await self._get(upload_key(upload_id))
        if item is None or _is_over(item):
            return None
        return upload(item)

    async def renew(self, upload: Upload, due_at: int, urls_until: int | None) -> Upload:
        values = {":open": text("open"), ":due": number(due_at), ":one": number(1)}
        change, condition = "due_at = :due", "#state = :open"
        if urls_until is not None:
            values[":until"] = number(urls_until)
            change += ", urls_until = :until"
            condition += " AND urls_until <= :until"
        try:
            return await self._changed(
                upload.id, f"SET {change} ADD revision :one", condition, values
            )
        except ConditionFailed as refusal:
            current = await self.read(upload.id)
            if current is None or current.state != "open":
                raise NotOpen(current) from refusal
            return current  # somebody who came later has put it off further

    async def reap(self, upload: Upload, now: int, *, lapsed: bool = False) -> bool:
        """See the port. If it has to be `lapsed`, also False before its end."""
        # What was begun before may yet arrive, however long ago the last URL was signed.
        until = upload.urls_until if lapsed else max(upload.urls_until, now)
        values = {
            ":reaping": text("reaping"),
            ":open": text("open"),
            ":now": number(now),
            ":until": number(until),
            ":one": number(1),
        }
        update = self._update(
            upload.id,
            "SET #state = :reaping, due_at = :now, urls_until = :until ADD revision :one",
            "#state = :open" + (" AND due_at <= :now" if lapsed else ""),
            values,
        )
        try:
            await self._together(upload, {"Update": update}, None, None, uploads=-1)
        except NotOpen as ended:
            return ended.current is not None and ended.current.state == "reaping"
        return True

    async def swept(self, upload: Upload) -> None:
        current = await self.read(upload.id)
        if current is not None and current.state == "reaping":
            await self._put_off(current)

    async def _put_off(self, upload: Upload) -> None:
        values = {
            ":reaping": text("reaping"),
            ":due": number(upload.settled_at),
            ":one": number(1),
        }
        try:
            await self._changed(
                upload.id, "SET due_at = :due ADD revision :one", "#state = :reaping", values
            )
        except ConditionFailed:
            return  # gone

    async def _changed(self, upload_id: str, update: str, condition: str, values: Item) -> Upload:
        call = self._update(upload_id, update, condition, values)
        answer = await self._client.call("UpdateItem", {**call, "ReturnValues": "ALL_NEW"})
        if "Attributes" not in answer:
            raise Unavailable("The table does not tell what it has written.")
        return upload(answer["Attributes"])

    def _update(self, upload_id: str, update: str, condition: str, values: Item) -> Item:
        return {
            "TableName": self._table,
            "Key": upload_key(upload_id),
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": values,
        }


# --- items ----------------------------------------------------------------------------------


def upload_item(upload: Upload) -> Item:
    item: Item = {
        **upload_key(upload.id),
        "format": FORMAT,
        "tenant": text(upload.tenant.id),
        "document_id": text(upload.document_id),
        "state": text(upload.state),
        "size": number(upload.size),
        "created_by": text(upload.created_by),
        "created_at": number(upload.created_at),
        "urls_until": number(upload.urls_until),
        "revision": number(upload.revision),
    }
    for name in _TEXTS:
        value = getattr(upload, name)
        if value is not None:
            item[name] = text(value)
    if upload.is_version:
        item["is_version"] = {"BOOL": True}
    if upload.part_size is not None:
        item["part_size"] = number(upload.part_size)
    if upload.tags is not None:
        item["tags"] = {"L": [text(tag) for tag in upload.tags]}
    if upload.expires_at is not None:
        item["expires_at"] = number(upload.expires_at)
    if upload.due_at is not None:
        item["due_bucket"] = due_bucket(upload.id)
        item["due_at"] = number(upload.due_at)
    if upload.kept_until is not None:
        item["ttl"] = number(upload.kept_until // 1000)
    return item


def upload(item: Item) -> Upload:
    """Raises `KeyError` or `ValueError` for an item that is malformed."""
    state = item["state"]["S"]
    if state not in ("open", "completed", "reaping"):
        raise ValueError("no such state")
    texts: dict[str, Any] = {name: item[name]["S"] for name in _TEXTS if name in item}
    kept_until = moment(item, "ttl")
    return Upload(
        id=item["PK"]["S"][2:],
        tenant=Tenant(item["tenant"]["S"]),
        document_id=item["document_id"]["S"],
        state=state,
        size=int(item["size"]["N"]),
        created_by=item["created_by"]["S"],
        created_at=int(item["created_at"]["N"]),
        urls_until=int(item["urls_until"]["N"]),
        due_at=moment(item, "due_at"),
        is_version="is_version" in item,
        part_size=moment(item, "part_size"),
        tags=tuple(tag["S"] for tag in item["tags"]["L"]) if "tags" in item else None,
        expires_at=moment(item, "expires_at"),
        kept_until=None if kept_until is None else kept_until * 1000,
        revision=int(item["revision"]["N"]),
        **texts,
    )


def _is_over(item: Item) -> bool:
    """Whether it should be gone by now: the table takes its time."""
    ends = moment(item, "ttl")
    return ends is not None and ends <= time.time()


def as_intent(upload: Upload) -> OpenIntent | None:
    """What it covers: bytes that are not a document's yet, or may come though they can be no
    document's any more. None once it covers nothing."""
    if upload.due_at is None:
        return None
    intent = UploadIntent(upload.id, upload.document_id, upload.due_at, upload.kept_until or 0)
    return OpenIntent(upload.tenant, intent, upload.state != "open")


def _kind(item: Item) -> OpenIntent | None:
    found = upload(item)
    return None if found.state == "completed" else as_intent(found)


KINDS = (ItemKind("U#", "U", _kind),)
