"""Nobody gives more than they have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.keys.models import ApiKey, Draft
from app.keys.rights import require_within, rights, within_prefix
from app.problems import BeyondOwnRights
from app.records import SCOPES, Caller, Tenant

ACME = Tenant("acme")


def a_draft(**members: Any) -> Draft:
    return Draft(**{"name": "", "scopes": frozenset({"documents:read"}), **members})


def a_caller(**members: Any) -> Caller:
    return Caller(ACME, "k" * 16, **{"scopes": frozenset(SCOPES), **members})


@pytest.mark.parametrize(
    ("caller", "wanted", "default", "beyond"),
    [
        ({}, {}, None, []),
        ({}, {"rate_per_second": 10**5, "key_prefix": "a", "expires_at": 5}, None, []),
        ({"scopes": frozenset({"keys:admin"})}, {}, None, ["scopes"]),
        ({"key_prefix": "a/"}, {}, None, ["key_prefix"]),
        ({"key_prefix": "a/"}, {"key_prefix": "a"}, None, ["key_prefix"]),
        ({"key_prefix": "a/"}, {"key_prefix": "a/"}, None, []),
        ({"key_prefix": "a"}, {"key_prefix": "ab/c"}, None, []),
        ({"key_prefix": "é"}, {"key_prefix": "e\u0301"}, None, ["key_prefix"]),
        ({"rate_per_second": 5}, {}, None, ["rate_per_second"]),
        ({"rate_per_second": 5}, {}, 5, []),
        ({"rate_per_second": 5}, {"rate_per_second": 5}, 1, []),
        ({}, {"rate_per_second": 5}, 4, ["rate_per_second"]),
        ({}, {"rate_per_second": 4}, 4, []),
        ({"expires_at": 9}, {}, None, ["expires_at"]),
        ({"expires_at": 9}, {"expires_at": 10}, None, ["expires_at"]),
        ({"expires_at": 9}, {"expires_at": 9}, None, []),
        (
            {"scopes": frozenset(), "key_prefix": "a", "rate_per_second": 1, "expires_at": 1},
            {},
            None,
            ["scopes", "key_prefix", "rate_per_second", "expires_at"],
        ),
    ],
)
def test_what_is_beyond_the_caller_is_named(
    caller: dict[str, Any], wanted: dict[str, Any], default: float | None, beyond: list[str]
) -> None:
    if not beyond:
        require_within(a_caller(**caller), a_draft(**wanted), default)
        return
    with pytest.raises(BeyondOwnRights) as refusal:
        require_within(a_caller(**caller), a_draft(**wanted), default)
    assert refusal.value.extra["beyond"] == beyond


PREFIXES = st.one_of(st.none(), st.text("ab/", min_size=1, max_size=4))
RATES = st.one_of(st.none(), st.integers(1, 4))
ENDS = st.one_of(st.none(), st.integers(1, 4))
SUBSETS = st.frozensets(st.sampled_from(SCOPES))


def _allows(prefix: str | None, key: str) -> bool:
    return prefix is None or key.startswith(prefix)


@given(SUBSETS, PREFIXES, RATES, ENDS, SUBSETS, PREFIXES, RATES, ENDS, RATES)
def test_a_key_that_may_be_given_can_do_nothing_that_its_giver_cannot(
    own: frozenset[str],
    own_prefix: str | None,
    own_rate: int | None,
    own_end: int | None,
    scopes: frozenset[str],
    prefix: str | None,
    rate: int | None,
    end: int | None,
    default: int | None,
) -> None:
    caller = a_caller(
        scopes=own, key_prefix=own_prefix, rate_per_second=own_rate, expires_at=own_end
    )
    wanted = a_draft(scopes=scopes, key_prefix=prefix, rate_per_second=rate, expires_at=end)
    try:
        require_within(caller, wanted, default)
    except BeyondOwnRights:
        return
    assert scopes <= own
    for key in ("a", "ab", "a/b", "b", "aa/a", "/", prefix or ""):
        assert _allows(own_prefix, key) or not _allows(prefix, key) or not key
    unlimited = 1000
    assert (rate or default or unlimited) <= (own_rate or default or unlimited)
    assert (end or unlimited) <= (own_end or unlimited)


def test_a_rotation_goes_by_what_a_key_was_made_with() -> None:
    key = ApiKey(
        id="k" * 16,
        tenant=ACME,
        secret_sha256="",
        scopes=frozenset({"keys:admin"}),
        name="n",
        created_at=0,
        expires_at=100,
        ends_at=50,
        key_prefix="a/",
        rate_per_second=2,
    )
    assert rights(key) == a_draft(
        name="n",
        scopes=key.scopes,
        expires_at=100,
        key_prefix="a/",
        rate_per_second=2,
    )
    assert key.end == 50
    assert key.valid(49)
    assert not key.valid(50)
    assert within_prefix(a_caller(key_prefix="a"), key)
    assert not within_prefix(a_caller(key_prefix="a/b"), key)
