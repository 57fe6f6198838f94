"""AWS Signature Version 4: signed headers, presigned URLs, and a short way for DynamoDB calls.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from hashlib import _Hash

JSON_TYPE = "application/x-amz-json-1.0"
EMPTY_HASH = sha256(b"").hexdigest()
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
LONGEST_PRESIGN = 7 * 24 * 3600

# Behind every parameter of a presigned URL's own.
_LAST_OF_AMZ = "X-Amz-~"
_ALGORITHM = "AWS4-HMAC-SHA256"
_BLOCK = 64  # bytes in a SHA-256 block, which HMAC pads its key to
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


@dataclass(frozen=True, slots=True)
class Credentials:
    """One set of AWS credentials; `expires_at` in epoch seconds, None if they do not expire."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)
    expires_at: float | None = None


def uri_encode(value: str, *, keep_slash: bool) -> str:
    """Percent-encoded UTF-8 with only A-Z a-z 0-9 - . _ ~ left alone, and '/' if asked."""
    return quote(value, safe="/" if keep_slash else "")


class _Hmac:
    """HMAC-SHA256 under one key. Copies of two prepared states take 40 % of `hmac.digest`'s
    time, which sets the key up anew on every call."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = sha256(padded.translate(_INNER))
        self._outer = sha256(padded.translate(_OUTER))

    def started(self, message: bytes) -> _Hash:
        """The inner hash after this beginning of a message; `finish` takes a copy of it."""
        inner = self._inner.copy()
        inner.update(message)
        return inner

    def finish(self, inner: _Hash) -> str:
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()

    def hexdigest(self, message: bytes) -> str:
        return self.finish(self.started(message))


class Signer:
    """Signs for one service in one region. Not to be shared between threads."""

    def __init__(self, service: str, region: str) -> None:
        self._service = service
        self._scope = f"{region}/{service}/aws4_request"
        self._is_s3 = service == "s3"
        self._stamp = (-1, "")
        self._key: tuple[str, str, _Hmac] | None = None
        self._token: tuple[str, str] | None = None
        self._json: _JsonCalls | None = None
        self._presigned: tuple[object, str] = (None, "")

    def sign(
        self,
        credentials: Credentials,
        method: str,
        host: str,
        path: str,
        query: str,
        headers: Sequence[tuple[str, str]],
        payload_hash: str,
        now: float,
    ) -> list[tuple[str, str]]:
        """All headers to send, lower-case: `headers` and what signing adds, authorization last.

        `path` and `query` are encoded already, as on the wire; a path without empty or dot
        segments unless for S3. Every one of `headers` is signed: no host, no x-amz-date among
        them, and nothing that a proxy may change. `payload_hash` is hex, or for S3
        `UNSIGNED_PAYLOAD`. `now` in epoch seconds.
        """
        stamp = self._time(now)
        signed = [("host", host), ("x-amz-date", stamp)]
        if credentials.token:
            signed.append(("x-amz-security-token", credentials.token))
        if self._is_s3:
            signed.append(("x-amz-content-sha256", payload_hash))
        signed.extend(headers)
        lines, names = _canonical_headers(signed)
        request = (
            f"{method}\n{self._canonical_path(path)}\n{_canonical_query(query)}\n"
            f"{lines}\n{names}\n{payload_hash}"
        )
        signature = self._signature(credentials, stamp, request)
        signed.append(("authorization", self._authorization(credentials, stamp, names) + signature))
        return signed

    def sign_json(
        self, credentials: Credentials, host: str, target: str, body: bytes, now: float
    ) -> bytes:
        """The head of one HTTP/1.1 `POST /` of AWS JSON 1.0, up to and with its empty line.

        A third of the time of `sign` (2.4 µs for 8.1), head written included: all
        that calls of the same second and target share is hashed once.
        """
        calls = self._json
        second = int(now)
        if calls is None or not calls.serve(second, credentials, host):
            calls = self._json = self._json_calls(second, credentials, host)
        return calls.head(target, body)

    def presign(
        self,
        credentials: Credentials,
        method: str,
        scheme: str,
        host: str,
        path: str,
        query: Sequence[tuple[str, str]],
        signed_headers: Sequence[tuple[str, str]],
        seconds: int,
        now: float,
    ) -> str:
        """A URL that allows one S3 request for so many seconds, 1 to 604800 (seven days).

        `path` is encoded already, `query` is not. Whoever uses the URL must send each of
        `signed_headers` (lower-case names) with just this value. Other `seconds`: ValueError.
        """
        if not 1 <= seconds <= LONGEST_PRESIGN:
            raise ValueError(f"a presigned URL lives for 1 to {LONGEST_PRESIGN} s, not {seconds}")
        stamp = self._time(now)
        lines, names = _canonical_headers([("host", host), *signed_headers])
        shared = self._shared_by_presigned(credentials, stamp, names, seconds)
        pairs = sorted(_encoded(query))
        text = f"{shared}&{_joined(pairs)}" if pairs else shared
        if pairs and pairs[0][0] < _LAST_OF_AMZ:  # they do not all come after ours
            text = _canonical_query(text)
        payload = dict(signed_headers).get("x-amz-content-sha256", UNSIGNED_PAYLOAD)
        request = f"{method}\n{path or '/'}\n{text}\n{lines}\n{names}\n{payload}"
        signature = self._signature(credentials, stamp, request)
        return f"{scheme}://{host}{path}?{text}&X-Amz-Signature={signature}"

    def _time(self, now: float) -> str:
        second = int(now)
        if self._stamp[0] != second:
            self._stamp = (second, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second)))
        return self._stamp[1]

    def _canonical_path(self, path: str) -> str:
        """S3 takes the path as sent; every other service wants it encoded once more."""
        if self._is_s3 or path == "/":
            return path or "/"
        return uri_encode(path or "/", keep_slash=True)

    def _shared_by_presigned(
        self, credentials: Credentials, stamp: str, names: str, seconds: int
    ) -> str:
        """The part of the query that the URLs of one second share, in its canonical order."""
        key = (credentials, stamp, names, seconds)
        if self._presigned[0] != key:
            pairs = self._presign_pairs(credentials, stamp, names, seconds)
            self._presigned = (key, _joined(sorted(pairs)))
        return self._presigned[1]

    def _presign_pairs(
        self, credentials: Credentials, stamp: str, names: str, seconds: int
    ) -> list[tuple[str, str]]:
        scope = f"{credentials.access_key}/{stamp[:8]}/{self._scope}"
        pairs = [
            ("X-Amz-Algorithm", _ALGORITHM),
            ("X-Amz-Credential", uri_encode(scope, keep_slash=False)),
            ("X-Amz-Date", stamp),
            ("X-Amz-Expires", str(seconds)),
            ("X-Amz-SignedHeaders", uri_encode(names, keep_slash=False)),
        ]
        if credentials.token:
            pairs.append(("X-Amz-Security-Token", self._encoded_token(credentials.token)))
        return pairs

    def _encoded_token(self, token: str) -> str:
        """Kept, because a token is over 1,000 characters long and takes 40 µs to encode."""
        kept = self._token
        if kept is None or kept[0] != token:
            kept = self._token = (token, uri_encode(token, keep_slash=False))
        return kept[1]

    def _authorization(self, credentials: Credentials, stamp: str, names: str) -> str:
        """The header's value but for the signature itself."""
        credential = f"{credentials.access_key}/{stamp[:8]}/{self._scope}"
        return f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature="

    def _preamble(self, stamp: str) -> str:
        """What a string to sign says before the request's hash."""
        return f"{_ALGORITHM}\n{stamp}\n{stamp[:8]}/{self._scope}\n"

    def _signature(self, credentials: Credentials, stamp: str, request: str) -> str:
        digest = sha256(request.encode()).hexdigest()
        key = self._day_key(credentials.secret_key, stamp[:8])
        return key.hexdigest((self._preamble(stamp) + digest).encode())

    def _day_key(self, secret: str, date: str) -> _Hmac:
        kept = self._key
        if kept is None or kept[0] != date or kept[1] != secret:
            kept = self._key = (date, secret, _Hmac(self._derive(secret, date)))
        return kept[2]

    def _derive(self, secret: str, date: str) -> bytes:
        key = f"AWS4{secret}".encode()
        for part in f"{date}/{self._scope}".split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return key

    def _json_calls(self, second: int, credentials: Credentials, host: str) -> _JsonCalls:
        stamp = self._time(second)
        key = self._day_key(credentials.secret_key, stamp[:8])
        names = ["content-type", "host", "x-amz-date", "x-amz-target"]
        if credentials.token:
            names.insert(3, "x-amz-security-token")
        return _JsonCalls(
            second=second,
            credentials=credentials,
            host=host,
            stamp=stamp,
            names=";".join(names),
            authorization=self._authorization(credentials, stamp, ";".join(names)),
            key=key,
            preamble=key.started(self._preamble(stamp).encode()),
        )


