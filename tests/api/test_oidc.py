"""Tokens beside API keys, against a service and an issuer that are really there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.oidc.service import recorded_as
from tests.support.engines import Engine
from tests.support.issuer import Issuer, SigningKey, issuing
from tests.support.service import ROOT, Answer, Service, eventually, running, start, variables

Json = dict[str, Any]


@dataclass
class Trusting:
    service: Service
    issuer: Issuer
    log: Path

    def me(self, token: str) -> Answer:
        return self.service.request("GET", "/v1/me", key=token)

    def refreshes(self, result: str) -> float:
        return self.service.metric("strongroom_oidc_refreshes_total", result=result)


Keys = tuple[str, str, str]


@pytest.fixture(scope="module")
def keys(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """API keys in a table that all of these services share."""
    with running(ministack, "oidc", tmp_path_factory.mktemp("oidc") / "log") as service:
        return service.key, service.read_key, service.other_key


@contextmanager
def trusted(
    engine: Engine, keys: Keys, folder: Path, mode: str = "well", **extra: str
) -> Iterator[Trusting]:
    """A service that trusts an issuer, which answers in this way."""
    log = folder / "log"
    with issuing() as issuer:
        issuer.mode = mode
        issuers = json.dumps([issuer.setting()])
        environment = variables(engine, "oidc", OIDC_ISSUERS=issuers, **extra)
        with start(environment, keys, log) as service:
            yield Trusting(service, issuer, log)
    assert "Traceback" not in log.read_text()


@pytest.fixture
def trusting(ministack: Engine, keys: Keys, tmp_path: Path) -> Iterator[Trusting]:
    with trusted(ministack, keys, tmp_path) as found:
        yield found


def slug(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["type"].partition("#")[2]


def test_a_token_does_what_its_scopes_say_and_keys_go_on(trusting: Trusting) -> None:
    service, issuer = trusting.service, trusting.issuer
    ends = int(time.time()) + 500
    subject = 'Jürgen "\n{}'
    token = issuer.token(sub=subject, exp=ends)
    assert trusting.me(token).json() == {
        "tenant": "acme",
        "subject": subject,
        "scopes": ["documents:read", "documents:write"],
        "expires_at": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(ends)),
        "key_prefix": None,
    }
    document = service.create(b"by a token", key=token)
    who = recorded_as(issuer.url, subject)
    assert document["created_by"] == who
    assert service.read(document["id"]).json() == document  # by a key of the same tenant
    assert service.read(document["id"], key=token).json() == document
    globex = issuer.token(org="Globex")
    assert service.read(document["id"], key=globex).status == 404
    reader = issuer.token(scope="documents:read")
    path = f"/v1/documents/{document['id']}"
    assert slug(service.request("DELETE", path, key=reader)) == (403, "insufficient-scope")
    assert slug(service.request("GET", "/v1/keys", key=token)) == (403, "insufficient-scope")
    # The log names the subject in a form that breaks no line.
    eventually(lambda: f'"key":"{who}"' in trusting.log.read_text())
    assert "Jürgen" not in trusting.log.read_text()
    lines = trusting.log.read_text().splitlines()
    assert [line for line in lines if who in line and json.loads(line)["tenant"] != "acme"] == []


def test_a_token_that_is_good_but_names_no_tenant_is_403(trusting: Trusting) -> None:
    answer = trusting.me(trusting.issuer.token(org="Evil Corp."))
    assert slug(answer) == (403, "no-tenant")
    assert "Evil Corp." in answer.json()["detail"]
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_what_is_wrong_with_a_token_is_401(trusting: Trusting) -> None:
    issuer, now = trusting.issuer, int(time.time())
    wrong = [
        issuer.token(aud="another"),
        issuer.token(iss="https://evil.example.com"),
        issuer.token(exp=now - 31),
        issuer.token(nbf=now + 60),
        issuer.token(exp=None),
        issuer.token(SigningKey("first")),
        issuer.token(SigningKey("first", "RS256")),
        "eyJhbGciOiJub25lIn0." + issuer.token().split(".")[1] + ".",
        "a.b.c",
        "..",
    ]
    for token in wrong:
        answer = trusting.me(token)
        assert slug(answer) == (401, "unauthorized"), token
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert trusting.me(issuer.token(exp=now - 20)).status == 200
    assert issuer.asked["/keys"] == 1


def test_a_storm_of_unknown_keys_asks_once_a_minute_and_slows_nobody(trusting: Trusting) -> None:
    issuer = trusting.issuer
    good = issuer.token()
    assert trusting.me(good).status == 200
    asked = issuer.asked["/keys"]
    strangers = [issuer.token(SigningKey(f"storm-{number}")) for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(trusting.me, strangers * 10))
    assert {slug(answer) for answer in answers} == {(401, "unauthorized")}
    assert issuer.asked["/keys"] == asked == 1
    assert trusting.me(good).status == 200


def test_an_issuer_that_comes_back_is_asked_soon(
    ministack: Engine, keys: Keys, tmp_path: Path
) -> None:
    """As long as there is no key at all, every 5 s; else nobody could get in for a minute."""
    with trusted(ministack, keys, tmp_path, "away") as trusting:
        issuer, service = trusting.issuer, trusting.service
        answer = trusting.me(issuer.token())
        assert slug(answer) == (503, "issuer-unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert service.request("GET", "/v1/me").status == 200  # by its key
        issuer.keys = [SigningKey("rotated", "EdDSA")]
        issuer.mode = "well"
        eventually(lambda: trusting.me(issuer.token()).status == 200, seconds=12)
        assert trusting.refreshes("refused") >= 1
        assert trusting.refreshes("ok") == 1


@pytest.mark.parametrize("mode", ["slow", "huge", "endless", "odd", "redirecting"])
def test_an_issuer_that_misbehaves_slows_no_caller(
    ministack: Engine, keys: Keys, tmp_path: Path, mode: str
) -> None:
    with trusted(ministack, keys, tmp_path, mode) as trusting:
        service = trusting.service
        tokens = [trusting.issuer.token(sub=str(number)) for number in range(40)]
        with ThreadPoolExecutor(20) as pool:
            asking = [pool.submit(trusting.me, token) for token in tokens]
            taken = []
            for _ in range(20):
                begun = time.monotonic()
                assert service.request("GET", "/v1/me").status == 200
                taken.append(time.monotonic() - begun)
            answers = [one.result() for one in asking]
        assert {slug(answer) for answer in answers} == {(503, "issuer-unavailable")}
        # Nobody has waited for the issuer, whose answer would have taken 5 s or more.
        assert sorted(taken)[10] < 0.5
        assert service.metric("process_resident_memory_bytes") < 350 * 1024 * 1024


def test_known_keys_go_on_while_the_issuer_is_away(trusting: Trusting) -> None:
    issuer = trusting.issuer
    assert trusting.me(issuer.token()).status == 200
    issuer.mode = "away"
    for number in range(5):
        assert trusting.me(issuer.token(sub=str(number))).status == 200


def test_a_token_gives_keys_that_end_with_it_and_no_others(trusting: Trusting) -> None:
    service, issuer = trusting.service, trusting.issuer
    ends = int(time.time()) + 500
    token = issuer.token(scope="keys:admin documents:read", exp=ends, sub="admin")
    body: Json = {"name": "a token's", "scopes": ["documents:read"]}
    answer = service.request("POST", "/v1/keys", body, key=token)
    assert slug(answer) == (403, "beyond-own-rights")
    assert answer.json()["beyond"] == ["expires_at"]
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
    made = service.request("POST", "/v1/keys", body | {"expires_at": end}, key=token)
    assert made.status == 201
    assert made.json()["created_by"] == recorded_as(issuer.url, "admin")
    shown = service.request("GET", f"/v1/keys/{made.json()['id']}").json()
    assert shown["created_by"] == recorded_as(issuer.url, "admin")
    path = f"/v1/keys/{made.json()['id']}"
    assert service.request("DELETE", path, key=token).status == 204


def test_each_subject_has_a_rate_of_its_own(ministack: Engine, keys: Keys, tmp_path: Path) -> None:
    limits = {"RATE_LIMIT_PER_SECOND": "0.01", "RATE_LIMIT_BURST": "3"}
    with trusted(ministack, keys, tmp_path, "well", **limits) as trusting:
        statuses = [
            trusting.me(trusting.issuer.token(sub=subject, jti=str(number))).status
            for subject in ("one", "another")
            for number in range(5)
        ]
        assert statuses == [200, 200, 200, 429, 429] * 2


def test_the_limits_of_tokens_are_told(trusting: Trusting) -> None:
    limits = trusting.service.request("GET", "/v1/limits").json()
    assert limits["token_clock_skew_seconds"] == 30
    assert limits["token_new_signing_key_max_seconds"] == 60


def test_a_bad_setting_ends_the_start_with_one_message(ministack: Engine) -> None:
    for value in ("x", '[{"issuer": "http://id.example.com", "secret": "hush"}]'):
        done = subprocess.run(
            [sys.executable, "-m", "app", "serve"],
            cwd=ROOT,
            env=variables(ministack, "unused", OIDC_ISSUERS=value),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert "OIDC_ISSUERS" in done.stderr
        assert "Traceback" not in done.stderr
        assert "hush" not in done.stderr
