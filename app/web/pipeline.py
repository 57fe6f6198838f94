"""What every request passes on its way in and out: shedding, authentication, its rate, problems,
metrics, logs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn
from typing import Protocol as Interface

from sanic import exceptions as sanic_errors
from sanic.handlers import ErrorHandler
from sanic.http import Http
from sanic.request import Request

from app import problems
from app.problems import Problem
from app.records import Caller
from app.server.connections import ClientShare, Load
from app.server.http1 import Response
from app.server.protocol import Protocol, connection_of
from app.storage import deadline
from app.storage.errors import Contention, Full, OutcomeUnknown, StorageError, Unavailable
from app.web.context import RequestContext, problem_response, request_id
from app.web.logs import AccessLog, current_request
from app.web.metrics import UNMATCHED, Metrics
from app.web.rate_limit import RateLimit
from app.web.route import ANY_SCOPE, Route

log = logging.getLogger("strongroom.http")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
Authenticate = Callable[[str | None], Awaitable[Caller]]
SanicHandler = Callable[..., Coroutine[Any, Any, Response | None]]


class Admission(Interface):
    """What decides whether a tenant's request is let in."""

    async def admit(self, route: Route, caller: Caller) -> ClientShare:
        """What the request is to be counted in while it is served. Raises a `Problem`, or
        `errors.Unavailable`."""
        ...


class RequestPipeline:
    """Wraps handlers. `draining` makes every answer the last one of its connection."""

    def __init__(
        self,
        authenticate: Authenticate,
        metrics: Metrics,
        access_log: AccessLog,
        load: Load,
        rate_limit: RateLimit,
        admission: Admission,
        *,
        max_in_flight: int,
        deadline_seconds: float,
    ) -> None:
        self._authenticate = authenticate
        self._metrics = metrics
        self._access_log = access_log
        self._load = load
        self._rate_limit = rate_limit
        self._admission = admission
        self._max_in_flight = max_in_flight
        self._deadline_seconds = deadline_seconds

    @property
    def draining(self) -> bool:
        return self._load.draining

    def wrap(self, route: Route) -> SanicHandler:
        """The Sanic handler of a route."""

        async def handle(request: Request, **params: str) -> Response | None:
            started = time.perf_counter()
            context = RequestContext(request, params)
            connection = connection_of(request)
            problem: Problem | None = None
            current_request.set(context.request_id)
            if self.draining or connection.over_limit:
                context.end_connection()
            status = 499  # unless answered: the client has gone
            try:
                try:
                    response = await self._serve(route, context, connection)
                except Exception as error:  # noqa: BLE001 - each means a problem to the client
                    problem = as_problem(error)
                    status = problem.status
                    if request.responded:
                        self._break_off(context, error)
                    response = render(problem, context.request_id)
                status = response.status
                if not request.responded:
                    if self.draining:
                        context.end_connection()
                    response.headers.update(context.headers)
                return None if request.responded else response
            finally:
                self._load.leave(connection)
                seconds = time.perf_counter() - started
                self._record(route.path, context, status, seconds, problem)

        return handle

    def _break_off(self, context: RequestContext, error: Exception) -> NoReturn:
        """End a response whose head is out: the client can learn of the failure in no other way.
        It counts as the failure that it is, not by the status that was sent."""
        log.warning("a response was broken off", extra={"reason": str(error)})
        context.break_off()
        raise asyncio.CancelledError from error

    async def _serve(self, route: Route, context: RequestContext, connection: Protocol) -> Response:
        if route.scope is not None:
            self._admit(connection)
            deadline.start(self._deadline_seconds)
            caller = context.caller = await self._authenticate(context.header("authorization"))
            share = await self._admission.admit(route, caller)
            self._load.join(connection, share, takes_bytes=route.takes_bytes)
            if self._rate_limit.enabled or caller.rate_per_second is not None:
                self._count(context)
            if route.scope != ANY_SCOPE and route.scope not in caller.scopes:
                raise problems.Forbidden(route.scope)
        return await route.handler(context)

    def _admit(self, connection: Protocol) -> None:
        """Before any other work: refusing must stay cheap when there is too much of it."""
        if connection.over_limit:
            self._metrics.shed("connections")
            raise problems.Overloaded("The service has too many connections. Try again shortly.")
        if self._load.working >= self._max_in_flight:
            self._metrics.shed("in flight")
            raise problems.Overloaded("The service has too many requests at once. Try again.")
        self._load.enter(connection)

    def _count(self, context: RequestContext) -> None:
        """Hold the caller to its rate. Every answer from here on tells what is left of it."""
        caller = context.caller
        try:
            allowance = self._rate_limit.acquire(caller.key_id, caller.rate_per_second)
        except problems.RateLimited:
            self._metrics.shed("rate")
            raise
        context.headers |= self._rate_limit.headers(allowance)

    def refused(self, request: Request, error: BaseException) -> Response:
        """The answer to a request that reached no route, or whose handler was stopped."""
        if isinstance(error, sanic_errors.RequestCancelled):
            return Response(None, 499)  # the client has gone; its route has counted that
        if self.draining and isinstance(request.stream, Http):
            request.stream.keep_alive = False
        if request.method == "OPTIONS" and request.path == "*":
            return self._describe_server(request)
        if request.method == "CONNECT":
            problem: Problem = problems.MethodNotAllowed("CONNECT", list(request.app.ctx.allow))
        elif isinstance(error, sanic_errors.MethodNotAllowed):
            problem = problems.MethodNotAllowed(request.method, allowed(request))
        else:
            problem = as_problem(error)
        identifier = request_id(request)
        response = render(problem, identifier)
        response.headers["X-Request-Id"] = identifier
        self._record(UNMATCHED, RequestContext(request, {}), problem.status, 0.0, problem)
        return response

    def _describe_server(self, request: Request) -> Response:
        """What `OPTIONS *` asks for (RFC 9110, 9.3.7): no router knows it as a path."""
        context = RequestContext(request, {})
        self._record("*", context, 204, 0.0, None)
        return Response(None, 204, {"Allow": ", ".join(request.app.ctx.allow), **context.headers})

    def _record(
        self,
        template: str,
        context: RequestContext,
        status: int,
        seconds: float,
        problem: Problem | None,
    ) -> None:
        request = context.request
        method = request.method if request.method in METHODS else "other"
        self._metrics.answered(method, template, status, seconds)
        if problem is not None:
            self._metrics.failed(method, template, problem.slug)
        caller = context.known_caller
        slug = problem.slug if problem else None
        tenant, key = (caller.tenant.id, caller.key_id) if caller else (None, None)
        identifier, path = context.request_id, request.path
        self._access_log.write(
            (time.time(), identifier, method, template, path, status, seconds, tenant, key, slug)
        )


