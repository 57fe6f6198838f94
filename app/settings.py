"""Configuration from the environment, checked once at the start."""

from __future__ import annotations

import json
import re
import sys
from typing import Annotated, Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.records import TENANT_PATTERN

MiB = 1024 * 1024
# As a browser sends it: lower case, no path (RFC 6454, 6.2).
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_ADDRESS = re.compile(
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:/[!-\"$->@-~]*)?"
)
GiB = 1024 * MiB


def is_secure_url(url: str) -> bool:
    """Whether it is an https address without a user, or an http one on this host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or port == 0 or "@" in parts.netloc or parts.fragment:
        return False
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    loopback = parts.scheme == "http" and host in ("127.0.0.1", "::1", "localhost")
    return parts.scheme == "https" or loopback


class OidcIssuer(BaseModel):
    """An issuer of tokens that is trusted, for one audience."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    issuer: str
    audience: Annotated[str, Field(min_length=1)]
    tenant_claim: Annotated[str, Field(min_length=1)]
    scopes_claim: Annotated[str, Field(min_length=1)]
    tenants: Annotated[
        dict[str, Annotated[str, Field(pattern=f"^{TENANT_PATTERN}$")]], Field(min_length=1)
    ]
    algorithms: Annotated[list[Literal["RS256", "ES256", "EdDSA"]], Field(min_length=1)] = [
        "RS256",
        "ES256",
        "EdDSA",
    ]

    @field_validator("issuer")
    @classmethod
    def _secure(cls, value: str) -> str:
        if not is_secure_url(value) or "?" in value:
            raise ValueError("is not an https address without a query")
        return value


class Settings(BaseSettings):
    """Every setting with its unit. `DYNAMODB_TABLE` and `S3_BUCKET` are required, nothing else.

    Region, endpoints and credentials come from the usual AWS variables and files.
    """

    model_config = SettingsConfigDict(
        case_sensitive=False, extra="ignore", frozen=True, env_ignore_empty=True
    )

    dynamodb_table: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$", description="the table's name")
    ]
    s3_bucket: Annotated[
        str,
        Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="the bucket's name"),
    ]
    app_env: Literal["dev", "staging", "prod"] = "prod"
    host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104 - a container's
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="serve /metrics on this port alone"
    )
    log_format: Literal["json", "text"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins whose web pages may call the API, comma-separated; * for all. "
        "`provision` lets them follow presigned URLs, too",
    )
    oidc_issuers: Annotated[tuple[OidcIssuer, ...], NoDecode] = Field(
        (),
        description="issuers of OpenID Connect whose tokens are accepted beside API keys: a JSON "
        "list of {issuer, audience, tenant_claim, scopes_claim, tenants: {value: tenant}, "
        "algorithms}",
    )

    max_upload_bytes: int = Field(5 * GiB, ge=1, le=5 * GiB, description="largest body, bytes")
    upload_part_bytes: int = Field(8 * MiB, ge=5 * MiB, le=64 * MiB, description="S3 part, bytes")
    upload_memory_bytes: int = Field(
        128 * MiB, ge=16 * MiB, description="bytes that all uploads together may hold in memory"
    )
    upload_kept_hours: int = Field(
        24,
        ge=1,
        le=168,
        description="hours that an upload straight to S3 is kept after the last call about it",
    )
    s3_presign_endpoint_url: str | None = Field(
        None,
        description="where clients reach S3, if not where the service does: presigned URLs name it",
    )
    list_shards: int = Field(
        1, ge=1, le=32, description="partitions of a tenant's documents; may grow, never shrink"
    )
    # Not shorter than the table can be restored to: what was there then must still have its bytes.
    deleted_retention_days: int = Field(
        35, ge=1, le=3650, description="days that a deleted document can be restored"
    )
    versions_kept: int = Field(
        0,
        ge=0,
        le=100_000,
        description="versions of a document that are kept, the current one included; 0 for all",
    )
    versions_kept_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="days that a version is kept though there are more than VERSIONS_KEPT",
    )
    max_in_flight: int = Field(
        512,
        ge=1,
        description="requests worked on at once; further ones get 503. Those that wait for "
        "their client's bytes do not count",
    )
    max_connections: int = Field(
        2000, ge=1, description="clients' connections; idle ones give way, then new ones get 503"
    )
    rate_limit_per_second: float = Field(
        0,
        ge=0,
        description="requests per second and API key on average, in each process; 0 for no "
        "limit: how much of its capacity a client may have is the platform's to decide",
    )
    rate_limit_burst: int = Field(
        100, ge=1, description="requests that an API key may send at once, if its rate is limited"
    )
    tenant_rate_per_second: float = Field(
        1000,
        ge=0,
        description="requests per second and tenant on average, by all its keys together, in each "
        "process, twice as many at once; 0 for no limit; see also 'tenants set-rate'",
    )
    tenant_max_uploads: int = Field(
        200,
        ge=0,
        description="request bodies of a tenant that may be under way at once, in each process; "
        "0 for no limit",
    )
    tenant_max_waiting: int = Field(
        500,
        ge=0,
        description="connections of a tenant that may wait at once for their client to send or "
        "take bytes, in each process; 0 for no limit",
    )
    aws_max_connections: int = Field(256, ge=4, description="connections to each backend")
    request_deadline_seconds: float = Field(
        10, ge=1, le=50, description="time for all table calls of one request"
    )
    client_head_seconds: float = Field(
        20, ge=0.1, description="time for a request's headers, from the first byte to the last"
    )
    client_idle_seconds: float = Field(
        60, ge=0.1, description="a client that makes no progress for so long is cut off"
    )
    client_min_bytes_per_second: float = Field(
        500,
        ge=0,
        description="slowest that a body may arrive or an answer be taken, on average over "
        "CLIENT_IDLE_SECONDS",
    )
    keep_alive_seconds: float = Field(75, ge=0.1, description="idle time of a client's connection")
    shutdown_grace_seconds: float = Field(
        3,
        ge=0,
        description="after SIGTERM, connections are accepted, and idle ones kept, for so long",
    )
    drain_seconds: float = Field(
        30, ge=0, description="time for requests in flight to finish after that"
    )

    fault_error_ratio: float = Field(
        0,
        ge=0,
        le=1,
        description="share of requests that fail on purpose, to rehearse a bad release",
    )
    fault_delay_ratio: float = Field(
        0, ge=0, le=1, description="share of requests that are held up on purpose"
    )
    fault_delay_seconds: float = Field(1, ge=0, le=60, description="for how long those are held up")
    faults_in_prod: bool = Field(
        False, description="whether faults on purpose are meant for APP_ENV=prod, the default, too"
    )

    @field_validator("s3_bucket")
    @classmethod
    def _no_double_dots(cls, value: str) -> str:
        if ".." in value:
            raise ValueError("is not a bucket name")
        return value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("cors_origins")
    @classmethod
    def _no_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(origin == "*" or _ORIGIN.fullmatch(origin) for origin in value):
            raise ValueError("is not a list of origins such as https://app.example.com, or *")
        return value

    @field_validator("oidc_issuers", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError("is not JSON") from error
        if not isinstance(found, list):
            raise ValueError("is not a JSON list")
        return tuple(found)

    @field_validator("oidc_issuers")
    @classmethod
    def _once(cls, value: tuple[OidcIssuer, ...]) -> tuple[OidcIssuer, ...]:
        if len({(entry.issuer, entry.audience) for entry in value}) < len(value):
            raise ValueError("names an issuer and audience twice")
        return value

    @field_validator("s3_presign_endpoint_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not _ADDRESS.fullmatch(value):
            raise ValueError("is not an address such as https://s3.example.com")
        return value

    @field_validator("metrics_port")
    @classmethod
    def _another_port(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and value == info.data.get("port"):
            raise ValueError("is the same as PORT")
        return value

    @model_validator(mode="after")
    def _faults_meant(self) -> Settings:
        injecting = self.fault_error_ratio or self.fault_delay_ratio
        if injecting and self.app_env == "prod" and not self.faults_in_prod:
            raise ValueError(
                "FAULT_ERROR_RATIO and FAULT_DELAY_RATIO make requests fail, and APP_ENV is prod. "
                "Set FAULTS_IN_PROD=true as well if that is meant, or take them out"
            )
        return self


def load_settings(**overrides: object) -> Settings:
    """The settings, or one readable message and exit code 2."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        _refuse(error)


def _refuse(error: ValidationError) -> NoReturn:
    """Name every offending variable; never its value, which may be a secret put in its place."""
    print("strongroom: the configuration is not valid", file=sys.stderr)
    for fault in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in fault["loc"]).upper()
        if not name:  # it is about several, and names them itself
            print(f"  {fault['msg'].removeprefix('Value error, ')}", file=sys.stderr)
            continue
        what = "is required but not set" if fault["type"] == "missing" else fault["msg"]
        field = Settings.model_fields.get(name.lower())
        hint = f" ({field.description})" if field is not None and field.description else ""
        print(f"  {name}: {what}{hint}", file=sys.stderr)
    print("Run 'python -m app serve --help' for all settings.", file=sys.stderr)
    raise SystemExit(2)
