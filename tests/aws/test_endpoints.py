"""Region and endpoints come from where the AWS SDKs take them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.aws.endpoints import Endpoint, resolve, resolve_endpoint, resolve_region, s3_location


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An AWS config file that is not there yet; the machine's own is not seen."""
    for name in [*os.environ]:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.mark.parametrize(
    ("url", "endpoint", "authority", "again"),
    [
        ("http://localhost:8000", ("http", "localhost", 8000, ""), "localhost:8000", None),
        ("HTTPS://S3.Example/", ("https", "s3.example", 443, ""), "s3.example", "https://s3.example"),
        ("https://a.b:443", ("https", "a.b", 443, ""), "a.b", "https://a.b"),
        ("http://a.b:443", ("http", "a.b", 443, ""), "a.b:443", None),
        ("http://a:80/x/y/", ("http", "a", 80, "/x/y"), "a", "http://a/x/y"),
        ("http://[::1]:9000", ("http", "::1", 9000, ""), "[::1]:9000", None),
        ("http://[::1]/", ("http", "::1", 80, ""), "[::1]", "http://[::1]"),
        ("http://local_db:8000", ("http", "local_db", 8000, ""), "local_db:8000", None),
    ],
)  # fmt: skip
def test_parse(
    url: str, endpoint: tuple[str, str, int, str], authority: str, again: str | None
) -> None:
    parsed = Endpoint.parse(url)
    assert parsed == Endpoint(*endpoint)
    assert parsed.authority == authority
    assert parsed.url == (again or url)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "empty"),
        ("http://a b", "spaces"),
        ("http://a\r\nX: y", "spaces"),
        ("http://bücher.example", "non-ASCII"),
        ("localhost:8000", "http:// or https://"),
        ("ftp://a", "http:// or https://"),
        ("http://", "no valid host"),
        ("http://:80", "no valid host"),
        ("http://-a", "no valid host"),
        ("http://[::1", "no valid host"),
        ("http://[fe80::1%25eth0]", "no valid host"),
        ("http://a:0", "port"),
        ("http://a:65536", "port"),
        ("http://a:x", "port"),
        ("http://user:hidden@a", "user name or password"),
        ("http://a/?x=1", "query"),
        ("http://a#x", "fragment"),
    ],
)
def test_parse_says_what_is_wrong_but_not_the_url(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        Endpoint.parse(url)
    assert "hidden" not in str(refused.value)


@given(st.text(max_size=30) | st.text("htps:/[]%@?#.a1 -", max_size=30).map("http://".__add__))
def test_parse_accepts_or_raises_value_error(url: str) -> None:
    try:
        parsed = Endpoint.parse(url)
    except ValueError:
        return
    assert Endpoint.parse(parsed.url) == parsed


def test_the_order_of_regions(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    config.write_text("[default]\nregion = eu-north-1\n")
    assert resolve_region(None) == "eu-north-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert resolve_region(None) == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert resolve_region(None) == "eu-west-2"
    assert resolve_region("eu-west-3") == "eu-west-3"


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    config.write_text("[default]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_REGION", "")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "")
    assert resolve_region("") == "eu-north-1"


def test_the_region_of_the_profile_that_is_named(
    monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    config.write_text("[default]\nregion = eu-north-1\n[profile other]\nregion = sa-east-1\n")
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert resolve_region(None) == "sa-east-1"


def test_no_region_is_us_east_1_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert resolve_region(None) == "us-east-1"
    assert "AWS_REGION" in caplog.text


@pytest.mark.parametrize("region", ["eu west", "eu/west", "EU", "-a", "a\n", "a" * 64])
def test_what_is_no_region(region: str) -> None:
    with pytest.raises(ValueError, match="not the name of an AWS region"):
        resolve_region(region)


def test_a_profile_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(ValueError, match="absent"):
        resolve_region(None)
    with pytest.raises(ValueError, match="absent"):
        resolve_endpoint("s3", "eu-west-1")


@pytest.mark.parametrize(
    ("service", "region", "host"),
    [
        ("dynamodb", "eu-central-1", "dynamodb.eu-central-1.amazonaws.com"),
        ("s3", "us-east-1", "s3.us-east-1.amazonaws.com"),
        ("s3", "cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
        ("dynamodb", "us-gov-west-1", "dynamodb.us-gov-west-1.amazonaws.com"),
        ("s3", "eu-newtown-9", "s3.eu-newtown-9.amazonaws.com"),
    ],
)
def test_standard_endpoints(service: str, region: str, host: str) -> None:
    assert resolve_endpoint(service, region) == (Endpoint("https", host, 443), False)


@pytest.mark.parametrize(
    ("variable", "dynamodb", "s3"),
    [
        (
            "AWS_USE_DUALSTACK_ENDPOINT",
            "dynamodb.us-east-1.api.aws",
            "s3.dualstack.us-east-1.amazonaws.com",
        ),
        (
            "AWS_USE_FIPS_ENDPOINT",
            "dynamodb-fips.us-east-1.amazonaws.com",
            "s3-fips.us-east-1.amazonaws.com",
        ),
    ],
)
def test_endpoint_variants(
    monkeypatch: pytest.MonkeyPatch, variable: str, dynamodb: str, s3: str
) -> None:
    monkeypatch.setenv(variable, "true")
    assert resolve_endpoint("dynamodb", "us-east-1")[0].host == dynamodb
    assert resolve_endpoint("s3", "us-east-1")[0].host == s3


def test_a_region_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match="AWS_ENDPOINT_URL_DYNAMODB"):
        resolve_endpoint("dynamodb", "atlantis")


SERVICES = (
    "[default]\nendpoint_url = http://profile:1\nservices = mine\n"
    "[services mine]\ns3 =\n  endpoint_url = http://profile-s3:2\n"
)


def test_the_order_of_configured_endpoints(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    config.write_text(SERVICES)
    assert configured("s3") == "http://profile-s3:2"
    assert configured("dynamodb") == "http://profile:1"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all:3")
    assert configured("s3") == configured("dynamodb") == "http://all:3"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3:4")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb:5")
    assert configured("s3") == "http://s3:4"
    assert configured("dynamodb") == "http://dynamodb:5"


def configured(service: str) -> str:
    endpoint, custom = resolve_endpoint(service, "us-east-1")
    assert custom
    return endpoint.url


def test_configured_endpoints_can_be_ignored(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    config.write_text(SERVICES)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all:3")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    endpoint, custom = resolve_endpoint("s3", "us-east-1")
    assert (endpoint.host, custom) == ("s3.us-east-1.amazonaws.com", False)


def test_a_bad_endpoint_names_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:4566")
    with pytest.raises(ValueError, match=r"endpoint of s3: .* http://"):
        resolve_endpoint("s3", "us-east-1")


def test_a_services_section_that_is_missing(config: Path) -> None:
    config.write_text("[default]\nservices = mine\n")
    with pytest.raises(ValueError, match="mine"):
        resolve_endpoint("s3", "us-east-1")


def test_all_places_at_once(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    config.write_text("[default]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3:4")
    places = resolve()
    assert places.region == "eu-north-1"
    assert places.dynamodb.url == "https://dynamodb.eu-north-1.amazonaws.com"
    assert places.s3.url == "http://s3:4"
    assert (places.dynamodb_custom, places.s3_custom) == (False, True)
    assert resolve("eu-west-1").dynamodb.host == "dynamodb.eu-west-1.amazonaws.com"


AWS = Endpoint("https", "s3.eu-west-1.amazonaws.com", 443)
LOCAL = Endpoint("http", "localhost", 9000, "/base")


def test_a_bucket_on_aws_is_in_the_host() -> None:
    endpoint, prefix = s3_location(AWS, "papers", custom=False)
    assert endpoint.url == "https://papers.s3.eu-west-1.amazonaws.com"
    assert prefix == ""


def test_a_bucket_with_dots_or_elsewhere_is_in_the_path() -> None:
    assert s3_location(AWS, "my.papers", custom=False) == (AWS, "/my.papers")
    assert s3_location(LOCAL, "papers", custom=True) == (LOCAL, "/papers")
