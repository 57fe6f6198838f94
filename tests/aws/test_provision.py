"""Table and bucket are made in steps, and a run may end between any two of them."""

from __future__ import annotations

from collections.abc import Callable

import boto3
import pytest

from app.maintenance import provision as provisioning
from app.maintenance.provision import ProvisionError, _Clients, provision
from tests.support.engines import Engine


class Killed(BaseException):
    """The process ends here."""


def clients_of(engine: Engine) -> _Clients:
    session = boto3.Session(engine.access_key, engine.secret_key, region_name=engine.region)
    dynamodb, s3 = (session.client(name, endpoint_url=engine.url) for name in ("dynamodb", "s3"))
    return _Clients(dynamodb, s3, engine.region)


def calls(clients: _Clients, on_call: Callable[[bool], None]) -> None:
    """Tell `on_call` of every call, before (False) it is sent and after (True) it was done."""
    for client in (clients.dynamodb, clients.s3):
        client.meta.events.register("before-call", lambda **_: on_call(False))
        client.meta.events.register("after-call", lambda **_: on_call(True))


def run(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, name: str, ends_at: int | None = None
) -> int:
    """Provision under this name; the process ends at the moment `ends_at`. The moments passed."""
    passed = 0

    def on_call(done: bool) -> None:
        nonlocal passed
        passed += 1
        if passed == ends_at:
            raise Killed

    clients = clients_of(engine)
    calls(clients, on_call)
    monkeypatch.setattr(provisioning, "_connect", lambda region: clients)
    provision(name, name, lambda text: None)
    return passed


@pytest.mark.parametrize("engine_name", ["moto", "ministack"])
def test_a_run_goes_on_where_another_was_killed(
    engine_name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Engine = request.getfixturevalue(engine_name)
    moments = run(monkeypatch, engine, "provision-whole")
    assert moments > 20
    clients = clients_of(engine)
    for moment in range(1, moments + 1):
        name = f"provision-{moment}"
        with pytest.raises(Killed):
            run(monkeypatch, engine, name, ends_at=moment)
        run(monkeypatch, engine, name)
        found = provisioning._describe_table(clients, name)
        assert found is not None
        assert list(provisioning._table_differences(clients, name, found)) == []
        assert list(provisioning._bucket_differences(clients, name)) == []
        tags = clients.dynamodb.list_tags_of_resource(ResourceArn=found["TableArn"])
        assert tags.get("Tags", []) == [], "nothing is left to be finished"


def test_what_others_have_made_is_not_taken_for_a_run_that_was_killed(
    ministack: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = clients_of(ministack)
    clients.s3.create_bucket(Bucket="provision-foreign")
    for _ in range(2):  # the first makes the table
        with pytest.raises(ProvisionError, match="versioning is not enabled"):
            run(monkeypatch, ministack, "provision-foreign")
    assert "Status" not in clients.s3.get_bucket_versioning(Bucket="provision-foreign")


ORIGINS = ("https://b.example.com", "https://a.example.com")


@pytest.mark.parametrize("engine_name", ["moto", "ministack"])
def test_web_pages_are_let_in_where_origins_are_named(
    engine_name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Engine = request.getfixturevalue(engine_name)
    clients = clients_of(engine)
    monkeypatch.setattr(provisioning, "_connect", lambda region: clients)
    name = "provision-cors"
    said: list[str] = []
    provision(name, name, said.append)
    assert provisioning._cors_rules(clients, name) == []
    provision(name, name, said.append, origins=ORIGINS)
    [rule] = clients.s3.get_bucket_cors(Bucket=name)["CORSRules"]
    assert sorted(rule["AllowedOrigins"]) == sorted(ORIGINS)
    assert sorted(rule["AllowedMethods"]) == ["GET", "HEAD", "PUT"]
    assert "x-amz-checksum-sha256" in rule["AllowedHeaders"]
    assert "ETag" in rule["ExposeHeaders"]
    provision(name, name, said.append, origins=tuple(reversed(ORIGINS)))
    assert said[-1].endswith("exist, as they should be")
    with pytest.raises(ProvisionError, match="not those for CORS_ORIGINS"):
        provision(name, name, said.append, origins=("https://c.example.com",))
    assert provisioning._cors_rules(clients, name) == [rule]
    provision(name, name, said.append)  # what is not asked for is left alone
