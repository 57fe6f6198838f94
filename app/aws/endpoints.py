"""Region and endpoint URLs, found as the AWS SDKs find them but without building a client."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import BotoCoreError
from botocore.regions import EndpointResolver
from botocore.session import Session

log = logging.getLogger(__name__)

FALLBACK_REGION = "us-east-1"

_PORTS = {"http": 80, "https": 443}
# Everything that goes into a request line or a Host header unchanged.
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?")
_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service listens. `host` is lower-case, an IPv6 address without brackets;
    `base_path` is '' or starts with a slash, ends with none, and is encoded already."""

    scheme: str
    host: str
    port: int
    base_path: str = ""

    @property
    def authority(self) -> str:
        """The Host header: with the port only if it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.base_path}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """The endpoint of an http or https URL; ValueError says what is wrong with it.

        The message never repeats the URL, which may hold a password.
        """
        if not _PRINTABLE.fullmatch(url):
            raise ValueError("the endpoint URL is empty or has spaces or non-ASCII characters")
        parts = _split(url)
        if parts.scheme not in _PORTS:
            raise ValueError("the endpoint URL does not start with http:// or https://")
        if "@" in parts.netloc:
            raise ValueError("the endpoint URL has a user name or password in it")
        if "?" in url or "#" in url:
            raise ValueError("the endpoint URL has a query or a fragment")
        return cls(parts.scheme, _host(parts), _port(parts), parts.path.rstrip("/"))


@dataclass(frozen=True, slots=True)
class AwsEndpoints:
    """Where the backends are; `*_custom` tells whether somebody configured the endpoint."""

    region: str
    dynamodb: Endpoint
    dynamodb_custom: bool
    s3: Endpoint
    s3_custom: bool


def resolve(region: str | None = None) -> AwsEndpoints:
    """Region and both endpoints from one reading of the configuration; ValueError as below."""
    session = Session()
    region = resolve_region(region, session)
    dynamodb, dynamodb_custom = resolve_endpoint("dynamodb", region, session)
    s3, s3_custom = resolve_endpoint("s3", region, session)
    return AwsEndpoints(region, dynamodb, dynamodb_custom, s3, s3_custom)


def resolve_region(explicit: str | None, session: Session | None = None) -> str:
    """The first of: `explicit`, AWS_REGION, AWS_DEFAULT_REGION, the profile's region, us-east-1.

    ValueError if it is no region name, or if the profile cannot be read.
    """
    region = explicit or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        with _readable():
            region = (session or Session()).get_scoped_config().get("region")
    if not region:
        log.warning("no AWS region is set (AWS_REGION): using %s", FALLBACK_REGION)
        return FALLBACK_REGION
    if not _REGION.fullmatch(region):
        raise ValueError(f"{region!r} is not the name of an AWS region")
    return region


def resolve_endpoint(
    service: str, region: str, session: Session | None = None
) -> tuple[Endpoint, bool]:
    """The endpoint of `dynamodb` or `s3`, and whether somebody configured it.

    ValueError if the configured URL or the profile is bad, or nothing is known of the region.
    """
    session = session or Session()
    with _readable():
        url = _configured_url(service, session)
        if url is None:
            return Endpoint("https", _standard_host(service, region, session), 443), False
    try:
        return Endpoint.parse(url), True
    except ValueError as error:
        raise ValueError(f"endpoint of {service}: {error}") from None


def s3_location(endpoint: Endpoint, bucket: str, custom: bool) -> tuple[Endpoint, str]:
    """Whom to talk to about a bucket, and what goes before '/<key>' in the path, after the
    endpoint's `base_path`: '' on AWS, which names buckets in the host, else '/<bucket>'.

    Emulators rarely have a DNS name per bucket, and AWS's certificate covers one label only,
    so that a bucket with a dot in its name stays in the path.
    """
    if custom or "." in bucket:
        return endpoint, f"/{bucket}"
    host = f"{bucket}.{endpoint.host}"
    return Endpoint(endpoint.scheme, host, endpoint.port, endpoint.base_path), ""


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("the endpoint URL has no valid host") from None


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if ":" in host:
        return _ipv6(host)
    if not _HOST.fullmatch(host):
        raise ValueError("the endpoint URL has no valid host")
    return host


def _ipv6(host: str) -> str:
    # A zone ("%eth0") is for this machine alone and has no place in a Host header.
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise ValueError("the endpoint URL has no valid host")
    return str(address)


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("the endpoint URL's port is not a number from 1 to 65535")
    return port or _PORTS[parts.scheme]


def _configured_url(service: str, session: Session) -> str | None:
    """From AWS_ENDPOINT_URL_<SERVICE>, AWS_ENDPOINT_URL, or the profile, in this order."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    provider = ConfiguredEndpointProvider(
        full_config=session.full_config,
        scoped_config=session.get_scoped_config(),
        client_name=service,
    )
    url: str | None = provider.provide()
    return url


def _standard_host(service: str, region: str, session: Session) -> str:
    resolver = EndpointResolver(session.get_component("data_loader").load_data("endpoints"))
    known = resolver.construct_endpoint(
        service,
        region,
        use_dualstack_endpoint=bool(session.get_config_variable("use_dualstack_endpoint")),
        use_fips_endpoint=bool(session.get_config_variable("use_fips_endpoint")),
    )
    if not known:
        raise ValueError(
            f"no {service} endpoint is known for region {region!r}: "
            f"check AWS_REGION, or set AWS_ENDPOINT_URL_{service.upper()}"
        )
    return str(known["hostname"])


@contextmanager
def _readable() -> Iterator[None]:
    """botocore's complaints about profiles and files as ValueError, their text kept."""
    try:
        yield
    except BotoCoreError as error:
        raise ValueError(str(error)) from error
