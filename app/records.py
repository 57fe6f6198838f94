"""Records that every feature shares."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Literal, TypeVar, dataclass_transform, get_args

R = TypeVar("R")


@dataclass_transform(frozen_default=True)
def record(cls: type[R]) -> type[R]:
    """A dataclass that is frozen for the type checker alone: at run time that triples the time
    that it takes to make one, and a page holds many."""
    return dataclass(slots=True)(cls)


@dataclass(frozen=True, slots=True)
class Tenant:
    """The scope of every storage call. Made by authentication and by the command line alone."""

    id: str


Scope = Literal[
    "documents:read",
    "documents:write",
    "shares:write",
    "keys:admin",
    "audit:read",
    "events:admin",
    "retention:write",
    "retention:bypass",
]
SCOPES: tuple[str, ...] = get_args(Scope)
# What a caller is recorded under: an API key's id, or a digest of a token's issuer and subject.
CALLER_PATTERN = "(?:[0-9a-z]{16}|oidc:[0-9a-f]{16})"
TENANT_PATTERN = "[a-z0-9][a-z0-9-]{0,62}"


@record
class Caller:
    """Who asks, and what it may do: an API key, or the subject of a token.

    `key_id` is what it is recorded under, in logs and in what it writes; see `CALLER_PATTERN`. It
    may ask until `expires_at` (epoch milliseconds), `rate_per_second` times a second if that is not
    the process's own rate, and for documents whose key begins with `key_prefix`, if there is one.
    """

    tenant: Tenant
    key_id: str
    scopes: frozenset[str]
    key_prefix: str | None = None
    expires_at: int | None = None
    rate_per_second: float | None = None
    subject: str | None = None


def new_write_id() -> str:
    """96 random bits as 16 URL-safe characters."""
    return urlsafe_b64encode(os.urandom(12)).decode()
