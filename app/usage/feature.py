"""What tenants hold, and may hold, as a feature of the service."""

from __future__ import annotations

from app.feature import Api, Feature, Parts
from app.usage import openapi
from app.usage.dynamodb import KINDS, DynamoUsage
from app.usage.routes import UsageRoutes
from app.usage.service import LAG_SECONDS, SLACK


def _api(parts: Parts) -> Api:
    routes = UsageRoutes(parts.tenants, DynamoUsage(parts.client, parts.table))
    return Api(
        routes=openapi.routes(routes),
        schemas=openapi.SCHEMAS,
        tags=openapi.TAGS,
        limits={
            "quota_lag_max_seconds": LAG_SECONDS,
            # One body may be larger than the slack: the last one that a process lets in.
            "quota_overshoot_bytes": max(SLACK.bytes, parts.settings.max_upload_bytes),
            "quota_overshoot_documents": SLACK.documents,
        },
    )


FEATURE = Feature(kinds=KINDS, api=_api)
