"""The tenants' records, as a feature of the service."""

from __future__ import annotations

from app.feature import Api, Feature, Parts
from app.tenants.dynamodb import KINDS
from app.tenants.service import TENANT_SECONDS


def _api(parts: Parts) -> Api:
    """No calls: the command line alone changes a tenant."""
    return Api(routes=(), limits={"tenant_change_max_seconds": TENANT_SECONDS})


FEATURE = Feature(kinds=KINDS, api=_api)