@dataclass(slots=True, kw_only=True)
class _JsonCalls:
    """What the JSON calls of one second to one host have in common."""

    second: int
    credentials: Credentials
    host: str
    stamp: str
    names: str
    authorization: str
    key: _Hmac
    preamble: _Hash
    targets: dict[str, tuple[_Hash, bytes]] = field(default_factory=dict)

    def serve(self, second: int, credentials: Credentials, host: str) -> bool:
        return (
            self.second == second
            and (self.credentials is credentials or self.credentials == credentials)
            and self.host == host
        )

    def head(self, target: str, body: bytes) -> bytes:
        shared = self.targets.get(target)
        if shared is None:
            shared = self.targets[target] = self._share(target)
        request = shared[0].copy()
        request.update(sha256(body).hexdigest().encode())
        to_sign = self.preamble.copy()
        to_sign.update(request.hexdigest().encode())
        return b"%b%b\r\ncontent-length: %d\r\n\r\n" % (
            shared[1],
            self.key.finish(to_sign).encode(),
            len(body),
        )

    def _share(self, target: str) -> tuple[_Hash, bytes]:
        """The canonical request up to the payload's hash, and the head up to the signature."""
        token = self.credentials.token
        signed = [
            ("content-type", JSON_TYPE),
            ("host", self.host),
            ("x-amz-date", self.stamp),
            *([("x-amz-security-token", token)] if token else []),
            ("x-amz-target", target),
        ]
        lines = "".join(f"{name}:{value}\n" for name, value in signed)
        fields = "".join(f"{name}: {value}\r\n" for name, value in signed)
        head = (
            f"POST / HTTP/1.1\r\n{fields}accept-encoding: identity\r\n"
            f"authorization: {self.authorization}"
        )
        return sha256(f"POST\n/\n\n{lines}\n{self.names}\n".encode()), head.encode()


def _canonical_headers(headers: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The lines that are signed, each with its end, and the list of their names."""
    values: dict[str, str] = {}
    for name, value in headers:
        trimmed = " ".join(value.split()) if " " in value or "\t" in value else value
        values[name] = f"{values[name]},{trimmed}" if name in values else trimmed
    names = sorted(values)
    return "".join([f"{name}:{values[name]}\n" for name in names]), ";".join(names)


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = [pair.partition("=") for pair in query.split("&")]
    return _joined(sorted((name, value) for name, _, value in pairs))


def _encoded(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        (uri_encode(name, keep_slash=False), uri_encode(value, keep_slash=False))
        for name, value in pairs
    ]


def _joined(pairs: Sequence[tuple[str, str]]) -> str:
    return "&".join([f"{name}={value}" for name, value in pairs])
