"""The API keys, as a feature of the service."""

from __future__ import annotations

from app.feature import Api, Feature, Parts
from app.keys import fields, openapi
from app.keys.administration import KeyAdministration
from app.keys.dynamodb import KINDS, DynamoKeys
from app.keys.routes import KeyRoutes
from app.keys.schemas import MAX_LIMIT


def _api(parts: Parts) -> Api:
    administration = KeyAdministration(
        DynamoKeys(parts.client, parts.table),
        parts.tasks,
        parts.settings.rate_limit_per_second or None,
    )
    return Api(
        routes=openapi.routes(KeyRoutes(administration, parts.idempotency)),
        schemas=openapi.SCHEMAS,
        tags=openapi.TAGS,
        limits={
            "keys_list_max_limit": MAX_LIMIT,
            "key_name_max_characters": fields.MAX_NAME_CHARACTERS,
            "key_prefix_max_bytes": fields.MAX_PREFIX_BYTES,
            "key_rate_max_per_second": fields.MAX_RATE_PER_SECOND,
            "key_rotation_max_overlap_seconds": fields.MAX_OVERLAP_SECONDS,
        },
    )


FEATURE = Feature(kinds=KINDS, api=_api)
