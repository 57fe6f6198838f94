"""Credentials are found, kept fresh off the event loop, and kept as long as they are good."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.credentials
import pytest
from botocore.credentials import CredentialProvider, CredentialResolver, RefreshableCredentials
from botocore.session import Session

from app.aws.credentials import CredentialSource, open_session
from app.aws.sigv4 import Credentials
from app.storage.errors import Unavailable

Load = Callable[[], botocore.credentials.Credentials | None]


@pytest.fixture(autouse=True)
def no_aws_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the machine's variables and files nor its instance metadata are seen."""
    for name in [*os.environ]:
        if name.startswith(("AWS_", "BOTO")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BOTO_CONFIG", str(tmp_path / "boto"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


class FakeProvider(CredentialProvider):
    """Stands where the chain stands, and notes the threads it was asked from."""

    METHOD = "fake"

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._load = load
        self.threads: list[int] = []

    def load(self) -> botocore.credentials.Credentials | None:
        self.threads.append(threading.get_ident())
        return self._load()

    def open(self, region: str | None) -> Session:
        session = Session()
        session.register_component("credential_provider", CredentialResolver([self]))
        return session


def lasting(seconds: float, name: str = "AK") -> RefreshableCredentials:
    """A set that expires; its own refresh must not change it."""
    expiry = datetime.now(UTC) + timedelta(seconds=seconds)
    same = {
        "access_key": name,
        "secret_key": "secret",
        "token": "token",
        "expiry_time": expiry.isoformat(),
    }
    return RefreshableCredentials.create_from_metadata(same, lambda: same, "fake")


class Rotation:
    """Gives out sets AK1, AK2, ... of so many seconds each; can fail, and can be slow."""

    def __init__(self, seconds: float, slow: float = 0) -> None:
        self.seconds, self.slow, self.given = seconds, slow, 0
        self.failure: Exception | None = None

    def __call__(self) -> RefreshableCredentials:
        time.sleep(self.slow)
        if self.failure is not None:
            raise self.failure
        self.given += 1
        return lasting(self.seconds, f"AK{self.given}")


@asynccontextmanager
async def running(source: CredentialSource) -> AsyncIterator[CredentialSource]:
    await source.start()
    try:
        yield source
    finally:
        await source.stop()


async def becomes(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def others() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t0ken")
    async with running(CredentialSource()) as source:
        assert source.current() == Credentials("AKENV", "s3cret", "t0ken", None)
        assert source.current() is source.current()


async def test_the_profile_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key = one\n"
        "[staging]\naws_access_key_id = AKSTAGING\naws_secret_access_key = two\n"
    )
    async with running(CredentialSource()) as source:
        assert source.current().access_key == "AKDEFAULT"
    monkeypatch.setenv("AWS_PROFILE", "staging")
    async with running(CredentialSource()) as source:
        assert source.current() == Credentials("AKSTAGING", "two", None, None)


async def test_what_never_expires_is_not_refreshed() -> None:
    provider = FakeProvider(lambda: botocore.credentials.Credentials("AK", "secret"))
    async with running(CredentialSource(new_session=provider.open)) as source:
        await becomes(lambda: "aws-credentials" not in others())
        assert source.current().access_key == "AK"
        assert len(provider.threads) == 1


async def test_new_ones_are_there_before_the_old_expire() -> None:
    provider = FakeProvider(Rotation(seconds=1.2))
    seen: dict[str, float] = {}
    async with running(CredentialSource(new_session=provider.open)) as source:
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            held = source.current()
            assert held.expires_at is not None
            seen[held.access_key] = held.expires_at - time.time()
            await asyncio.sleep(0.01)
    *replaced, _ = seen.values()
    assert len(replaced) >= 2
    assert min(replaced) > 0.2


async def test_the_chain_is_asked_in_a_thread_and_the_loop_goes_on() -> None:
    provider = FakeProvider(Rotation(seconds=1.5, slow=0.3))
    gaps: list[float] = []

    async def beat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - before)

    heart = asyncio.create_task(beat())
    async with running(CredentialSource(new_session=provider.open)):
        await becomes(lambda: len(provider.threads) >= 3)
    heart.cancel()
    assert threading.get_ident() not in provider.threads
    assert max(gaps) < 0.25


async def test_a_failed_refresh_keeps_the_old_until_they_expire() -> None:
    rotation = Rotation(seconds=1.5)
    provider = FakeProvider(rotation)
    source = CredentialSource(new_session=provider.open, retry_seconds=0.2)
    async with running(source):
        rotation.failure = OSError("metadata is away")
        held = source.current()
        assert held.expires_at is not None
        await becomes(lambda: len(provider.threads) >= 3)
        assert source.current() is held

        await asyncio.sleep(held.expires_at - time.time() + 0.01)
        with pytest.raises(Unavailable, match=r"expired.*OSError"):
            source.current()

        rotation.failure = None
        await becomes(lambda: usable(source))
        assert source.current().access_key == "AK2"


