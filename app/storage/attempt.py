"""A request that holds an idempotency key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.storage.records import Answer, Claim, Document


@dataclass(slots=True)
class Attempt:
    """`render` gives the answer that will be recorded with the commit. While `committing`, the
    outcome may be a success, and the claim must not be given back."""

    claim: Claim
    render: Callable[[Document], Answer]
    committing: bool = False
