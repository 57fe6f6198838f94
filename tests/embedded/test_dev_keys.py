"""The keys that `make dev` gives: kept from run to run, as long as they are what it would give."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from app.embedded import dev
from app.keys.models import ApiKey
from app.keys.service import new_key
from app.records import SCOPES, Tenant


class Table:
    def __init__(self, key: ApiKey) -> None:
        self.key = key

    async def read_key(self, key_id: str) -> ApiKey | None:
        return self.key if key_id == self.key.id else None


def test_two_keys_carry_every_scope_and_one_reads() -> None:
    assert {name: set(scopes) for name, (_, scopes) in dev._KEYS.items()} == {
        "STRONGROOM_API_KEY": set(SCOPES),
        "STRONGROOM_API_KEY_READ": {"documents:read"},
        "STRONGROOM_API_KEY_2": set(SCOPES),
    }


@pytest.mark.parametrize(
    ("scopes", "changes", "holds"),
    [
        (SCOPES, {}, True),
        (("documents:read",), {}, True),
        (SCOPES[:4], {}, False),  # of an earlier release
        (SCOPES, {"revoked_at": 1}, False),
        (SCOPES, {"expires_at": 1}, False),
    ],
)
async def test_a_key_that_lacks_new_scopes_is_made_anew(
    scopes: tuple[str, ...], changes: dict[str, int], holds: bool
) -> None:
    record, key = new_key(Tenant("acme"), frozenset(scopes), "make dev", None, 0)
    table = Table(dataclasses.replace(record, **changes))  # type: ignore[arg-type]
    backends = SimpleNamespace(keys=table)
    wanted = scopes if len(scopes) == 1 else SCOPES
    assert await dev._holds(backends, key, wanted) is holds  # type: ignore[arg-type]
    assert not await dev._holds(backends, "", wanted)  # type: ignore[arg-type]
