"""The only place that knows every part: settings → adapters → features → server."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import prometheus_client

from app.aws import endpoints
from app.aws.budget import ByteBudget
from app.aws.credentials import CredentialSource
from app.aws.dynamodb import DynamoDB
from app.aws.s3_history import S3ObjectHistory
from app.aws.transport import Transport
from app.documents.dynamodb import DynamoDocuments
from app.documents.ids import DocumentIds
from app.documents.service import Documents
from app.feature import Feature, Parts
from app.idempotency.dynamodb import CLAIM_KEPT_SECONDS, DynamoIdempotency
from app.idempotency.fields import MAX_IDEMPOTENCY_KEY_CHARACTERS
from app.idempotency.service import Idempotency
from app.keys.dynamodb import DynamoKeys
from app.keys.last_used import LastUsed
from app.keys.service import FOUND_SECONDS, Authenticator
from app.maintenance.dynamodb import DynamoMaintenance
from app.maintenance.ports import Check, Purge
from app.server.connections import ClientTimeouts, ConnectionManager
from app.server.protocol import ConnectionState
from app.server.server import App, Server, ShutdownTimeouts
from app.settings import Settings
from app.tasks import Tasks
from app.tenants.admission import Admission, TenantLimits, told
from app.tenants.dynamodb import DynamoTenants
from app.tenants.service import Tenants
from app.usage.dynamodb import DynamoUsage
from app.usage.service import TenantQuotas
from app.web import docs, openapi
from app.web.app import MAX_HEADER_BYTES, build_app
from app.web.faults import Faults
from app.web.logs import AccessLog
from app.web.metrics import Metrics
from app.web.pipeline import Authenticate, RequestPipeline
from app.web.rate_limit import RateLimit
from app.web.readiness import Readiness
from app.web.route import Route
from app.web.system import TAGS, SystemRoutes

log = logging.getLogger("strongroom")

# A new feature is a folder of `app/`, with a `feature.py`, and a line here.
INSTALLED = (
    "documents",
    "idempotency",
    "keys",
    "oidc",
    "tenants",
    "uploads",
    "usage",
    "versions",
)
FEATURES: tuple[Feature, ...] = tuple(
    import_module(f"app.{name}.feature").FEATURE for name in INSTALLED
)

_FINISH_SECONDS = 15.0
_DAY_MS = 24 * 3600 * 1000


class PortTaken(Exception):
    """A port cannot be listened on; the text names the setting."""


@dataclass(frozen=True, slots=True)
class Backends:
    """The adapters, connected to the configured table and bucket."""

    client: DynamoDB
    documents: DynamoDocuments
    idempotency: DynamoIdempotency
    keys: DynamoKeys
    tenants: DynamoTenants
    usage: DynamoUsage
    objects: S3ObjectHistory
    maintenance: DynamoMaintenance
    purge: Sequence[Purge]
    checks: Mapping[type[Any], Check]
    transports: dict[str, Transport]
    upload_memory: ByteBudget
    other_keys: Callable[[str], DynamoKeys]


@asynccontextmanager
async def connect(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[Backends]:
    """Adapters that are closed at the end. Makes no call: backends may be away at the start."""
    places = endpoints.resolve()
    credentials = CredentialSource(places.region)
    await credentials.start()
    table_transport = Transport(max_connections=settings.aws_max_connections)
    object_transport = Transport(max_connections=settings.aws_max_connections)
    observe = metrics.aws_call if metrics else lambda operation, result, seconds: None
    shed = metrics.shed if metrics else lambda reason: None
    upload_memory = ByteBudget(settings.upload_memory_bytes, lambda: shed("upload memory"))
    client = DynamoDB(table_transport, places.dynamodb, places.region, credentials, observe)
    objects = S3ObjectHistory(
        object_transport,
        places.s3,
        places.region,
        credentials,
        settings.s3_bucket,
        custom_endpoint=places.s3_custom,
        budget=upload_memory,
        part_size=settings.upload_part_bytes,
        observe=observe,
        presign_endpoint=endpoints.Endpoint.parse(settings.s3_presign_endpoint_url)
        if settings.s3_presign_endpoint_url
        else None,
    )
    name, shards = settings.dynamodb_table, settings.list_shards
    kinds = [kind for feature in FEATURES for kind in feature.kinds]
    purge = [feature.purge(client, name) for feature in FEATURES if feature.purge]
    checks: dict[type[Any], Check] = {}
    for feature in FEATURES:
        checks |= feature.check(client, name) if feature.check else {}
    try:
        yield Backends(
            client=client,
            documents=DynamoDocuments(client, name, shards, versions_kept=settings.versions_kept),
            idempotency=DynamoIdempotency(client, name),
            keys=DynamoKeys(client, name),
            tenants=DynamoTenants(client, name),
            usage=DynamoUsage(client, name),
            objects=objects,
            maintenance=DynamoMaintenance(client, name, shards, kinds=kinds),
            purge=purge,
            checks=checks,
            transports={"table": table_transport, "bucket": object_transport},
            upload_memory=upload_memory,
            other_keys=partial(DynamoKeys, client),
        )
    finally:
        await table_transport.close()
        await object_transport.close()
        await credentials.stop()


def limits(settings: Settings) -> dict[str, float | None]:
    """The limits that every call has, by name and unit; those of a feature are its own."""
    return {
        "max_header_bytes": MAX_HEADER_BYTES,
        "idempotency_key_max_characters": MAX_IDEMPOTENCY_KEY_CHARACTERS,
        "idempotency_key_kept_seconds": CLAIM_KEPT_SECONDS,
        "key_revocation_max_seconds": FOUND_SECONDS,
        "client_head_seconds": settings.client_head_seconds,
        "client_idle_seconds": settings.client_idle_seconds,
        "client_min_bytes_per_second": settings.client_min_bytes_per_second,
        "keep_alive_seconds": settings.keep_alive_seconds,
        "max_requests_in_flight": settings.max_in_flight,
        "rate_limit_per_second": settings.rate_limit_per_second or None,
        "rate_limit_burst": settings.rate_limit_burst if settings.rate_limit_per_second else None,
        **told(tenant_limits(settings)),
    }


def tenant_limits(settings: Settings) -> TenantLimits:
    """Those of a tenant that has none of its own."""
    return TenantLimits(
        rate_per_second=settings.tenant_rate_per_second,
        uploads=settings.tenant_max_uploads,
        waiting=settings.tenant_max_waiting,
    )


def _observe(
    metrics: Metrics, backends: Backends, clients: ConnectionManager, tasks: Tasks
) -> None:
    """Show how full everything is that can be full."""
    memory, transports = backends.upload_memory, backends.transports
    metrics.gauge(
        "strongroom_requests_in_flight",
        "Requests with an API key that are being answered, by whom they wait for",
        "waits_for",
        {"service": lambda: clients.load.working, "client": lambda: clients.load.waiting},
    )
    metrics.gauge(
        "strongroom_client_connections",
        "Clients' connections, by what they wait for; counted once a second",
        "waits_for",
        {phase.value: partial(clients.phases.__getitem__, phase) for phase in ConnectionState},
    )
    metrics.gauge(
        "strongroom_upload_memory_bytes",
        "Memory for uploads",
        "state",
        {"used": lambda: memory.total - memory.free, "total": lambda: memory.total},
    )
    metrics.gauge(
        "strongroom_uploads_waiting",
        "Uploads that wait for memory",
        "",
        {"": lambda: memory.waiting},
    )
    for state, documentation in (
        ("open", "Connections to the backend, those being opened included"),
        ("idle", "Connections to the backend that nobody uses"),
        ("waiting", "Requests that wait for a connection to the backend"),
    ):
        metrics.gauge(
            f"strongroom_aws_connections_{state}",
            documentation,
            "backend",
            {name: partial(getattr, it, state) for name, it in transports.items()},
        )
    metrics.gauge(
        "strongroom_tasks", "Commits and clean-ups under way", "", {"": lambda: len(tasks)}
    )


@dataclass(frozen=True, slots=True)
class Service:
    """The application, its OpenAPI document, and what its life needs."""

    app: App
    pipeline: RequestPipeline
    clients: ConnectionManager
    tasks: Tasks
    access_log: AccessLog
    document: dict[str, Any]
    watches: Sequence[Callable[[], Coroutine[Any, Any, None]]]


def _by_tokens(
    settings: Settings,
    by_keys: Authenticate,
    metrics: Metrics,
    watches: list[Callable[[], Coroutine[Any, Any, None]]],
) -> Authenticate:
    """Authentication by tokens of the issuers that are set, and by keys."""
    # Not from the top: PyJWT and what it verifies by are loaded where there are issuers alone.
    from app.oidc.http import HttpFetch
    from app.oidc.service import TokenAuthenticator

    issuers = settings.oidc_issuers
    tokens = TokenAuthenticator(issuers, HttpFetch(), by_keys, metrics.issuer_asked)
    watches.append(tokens.watch)
    return tokens.authenticate


def build(settings: Settings, backends: Backends, metrics: Metrics) -> Service:
    """Wire the features onto the pipeline."""
    tasks = Tasks()
    clients = ConnectionManager(timeouts(settings), metrics.cut_off)
    _observe(metrics, backends, clients, tasks)
    access_log = AccessLog(settings.log_format, settings.log_level)
    last_used = LastUsed(backends.keys.touch_key, tasks)
    by_keys = Authenticator(backends.keys, metrics.shed, last_used.note)
    authenticate: Authenticate = by_keys.authenticate
    watches: list[Callable[[], Coroutine[Any, Any, None]]] = []
    if settings.oidc_issuers:
        authenticate = _by_tokens(settings, authenticate, metrics, watches)
    tenants = Tenants(backends.tenants)
    quotas = TenantQuotas(tenants, backends.usage)
    admission = Admission(tenants, tenant_limits(settings), metrics.shed)
    metrics.gauge(
        "strongroom_quota_reserved_bytes",
        "Bytes on their way of tenants that have a quota",
        "",
        {"": lambda: quotas.reserved_bytes},
    )
    pipeline = RequestPipeline(
        authenticate,
        metrics,
        access_log,
        clients.load,
        RateLimit(settings.rate_limit_per_second, settings.rate_limit_burst),
        admission,
        max_in_flight=settings.max_in_flight,
        deadline_seconds=settings.request_deadline_seconds,
    )
    parts = Parts(
        settings=settings,
        client=backends.client,
        table=settings.dynamodb_table,
        objects=backends.objects,
        tasks=tasks,
        idempotency=Idempotency(backends.idempotency, tasks, settings.max_upload_bytes),
        documents=backends.documents,
        documents_service=Documents(
            backends.documents,
            backends.idempotency,
            backends.objects,
            tasks,
            quotas,
            document_ids=DocumentIds(settings.list_shards),
            retention_ms=settings.deleted_retention_days * _DAY_MS,
            deadline_seconds=settings.request_deadline_seconds,
        ),
        tenants=tenants,
        quotas=quotas,
    )
    apis = [feature.api(parts) for feature in FEATURES if feature.api]
    every_limit = limits(settings)
    for api in apis:
        every_limit |= api.limits
    readiness = Readiness({"table": backends.documents.ping, "bucket": backends.objects.check})
    metrics.gauge(
        "strongroom_backend_up",
        "Whether the backend answered when it was last asked, every 10 s",
        "backend",
        {name: partial(readiness.answers, name) for name in readiness.names},
    )
    system = SystemRoutes(
        pipeline,
        metrics,
        readiness,
        every_limit,
        admission.told,
        metrics_here=settings.metrics_port is None,
    )
    routes: list[Route] = [route for api in apis for route in api.routes] + system.routes()
    models = [model for api in apis for model in api.schemas]
    tags = [tag for api in apis for tag in api.tags.items()]
    document = openapi.build(routes, models, [*tags, *TAGS.items()])
    system.publish(document)
    routes += docs.asset_routes()
    faults = Faults(
        settings.fault_error_ratio, settings.fault_delay_ratio, settings.fault_delay_seconds
    )
    if faults.wanted:
        log.warning("requests fail on purpose", extra=dataclasses.asdict(faults))
        routes = [faults.into(route, metrics.injected) for route in routes]
    application = build_app(pipeline, clients, routes, settings.cors_origins)
    watches.append(readiness.watch)
    return Service(application, pipeline, clients, tasks, access_log, document, watches)


def timeouts(settings: Settings) -> ClientTimeouts:
    """How long clients are waited for."""
    return ClientTimeouts(
        head_seconds=settings.client_head_seconds,
        idle_seconds=settings.client_idle_seconds,
        bytes_per_second=settings.client_min_bytes_per_second,
        keep_alive_seconds=settings.keep_alive_seconds,
        max_connections=settings.max_connections,
    )


async def serve(
    settings: Settings,
    listener: socket.socket,
    ready: Callable[[], Awaitable[None]],
    stopper: Callable[[Callable[[], None]], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Run the service on a bound socket until it is told to stop.

    `ready` runs once requests are accepted. `stopper`, if given, is a coroutine that calls its
    argument when the service should stop for a reason of its own.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = Metrics()
    exporter = _export_metrics(settings, metrics)  # first: it may end the start
    async with connect(settings, metrics) as backends:
        service = build(settings, backends, metrics)
        shutdown = ShutdownTimeouts(settings.shutdown_grace_seconds, settings.drain_seconds)
        server = Server(service.app, service.clients, listener, shutdown, stop)
        watches = [watch() for watch in service.watches]
        watches += [stopper(stop.set)] if stopper else []
        watching = [asyncio.create_task(watch) for watch in watches]
        _tune_gc()
        try:
            await server.run(ready)
        finally:
            for watch in watching:
                watch.cancel()
            await service.tasks.finish(_FINISH_SECONDS)
            service.access_log.flush()
            if exporter is not None:
                exporter.shutdown()
    log.info("stopped", extra={"pid": os.getpid()})


def _tune_gc() -> None:
    """Requests leave hardly any cycles: look for them a hundred times more rarely, and never among
    what the start has loaded, which is most of what there is to look at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(70_000)


def _export_metrics(settings: Settings, metrics: Metrics) -> Any:
    if settings.metrics_port is None:
        return None
    try:
        server, _ = prometheus_client.start_http_server(
            settings.metrics_port, settings.host, metrics.registry
        )
    except OSError as error:
        raise PortTaken(
            f"cannot listen on {settings.host}:{settings.metrics_port} for metrics: "
            f"{error.strerror}. Set METRICS_PORT to a free port."
        ) from error
    return server
