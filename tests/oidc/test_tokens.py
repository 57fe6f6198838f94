"""Tokens: which are good, whose they are, and what asking their issuer costs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest

from app.oidc.http import HttpFetch
from app.oidc.keyset import KeySet
from app.oidc.ports import FetchFailed
from app.oidc.service import TokenAuthenticator, recorded_as
from app.problems import IssuerUnavailable, NoTenant, Problem, Unauthorized
from app.records import Caller, Tenant
from app.settings import OidcIssuer, Settings
from tests.support.issuer import AUDIENCE, Issuer, SigningKey, issuing

URL = "https://id.example.com/realm"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Network:
    """`Fetch` without one. `failing` says how; `held` keeps answers back."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.asked: Counter[str] = Counter()
        self.failing: str | None = None
        self.held: asyncio.Event | None = None

    async def __call__(self, url: str, limit: int) -> bytes:
        path = url.removeprefix(URL)
        self.asked[path] += 1
        if self.held is not None:
            await self.held.wait()
        if self.failing is not None:
            raise FetchFailed(self.failing, "as the test wants")
        body = self.issuer.answer(path)
        assert len(body) <= limit
        return body


async def no_key(authorization: str | None) -> Caller:
    raise Unauthorized("no API key")


class World:
    def __init__(self, **changes: Any) -> None:
        self.issuer = Issuer()
        self.issuer.url = URL
        self.network = Network(self.issuer)
        self.clock = Clock()
        self.told: list[str] = []
        entry = OidcIssuer(**self.issuer.setting(**changes))
        self.tokens = TokenAuthenticator(
            [entry], self.network, no_key, self.told.append, clock=self.clock
        )

    async def ask(self, token: str) -> Caller:
        return await self.tokens.authenticate(f"Bearer {token}")

    async def refused(self, token: str, kind: type[Problem] = Unauthorized) -> str:
        with pytest.raises(kind) as refusal:
            await self.ask(token)
        assert refusal.value.status == kind.status
        return refusal.value.detail


@pytest.fixture
def world() -> World:
    return World()


async def test_a_token_names_its_tenant_scopes_and_subject(world: World) -> None:
    ends = int(time.time()) + 77
    caller = await world.ask(world.issuer.token(exp=ends))
    digest = hashlib.sha256(f"{URL}\nsomebody".encode()).hexdigest()[:16]
    assert caller == Caller(
        Tenant("acme"),
        f"oidc:{digest}",
        frozenset({"documents:read", "documents:write"}),
        expires_at=ends * 1000,
        subject="somebody",
    )
    assert recorded_as(URL, "somebody") == f"oidc:{digest}"
    assert recorded_as(URL, "somebody else") != caller.key_id
    assert recorded_as(URL + "/other", "somebody") != caller.key_id


async def test_what_is_no_token_is_left_to_keys(world: World) -> None:
    for header in (None, "", "Bearer sr_x", "Bearer a.b", "Basic a.b.c", "Bearer a.b.c.d.e"):
        with pytest.raises(Unauthorized, match="no API key"):
            await world.tokens.authenticate(header)
    assert not world.network.asked


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_each_algorithm_is_verified(world: World, algorithm: str) -> None:
    world.issuer.keys = [SigningKey("k", algorithm)]
    token = world.issuer.token()
    assert (await world.ask(token)).tenant == Tenant("acme")
    # Another key of the same name signs nothing.
    forged = world.issuer.token(SigningKey("k", algorithm))
    assert "signature" in await world.refused(forged)
    head, payload, signature = token.split(".")
    spoilt = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    await world.refused(f"{head}.{payload}.{spoilt}")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    other = _encoded(claims | {"org": "Globex"})
    await world.refused(f"{head}.{other}.{signature}")


def _encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _hmac_token(issuer: Issuer, secret: bytes, algorithm: str = "HS256") -> str:
    """A token that is signed by what everybody can read, the public key, as if it were a secret."""
    payload = issuer.token().split(".")[1]
    signed = _encoded({"alg": algorithm, "kid": "first", "typ": "JWT"}) + "." + payload
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return signed + "." + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def test_none_and_hmac_are_refused_whatever_is_set(world: World) -> None:
    from cryptography.hazmat.primitives import serialization

    public = world.issuer.keys[0].private.public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for secret in (pem, json.dumps(world.issuer.keys[0].jwk).encode(), b""):
        assert "alg" in await world.refused(_hmac_token(world.issuer, secret))
    payload = world.issuer.token().split(".")[1]
    for algorithm in ("none", "None", "NONE", "", "HS512", "PS256", "ES384", None, 5, ["ES256"]):
        head = _encoded({"alg": algorithm, "kid": "first"})
        assert "alg" in await world.refused(f"{head}.{payload}.")
    assert not world.network.asked
    with pytest.raises(ValueError):
        OidcIssuer(**world.issuer.setting(algorithms=["HS256"]))


