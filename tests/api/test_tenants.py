"""Tenants, as the command line changes them, and what their clients meet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engines import Engine
from tests.support.service import ROOT, Service, command, eventually, new_key, running

# A tenant's record may be this old in a process; and a table call of a request as long as that.
_HEEDED_SECONDS = 15.0


@pytest.fixture(scope="module")
def tenants(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("tenants") / "log"
    with running(ministack, "tenants", log, REQUEST_DEADLINE_SECONDS="1") as service:
        yield service


def run(
    service: Service, *arguments: str, typed: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", "tenants", *arguments],
        cwd=ROOT,
        env=service.environment,
        capture_output=True,
        input=typed,
        text=True,
        timeout=60,
    )


def values(service: Service, *arguments: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(
        command(service.environment, "tenants", *arguments, "--json")
    )
    return shown


def test_a_tenant_is_shown_with_what_was_set_and_what_it_holds(tenants: Service) -> None:
    key = new_key(tenants.environment, "shown")
    tenants.create(b"12345", key=key)
    fresh = values(tenants, "show", "shown")
    assert (fresh["state"], fresh["quota_bytes"], fresh["rate_per_second"]) == (
        "active",
        None,
        None,
    )
    assert fresh["held"] == {"bytes": 5, "documents": 1, "versions": 1, "uploads": 0}
    changed = values(tenants, "set-quota", "shown", "--bytes", "1000000", "--documents", "7")
    assert (changed["quota_bytes"], changed["quota_documents"]) == (1_000_000, 7)
    changed = values(tenants, "set-rate", "shown", "--per-second", "2.5", "--uploads", "0")
    assert (changed["rate_per_second"], changed["uploads"], changed["waiting"]) == (2.5, 0, None)
    text = run(tenants, "show", "shown").stdout
    for line in ("quota_bytes      1,000,000", "uploads          no limit", "held_bytes       5"):
        assert line in text, text
    assert "waiting          as the settings say" in text
    changed = values(tenants, "set-quota", "shown", "--no-bytes")
    assert (changed["quota_bytes"], changed["quota_documents"]) == (None, 7)
    assert values(tenants, "set-rate", "shown", "--default")["rate_per_second"] is None
    listed = json.loads(command(tenants.environment, "tenants", "list", "--json"))
    assert {"acme", "globex", "shown"} <= {one["tenant"] for one in listed}
    assert "shown" in run(tenants, "list").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["set-quota", "acme"], "Give --bytes"),
        (["set-quota", "acme", "--bytes", "1", "--no-bytes"], "not both"),
        (["set-quota", "acme", "--bytes", "-1"], "-1 is not in the range"),
        (["set-rate", "acme"], "Give limits, or --default"),
        (["set-rate", "acme", "--default", "--uploads", "1"], "Give limits, or --default"),
        (["set-rate", "acme", "--per-second", "0.01"], "from 0.1"),
        (["set-rate", "acme", "--per-second", "-2"], "from 0.1"),
        (["show", "Not_A_Name"], "is not a tenant's name"),
        (["purge", "acme", "--yes-purge", "globex"], "nothing was removed"),
    ],
)
def test_a_wrong_call_changes_nothing_and_says_why(
    tenants: Service, arguments: list[str], told: str
) -> None:
    done = run(tenants, *arguments)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert values(tenants, "show", "acme")["state"] == "active"


def test_a_suspended_tenant_is_refused_everything_and_loses_nothing(tenants: Service) -> None:
    key = new_key(tenants.environment, "held-back")
    document = tenants.create(b"kept", key=key)
    begun = time.monotonic()
    assert values(tenants, "suspend", "held-back")["state"] == "suspended"
    eventually(lambda: tenants.read(document["id"], key=key).status == 403, _HEEDED_SECONDS)
    assert time.monotonic() - begun < _HEEDED_SECONDS
    path = f"/v1/documents/{document['id']}"
    for method, target in (
        ("GET", path),
        ("GET", f"{path}/content"),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", "/v1/documents"),
        ("GET", "/v1/usage"),
        ("GET", "/v1/limits"),
    ):
        answer = tenants.request(method, target, {} if method == "PATCH" else None, key=key)
        assert (answer.status, answer.json()["type"]) == (403, "/problems#tenant-suspended")
    # Others are not; and what needs no key needs none.
    assert tenants.request("GET", "/v1/usage").status == 200
    assert tenants.request("GET", "/livez", key=None).status == 200
    assert values(tenants, "resume", "held-back")["state"] == "active"
    eventually(lambda: tenants.read(document["id"], key=key).status == 200, _HEEDED_SECONDS)
    assert tenants.read(document["id"], key=key).json() == document


def test_a_body_that_is_under_way_when_the_tenant_is_suspended_is_not_committed(
    tenants: Service,
) -> None:
    key = new_key(tenants.environment, "half-way")
    head = tenants.head("POST", "/v1/documents", "Content-Length: 10", key=key)
    with tenants.socket() as connection:
        connection.sendall(head + b"12345")
        time.sleep(0.3)
        values(tenants, "suspend", "half-way")
        eventually(
            lambda: tenants.request("GET", "/v1/usage", key=key).status == 403, _HEEDED_SECONDS
        )
        connection.sendall(b"67890")
        assert connection.recv(100).startswith(b"HTTP/1.1 403")
    assert values(tenants, "show", "half-way")["held"]["documents"] == 0
    eventually(lambda: not left(tenants, "half-way", objects_only=True))


def left(service: Service, tenant: str, *, objects_only: bool = False) -> list[str]:
    """What table and bucket have of a tenant, past the service."""
    code = (
        "import asyncio, json, sys\n"
        "from app import bootstrap\n"
        "from app.maintenance.tenant_purge import TenantPurge\n"
        "from app.records import Tenant\n"
        "from app.settings import load_settings\n"
        "async def main():\n"
        "    async with bootstrap.connect(load_settings()) as b:\n"
        "        purge = TenantPurge(b.maintenance, b.tenants, b.objects, lambda: 0,"
        " settle_seconds=0)\n"
        "        print(json.dumps(await purge.remains(Tenant(sys.argv[1]))))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tenant],
        cwd=ROOT,
        env=service.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(done.stdout)
    return [one for one in found if "/" in one] if objects_only else found


def test_a_purge_that_is_killed_is_gone_on_with_and_leaves_nothing(tenants: Service) -> None:
    key = new_key(tenants.environment, "going")
    for number in range(20):
        document = tenants.create(f"{number}".encode(), key=key, Idempotency_Key=f"k{number}")
    tenants.request("PUT", f"/v1/documents/{document['id']}/content", b"again", key=key)
    tenants.request("DELETE", f"/v1/documents/{document['id']}", key=key)
    values(tenants, "set-quota", "going", "--documents", "100")
    kept = tenants.create(b"of another", key=new_key(tenants.environment, "goin"))
    before = left(tenants, "goin")
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "tenants", "purge", "going", "--yes-purge", "going"],
        cwd=ROOT,
        env=tenants.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: values(tenants, "show", "going")["state"] == "purging", 20)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for wrong in ("resume", "suspend"):
        refused = run(tenants, wrong, "going")
        assert (refused.returncode, "is being purged" in refused.stderr) == (1, True)
    assert run(tenants, "purge", "going", typed="no\n").returncode == 2
    assert left(tenants, "going")
    done = run(tenants, "purge", "going", "--json", typed="going\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == 20
    assert left(tenants, "going") == []
    assert left(tenants, "goin") == before
    assert kept["size"] == 10
    report = json.loads(command(tenants.environment, "verify", "--json"))
    assert report["findings"] == []
    # Its keys are gone with it.
    eventually(lambda: tenants.read(document["id"], key=key).status == 401, _HEEDED_SECONDS)
