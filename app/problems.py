"""Every error that a client can meet: one registry of RFC 9457 problem types.

A feature raises one of these; the HTTP edge renders it as `application/problem+json`. The
registry is also what the OpenAPI document and `docs/problems.md` are generated from, so a new
subclass is documented by existing.
"""

from __future__ import annotations

from typing import ClassVar

# The documentation page; each type is an anchor on it. Relative on purpose: a problem type is
# resolved against the API's own address (RFC 9457, 3.1.1), which serves the page at /problems.
TYPE_BASE = "/problems#"

REGISTRY: dict[str, type[Problem]] = {}


class Problem(Exception):
    """An error with a stable `type`. `detail` says what went wrong and what to do about it.

    `extra` are further members of the problem object, `headers` go into the answer. A kind with
    `retry_seconds` always has `Retry-After`: those seconds, or the `retry_after` given.
    """

    slug: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    meaning: ClassVar[str]
    retry_seconds: ClassVar[int | None] = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if cls.slug in REGISTRY:
            raise TypeError(f"problem type {cls.slug} is registered twice")
        cls.meaning = " ".join((cls.__doc__ or "").split())
        REGISTRY[cls.slug] = cls

    def __init__(
        self,
        detail: str,
        *,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
        extra: dict[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra or {}
        self.headers = headers or {}
        seconds = self.retry_seconds if retry_after is None else retry_after
        if seconds is not None:
            self.headers["Retry-After"] = str(max(1, seconds))

    def body(self, request_id: str) -> dict[str, object]:
        """The problem object, as it is sent."""
        return {
            "type": TYPE_BASE + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            **self.extra,
        }


class BadRequest(Problem):
    """The request is not valid HTTP, or its framing is broken."""

    slug, status, title = "bad-request", 400, "Bad request"


class BadHeader(Problem):
    """A header of the request is malformed, out of bounds, or given twice."""

    slug, status, title = "bad-header", 400, "Bad header"


class BadParameter(Problem):
    """A query parameter is unknown, given twice, or has a bad value."""

    slug, status, title = "bad-parameter", 400, "Bad parameter"


class MalformedJson(Problem):
    """The body is not JSON, or it is ambiguous JSON, such as an object with a member twice."""

    slug, status, title = "malformed-json", 400, "Malformed JSON"


class BadDigest(Problem):
    """The bytes that arrived are not those that `Content-Digest` announced. Nothing was stored."""

    slug, status, title = "bad-digest", 400, "Digest mismatch"


class IncompleteBody(Problem):
    """The body ended before the length that was announced. Nothing was stored."""

    slug, status, title = "incomplete-body", 400, "Incomplete body"


class Unauthorized(Problem):
    """No API key and no token was given, or it is unknown, expired, revoked, or not for this
    service."""

    slug, status, title = "unauthorized", 401, "Unauthorized"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="strongroom"'})


class Forbidden(Problem):
    """The API key is valid, but lacks the scope that this call needs."""

    slug, status, title = "insufficient-scope", 403, "Insufficient scope"

    def __init__(self, scope: str) -> None:
        challenge = f'Bearer realm="strongroom", error="insufficient_scope", scope="{scope}"'
        super().__init__(
            f"This call needs an API key with the scope {scope}.",
            headers={"WWW-Authenticate": challenge},
            extra={"scope": scope},
        )


class OutsidePrefix(Problem):
    """The API key is confined to documents whose key begins with its prefix."""

    slug, status, title = "outside-key-prefix", 403, "Outside the key prefix"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers=_lacking())


class BeyondOwnRights(Problem):
    """An API key would be made, or changed, that may do more than the caller: `beyond` names in
    what."""

    slug, status, title = "beyond-own-rights", 403, "Beyond one's own rights"

    def __init__(self, detail: str, beyond: list[str]) -> None:
        super().__init__(detail, headers=_lacking(), extra={"beyond": beyond})


class NoTenant(Problem):
    """The token is good, but its claim names no tenant of this service."""

    slug, status, title = "no-tenant", 403, "No tenant"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers=_lacking())


def _lacking() -> dict[str, str]:
    return {"WWW-Authenticate": 'Bearer realm="strongroom", error="insufficient_scope"'}


class TenantSuspended(Problem):
    """The tenant is suspended, or being removed: whoever runs the service has decided so."""

    slug, status, title = "tenant-suspended", 403, "Tenant suspended"


class QuotaExceeded(Problem):
    """The tenant would hold more than its `quota`; `used` is what it holds. Nothing was stored.
    What is deleted counts until it is purged."""

    slug, status, title = "quota-exceeded", 403, "Quota exceeded"


class NotFound(Problem):
    """There is no such route, document or upload, or it is deleted, expired or not yours."""

    slug, status, title = "not-found", 404, "Not found"


class MethodNotAllowed(Problem):
    """The path exists, but not with this method; `Allow` names those that it has."""

    slug, status, title = "method-not-allowed", 405, "Method not allowed"

    def __init__(self, method: str, allowed: list[str]) -> None:
        allow = ", ".join(allowed)
        super().__init__(
            f"This path does not accept {method}; it accepts {allow}.", headers={"Allow": allow}
        )


class RequestTimeout(Problem):
    """The request's headers took too long, or its body arrived too slowly or not at all; `GET
    /v1/limits` tells the limits. Nothing was stored."""

    slug, status, title = "request-timeout", 408, "Request timeout"


