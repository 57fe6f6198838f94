"""The route table: what is served, to whom, and how it is documented."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from app.problems import Problem
from app.server.http1 import Response
from app.web.context import RequestContext

# Any valid key will do.
ANY_SCOPE = "any"

Handler = Callable[[RequestContext], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation. `path` is an OpenAPI template.

    `scope` is what the caller's key must have; None means that no key is asked for, `ANY_SCOPE`
    that any is good enough. `responses`
    are OpenAPI response objects by status, `problems` the errors beside those that every route
    has. `rest` is the parameter at the end of the path that takes all segments that are left.
    One that `takes_bytes` counts among its tenant's uploads while its body is under way.
    """

    name: str
    method: str
    path: str
    handler: Handler
    scope: str | None
    summary: str
    description: str = ""
    parameters: tuple[dict[str, Any], ...] = ()
    request_body: dict[str, Any] | None = None
    responses: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: tuple[type[Problem], ...] = ()
    tag: str = "documents"
    rest: str | None = None
    takes_bytes: bool = False