async def test_a_symmetric_key_among_an_issuers_keys_is_none(world: World) -> None:
    secret = base64.urlsafe_b64encode(b"s" * 32).decode()
    odd = SigningKey("first")
    odd.jwk = {"kty": "oct", "k": secret, "kid": "first", "alg": "HS256"}
    world.issuer.keys = [odd, SigningKey("other")]
    await world.refused(_hmac_token(world.issuer, b"s" * 32))
    assert (await world.ask(world.issuer.token(world.issuer.keys[1]))).subject


async def test_a_key_serves_its_own_algorithm_alone(world: World) -> None:
    world.issuer.keys = [SigningKey("first", "RS256"), SigningKey("second", "ES256")]
    await world.ask(world.issuer.token())
    confused = world.issuer.token(world.issuer.keys[1], {"kid": "first"})
    assert "not for its algorithm" in await world.refused(confused)
    assert world.network.asked["/keys"] == 1


async def test_an_algorithm_that_is_not_set_is_refused() -> None:
    world = World(algorithms=["RS256"])
    assert "alg" in await world.refused(world.issuer.token())


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"aud": "another"}, "aud"),
        ({"aud": ["another", "third"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": 5}, "aud"),
        ({"iss": URL + "/"}, "does not trust"),
        ({"iss": "https://evil.example.com"}, "does not trust"),
        ({"iss": None}, "does not trust"),
        ({"iss": [URL]}, "does not trust"),
        ({"exp": None}, "lacks the claim exp"),
        ({"exp": "soon"}, "not valid"),
        ({"exp": 10**400}, ""),
        ({"sub": None}, "lacks the claim sub"),
        ({"sub": 5}, "not valid"),
        ({"sub": ""}, "empty"),
        ({"nbf": "soon"}, "not valid"),
    ],
    ids=str,
)
async def test_wrong_claims_are_refused(world: World, claims: dict[str, Any], told: str) -> None:
    assert told in await world.refused(_signed(world.issuer, claims))


def _signed(issuer: Issuer, claims: dict[str, Any]) -> str:
    """Signed by hand: the library refuses to make some of these."""
    signing = issuer.keys[0]
    said = json.loads(base64.urlsafe_b64decode(issuer.token().split(".")[1] + "=="))
    said = {name: value for name, value in {**said, **claims}.items() if value is not None}
    signed = _encoded({"alg": "ES256", "kid": signing.kid}) + "." + _encoded(said)
    from jwt.algorithms import ECAlgorithm

    signature = ECAlgorithm(ECAlgorithm.SHA256).sign(signed.encode(), signing.private)
    return signed + "." + base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"exp": -25}, True),
        ({"exp": -35}, False),
        ({"nbf": 25}, True),
        ({"nbf": 40}, False),
        ({"iat": 500}, True),
    ],
    ids=str,
)
async def test_clocks_may_differ_by_thirty_seconds(
    world: World, claims: dict[str, int], good: bool
) -> None:
    now = int(time.time())
    moved: dict[str, Any] = {name: now + value for name, value in claims.items()}
    token = world.issuer.token(**moved)
    if good:
        await world.ask(token)
    else:
        await world.refused(token)


async def test_a_token_is_refused_once_it_has_ended_though_it_was_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = world.issuer.token(exp=int(time.time()) + 100)
    caller = await world.ask(token)
    assert await world.ask(token) is caller
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 131)
    assert not world.tokens._still_good(world.tokens._verified[f"Bearer {token}"])


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
async def test_types_of_tokens_that_are_meant(world: World, kind: str | None) -> None:
    await world.ask(world.issuer.token(head={"typ": kind}))


