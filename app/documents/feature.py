"""The documents, as a feature of the service."""

from __future__ import annotations

from app.documents import fields, items, openapi
from app.documents.ids import DocumentIds
from app.documents.listing import DEFAULT_LIMIT, MAX_EXAMINED, MAX_LIMIT
from app.documents.routes import MAX_PATCH_BYTES, REDIRECT_SECONDS, DocumentRoutes
from app.documents.service import Documents
from app.feature import Api, Feature, Parts
from app.idempotency.dynamodb import DynamoIdempotency

_DAY_MS = 24 * 3600 * 1000


def _api(parts: Parts) -> Api:
    settings = parts.settings
    documents = Documents(
        parts.documents,
        DynamoIdempotency(parts.client, parts.table),
        parts.objects,
        parts.tasks,
        parts.quotas,
        document_ids=DocumentIds(settings.list_shards),
        retention_ms=settings.deleted_retention_days * _DAY_MS,
        deadline_seconds=settings.request_deadline_seconds,
    )
    routes = DocumentRoutes(
        documents, parts.idempotency, max_upload_bytes=settings.max_upload_bytes
    )
    return Api(
        routes=openapi.routes(routes),
        schemas=openapi.SCHEMAS,
        tags=openapi.TAGS,
        limits={
            "max_upload_bytes": settings.max_upload_bytes,
            "max_patch_bytes": MAX_PATCH_BYTES,
            "max_name_characters": fields.MAX_NAME_CHARACTERS,
            "max_name_bytes": fields.MAX_NAME_BYTES,
            "max_tags": fields.MAX_TAGS,
            "max_tag_bytes": fields.MAX_TAG_BYTES,
            "max_metadata_bytes": fields.MAX_METADATA_BYTES,
            "list_default_limit": DEFAULT_LIMIT,
            "list_max_limit": MAX_LIMIT,
            "list_max_examined": MAX_EXAMINED,
            "redirect_max_seconds": REDIRECT_SECONDS,
            "deleted_retention_days": settings.deleted_retention_days,
        },
    )


FEATURE = Feature(kinds=items.KINDS, api=_api)