def usable(source: CredentialSource) -> bool:
    try:
        source.current()
    except Unavailable:
        return False
    return True


async def test_the_refresh_is_ten_minutes_early_and_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await pauses(monkeypatch, 3600) == pytest.approx((2880, 3000), abs=1)
    assert await pauses(monkeypatch, 900) == pytest.approx((405, 450), abs=1)


async def pauses(monkeypatch: pytest.MonkeyPatch, lifetime: float) -> tuple[float, float]:
    """The shortest and the longest sleep before a set of that lifetime is replaced."""
    found: list[float] = []
    for choose in (lambda _, end: end, lambda start, _: start):
        with monkeypatch.context() as patched:
            slept: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            patched.setattr("app.aws.credentials.random.uniform", choose)
            patched.setattr("app.aws.credentials.asyncio.sleep", recorder(slept))
            provider = FakeProvider(lambda: lasting(lifetime))
            async with running(CredentialSource(new_session=provider.open)):
                found.append(await slept)
    return found[0], found[1]


def recorder(slept: asyncio.Future[float]) -> Callable[[float], asyncio.Future[None]]:
    def sleep(seconds: float) -> asyncio.Future[None]:
        slept.set_result(seconds)
        return asyncio.get_running_loop().create_future()

    return sleep


async def test_none_at_the_start_and_some_later() -> None:
    later: list[botocore.credentials.Credentials] = []
    provider = FakeProvider(lambda: later[0] if later else None)
    source = CredentialSource(new_session=provider.open, retry_seconds=0.2)
    async with running(source):
        with pytest.raises(Unavailable, match=r"no AWS credentials.*none found"):
            source.current()
        later.append(botocore.credentials.Credentials("AK", "secret"))
        await becomes(lambda: usable(source))
        assert source.current().access_key == "AK"


async def test_none_anywhere_in_the_real_chain() -> None:
    async with running(CredentialSource()) as source:
        with pytest.raises(Unavailable, match="environment, profile, web identity"):
            source.current()


async def test_a_profile_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "absent")
    async with running(CredentialSource()) as source:
        with pytest.raises(Unavailable, match="ProfileNotFound"):
            source.current()


async def test_a_profile_that_is_written_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "late")
    async with running(CredentialSource(retry_seconds=0.2)) as source:
        assert not usable(source)
        (tmp_path / "config").write_text(
            "[profile late]\naws_access_key_id = AKLATE\naws_secret_access_key = one\n"
        )
        await becomes(lambda: usable(source))
        assert source.current().access_key == "AKLATE"


async def test_one_session_serves_as_long_as_it_works() -> None:
    provider = FakeProvider(Rotation(seconds=0.6))
    opened: list[Session] = []

    def open_counted(region: str | None) -> Session:
        opened.append(provider.open(region))
        return opened[-1]

    async with running(CredentialSource(new_session=open_counted)):
        await becomes(lambda: len(provider.threads) >= 4)
    assert len(opened) == 1


async def test_a_set_that_has_expired_is_not_taken() -> None:
    provider = FakeProvider(lambda: lasting(-1))
    async with running(CredentialSource(new_session=provider.open)) as source:
        with pytest.raises(Unavailable, match="RuntimeError"):
            source.current()


async def test_a_start_does_not_wait_for_a_chain_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.aws.credentials.FIRST_WAIT_SECONDS", 0.05)
    provider = FakeProvider(Rotation(seconds=60, slow=0.5))
    began = time.monotonic()
    async with running(CredentialSource(new_session=provider.open)) as source:
        assert time.monotonic() - began < 0.4
        await becomes(lambda: usable(source))


async def test_stop_leaves_no_task() -> None:
    provider = FakeProvider(Rotation(seconds=60))
    source = CredentialSource(new_session=provider.open)
    await source.stop()
    await source.start()
    assert "aws-credentials" in others()
    await source.stop()
    assert others() == set()


async def test_no_secret_is_logged_or_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "app")
    rotation = Rotation(seconds=60)
    rotation.failure = ValueError("hidden-secret")
    provider = FakeProvider(rotation)
    async with running(CredentialSource(new_session=provider.open)) as source:
        with pytest.raises(Unavailable) as refused:
            source.current()
    assert "hidden" not in refused.value.detail
    assert "ValueError" in caplog.text
    assert "hidden" not in caplog.text


def test_calls_for_credentials_go_to_the_region_given() -> None:
    assert open_session("eu-west-3").get_config_variable("region") == "eu-west-3"
