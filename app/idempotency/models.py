"""Requests with an idempotency key, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.storage.errors import OutcomeUnknown, Refused, Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The first answer to a request with an idempotency key, as it will be given again."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """One request's hold on an idempotency key.

    `owner` is unique to the request, `fingerprint` tells the request apart from others.
    """

    key: str
    owner: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a claimed request ended: its answer, and the SHA-256 (hex) of the body it had."""

    answer: StoredResponse
    body_sha256: str


@dataclass(slots=True)
class IdempotentRequest(Generic[T]):
    """`render` gives the answer that will be recorded with the commit. While `committing`, the
    outcome may be a success, and the claim must not be given back."""

    claim: Claim
    render: Callable[[T], StoredResponse]
    committing: bool = False


@contextmanager
def committing(attempt: IdempotentRequest[T] | None) -> Iterator[None]:
    """Only a definite no ends the state in which the outcome may be a success."""
    if attempt is None:
        yield
        return
    attempt.committing = True
    try:
        yield
    except (Refused, Unavailable) as error:
        attempt.committing = isinstance(error, OutcomeUnknown)
        raise
