"""What both FastAPI servers have in common: the table's items, and documents made of them.

As botocore's users would write it, with what is known to be fast: no model for answers that are
known to be right, orjson for JSON.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import HTTPException, Response

TABLE = os.environ["DYNAMODB_TABLE"]
BUCKET = os.environ["S3_BUCKET"]
KEY_SECONDS = 10.0

Item = dict[str, Any]
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

# Nothing that slows botocore down and is not needed here.
CLIENT: dict[str, Any] = {
    "max_pool_connections": 256,
    "parameter_validation": False,
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "signature_version": "v4",
}
S3_CLIENT = CLIENT | {"signature_version": "s3v4", "s3": {"addressing_style": "path"}}
SERVER: dict[str, Any] = {
    "host": os.environ["HOST"],
    "port": int(os.environ["PORT"]),
    "loop": "uvloop",
    "http": "httptools",
    "access_log": False,
    "log_level": "warning",
    "server_header": False,
    "date_header": False,
    "timeout_keep_alive": 75,
}


# --- keys ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Key:
    """A key's record, good until `ends` on the monotonic clock."""

    id: str
    tenant: str
    secret_sha256: str
    ends: float


class Keys:
    """Records of keys, each for ten seconds."""

    def __init__(self) -> None:
        self._known: dict[str, Key] = {}

    def get(self, authorization: str) -> Key | None:
        """The key whose secret the header bears; None if its record has to be asked for."""
        key = self._known.get(authorization[10:26])
        if key is None or key.ends < time.monotonic():
            return None
        digest = hashlib.sha256(authorization[27:].encode()).hexdigest()
        if not secrets.compare_digest(digest, key.secret_sha256):
            raise HTTPException(401)
        return key

    def question(self, authorization: str) -> Item:
        key = {"PK": {"S": "K#" + authorization[10:26]}, "SK": {"S": "K"}}
        return {"TableName": TABLE, "Key": key, "ConsistentRead": True}

    def learn(self, authorization: str, item: Item) -> None:
        key_id = authorization[10:26]
        ends = time.monotonic() + KEY_SECONDS
        self._known[key_id] = Key(key_id, item["tenant"]["S"], item["secret_sha256"]["S"], ends)


# --- reading ------------------------------------------------------------------------------------


def get_item(tenant: str, document_id: str) -> Item:
    key = {"PK": {"S": f"T#{tenant}#{document_id[-1]}"}, "SK": {"S": "D#" + document_id}}
    return {"TableName": TABLE, "Key": key, "ConsistentRead": True}


def query(tenant: str, limit: int) -> Item:
    return {
        "TableName": TABLE,
        "ConsistentRead": True,
        "ScanIndexForward": False,
        "KeyConditionExpression": "PK = :partition AND SK BETWEEN :low AND :high",
        "ExpressionAttributeValues": {
            ":partition": {"S": f"T#{tenant}#0"},
            ":low": {"S": "D#"},
            ":high": {"S": "D#~"},
        },
        "Limit": limit + 1,
    }


def as_json(item: Item) -> Item:
    digest = item["sha256"]["S"]
    return {
        "id": item["SK"]["S"][2:],
        "name": item["name"]["S"],
        "content_type": item["content_type"]["S"],
        "size": int(item["size"]["N"]),
        "checksum": {"algorithm": "sha256", "value": digest, "part_size": None},
        "sha256": digest,
        "revision": int(item["revision"]["N"]),
        "version": int(item["version"]["N"]),
        "content_etag": f'"{digest}"',
        "tags": [tag["S"] for tag in item["tags"]["L"]] if "tags" in item else [],
        "metadata": orjson.loads(item["metadata"]["S"]) if "metadata" in item else {},
        "created_at": _moment(int(item["created_at"]["N"])),
        "updated_at": _moment(int(item["updated_at"]["N"])),
        "expires_at": None,
        "deleted_at": None,
        "purge_after": None,
        "created_by": item["created_by"]["S"],
    }