@pytest.mark.parametrize(
    "head", [{"typ": "logout+jwt"}, {"typ": "dpop+jwt"}, {"crit": ["exp"], "exp": 1}], ids=str
)
async def test_other_kinds_of_tokens_are_refused(world: World, head: dict[str, Any]) -> None:
    await world.refused(world.issuer.token(head=head))


@pytest.mark.parametrize("part", ["", "e30", "W10", "bnVsbA", "x" * 5001, _encoded("[" * 5000)])
async def test_nonsense_is_refused(world: World, part: str) -> None:
    head, payload, signature = world.issuer.token().split(".")
    for token in (f"{part}.{payload}.{signature}", f"{head}.{part}.{signature}"):
        with pytest.raises(Unauthorized):
            await world.ask(token)
    deep = base64.urlsafe_b64encode(b'{"alg":"ES256","a":' + b"[" * 980 + b"]" * 980 + b"}")
    await world.refused(f"{deep.rstrip(b'=').decode()}.{payload}.{signature}")


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"org": "Evil Corp."}, "'Evil Corp.', which is no tenant"),
        ({"org": "acme"}, "no tenant"),
        ({"org": None}, "lacks the claim 'org'"),
        ({"org": 5}, "no tenant"),
        ({"org": {"Acme Inc.": 1}}, "no tenant"),
        ({"org": ["Acme Inc.", "Globex"]}, "more than one"),
        ({"org": []}, "no tenant"),
        ({"org": "é\n" * 100}, "no tenant"),
    ],
    ids=str,
)
async def test_a_claim_that_names_no_tenant_is_403(
    world: World, claims: dict[str, Any], told: str
) -> None:
    detail = await world.refused(world.issuer.token(**claims), NoTenant)
    assert told in detail
    assert detail.isascii()
    assert len(detail) < 200


async def test_one_of_several_groups_may_name_the_tenant(world: World) -> None:
    caller = await world.ask(world.issuer.token(org=["staff", "Globex"]))
    assert caller.tenant == Tenant("globex")


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ("documents:read openid", {"documents:read"}),
        (["documents:read", "keys:admin", "x", 5], {"documents:read", "keys:admin"}),
        ("", set()),
        (None, set()),
        (5, set()),
        ("documents:READ documents", set()),
    ],
)
async def test_scopes_are_those_that_there_are(world: World, scope: Any, found: set[str]) -> None:
    assert (await world.ask(world.issuer.token(scope=scope))).scopes == found


# --- the issuer's keys ----------------------------------------------------------------------------


async def test_a_hundred_at_once_ask_the_issuer_once(world: World) -> None:
    world.network.held = asyncio.Event()
    token = world.issuer.token()
    asking = [asyncio.create_task(world.ask(token)) for _ in range(100)]
    await asyncio.sleep(0.01)
    world.network.held.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(answer, Caller) for answer in answers) == 32
    # Those who would take too many places while the issuer is slow are sent away, and come again.
    others = [answer for answer in answers if not isinstance(answer, Caller)]
    assert all(isinstance(answer, IssuerUnavailable) for answer in others)
    assert world.network.asked == {"/.well-known/openid-configuration": 1, "/keys": 1}
    await world.ask(token)
    assert world.network.asked["/keys"] == 1


async def test_a_new_key_is_looked_for_once_a_minute(world: World) -> None:
    await world.ask(world.issuer.token())
    fresh = SigningKey("second")
    world.issuer.keys.append(fresh)
    for _ in range(50):
        assert "does not publish" in await world.refused(world.issuer.token(fresh))
    assert world.network.asked["/keys"] == 1
    world.clock.now += 60
    await world.ask(world.issuer.token(fresh))
    for number in range(50):
        await world.refused(world.issuer.token(SigningKey(f"storm {number}")))
    assert world.network.asked["/keys"] == 2
    world.clock.now += 60
    for number in range(50):
        await world.refused(world.issuer.token(SigningKey(f"storm {number}")))
    assert world.network.asked == {"/.well-known/openid-configuration": 1, "/keys": 3}


@pytest.mark.parametrize("failing", ["unreachable", "slow", "too large", "refused", "malformed"])
async def test_while_the_issuer_is_away_known_keys_go_on_and_others_are_503(
    world: World, failing: str
) -> None:
    await world.ask(world.issuer.token())
    world.network.failing = failing
    world.clock.now += 60
    fresh = SigningKey("second")
    await world.refused(world.issuer.token(fresh), IssuerUnavailable)
    await world.ask(world.issuer.token(sub="another"))
    for _ in range(10):
        await world.refused(world.issuer.token(fresh), IssuerUnavailable)
    assert world.network.asked["/keys"] == 2  # a failure is no reason to ask more often
    assert world.told == ["ok", failing]
    world.network.failing = None
    world.issuer.keys.append(fresh)
    world.clock.now += 60
    await world.ask(world.issuer.token(fresh))


