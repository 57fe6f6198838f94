"""What a tenant holds."""

from __future__ import annotations

from dataclasses import dataclass

from app.records import Tenant


@dataclass(frozen=True, slots=True)
class Usage:
    """One of a tenant's counters: its share of the bytes and documents that are held."""

    tenant: Tenant
    counter: int
    bytes: int
    documents: int
