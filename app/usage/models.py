"""What a tenant holds."""

from __future__ import annotations

from dataclasses import dataclass

from app.records import Tenant


@dataclass(frozen=True, slots=True)
class Held:
    """What is held, or more or less of it: bytes and versions of all documents, deleted ones
    until they are purged, and uploads that are open."""

    bytes: int = 0
    documents: int = 0
    versions: int = 0
    uploads: int = 0

    def __add__(self, other: Held) -> Held:
        return Held(
            self.bytes + other.bytes,
            self.documents + other.documents,
            self.versions + other.versions,
            self.uploads + other.uploads,
        )

    def __sub__(self, other: Held) -> Held:
        return Held(
            self.bytes - other.bytes,
            self.documents - other.documents,
            self.versions - other.versions,
            self.uploads - other.uploads,
        )


NOTHING = Held()


@dataclass(frozen=True, slots=True)
class Usage:
    """One of a tenant's counters: its share of what is held. `changes` counts how often it was
    changed, so that it can be told to have stood still."""

    tenant: Tenant
    counter: int
    bytes: int
    documents: int
    versions: int = 0
    uploads: int = 0
    changes: int = 0

    @property
    def held(self) -> Held:
        return Held(self.bytes, self.documents, self.versions, self.uploads)


def total(counters: list[Usage]) -> Held:
    """What all of a tenant's counters say together."""
    return sum((counter.held for counter in counters), NOTHING)


@dataclass(frozen=True, slots=True)
class Day:
    """What was held when a day (UTC, YYYY-MM-DD) ended."""

    date: str
    held: Held
