"""The usage's call as a table: path, scope, and its documentation."""

from __future__ import annotations

from app import problems
from app.usage.routes import UsageRoutes
from app.usage.schemas import DayModel, QuotaModel, UsageModel
from app.web.openapi import json_content, reference
from app.web.route import ANY_SCOPE, Route

SCHEMAS = (UsageModel, QuotaModel, DayModel)
TAGS = {"usage": "What the tenant holds, and may hold"}


def routes(usage: UsageRoutes) -> list[Route]:
    return [
        Route(
            name="readUsage",
            method="GET",
            path="/v1/usage",
            handler=usage.read,
            scope=ANY_SCOPE,
            summary="What the tenant holds",
            description="Exact: it is counted in the same step as each change. Any API key of the "
            "tenant will do, but one that is confined to a prefix.",
            responses={"200": json_content("It", reference(UsageModel))},
            problems=(problems.BadParameter, problems.OutsidePrefix),
            tag="usage",
        )
    ]
