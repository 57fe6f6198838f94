"""Emulated accounts, and modules applied in them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from scripts.live_local.accounts import FOREIGN, EmulatedAccounts
from tests.support import terraform
from tests.support.engines import missing
from tests.support.terraform import Terraform


@pytest.fixture(scope="session")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedAccounts]:
    """dev, staging and prod with an administrator each, for as long as the tests run.

    One per worker, shared by all its tests: what a test makes there has a name of its own.
    """
    if importlib.util.find_spec("ministack") is None:
        missing("ministack is not installed: make install-test")
    with EmulatedAccounts(tmp_path_factory.mktemp("accounts")) as found:
        yield found


class Module(Protocol):
    """Makes a root module that calls `modules/<name>`, in a directory of its own; see `Terraform`.

    With `destroy` it is destroyed when the tests are over, and a failure to do so is one of theirs.
    """

    def __call__(
        self,
        name: str,
        variables: Mapping[str, Any],
        profile: str = "dev",
        *,
        region: str | None = None,
        destroy: bool = False,
    ) -> Terraform: ...


class ApplyModule(Protocol):
    """Applies `modules/<name>` and returns its outputs."""

    def __call__(
        self,
        name: str,
        variables: Mapping[str, Any],
        profile: str = "dev",
        *,
        region: str | None = None,
        destroy: bool = False,
    ) -> dict[str, Any]: ...


@pytest.fixture(scope="session")
def terraform_module(
    accounts: EmulatedAccounts,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Module:
    terraform.need_terraform()

    def make(
        name: str,
        variables: Mapping[str, Any],
        profile: str = "dev",
        *,
        region: str | None = None,
        destroy: bool = False,
    ) -> Terraform:
        directory: Path = tmp_path_factory.mktemp(name)
        made = terraform.module(accounts, directory, name, variables, profile, region)
        if destroy:
            request.addfinalizer(made.destroy)
        return made

    return make


@pytest.fixture(scope="session")
def apply_module(terraform_module: Module) -> ApplyModule:
    def apply(
        name: str,
        variables: Mapping[str, Any],
        profile: str = "dev",
        *,
        region: str | None = None,
        destroy: bool = False,
    ) -> dict[str, Any]:
        made = terraform_module(name, variables, profile, region=region, destroy=destroy)
        return made.apply()

    return apply


@pytest.fixture
def in_account(
    accounts: EmulatedAccounts, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Sets this process up as `.dev/live.env` and AWS_PROFILE would."""

    def act(profile: str) -> None:
        for name in [n for n in os.environ if n.startswith("AWS_ENDPOINT_URL")] + list(FOREIGN):
            monkeypatch.delenv(name, raising=False)
        for name, value in accounts.environment(profile).items():
            monkeypatch.setenv(name, value)

    return act
