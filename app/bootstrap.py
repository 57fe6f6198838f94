"""The only place that knows every part: settings → adapters → features → server."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import prometheus_client

from app.aws import endpoints
from app.aws.credentials import CredentialSource
from app.aws.dynamodb import DynamoDB
from app.aws.s3 import S3ObjectStore
from app.aws.table import DynamoTable
from app.aws.transport import Transport
from app.aws.upkeep_table import DynamoUpkeepTable
from app.documents import operations
from app.documents.ids import DocumentIds
from app.documents.listing import DEFAULT_LIMIT, MAX_EXAMINED, MAX_LIMIT
from app.documents.routes import MAX_PATCH_BYTES, REDIRECT_SECONDS, DocumentRoutes
from app.documents.service import Documents
from app.http import openapi
from app.http.edge import Edge
from app.http.idempotency import Idempotency
from app.http.logs import AccessLog
from app.http.metrics import Metrics
from app.http.route import Route
from app.http.server import MAX_HEADER_BYTES, App, Server, build_app
from app.http.system import SystemRoutes
from app.keys.service import Authenticator
from app.settings import Settings
from app.storage.budget import ByteBudget
from app.tasks import Tasks

log = logging.getLogger("strongroom")

_DAY_MS = 24 * 3600 * 1000
_FINISH_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Backends:
    """The adapters, connected to the configured table and bucket."""

    table: DynamoTable
    objects: S3ObjectStore
    upkeep: DynamoUpkeepTable


@asynccontextmanager
async def connect(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[Backends]:
    """Adapters that are closed at the end. Makes no call: backends may be away at the start."""
    places = endpoints.resolve()
    credentials = CredentialSource(places.region)
    await credentials.start()
    table_transport = Transport(max_connections=settings.aws_max_connections)
    object_transport = Transport(max_connections=settings.aws_max_connections)
    observe = metrics.aws_call if metrics else lambda operation, result, seconds: None
    client = DynamoDB(table_transport, places.dynamodb, places.region, credentials, observe)
    objects = S3ObjectStore(
        object_transport,
        places.s3,
        places.region,
        credentials,
        settings.s3_bucket,
        custom_endpoint=places.s3_custom,
        budget=ByteBudget(settings.upload_memory_bytes),
        part_size=settings.upload_part_bytes,
        observe=observe,
    )
    name, shards = settings.dynamodb_table, settings.list_shards
    try:
        yield Backends(
            DynamoTable(client, name, shards), objects, DynamoUpkeepTable(client, name, shards)
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
        "client_idle_seconds": settings.client_idle_seconds,
        "max_requests_in_flight": settings.max_in_flight,
    }


@dataclass(frozen=True, slots=True)
class Service:
    """The application, and what its life needs."""

    app: App
    edge: Edge
    tasks: Tasks


def build(settings: Settings, backends: Backends, metrics: Metrics) -> Service:
    """Wire the features onto the edge."""
    tasks = Tasks()
    edge = Edge(
        Authenticator(backends.table).authenticate,
        metrics,
        AccessLog(settings.log_format, settings.log_level),
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
    app = build_app(
        edge,
        routes,
        idle_seconds=settings.client_idle_seconds,
        keep_alive_seconds=settings.keep_alive_seconds,
    )
    return Service(app, edge, tasks)


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
    metrics = Metrics()
    async with connect(settings, metrics) as backends:
        service = build(settings, backends, metrics)
        server = Server(service.app, service.edge, listener, settings.drain_seconds)
        exporter = _export_metrics(settings, metrics)
        watching = asyncio.create_task(stopper(server.stop)) if stopper else None
        try:
            await server.run(ready)
        finally:
            if watching is not None:
                watching.cancel()
            await service.tasks.finish(_FINISH_SECONDS)
            if exporter is not None:
                exporter.shutdown()
    log.info("stopped", extra={"pid": os.getpid()})


def _export_metrics(settings: Settings, metrics: Metrics) -> Any:
    if settings.metrics_port is None:
        return None
    server, _ = prometheus_client.start_http_server(
        settings.metrics_port, settings.host, metrics.registry
    )
    return server
