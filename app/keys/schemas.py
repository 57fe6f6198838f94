"""API keys, and callers, as clients see them: their JSON, and its schema."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.clock import format_timestamp
from app.keys.cursor import ID_PATTERN, PATTERN
from app.keys.fields import (
    MAX_NAME_CHARACTERS,
    MAX_OVERLAP_SECONDS,
    MAX_PREFIX_BYTES,
    MAX_RATE_PER_SECOND,
    MIN_RATE_PER_SECOND,
)
from app.keys.models import ApiKey
from app.records import CALLER_PATTERN, SCOPES, Caller, Scope

MAX_LIMIT = 200
DEFAULT_LIMIT = 50

_CLEAN = r"[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]"
_CLEAN_SEGMENT = _CLEAN.replace("[^", "[^/")
# No segment is empty; that none is . or .. is in the description.
_PREFIX = rf"^(?:{_CLEAN_SEGMENT}+/)*{_CLEAN_SEGMENT}*$"

KeyId = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
Time = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        examples=["2026-03-01T12:00:00.000Z"],
        json_schema_extra={"format": "date-time"},
    ),
]
Name = Annotated[
    str,
    Field(
        max_length=MAX_NAME_CHARACTERS,
        json_schema_extra={"minLength": 1, "pattern": f"^{_CLEAN}*$"},
    ),
]
Prefix = Annotated[
    str,
    Field(max_length=MAX_PREFIX_BYTES, json_schema_extra={"minLength": 1, "pattern": _PREFIX}),
]
Rate = Annotated[
    float,
    Field(
        json_schema_extra={
            "minimum": MIN_RATE_PER_SECOND,
            "maximum": MAX_RATE_PER_SECOND,
            "format": "double",
        }
    ),
]
_CONFINED = (
    "confines the key to documents whose key begins so: at most 1,024 bytes of UTF-8, no empty "
    "segment and none that is `.` or `..`; null: no such confinement"
)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


_KEY_EXAMPLE: dict[str, Any] = {
    "id": "1k3m5n7p9q2r4s6t",
    "name": "nightly import",
    "scopes": ["documents:read", "documents:write"],
    "key_prefix": "imports/",
    "rate_per_second": 20,
    "created_at": "2026-03-01T12:00:00.000Z",
    "created_by": "0a2b4c6d8e0f1g3h",
    "expires_at": "2027-03-01T12:00:00.000Z",
    "last_used_at": None,
}
_SECRET_EXAMPLE = "sr_1k3m5n7p9q2r4s6t_" + "A" * 43


class KeyModel(_Model):
    """An API key, without its secret, which is kept nowhere. Times are RFC 3339, UTC."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_KEY_EXAMPLE]})

    id: KeyId = Field(description="what documents name in `created_by`")
    name: str = Field(description="a note to tell it from others")
    scopes: list[Scope] = Field(min_length=1)
    key_prefix: Prefix | None = Field(description=_CONFINED)
    rate_per_second: Rate | None = Field(
        description="requests a second on average, in each process; null: the service's own rate"
    )
    created_at: Time
    created_by: Annotated[str, Field(pattern=f"^{CALLER_PATTERN}$")] | None = Field(
        description="who made it by the API; null: an operator"
    )
    expires_at: Time | None = Field(description="a rotation may have brought it forward")
    last_used_at: Time | None = Field(description="the beginning of the hour of its last use")


class NewKeyModel(KeyModel):
    """A new API key, with its secret, which is told only now."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [_KEY_EXAMPLE | {"secret": _SECRET_EXAMPLE}]},
    )

    secret: str = Field(
        pattern=f"^sr_{ID_PATTERN}_[A-Za-z0-9_-]{{43}}$",
        description="the whole key, as it goes into `Authorization: Bearer`",
    )


class KeyList(_Model):
    """One page, in the order of the ids. Only a null `next_cursor` is the end."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"items": [_KEY_EXAMPLE], "next_cursor": None}]},
    )

    items: list[KeyModel] = Field(max_length=MAX_LIMIT)
    next_cursor: Annotated[str, Field(pattern=f"^{PATTERN}$")] | None


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


def _optional(schema: dict[str, Any]) -> None:
    """What is left out is null, which needs no default to say so."""
    _without_defaults(schema)
    schema["properties"]["scopes"]["uniqueItems"] = True


class KeyCreation(_Model):
    """A new API key. It may do no more than the caller: scopes, prefix, rate, expiry."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_optional)

    name: Name
    scopes: list[Scope] = Field(min_length=1, max_length=len(SCOPES))
    expires_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = Field(
        default=None,
        description="an RFC 3339 time in the future; null: it does not expire",
        examples=["2100-01-01T00:00:00Z"],
    )
    rate_per_second: Rate | None = Field(
        default=None,
        description="requests a second on average, in each process, as many of them at once; "
        "null: the service's own rate",
    )
    key_prefix: Prefix | None = Field(default=None, description=_CONFINED)


class KeyRotation(_Model):
    """How long the old key goes on beside the new one."""

    overlap_seconds: int = Field(
        ge=0, le=MAX_OVERLAP_SECONDS, description="0 ends it at once: within 10 seconds"
    )


def _caller(schema: dict[str, Any]) -> None:
    _without_defaults(schema)
    schema["examples"] = [
        {
            "tenant": "acme",
            "key_id": "1k3m5n7p9q2r4s6t",
            "scopes": ["documents:read"],
            "expires_at": None,
            "key_prefix": None,
        }
    ]


class CallerModel(_Model):
    """Who asks. Of an API key there is the `key_id`, of a token the `subject`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=_caller,
    )

    tenant: str
    key_id: KeyId = Field(default="", description="of an API key")
    subject: str = Field(default="", description="of a token: its `sub`")
    scopes: list[Scope]
    expires_at: Time | None = Field(description="when the key, or the token, ends")
    key_prefix: Prefix | None = Field(description=_CONFINED)


def as_json(key: ApiKey) -> dict[str, Any]:
    """What `KeyModel` describes."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": in_order(key.scopes),
        "key_prefix": key.key_prefix,
        "rate_per_second": key.rate_per_second,
        "created_at": format_timestamp(key.created_at),
        "created_by": key.created_by,
        "expires_at": _time(key.end),
        "last_used_at": _time(key.last_used_at),
    }


def caller_as_json(caller: Caller) -> dict[str, Any]:
    """What `CallerModel` describes."""
    who = {"key_id": caller.key_id} if caller.subject is None else {"subject": caller.subject}
    return {
        "tenant": caller.tenant.id,
        **who,
        "scopes": in_order(caller.scopes),
        "expires_at": _time(caller.expires_at),
        "key_prefix": caller.key_prefix,
    }


def in_order(scopes: frozenset[str]) -> list[str]:
    return [scope for scope in SCOPES if scope in scopes]


def _time(moment: int | None) -> str | None:
    return None if moment is None else format_timestamp(moment)
