"""Fixtures for all tests: the engines, and a guard against the network."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import engines, tiers, tried
from tests.support.engines import Engine

_connect = socket.socket.connect


def _guarded(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = address[0]
        if host != "localhost" and not _is_here(host):
            raise RuntimeError(f"a test tried to reach {host}")
    _connect(self, address)


def _is_here(host: str) -> bool:
    """Loopback, or an address of one of this machine's interfaces: nothing else can be bound to."""
    address = ipaddress.ip_address(host)
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return not address.is_unspecified


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    """No test leaves this machine; nor does it see whatever AWS account the shell is set up for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _guarded)
        for name in list(os.environ):
            if name.startswith("AWS_") and name != "AWS_CA_BUNDLE":
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def moto() -> Iterator[Engine]:
    with engines.moto() as engine:
        yield engine


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engines.ministack(tmp_path_factory.mktemp("ministack")) as engine:
        yield engine


@pytest.fixture(scope="session")
def dynamodb_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engines.dynamodb_local(tmp_path_factory.mktemp("dynamodb-local")) as engine:
        yield engine


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engines.versitygw(tmp_path_factory.mktemp("versitygw")) as engine:
        yield engine


@pytest.fixture(params=["moto", "ministack", "dynamodb_local"])
def dynamodb_engine(request: pytest.FixtureRequest) -> Engine:
    return engines.engine(request, request.param)


@pytest.fixture(params=["moto", "ministack", "versitygw"])
def s3_engine(request: pytest.FixtureRequest) -> Engine:
    return engines.engine(request, request.param)


# --- what ran, and in which tier: see tests/support/tiers.py ---------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = tiers.Tiers.read()
    if part := os.environ.get("STRONGROOM_PART"):
        mine = known.part(part, tiers.every_test())
        here = [item for item in items if item.nodeid.partition("::")[0] in mine]
        others = {*items} - {*here}
        items[:] = here
        config.hook.pytest_deselected(items=list(others))
    if tiers.on_github():
        for item in items:
            if tool := known.absent_tool(tiers.function(item.nodeid)):
                item.add_marker(pytest.mark.skip(reason=f"GitHub's runners have no {tool}"))
    if os.environ.get("STRONGROOM_FULL") == "1":
        return
    skip = pytest.mark.skip(reason=tiers.FULL_ONLY)
    for item in items:
        if known.is_full_only(tiers.function(item.nodeid)):
            item.add_marker(skip)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Called in every worker, and by xdist once more in the process that started them."""
    file = os.environ.get("STRONGROOM_RAN")
    if not file or "PYTEST_XDIST_WORKER" in os.environ:
        return
    if report.skipped:
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        tiers.record(file, "skipped", report.nodeid, told.removeprefix("Skipped: "))
    elif report.when == "call" and report.passed:
        tiers.record(file, "passed", report.nodeid, "")


# --- how much was tried, from whichever process it was tried in ------------------------------


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (
        os.environ.get("STRONGROOM_PART")
        and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
    ):
        session.exitstatus = pytest.ExitCode.OK  # all of it is of another part
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["tried"] = tried.lines


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    tried.lines += getattr(node, "workeroutput", {}).get("tried", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in tried.lines:
        terminalreporter.write_line(f"tried: {line}")
