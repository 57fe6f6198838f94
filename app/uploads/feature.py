"""Uploads straight to S3, as a feature of the service."""

from __future__ import annotations

from app.feature import Api, Feature, Parts
from app.uploads import models, openapi
from app.uploads.dynamodb import KINDS, DynamoUploads
from app.uploads.routes import UploadRoutes
from app.uploads.schemas import MOST_SIGNED
from app.uploads.service import Uploads

_HOUR_MS = 3_600_000


def _api(parts: Parts) -> Api:
    settings = parts.settings
    uploads = Uploads(
        DynamoUploads(parts.client, parts.table),
        parts.documents_service,
        parts.objects,
        parts.tasks,
        parts.quotas,
        kept_ms=settings.upload_kept_hours * _HOUR_MS,
        deadline_seconds=settings.request_deadline_seconds,
    )
    return Api(
        routes=openapi.routes(UploadRoutes(uploads, parts.documents_service, parts.idempotency)),
        schemas=openapi.SCHEMAS,
        tags=openapi.TAGS,
        limits={
            "direct_upload_max_bytes": models.LARGEST,
            "direct_upload_single_max_bytes": models.LARGEST_SINGLE,
            "direct_upload_part_min_bytes": models.SMALLEST_PART,
            "direct_upload_part_max_bytes": models.LARGEST_PART,
            "direct_upload_max_parts": models.MOST_PARTS,
            "direct_upload_max_signed_parts": MOST_SIGNED,
            "direct_upload_url_max_seconds": models.URL_MS // 1000,
            "direct_upload_kept_hours": settings.upload_kept_hours,
            "direct_upload_remembered_seconds": models.REMEMBERED_MS // 1000,
        },
    )


FEATURE = Feature(kinds=KINDS, api=_api)
