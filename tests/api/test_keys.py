"""API keys by the API: given, shown, rotated, deleted, and never beyond what the giver has."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from app.records import SCOPES
from tests.support.service import Answer, Service, command, eventually, new_key, running

Json = dict[str, Any]
ADMIN = ["keys:admin", "documents:read"]


def asked(service: Service, key: str = "", **members: Any) -> Answer:
    body = {"name": "a test's", "scopes": ["documents:read"], **members}
    return service.request("POST", "/v1/keys", body, key=key)


def made(service: Service, key: str = "", **members: Any) -> Json:
    answer = asked(service, key, **members)
    assert answer.status == 201, answer.body
    found: Json = answer.json()
    return found


def shown(service: Service, identifier: str, key: str = "") -> Answer:
    return service.request("GET", f"/v1/keys/{identifier}", key=key)


def me(service: Service, key: str) -> Answer:
    return service.request("GET", "/v1/me", key=key)


def rotated(
    service: Service, identifier: str, seconds: int, key: str = "", **headers: str
) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/v1/keys/{identifier}/rotate"
    return service.request("POST", path, {"overlap_seconds": seconds}, sent, key=key)


def slug(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["type"].partition("#")[2]


def within(**time_left: float) -> str:
    return (datetime.now(UTC) + timedelta(**time_left)).isoformat()


def all_keys(service: Service, key: str = "", limit: int = 200) -> list[Json]:
    found: list[Json] = []
    cursor = ""
    while True:
        page = service.request("GET", f"/v1/keys?limit={limit}{cursor}", key=key).json()
        assert len(page["items"]) <= limit
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


# --- given, and shown ---------------------------------------------------------------------------


def test_a_key_is_made_used_and_shown_without_its_secret(service: Service) -> None:
    expires_at = "2100-01-01T00:00:00.000Z"
    answer = asked(
        service,
        scopes=["documents:write", "documents:read"],
        expires_at="2100-01-01T01:00:00+01:00",
        rate_per_second=7.5,
        key_prefix="imports/2026",
    )
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    key = answer.json()
    secret = key.pop("secret")
    assert secret.startswith(f"sr_{key['id']}_")
    assert answer.headers["location"] == f"/v1/keys/{key['id']}"
    created_at = key.pop("created_at")
    assert key == {
        "id": key["id"],
        "name": "a test's",
        "scopes": ["documents:read", "documents:write"],
        "key_prefix": "imports/2026",
        "rate_per_second": 7.5,
        "created_by": service.key.split("_")[1],
        "expires_at": expires_at,
        "last_used_at": None,
    }
    read = shown(service, key["id"])
    assert read.json() == key | {"created_at": created_at}
    assert read.headers["cache-control"] == "private, no-cache"
    assert me(service, secret).json() == {
        "tenant": "acme",
        "key_id": key["id"],
        "scopes": ["documents:read", "documents:write"],
        "expires_at": expires_at,
        "key_prefix": "imports/2026",
    }
    assert service.request("HEAD", f"/v1/keys/{key['id']}").status == 200


def test_who_one_is_needs_no_scope_but_a_key(service: Service) -> None:
    assert me(service, service.read_key).json() == {
        "tenant": "acme",
        "key_id": service.read_key.split("_")[1],
        "scopes": ["documents:read"],
        "expires_at": None,
        "key_prefix": None,
    }
    assert service.request("HEAD", "/v1/me").status == 200
    assert service.request("GET", "/v1/me", key=None).status == 401
    assert me(service, service.key).json()["scopes"] == list(SCOPES)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys"),
        ("GET", "/v1/keys/{}"),
        ("DELETE", "/v1/keys/{}"),
        ("POST", "/v1/keys/{}/rotate"),
    ],
)
def test_keys_need_their_scope(service: Service, method: str, path: str) -> None:
    own = service.read_key.split("_")[1]
    answer = service.request(method, path.format(own), key=service.read_key)
    assert slug(answer) == (403, "insufficient-scope")
    assert answer.json()["scope"] == "keys:admin"


def test_a_list_has_every_key_of_the_tenant_once_page_by_page(service: Service) -> None:
    mine = {made(service, service.other_key)["id"] for _ in range(5)}
    whole = all_keys(service, service.other_key)
    ids = [key["id"] for key in whole]
    assert ids == sorted(set(ids))
    assert mine <= set(ids)
    assert all_keys(service, service.other_key, limit=2) == whole
    assert not {key["id"] for key in all_keys(service)} & set(ids)
    assert "secret" not in str(whole)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor=", "before=1", "limit=1&limit=1"],
)
def test_a_bad_query_of_the_list_is_refused(service: Service, query: str) -> None:
    assert slug(service.request("GET", f"/v1/keys?{query}")) == (400, "bad-parameter")


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"name": ""}, "name must be"),
        ({"name": "x" * 129}, "name must be"),
        ({"name": "a\u202eb"}, "name must not"),
        ({"name": None}, "name must be"),
        ({"scopes": []}, "scopes must be"),
        ({"scopes": ["everything"]}, "scopes must be"),
        ({"scopes": [["documents:read"]]}, "scopes must be"),
        ({"scopes": "documents:read"}, "scopes must be"),
        ({"scopes": ["documents:read", "documents:read"]}, "twice"),
        ({"expires_at": "soon"}, "expires_at must be"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "in the future"),
        ({"expires_at": 5}, "expires_at must be"),
        ({"rate_per_second": 0}, "rate_per_second must be"),
        ({"rate_per_second": -1}, "rate_per_second must be"),
        ({"rate_per_second": True}, "rate_per_second must be"),
        ({"rate_per_second": "5"}, "rate_per_second must be"),
        ({"rate_per_second": 1e9}, "rate_per_second must be"),
        ({"key_prefix": ""}, "key_prefix must be"),
        ({"key_prefix": "/a"}, "begins no key"),
        ({"key_prefix": "/"}, "begins no key"),
        ({"key_prefix": "a//b"}, "begins no key"),
        ({"key_prefix": "a//"}, "begins no key"),
        ({"key_prefix": "a/../b"}, "begins no key"),
        ({"key_prefix": "./a"}, "begins no key"),
        ({"key_prefix": "a/.."}, "begins no key"),
        ({"key_prefix": "a\nb"}, "control or direction"),
        ({"key_prefix": "a\u2066b"}, "control or direction"),
        ({"key_prefix": "é" * 513}, "1024 bytes"),
        ({"tenant": "globex"}, "'tenant' is unknown"),
        ({"secret": "x"}, "'secret' is unknown"),
    ],
    ids=str,
)
def test_what_no_key_can_be_is_refused_and_makes_none(
    service: Service, members: Json, told: str
) -> None:
    name = f"refused {uuid.uuid4().hex}"
    answer = asked(service, **{"name": name, **members})
    assert slug(answer) == (422, "invalid-body")
    assert told in answer.json()["detail"]
    assert name not in [key["name"] for key in all_keys(service)]


@pytest.mark.parametrize("body", [{}, {"name": "x"}, {"scopes": ["documents:read"]}, [], "x", 1])
def test_what_is_missing_is_named(service: Service, body: Any) -> None:
    sent = {"Content-Type": "application/json"}
    answer = service.request("POST", "/v1/keys", json.dumps(body), sent)
    assert slug(answer) == (422, "invalid-body")


def test_a_body_that_is_no_json_is_refused(service: Service) -> None:
    sent = {"Content-Type": "application/json"}
    assert slug(service.request("POST", "/v1/keys", b"{", sent)) == (400, "malformed-json")
    twice = b'{"name": "a", "name": "b", "scopes": ["documents:read"]}'
    assert slug(service.request("POST", "/v1/keys", twice, sent)) == (400, "malformed-json")
    assert service.request("POST", "/v1/keys", b"x=1").status == 415
    assert service.request("POST", "/v1/keys", b" " * 20_000, sent).status == 413


@pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "é/ü", "a/...", "a b/", "a" * 1024])
def test_prefixes_that_begin_a_key_are_taken(service: Service, prefix: str) -> None:
    assert made(service, key_prefix=prefix)["key_prefix"] == prefix


# --- nobody gives more than they have -------------------------------------------------------------


def test_a_key_gives_no_scope_that_it_lacks(service: Service) -> None:
    admin = made(service, scopes=ADMIN)["secret"]
    answer = asked(service, admin, scopes=["documents:read", "documents:write"])
    assert slug(answer) == (403, "beyond-own-rights")
    assert answer.json()["beyond"] == ["scopes"]
    assert "documents:write" in answer.json()["detail"]
    assert "insufficient_scope" in answer.headers["www-authenticate"]
    assert made(service, admin, scopes=ADMIN)["scopes"] == ["documents:read", "keys:admin"]


def test_a_confined_key_gives_and_sees_what_is_confined_to_the_same(service: Service) -> None:
    admin = made(service, scopes=ADMIN, key_prefix="team/a/")
    for prefix in (None, "team/", "team/b/", "team/a"):
        members = {} if prefix is None else {"key_prefix": prefix}
        answer = asked(service, admin["secret"], **members)
        assert slug(answer) == (403, "beyond-own-rights"), prefix
        assert answer.json()["beyond"] == ["key_prefix"]
    child = made(service, admin["secret"], key_prefix="team/a/x")
    wide, beside = made(service), made(service, key_prefix="team/b/")
    seen = {key["id"] for key in all_keys(service, admin["secret"])}
    assert {admin["id"], child["id"]} <= seen
    assert not {wide["id"], beside["id"], service.key.split("_")[1]} & seen
    assert shown(service, wide["id"], admin["secret"]).status == 404
    assert shown(service, child["id"], admin["secret"]).status == 200
    for other in (wide, beside):
        path = f"/v1/keys/{other['id']}"
        gone = service.request("DELETE", path, key=admin["secret"])
        assert slug(gone) == (403, "beyond-own-rights")
        assert slug(rotated(service, other["id"], 0, admin["secret"])) == (403, "beyond-own-rights")
        assert me(service, other["secret"]).status == 200


def test_a_slower_key_gives_no_faster_one(service: Service) -> None:
    admin = made(service, scopes=ADMIN, rate_per_second=50)["secret"]
    for members in ({}, {"rate_per_second": 51}, {"rate_per_second": None}):
        answer = asked(service, admin, **members)
        assert slug(answer) == (403, "beyond-own-rights"), members
        assert answer.json()["beyond"] == ["rate_per_second"]
    assert made(service, admin, rate_per_second=50)["rate_per_second"] == 50


def test_a_key_that_ends_gives_none_that_outlives_it(service: Service) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    admin = made(service, scopes=ADMIN, expires_at=end.isoformat())
    for members in ({}, {"expires_at": (end + timedelta(seconds=1)).isoformat()}):
        answer = asked(service, admin["secret"], **members)
        assert slug(answer) == (403, "beyond-own-rights"), members
        assert answer.json()["beyond"] == ["expires_at"]
        assert admin["expires_at"] in answer.json()["detail"]
    assert made(service, admin["secret"], expires_at=admin["expires_at"])


def test_nobody_touches_a_key_that_can_do_more(service: Service) -> None:
    admin = made(service, scopes=ADMIN)["secret"]
    stronger = made(service, scopes=["documents:write"])
    for answer in (
        service.request("DELETE", f"/v1/keys/{stronger['id']}", key=admin),
        rotated(service, stronger["id"], 0, admin),
    ):
        assert slug(answer) == (403, "beyond-own-rights")
    assert shown(service, stronger["id"], admin).json()["expires_at"] is None
    assert me(service, stronger["secret"]).status == 200
    equal = made(service, scopes=["documents:read"])
    assert service.request("DELETE", f"/v1/keys/{equal['id']}", key=admin).status == 204


# --- deleted, rotated -----------------------------------------------------------------------------


def refused_within_ten_seconds(service: Service, secret: str) -> None:
    eventually(lambda: me(service, secret).status == 401, seconds=11)


def test_a_deleted_key_is_gone_and_refused_within_ten_seconds(service: Service) -> None:
    key = made(service)
    assert me(service, key["secret"]).status == 200
    path = f"/v1/keys/{key['id']}"
    answer = service.request("DELETE", path)
    assert (answer.status, answer.body) == (204, b"")
    assert shown(service, key["id"]).status == 404
    assert service.request("DELETE", path).status == 404
    assert slug(rotated(service, key["id"], 0)) == (404, "not-found")
    assert key["id"] not in [one["id"] for one in all_keys(service)]
    refused_within_ten_seconds(service, key["secret"])


def test_a_key_deletes_itself_and_then_makes_no_other(service: Service) -> None:
    """Not even in the seconds for which it is still taken for good."""
    key = made(service, scopes=ADMIN)
    path = f"/v1/keys/{key['id']}"
    assert service.request("DELETE", path, key=key["secret"]).status == 204
    for answer in (
        asked(service, key["secret"]),
        service.request("DELETE", path, key=key["secret"]),
        rotated(service, key["id"], 0, key["secret"]),
    ):
        assert answer.status in (401, 404), answer.body
    assert asked(service, key["secret"]).status == 401


def test_a_rotated_key_goes_on_for_the_overlap_and_the_new_one_has_its_rights(
    service: Service,
) -> None:
    end = "2100-01-01T00:00:00.000Z"
    old = made(
        service, scopes=ADMIN, expires_at=end, rate_per_second=100, key_prefix="a/", name="rotated"
    )
    answer = rotated(service, old["id"], 3)
    assert answer.status == 201
    new = answer.json()
    assert new["id"] != old["id"]
    assert answer.headers["location"] == f"/v1/keys/{new['id']}"
    for member in ("name", "scopes", "expires_at", "rate_per_second", "key_prefix"):
        assert new[member] == old[member], member
    assert me(service, new["secret"]).status == 200
    assert me(service, old["secret"]).status == 200
    left = datetime.fromisoformat(shown(service, old["id"]).json()["expires_at"])
    assert timedelta(0) < left - datetime.now(UTC) <= timedelta(seconds=3)
    # What ends gives nothing that does not, itself least of all.
    assert slug(rotated(service, old["id"], 60, old["secret"])) == (403, "beyond-own-rights")
    eventually(lambda: me(service, old["secret"]).status == 401, seconds=14)
    assert slug(rotated(service, old["id"], 60)) == (409, "key-ended")
    assert me(service, new["secret"]).status == 200


def test_without_overlap_the_old_key_is_refused_within_ten_seconds(service: Service) -> None:
    old = made(service, scopes=ADMIN)
    new = rotated(service, old["id"], 0, old["secret"]).json()
    assert asked(service, old["secret"]).status == 401  # at once where keys are concerned
    assert asked(service, new["secret"]).status == 201
    refused_within_ten_seconds(service, old["secret"])


def test_a_second_rotation_brings_the_end_forward_and_never_back(service: Service) -> None:
    old = made(service)
    first = rotated(service, old["id"], 3600).json()
    second = rotated(service, old["id"], 600_000).json()
    assert first["id"] != second["id"]
    assert (first["expires_at"], second["expires_at"]) == (None, None)
    ends = datetime.fromisoformat(shown(service, old["id"]).json()["expires_at"])
    assert ends - datetime.now(UTC) <= timedelta(hours=1)


@pytest.mark.parametrize("overlap", [-1, 604_801, 1.5, "5", None, True])
def test_an_odd_overlap_is_refused(service: Service, overlap: Any) -> None:
    key = made(service)
    path = f"/v1/keys/{key['id']}/rotate"
    answer = service.request("POST", path, {"overlap_seconds": overlap})
    assert slug(answer) == (422, "invalid-body")
    assert slug(service.request("POST", path, {})) == (422, "invalid-body")
    assert shown(service, key["id"]).json()["expires_at"] is None


def test_many_rotations_at_once_each_make_one_key(service: Service) -> None:
    name = f"raced {uuid.uuid4().hex}"
    old = made(service, name=name)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: rotated(service, old["id"], 60), range(4)))
    assert {answer.status for answer in answers} <= {201, 503}
    new = {answer.json()["id"] for answer in answers if answer.status == 201}
    assert new
    assert {key["id"] for key in all_keys(service) if key["name"] == name} == {old["id"], *new}


# --- once -----------------------------------------------------------------------------------------


def test_a_repeated_creation_shows_no_secret_again(service: Service) -> None:
    sent = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"name": f"once {uuid.uuid4().hex}", "scopes": ["documents:read", "documents:write"]}
    first = service.request("POST", "/v1/keys", body, sent)
    assert first.status == 201
    again = service.request("POST", "/v1/keys", body, sent)
    assert slug(again) == (409, "secret-already-shown")
    assert again.json()["id"] == first.json()["id"]
    assert "retry-after" not in again.headers
    assert first.json()["secret"] not in again.body.decode()
    assert [key["name"] for key in all_keys(service)].count(body["name"]) == 1
    # To one who may not ask for it now, not even that is told.
    weaker = made(service, scopes=ADMIN)["secret"]
    refused = service.request("POST", "/v1/keys", body, sent, key=weaker)
    assert slug(refused) == (403, "beyond-own-rights")
    assert first.json()["id"] not in refused.body.decode()
    other = service.request("POST", "/v1/keys", body | {"name": "another"}, sent)
    assert slug(other) == (422, "idempotency-mismatch")
    theirs = service.request("POST", "/v1/keys", body, sent, key=service.other_key)
    assert theirs.status == 201


def test_a_repeated_rotation_makes_no_further_key(service: Service) -> None:
    name = f"once {uuid.uuid4().hex}"
    old = made(service, name=name, scopes=["documents:write"])
    sent = {"Idempotency_Key": uuid.uuid4().hex}
    new = rotated(service, old["id"], 0, **sent).json()
    again = rotated(service, old["id"], 0, **sent)
    assert slug(again) == (409, "secret-already-shown")
    assert again.json()["id"] == new["id"]
    weaker = made(service, scopes=ADMIN)["secret"]
    assert slug(rotated(service, old["id"], 0, weaker, **sent)) == (403, "beyond-own-rights")
    assert len([key for key in all_keys(service) if key["name"] == name]) == 2


def test_a_repeated_deletion_is_answered_as_the_first(service: Service) -> None:
    key = made(service, scopes=["documents:write"])
    path = f"/v1/keys/{key['id']}"
    sent = {"Idempotency-Key": uuid.uuid4().hex}
    assert service.request("DELETE", path, None, sent).status == 204
    again = service.request("DELETE", path, None, sent)
    assert (again.status, again.headers["idempotency-replayed"]) == (204, "true")
    weaker = made(service, scopes=ADMIN)["secret"]
    assert service.request("DELETE", path, None, sent, key=weaker).status == 403


def test_no_secret_is_in_the_table(service: Service) -> None:
    if not service.environment:
        pytest.skip("a service that somebody else has started")
    sent = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"name": "x", "scopes": ["documents:read"]}
    key = service.request("POST", "/v1/keys", body, sent).json()
    new = rotated(service, key["id"], 0, Idempotency_Key=uuid.uuid4().hex).json()
    table = boto3.client(
        "dynamodb",
        endpoint_url=service.environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    pages = table.get_paginator("scan").paginate(TableName=service.environment["DYNAMODB_TABLE"])
    kept = str(pages.build_full_result())
    for made_key in (key, new):
        assert made_key["id"] in kept
        assert made_key["secret"].split("_", 2)[2] not in kept


# --- use, and rate --------------------------------------------------------------------------------


def test_the_hour_of_the_last_use_is_told(service: Service) -> None:
    key = made(service)
    assert shown(service, key["id"]).json()["last_used_at"] is None
    before = time.time()
    assert me(service, key["secret"]).status == 200
    eventually(lambda: shown(service, key["id"]).json()["last_used_at"] is not None)
    told = shown(service, key["id"]).json()["last_used_at"]
    assert told.endswith(":00:00.000Z")
    assert 0 <= before - datetime.fromisoformat(told).timestamp() < 3601


def test_a_key_with_a_rate_is_held_to_it_and_others_are_not(service: Service) -> None:
    key = made(service, rate_per_second=2)["secret"]
    answers = [me(service, key) for _ in range(6)]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) >= 2
    assert slug(refused[0]) == (429, "rate-limited")
    assert int(refused[0].headers["retry-after"]) >= 1
    assert answers[0].headers["ratelimit-policy"] == '"default";q=2;w=1'
    assert answers[0].headers["ratelimit"].startswith('"default";r=1;')
    assert "ratelimit" not in me(service, service.key).headers
    time.sleep(1.1)
    limits = service.request("GET", "/v1/limits", key=key).json()
    assert (limits["rate_limit_per_second"], limits["rate_limit_burst"]) == (2, 2)


def test_the_command_line_knows_all_that_the_api_gives(service: Service) -> None:
    if not service.environment:
        pytest.skip("a service that somebody else has started")
    arguments = ("--key-prefix", "cli/", "--rate-per-second", "3", "--scope", "documents:read")
    told = command(service.environment, "keys", "create", "--tenant", "acme", "--json", *arguments)
    [key] = json.loads(told)
    seen = shown(service, key["id"]).json()
    assert (seen["key_prefix"], seen["rate_per_second"], seen["created_by"]) == ("cli/", 3, None)
    told = command(
        service.environment, "keys", "rotate", key["id"], "--overlap-seconds", "0", "--json"
    )
    [new] = json.loads(told)
    assert (new["key_prefix"], new["rate_per_second"]) == ("cli/", 3)
    assert me(service, new["key"]).json()["key_prefix"] == "cli/"
    assert me(service, key["key"]).status == 401


def test_another_tenants_keys_do_not_exist(service: Service) -> None:
    theirs = made(service, service.other_key)
    never = "0" * 16
    for method, suffix, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/rotate", {"overlap_seconds": 0}),
    ):
        real = service.request(method, f"/v1/keys/{theirs['id']}{suffix}", body)
        unreal = service.request(method, f"/v1/keys/{never}{suffix}", body)
        assert real.status == unreal.status == 404
        assert real.json() | {"request_id": ""} == unreal.json() | {"request_id": ""}
    assert me(service, theirs["secret"]).status == 200


def test_a_process_wide_rate_is_not_given_away(
    service: Service, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A rate of one's own is more than what everybody has, unless one has it, too."""
    if not service.environment:
        pytest.skip("a service that somebody else has started")
    log = tmp_path_factory.mktemp("rates") / "log"
    engine = request.getfixturevalue("ministack")
    with running(
        engine, "rates", log, RATE_LIMIT_PER_SECOND="20", RATE_LIMIT_BURST="100"
    ) as limited:
        for rate, status in ((None, 201), (20, 201), (21, 403)):
            assert asked(limited, rate_per_second=rate).status == status, rate
        fast = new_key(limited.environment, "acme")
        assert me(limited, fast).headers["ratelimit-policy"] == '"default";q=100;w=5'
        slow = made(limited, rate_per_second=5)["secret"]
        assert me(limited, slow).headers["ratelimit-policy"] == '"default";q=5;w=1'
