"""Whose requests are let in."""

from __future__ import annotations

from typing import Any

import pytest

from app.problems import RateLimited, TenantSuspended
from app.records import Caller, Tenant
from app.tenants import admission
from app.tenants.admission import Admission, TenantLimits, told
from app.tenants.models import TenantRecord
from app.tenants.service import Tenants
from app.web.route import ANY_SCOPE, Route

LIMITS = TenantLimits(rate_per_second=10, uploads=2, waiting=3)


async def nothing(context: Any) -> Any:
    raise AssertionError


def route(path: str = "/v1/documents", *, takes_bytes: bool = False) -> Route:
    return Route(
        name="a",
        method="GET",
        path=path,
        handler=nothing,
        scope=ANY_SCOPE,
        summary="",
        takes_bytes=takes_bytes,
    )


def caller(tenant: str = "acme") -> Caller:
    return Caller(Tenant(tenant), "k", frozenset())


class Table:
    def __init__(self, **records: TenantRecord) -> None:
        self.records = records

    async def read_tenant(self, tenant: Tenant) -> TenantRecord:
        return self.records.get(tenant.id, TenantRecord(tenant=tenant))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def gate(clock: Clock | None = None, shed: list[str] | None = None, **records: Any) -> Admission:
    known = {name: TenantRecord(tenant=Tenant(name), **one) for name, one in records.items()}
    refused: list[str] = [] if shed is None else shed
    return Admission(Tenants(Table(**known)), LIMITS, refused.append, clock=clock or Clock())


async def test_a_rate_is_of_the_tenant_and_of_no_other() -> None:
    clock, shed = Clock(), []  # type: ignore[var-annotated]
    let_in = gate(clock, shed)
    for _ in range(20):
        await let_in.admit(route(), caller())
    with pytest.raises(RateLimited) as refused:
        await let_in.admit(route(), caller())
    assert refused.value.headers["Retry-After"] == "1"
    assert shed == ["tenant rate"]
    await let_in.admit(route(), caller("globex"))
    clock.now += 0.1
    await let_in.admit(route(), caller())
    with pytest.raises(RateLimited):
        await let_in.admit(route(), caller())


async def test_bodies_and_waiting_connections_are_bounded_for_themselves() -> None:
    shed: list[str] = []
    let_in = gate(shed=shed)
    share = await let_in.admit(route(takes_bytes=True), caller())
    share.uploads = 2
    with pytest.raises(RateLimited):
        await let_in.admit(route(takes_bytes=True), caller())
    assert await let_in.admit(route(), caller()) is share
    share.waiting = 3
    with pytest.raises(RateLimited):
        await let_in.admit(route(), caller())
    assert shed == ["tenant uploads", "tenant waiting"]
    await let_in.admit(route(takes_bytes=True), caller("globex"))


async def test_a_record_overrides_and_zero_lifts() -> None:
    let_in = gate(acme={"rate_per_second": 0.5}, globex={"rate_per_second": 0, "uploads": 0})
    await let_in.admit(route(), caller())
    with pytest.raises(RateLimited) as refused:
        await let_in.admit(route(), caller())
    assert refused.value.headers["Retry-After"] == "2"
    for _ in range(100):
        share = await let_in.admit(route(takes_bytes=True), caller("globex"))
        share.uploads += 1
    assert await let_in.told(caller("globex")) == {
        "tenant_rate_limit_per_second": None,
        "tenant_rate_limit_burst": None,
        "tenant_max_uploads": None,
        "tenant_max_waiting_connections": 3,
    }
    assert told(LIMITS)["tenant_rate_limit_burst"] == 20


@pytest.mark.parametrize("state", ["suspended", "purging"])
async def test_a_suspended_tenant_may_ask_who_it_is_and_nothing_else(state: str) -> None:
    let_in = gate(acme={"state": state})
    for path in ("/v1/documents", "/v1/limits", "/v1/usage", "/v1/keys"):
        with pytest.raises(TenantSuspended):
            await let_in.admit(route(path), caller())
    await let_in.admit(route("/v1/me"), caller())


async def test_tenants_that_hold_nothing_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_MOST_TENANTS", 10)
    clock = Clock()
    let_in = gate(clock)
    kept = await let_in.admit(route(), caller("kept"))
    kept.waiting = 1
    for number in range(50):
        clock.now += 1
        await let_in.admit(route(), caller(f"t{number}"))
    assert len(let_in) <= 11
    assert await let_in.admit(route(), caller("kept")) is kept