def allowed(request: Request) -> list[str]:
    """The methods of a request's path. Sanic knows them only where it has no parameter, but every
    path has a route that answers OPTIONS."""
    route, _, _ = request.app.router.get(request.path, "OPTIONS", None)
    return list(route.ctx.allow)


def render(problem: Problem, identifier: str) -> Response:
    return problem_response(problem.body(identifier), problem.headers)


def as_problem(error: BaseException) -> Problem:
    """The problem that an exception means to a client."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, StorageError):
        return _storage_problem(error)
    if isinstance(error, sanic_errors.SanicException):
        return _framework_problem(error)
    log.error("unexpected error", exc_info=error)
    return problems.InternalError("The service failed. Quote the request_id when reporting it.")


def _storage_problem(error: StorageError) -> Problem:
    retry_after = error.retry_after if isinstance(error, Unavailable) else 1
    if isinstance(error, OutcomeUnknown):
        return problems.UncertainOutcome(
            "The write may or may not have happened. Read the document, or repeat the request "
            "with the same Idempotency-Key after a minute.",
            retry_after=retry_after,
        )
    if isinstance(error, Contention):
        return problems.Contended(
            "Too many writers changed this document at once. Try again.", retry_after=retry_after
        )
    if isinstance(error, Full):
        return problems.Overloaded(f"{error.detail} Try again shortly.", retry_after=retry_after)
    # Why, is for the operator: it may tell of credentials, endpoints and AWS's own refusals.
    log.warning("the storage is unavailable", extra={"reason": str(error)})
    return problems.BackendUnavailable(
        "The service cannot reach its storage. Try again shortly.", retry_after=retry_after
    )


def _framework_problem(error: sanic_errors.SanicException) -> Problem:
    message = str(error)
    if isinstance(error, sanic_errors.NotFound):
        return problems.NotFound("There is nothing at this address; see /openapi.json.")
    if isinstance(error, sanic_errors.PayloadTooLarge):
        if "header" in message:
            return problems.HeadersTooLarge("The headers may have at most 16,384 bytes together.")
        return problems.TooLarge("The body is too large.")
    if isinstance(error, sanic_errors.URITooLong):
        return problems.UriTooLong("The address is too long.")
    if isinstance(error, sanic_errors.ExpectationFailed):
        return problems.ExpectationFailed("Expect knows 100-continue only.")
    if isinstance(error, sanic_errors.ServiceUnavailable):
        return problems.BackendUnavailable("The backend gave no answer in time. Try again shortly.")
    if isinstance(error, sanic_errors.BadRequest):
        return problems.BadRequest(f"The request is not valid HTTP: {message}.")
    log.error("unexpected framework error", exc_info=error)
    return problems.InternalError("The service failed. Quote the request_id when reporting it.")


class ProblemHandler(ErrorHandler):
    """Answers what Sanic itself refuses: unknown routes and methods, broken requests."""

    def __init__(self, pipeline: RequestPipeline) -> None:
        super().__init__()
        self._pipeline = pipeline

    def default(self, request: Request, exception: BaseException) -> Response:
        return self._pipeline.refused(request, exception)
