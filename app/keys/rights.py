"""Nobody gives more than they have: what one caller may give, and whom it may touch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from app.clock import format_timestamp
from app.keys.models import ApiKey, Draft
from app.problems import BeyondOwnRights
from app.records import Caller


def require_within(caller: Caller, wanted: Draft, default_rate: float | None) -> None:
    """Raise `BeyondOwnRights` if a key as `wanted` may do anything that the caller may not.

    `default_rate` is what a key may send in a second that has no rate of its own; None: any number.
    """
    beyond = dict(_beyond(caller, wanted, default_rate))
    if beyond:
        raise BeyondOwnRights(" ".join(beyond.values()), list(beyond))


def within_prefix(caller: Caller, key: ApiKey) -> bool:
    """Whether a key is confined to what the caller is confined to."""
    return caller.key_prefix is None or (key.key_prefix or "").startswith(caller.key_prefix)


def rights(key: ApiKey) -> Draft:
    """What a key may do, as a draft of another one."""
    return Draft(
        name=key.name,
        scopes=key.scopes,
        expires_at=key.expires_at,
        rate_per_second=key.rate_per_second,
        key_prefix=key.key_prefix,
    )


def _beyond(caller: Caller, wanted: Draft, default_rate: float | None) -> Iterator[tuple[str, str]]:
    """What of it the caller does not have, by the member's name, each with a sentence."""
    scopes = sorted(wanted.scopes - caller.scopes)
    if scopes:
        yield "scopes", f"Your key lacks the scopes {', '.join(scopes)}, so it cannot give them."
    if caller.key_prefix is not None and not (wanted.key_prefix or "").startswith(
        caller.key_prefix
    ):
        yield "key_prefix", "The key_prefix must begin with that of your own key."
    own = _rate(caller.rate_per_second, default_rate)
    if _rate(wanted.rate_per_second, default_rate) > own:
        yield "rate_per_second", f"The rate_per_second must be at most your own, which is {own:g}."
    end = caller.expires_at
    if end is not None and (wanted.expires_at is None or wanted.expires_at > end):
        until = format_timestamp(end)
        yield "expires_at", f"The expires_at must be at most your own, which is {until}."


def _rate(own: float | None, default: float | None) -> float:
    return next((rate for rate in (own, default) if rate is not None), math.inf)
