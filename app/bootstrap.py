"""The only place that knows every part: settings → adapters → features → server."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import prometheus_client

from app.aws import endpoints
from app.aws.credentials import CredentialSource
from app.aws.dynamodb import DynamoDB
from app.aws.s3_history import S3ObjectHistory
from app.aws.table import DynamoTable
from app.aws.transport import Transport
from app.aws.upkeep_table import DynamoUpkeepTable
from app.documents import operations
from app.documents.ids import DocumentIds
from app.documents.listing import DEFAULT_LIMIT, MAX_EXAMINED, MAX_LIMIT
from app.documents.routes import MAX_PATCH_BYTES, REDIRECT_SECONDS, DocumentRoutes
from app.documents.service import Documents
from app.http import openapi
from app.http.clients import Clients, Patience
from app.http.edge import Edge
from app.http.faults import Faults
from app.http.idempotency import Idempotency
from app.http.logs import AccessLog
from app.http.metrics import Metrics
from app.http.protocol import Phase
from app.http.rate_limit import RateLimit
from app.http.route import Route
from app.http.server import MAX_HEADER_BYTES, App, Farewell, Server, build_app
from app.http.system import SystemRoutes
from app.keys.service import Authenticator
from app.settings import Settings
from app.storage.budget import ByteBudget
from app.tasks import Tasks

log = logging.getLogger("strongroom")

_DAY_MS = 24 * 3600 * 1000
_FINISH_SECONDS = 15.0


class PortTaken(Exception):
    """A port cannot be listened on; the text names the setting."""


@dataclass(frozen=True, slots=True)
class Backends:
    """The adapters, connected to the configured table and bucket."""

    table: DynamoTable
    objects: S3ObjectHistory
    upkeep: DynamoUpkeepTable
    transports: dict[str, Transport]
    upload_memory: ByteBudget
    other_table: Callable[[str], DynamoTable]


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
    )
    name, shards = settings.dynamodb_table, settings.list_shards
    table = DynamoTable(client, name, shards)
    upkeep = DynamoUpkeepTable(client, name, shards)
    transports = {"table": table_transport, "bucket": object_transport}
    try:
        yield Backends(
            table, objects, upkeep, transports, upload_memory, partial(DynamoTable, client)
        )
    finally:
        await objects.close()
        await table_transport.close()
        await object_transport.close()
        await credentials.stop()


def limits(settings: Settings) -> dict[str, Any]:
    """Every limit that a client can run into, by name and unit."""
    return {
        "max_upload_bytes": settings.max_upload_bytes,
        "max_patch_bytes": MAX_PATCH_BYTES,
        "max_header_bytes": MAX_HEADER_BYTES,
        "max_name_characters": 255,
        "max_name_bytes": 1024,
        "max_tags": 20,
        "max_tag_bytes": 128,
        "max_metadata_bytes": 4096,
        "list_default_limit": DEFAULT_LIMIT,
        "list_max_limit": MAX_LIMIT,
        "list_max_examined": MAX_EXAMINED,
        "redirect_max_seconds": REDIRECT_SECONDS,
        "deleted_retention_days": settings.deleted_retention_days,
        "idempotency_key_max_characters": 255,
        "idempotency_key_kept_seconds": 24 * 3600,
        "key_revocation_max_seconds": 10,
        "client_head_seconds": settings.client_head_seconds,
        "client_idle_seconds": settings.client_idle_seconds,
        "client_min_bytes_per_second": settings.client_min_bytes_per_second,
        "keep_alive_seconds": settings.keep_alive_seconds,
        "max_requests_in_flight": settings.max_in_flight,
        "rate_limit_per_second": settings.rate_limit_per_second or None,
        "rate_limit_burst": settings.rate_limit_burst if settings.rate_limit_per_second else None,
    }


def _observe(metrics: Metrics, backends: Backends, clients: Clients, tasks: Tasks) -> None:
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
        {phase.value: partial(clients.phases.__getitem__, phase) for phase in Phase},
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
    """The application, and what its life needs."""

    app: App
    edge: Edge
    clients: Clients
    tasks: Tasks
    access_log: AccessLog


def build(settings: Settings, backends: Backends, metrics: Metrics) -> Service:
    """Wire the features onto the edge."""
    tasks = Tasks()
    clients = Clients(patience(settings), metrics.cut_off)
    _observe(metrics, backends, clients, tasks)
    access_log = AccessLog(settings.log_format, settings.log_level)
    edge = Edge(
        Authenticator(backends.table, metrics.shed).authenticate,
        metrics,
        access_log,
        clients.load,
        RateLimit(settings.rate_limit_per_second, settings.rate_limit_burst),
        max_in_flight=settings.max_in_flight,
        deadline_seconds=settings.request_deadline_seconds,
    )
    documents = Documents(
        backends.table,
        backends.table,
        backends.objects,
        tasks,
        document_ids=DocumentIds(settings.list_shards),
        retention_ms=settings.deleted_retention_days * _DAY_MS,
        deadline_seconds=settings.request_deadline_seconds,
    )
    idempotency = Idempotency(backends.table, tasks, settings.max_upload_bytes)
    document_routes = DocumentRoutes(
        documents, idempotency, max_upload_bytes=settings.max_upload_bytes
    )
    system = SystemRoutes(
        edge,
        metrics,
        {"table": backends.table.check, "bucket": backends.objects.check},
        limits(settings),
        metrics_here=settings.metrics_port is None,
    )
    routes: list[Route] = [*operations.routes(document_routes), *system.routes()]
    system.publish(openapi.build(routes, operations.SCHEMAS))
    faults = Faults(
        settings.fault_error_ratio, settings.fault_delay_ratio, settings.fault_delay_seconds
    )
    if faults.wanted:
        log.warning("requests fail on purpose", extra=dataclasses.asdict(faults))
        routes = [faults.into(route, metrics.injected) for route in routes]
    return Service(build_app(edge, clients, routes), edge, clients, tasks, access_log)


def patience(settings: Settings) -> Patience:
    """How long clients are waited for."""
    return Patience(
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
        farewell = Farewell(settings.shutdown_grace_seconds, settings.drain_seconds)
        server = Server(service.app, service.edge, service.clients, listener, farewell, stop)
        watching = asyncio.create_task(stopper(stop.set)) if stopper else None
        _calm_collector()
        try:
            await server.run(ready)
        finally:
            if watching is not None:
                watching.cancel()
            await service.tasks.finish(_FINISH_SECONDS)
            service.access_log.flush()
            if exporter is not None:
                exporter.shutdown()
    log.info("stopped", extra={"pid": os.getpid()})


def _calm_collector() -> None:
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
