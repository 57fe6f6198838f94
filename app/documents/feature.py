"""The documents, as a feature of the service."""

from __future__ import annotations

from app.documents import fields, items, openapi
from app.documents.batch import MAX_BATCH_BYTES, MAX_OPERATIONS, BatchRoutes
from app.documents.content import REDIRECT_SECONDS
from app.documents.listing import DEFAULT_LIMIT, MAX_EXAMINED, MAX_LIMIT
from app.documents.routes import MAX_PATCH_BYTES, DocumentRoutes
from app.feature import Api, Feature, Parts


def _api(parts: Parts) -> Api:
    settings = parts.settings
    routes = DocumentRoutes(
        parts.documents_service, parts.idempotency, max_upload_bytes=settings.max_upload_bytes
    )
    batch = BatchRoutes(
        parts.documents_service,
        parts.idempotency,
        deadline_seconds=settings.request_deadline_seconds,
    )
    return Api(
        routes=openapi.routes(routes, batch),
        schemas=openapi.SCHEMAS,
        tags=openapi.TAGS,
        limits={
            "max_upload_bytes": settings.max_upload_bytes,
            "max_patch_bytes": MAX_PATCH_BYTES,
            "max_batch_bytes": MAX_BATCH_BYTES,
            "max_batch_operations": MAX_OPERATIONS,
            "max_name_characters": fields.MAX_NAME_CHARACTERS,
            "max_name_bytes": fields.MAX_NAME_BYTES,
            "max_key_bytes": fields.MAX_KEY_BYTES,
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