class RequestInProgress(Problem):
    """The first request with this `Idempotency-Key` is still running."""

    slug, status, title = "request-in-progress", 409, "Request in progress"
    retry_seconds = 1


class KeyTaken(Problem):
    """Another document has this key. Choose another one, or change that document."""

    slug, status, title = "key-taken", 409, "Key taken"


class UploadIncomplete(Problem):
    """Something of the upload has not arrived in the bucket; `missing` names the parts, 1 for the
    whole of one that is sent at once. Send them, then complete it again."""

    slug, status, title = "upload-incomplete", 409, "Upload incomplete"


class UploadCompleted(Problem):
    """The upload is completed, and its document is there."""

    slug, status, title = "upload-completed", 409, "Upload completed"


class VersionCurrent(Problem):
    """The version is the current one. Put others in its place first, or delete the document."""

    slug, status, title = "version-current", 409, "Version is current"


class SecretAlreadyShown(Problem):
    """The first request with this `Idempotency-Key` has made the API key `id`, and was told its
    secret, which is kept nowhere. If it is lost, rotate that key."""

    slug, status, title = "secret-already-shown", 409, "Secret already shown"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"This request has made the API key {key_id}, whose secret was in the first answer and "
            "is kept nowhere. If it is lost, rotate that key, or delete it and create another.",
            extra={"id": key_id},
        )


class KeyEnded(Problem):
    """The API key has expired, or a rotation has ended it. Create a new one."""

    slug, status, title = "key-ended", 409, "API key ended"


class PreconditionFailed(Problem):
    """The document or its content is no longer what `If-Match` or `If-None-Match` asked for."""

    slug, status, title = "precondition-failed", 412, "Precondition failed"


class TooLarge(Problem):
    """The body is larger than this call accepts; `GET /v1/limits` tells the limits."""

    slug, status, title = "too-large", 413, "Content too large"


class UriTooLong(Problem):
    """The request's URI is too long."""

    slug, status, title = "uri-too-long", 414, "URI too long"


class UnsupportedMediaType(Problem):
    """This call does not accept the body's media type."""

    slug, status, title = "unsupported-media-type", 415, "Unsupported media type"


class RangeNotSatisfiable(Problem):
    """The range is malformed or lies outside the content; `Content-Range` gives the size."""

    slug, status, title = "range-not-satisfiable", 416, "Range not satisfiable"

    def __init__(self, detail: str, size: int) -> None:
        super().__init__(detail, headers={"Content-Range": f"bytes */{size}"})


class ExpectationFailed(Problem):
    """`Expect` asks for something other than `100-continue`."""

    slug, status, title = "expectation-failed", 417, "Expectation failed"


class InvalidDocument(Problem):
    """The JSON is well-formed, but not a valid change: an unknown or read-only field, a wrong
    type, or a value out of bounds."""

    slug, status, title = "invalid-document", 422, "Invalid document"


class InvalidBody(Problem):
    """The JSON is well-formed, but not what this call takes: an unknown or missing member, a wrong
    type, or a value out of bounds."""

    slug, status, title = "invalid-body", 422, "Invalid body"


class DigestMismatch(Problem):
    """The bytes in the bucket are not those that the upload announced. It is gone, and they with
    it."""

    slug, status, title = "digest-mismatch", 422, "Digest mismatch"


class IdempotencyMismatch(Problem):
    """This `Idempotency-Key` was used before, with another request."""

    slug, status, title = "idempotency-mismatch", 422, "Idempotency key reused"


class RateLimited(Problem):
    """The caller, or its tenant, has sent more requests than it may, and `RateLimit` tells what is
    left; or its tenant has too many bodies or waiting connections; or too many unknown API keys are
    being tried for this one to be looked up."""

    slug, status, title = "rate-limited", 429, "Too many requests"
    retry_seconds = 1


class HeadersTooLarge(Problem):
    """The request line and headers together exceed the server's limit."""

    slug, status, title = "headers-too-large", 431, "Request header fields too large"


class InternalError(Problem):
    """A fault of the service. It is logged under the `request_id`."""

    slug, status, title = "internal-error", 500, "Internal error"


class BackendUnavailable(Problem):
    """The table or the bucket does not answer. Nothing is lost; try again."""

    slug, status, title = "backend-unavailable", 503, "Backend unavailable"
    retry_seconds = 1


class IssuerUnavailable(Problem):
    """The issuer of the token does not answer, and its key is not known yet."""

    slug, status, title = "issuer-unavailable", 503, "Issuer unavailable"
    retry_seconds = 5


class UncertainOutcome(Problem):
    """The write was sent to the table, but no answer came back: read the document, or repeat the
    request with the same `Idempotency-Key`."""

    slug, status, title = "outcome-unknown", 503, "Outcome unknown"
    retry_seconds = 1


class Contended(Problem):
    """Too many writers changed this document at once. Nothing was changed; try again."""

    slug, status, title = "contention", 503, "Contention"
    retry_seconds = 1


class ContentUnavailable(Problem):
    """The document exists, but its bytes cannot be read right now."""

    slug, status, title = "content-unavailable", 503, "Content unavailable"
    retry_seconds = 5


class Overloaded(Problem):
    """The service is at its capacity, or it is shutting down."""

    slug, status, title = "overloaded", 503, "Overloaded"
    retry_seconds = 1
