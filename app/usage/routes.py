"""The usage's one call."""

from __future__ import annotations

import asyncio

from app.clock import now_ms
from app.problems import OutsidePrefix
from app.server.http1 import Response
from app.tenants.ports import KnownTenants
from app.usage.models import total
from app.usage.ports import UsageTable
from app.usage.service import DAYS, by_day, today
from app.web.context import RequestContext, json_response


class UsageRoutes:
    """Handlers; `openapi` has their table."""

    def __init__(self, tenants: KnownTenants, table: UsageTable) -> None:
        self._tenants = tenants
        self._table = table

    async def read(self, context: RequestContext) -> Response:
        context.query(frozenset())
        caller = context.caller
        if caller.key_prefix is not None:
            raise OutsidePrefix(
                "This API key is confined to documents under a prefix, and may not know what the "
                "whole tenant holds."
            )
        date = today(now_ms())
        record, counters, recorded = await asyncio.gather(
            self._tenants.get(caller.tenant),
            self._table.usage(caller.tenant),
            self._table.days(caller.tenant, date.isoformat(), DAYS),
        )
        held = total(counters)
        return json_response(
            {
                "bytes": held.bytes,
                "documents": held.documents,
                "versions": held.versions,
                "uploads_open": held.uploads,
                "quota": {"bytes": record.quota_bytes, "documents": record.quota_documents},
                "by_day": [
                    {"date": day.date, "bytes": day.held.bytes, "documents": day.held.documents}
                    for day in by_day(date, recorded, held)
                ],
            }
        )
