"""Signatures agree byte for byte with botocore's, over random requests."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from hashlib import sha256
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from app.aws.sigv4 import EMPTY_HASH, UNSIGNED_PAYLOAD, Credentials, Signer, uri_encode

JSON = ("content-type", "application/x-amz-json-1.0")

secrets = st.text(string.ascii_letters + string.digits + "/+", min_size=1, max_size=40)
credentials = st.builds(
    Credentials,
    access_key=st.text(string.ascii_uppercase + string.digits, min_size=1, max_size=20),
    secret_key=secrets,
    token=st.none() | secrets,
)
regions = st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1"])
hosts = st.sampled_from(["bucket.s3.us-east-1.amazonaws.com", "localhost:9000", "[::1]:8080"])
methods = st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE"])
times = st.floats(min_value=0, max_value=4_000_000_000)
letters = st.characters(exclude_categories=["Cs"])
keys = st.text(letters, max_size=40)
pairs = st.dictionaries(st.text(letters, min_size=1, max_size=12), st.text(letters, max_size=20))
odd_queries = st.text("ab=&%20+~;:/?.-_", max_size=30)
header_names = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=12).map(
    lambda rest: f"x-amz-meta-{rest}"
) | st.sampled_from(["content-type", "range", "content-length", "if-none-match", "content-md5"])
header_values = st.text(string.ascii_letters + string.digits + ' ;=,"/*é', max_size=30)
headers = st.dictionaries(header_names, header_values, max_size=5)
segments = st.text(letters, min_size=1, max_size=8).filter(lambda s: s not in (".", ".."))


def boto_signed(auth: type[SigV4Auth], request: AWSRequest, now: float, *args: Any) -> AWSRequest:
    """The request as botocore signs it at that time; `args` are those of the auth class."""
    moment = datetime.fromtimestamp(int(now), UTC).replace(tzinfo=None)
    with patch("botocore.auth.get_current_datetime", lambda *_: moment):
        auth(*args).add_auth(request)
    return request


def boto_credentials(ours: Credentials) -> BotoCredentials:
    return BotoCredentials(ours.access_key, ours.secret_key, ours.token)


def expected_headers(request: AWSRequest, host: str) -> dict[str, str]:
    return {"host": host} | {name.lower(): value for name, value in request.headers.items()}


@given(
    credentials, regions, methods, hosts, keys, odd_queries, headers, st.binary(), st.booleans(),
    times,
)  # fmt: skip
def test_s3_headers_agree_with_botocore(
    creds: Credentials,
    region: str,
    method: str,
    host: str,
    key: str,
    query: str,
    extra: dict[str, str],
    body: bytes,
    hashed: bool,
    now: float,
) -> None:
    path = "/" + uri_encode(key, keep_slash=True)
    request = AWSRequest(method, f"https://{host}{path}?{query}", extra, body)
    if not hashed:
        request.context["client_config"] = SimpleNamespace(s3={"payload_signing_enabled": False})
    payload = sha256(body).hexdigest() if hashed else UNSIGNED_PAYLOAD
    boto_signed(S3SigV4Auth, request, now, boto_credentials(creds), "s3", region)

    signed = Signer("s3", region).sign(
        creds, method, host, path, query, list(extra.items()), payload, now
    )

    assert dict(signed) == expected_headers(request, host)
    assert len(signed) == len(dict(signed))


@given(credentials, regions, methods, st.lists(segments, max_size=3), odd_queries, headers, times)
def test_other_services_encode_the_path_twice(
    creds: Credentials,
    region: str,
    method: str,
    names: list[str],
    query: str,
    extra: dict[str, str],
    now: float,
) -> None:
    host = "service.amazonaws.com"
    path = "/" + "/".join(uri_encode(name, keep_slash=False) for name in names)
    request = AWSRequest(method, f"https://{host}{path}?{query}", extra)
    boto_signed(SigV4Auth, request, now, boto_credentials(creds), "execute-api", region)

    signed = Signer("execute-api", region).sign(
        creds, method, host, path, query, list(extra.items()), EMPTY_HASH, now
    )

    assert dict(signed) == expected_headers(request, host)


calls = st.tuples(
    st.integers(0, 3), st.integers(0, 2), st.sampled_from(["a.example", "b.example:8000"]),
    st.sampled_from(["GetItem", "PutItem"]), st.binary(max_size=60),
)  # fmt: skip


@given(st.lists(credentials, min_size=3, max_size=3), st.lists(calls, min_size=1, max_size=12))
def test_json_heads_agree_with_botocore_whatever_came_before(
    sets: list[Credentials], sequence: list[tuple[int, int, str, str, bytes]]
) -> None:
    signer = Signer("dynamodb", "eu-west-1")
    midnight = 1_767_225_600
    for step, which, host, operation, body in sequence:
        now, creds = midnight - 1.5 + step / 2, sets[which]
        target = ("x-amz-target", f"DynamoDB_20120810.{operation}")
        request = AWSRequest("POST", f"https://{host}/", dict([JSON, target]), body)
        boto_signed(SigV4Auth, request, now, boto_credentials(creds), "dynamodb", "eu-west-1")

        head = signer.sign_json(creds, host, target[1], body, now)

        sent = head_fields(head)
        assert sent.pop("content-length") == str(len(body))
        assert sent.pop("accept-encoding") == "identity"
        assert sent == expected_headers(request, host)


def head_fields(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST / HTTP/1.1"
    assert lines[-2:] == ["", ""]
    fields = [line.partition(": ") for line in lines[1:-2]]
    assert len(fields) == len({name for name, _, _ in fields})
    return {name: value for name, _, value in fields}


@given(credentials, st.sampled_from([0.0, 86_399.5, 1.9e9]), st.binary(max_size=40))
def test_the_short_way_and_the_general_way_give_one_signature(
    creds: Credentials, now: float, body: bytes
) -> None:
    signer = Signer("dynamodb", "us-east-1")
    target = "DynamoDB_20120810.Query"

    short = head_fields(signer.sign_json(creds, "h", target, body, now))
    general = signer.sign(
        creds, "POST", "h", "/", "", [JSON, ("x-amz-target", target)],
        sha256(body).hexdigest(), now,
    )  # fmt: skip

    assert short["authorization"] == dict(general)["authorization"]


@given(
    credentials, regions, methods, hosts, keys, pairs, headers, st.integers(1, 604_800), times,
    st.sampled_from(["http", "https"]),
)  # fmt: skip
def test_presigned_urls_agree_with_botocore(
    creds: Credentials,
    region: str,
    method: str,
    host: str,
    key: str,
    query: dict[str, str],
    extra: dict[str, str],
    seconds: int,
    now: float,
    scheme: str,
) -> None:
    path = "/" + uri_encode(key, keep_slash=True)
    request = AWSRequest(method, f"{scheme}://{host}{path}", extra, params=dict(query))
    args = (boto_credentials(creds), "s3", region, seconds)
    boto_signed(S3SigV4QueryAuth, request, now, *args)

    url = Signer("s3", region).presign(
        creds, method, scheme, host, path, list(query.items()), list(extra.items()), seconds, now
    )

    assert parted(url) == parted(request.url)


def parted(url: str | None) -> tuple[str, list[str]]:
    """A URL but for the order of its parameters: ours is the one that is signed."""
    address, _, query = str(url).partition("?")
    return address, sorted(query.split("&"))


@given(credentials, credentials, keys)
def test_one_signer_presigns_for_credentials_that_change(
    first: Credentials, second: Credentials, key: str
) -> None:
    signer = Signer("s3", "us-east-1")
    path = "/" + uri_encode(key, keep_slash=True)
    for creds in (first, second, first):
        request = AWSRequest("GET", f"https://h{path}")
        args = (boto_credentials(creds), "s3", "us-east-1", 60)
        boto_signed(S3SigV4QueryAuth, request, 0, *args)
        url = signer.presign(creds, "GET", "https", "h", path, [], [], 60, 0)
        assert parted(url) == parted(request.url)


def test_a_presigned_payload_hash_is_the_one_that_is_signed() -> None:
    creds = Credentials("AK", "secret", None)
    digest = ("x-amz-content-sha256", sha256(b"body").hexdigest())
    request = AWSRequest("PUT", "https://h/k", dict([digest]))
    boto_signed(S3SigV4QueryAuth, request, 0, boto_credentials(creds), "s3", "us-east-1", 60)

    url = Signer("s3", "us-east-1").presign(
        creds, "PUT", "https", "h", "/k", [], [digest], 60, 0
    )  # fmt: skip

    assert url == request.url


# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
DOCUMENTED = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)
DOCUMENTED_TIME = datetime(2013, 5, 24, tzinfo=UTC).timestamp()


def test_the_documented_get_object() -> None:
    signed = Signer("s3", "us-east-1").sign(
        DOCUMENTED, "GET", "examplebucket.s3.amazonaws.com", "/test.txt", "",
        [("range", "bytes=0-9")], EMPTY_HASH, DOCUMENTED_TIME,
    )  # fmt: skip
    assert dict(signed)["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_the_documented_presigned_url() -> None:
    url = Signer("s3", "us-east-1").presign(
        DOCUMENTED, "GET", "https", "examplebucket.s3.amazonaws.com", "/test.txt", [], [],
        86_400, DOCUMENTED_TIME,
    )  # fmt: skip
    assert urlsplit(url).query.endswith(
        "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
def test_a_presigned_url_lives_a_second_to_a_week(seconds: int) -> None:
    with pytest.raises(ValueError, match="604800"):
        Signer("s3", "r").presign(DOCUMENTED, "GET", "https", "h", "/", [], [], seconds, 0)


def test_repeated_headers_are_signed_as_one_line() -> None:
    request = AWSRequest("GET", "https://h/")
    request.headers["x-amz-meta-a"] = "one"
    request.headers["x-amz-meta-a"] = "two  words "
    boto_signed(S3SigV4Auth, request, 0, boto_credentials(DOCUMENTED), "s3", "r")
    extra = [("x-amz-meta-a", "one"), ("x-amz-meta-a", "two  words ")]

    signed = Signer("s3", "r").sign(DOCUMENTED, "GET", "h", "/", "", extra, EMPTY_HASH, 0)

    assert signed[-1] == ("authorization", request.headers["Authorization"])


@pytest.mark.parametrize(
    ("plain", "keep_slash", "encoded"),
    [
        ("a/b c+d~e-f_g.h*", True, "a/b%20c%2Bd~e-f_g.h%2A"),
        ("a/b", False, "a%2Fb"),
        ("é日\x00%", True, "%C3%A9%E6%97%A5%00%25"),
    ],
)
def test_uri_encoding(plain: str, keep_slash: bool, encoded: str) -> None:
    assert uri_encode(plain, keep_slash=keep_slash) == encoded


def test_no_secret_shows_in_a_repr() -> None:
    shown = repr(Credentials("AK", "hidden-secret", "hidden-token", 1.0))
    assert "AK" in shown
    assert "hidden" not in shown