async def test_without_any_key_a_token_is_503_and_the_issuer_is_asked_again_soon(
    world: World,
) -> None:
    world.network.failing = "unreachable"
    token = world.issuer.token()
    for _ in range(5):
        await world.refused(token, IssuerUnavailable)
    assert world.network.asked.total() == 1
    world.network.failing = None
    world.clock.now += 5
    await world.ask(token)


async def test_a_fault_of_ours_is_503_and_does_not_end_the_refreshing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = world.tokens._keys[URL]

    async def broken() -> Any:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(keys, "_current", broken)
        watching = asyncio.create_task(world.tokens.watch())
        await world.refused(world.issuer.token(), IssuerUnavailable)
        assert world.told == ["failed"]
        assert not watching.done()
    world.clock.now += 5
    await world.ask(world.issuer.token())
    watching.cancel()


async def test_nobody_waits_long_for_a_slow_issuer(world: World) -> None:
    await world.ask(world.issuer.token())
    world.network.held = asyncio.Event()
    world.clock.now += 60
    begun = time.monotonic()
    stranger = world.issuer.token(SigningKey("second"))
    await asyncio.gather(*(world.refused(stranger, IssuerUnavailable) for _ in range(40)))
    assert 1.5 < time.monotonic() - begun < 4
    await world.ask(world.issuer.token(sub="another"))
    world.network.held.set()


async def test_a_withdrawn_key_verifies_nothing_any_more(world: World) -> None:
    old = world.issuer.keys[0]
    token = world.issuer.token(old)
    await world.ask(token)
    world.issuer.keys = [SigningKey("second")]
    world.clock.now += 60
    await world.ask(world.issuer.token())
    await world.refused(token)


async def test_another_key_of_the_same_name_takes_the_place_of_the_old_one(world: World) -> None:
    token = world.issuer.token()
    await world.ask(token)
    world.issuer.keys = [SigningKey("first"), SigningKey("second")]
    world.clock.now += 60
    await world.ask(world.issuer.token(world.issuer.keys[1]))
    await world.refused(token)


async def test_keys_are_refreshed_without_anybody_asking(world: World) -> None:
    keys = world.tokens._keys[URL]
    watching = asyncio.create_task(world.tokens.watch())
    await asyncio.sleep(0.01)
    assert keys.find("first", "ES256")
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert world.network.asked["/keys"] == 1
    await world.ask(world.issuer.token())
    assert world.network.asked["/keys"] == 1


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": URL + "/"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "http://id.example.com/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://127.0.0.1/keys"},
    ],
    ids=str,
)
async def test_a_discovery_document_that_is_anothers_or_not_safe_is_not_followed(
    world: World, discovery: dict[str, Any]
) -> None:
    world.issuer.discovery = discovery
    await world.refused(world.issuer.token(), IssuerUnavailable)
    assert world.told == ["malformed"]
    assert world.network.asked == {"/.well-known/openid-configuration": 1}


@pytest.mark.parametrize(
    "jwk",
    [
        {"use": "enc"},
        {"alg": "ES384"},
        {"kty": "oct"},
        {"crv": "P-384"},
        {"x": "AA"},
        {"x": 5},
        {"key_ops": ["sign"]},
        {"kid": 5},
    ],
    ids=str,
)
async def test_keys_that_are_not_for_signatures_of_ours_are_passed_over(
    world: World, jwk: dict[str, Any]
) -> None:
    odd = SigningKey("odd")
    odd.jwk |= jwk
    world.issuer.keys = [odd, *world.issuer.keys]
    await world.ask(world.issuer.token(world.issuer.keys[1]))
    await world.refused(world.issuer.token(odd))


async def test_a_set_of_very_many_keys_is_not_read(world: World) -> None:
    world.issuer.keys *= 101
    await world.refused(world.issuer.token(), IssuerUnavailable)


