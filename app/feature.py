"""What a feature brings: a folder of `app/` joins the service by one line of `bootstrap`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from app.aws.dynamodb import DynamoDB
from app.documents.ports import DocumentTable
from app.documents.service import Documents
from app.idempotency.service import Idempotency
from app.maintenance.ports import Check, ItemKind
from app.records import Tenant
from app.settings import Settings
from app.storage.objects import DirectObjects
from app.tasks import Tasks
from app.tenants.ports import KnownTenants
from app.usage.ports import Quotas
from app.web.route import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What features are built from: the clients, and what other features offer by their ports.

    `table` is the table's name; a feature makes its own adapter of it and `client`.
    """

    settings: Settings
    client: DynamoDB
    table: str
    objects: DirectObjects
    tasks: Tasks
    idempotency: Idempotency
    documents: DocumentTable
    documents_service: Documents
    tenants: KnownTenants
    quotas: Quotas


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A feature's face to clients: its routes, the models of their bodies, what each tag of its
    routes is about, and the limits that `GET /v1/limits` tells, by name and unit."""

    routes: Sequence[Route]
    schemas: Sequence[type[BaseModel]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """`kinds` are the items that the feature keeps, for walks over the table. `check` gives, by
    the record's type, what `verify` asks of each. `purge` removes what the feature keeps of a
    document whose time is up; it runs before the document itself goes, perhaps again."""

    kinds: Sequence[ItemKind] = ()
    api: Callable[[Parts], Api] | None = None
    check: Callable[[DynamoDB, str], Mapping[type[Any], Check]] | None = None
    purge: Callable[[DynamoDB, str], Callable[[Tenant, str], Awaitable[None]]] | None = None