def _moment(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def document_response(item: Item) -> Response:
    head = {"ETag": f'"{item["revision"]["N"]}"'}
    return Response(orjson.dumps(as_json(item)), 200, head, "application/json")


def page_response(items: list[Item], limit: int) -> Response:
    documents = [as_json(item) for item in items[:limit]]
    cursor = None
    if len(items) > limit:
        position = b"\x01" + hashlib.sha256(b"").digest()[:8] + documents[-1]["id"].encode()
        cursor = base64.urlsafe_b64encode(position).rstrip(b"=").decode()
    page = {"items": documents, "next_cursor": cursor}
    return Response(orjson.dumps(page), 200, None, "application/json")


def disposition(item: Item) -> str:
    return f'attachment; filename="{item["name"]["S"]}"'


def object_key(tenant: str, item: Item) -> str:
    return f"{tenant}/{item['SK']['S'][2:]}/{item['content_id']['S']}"


def get_object(tenant: str, item: Item) -> Item:
    return {"Bucket": BUCKET, "Key": object_key(tenant, item)}


def content_response(item: Item, content: bytes) -> Response:
    head = {"ETag": f'"{item["sha256"]["S"]}"', "Content-Disposition": disposition(item)}
    return Response(content, 200, head, item["content_type"]["S"])


def presign(tenant: str, item: Item) -> Item:
    return {
        "Params": {
            **get_object(tenant, item),
            "ResponseContentDisposition": disposition(item),
            "ResponseContentType": item["content_type"]["S"],
        },
        "ExpiresIn": 60,
    }


# --- writing ------------------------------------------------------------------------------------


class Draft:
    """A document about to be created, and the calls that it takes."""

    def __init__(self, key: Key, headers: Mapping[str, str], body: bytes) -> None:
        self.key = key
        self.body = body
        self.now = time.time_ns() // 1_000_000
        self.id = _new_id(self.now)
        self.content_id = secrets.token_urlsafe(12)
        self.digest = hashlib.sha256(body)
        self.name = headers["content-disposition"].partition('"')[2][:-1]
        self.content_type = headers["content-type"]
        self.tags = headers["document-tags"].split(",")
        self.metadata = orjson.dumps(orjson.loads(headers["document-metadata"])).decode()

    def put_intent(self) -> Item:
        bucket = zlib.crc32(self.content_id.encode()) % 16
        return {
            "TableName": TABLE,
            "Item": {
                "PK": {"S": "W#" + self.content_id},
                "SK": {"S": "W"},
                "state": {"S": "open"},
                "tenant": {"S": self.key.tenant},
                "document_id": {"S": self.id},
                "due_bucket": {"N": str(bucket)},
                "due_at": {"N": str(self.now + 900_000)},
            },
        }

    def put_object(self) -> Item:
        return {
            "Bucket": BUCKET,
            "Key": f"{self.key.tenant}/{self.id}/{self.content_id}",
            "Body": self.body,
            "ChecksumSHA256": base64.b64encode(self.digest.digest()).decode(),
        }

    def transaction(self) -> tuple[Item, Item]:
        """The transaction, and the document's item in it."""
        tenant, write_id = self.key.tenant, secrets.token_urlsafe(12)
        token = f"{write_id}-0"
        partition = f"T#{tenant}#{self.id[-1]}"
        sort_key = {"S": "D#" + self.id}
        digest = self.digest.hexdigest()
        version = {
            "name": {"S": self.name},
            "content_type": {"S": self.content_type},
            "size": {"N": str(len(self.body))},
            "content_id": {"S": self.content_id},
            "created_at": {"N": str(self.now)},
            "created_by": {"S": self.key.id},
            "sha256": {"S": digest},
        }
        item = {
            "PK": {"S": partition},
            "SK": sort_key,
            **version,
            "revision": {"N": "1"},
            "version": {"N": "1"},
            "updated_at": {"N": str(self.now)},
            "writes": {"S": write_id},
            "tags": {"L": [{"S": tag} for tag in self.tags]},
            "metadata": {"S": self.metadata},
        }
        entries = [f"SHA#{digest}", *[f"TAG#{tag}" for tag in sorted(self.tags)]]
        counter = f"USAGE#{zlib.crc32(token.encode()) % 16:02d}"
        writes: list[Item] = [
            {
                "Put": {
                    "TableName": TABLE,
                    "Item": item,
                    "ConditionExpression": "attribute_not_exists(PK)",
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            },
            {
                "Delete": {
                    "TableName": TABLE,
                    "Key": {"PK": {"S": "W#" + self.content_id}, "SK": {"S": "W"}},
                    "ConditionExpression": "#state = :open",
                    "ExpressionAttributeNames": {"#state": "state"},
                    "ExpressionAttributeValues": {":open": {"S": "open"}},
                }
            },
            _put({"S": f"V#{tenant}#{self.id}"}, {"S": "0000000001"}, version),
            *[_put({"S": f"{partition}#{entry}"}, sort_key, {}) for entry in entries],
            {
                "Update": {
                    "TableName": TABLE,
                    "Key": {"PK": {"S": "T#" + tenant}, "SK": {"S": counter}},
                    "UpdateExpression": "ADD #bytes :bytes, #documents :documents",
                    "ExpressionAttributeNames": {"#bytes": "bytes", "#documents": "documents"},
                    "ExpressionAttributeValues": {
                        ":bytes": {"N": str(len(self.body))},
                        ":documents": {"N": "1"},
                    },
                }
            },
        ]
        return {"TransactItems": writes, "ClientRequestToken": token}, item

    def response(self, item: Item) -> Response:
        head = {"Location": f"/v1/documents/{self.id}", "ETag": '"1"'}
        return Response(orjson.dumps(as_json(item)), 201, head, "application/json")


def _put(partition: Item, sort_key: Item, attributes: Item) -> Item:
    return {"Put": {"TableName": TABLE, "Item": {"PK": partition, "SK": sort_key, **attributes}}}


def _new_id(now: int) -> str:
    """48 bits of milliseconds, 75 random ones, the shard."""
    value = now << 80 | secrets.randbits(75) << 5
    return "".join([_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5)])
