"""The versions, as a feature of the service."""

from __future__ import annotations

from app.feature import Api, Feature, Parts
from app.versions import openapi
from app.versions.routes import VersionRoutes
from app.versions.service import Versions


def _api(parts: Parts) -> Api:
    versions = Versions(parts.documents_service, parts.documents)
    return Api(
        routes=openapi.routes(VersionRoutes(versions, parts.documents_service, parts.idempotency)),
        schemas=openapi.SCHEMAS,
        tags=openapi.TAGS,
    )


FEATURE = Feature(api=_api)