async def test_a_token_without_kid_is_verified_by_the_only_key_there_is(world: World) -> None:
    await world.ask(world.issuer.token(head={"kid": None}))
    world.issuer.keys.append(SigningKey("second"))
    world.clock.now += 60
    await world.ask(world.issuer.token(world.issuer.keys[1]))
    await world.refused(world.issuer.token(head={"kid": None}))


async def test_verifying_takes_less_than_a_millisecond(world: World) -> None:
    """On the loop, where every other request waits for it."""
    for algorithm in ("RS256", "ES256", "EdDSA"):
        world = World()
        world.issuer.keys = [SigningKey("k", algorithm)]
        tokens = [world.issuer.token(jti=str(number)) for number in range(21)]
        await world.ask(tokens[0])
        taken = []
        for token in tokens[1:]:
            begun = time.process_time()
            await world.ask(token)
            taken.append(time.process_time() - begun)
        assert min(taken) < 0.001, algorithm


# --- what is really asked -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "result"),
    [
        ("away", "refused"),
        ("redirecting", "refused"),
        ("huge", "too large"),
        ("endless", "too large"),
        ("slow", "slow"),
    ],
)
async def test_an_issuer_is_read_within_bounds(mode: str, result: str) -> None:
    fetch = HttpFetch()
    with issuing() as issuer:
        issuer.mode = mode
        begun = time.monotonic()
        with pytest.raises(FetchFailed) as failure:
            await fetch(issuer.url + "/keys", 256 * 1024)
        assert failure.value.result == result
        assert time.monotonic() - begun < 7
        assert issuer.sent < 16_000_000  # it was not taken further than what lies in buffers
        issuer.mode = "well"
        assert b"keys" in await fetch(issuer.url + "/keys", 256 * 1024)
    with pytest.raises(FetchFailed) as failure:
        await fetch(issuer.url + "/keys", 256 * 1024)
    assert failure.value.result == "unreachable"


async def test_a_key_set_that_is_closed_stops_asking() -> None:
    issuer = Issuer()
    issuer.url = URL
    network = Network(issuer)
    network.held = asyncio.Event()
    keys = KeySet(URL, network, lambda result: None)
    asking = asyncio.create_task(keys.look_for("first", "ES256"))
    await asyncio.sleep(0.01)
    await keys.close()
    with pytest.raises(asyncio.CancelledError):
        await asking


# --- settings -------------------------------------------------------------------------------------


def _settings(value: Any) -> Settings:
    text = value if isinstance(value, str) else json.dumps(value)
    return Settings(dynamodb_table="table", s3_bucket="bucket", oidc_issuers=text)


def _entry(**changes: Any) -> dict[str, Any]:
    issuer = Issuer()
    issuer.url = URL
    return issuer.setting(**changes)


def test_issuers_are_read_from_json() -> None:
    [entry] = _settings([_entry()]).oidc_issuers
    assert (entry.issuer, entry.audience) == (URL, AUDIENCE)
    assert entry.tenants == {"Acme Inc.": "acme", "Globex": "globex"}
    assert set(entry.algorithms) == {"RS256", "ES256", "EdDSA"}
    assert _settings("[]").oidc_issuers == ()
    two = [_entry(), _entry(audience="another")]
    assert len(_settings(two).oidc_issuers) == 2
    assert _settings([_entry(issuer="http://127.0.0.1:8080")])


@pytest.mark.parametrize(
    "value",
    [
        "x",
        "{}",
        "[5]",
        [_entry(issuer="http://id.example.com")],
        [_entry(issuer="id.example.com")],
        [_entry(issuer="https://user:secret@id.example.com")],
        [_entry(issuer="https://id.example.com/?a=b")],
        [_entry(issuer="https://id.example.com:port")],
        [_entry(issuer="https://")],
        [_entry(algorithms=["none"])],
        [_entry(algorithms=["HS256"])],
        [_entry(algorithms=[])],
        [_entry(tenants={})],
        [_entry(tenants={"a": "Not A Tenant"})],
        [_entry(tenants={"a": 5})],
        [_entry(audience="")],
        [_entry(further=1)],
        [{"issuer": URL}],
        [_entry(), _entry()],
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_meant_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        _settings(value)


def test_without_issuers_the_library_is_not_loaded() -> None:
    code = (
        "import sys; import app.bootstrap; "
        "sys.exit(str([n for n in sys.modules if n == 'jwt' or n.startswith('app.oidc.k')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
